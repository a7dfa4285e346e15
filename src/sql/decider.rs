//! Deciders: `en57_create_decider`, `en57_decide`, `en57_try`.

use crate::append::{self, ConflictReport, Conflicts, OnRefusal};
use crate::decider::{self, Decided, Destination};
use crate::definition::name::IfTaken;
use crate::fold::{self, NewDecider};
use crate::read::stream::Target;
use crate::sql_function;
use crate::store::pg::composite;
use crate::store::pg::fmgr::{self, Args};

use super::DONE;
use super::append::Answer;

sql_function!(en57_create_decider, |args: &Args| {
    fold::create(&fold::NewFold {
        name: args.text(0)?,
        evolve: args.text(2)?,
        initial: args.datum(4),
        snapshot_every: args.i32(6),
        decider: Some(NewDecider {
            query_function: args.text(1)?,
            decide: args.text(3)?,
            command_schema: args.datum(5),
        }),
        if_taken: IfTaken::said(args.bool(8), args.bool(7))?,
        event_type: composite::event_type(args)?,
        query_type: composite::query_type(args)?,
    })?;
    DONE
});

sql_function!(en57_drop_decider, |args: &Args| {
    fold::remove(args.text(0)?, "decider")?;
    DONE
});

sql_function!(en57_decide, |args: &Args| {
    let id = args.datum(3).map(fmgr::uuid);
    let destination = Destination {
        partition: args.text(2)?,
        target: Target::new(args.text(4)?, args.i64(5))?,
        on_refusal: OnRefusal::said(args.text(6)?)?,
    };
    let mut told = ConflictReport::new(false);
    let mut conflicts = Conflicts {
        at_most: append::max_conflicts(),
        sink: &mut |row| told.add(row),
    };
    let decided = decider::decide(
        args.text(0)?,
        args.datum(1),
        destination,
        id,
        &mut conflicts,
    )?;
    match decided {
        Decided::Stored(outcome) => Answer::new(outcome, told.into_json()),
        Decided::Nothing(position) => Answer::nothing(position),
    }
    .as_row(args)
});

sql_function!(en57_try, |args: &Args| {
    decider::try_on(args.text(0)?, args.datum(1), args.datum(2)).map(Some)
});
