//! The view that the validator has of PostgreSQL's binary JSON: it counts the steps of a check.
//!
//! A document of a few bytes can make a schema that refers to itself read it without end. So each check has a budget of
//! steps, and stops when it is spent. Now and then it checks for interrupts and for the depth of the stack.

use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use jsonschema::JsonType;
use jsonschema::json::{self, Json, NodeIdentity, jsonb};
use serde_json::Value;

/// The steps between two checks for interrupts.
const STEPS_BETWEEN_CHECKS: u64 = 4096;
/// The bytes by which the stack may grow or shrink between two checks for interrupts.
const STACK_BETWEEN_CHECKS: usize = 32 * 1024;
/// The bytes of a text or a name that count as one step.
const BYTES_PER_STEP: usize = 16;

/// The representation of JSON, for the validator.
pub struct Budgeted;

/// How many steps a check may still take.
pub struct Budget {
    left: Cell<u64>,
    /// Interrupts are checked when so many steps are left, ..
    check_at: Cell<u64>,
    /// .. or when the stack ends far from this address.
    checked_from: Cell<usize>,
    check_interrupts: fn(),
}

/// The payload of the unwinding that leaves the validator when the budget is spent. The validator has no other exit.
struct Stopped;

impl Budget {
    /// Runs a check with so many steps. `None`: they were not enough. `check_interrupts` may raise an error; it also checks the
    /// depth of the stack.
    pub fn over<T>(steps: u64, check_interrupts: fn(), body: impl FnOnce(&Self) -> T) -> Option<T> {
        let budget = Self {
            left: Cell::new(steps),
            check_at: Cell::new(steps),
            checked_from: Cell::new(0),
            check_interrupts,
        };
        // What the check has built is dropped by the unwinding, so nobody sees it half made.
        match catch_unwind(AssertUnwindSafe(|| body(&budget))) {
            Ok(done) => Some(done),
            Err(payload) if payload.is::<Stopped>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }

    #[inline]
    fn spend(&self, steps: u64) {
        let left = self.left.get().saturating_sub(steps);
        self.left.set(left);
        let here = here();
        if left <= self.check_at.get()
            || here.abs_diff(self.checked_from.get()) > STACK_BETWEEN_CHECKS
        {
            self.stop_or_check(left, here);
        }
    }

    #[cold]
    fn stop_or_check(&self, left: u64, here: usize) {
        if left == 0 {
            resume_unwind(Box::new(Stopped));
        }
        self.check_at.set(left.saturating_sub(STEPS_BETWEEN_CHECKS));
        self.checked_from.set(here);
        (self.check_interrupts)();
    }
}

/// The address at which the stack ends, more or less.
#[inline]
fn here() -> usize {
    let local = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&local)).addr()
}

/// A value.
#[derive(Clone)]
pub struct Node<'a> {
    value: jsonb::JsonbNode<'a>,
    /// `None`: the name of a member, which costs nothing.
    budget: Option<&'a Budget>,
}

impl<'a> Node<'a> {
    /// The root of a document: the bytes of a jsonb value from its first container on.
    pub fn root(document: &'a [u8], budget: &'a Budget) -> Self {
        Self {
            value: jsonb::Jsonb::root(document),
            budget: Some(budget),
        }
    }

    #[inline]
    fn spend(&self, steps: usize) {
        if let Some(budget) = self.budget {
            budget.spend(steps as u64);
        }
    }
}

impl Json for Budgeted {
    type Node<'a> = Node<'a>;
    type PreparedKey = <jsonb::Jsonb as Json>::PreparedKey;
    type StringBuffer = <jsonb::Jsonb as Json>::StringBuffer;

    fn prepare_key(key: &str) -> Self::PreparedKey {
        jsonb::Jsonb::prepare_key(key)
    }

    fn with_string_node<T>(
        buffer: &mut Self::StringBuffer,
        string: &str,
        f: impl FnOnce(Self::Node<'_>) -> T,
    ) -> T {
        jsonb::Jsonb::with_string_node(buffer, string, |value| {
            f(Node {
                value,
                budget: None,
            })
        })
    }
}

type Of<'a> = jsonb::JsonbNode<'a>;
type InnerObject<'a> = <Of<'a> as json::Node<'a, jsonb::Jsonb>>::Object;
type InnerArray<'a> = <Of<'a> as json::Node<'a, jsonb::Jsonb>>::Array;

impl<'a> json::Node<'a, Budgeted> for Node<'a> {
    type Object = Object<'a>;
    type Array = Array<'a>;
    type Number = <Of<'a> as json::Node<'a, jsonb::Jsonb>>::Number;

    fn as_object(&self) -> Option<Object<'a>> {
        self.spend(1);
        let (object, budget) = (self.value.as_object()?, self.budget);
        Some(Object { object, budget })
    }

    fn as_array(&self) -> Option<Array<'a>> {
        self.spend(1);
        let (array, budget) = (self.value.as_array()?, self.budget);
        Some(Array { array, budget })
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        let text = self.value.as_string();
        self.spend(1 + text.as_ref().map_or(0, |t| t.len() / BYTES_PER_STEP));
        text
    }

    fn as_number(&self) -> Option<Self::Number> {
        use json::JsonNumber;
        let number = self.value.as_number();
        if let Some(number) = &number {
            // A number that fits into 64 bits is read in one step.
            let is_short = number.as_i64().is_some();
            self.spend(if is_short {
                1
            } else {
                1 + number.as_str().len()
            });
        }
        number
    }

    fn as_boolean(&self) -> Option<bool> {
        self.spend(1);
        self.value.as_boolean()
    }

    fn is_null(&self) -> bool {
        self.spend(1);
        self.value.is_null()
    }

    fn is_number(&self) -> bool {
        self.spend(1);
        self.value.is_number()
    }

    fn is_string(&self) -> bool {
        self.spend(1);
        self.value.is_string()
    }

    fn json_type(&self) -> JsonType {
        self.spend(1);
        self.value.json_type()
    }

    fn string_length(&self) -> Option<u64> {
        let length = self.value.string_length();
        self.spend(1 + length.map_or(0, |n| n as usize / BYTES_PER_STEP));
        length
    }

    fn equals_value(&self, expected: &Value) -> bool {
        self.spend(1);
        self.value.equals_value(expected)
    }

    /// Only errors ask for it, and they must not show the values of the document.
    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(Value::Null)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        self.spend(1);
        self.value.identity()
    }

    fn container_identity(&self) -> Option<NodeIdentity> {
        self.value.container_identity()
    }
}

/// An object.
pub struct Object<'a> {
    object: InnerObject<'a>,
    budget: Option<&'a Budget>,
}

impl<'a> json::Object<'a, Budgeted> for Object<'a> {
    type Node = Node<'a>;
    type MemberName = Cow<'a, str>;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        self.object.len()
    }

    fn get(&self, key: &<Budgeted as Json>::PreparedKey) -> Option<Node<'a>> {
        let value = self.object.get(key)?;
        let node = Node {
            value,
            budget: self.budget,
        };
        node.spend(1);
        Some(node)
    }

    fn members(&self) -> Members<'a> {
        Members {
            members: self.object.members(),
            budget: self.budget,
        }
    }
}

/// An object's members.
pub struct Members<'a> {
    members: <InnerObject<'a> as json::Object<'a, jsonb::Jsonb>>::MembersIter,
    budget: Option<&'a Budget>,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.members.next()?;
        let node = Node {
            value,
            budget: self.budget,
        };
        node.spend(1 + name.len() / BYTES_PER_STEP);
        Some((name, node))
    }
}

/// An array.
pub struct Array<'a> {
    array: InnerArray<'a>,
    budget: Option<&'a Budget>,
}

impl<'a> json::Array<'a, Budgeted> for Array<'a> {
    type Node = Node<'a>;
    type ElementsIter = Elements<'a>;

    fn len(&self) -> usize {
        self.array.len()
    }

    fn elements(&self) -> Elements<'a> {
        Elements {
            elements: self.array.elements(),
            budget: self.budget,
        }
    }

    fn is_unique(&self) -> bool {
        self.elements().for_each(drop);
        self.array.is_unique()
    }
}

/// An array's elements.
pub struct Elements<'a> {
    elements: <InnerArray<'a> as json::Array<'a, jsonb::Jsonb>>::ElementsIter,
    budget: Option<&'a Budget>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        let value = self.elements.next()?;
        let node = Node {
            value,
            budget: self.budget,
        };
        node.spend(1);
        Some(node)
    }
}
