//! Invariants: what must hold of the events of each key after every append. A function folds the events
//! into a state, another one says what is wrong with it, and the append that makes it wrong is refused.

mod definition;
mod existing;
mod fold;
mod renew;
mod rules;

pub use definition::{all_of, has_changed};
pub use renew::Affected;
pub use rules::{Rules, keys_checked};

use crate::dcb::error::{Error, Result, SqlState, invalid, null, required};
use crate::dcb::query::Query;
use crate::fold::evolve;
use crate::functions;
use crate::projection::{exclude_appends, place_to_administer};
use crate::store::function::Function;
use crate::store::partition::Access;
use crate::store::spi::{Type, text};
use crate::store::{Datum, Oid, catalog, fmgr, json, rights, tuple};

use definition::{Invariant, by_name, run};

/// Why its creator must own an invariant's functions.
const BECAUSE: &str = "An invariant runs its functions with the rights of their owner.";

/// What is to be made, as the caller said it.
pub struct Request<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Which events.
    pub query: Option<Query>,
    /// `stream` or `tag:PREFIX`.
    pub key: Option<&'a str>,
    /// The function that folds.
    pub evolve: Option<Oid>,
    /// The function that says what is wrong.
    pub check: Option<Oid>,
    /// What the first event meets.
    pub initial: Option<Datum>,
    /// The partition's name.
    pub partition: Option<&'a str>,
    /// Whether it must hold of what is stored already.
    pub validate: Option<bool>,
    /// Whether an event that matches must have a key.
    pub key_required: Option<bool>,
    /// The row type en57_event.
    pub event_type: Oid,
}

/// Makes an invariant.
///
/// # Errors
/// 42501 without the rights; 42710 where the name is taken; 22004 and 22023 for what does not fit; N5703
/// where stored events break it; those of the functions.
pub fn create(request: &Request) -> Result<()> {
    catalog::demand_writable("en57_create_invariant()")?;
    let name = functions::name(request.name, "an invariant's")?;
    let query = request
        .query
        .clone()
        .ok_or_else(|| null("query").hint("Write {} for every event."))?;
    if query.criteria().iter().any(|c| c.after.is_some()) {
        return Err(invalid("query of an invariant must not have \"after\"")
            .detail("A state is made of all events of its key.")
            .hint("Let evolve return the state that it was given for events up to a position."));
    }
    let key = required(request.key, "key")?;
    definition::key(key)?;
    let validate = required(request.validate, "validate")?;
    let key_required = required(request.key_required, "key_required")?;
    let (evolve, check) = functions_of(request)?;
    let place = place_to_administer(request.partition)?;
    Access::Read.demand(place.oid)?;
    // Who has appended before has ended, and who appends after waits until this transaction has.
    exclude_appends(&place)?;
    if !run(
        "SELECT 1 FROM en57.invariants WHERE name = $1",
        &[text(name)],
    )?
    .is_empty()
    {
        return Err(Error::new(
            SqlState::DuplicateObject,
            format!("invariant \"{name}\" exists already"),
        ));
    }
    let path = rights::path_of_caller();
    let parameters = [
        text(name),
        text(&place.name),
        (Type::Jsonb, Some(json::parse(&query.to_string(), "")?)),
        text(key),
        text(&evolve),
        text(&check),
        (Type::Jsonb, request.initial),
        text(&path.to_string_lossy()),
        (Type::Boolean, Some(Datum::from(key_required))),
    ];
    run(
        "INSERT INTO en57.invariants
             (name, partition, query, key, evolve, check_function, initial, search_path, is_enabled, key_required)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true, $9)",
        &parameters,
    )?;
    if validate {
        existing::demand(&by_name(Some(name), true)?, place.oid)?;
    }
    Ok(())
}

/// The names of the two functions, which fit and may be used.
fn functions_of(request: &Request) -> Result<(String, String)> {
    let evolve = required(request.evolve, "evolve")?;
    let evolve = evolve::check(evolve, request.event_type, request.initial.is_some())?;
    evolve.demand_definable(BECAUSE)?;
    let (check, argument) = (request.check, "check_function");
    let form = "(jsonb) returning text";
    let check = Function::of_form(required(check, argument)?, argument, form, |f| {
        f.arguments == [tuple::JSONB] && f.result == tuple::TEXT
    })?;
    check.demand_definable(BECAUSE)?;
    Ok((evolve.name(), check.name()))
}

/// An invariant that the caller may administer, kept from others until the end of the transaction, while
/// nobody appends to its partition.
fn to_administer(name: Option<&str>, function: &str) -> Result<(Invariant, Oid)> {
    catalog::demand_writable(function)?;
    let found = by_name(name, false)?;
    let place = place_to_administer(Some(&found.partition))?;
    exclude_appends(&place)?;
    Ok((by_name(name, true)?, place.oid))
}

/// Drops an invariant.
///
/// # Errors
/// 42501, 42704.
pub fn remove(name: Option<&str>) -> Result<()> {
    let (invariant, _) = to_administer(name, "en57_drop_invariant()")?;
    forget_states(&invariant)?;
    let sql = "DELETE FROM en57.invariants WHERE name = $1";
    run(sql, &[text(&invariant.name)]).map(drop)
}

/// Lets appends go unchecked until the invariant is enabled again.
///
/// # Errors
/// 42501, 42704.
pub fn disable(name: Option<&str>) -> Result<()> {
    let (invariant, _) = to_administer(name, "en57_disable_invariant()")?;
    set_enabled(&invariant, false)
}

/// Lets appends be checked again. What was kept of states is forgotten.
///
/// # Errors
/// 42501, 42704; N5703 where stored events break it; those of its functions.
pub fn enable(name: Option<&str>, validate: Option<bool>) -> Result<()> {
    let (invariant, table) = to_administer(name, "en57_enable_invariant()")?;
    let validate = required(validate, "validate")?;
    forget_states(&invariant)?;
    set_enabled(&invariant, true)?;
    if validate {
        existing::demand(&invariant, table)?;
    }
    Ok(())
}

fn set_enabled(invariant: &Invariant, enabled: bool) -> Result<()> {
    let sql = if enabled {
        "UPDATE en57.invariants SET is_enabled = true WHERE name = $1 AND NOT is_enabled"
    } else {
        "UPDATE en57.invariants SET is_enabled = false WHERE name = $1 AND is_enabled"
    };
    run(sql, &[text(&invariant.name)]).map(drop)
}

fn forget_states(invariant: &Invariant) -> Result<()> {
    let number = (Type::Bigint, Some(Datum::from(invariant.number)));
    let sql = "DELETE FROM en57.invariant_states WHERE invariant = $1";
    run(sql, &[number]).map(drop)
}

/// Forgets the states of a partition's invariants: its events are not those any more of which they were made.
///
/// # Errors
/// 55000 where the table is missing.
pub fn begin_anew(partition: &str) -> Result<()> {
    let sql = "DELETE FROM en57.invariant_states WHERE invariant IN
                   (SELECT number FROM en57.invariants WHERE partition = $1)";
    run(sql, &[text(partition)]).map(drop)
}

/// The names of a partition's invariants.
///
/// # Errors
/// 55000 where the table is missing.
pub fn names_of(partition: &str) -> Result<Vec<String>> {
    let sql = "SELECT name FROM en57.invariants WHERE partition = $1 ORDER BY number";
    let rows = run(sql, &[text(partition)])?;
    let names = rows.iter().map(|row| row[0].map_or(Ok(""), fmgr::text));
    names.map(|name| name.map(str::to_owned)).collect()
}
