//! Creating invariants, and replacing their definitions.

use std::ffi::CString;

use crate::dcb::error::{Result, invalid, null, required};
use crate::dcb::query::Query;
use crate::definition::function::Form;
use crate::definition::name::{self, IfTaken, Taken};
use crate::fold::evolve;
use crate::store::log::catalog::{self, partition_to_administer};
use crate::store::log::partition::{Access, Partition, exclude_appends};
use crate::store::pg::spi::{Type, text};
use crate::store::pg::{composite, fmgr, json, rights};
use crate::store::session::transaction;
use crate::store::{Datum, Oid};

use super::definition::{self, Invariant, KIND, by_name, run};
use super::history::{self, Existing};
use super::manage::forget_states;

/// The DETAIL of errors about functions that the creator of an invariant does not own.
const BECAUSE: &str = "An invariant runs its functions with the rights of their owner.";

/// The arguments of en57_create_invariant().
pub struct NewInvariant<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Which events.
    pub query: Option<Query>,
    /// `stream` or `tag:PREFIX`.
    pub key: Option<&'a str>,
    /// The function that folds.
    pub evolve: Option<&'a str>,
    /// The function that says what is wrong with a state.
    pub check: Option<&'a str>,
    /// The state before the first event.
    pub initial: Option<Datum>,
    /// The partition's name.
    pub partition: Option<&'a str>,
    /// Whether the stored events are checked.
    pub validate: Option<bool>,
    /// Whether an event that matches must have a key.
    pub key_required: Option<bool>,
    /// What happens if there is an invariant of this name.
    pub if_taken: IfTaken,
    /// The row type en57_event.
    pub event_type: Oid,
}

/// Creates an invariant, or gives one that exists the requested definition.
///
/// # Errors
/// 42501 without the rights; 42710 where the name is taken; 22004 and 22023 for what does not fit; N5703
/// where stored events break it; those of the functions.
pub fn create(request: &NewInvariant) -> Result<()> {
    catalog::demand_writable("en57_create_invariant()")?;
    let wanted = Wanted::of(request)?;
    let partition = partition_to_administer(request.partition)?;
    Access::Read.demand(partition.oid)?;
    name::reserve(KIND, wanted.name);
    // Before appends are excluded: a script that is run again must not make them wait.
    if let Some(old) = definition::find(wanted.name, false)?
        && !wanted.changes(&old, &partition)?
    {
        return Ok(());
    }
    // The name is reserved, so no other session creates an invariant of this name now.
    if definition::find(wanted.name, false)?.is_none() && wanted.validate && !transaction::repeats()
    {
        return wanted.make_beside_appends(&partition);
    }
    // Waits for the appends in flight. Later ones wait for this transaction.
    exclude_appends(&partition)?;
    let old = definition::find(wanted.name, true)?;
    if let Some(old) = &old {
        forget_states(old)?;
    }
    wanted.store(&partition, old.is_some())?;
    let stored = by_name(Some(wanted.name), true)?;
    if wanted.validate && stored.is_enabled {
        history::demand(&stored, partition.oid)?;
    }
    Ok(())
}

/// A request that has been checked.
struct Wanted<'a> {
    name: &'a str,
    query: Query,
    key: &'a str,
    evolve: String,
    check: String,
    initial: Option<Datum>,
    path: CString,
    validate: bool,
    key_required: bool,
    if_taken: IfTaken,
}

impl<'a> Wanted<'a> {
    fn of(request: &NewInvariant<'a>) -> Result<Self> {
        let name = name::name(request.name, "an invariant's")?;
        let query = request
            .query
            .clone()
            .ok_or_else(|| null("query").hint("Write {} for every event."))?;
        if query.criteria().iter().any(|c| c.after.is_some()) {
            return Err(invalid("query of an invariant must not have \"after\"")
                .detail("A state is made of all events of its key.")
                .hint(
                    "Let evolve return the state that it was given for events up to a position.",
                ));
        }
        let key = required(request.key, "key")?;
        definition::key(key)?;
        let validate = required(request.validate, "validate")?;
        let key_required = required(request.key_required, "key_required")?;
        let (evolve, check) = functions_of(request)?;
        Ok(Self {
            name,
            query,
            key,
            evolve,
            check,
            initial: request.initial,
            path: rights::path_of_caller(),
            validate,
            key_required,
            if_taken: request.if_taken,
        })
    }

    /// Whether an invariant that exists is to get the requested definition.
    fn changes(&self, old: &Invariant, partition: &Partition) -> Result<bool> {
        let is_elsewhere = old.partition != partition.name;
        let changes = self.if_taken.changes(&Taken {
            title: &format!("{KIND} \"{}\"", self.name),
            differs_in: self.differences(old, is_elsewhere),
            is_replaceable: !is_elsewhere,
        })?;
        if changes && is_elsewhere {
            return Err(name::of_another_partition(KIND, self.name));
        }
        Ok(changes)
    }

    /// The arguments in which the request differs from an invariant. Of one in another partition, nothing else is told.
    fn differences(&self, old: &Invariant, is_elsewhere: bool) -> Vec<&'static str> {
        if is_elsewhere {
            return vec!["partition"];
        }
        let initial = self.initial.map(fmgr::varlena);
        let all = [
            ("query", self.query == old.query),
            ("key", self.key == old.key.to_string()),
            ("evolve", self.evolve == old.evolve.name),
            ("check_function", self.check == old.check.name),
            ("initial", initial == old.initial.as_deref()),
            ("search_path", self.path == old.path),
            ("key_required", self.key_required == old.key_required),
        ];
        name::unlike(&all)
    }

    /// Creates an invariant. Most of the stored events are checked before appends are excluded.
    fn make_beside_appends(&self, partition: &Partition) -> Result<()> {
        self.store(partition, false)?;
        let stored = by_name(Some(self.name), true)?;
        let mut existing = Existing::new(&stored, partition.oid)?;
        existing.fold_beside_appends()?;
        exclude_appends(partition)?;
        if existing.finish()? {
            return Ok(());
        }
        forget_states(&stored)?;
        history::demand(&stored, partition.oid)
    }

    fn store(&self, partition: &Partition, exists: bool) -> Result<()> {
        let parameters = [
            text(self.name),
            text(&partition.name),
            (Type::Jsonb, Some(json::parse(&self.query.to_string(), "")?)),
            text(self.key),
            text(&self.evolve),
            text(&self.check),
            (Type::Jsonb, self.initial),
            text(&self.path.to_string_lossy()),
            (Type::Boolean, Some(Datum::from(self.key_required))),
        ];
        let sql = if exists {
            "UPDATE en57.invariants SET query = $3, key = $4, evolve = $5, check_function = $6, initial = $7,
                 search_path = $8, key_required = $9 WHERE name = $1 AND partition = $2"
        } else {
            "INSERT INTO en57.invariants
                 (name, partition, query, key, evolve, check_function, initial, search_path, is_enabled, key_required)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true, $9)"
        };
        run(sql, &parameters).map(drop)
    }
}

/// The names of evolve and of the check function, which fit and which the caller may use.
fn functions_of(request: &NewInvariant) -> Result<(String, String)> {
    let evolve = required(request.evolve, "evolve")?;
    let evolve = evolve::check(evolve, request.event_type, request.initial.is_some())?;
    evolve.demand_definable(BECAUSE)?;
    let form = Form {
        role: "check_function",
        text: "(jsonb) returning text",
    };
    let check = form.find(required(request.check, form.role)?, |f| {
        f.arguments == [composite::JSONB] && f.result == composite::TEXT
    })?;
    check.demand_definable(BECAUSE)?;
    Ok((evolve.name(), check.name()))
}
