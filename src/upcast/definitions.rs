//! The registered upcasters, in the definition cache of the backend.

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

/// The upcasters, with the changes of others that this backend has accepted. Two calls may return different ones, so
/// whoever needs the same ones twice holds them and passes them on.
///
/// # Errors
/// 55000 if the table is missing.
pub fn known() -> Result<Rc<Definitions>> {
    KNOWN.with(|known| known.get(|rows| Definitions::load(&rows)))
}

/// All upcasters, in the order of types and versions.
pub struct Definitions {
    chains: Chains,
    steps: Vec<Step>,
    /// The number for [`Self::generation`], and the count of changes when it was computed.
    generation: Cell<(u64, i64)>,
}

/// One upcaster.
pub struct Step {
    /// The type and version that it takes.
    pub from: Form,
    /// The type and version that it makes.
    pub to: Form,
    /// Its function, with schema and argument types.
    pub name: String,
    /// Its function's search path.
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

    /// A number for these upcasters and their functions, with the changes of others that this backend has accepted; 0
    /// if there are none. Whatever is made of upcast events and stored is stored with it. Every change of an upcaster
    /// or of its function gives another number, and no number ever comes back. So if it is the same before and after
    /// events were read, no function has changed in between.
    pub fn generation(&self) -> i64 {
        let changes = definitions::generation(Table::Upcasters);
        let (as_of, known) = self.generation.get();
        if as_of == changes {
            return known;
        }
        let generation = match self.steps.as_slice() {
            [] => 0,
            steps => key(Namespace::Document, &fingerprint(steps)),
        };
        self.generation.set((changes, generation));
        generation
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Which type and version becomes which.
    pub fn chains(&self) -> &Chains {
        &self.chains
    }

    /// The upcaster of a type and version.
    pub fn of(&self, from: &Form) -> Option<&Step> {
        self.steps.iter().find(|step| step.from == *from)
    }

    /// The n-th upcaster, from 0.
    pub fn step(&self, n: usize) -> &Step {
        &self.steps[n]
    }

    /// What all of them take and make.
    pub fn forms(&self) -> Vec<(Form, Form)> {
        let forms = self.steps.iter().map(|s| (s.from.clone(), s.to.clone()));
        forms.collect()
    }
}

/// Everything that the result of upcasters depends on. A function's mark stands for its version: CREATE OR REPLACE and
/// every ALTER FUNCTION give it a new one.
fn fingerprint(steps: &[Step]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for step in steps {
        let texts = [&step.from.name, &step.to.name, &step.name].map(|text| text.as_bytes());
        for text in texts.into_iter().chain([step.path.as_bytes()]) {
            bytes.extend_from_slice(&text.len().to_ne_bytes());
            bytes.extend_from_slice(text);
        }
        let function = step.function.as_ref();
        let mark = function.and_then(|f| Function::of(f.oid)).map(|f| f.mark);
        bytes.extend_from_slice(&step.from.version.to_ne_bytes());
        bytes.extend_from_slice(&step.to.version.to_ne_bytes());
        bytes.extend_from_slice(&mark.unwrap_or_default().to_ne_bytes());
    }
    bytes
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

    /// Its name in errors.
    pub fn title(&self) -> String {
        format!("upcaster {} of {}", self.name, self.from)
    }

    /// Its function.
    ///
    /// # Errors
    /// 42883 if it is gone.
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
