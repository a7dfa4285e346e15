//! Reset: what a projection has made is deleted, and it handles its events again.

use crate::dcb::error::{Error, Result, SqlState};
use crate::definition::function::Named;
use crate::store::Datum;
use crate::store::call::function::ErrorContext;
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::{fmgr, names, rights};
use crate::store::session::definitions::as_extension_owner;

use super::definition::{KIND, Projection, Work};
use super::document::missing_table;
use super::start::Start;
use super::status::Status;
use super::{manage, rebuild};

/// The columns of a projection that only a reset needs.
pub struct Beginning {
    /// It takes events after this position.
    pub start: i64,
    /// The function that takes away what its handler has written.
    pub truncate: Option<String>,
}

impl Beginning {
    /// Reads them from the row of a projection.
    ///
    /// # Errors
    /// 55000 where the table is missing.
    pub fn of(name: &str) -> Result<Self> {
        let sql = "SELECT start_position, truncate_function FROM en57.projections WHERE name = $1";
        let rows = as_extension_owner(|| spi::run(sql, &[text(name)]))?;
        let column = |n: usize| rows.first().and_then(|row| row[n]);
        Ok(Self {
            start: column(0).map_or(0, |d| d.value() as i64),
            truncate: column(1)
                .map(|d| fmgr::text(d).map(str::to_owned))
                .transpose()?,
        })
    }
}

/// Lets a projection begin anew, where it began or somewhere else; an inline one handles its events at once.
///
/// # Errors
/// 42501, 42704; 22023 for a start that cannot be; 0A000 for a handler without a truncate function; those of
/// the functions.
pub fn reset(name: Option<&str>, start: Option<&str>) -> Result<()> {
    let projection = manage::to_administer(name, "en57_reset_projection()")?;
    let start = match start.map(Start::parse).transpose()? {
        None => Beginning::of(&projection.name)?.start,
        Some(start) => start.position(
            projection.is_inline,
            &projection.query,
            &projection.partition,
        )?,
    };
    begin_at(&projection, start)
}

/// Lets a projection begin anew after a position. The caller has locked it and, if it is inline, has excluded appends to
/// its partition.
///
/// # Errors
/// As [`reset`].
pub fn begin_at(projection: &Projection, start: i64) -> Result<()> {
    if !empty(projection)? {
        return Err(Error::new(
            SqlState::NotSupported,
            format!(
                "projection \"{}\" calls a handler and has no truncate function",
                projection.name
            ),
        )
        .detail("What a handler has written is not known to en57.")
        .hint("Give it one with en57_create_projection(.., truncate => .., or_replace => true)."));
    }
    forget(projection, start)?;
    rebuild::restarted(&projection.name, start)?;
    match projection.status.after_restart() {
        Status::Running if projection.is_inline => {
            manage::set(&projection.name, Status::Paused, start)?;
            manage::activate(&projection.name)
        }
        status => manage::set(&projection.name, status, start),
    }
}

/// Deletes what a projection has made: its documents, or what its truncate function deletes. Returns `false` and does
/// nothing for a handler without such a function.
///
/// # Errors
/// 55000 where the table of documents is gone, 42883 where the function is; its own.
pub fn empty(projection: &Projection) -> Result<bool> {
    let Work::Documents(documents) = &projection.work else {
        return call_truncate(projection);
    };
    let missing = || missing_table(&projection.name);
    let owner = rights::owner_of(documents.table).ok_or_else(missing)?;
    let table = names::qualified_name(documents.table).ok_or_else(missing)?;
    rights::as_role_restricted(owner, || {
        rights::with_path(rights::SAFE_PATH, || {
            // By the newest snapshot, so also documents that the transaction's own snapshot does not show.
            spi::run(&format!("DELETE FROM {table}"), &[])
        })
    })?;
    Ok(true)
}

fn call_truncate(projection: &Projection) -> Result<bool> {
    let Some(function) = Beginning::of(&projection.name)?.truncate else {
        return Ok(false);
    };
    let context = ErrorContext::new(&format!(
        "truncate function {function} of projection \"{}\"",
        projection.name
    ));
    let named = Named::new(function);
    let callable = named.function(KIND, &projection.name)?.prepare_handler();
    context.tell(|| {
        rights::for_functions(&projection.path, &projection.partition, || {
            callable.call([]);
        });
    });
    Ok(true)
}

/// Deletes the dead letters of a projection and stores where it begins now.
///
/// # Errors
/// 55000 where a table is missing.
pub fn forget(projection: &Projection, start: i64) -> Result<()> {
    let name = text(&projection.name);
    as_extension_owner(|| {
        spi::run(
            "DELETE FROM en57.projection_dead_letters WHERE projection = $1",
            &[name],
        )?;
        spi::run(
            "UPDATE en57.projections SET start_position = $2 WHERE name = $1",
            &[name, (Type::Bigint, Some(Datum::from(start)))],
        )
        .map(drop)
    })
}
