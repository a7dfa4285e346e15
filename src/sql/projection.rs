//! Projections: `en57_create_projection` and what belongs to it.

use crate::dcb::error::{Error, Result, SqlState};
use crate::definition::name::IfTaken;
use crate::projection::{self, NewProjection, NewWork};
use crate::sql_function;
use crate::store::Datum;
use crate::store::pg::fmgr::{self, Args};
use crate::store::pg::xmin::XminRelease;
use crate::store::pg::{clock, composite};
use crate::store::row::srf;
use crate::store::session::definitions;
use crate::trial;

use super::DONE;

sql_function!(en57_create_projection, |args: &Args| {
    projection::create(&NewProjection {
        name: args.text(0)?,
        query: args.query(1)?,
        work: NewWork::Handler {
            handler: args.text(2)?,
            truncate: args.text(8)?,
        },
        mode: args.text(3)?,
        on_error: args.text(4)?,
        batch_size: args.i32(5),
        partition: args.text(6)?,
        start: args.text(7)?,
        if_taken: IfTaken::said(args.bool(9), args.bool(10))?,
        event_type: composite::event_type(args)?,
    })?;
    DONE
});

/// The key of a document projection is declared `text`, or `en57_function`.
fn create_documents(args: &Args, key: Option<&str>, key_function: Option<&str>) -> Result<()> {
    projection::create(&NewProjection {
        name: args.text(0)?,
        query: args.query(1)?,
        work: NewWork::Documents {
            key,
            key_function,
            evolve: args.text(3)?,
            initial: args.datum(4),
        },
        mode: args.text(5)?,
        on_error: args.text(6)?,
        batch_size: args.i32(7),
        partition: args.text(8)?,
        start: args.text(9)?,
        if_taken: IfTaken::said(args.bool(10), args.bool(11))?,
        event_type: composite::event_type(args)?,
    })
}

sql_function!(en57_create_document_projection, |args: &Args| {
    create_documents(args, args.text(2)?, None)?;
    DONE
});

sql_function!(en57_create_document_projection_by, |args: &Args| {
    create_documents(args, None, args.text(2)?)?;
    DONE
});

sql_function!(en57_drop_projection, |args: &Args| {
    projection::remove(args.text(0)?, args.bool(1).unwrap_or(false))?;
    DONE
});

sql_function!(en57_reset_projection, |args: &Args| {
    projection::reset(args.text(0)?, args.text(1)?)?;
    DONE
});

sql_function!(en57_replay_projection_dead_letters, |args: &Args| {
    let handled = projection::replay(args.text(0)?, args.i64(1))?;
    Ok(Some(Datum::from(handled)))
});

sql_function!(en57_pause, |args: &Args| {
    projection::pause(args.text(0)?)?;
    DONE
});

sql_function!(en57_resume, |args: &Args| {
    projection::resume(args.text(0)?, args.bool(1).unwrap_or(false))?;
    DONE
});

sql_function!(en57_run, |args: &Args| {
    let handled = projection::run(args.text(0)?, args.i64(1))?;
    Ok(Some(Datum::from(handled)))
});

sql_function!(en57_wait_projection, |args: &Args| {
    let Some(timeout) = args.datum(2) else {
        return Err(Error::new(
            SqlState::NullNotAllowed,
            "timeout must not be NULL",
        ));
    };
    let timeout_ms = clock::interval_ms(timeout)?;
    let reached = projection::wait(
        args.text(0)?,
        args.i64(1),
        timeout_ms,
        XminRelease::for_call(args),
    )?;
    Ok(Some(Datum::from(reached)))
});

sql_function!(en57_projections_changed, |args: &Args| {
    definitions::announce(args)?;
    DONE
});

sql_function!(en57_try_projection, |args: &Args| {
    srf::respond_at_once(args, |put: srf::Put<4>| {
        trial::projection::try_on(args.text(0)?, args.datum(1), |tried| {
            put([
                Some(fmgr::make_varlena(tried.id.as_bytes())),
                Some(tried.doc),
                Some(Datum::from(tried.version)),
                Some(Datum::from(tried.position)),
            ])
        })
    })
});
