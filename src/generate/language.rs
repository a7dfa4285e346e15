//! The table of languages: what the rest of the room knows of each.

use crate::dcb::error::{Result, invalid, nearest, shown};

use super::model::Model;
use super::{go, python, ruby, rust, typescript};

/// A language that types can be written in.
pub struct Language {
    /// Its name, as `en57_generate` takes it.
    pub name: &'static str,
    /// What writes a model.
    pub write: Write,
    /// The names that its files define beside those of types, or use from the language. No type gets one of them.
    pub reserved: &'static [&'static str],
}

/// How a language writes a model.
pub enum Write {
    /// The module is named by its file: the text does not name it.
    WithoutModule {
        /// The language's name in messages.
        title: &'static str,
        /// The text of a model.
        write: fn(&Model) -> String,
    },
    /// The text names its module.
    InModule {
        /// The module's name if the caller gives none.
        default: &'static str,
        /// Whether a module can have this name.
        is_name: fn(&str) -> bool,
        /// The text of a model in a module of this name.
        write: fn(&Model, &str) -> String,
    },
}

const LANGUAGES: [Language; 5] = [
    go::LANGUAGE,
    python::LANGUAGE,
    ruby::LANGUAGE,
    rust::LANGUAGE,
    typescript::LANGUAGE,
];

/// The language with this name.
///
/// # Errors
/// 22023 where there is none.
pub fn find(name: &str) -> Result<&'static Language> {
    const { &LANGUAGES }
        .iter()
        .find(|language| language.name == name)
        .ok_or_else(|| {
            let names = LANGUAGES.map(|language| language.name);
            let near = nearest(&name.to_lowercase(), &names);
            let meant = near.map(|near| format!("Did you mean \"{near}\"? "));
            invalid(format!("unknown language \"{}\"", shown(name))).hint(format!(
                "{}The languages are {}.",
                meant.unwrap_or_default(),
                names.join(", ")
            ))
        })
}

/// The names that no type gets, whatever the language: so a type has one name in all of them.
pub fn reserved() -> Vec<&'static str> {
    LANGUAGES.map(|language| language.reserved).concat()
}

impl Language {
    /// The text of a model, in the given module.
    ///
    /// # Errors
    /// 22023 for a module in a language that has none, or that is no name there.
    pub fn text(&self, model: &Model, module: Option<&str>) -> Result<String> {
        match (&self.write, module) {
            (Write::WithoutModule { write, .. }, None) => Ok(write(model)),
            (Write::WithoutModule { title, .. }, Some(_)) => {
                Err(invalid("module must not be given for this language")
                    .detail(format!("A module of {title} is named by its file."))
                    .hint("Only go and ruby have modules whose name is in the text."))
            }
            (Write::InModule { default, write, .. }, None) => Ok(write(model, default)),
            (Write::InModule { is_name, write, .. }, Some(module)) if is_name(module) => {
                Ok(write(model, module))
            }
            (Write::InModule { default, .. }, Some(module)) => Err(invalid(format!(
                "module \"{}\" is not a name",
                shown(module)
            ))
            .hint(format!("Give a name like \"{default}\"."))),
        }
    }
}
