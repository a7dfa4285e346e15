//! Conditions of a query that bound what a scan reads. They stay in the plan's filter as well: what they do not find may be
//! left out, and what they find is looked at again.

use std::ptr;

use pgrx::pg_sys::{
    self, Datum, FuncExpr, Node, NodeTag, Oid, OpExpr, PlannerInfo, RelOptInfo, RestrictInfo,
    ScalarArrayOpExpr, Var,
};

use crate::dcb::query::Criterion;
use crate::store::pg::array::TextArray;
use crate::store::pg::fmgr;
use crate::store::row::event::Column;

use super::{Bounds, list, path};

/// What a condition compares, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The position is less than the value.
    Less,
    /// It is less, or equal.
    LessOrEqual,
    /// It is equal.
    Equal,
    /// It is greater, or equal.
    GreaterOrEqual,
    /// It is greater.
    Greater,
    /// The type is the value.
    Type,
    /// The type is one of the values.
    Types,
    /// All of the values are tags of the event.
    Tags,
    /// The stream is the value.
    Stream,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Less,
        Self::LessOrEqual,
        Self::Equal,
        Self::GreaterOrEqual,
        Self::Greater,
        Self::Type,
        Self::Types,
        Self::Tags,
        Self::Stream,
    ];

    /// The kind of a number that `as i32` has given.
    pub fn of_number(number: i32) -> Self {
        Self::ALL[number as usize]
    }

    /// That of a comparison of positions, by the number of a strategy of B-trees.
    fn of_strategy(strategy: i32) -> Option<Self> {
        let n = usize::try_from(strategy).ok()?.checked_sub(1)?;
        Self::ALL[..5].get(n).copied()
    }

    /// The one with the sides exchanged.
    fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Greater => Self::Less,
            other => other,
        }
    }

    /// How EXPLAIN calls such conditions.
    pub fn label(self) -> &'static std::ffi::CStr {
        match self {
            Self::Less | Self::LessOrEqual | Self::Equal | Self::GreaterOrEqual | Self::Greater => {
                c"Position Cond"
            }
            Self::Type | Self::Types | Self::Tags | Self::Stream => c"Key Cond",
        }
    }
}

/// A condition that bounds a scan.
#[derive(Clone, Copy)]
pub(super) struct Condition {
    /// What it compares.
    pub kind: Kind,
    /// The whole condition.
    pub whole: *mut Node,
    /// Which of its arguments is the value, from 0. It is the same for all rows of a scan.
    pub side: usize,
    /// The type of the value.
    pub of_type: Oid,
}

impl Condition {
    /// What a condition says of a scan of this call. Where the call limits the number of events, nothing: the condition holds
    /// for those that are left.
    ///
    /// # Safety
    /// A condition, a relation and a call of the planner's.
    pub unsafe fn of(
        root: *mut PlannerInfo,
        clause: *mut RestrictInfo,
        rel: *const RelOptInfo,
        call: *mut FuncExpr,
    ) -> Option<Self> {
        // SAFETY: the caller's contract; each node's tag says what it is.
        unsafe {
            if path::is_limited(call) {
                return None;
            }
            let whole = path::expression(clause);
            let found = match (*whole).type_ {
                NodeTag::T_OpExpr => compared(whole.cast(), rel)?,
                NodeTag::T_ScalarArrayOpExpr => one_of(whole.cast(), rel)?,
                _ => return None,
            };
            let value = found.value();
            let own = pg_sys::pull_varnos(root, value);
            let is_fixed = !pg_sys::bms_is_member((*rel).relid as i32, own)
                && !pg_sys::contain_volatile_functions(value)
                && !pg_sys::contain_subplans(value);
            is_fixed.then_some(found)
        }
    }

    /// The value.
    unsafe fn value(&self) -> *mut Node {
        // SAFETY: `compared` and `one_of` have looked at both arguments.
        unsafe { value(self.whole, self.side) }
    }
}

/// The argument of a condition that is its value.
///
/// # Safety
/// A condition of [`Condition::of`], or a copy of it, with its side.
pub(super) unsafe fn value(whole: *mut Node, side: usize) -> *mut Node {
    // SAFETY: the caller's contract.
    unsafe {
        let args = match (*whole).type_ {
            NodeTag::T_ScalarArrayOpExpr => (*whole.cast::<ScalarArrayOpExpr>()).args,
            _ => (*whole.cast::<OpExpr>()).args,
        };
        list::nodes(args).nth(side).unwrap_or(ptr::null_mut())
    }
}

/// An operator between a column and a value.
unsafe fn compared(whole: *mut OpExpr, rel: *const RelOptInfo) -> Option<Condition> {
    // SAFETY: an expression of the planner's.
    unsafe {
        let sides: Vec<*mut Node> = list::nodes((*whole).args).collect();
        let [left, right] = sides[..] else {
            return None;
        };
        let (column, side) = match (column(left, rel), column(right, rel)) {
            (Some(column), None) => (column, 1),
            (None, Some(column)) => (column, 0),
            _ => return None,
        };
        let of_type = pg_sys::exprType(sides[side]);
        let strategy = |family| {
            let found = Kind::of_strategy(pg_sys::get_op_opfamily_strategy((*whole).opno, family))?;
            Some(if side == 1 { found } else { found.turned() })
        };
        let is_equal = (*whole).opno == Oid::from_u32(pg_sys::TextEqualOperator)
            && compares_bytes((*whole).inputcollid);
        let holds = (*whole).opno == Oid::from_u32(pg_sys::OID_ARRAY_CONTAINS_OP);
        let kind = match column {
            Column::Position if is_integer(of_type) => strategy(pg_sys::INTEGER_BTREE_FAM_OID)?,
            Column::Type if is_equal => Kind::Type,
            Column::Stream if is_equal => Kind::Stream,
            Column::Tags if holds && side == 1 && of_type == pg_sys::TEXTARRAYOID => Kind::Tags,
            _ => return None,
        };
        Some(Condition {
            kind,
            whole: whole.cast(),
            side,
            of_type,
        })
    }
}

/// `type = ANY (..)`, which is also IN.
unsafe fn one_of(whole: *mut ScalarArrayOpExpr, rel: *const RelOptInfo) -> Option<Condition> {
    // SAFETY: an expression of the planner's.
    unsafe {
        let sides: Vec<*mut Node> = list::nodes((*whole).args).collect();
        let [left, right] = sides[..] else {
            return None;
        };
        let of_type = pg_sys::exprType(right);
        let is_meant = (*whole).useOr
            && column(left, rel) == Some(Column::Type)
            && (*whole).opno == Oid::from_u32(pg_sys::TextEqualOperator)
            && compares_bytes((*whole).inputcollid)
            && of_type == pg_sys::TEXTARRAYOID;
        is_meant.then_some(Condition {
            kind: Kind::Types,
            whole: whole.cast(),
            side: 1,
            of_type,
        })
    }
}

/// Whether texts are equal by a collation only if their bytes are. Where it is not known, PostgreSQL refuses to compare.
unsafe fn compares_bytes(collation: Oid) -> bool {
    // SAFETY: a lookup in the system caches.
    unsafe { collation != Oid::INVALID && pg_sys::get_collation_isdeterministic(collation) }
}

fn is_integer(of_type: Oid) -> bool {
    [pg_sys::INT8OID, pg_sys::INT4OID, pg_sys::INT2OID].contains(&of_type)
}

/// The column of the scan that an expression is.
unsafe fn column(side: *const Node, rel: *const RelOptInfo) -> Option<Column> {
    // SAFETY: a node, whose tag says what it is.
    unsafe {
        let var = side.cast::<Var>();
        if (*side).type_ != NodeTag::T_Var || !path::is_column(var, rel) {
            return None;
        }
        let bounded = [Column::Position, Column::Type, Column::Tags, Column::Stream];
        bounded
            .into_iter()
            .find(|c| c.attribute() == (*var).varattno)
    }
}

impl Bounds {
    /// Takes in what a condition says. With NULL it says nothing: the filter leaves no row then.
    ///
    /// # Safety
    /// A value of the type that the condition says.
    pub(super) unsafe fn bound(&mut self, kind: Kind, value: Datum, of_type: Oid) {
        match kind {
            Kind::Type | Kind::Types | Kind::Stream | Kind::Tags => self.name(kind, value),
            _ => {
                let value = integer(value, of_type);
                let (after, upto) = match kind {
                    Kind::Less => (0, value.saturating_sub(1)),
                    Kind::LessOrEqual => (0, value),
                    Kind::Equal => (value.saturating_sub(1), value),
                    Kind::GreaterOrEqual => (value.saturating_sub(1), i64::MAX),
                    _ => (value, i64::MAX),
                };
                self.after = self.after.max(after);
                self.upto = self.upto.min(upto);
            }
        }
    }

    /// Takes in names. What cannot be read as such is left to the filter.
    fn name(&mut self, kind: Kind, value: Datum) {
        let text = || fmgr::text(value).ok().map(str::to_owned);
        let texts = || {
            let array = TextArray::from_datum(value, "").ok()?;
            let texts = array.texts().ok()?;
            Some(texts.into_iter().map(str::to_owned).collect())
        };
        let said = match kind {
            Kind::Type => text().map(|name| Criterion {
                types: vec![name],
                ..Criterion::default()
            }),
            Kind::Types => texts().map(|types| Criterion {
                types,
                ..Criterion::default()
            }),
            Kind::Tags => texts().map(|tags| Criterion {
                tags,
                ..Criterion::default()
            }),
            _ => text().map(|stream| Criterion {
                stream: Some(stream),
                ..Criterion::default()
            }),
        };
        self.within.extend(said);
    }
}

fn integer(value: Datum, of_type: Oid) -> i64 {
    match of_type {
        pg_sys::INT2OID => i64::from(value.value() as i16),
        pg_sys::INT4OID => i64::from(value.value() as i32),
        _ => value.value() as i64,
    }
}
