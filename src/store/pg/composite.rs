//! Composite values and arrays of them: formed and taken apart, by row types as the catalogs have them.

use pgrx::pg_sys::{self, Datum, HeapTuple, Oid, TupleDesc};

use crate::dcb::error::{Error, Result, SqlState};

use super::fmgr::Args;

/// A row type: from PostgreSQL's type cache, where it is released when dropped, or a function's own.
pub struct RowType(TupleDesc);

impl RowType {
    /// The row type of this oid; raises where it is none.
    pub fn of(oid: Oid) -> Self {
        // SAFETY: the type cache's descriptor is pinned until `drop`, or the transaction's end.
        Self(unsafe { pg_sys::lookup_rowtype_tupdesc(oid, -1) })
    }

    /// The row type that a call is to return.
    ///
    /// # Errors
    /// 0A000 where the caller does not say which.
    pub fn of_result(args: &Args) -> Result<Self> {
        let declared = args.result_type();
        if declared != pg_sys::InvalidOid && declared != pg_sys::RECORDOID {
            return Ok(Self::of(declared));
        }
        let mut descriptor = std::ptr::null_mut();
        // SAFETY: `descriptor` is filled in where the answer is TYPEFUNC_COMPOSITE; it lives in the
        // current memory context and is not counted, so `drop` leaves it alone.
        unsafe {
            let class =
                pg_sys::get_call_result_type(args.raw(), std::ptr::null_mut(), &mut descriptor);
            if class != pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE {
                return Err(Error::new(
                    SqlState::NotSupported,
                    "function returning record called in context that cannot accept type record",
                ));
            }
            Ok(Self(pg_sys::BlessTupleDesc(descriptor)))
        }
    }

    /// PostgreSQL's own handle, valid as long as self.
    pub fn raw(&self) -> TupleDesc {
        self.0
    }

    /// A composite value of these columns, in the current memory context.
    ///
    /// # Errors
    /// 55000 where the type has other columns than the extension gave it.
    pub fn make(&self, columns: &mut [Option<Datum>]) -> Result<Datum> {
        // SAFETY: the tuple is formed in the current memory context for this very type.
        unsafe {
            Ok(pg_sys::HeapTupleHeaderGetDatum(
                (*self.tuple(columns)?).t_data,
            ))
        }
    }

    fn tuple(&self, columns: &mut [Option<Datum>]) -> Result<HeapTuple> {
        let mut values: Vec<Datum> = columns
            .iter()
            .map(|c| c.unwrap_or(Datum::from(0)))
            .collect();
        let mut nulls: Vec<bool> = columns.iter().map(Option::is_none).collect();
        // SAFETY: callers give as many columns as the type has (asserted).
        unsafe {
            if (*self.0).natts as usize != columns.len() {
                return Err(altered_type());
            }
            Ok(pg_sys::heap_form_tuple(
                self.0,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            ))
        }
    }
}

impl Drop for RowType {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: pinned by `of`, released once, as the macro ReleaseTupleDesc does.
        unsafe {
            if (*self.0).tdrefcount >= 0 {
                pg_sys::DecrTupleDescRefCount(self.0);
            }
        }
    }
}

/// An array of composite values, in the current memory context.
pub fn array_of(element: Oid, values: &mut [Datum]) -> Datum {
    let (mut length, mut by_value, mut align) = (0, false, 0);
    // SAFETY: looks the element type up, then copies the values into a new array.
    unsafe {
        pg_sys::get_typlenbyvalalign(element, &mut length, &mut by_value, &mut align);
        let array = pg_sys::construct_array(
            values.as_mut_ptr(),
            values.len() as i32,
            element,
            i32::from(length),
            by_value,
            align,
        );
        Datum::from(array)
    }
}

/// The element type of an array type, and the types of a row type's columns.
pub fn element_type(array: Oid) -> Oid {
    // SAFETY: a lookup in the system caches.
    unsafe { pg_sys::get_element_type(array) }
}

/// `void`
pub const VOID: Oid = pg_sys::VOIDOID;

/// `jsonb`
pub const JSONB: Oid = pg_sys::JSONBOID;

/// `text`
pub const TEXT: Oid = pg_sys::TEXTOID;

/// `timestamptz`
pub const TIMESTAMPTZ: Oid = pg_sys::TIMESTAMPTZOID;

/// `text[]`
pub const TEXT_ARRAY: Oid = pg_sys::TEXTARRAYOID;

/// The array type of a type.
pub fn array_type(element: Oid) -> Oid {
    // SAFETY: a lookup in the system caches.
    unsafe { pg_sys::get_array_type(element) }
}

/// The row type `en57_event`: it is in the schema of the function that is being called.
///
/// # Errors
/// 55000 where it is missing.
pub fn event_type(args: &Args) -> Result<Oid> {
    own_type(args, c"en57_event")
}

/// The type `en57_query`, in the same way.
///
/// # Errors
/// 55000 where it is missing.
pub fn query_type(args: &Args) -> Result<Oid> {
    own_type(args, c"en57_query")
}

fn own_type(args: &Args, name: &std::ffi::CStr) -> Result<Oid> {
    // SAFETY: flinfo is set by whoever calls through the function manager; lookups in the system caches.
    let found = unsafe {
        let schema = pg_sys::get_func_namespace((*(*args.raw()).flinfo).fn_oid);
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as i32,
            pg_sys::Anum_pg_type_oid as i16,
            Datum::from(name.as_ptr()),
            Datum::from(schema),
            Datum::from(0),
            Datum::from(0),
        )
    };
    if found == pg_sys::InvalidOid {
        return Err(altered_type());
    }
    Ok(found)
}

/// A varlena value, detoasted into the current memory context where need be.
pub fn detoasted(datum: Datum) -> Datum {
    // SAFETY: callers hold a datum of a varlena type.
    unsafe { Datum::from(pg_sys::pg_detoast_datum(datum.cast_mut_ptr())) }
}

/// A copy of a varlena value, detoasted, in the current memory context.
pub fn copied(datum: Datum) -> Datum {
    // SAFETY: as above.
    unsafe { Datum::from(pg_sys::pg_detoast_datum_copy(datum.cast_mut_ptr())) }
}

/// Frees a value that [`copied`] or [`detoasted`] has made, or that a statement has returned.
pub fn free(datum: Datum) {
    // SAFETY: callers own the value, and do not use it afterwards.
    unsafe { pg_sys::pfree(datum.cast_mut_ptr()) };
}

/// The type of a row type's n-th column, from 0.
pub fn column_type(row_type: &RowType, n: usize) -> Oid {
    // SAFETY: the descriptor is pinned; callers know how many columns the type has (asserted).
    unsafe {
        assert!(
            n < (*row_type.raw()).natts as usize,
            "column of a result type"
        );
        pg_sys::SPI_gettypeid(row_type.raw(), n as i32 + 1)
    }
}

/// Takes a composite value apart: its columns, NULL as `None`.
///
/// # Errors
/// 55000 where the type has other columns than the extension gave it.
pub fn columns<const N: usize>(composite: Datum) -> Result<[Option<Datum>; N]> {
    // SAFETY: callers hold a composite datum (the SQL declarations say so); its header names its type,
    // and the columns live as long as the detoasted value.
    unsafe {
        let header = pg_sys::pg_detoast_datum(composite.cast_mut_ptr())
            .cast::<pg_sys::HeapTupleHeaderData>();
        let fields = (*header).t_choice.t_datum;
        let descriptor = pg_sys::lookup_rowtype_tupdesc(fields.datum_typeid, fields.datum_typmod);
        if (*descriptor).natts as usize != N {
            return Err(altered_type());
        }
        let mut tuple: pg_sys::HeapTupleData = std::mem::zeroed();
        tuple.t_len = fields.datum_len_ as u32 >> 2;
        tuple.t_data = header;
        let (mut values, mut nulls) = ([Datum::from(0); N], [true; N]);
        pg_sys::heap_deform_tuple(
            &mut tuple,
            descriptor,
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
        );
        if (*descriptor).tdrefcount >= 0 {
            pg_sys::DecrTupleDescRefCount(descriptor);
        }
        Ok(std::array::from_fn(|i| (!nulls[i]).then_some(values[i])))
    }
}

fn altered_type() -> Error {
    Error::new(
        SqlState::NotInPrerequisiteState,
        "a row type of en57 has other columns than en57 made",
    )
}

/// A label of an enum type; remembered, because every append asks for one.
pub fn enum_label(enum_type: Oid, label: &'static std::ffi::CStr) -> Datum {
    thread_local! {
        static LAST: std::cell::Cell<Option<(Oid, &'static std::ffi::CStr, Datum)>> =
            const { std::cell::Cell::new(None) };
    }
    if let Some((_, _, datum)) = LAST
        .get()
        .filter(|(t, l, _)| *t == enum_type && *l == label)
    {
        return datum;
    }
    let datum = look_up_label(enum_type, label);
    LAST.set(Some((enum_type, label, datum)));
    datum
}

fn look_up_label(enum_type: Oid, label: &std::ffi::CStr) -> Datum {
    // SAFETY: enum_in takes a cstring and the type's oid; it raises where the label is unknown.
    unsafe {
        let args = [
            Some(Datum::from(label.as_ptr())),
            Some(Datum::from(enum_type)),
        ];
        pgrx::direct_function_call_as_datum(pg_sys::enum_in, &args).unwrap_or(Datum::from(0))
    }
}

/// The elements of a one-dimensional array of composite values, or of jsonb.
///
/// # Errors
/// 22004 where one is NULL, with `prefix` and the element's number.
pub fn elements(array: Datum, prefix: &str) -> Result<Vec<Datum>> {
    // SAFETY: the SQL declaration says it is an array; its element type is in its header.
    unsafe {
        let array = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let (mut length, mut by_value, mut align) = (0, false, 0);
        pg_sys::get_typlenbyvalalign((*array).elemtype, &mut length, &mut by_value, &mut align);
        let (mut elements, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        pg_sys::deconstruct_array(
            array,
            (*array).elemtype,
            i32::from(length),
            by_value,
            align,
            &mut elements,
            &mut nulls,
            &mut count,
        );
        let nulls = std::slice::from_raw_parts(nulls, count as usize);
        if let Some(n) = nulls.iter().position(|n| *n) {
            return Err(Error::new(
                SqlState::NullNotAllowed,
                format!("{prefix} {} must not be NULL", n + 1),
            ));
        }
        Ok(std::slice::from_raw_parts(elements, count as usize).to_vec())
    }
}
