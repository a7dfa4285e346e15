//! Functions of users, as the definitions of projections and invariants name them.

use crate::dcb::error::{Error, Result, SqlState, invalid, required};
use crate::store::Oid;
use crate::store::function::Function;

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
