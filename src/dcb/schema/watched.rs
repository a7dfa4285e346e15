//! PostgreSQL's binary JSON for the validator, watched: what a check looks at is counted. A document of a
//! few bytes can make a schema that refers to itself look at it without end, so a check stops when its steps
//! are used up, lets others interrupt it, and has the stack looked at before it is gone.

use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use jsonschema::JsonType;
use jsonschema::json::{self, Json, NodeIdentity, jsonb};
use serde_json::Value;

/// After so many steps the caller is asked whether to go on.
const STEPS_BETWEEN_LOOKS: u64 = 4096;
/// And after the stack has grown or shrunk by so many bytes.
const STACK_BETWEEN_LOOKS: usize = 32 * 1024;
/// How many bytes of a text or number count like a step.
const BYTES_PER_STEP: usize = 16;

/// The representation.
pub struct Watched;

/// What a check may still do.
pub struct Watch {
    left: Cell<u64>,
    /// The next look is at so many steps left,
    look_at: Cell<u64>,
    /// or so far from this address on the stack.
    looked_from: Cell<usize>,
    look: fn(),
}

/// The steps are used up: unwinds through the validator, which has no other way out.
struct Stopped;

impl Watch {
    /// Runs with so many steps; `None` where they do not suffice. `look` may raise an error.
    pub fn over<T>(steps: u64, look: fn(), body: impl FnOnce(&Self) -> T) -> Option<T> {
        let watch = Self {
            left: Cell::new(steps),
            look_at: Cell::new(steps),
            looked_from: Cell::new(0),
            look,
        };
        // Nothing of what has been built up to the unwinding is used afterwards.
        match catch_unwind(AssertUnwindSafe(|| body(&watch))) {
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
        if left <= self.look_at.get() || here.abs_diff(self.looked_from.get()) > STACK_BETWEEN_LOOKS
        {
            self.stop_or_look(left, here);
        }
    }

    #[cold]
    fn stop_or_look(&self, left: u64, here: usize) {
        if left == 0 {
            resume_unwind(Box::new(Stopped));
        }
        self.look_at.set(left.saturating_sub(STEPS_BETWEEN_LOOKS));
        self.looked_from.set(here);
        (self.look)();
    }
}

/// About where the stack ends.
#[inline]
fn here() -> usize {
    let local = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&local)).addr()
}

/// A value.
#[derive(Clone)]
pub struct Node<'a> {
    value: jsonb::JsonbNode<'a>,
    /// None: a member's name.
    watch: Option<&'a Watch>,
}

impl<'a> Node<'a> {
    /// The root of a document, in the form of jsonb from its first container on.
    pub fn root(document: &'a [u8], watch: &'a Watch) -> Self {
        Self {
            value: jsonb::Jsonb::root(document),
            watch: Some(watch),
        }
    }

    #[inline]
    fn spend(&self, steps: usize) {
        if let Some(watch) = self.watch {
            watch.spend(steps as u64);
        }
    }
}

impl Json for Watched {
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
        jsonb::Jsonb::with_string_node(buffer, string, |value| f(Node { value, watch: None }))
    }
}

type Of<'a> = jsonb::JsonbNode<'a>;
type InnerObject<'a> = <Of<'a> as json::Node<'a, jsonb::Jsonb>>::Object;
type InnerArray<'a> = <Of<'a> as json::Node<'a, jsonb::Jsonb>>::Array;

impl<'a> json::Node<'a, Watched> for Node<'a> {
    type Object = Object<'a>;
    type Array = Array<'a>;
    type Number = <Of<'a> as json::Node<'a, jsonb::Jsonb>>::Number;

    fn as_object(&self) -> Option<Object<'a>> {
        self.spend(1);
        let (object, watch) = (self.value.as_object()?, self.watch);
        Some(Object { object, watch })
    }

    fn as_array(&self) -> Option<Array<'a>> {
        self.spend(1);
        let (array, watch) = (self.value.as_array()?, self.watch);
        Some(Array { array, watch })
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
            // Those that fit into 64 bits are read at once.
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

    /// Asked for by errors alone, and those do not show the document's values.
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
    watch: Option<&'a Watch>,
}

impl<'a> json::Object<'a, Watched> for Object<'a> {
    type Node = Node<'a>;
    type MemberName = Cow<'a, str>;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        self.object.len()
    }

    fn get(&self, key: &<Watched as Json>::PreparedKey) -> Option<Node<'a>> {
        let value = self.object.get(key)?;
        let node = Node {
            value,
            watch: self.watch,
        };
        node.spend(1);
        Some(node)
    }

    fn members(&self) -> Members<'a> {
        Members {
            members: self.object.members(),
            watch: self.watch,
        }
    }
}

/// An object's members.
pub struct Members<'a> {
    members: <InnerObject<'a> as json::Object<'a, jsonb::Jsonb>>::MembersIter,
    watch: Option<&'a Watch>,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.members.next()?;
        let node = Node {
            value,
            watch: self.watch,
        };
        node.spend(1 + name.len() / BYTES_PER_STEP);
        Some((name, node))
    }
}

/// An array.
pub struct Array<'a> {
    array: InnerArray<'a>,
    watch: Option<&'a Watch>,
}

impl<'a> json::Array<'a, Watched> for Array<'a> {
    type Node = Node<'a>;
    type ElementsIter = Elements<'a>;

    fn len(&self) -> usize {
        self.array.len()
    }

    fn elements(&self) -> Elements<'a> {
        Elements {
            elements: self.array.elements(),
            watch: self.watch,
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
    watch: Option<&'a Watch>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        let value = self.elements.next()?;
        let node = Node {
            value,
            watch: self.watch,
        };
        node.spend(1);
        Some(node)
    }
}
