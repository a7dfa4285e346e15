//! Invariants as the rows of `en57.invariants` define them, with their functions looked up.

use std::ffi::CString;
use std::rc::Rc;

use crate::dcb::codec;
use crate::dcb::error::{Result, invalid, missing, required};
use crate::dcb::query::Query;
use crate::definition::function::Named;
use crate::definition::group_key::GroupKey;
use crate::store::call::function::Function;
use crate::store::pg::spi::{self, Type, Values, text};
use crate::store::pg::{fmgr, guard};
use crate::store::session::definitions::{Cache, Table, as_extension_owner};
use crate::store::state::invariant_states::MadeWith;
use crate::store::{Datum, Oid};
use crate::upcast::Definitions;

/// The word for invariants in messages.
pub const KIND: &str = "invariant";

/// An invariant.
pub struct Invariant {
    /// Orders invariants by their creation, and tells their states apart.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// The partition whose events it is about.
    pub partition: String,
    /// Which of them.
    pub query: Query,
    /// The key by which events are grouped: there is a state for each stream, or for each tag with a prefix.
    pub key: GroupKey,
    /// `(state, event) → state`.
    pub evolve: Named,
    /// `(state) → text`: what is wrong with it; NULL: nothing.
    pub check: Named,
    /// The state before the first event: a jsonb without its length word; `None`: NULL.
    pub initial: Option<Vec<u8>>,
    /// The search path of its functions.
    pub path: CString,
    /// Whether appends are checked.
    pub is_enabled: bool,
    /// Whether an event that matches must have a key.
    pub key_required: bool,
}

thread_local! {
    static ENABLED: Cache<Vec<Rc<Invariant>>> = const { Cache::new(Table::Invariants) };
}

/// The columns of the table, in its order.
const COLUMNS: &str = "name, number, partition, query, key, evolve, check_function, initial,
    search_path, is_enabled, key_required";

/// The enabled invariants in the order of their creation, by the newest definitions that the session has accepted.
///
/// For a partition whose root the caller has locked, the answer is exact.
///
/// # Errors
/// 55000 where the table is missing.
pub fn enabled() -> Result<Rc<Vec<Rc<Invariant>>>> {
    ENABLED.with(|enabled| {
        enabled.get(|rows| {
            let all: Result<Vec<_>> =
                as_extension_owner(|| rows.iter().map(Invariant::from_row).collect());
            let mut all = all?;
            all.retain(|i| i.is_enabled);
            all.sort_by_key(|i| i.number);
            Ok(all.into_iter().map(Rc::new).collect())
        })
    })
}

/// Whether an invariant may have changed since [`enabled`] was called.
pub fn has_changed() -> bool {
    ENABLED.with(Cache::has_changed)
}

/// An invariant by name. With `lock`, it is locked until the end of the transaction.
///
/// # Errors
/// 42704 where there is none, 22004 where the name is NULL.
pub fn by_name(name: Option<&str>, lock: bool) -> Result<Invariant> {
    let name = required(name, "the invariant's name")?;
    find(name, lock)?.ok_or_else(|| missing(KIND, name))
}

/// An invariant by name, `None` where there is none. With `lock`, it is locked until the end of the transaction.
///
/// # Errors
/// 55000 where the table is missing.
pub fn find(name: &str, lock: bool) -> Result<Option<Invariant>> {
    let lock = if lock { "FOR UPDATE" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM en57.invariants WHERE name = $1 {lock}");
    let rows = run(&sql, &[text(name)])?;
    as_extension_owner(|| rows.first().map(Invariant::from_row).transpose())
}

/// The invariants of a partition, in the order of their creation.
///
/// # Errors
/// 55000 where the table is missing.
pub fn all_of(partition: &str) -> Result<Vec<Invariant>> {
    let sql = format!("SELECT {COLUMNS} FROM en57.invariants WHERE partition = $1 ORDER BY number");
    let rows = run(&sql, &[text(partition)])?;
    as_extension_owner(|| rows.iter().map(Invariant::from_row).collect())
}

/// Runs a statement on the tables of en57 with the rights of their owner.
///
/// # Errors
/// PostgreSQL's own, by unwinding; 55000 where the table is missing.
pub fn run(sql: &str, parameters: &[(Type, Option<Datum>)]) -> Result<Vec<Values>> {
    as_extension_owner(|| spi::run(sql, parameters))
}

/// Reads the argument `key`.
///
/// # Errors
/// 22023.
pub fn key(text: &str) -> Result<GroupKey> {
    GroupKey::parse(text).ok_or_else(|| {
        invalid("key must be 'stream' or 'tag:PREFIX'")
            .detail("The events of one key are found by their stream or tag, and locked so.")
            .hint(
                "With 'tag:course:' there is a state for each course: the one of sql is made of the events \
                 tagged course:sql. What a function would say of an event can be a tag of it.",
            )
    })
}

impl Invariant {
    fn from_row(row: &Values) -> Result<Self> {
        let text = |n: usize| row[n].map_or(Ok(""), fmgr::text);
        Ok(Self {
            name: text(0)?.to_owned(),
            number: row[1].map_or(0, |d| d.value() as i64),
            partition: text(2)?.to_owned(),
            query: row[3].map_or(Ok(Query::everything()), |d| codec::decode(fmgr::varlena(d)))?,
            key: key(text(4)?)?,
            evolve: Named::new(text(5)?.to_owned()),
            check: Named::new(text(6)?.to_owned()),
            initial: row[7].map(|d| fmgr::varlena(d).to_vec()),
            path: guard::text(text(8)?),
            is_enabled: row[9].is_some_and(|d| d.value() & 0xFF != 0),
            key_required: row[10].is_some_and(|d| d.value() & 0xFF != 0),
        })
    }

    /// Whether the invariant refuses an event that matches and has these ids: it has none, though it must have one.
    pub fn misses_key(&self, ids: &[String]) -> bool {
        self.key_required && ids.is_empty()
    }

    /// The row type of events that its functions take.
    ///
    /// # Errors
    /// 42883 where the function is gone.
    pub fn event_type(&self) -> Result<Oid> {
        Ok(self.evolve.function(KIND, &self.name)?.arguments[1])
    }

    /// The versions of its function and of these upcasters, with which states are made now of the events of a table.
    ///
    /// # Errors
    /// 42883 where the function is gone.
    pub fn made_with(&self, table: Oid, upcasters: &Definitions) -> Result<MadeWith> {
        let function = Function::of(self.evolve.function(KIND, &self.name)?.oid);
        let function = function.ok_or_else(|| self.evolve.missing(KIND, &self.name))?;
        Ok(MadeWith {
            mark: function.mark ^ (i64::from(table.to_u32()) << 32),
            generation: upcasters.generation(),
        })
    }
}
