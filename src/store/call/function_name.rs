//! Functions as users write them down: by name alone, or with the types of their arguments.

use pgrx::pg_sys::{self, Datum, Oid};

use crate::store::pg::{fmgr, names};

use super::function::Function;

impl Function {
    /// Every function that a text may mean: the one whose argument types it names, or all of its name. The caller's
    /// search path says where names without a schema are looked up.
    pub fn written(text: &str) -> Vec<Self> {
        if let Ok(oid) = text.parse::<u32>() {
            return Self::of(Oid::from(oid)).into_iter().collect();
        }
        match name_before_types(text) {
            Some(_) => Self::named(text).into_iter().collect(),
            None => Self::of_name(text),
        }
    }

    /// All functions of a name, whatever types are written behind it.
    pub fn of_name(text: &str) -> Vec<Self> {
        let name = name_before_types(text).unwrap_or(text);
        let name = fmgr::make_varlena(name.as_bytes());
        let mut found = Vec::new();
        // SAFETY: the list of names and that of candidates are fresh ones in the current memory context; the latter
        // ends with null. A text that is no name, and a schema that may not be used, raise.
        unsafe {
            let names = pg_sys::textToQualifiedNameList(name.cast_mut_ptr());
            let mut next = pg_sys::FuncnameGetCandidates(
                names,
                -1,
                std::ptr::null_mut(),
                false,
                false,
                false,
                true,
            );
            while !next.is_null() {
                found.extend(Self::of((*next).oid));
                next = (*next).next;
            }
        }
        found
    }

    /// Its name with argument types, and what it returns.
    pub fn signature(&self) -> String {
        // SAFETY: takes an oid; it answers NULL for a procedure.
        let result = names::quoted_as_needed(|| unsafe {
            let oid = Some(Datum::from(self.oid));
            pgrx::direct_function_call_as_datum(pg_sys::pg_get_function_result, &[oid])
        });
        match result.map(fmgr::text) {
            Some(Ok(result)) => format!("{} returning {result}", self.name()),
            _ => self.name(),
        }
    }
}

/// The name, where types of arguments follow it.
fn name_before_types(text: &str) -> Option<&str> {
    let mut is_quoted = false;
    let at = text.find(|c| {
        is_quoted ^= c == '"';
        c == '(' && !is_quoted
    })?;
    Some(&text[..at])
}
