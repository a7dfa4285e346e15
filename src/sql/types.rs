//! Event types and upcasters; the type of functions as callers write them.

use crate::dcb::error::invalid;
use crate::definition::name::IfTaken;
use crate::event_type::{self, Wanted};
use crate::store::Datum;
use crate::store::call::function::Function;
use crate::store::pg::composite;
use crate::store::pg::fmgr::{self, Args};
use crate::store::row::srf;
use crate::{sql_function, upcast};

use super::DONE;

sql_function!(en57_register_type, |args: &Args| {
    let if_taken = IfTaken::registering(args.bool(4))?;
    let schemas = [args.datum(2), args.datum(3)];
    event_type::register(args.text(0)?, args.i32(1), schemas, if_taken)?;
    DONE
});

sql_function!(en57_unregister_type, |args: &Args| {
    let gone = event_type::unregister(args.text(0)?, args.i32(1))?;
    Ok(Some(Datum::from(gone)))
});

sql_function!(en57_check_type, |args: &Args| {
    let max_count = args.i64(5).unwrap_or(i64::MAX);
    if max_count < 0 {
        return Err(invalid("max_count must not be negative"));
    }
    let wanted = Wanted {
        name: args.text(0)?,
        version: args.i32(1),
        schemas: [args.datum(2), args.datum(3)],
        partition: args.text(4)?,
        max_count,
    };
    srf::respond_at_once(args, |put: srf::Put<4>| {
        event_type::check_stored(&wanted, |misfit| {
            let text = |t: &str| Some(fmgr::make_varlena(t.as_bytes()));
            put([
                Some(Datum::from(misfit.position)),
                text(&misfit.partition),
                Some(Datum::from(misfit.version)),
                text(&misfit.faults),
            ])
        })
    })
});

sql_function!(en57_register_upcaster, |args: &Args| {
    upcast::register(&upcast::NewUpcaster {
        name: args.text(0)?,
        version: args.i32(1),
        function: args.text(2)?,
        to_name: args.text(3)?,
        to_version: args.i32(4),
        if_taken: IfTaken::registering(args.bool(5))?,
        event_type: composite::event_type(args)?,
        registered: event_type::forms,
    })?;
    DONE
});

sql_function!(en57_drop_upcaster, |args: &Args| {
    upcast::drop(args.text(0)?, args.i32(1), event_type::forms)?;
    DONE
});

sql_function!(en57_function_of, |args: &Args| {
    let Some(oid) = args.oid(0) else {
        return Ok(None);
    };
    let name = Function::of(oid).map_or_else(|| oid.to_u32().to_string(), |f| f.name());
    Ok(Some(fmgr::make_varlena(name.as_bytes())))
});
