//! The registered types, in the definition cache of the backend. A schema is compiled when it is first needed, and
//! again only when it has changed.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::dcb::error::{Error, Result, SqlState, nearest};
use crate::dcb::query::JsonString;
use crate::dcb::refusal::Refusal;
use crate::dcb::schema::{Fault, told};
use crate::dcb::upcast::Form;
use crate::definition::name::ALL_TYPES;
use crate::store::Datum;
use crate::store::pg::json::{self, Jsonb};
use crate::store::pg::spi::Values;
use crate::store::pg::{fmgr, stack};
use crate::store::row::event::NewEvent;
use crate::store::session::definitions::{Cache, Table};

use super::lazy_schema::LazySchema;

/// How many faults of an event an error lists.
pub const FAULTS_LISTED: usize = 20;

thread_local! {
    static KNOWN: Cache<Registry> = const { Cache::new(Table::EventTypes) };
    /// The schemas that were loaded last, by their jsonb without its length word.
    static SCHEMAS: RefCell<HashMap<Vec<u8>, Rc<LazySchema>>> = RefCell::default();
}

/// The registered types, with the changes of others that this backend has accepted.
///
/// # Errors
/// 55000 where the table is missing.
pub fn known() -> Result<Rc<Registry>> {
    KNOWN.with(|known| known.get(|rows| Registry::load(&rows)))
}

/// The registered types with their versions.
///
/// # Errors
/// As [`known`].
pub fn forms() -> Result<Vec<Form>> {
    Ok(known()?.forms())
}

/// Whether types may have changed since [`known`] was called last.
pub fn has_changed() -> bool {
    KNOWN.with(Cache::has_changed)
}

/// All registered types.
pub struct Registry {
    types: HashMap<String, BTreeMap<i32, Registered>>,
    /// What events of all types must fit.
    all: Registered,
}

/// The schemas that events of one version of a type must fit.
#[derive(Default)]
pub struct Registered {
    /// The schema of data.
    pub data: Option<Rc<LazySchema>>,
    /// The schema of metadata.
    pub meta: Option<Rc<LazySchema>>,
}

impl Registered {
    /// What is wrong with data and meta. Missing data is checked as null, missing meta as an empty object. `of_all` is
    /// the schema of meta for all types.
    pub fn faults(
        &self,
        of_all: &Option<Rc<LazySchema>>,
        data: Option<&[u8]>,
        meta: Option<&[u8]>,
    ) -> Result<Vec<(&'static str, Fault)>> {
        let mut faults = Vec::new();
        let asked = [
            (&self.data, "/data", data.unwrap_or(&json::NULL_DOCUMENT)),
            (of_all, "/meta", meta.unwrap_or(&json::EMPTY_OBJECT)),
            (&self.meta, "/meta", meta.unwrap_or(&json::EMPTY_OBJECT)),
        ];
        for (schema, part, document) in asked {
            if let Some(schema) = schema {
                let room = FAULTS_LISTED - faults.len();
                let found = schema.schema()?.faults(document, room, stack::look);
                faults.extend(found.into_iter().map(|fault| (part, fault)));
            }
        }
        Ok(faults)
    }
}

impl Registry {
    /// From the table's rows: type, schema_version, data_schema, meta_schema.
    fn load(rows: &[Values]) -> Result<Self> {
        let mut before = SCHEMAS.take();
        let mut schemas = HashMap::new();
        let mut share = |column: Option<Datum>, argument| {
            let schema = LazySchema::new(column?, argument);
            let source = schema.source().to_vec();
            let entry = schemas.entry(source);
            Some(Rc::clone(entry.or_insert_with_key(|source| {
                before.remove(source).unwrap_or_else(|| Rc::new(schema))
            })))
        };
        let mut loaded = Self {
            types: HashMap::new(),
            all: Registered::default(),
        };
        for row in rows {
            let name = row[0].map_or(Ok(""), fmgr::text)?;
            let version = row[1].map_or(0, |d| d.value() as i32);
            let registered = Registered {
                data: share(row[2], "json_schema"),
                meta: share(row[3], "meta_schema"),
            };
            if name == ALL_TYPES {
                loaded.all = registered;
            } else {
                let versions = loaded.types.entry(name.to_owned()).or_default();
                versions.insert(version, registered);
            }
        }
        SCHEMAS.replace(schemas);
        Ok(loaded)
    }

    /// Whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.all.meta.is_none()
    }

    /// The names of the types.
    pub fn names(&self) -> Vec<&str> {
        self.types.keys().map(String::as_str).collect()
    }

    /// All types with their versions.
    pub fn forms(&self) -> Vec<Form> {
        let versions = |(name, versions): (&String, &BTreeMap<i32, Registered>)| {
            let forms = versions.keys().map(|v| Form::new(name, *v));
            forms.collect::<Vec<_>>()
        };
        self.types.iter().flat_map(versions).collect()
    }

    /// The newest version of a type.
    pub fn newest(&self, name: &str) -> Option<i32> {
        let versions = self.types.get(name)?;
        versions.keys().next_back().copied()
    }

    /// The registered versions of a type, as a list; empty if there is none.
    pub fn versions(&self, name: &str) -> String {
        let versions = self.types.get(name).into_iter().flat_map(BTreeMap::keys);
        let versions: Vec<String> = versions.map(i32::to_string).collect();
        versions.join(", ")
    }

    /// The schemas of a version of a type.
    pub fn get(&self, name: &str, version: i32) -> Option<&Registered> {
        self.types.get(name)?.get(&version)
    }

    /// Checks the n-th new event, from 1.
    ///
    /// # Errors
    /// N5704.
    pub fn check(&self, event: &NewEvent, n: usize, strict: bool) -> Result<()> {
        let (name, version) = (event.event_type, event.schema_version);
        let registered = match self.types.get(name) {
            None if strict => {
                let error = self.unknown_type(name, n);
                return Err(refused(error, n, name, version, "type is not registered"));
            }
            None => &Registered::default(),
            Some(versions) => versions
                .get(&version)
                .ok_or_else(|| self.unknown_version(name, version, n))
                .map_err(|e| refused(e, n, name, version, "version is not registered"))?,
        };
        if registered.data.is_none() && registered.meta.is_none() && self.all.meta.is_none() {
            return Ok(());
        }
        let data = event.data.map(json::Value::document);
        let meta = event.meta.map(|m| Jsonb::from_datum(m).document());
        let faults = self.faults(registered, data.as_deref(), meta);
        let faults = faults.map_err(|e| Error {
            message: format!(
                "event {n}: type {} version {version}: {}",
                JsonString(name),
                e.message
            ),
            ..e
        })?;
        if faults.is_empty() {
            return Ok(());
        }
        Err(does_not_fit(format!(
            "event {n}: does not fit type {} version {version}",
            JsonString(name)
        ))
        .detail(told(&faults))
        .refusals(refusals(
            Some(n - 1),
            &Form::new(name, version).to_string(),
            faults,
        )))
    }

    /// What is wrong with data and meta, by the version's schemas and by the schema for all types.
    pub fn faults(
        &self,
        registered: &Registered,
        data: Option<&[u8]>,
        meta: Option<&[u8]>,
    ) -> Result<Vec<(&'static str, Fault)>> {
        registered.faults(&self.all.meta, data, meta)
    }

    /// The schemas for all types.
    pub fn of_all(&self) -> &Registered {
        &self.all
    }

    fn unknown_type(&self, name: &str, n: usize) -> Error {
        let message = format!("event {n}: type {} is not registered", JsonString(name));
        let error = does_not_fit(message);
        match nearest(name, &self.names()) {
            Some(near) => error.hint(format!("Did you mean {}?", JsonString(near))),
            None => error.hint("Register it with en57_register_type(): en57.strict_types is on."),
        }
    }

    fn unknown_version(&self, name: &str, version: i32, n: usize) -> Error {
        does_not_fit(format!(
            "event {n}: version {version} of type {} is not registered",
            JsonString(name)
        ))
        .detail(format!("Registered is {}.", self.versions(name)))
        .hint("Set schema_version of the event, or register the version with en57_register_type().")
    }
}

/// Adds a refusal to an error: the one thing that is wrong with an event as a whole.
fn refused(error: Error, n: usize, name: &str, version: i32, problem: &str) -> Error {
    error.refusals(vec![Refusal {
        event: Some(n - 1),
        source: Form::new(name, version).to_string(),
        problem: problem.to_owned(),
        ..Refusal::default()
    }])
}

/// Makes refusals of the faults of an event, or of a command. `source` says whose schema it is.
pub fn refusals(
    event: Option<usize>,
    source: &str,
    faults: Vec<(&'static str, Fault)>,
) -> Vec<Refusal> {
    let refusal = |(part, fault): (&str, Fault)| Refusal {
        event,
        source: source.to_owned(),
        path: Some(format!("{part}{}", fault.pointer)),
        problem: fault.reason,
        ..Refusal::default()
    };
    faults.into_iter().map(refusal).collect()
}

fn does_not_fit(message: String) -> Error {
    Error::new(SqlState::DoesNotFit, message)
}
