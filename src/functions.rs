//! Functions of users, as the definitions of projections and invariants name them, and the names of these definitions.

use crate::dcb::error::{Error, Result, SqlState, invalid, required};
use crate::dcb::key::{Namespace, key};
use crate::store::Oid;
use crate::store::function::Function;
use crate::store::guard::{self, Severity};
use crate::store::key_lock::{Turn, take_turn};

/// Bytes of a definition's name: those of any name in PostgreSQL.
const NAME_BYTES: usize = 63;

/// A function as a definition names it; it may be gone.
pub struct Named {
    /// With schema and argument types.
    pub name: String,
    found: Option<Function>,
}

impl Named {
    /// Looks it up.
    pub fn new(name: String) -> Self {
        let found = Function::named(&name);
        Self { name, found }
    }

    /// Whose it is; `None` where it is gone.
    pub fn owner(&self) -> Option<Oid> {
        self.found.as_ref().map(|f| f.owner)
    }

    /// The function of a definition of this kind and name.
    ///
    /// # Errors
    /// 42883 where it is gone.
    pub fn function(&self, kind: &str, of: &str) -> Result<&Function> {
        self.found.as_ref().ok_or_else(|| self.missing(kind, of))
    }

    /// 42883: the function of a definition of this kind and name is gone.
    pub fn missing(&self, kind: &str, of: &str) -> Error {
        Error::new(
            SqlState::UndefinedFunction,
            format!("function {} of {kind} \"{of}\" does not exist", self.name),
        )
        .hint(format!(
            "Create the function again, or give it back its name; or drop the {kind} with en57_drop_{kind}()."
        ))
    }
}

/// What a function that somebody names is to be.
pub struct Form<'a> {
    /// The argument that names it.
    pub role: &'a str,
    /// The types of its arguments, and what it returns; more than one form is joined by `or`.
    pub text: &'a str,
}

impl Form<'_> {
    /// The function that a text means: of those of the name the one that has this form.
    ///
    /// # Errors
    /// 42883 where there is none, 42725 where there are several, 22023 where the one that is written with its types
    /// has another form.
    pub fn find(&self, said: &str, fits: impl Fn(&Function) -> bool) -> Result<Function> {
        if said.trim().is_empty() {
            return Err(invalid(format!("{} must be a function's name", self.role)));
        }
        let mut found = Function::written(said);
        let all = found.clone();
        found.retain(|f| f.plain && fits(f));
        match (found.len(), all.len()) {
            (1, _) => Ok(found.remove(0)),
            (0, 0) => Err(self.unknown(said)),
            (0, 1) => Err(
                invalid(format!("{} must be a function {}", self.role, self.text))
                    .detail(format!("It is {}.", all[0].signature())),
            ),
            (0, _) => Err(Error::new(
                SqlState::UndefinedFunction,
                format!(
                    "{}: no function {said} has the form {}",
                    self.role, self.text
                ),
            )
            .detail(of_this_name(&all))),
            _ => Err(Error::new(
                SqlState::AmbiguousFunction,
                format!("{}: function {said} is not unique", self.role),
            )
            .detail(of_this_name(&found))
            .hint("Write the types of its arguments behind its name.")),
        }
    }

    fn unknown(&self, said: &str) -> Error {
        let message = format!("{}: function {said} does not exist", self.role);
        let error = Error::new(SqlState::UndefinedFunction, message);
        if said.parse::<u32>().is_ok() {
            return error;
        }
        let others = Function::of_name(said);
        if !others.is_empty() {
            return error
                .detail(of_this_name(&others))
                .hint(format!("It must be a function {}.", self.text));
        }
        let hint = match said.contains(char::is_uppercase) && !said.contains('"') {
            true => "A name with upper case is written in double quotes.",
            false => "Where search_path does not lead to it, write its schema before its name.",
        };
        error
            .detail(format!("It must be a function {}.", self.text))
            .hint(hint)
    }
}

/// How many functions of a name are told.
const FUNCTIONS_TOLD: usize = 8;

fn of_this_name(functions: &[Function]) -> String {
    let mut told: Vec<String> = functions.iter().map(Function::signature).collect();
    told.sort();
    let rest = told.len().saturating_sub(FUNCTIONS_TOLD);
    told.truncate(FUNCTIONS_TOLD);
    let rest = match rest {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    format!("Of this name there are: {}{rest}.", told.join(", "))
}

/// A definition's name, checked.
///
/// # Errors
/// 22004, 22023.
pub fn name<'a>(said: Option<&'a str>, whose: &str) -> Result<&'a str> {
    let name = required(said, "name")?;
    if name.is_empty() || name.len() > NAME_BYTES || name.contains('\0') {
        return Err(invalid(format!(
            "{whose} name must have 1 to {NAME_BYTES} bytes"
        )));
    }
    Ok(name)
}

/// Waits until no other transaction makes a definition of this name, and keeps the name until the end of this one.
/// So two who make the same at once are one after the other, and the second one sees what the first has made.
pub fn reserve(kind: &str, name: &str) {
    let name = format!("{kind}:{name}");
    take_turn(Turn::Name, key(Namespace::Document, name.as_bytes()), true);
}

/// The names of what is unlike, in the order in which they were asked.
pub fn unlike(asked: &[(&'static str, bool)]) -> Vec<&'static str> {
    let unlike = asked.iter().filter(|(_, is_alike)| !is_alike);
    unlike.map(|(name, _)| *name).collect()
}

/// 42710: a definition is replaced in its partition alone.
pub fn of_another_partition(kind: &str, name: &str) -> Error {
    let message = format!("{kind} \"{name}\" exists already");
    Error::new(SqlState::DuplicateObject, message)
        .detail("It is of another partition, and stays there.")
        .hint(format!(
            "Drop it with en57_drop_{kind}() to make another one."
        ))
}

/// What is done where there is one of the name already: the same for all that is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfTaken {
    /// That is an error.
    Refuse,
    /// Nothing but a notice: it stays as it is.
    Leave,
    /// It becomes what was asked for.
    Replace,
}

/// Something that is there and has the name of what is to be created.
pub struct Taken<'a> {
    /// What errors call it, with its name.
    pub title: &'a str,
    /// The arguments that would make another one of it.
    pub differs_in: Vec<&'a str>,
    /// Whether its function has `or_replace`.
    pub is_replaceable: bool,
}

impl IfTaken {
    /// What the arguments `if_not_exists` and `or_replace` say.
    ///
    /// # Errors
    /// 22004 where one is NULL, 22023 where both are true.
    pub fn said(if_not_exists: Option<bool>, or_replace: Option<bool>) -> Result<Self> {
        let leave = required(if_not_exists, "if_not_exists")?;
        match (leave, required(or_replace, "or_replace")?) {
            (false, false) => Ok(Self::Refuse),
            (true, false) => Ok(Self::Leave),
            (false, true) => Ok(Self::Replace),
            (true, true) => Err(invalid("if_not_exists and or_replace exclude each other").detail(
                "With if_not_exists what is there stays as it is; with or_replace it becomes what is asked for.",
            )),
        }
    }

    /// The same of a function that changes what is there, unless it is told not to.
    ///
    /// # Errors
    /// 22004.
    pub fn registering(if_not_exists: Option<bool>) -> Result<Self> {
        let leave = required(if_not_exists, "if_not_exists")?;
        Ok(if leave { Self::Leave } else { Self::Replace })
    }

    /// Whether what is there is to be changed. Where it stays, the caller is told; so he is what it differs in.
    ///
    /// # Errors
    /// 42710 where nothing was said.
    pub fn changes(self, taken: &Taken) -> Result<bool> {
        let message = format!("{} exists already", taken.title);
        match self {
            Self::Replace => Ok(!taken.differs_in.is_empty()),
            Self::Leave => {
                let hint = taken.is_replaceable.then_some(REPLACE);
                let differs = taken.difference();
                let hint = hint.filter(|_| differs.is_some());
                let message = format!("{message}, skipping");
                guard::log(Severity::Notice, &message, differs.as_deref(), hint);
                Ok(false)
            }
            Self::Refuse => Err(Error::new(SqlState::DuplicateObject, message).hint(
                if taken.is_replaceable {
                    "With if_not_exists => true it is left as it is, with or_replace => true it is replaced."
                } else {
                    "With if_not_exists => true it is left as it is."
                },
            )),
        }
    }
}

const REPLACE: &str = "With or_replace => true it becomes what is asked for.";

impl Taken<'_> {
    fn difference(&self) -> Option<String> {
        let (last, others) = self.differs_in.split_last()?;
        Some(match others {
            [] => format!("It has another {last}."),
            _ => format!("It has another {} and {last}.", others.join(", ")),
        })
    }
}
