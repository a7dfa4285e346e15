//! The swap: the last events are folded and the live table is given what differs from the rebuilt documents, in one
//! transaction. Readers see all of it or nothing, each by its own snapshot, and wait for nothing.

use std::time::Instant;

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::attempt::attempt;
use crate::store::scratch::Scratch;
use crate::store::spi::{self, Type, Values, text};
use crate::store::{Datum, Oid, array, fmgr, guard, rights, transaction};

use super::super::definition::Projection;
use super::super::document::missing_table;
use super::plans::{BY_HASH, BY_INDEX, Way};
use super::state::{State, run};
use super::{Step, batch, documents};

/// Documents that are compared together, and bytes of them: an array must stay below 1 GB.
const DOCUMENTS_AT_ONCE: i64 = 2000;
const BYTES_AT_ONCE: i64 = 16 << 20;

/// Swaps, if nobody is in the way for longer than `patience_ms`; `None`: waits.
pub fn swap(seen: &State, patience_ms: Option<i64>) -> Result<Step> {
    let name = Some(seen.projection.as_str());
    let locked = match patience_ms {
        None => Ok(lock(name, seen.number)?),
        Some(ms) => attempt(|| with_patience(ms, || lock(name, seen.number)))?,
    };
    let (projection, state) = match locked {
        Ok(locked) => locked,
        Err(failure) if failure.state == "55P03" => return Ok(Step::Blocked),
        Err(failure) => return failure.raise(),
    };
    let Some(mut state) = state else {
        return Ok(Step::Ended);
    };
    state.demand_wanted()?;
    if state.is_outdated()? {
        state.begin_anew()?;
    }
    let since = Instant::now();
    let upto = if projection.is_inline {
        super::super::last_position()?
    } else {
        super::settled(&projection)?.max(projection.position)
    };
    let new = state.definition.applied_to(projection)?;
    let done = batch::fold(&state, &new, documents(&new)?, upto)?;
    if done.stopped.is_some() || done.position < upto {
        // Too much for a moment in which nobody appends.
        return state.note(done, "building", since);
    }
    state.note(done, "swapping", since)?;
    match attempt(|| exchange(&state, &new))? {
        Ok(()) => Ok(Step::Swapped(state.number)),
        Err(failure) if !failure.is_passing() => state.stop(None, failure),
        Err(failure) => failure.raise(),
    }
}

/// Keeps appends out where they would change documents, and others from projection and rebuild.
fn lock(name: Option<&str>, rebuild: i64) -> Result<(Projection, Option<State>)> {
    let projection = super::super::to_administer(name, "en57_rebuild()")?;
    Ok((projection, State::numbered(rebuild, true)?))
}

/// Waits for no lock longer than that; it may be less where the session says so.
fn with_patience<T>(ms: i64, body: impl FnOnce() -> T) -> T {
    match crate::store::settings::lock_timeout_ms() {
        set if set > 0 && i64::from(set) < ms => body(),
        _ => rights::with_settings(&[(c"lock_timeout", &guard::text(&ms.to_string()))], body),
    }
}

fn exchange(state: &State, projection: &Projection) -> Result<()> {
    give_difference(state, projection, documents(projection)?.table)?;
    state.definition.store(&projection.name)?;
    state.hand_over_dead_letters()?;
    let status = if projection.status == "paused" {
        "paused"
    } else {
        "running"
    };
    super::super::set(&projection.name, status, state.position)?;
    state.remove()?;
    transaction::wake_at_commit();
    Ok(())
}

/// Some rebuilt documents after an id, as arrays of their columns, and the last id.
const PAGE: &str = "
    SELECT array_agg(id), array_agg(doc), array_agg(version), array_agg(position), array_agg(updated_at), max(id)
      FROM (SELECT *, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS so_far
              FROM en57.rebuild_documents WHERE rebuild = $1 AND id > $2 ORDER BY id LIMIT $3) page
     WHERE so_far - bytes < $4";

/// Makes the live table equal to the rebuilt documents, bit by bit the same. What is equal is left alone.
fn give_difference(state: &State, projection: &Projection, table: Oid) -> Result<()> {
    let missing = || missing_table(&projection.name);
    let live = Live {
        name: rights::qualified_name(table).ok_or_else(missing)?,
        owner: rights::owner_of(table).ok_or_else(missing)?,
    };
    let scratch = Scratch::new();
    // No document has an empty id.
    let mut after = String::new();
    loop {
        pgrx::check_for_interrupts!();
        let last = scratch.run(|| {
            let page = BY_INDEX.plan(|| {
                run(
                    PAGE,
                    &[
                        (Type::Bigint, Some(Datum::from(state.number))),
                        text(&after),
                        (Type::Bigint, Some(Datum::from(DOCUMENTS_AT_ONCE))),
                        (Type::Bigint, Some(Datum::from(BYTES_AT_ONCE))),
                    ],
                )
            })?;
            let row = page.first().ok_or_else(no_page)?;
            let last = row[5]
                .map(|d| fmgr::text(d).map(str::to_owned))
                .transpose()?;
            live.give(row, &after, last.as_deref())?;
            Ok::<_, Error>(last)
        })?;
        scratch.reset();
        match last {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

fn no_page() -> Error {
    Error::new(SqlState::Internal, "an aggregate has no row")
}

/// The table of the documents, used with its owner's rights.
struct Live {
    name: String,
    owner: Oid,
}

impl Live {
    fn run(&self, way: &Way, sql: &str, parameters: &[(Type, Option<Datum>)]) -> Result<()> {
        rights::as_role(self.owner, || {
            rights::with_path(rights::SAFE_PATH, || {
                way.plan(|| spi::run(sql, parameters).map(drop))
            })
        })
    }

    /// Gives the table the documents of a page, which are all that there are after one id and up to another;
    /// where there are none, no more are to follow.
    fn give(&self, page: &Values, after: &str, last: Option<&str>) -> Result<()> {
        let Self { name, .. } = self;
        let from = if after.is_empty() {
            ""
        } else {
            "AND d.id > $2"
        };
        let to = last.map_or("", |_| "AND d.id <= $3");
        let none = || Some(array::make::<&str>(&[]));
        let ids = (Type::Texts, page[0].or_else(none));
        let delete = format!(
            "DELETE FROM {name} d
              WHERE NOT EXISTS (SELECT FROM unnest($1) AS s (id) WHERE s.id = d.id) {from} {to}"
        );
        self.run(
            &BY_HASH,
            &delete,
            &[ids, text(after), text(last.unwrap_or_default())],
        )?;
        if last.is_none() {
            return Ok(());
        }
        let columns = [
            ids,
            (Type::Jsonbs, page[1]),
            (Type::Bigints, page[2]),
            (Type::Bigints, page[3]),
            (Type::Times, page[4]),
        ];
        let given = "unnest($1, $2, $3, $4, $5) AS s (id, doc, version, position, updated_at)";
        // The subquery is planned by itself, so each id is looked for in the index.
        let update = format!(
            "UPDATE {name} d SET doc = s.doc, version = s.version, position = s.position, updated_at = s.updated_at
               FROM (SELECT s.*, l.place FROM {given}, LATERAL (
                         SELECT ctid AS place, doc, version, position, updated_at FROM {name} WHERE id = s.id OFFSET 0) l
                      WHERE record_image_ne(ROW(l.doc, l.version, l.position, l.updated_at),
                                ROW(s.doc, s.version, s.position, s.updated_at)) OFFSET 0) s
              WHERE d.ctid = s.place"
        );
        self.run(&BY_INDEX, &update, &columns)?;
        let insert = format!(
            "INSERT INTO {name} (id, doc, version, position, updated_at)
             SELECT * FROM {given} WHERE NOT EXISTS (SELECT FROM {name} d WHERE d.id = s.id)"
        );
        self.run(&BY_INDEX, &insert, &columns)
    }
}
