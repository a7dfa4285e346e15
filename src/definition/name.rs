//! Names of definitions: checked, kept from others while something is made of them, and what becomes of those that are taken.

use crate::dcb::error::{Error, Result, SqlState, invalid, required};
use crate::dcb::key::{Namespace, key};
use crate::store::lock::manager::{Queue, queue_for};
use crate::store::pg::guard::{self, Severity};

/// Bytes of a definition's name: those of any name in PostgreSQL.
const NAME_BYTES: usize = 63;

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
    queue_for(Queue::Name, key(Namespace::Document, name.as_bytes()), true);
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

    /// What `if_not_exists` says to a function that changes what is there, unless it is told not to.
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

/// Stands for all types; its one version is 0.
pub const ALL_TYPES: &str = "*";
