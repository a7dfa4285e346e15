//! Erasing: what events say is taken away for good, and with it what was made of it. Where they stand, and how
//! they are found, stays: so no condition, no checkpoint and no query has another answer than before.
//!
//! **Invariant:** while events are erased nobody appends to the partition, keeps a snapshot of it, or checks it. So all
//! that was made of the events is there to be found, and nothing of it comes back.
//!
#![cfg_attr(doc, doc = include_str!("../../docs/architecture/erasing.md"))]

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::dcb::error::{Result, invalid, null, required, shown};
use crate::dcb::partition::ALL;
use crate::dcb::query::Query;
use crate::definition::erasure::cannot_do_without;
use crate::fold::snapshot;
use crate::invariant::Affected;
use crate::projection::Renewals;
use crate::read::Reading;
use crate::store::call::function;
use crate::store::log::catalog::{self, Exclusion};
use crate::store::log::erase;
use crate::store::log::partition::{self, Access, Partition};
use crate::store::pg::guard::{self, Severity};
use crate::store::pg::json::{Jsonb, Value};
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::subtransaction::in_subtransaction;
use crate::store::pg::{array, names};
use crate::store::row::event::{Column, Row};
use crate::store::session::definitions::{self, as_extension_owner};
use crate::store::state::fold_snapshots;
use crate::store::{Datum, Oid};
use crate::upcast::{self, Definitions};

/// The last position there can be.
const LAST: i64 = i64::MAX - 1;
/// What stays of meta.
const KEPT: [&str; 2] = ["correlation_id", "causation_id"];

/// Erases the events of a partition that match, or those of all if it is `*`; returns how many had anything to erase.
///
/// # Errors
/// 22004, 22023, 42501, 42704; 0A000 within a function that en57 calls; 55000 where documents, or events that are
/// upcast, cannot be made without what was erased; N5703 where an invariant would not hold.
pub fn erase(query: Option<Query>, reason: Option<&str>, partition: Option<&str>) -> Result<i64> {
    catalog::demand_writable("en57_erase()")?;
    function::refuse_within_call("en57_erase()")?;
    let query = query.ok_or_else(|| null("query").hint("Write {} for every event."))?;
    let reason = required(reason, "reason")?;
    if reason.trim().is_empty() {
        return Err(invalid("reason must not be empty").hint(
            "Say why, so that it can be shown later; the number of a request, and no names.",
        ));
    }
    let mut done = Done::default();
    for partition in partitions(partition)? {
        done.add(erase_in(&query, reason, &partition)?);
    }
    if done.events > 0 {
        tell(&done.left_in, &done.handlers)?;
    }
    Ok(done.events)
}

/// What was erased, and where some of it is left.
#[derive(Default)]
struct Done {
    events: i64,
    left_in: BTreeSet<String>,
    handlers: Vec<String>,
}

impl Done {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.left_in.extend(other.left_in);
        self.handlers.extend(other.handlers);
    }
}

fn erase_in(query: &Query, reason: &str, partition: &Partition) -> Result<Done> {
    // Before the appends: who holds it may take long, and is in nobody's way.
    fold_snapshots::close_gate(partition.oid);
    partition::exclude_appends(partition)?;
    definitions::accept_changes();
    let mut renewals = Renewals::lock(&partition.name)?;
    let mut affected = Affected::of(&partition.name)?;
    let chosen = Chosen::find(query, partition, &mut renewals, &mut affected)?;
    renewals.ask(&chosen.positions)?;
    let erased = chosen.positions;
    let (Some(first), Some(last)) = (erased.first().copied(), erased.last().copied()) else {
        return Ok(Done::default());
    };
    erase::erase(partition.oid, &erased)?;
    if chosen.is_any_old {
        try_upcasters(query, partition, first, last)?;
    }
    let mut left_in: BTreeSet<String> = names::qualified_name(partition.oid).into_iter().collect();
    if snapshot::forget(partition.oid, &erased)? > 0 {
        left_in.insert("en57.snapshots".into());
    }
    let renewed = renewals.renew(&erased)?;
    left_in.extend(renewed.tables);
    if affected.renew(partition, first)? {
        left_in.insert("en57.invariant_states".into());
    }
    forget_errors(&partition.name, &erased, &renewed.touched, &mut left_in)?;
    record(query, reason, &partition.name, &erased, renewed.documents)?;
    Ok(Done {
        events: erased.len() as i64,
        left_in,
        handlers: renewed.handlers,
    })
}

/// The partitions, in all of which the caller may erase. Who erases everywhere leaves none out that he may not: he is told.
fn partitions(partition: Option<&str>) -> Result<Vec<Rc<Partition>>> {
    let (name, store) = (catalog::effective_name(partition)?, catalog::store()?);
    if name != ALL {
        return Ok(vec![store.partition(Some(&name), Access::Erase)?]);
    }
    if partition.is_none() {
        return Err(invalid("which partition is meant must be said")
            .detail("en57.partition is '*'.")
            .hint("With partition => '*' the events of all partitions are erased."));
    }
    // Nobody makes another one meanwhile, and all who erase everywhere take them in one order.
    store.lock(Exclusion::OfAttaching);
    let mut all = store.all()?;
    all.sort_by_key(|(_, table)| table.to_u32());
    all.iter()
        .map(|(name, _)| store.partition(Some(name), Access::Erase))
        .collect()
}

/// The events that match and have anything to erase.
struct Chosen {
    /// Ascending.
    positions: Vec<i64>,
    /// Whether any is read as something else than it is stored as.
    is_any_old: bool,
}

impl Chosen {
    fn find(
        query: &Query,
        partition: &Partition,
        renewals: &mut Renewals,
        affected: &mut Affected,
    ) -> Result<Self> {
        let definitions = upcast::known()?;
        let mut chosen = Self {
            positions: Vec::new(),
            is_any_old: false,
        };
        let mut reading = Reading::of_settled(query.clone(), &partition.name, 0, LAST)?;
        reading.each_row(|row| {
            if says_anything(row)? {
                chosen.positions.push(row.position());
                chosen.is_any_old |= is_old(row, &definitions)?;
                renewals.see(row)?;
                affected.see(row)?;
            }
            Ok(())
        })?;
        Ok(chosen)
    }
}

/// Whether there is anything to erase.
fn says_anything(row: &Row) -> Result<bool> {
    if row.get(Column::Data).is_some() {
        return Ok(true);
    }
    let Some(meta) = row.get(Column::Meta) else {
        return Ok(false);
    };
    let stays =
        |(key, value): (&str, Value)| KEPT.contains(&key) && matches!(value, Value::String(_));
    for pair in Jsonb::from_datum(meta).pairs() {
        if !stays(pair?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_old(row: &Row, definitions: &Definitions) -> Result<bool> {
    let chains = definitions.chains();
    Ok(chains.of(row.event_type()?, row.schema_version()).is_some())
}

/// Lets upcasters take the erased events: one that cannot would fail every read from now on.
fn try_upcasters(query: &Query, partition: &Partition, first: i64, last: i64) -> Result<()> {
    let read =
        || Reading::of_settled(query.clone(), &partition.name, first - 1, last)?.each(|_| Ok(()));
    in_subtransaction(read)?.or_else(|failure| {
        cannot_do_without(
            "events cannot be read without what was to be erased",
            failure,
        )
    })
}

/// Where errors of projections are kept: table, column, the column of their position, and whether they are of one of the
/// projections $2.
const ERRORS_OF_PROJECTIONS: [(&str, &str, &str, &str); 4] = [
    (
        "projections",
        "last_error",
        "failed_position",
        "name = ANY ($2)",
    ),
    (
        "projection_dead_letters",
        "error",
        "position",
        "projection = ANY ($2)",
    ),
    (
        "rebuilds",
        "last_error",
        "failed_position",
        "projection = ANY ($2)",
    ),
    (
        "rebuild_dead_letters",
        "error",
        "position",
        "rebuild IN (SELECT number FROM en57.rebuilds WHERE projection = ANY ($2))",
    ),
];
/// Where errors of subscriptions are kept: table, column, and the column of their position.
const ERRORS_OF_SUBSCRIPTIONS: [(&str, &str, &str); 2] = [
    ("subscription_shards", "last_error", "failed_position"),
    ("dead_letters", "error", "position"),
];

/// Errors can quote what they were about: the event, and where a function has made something of the events before
/// it, those as well. So of the projections whose events they are, all errors from the first erased event on are
/// forgotten, and those of no event in particular; of subscriptions, those of the events themselves.
fn forget_errors(
    partition: &str,
    erased: &[i64],
    touched: &[String],
    left_in: &mut BTreeSet<String>,
) -> Result<()> {
    let first = erased.first().copied().unwrap_or_default();
    let mut forget = |table: &str, set: String, which: String, parameters: &[_]| -> Result<()> {
        let sql = format!("UPDATE en57.{table} SET {set} WHERE {which} RETURNING 1");
        if !as_extension_owner(|| spi::run(&sql, parameters))?.is_empty() {
            left_in.insert(format!("en57.{table}"));
        }
        Ok(())
    };
    let names: Vec<&str> = touched.iter().map(String::as_str).collect();
    let since = [
        (Type::Bigint, Some(Datum::from(first))),
        (Type::Texts, Some(array::make(&names))),
    ];
    for (table, column, position, whose) in ERRORS_OF_PROJECTIONS {
        let which = format!(
            "({position} >= $1 OR {position} IS NULL) AND {column} IS NOT NULL AND {whose}"
        );
        let set = format!("{column} = '{{\"message\": \"erased\"}}'");
        forget(table, set, which, &since)?;
    }
    let themselves = [
        (Type::Bigints, Some(array::make_bigints(erased))),
        text(partition),
    ];
    for (table, column, position) in ERRORS_OF_SUBSCRIPTIONS {
        let which = format!(
            "{position} = ANY ($1) AND {column} IS NOT NULL
             AND subscription IN (SELECT id FROM en57.subscriptions WHERE partition = ANY (ARRAY[$2, '*']))"
        );
        forget(table, format!("{column} = 'erased'"), which, &themselves)?;
    }
    Ok(())
}

/// Notes who has erased what, and why.
fn record(
    query: &Query,
    reason: &str,
    partition: &str,
    erased: &[i64],
    documents: i64,
) -> Result<()> {
    let parameters = [
        text(partition),
        text(&query.to_string()),
        text(reason),
        (Type::Bigints, Some(array::make_bigints(erased))),
        (Type::Bigint, Some(Datum::from(documents))),
    ];
    as_extension_owner(|| {
        spi::run(
            "INSERT INTO en57.erasures (partition, query, reason, erased_by, events, documents, positions)
             SELECT $1, $2, $3, session_user, cardinality($4), $5, range_agg(int8range(p, p, '[]'))
               FROM unnest($4) AS p",
            &parameters,
        )
        .map(drop)
    })
}

/// A partition was emptied: its positions may come to be those of other events.
///
/// # Errors
/// 55000 where the table is missing.
pub fn truncated(partition: &str) -> Result<()> {
    let sql = "UPDATE en57.erasures SET positions = '{}' WHERE partition = $1";
    as_extension_owner(|| spi::run(sql, &[text(partition)]).map(drop))
}

/// Says what is left to do.
fn tell(left_in: &BTreeSet<String>, handlers: &[String]) -> Result<()> {
    let tables: Vec<&str> = left_in.iter().map(String::as_str).collect();
    let mut hint = format!(
        "When this is committed, run VACUUM (ANALYZE) {}",
        tables.join(", ")
    );
    if is_analyzed(catalog::store()?.events)? {
        hint.push_str(", and ANALYZE en57.events");
    }
    guard::log(
        Severity::Notice,
        "what was erased stays in the tables' files until they are vacuumed",
        None,
        Some(&format!("{hint}.")),
    );
    if !handlers.is_empty() {
        let names: Vec<String> = handlers
            .iter()
            .map(|h| format!("\"{}\"", shown(h)))
            .collect();
        guard::log(
            Severity::Notice,
            "handlers of projections have seen what was erased",
            Some(&format!("Projections: {}.", names.join(", "))),
            Some("What they have made of it is not known to en57: erase it, too."),
        );
    }
    Ok(())
}

/// Whether there can be statistics of the log as a whole: nobody makes or renews them but by ANALYZE.
fn is_analyzed(table: Oid) -> Result<bool> {
    let sql = "SELECT 1 FROM pg_catalog.pg_class WHERE oid = $1 AND reltuples >= 0";
    let rows = as_extension_owner(|| spi::run(sql, &[(Type::Oid, Some(Datum::from(table)))]))?;
    Ok(!rows.is_empty())
}
