//! The registered upcasters, as a backend remembers them.

use std::cell::Cell;
use std::ffi::CString;
use std::rc::Rc;

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::key::{Namespace, key};
use crate::dcb::upcast::{Chains, Form};
use crate::store::call::function::Function;
use crate::store::pg::spi::Values;
use crate::store::pg::{fmgr, guard};
use crate::store::session::definitions::{self, Cache, Table};

thread_local! {
    static KNOWN: Cache<Definitions> = const { Cache::new(Table::Upcasters) };
}

/// The upcasters, as of what has been accepted of others' changes.
///
/// # Errors
/// 55000 where the table is missing.
pub fn known() -> Result<Rc<Definitions>> {
    KNOWN.with(|known| known.get(|rows| Definitions::load(&rows)))
}

/// All upcasters, in the order of types and versions.
pub struct Definitions {
    chains: Chains,
    steps: Vec<Step>,
    /// With the count of changes as of which it was made.
    generation: Cell<(u64, i64)>,
}

/// One upcaster.
pub struct Step {
    /// What it takes.
    pub from: Form,
    /// What it makes.
    pub to: Form,
    /// Its function, with schema and argument types.
    pub name: String,
    /// Where its function finds bare names.
    pub path: CString,
    function: Option<Function>,
}

impl Definitions {
    /// From the table's rows: type, from_version, to_type, to_version, function, search_path.
    pub fn load(rows: &[Values]) -> Result<Self> {
        let mut steps: Vec<Step> = rows.iter().map(Step::load).collect::<Result<_>>()?;
        steps.sort_by(|a, b| a.from.cmp(&b.from));
        let forms = steps.iter().map(|s| (s.from.clone(), s.to.clone()));
        let chains = Chains::new(forms.collect())?;
        Ok(Self {
            chains,
            steps,
            generation: Cell::default(),
        })
    }

    /// A number that stands for what these upcasters make of events, as of what has been accepted of others' changes;
    /// 0 where there is none. What was made of upcast events, and is to be used again, is kept with it. It is another
    /// one after every change of an upcaster or its function, and never comes back: a state that is half of one make
    /// and half of another is found out by a number taken before and one taken after.
    pub fn generation(&self) -> i64 {
        let changes = definitions::generation(Table::Upcasters);
        let (as_of, known) = self.generation.get();
        if as_of == changes {
            return known;
        }
        let generation = match self.steps.as_slice() {
            [] => 0,
            steps => key(Namespace::Document, &told(steps)),
        };
        self.generation.set((changes, generation));
        generation
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Which type and version becomes which.
    pub fn chains(&self) -> &Chains {
        &self.chains
    }

    /// That of a type and version.
    pub fn of(&self, from: &Form) -> Option<&Step> {
        self.steps.iter().find(|step| step.from == *from)
    }

    /// The n-th upcaster.
    pub fn step(&self, n: usize) -> &Step {
        &self.steps[n]
    }

    /// All of them, as they are declared.
    pub fn forms(&self) -> Vec<(Form, Form)> {
        let forms = self.steps.iter().map(|s| (s.from.clone(), s.to.clone()));
        forms.collect()
    }
}

/// All that makes upcasters what they are. A function's mark tells one version of it from another: it has its own
/// after CREATE OR REPLACE and after every ALTER FUNCTION.
fn told(steps: &[Step]) -> Vec<u8> {
    let mut told = Vec::new();
    for step in steps {
        let texts = [&step.from.name, &step.to.name, &step.name].map(|text| text.as_bytes());
        for bytes in texts.into_iter().chain([step.path.as_bytes()]) {
            told.extend_from_slice(&bytes.len().to_ne_bytes());
            told.extend_from_slice(bytes);
        }
        let function = step.function.as_ref();
        let mark = function.and_then(|f| Function::of(f.oid)).map(|f| f.mark);
        told.extend_from_slice(&step.from.version.to_ne_bytes());
        told.extend_from_slice(&step.to.version.to_ne_bytes());
        told.extend_from_slice(&mark.unwrap_or_default().to_ne_bytes());
    }
    told
}

impl Step {
    fn load(row: &Values) -> Result<Self> {
        let text = |n: usize| row[n].map_or(Ok(""), fmgr::text);
        let number = |n: usize| row[n].map_or(0, |d| d.value() as i32);
        Ok(Self {
            from: Form::new(text(0)?, number(1)),
            to: Form::new(text(2)?, number(3)),
            name: text(4)?.to_owned(),
            path: guard::text(text(5)?),
            function: Function::named(text(4)?),
        })
    }

    /// What errors call it.
    pub fn title(&self) -> String {
        format!("upcaster {} of {}", self.name, self.from)
    }

    /// Its function.
    ///
    /// # Errors
    /// 42883 where it is gone.
    pub fn function(&self) -> Result<&Function> {
        let found = self.function.as_ref();
        found.filter(|f| f.is_there()).ok_or_else(|| {
            Error::new(
                SqlState::UndefinedFunction,
                format!("the function of {} does not exist", self.title()),
            )
            .hint(
                "Create the function again, give it back its name, or register it by the new one with en57_register_upcaster().",
            )
        })
    }
}
