//! Invariants: `en57_create_invariant` and what belongs to it.

use crate::definition::name::IfTaken;
use crate::invariant::{self, NewInvariant};
use crate::sql_function;
use crate::store::pg::composite;
use crate::store::pg::fmgr::{self, Args};
use crate::store::row::srf;
use crate::store::session::definitions;
use crate::trial;

use super::DONE;

sql_function!(en57_create_invariant, |args: &Args| {
    invariant::create(&NewInvariant {
        name: args.text(0)?,
        query: args.query(1)?,
        key: args.text(2)?,
        evolve: args.text(3)?,
        check: args.text(4)?,
        initial: args.datum(5),
        partition: args.text(6)?,
        validate: args.bool(7),
        key_required: args.bool(8),
        if_taken: IfTaken::said(args.bool(9), args.bool(10))?,
        event_type: composite::event_type(args)?,
    })?;
    DONE
});

sql_function!(en57_drop_invariant, |args: &Args| {
    invariant::remove(args.text(0)?)?;
    DONE
});

sql_function!(en57_disable_invariant, |args: &Args| {
    invariant::disable(args.text(0)?)?;
    DONE
});

sql_function!(en57_enable_invariant, |args: &Args| {
    invariant::enable(args.text(0)?, args.bool(1))?;
    DONE
});

sql_function!(en57_invariants_changed, |args: &Args| {
    definitions::announce(args)?;
    DONE
});

sql_function!(en57_try_invariant, |args: &Args| {
    let text = |t: &str| fmgr::make_varlena(t.as_bytes());
    srf::respond_at_once(args, |put: srf::Put<3>| {
        trial::invariant::try_on(args.text(0)?, args.datum(1), |verdict| {
            let fault = verdict.fault.as_deref().map(text);
            put([verdict.key.map(text), verdict.state, fault])
        })
    })
});
