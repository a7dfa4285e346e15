//! What DBAs call: counters, the state of the log, the check.

use crate::admin::check::{self, Severity};
use crate::admin::status;
use crate::dcb::error::{Error, SqlState, invalid};
use crate::dcb::key::Namespace;
use crate::sql_function;
use crate::store::Datum;
use crate::store::pg::composite::RowType;
use crate::store::pg::fmgr::{self, Args};
use crate::store::row::{event, srf};

fn text(text: &str) -> Option<Datum> {
    Some(fmgr::make_varlena(text.as_bytes()))
}

sql_function!(en57_stat_counters, |args: &Args| {
    let (counts, since_us) = status::counts()?;
    let mut columns: Vec<_> = counts.iter().map(|n| Some(Datum::from(*n))).collect();
    columns.push(Some(Datum::from(since_us)));
    RowType::of_result(args)?.make(&mut columns).map(Some)
});

sql_function!(en57_stat_reset, |_: &Args| {
    status::reset_counts()?;
    // Void.
    Ok(Some(Datum::from(0)))
});

sql_function!(en57_shared_state, |args: &Args| {
    let (origin, processes) = status::shared_memory();
    let positions = status::positions();
    let has_memory = !matches!(&positions, Err(e) if e.state == SqlState::OutOfMemory);
    let number = |n: i64| Some(Datum::from(n));
    let (next, head, ceiling, problem) = match &positions {
        Ok(p) => (
            number(p.next),
            number(p.head),
            p.ceiling.and_then(number),
            None,
        ),
        Err(error) => (None, None, None, text(&in_words(error))),
    };
    RowType::of_result(args)?
        .make(&mut [
            text(env!("CARGO_PKG_VERSION")),
            text(origin).filter(|_| has_memory),
            Some(Datum::from(processes as i32)),
            next,
            head,
            ceiling,
            problem,
        ])
        .map(Some)
});

/// An error as a sentence, with its remedy.
fn in_words(error: &Error) -> String {
    let mut words = error.message.clone();
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words.push('.');
    for more in [&error.detail, &error.hint].into_iter().flatten() {
        words.push(' ');
        words.push_str(more);
    }
    words
}

sql_function!(en57_in_flight, |args: &Args| {
    srf::respond_at_once(args, |put| {
        for flight in status::in_flight()? {
            put([
                flight.pid.map(Datum::from),
                Some(Datum::from(flight.from)),
                flight.partition.map(Datum::from),
            ])?;
        }
        Ok(())
    })
});

sql_function!(en57_key_locks, |args: &Args| {
    srf::respond_at_once(args, |put| {
        for lock in status::key_locks()? {
            put([
                Some(Datum::from(lock.partition)),
                Some(Datum::from(lock.key)),
                lock.mode.and_then(|mode| text(mode.name())),
                lock.pid.map(Datum::from),
            ])?;
        }
        Ok(())
    })
});

sql_function!(en57_key_lock_use, |args: &Args| {
    let (used, room, times_full) = status::key_lock_use()?;
    RowType::of_result(args)?
        .make(&mut [
            Some(Datum::from(used as i32)),
            Some(Datum::from(room as i32)),
            Some(Datum::from(times_full as i64)),
        ])
        .map(Some)
});

sql_function!(en57_key, |args: &Args| {
    let names = [Namespace::Tag, Namespace::Type, Namespace::Stream];
    let mut given = Vec::new();
    for (n, namespace) in names.into_iter().enumerate() {
        given.extend(args.text(n)?.map(|name| (namespace, name)));
    }
    match given.as_slice() {
        [(namespace, name)] => Ok(Some(Datum::from(event::effective(
            *namespace,
            name.as_bytes(),
        )))),
        _ => Err(invalid(
            "give a tag, a type, or a stream, and only one of them",
        )),
    }
});

sql_function!(en57_check, |args: &Args| {
    srf::respond_at_once(args, |put| {
        check::check(args.text(0)?, &mut |finding| {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            put([
                text(severity),
                text(&finding.object),
                text(&finding.problem),
                text(&finding.hint),
            ])
        })
    })
});
