//! Functions of users, as definitions name them.

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::store::Oid;
use crate::store::call::function::Function;

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

    /// The function; `None` where it is gone.
    pub fn found(&self) -> Option<&Function> {
        self.found.as_ref()
    }

    /// What changes when it is replaced; `None` where it is gone.
    pub fn mark(&self) -> Option<i64> {
        self.found.as_ref().map(|f| f.mark)
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
