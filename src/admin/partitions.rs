//! Partitions: making, dropping, detaching and emptying them, and who may do what with them.

use crate::dcb::error::{Error, Result, SqlState, invalid, nearest, required, shown};
use crate::dcb::partition::{DEFAULT, check_name};
use crate::dcb::query::Query;
use crate::definition::function::Named;
use crate::definition::name::{IfTaken, Taken};
use crate::fold::snapshot;
use crate::store::Oid;
use crate::store::index::entry::Direction;
use crate::store::index::fetch::Fetcher;
use crate::store::index::scan::{Range, Scan};
use crate::store::log::catalog::{self, Exclusion, Store};
use crate::store::log::ddl::{self, Rights};
use crate::store::log::partition::{self, Access, Partition};
use crate::store::log::position::Counter;
use crate::store::pg::guard::{self, Severity};
use crate::{invariant, projection, subscription};

use super::erase;

/// Makes a partition, or leaves the one that there is, and returns its table.
///
/// # Errors
/// 42501 for others than admins of the whole log; 22023 for a name that cannot be; 42710 where there is one.
pub fn create(name: &str, if_not_exists: Option<bool>) -> Result<Oid> {
    catalog::demand_writable("en57_create_partition()")?;
    check_name(name)?;
    let if_taken = match required(if_not_exists, "if_not_exists")? {
        true => IfTaken::Leave,
        false => IfTaken::Refuse,
    };
    let store = catalog::store()?;
    Access::Manage.demand(store.events)?;
    // A script that is run again waits for nobody.
    if if_taken == IfTaken::Refuse || !store.has_partition(name)? {
        store.lock(Exclusion::OfAttaching);
    }
    if store.has_partition(name)? {
        if_taken.changes(&Taken {
            title: &format!("partition \"{}\"", shown(name)),
            differs_in: Vec::new(),
            is_replaceable: false,
        })?;
        return store.demand(name, Access::Manage);
    }
    let table = store.free_table(name)?;
    Ok(ddl::create_partition(store, name, &table))
}

/// Drops a partition with its events.
///
/// # Errors
/// 42501 for others than its admins; 42704; 55000 for the default one.
pub fn drop(name: &str) -> Result<()> {
    catalog::demand_writable("en57_drop_partition()")?;
    let (store, partition) = removable(name, "dropped")?;
    snapshot::forget_all(partition)?;
    ddl::drop_partition(store, partition);
    Ok(())
}

/// Takes a partition out of the log and returns its table, which stays.
///
/// # Errors
/// As [`drop`].
pub fn detach(name: &str) -> Result<Oid> {
    catalog::demand_writable("en57_detach_partition()")?;
    let (store, partition) = removable(name, "detached")?;
    snapshot::forget_all(partition)?;
    ddl::detach_partition(store, partition);
    Ok(partition)
}

/// The table of a partition that is to go, locked after the log as PostgreSQL's own commands do it.
fn removable(name: &str, what: &str) -> Result<(&'static Store, Oid)> {
    if name == DEFAULT {
        return Err(Error::new(
            SqlState::NotInPrerequisiteState,
            format!("partition \"{DEFAULT}\" cannot be {what}"),
        )
        .hint("en57_truncate() empties it."));
    }
    let store = catalog::store()?;
    store.demand(name, Access::Manage)?;
    store.lock(Exclusion::OfAll);
    let partition = store.partition(Some(name), Access::Manage)?;
    for (what, names, remedy) in [
        (
            "projections",
            projection::names_of(name)?,
            "en57_drop_projection()",
        ),
        (
            "subscriptions",
            subscription::names_of(name)?,
            "en57_drop_subscription()",
        ),
        (
            "invariants",
            invariant::names_of(name)?,
            "en57_drop_invariant()",
        ),
    ] {
        if let Some(first) = names.first() {
            return Err(Error::new(
                SqlState::NotInPrerequisiteState,
                format!("partition \"{}\" has {what}", shown(name)),
            )
            .detail(format!("\"{first}\" is one of them."))
            .hint(format!("Drop them first, with {remedy}.")));
        }
    }
    Ok((store, partition.oid))
}

/// Empties a partition; with `restart` positions begin at 1 again once the transaction is committed.
///
/// # Errors
/// 42501 for others than its admins, and with `restart` than admins of the whole log; 55000 where other
/// partitions hold events.
pub fn truncate(name: &str, restart: bool) -> Result<()> {
    catalog::demand_writable("en57_truncate()")?;
    let store = catalog::store()?;
    store.demand(name, Access::Manage)?;
    if restart {
        close_log(store)?;
    }
    let partition = store.partition(Some(name), Access::Manage)?;
    if restart {
        for (other, _) in store
            .all()?
            .iter()
            .filter(|(_, table)| *table != partition.oid)
        {
            let other = store.partition(Some(other), Access::Close)?;
            if !is_empty(&other)? {
                return Err(Error::new(
                    SqlState::NotInPrerequisiteState,
                    format!("partition \"{}\" holds events", shown(&other.name)),
                )
                .detail("Positions are those of all partitions together.")
                .hint("Truncate it first, or leave restart out."));
            }
        }
    }
    ddl::truncate(partition.oid)?;
    snapshot::forget_all(partition.oid)?;
    projection::begin_anew(name)?;
    invariant::begin_anew(name)?;
    erase::truncated(name)?;
    subscription::begin_anew(name, restart)?;
    if restart {
        Counter::of(store)?.restart_at_commit();
    }
    Ok(())
}

/// Keeps everybody out of all partitions until the transaction ends, for positions to begin again. Appenders,
/// so that no position is allotted; readers, for whom what lies below a frontier would not be settled.
///
/// # Errors
/// 42501 for others than admins of the whole log.
fn close_log(store: &Store) -> Result<()> {
    Access::Manage.demand(store.events)?;
    store.lock(Exclusion::OfAttaching);
    // In the order in which readers of all lock them.
    for (name, _) in store.all()? {
        store.partition(Some(&name), Access::Close)?;
    }
    Ok(())
}

/// Whether there is no event in a partition to which nobody appends.
fn is_empty(partition: &Partition) -> Result<bool> {
    let query = Query::everything();
    let table = partition.open_to_scan(&query);
    let range = Range {
        after: 0,
        upto: i64::MAX - 1,
    };
    let mut scan = Scan::new(&table, &query, range, Direction::Backward)?;
    let mut fetcher = Fetcher::new(&table);
    while let Some(entry) = scan.next_entry()? {
        if fetcher.fetch(entry, false) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The name of a table's partition; `None` where it is not one.
pub fn name_of(table: Oid) -> Result<Option<String>> {
    // One that is attached by hand for something else has no name.
    Ok(catalog::store()?.name_of(table).unwrap_or_default())
}

/// Gives a role rights on a partition, or on the log and all partitions that there are.
///
/// # Errors
/// 42501 for others than its admins; 42704; 22023.
pub fn grant(role: Oid, what: &str, partition: Option<&str>, function: Oid) -> Result<()> {
    catalog::demand_writable("en57_grant()")?;
    let (rights, store) = (rights(what)?, catalog::store()?);
    let tables = tables(store, partition)?;
    ddl::grant(store, role, rights, &tables, function)
}

/// Takes from a role the rights that [`grant`] gives. Warns of what goes on showing events to it.
///
/// # Errors
/// As [`grant`].
pub fn revoke(role: Oid, what: &str, partition: Option<&str>, function: Oid) -> Result<()> {
    catalog::demand_writable("en57_revoke()")?;
    let (rights, store) = (rights(what)?, catalog::store()?);
    let tables = tables(store, partition)?;
    let mut onlookers = onlookers(store, &tables)?;
    onlookers.retain(Onlooker::may_read);
    ddl::revoke(store, role, rights, &tables, function)?;
    onlookers.retain(|onlooker| !onlooker.may_read());
    warn_of(&onlookers);
    Ok(())
}

/// A definition with a function that is given the events of a partition, by the rights of its owner.
struct Onlooker {
    definition: String,
    function: String,
    owner: Oid,
    table: Oid,
}

impl Onlooker {
    fn may_read(&self) -> bool {
        partition::is_readable_by(self.owner, self.table)
    }
}

fn onlookers(store: &Store, tables: &[Oid]) -> Result<Vec<Onlooker>> {
    let mut all = Vec::new();
    for (name, table) in store.all()? {
        if !tables.contains(&table) {
            continue;
        }
        let mut add = |definition: String, functions: &[&Named]| {
            for function in functions {
                all.extend(function.owner().map(|owner| Onlooker {
                    definition: definition.clone(),
                    function: function.name.clone(),
                    owner,
                    table,
                }));
            }
        };
        for projection in projection::all_of(&name)? {
            let title = format!("projection \"{}\"", projection.name);
            add(title, &projection.functions());
        }
        for invariant in invariant::all_of(&name)? {
            let title = format!("invariant \"{}\"", invariant.name);
            add(title, &[&invariant.evolve, &invariant.check]);
        }
    }
    Ok(all)
}

fn warn_of(onlookers: &[Onlooker]) {
    if onlookers.is_empty() {
        return;
    }
    const SHOWN: usize = 20;
    let shown = |o: &Onlooker| format!("function {} of {}", o.function, o.definition);
    let mut shown: Vec<String> = onlookers.iter().take(SHOWN).map(shown).collect();
    if onlookers.len() > SHOWN {
        shown.push(format!("{} more", onlookers.len() - SHOWN));
    }
    guard::log(
        Severity::Warning,
        "functions go on being given events that their owners may no longer read",
        Some(&format!("They are {}.", shown.join(", "))),
        Some(
            "Drop the projections and invariants, or give the functions to another role with ALTER FUNCTION .. OWNER TO.",
        ),
    );
}

fn rights(what: &str) -> Result<Rights> {
    const KNOWN: [(&str, Rights); 3] = [
        ("reader", Rights::Reader),
        ("writer", Rights::Writer),
        ("admin", Rights::Admin),
    ];
    let known = KNOWN.iter().find(|(name, _)| *name == what);
    known.map(|(_, rights)| *rights).ok_or_else(|| {
        let error = invalid("what must be 'reader', 'writer' or 'admin'");
        match nearest(what, &KNOWN.map(|(name, _)| name)) {
            Some(near) => error.hint(format!("Did you mean '{near}'?")),
            None => error,
        }
    })
}

/// The tables on which the caller, an admin, gives or takes rights.
fn tables(store: &Store, partition: Option<&str>) -> Result<Vec<Oid>> {
    if let Some(name) = partition {
        return Ok(vec![store.demand(name, Access::Manage)?]);
    }
    Access::Manage.demand(store.events)?;
    let all = store.all()?;
    let partitions = all.iter().map(|(_, table)| *table);
    Ok(std::iter::once(store.events).chain(partitions).collect())
}
