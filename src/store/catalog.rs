//! Where the log is: the tables and indexes of the extension, looked up once a backend and again after
//! they have changed.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};

use super::guard;
use super::position::Counter;
use super::table::{Index, IndexRole, Opened};

/// The one partition of this version.
pub const DEFAULT_PARTITION: &str = "default";

/// The log of this database.
pub struct Store {
    /// The oid of `en57.events`.
    pub events: Oid,
    ceiling: Oid,
    /// The partition `default`.
    pub partition: Partition,
}

/// A partition: its table and indexes.
pub struct Partition {
    /// The table's oid: what locks and slots are keyed by.
    pub oid: Oid,
    /// Its name, as events carry it.
    pub name: &'static str,
    indexes: Vec<(Oid, IndexRole)>,
    /// Whether inserting needs more than the heap and en57's own indexes.
    pub needs_extras: bool,
}

thread_local! {
    static CACHED: Cell<Option<&'static Store>> = const { Cell::new(None) };
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// The log of this database.
///
/// # Errors
/// 55000 where the extension's tables are not there.
pub fn store() -> Result<&'static Store> {
    if let Some(store) = CACHED.get() {
        return Ok(store);
    }
    if !WATCHED.replace(true) {
        // SAFETY: the callback is a function of this library, which is never unloaded.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(on_change), Datum::from(0)) };
    }
    // Leaked: a few hundred bytes for each change of the tables' definition, so that borrows of it
    // survive an invalidation in the middle of an append.
    let store: &'static Store = Box::leak(Box::new(load()?));
    CACHED.set(Some(store));
    Ok(store)
}

unsafe extern "C-unwind" fn on_change(_: Datum, relation: Oid) {
    let Some(store) = CACHED.get() else { return };
    if relation == pg_sys::InvalidOid || relation == store.events || relation == store.partition.oid
    {
        CACHED.set(None);
        Counter::forget();
    }
}

fn load() -> Result<Store> {
    let missing = || {
        Error::new(
            SqlState::NotInPrerequisiteState,
            "the tables of en57 are missing",
        )
        .hint("Run CREATE EXTENSION en57.")
    };
    // SAFETY: lookups in the system caches by static names.
    let (schema, find) = unsafe {
        let schema = pg_sys::get_namespace_oid(c"en57".as_ptr(), true);
        (schema, move |name: &CStr| {
            pg_sys::get_relname_relid(name.as_ptr(), schema)
        })
    };
    let (events, oid) = (find(c"events"), find(c"events_default"));
    let ceiling = find(c"position_ceiling");
    if [schema, events, oid, ceiling].contains(&pg_sys::InvalidOid) {
        return Err(missing());
    }
    Ok(Store {
        events,
        ceiling,
        partition: Partition::load(oid, DEFAULT_PARTITION)?,
    })
}

impl Store {
    /// A partition by name.
    ///
    /// # Errors
    /// 42704 where there is none of that name.
    pub fn partition(&self, name: Option<&str>) -> Result<&Partition> {
        match name {
            None | Some(DEFAULT_PARTITION) => Ok(&self.partition),
            Some(other) => {
                let shown: String = other.chars().take(64).collect();
                Err(Error::new(
                    SqlState::UndefinedObject,
                    format!("partition \"{shown}\" does not exist"),
                )
                .hint("This version has the partition \"default\" alone."))
            }
        }
    }

    /// The durable ceiling of positions, 0 where none was set yet.
    pub fn read_ceiling(&self) -> i64 {
        // SAFETY: pg_sequence_last_value takes a sequence's oid; it returns NULL (None) before the
        // first setval.
        as_owner(self.ceiling, || unsafe {
            let oid = Some(Datum::from(self.ceiling));
            pgrx::direct_function_call_as_datum(pg_sys::pg_sequence_last_value, &[oid])
        })
        .map_or(0, |d| d.value() as i64)
    }

    /// Makes a ceiling durable: when this returns, it survives a crash.
    pub fn write_ceiling(&self, ceiling: i64) {
        as_owner(self.ceiling, || {
            // SAFETY: setval takes a sequence's oid and a value; it writes WAL at once, outside of the
            // transaction, and XactLastRecEnd is the end of that record.
            unsafe {
                let args = [Some(Datum::from(self.ceiling)), Some(Datum::from(ceiling))];
                pgrx::direct_function_call_as_datum(pg_sys::setval_oid, &args);
                pg_sys::XLogFlush(pg_sys::XactLastRecEnd);
            }
        });
    }
}

/// Runs with the rights of a relation's owner; an error inside gives the caller's back at abort.
fn as_owner<T>(relation: Oid, body: impl FnOnce() -> T) -> T {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: as PostgreSQL's own maintenance commands do it; transaction and subtransaction abort
    // restore both values.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let opened = pg_sys::relation_open(relation, pg_sys::AccessShareLock as _);
        let owner = (*(*opened).rd_rel).relowner;
        pg_sys::relation_close(opened, pg_sys::NoLock as _);
        let restricted = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
        pg_sys::SetUserIdAndSecContext(owner, restricted);
        let result = body();
        pg_sys::SetUserIdAndSecContext(user, context);
        result
    }
}

/// Whether a column that en57 leaves NULL may not be.
fn has_added_not_null(table: Oid) -> bool {
    use super::event::Column;
    let nullable = [
        Column::Data,
        Column::Meta,
        Column::Stream,
        Column::StreamVersion,
    ];
    nullable.iter().any(|column| {
        let (table, number) = (Datum::from(table), Datum::from(column.attribute()));
        // SAFETY: a lookup in the system caches; the tuple is read before it is released.
        unsafe {
            let cache = pg_sys::SysCacheIdentifier::ATTNUM as i32;
            let tuple = pg_sys::SearchSysCache2(cache, table, number);
            if tuple.is_null() {
                return false;
            }
            let form: *mut pg_sys::FormData_pg_attribute = pg_sys::GETSTRUCT(tuple).cast();
            let not_null = (*form).attnotnull;
            pg_sys::ReleaseSysCache(tuple);
            not_null
        }
    })
}

impl Partition {
    fn load(oid: Oid, name: &'static str) -> Result<Self> {
        let relation = Opened::table(oid, pg_sys::AccessShareLock);
        relation.demand_shape()?;
        // SAFETY: the relation is open and locked, so its relcache entry and lists stay.
        unsafe {
            let list = pg_sys::RelationGetIndexList(relation.relation());
            let am = pg_sys::get_index_am_oid(c"en57_keys".as_ptr(), true);
            let n = if list.is_null() {
                0
            } else {
                (*list).length as usize
            };
            let mut indexes = Vec::with_capacity(n);
            for i in 0..n {
                let index = Index::open(
                    (*(*list).elements.add(i)).oid_value,
                    pg_sys::AccessShareLock,
                );
                indexes.push(index.describe(am));
            }
            pg_sys::list_free(list);
            let constraints = (*(*relation.relation()).rd_att).constr;
            let has_checks = !constraints.is_null() && (*constraints).num_check > 0;
            let has_others = indexes.iter().any(|(_, role)| *role == IndexRole::Other);
            Ok(Self {
                oid,
                name,
                indexes,
                needs_extras: has_checks || has_others || has_added_not_null(oid),
            })
        }
    }

    /// Opens the table and en57's own indexes, locked until the end of the transaction.
    ///
    /// # Errors
    /// 0A000 where row-level security is in force for the caller.
    pub fn open(&self, lock: u32) -> Result<Opened> {
        let mut opened = Opened::table(self.oid, lock);
        opened.refuse_row_security()?;
        let roles = [IndexRole::Position, IndexRole::Id, IndexRole::Keys];
        self.take(&mut opened, &roles, lock)?;
        Ok(opened)
    }

    /// Opens some of en57's own indexes of a table that is locked. Whether they may be read, and must be
    /// written, is asked each time: an index that is being rebuilt becomes so without a change of the table.
    fn take(&self, opened: &mut Opened, roles: &[IndexRole], lock: u32) -> Result<()> {
        // What was known of the table before it was locked may be of yesterday.
        let current = &store()?.partition;
        let known = if current.oid == self.oid {
            current
        } else {
            self
        };
        for role in roles {
            for oid in known.indexes_of(*role) {
                let index = Index::open(oid, lock);
                let (is_valid, is_ready) = index.state();
                if is_valid || (is_ready && lock != pg_sys::AccessShareLock) {
                    opened.take(*role, index);
                }
            }
        }
        Ok(())
    }

    /// Opens the list of streams beside the table, which few need.
    ///
    /// # Errors
    /// 55000 where it is missing.
    fn open_streams(&self, opened: &mut Opened, lock: u32) -> Result<()> {
        self.take(opened, &[IndexRole::Stream], lock)?;
        opened.index(IndexRole::Stream).map(|_| ())
    }

    /// Opens it for reading, with the list of streams.
    ///
    /// # Errors
    /// As [`Self::open`], 55000 where the list is missing.
    pub fn open_to_list(&self) -> Result<Opened> {
        let mut opened = self.open_to_read()?;
        self.open_streams(&mut opened, pg_sys::AccessShareLock)?;
        Ok(opened)
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_to_read(&self) -> Result<Opened> {
        self.open(pg_sys::AccessShareLock)
    }

    /// Opens it for appending, to a stream or not.
    ///
    /// # Errors
    /// As [`Self::open`], 55000 where an index is missing, and 0A000 where somebody's INSERT trigger would have to fire.
    pub fn open_to_append(&self, to_stream: bool) -> Result<Opened> {
        let mut opened = self.open(pg_sys::RowExclusiveLock)?;
        opened.refuse_triggers()?;
        // A row that is missing from one of them would never be found.
        for role in [IndexRole::Position, IndexRole::Id, IndexRole::Keys] {
            opened.index(role)?;
        }
        if to_stream {
            self.open_streams(&mut opened, pg_sys::RowExclusiveLock)?;
        }
        Ok(opened)
    }

    /// Opens the table and en57's own indexes that may be read, for a check: it shows no rows, so policies
    /// on rows do not matter.
    ///
    /// # Errors
    /// 55000 where the extension's tables are not there.
    pub fn open_to_check(&self) -> Result<Opened> {
        let mut opened = Opened::table(self.oid, pg_sys::AccessShareLock);
        let roles = [
            IndexRole::Position,
            IndexRole::Id,
            IndexRole::Keys,
            IndexRole::Stream,
        ];
        self.take(&mut opened, &roles, pg_sys::AccessShareLock)?;
        Ok(opened)
    }

    /// The names of its indexes that may not be read: they are being built, or their build has failed.
    pub fn invalid_indexes(&self) -> Vec<String> {
        let open = |(oid, _): &(Oid, IndexRole)| Index::open(*oid, pg_sys::AccessShareLock);
        let invalid = self.indexes.iter().map(open).filter(|i| !i.state().0);
        invalid.map(|index| index.name()).collect()
    }

    /// The oids of its indexes for one thing.
    pub fn indexes_of(&self, role: IndexRole) -> impl Iterator<Item = Oid> {
        self.indexes
            .iter()
            .filter(move |(_, r)| *r == role)
            .map(|(oid, _)| *oid)
    }

    /// Makes sure that the caller may read the partition's events.
    ///
    /// # Errors
    /// 42501, and 0A000 where row-level security is in force for the caller.
    pub fn demand_select(&self) -> Result<()> {
        self.demand(pg_sys::ACL_SELECT)?;
        Opened::table(self.oid, pg_sys::AccessShareLock).refuse_row_security()
    }

    /// Makes sure that the caller may append to the partition.
    ///
    /// # Errors
    /// 42501.
    pub fn demand_insert(&self) -> Result<()> {
        self.demand(pg_sys::ACL_INSERT)
    }

    fn demand(&self, right: u32) -> Result<()> {
        // SAFETY: lookups in the system caches.
        unsafe {
            let answer = pg_sys::pg_class_aclcheck(self.oid, pg_sys::GetUserId(), right as _);
            if answer == pg_sys::AclResult::ACLCHECK_OK {
                return Ok(());
            }
            let name = CStr::from_ptr(pg_sys::get_rel_name(self.oid)).to_string_lossy();
            let what = if right == pg_sys::ACL_INSERT {
                "INSERT"
            } else {
                "SELECT"
            };
            Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("permission denied for table {name}"),
            )
            .hint(format!("This needs the {what} privilege on en57.{name}.")))
        }
    }
}

/// Whether the running command may write.
///
/// # Errors
/// PostgreSQL's own (25006), by unwinding.
pub fn demand_writable(command: &str) {
    let command = guard::text(command);
    // SAFETY: raises where the transaction is read-only or the server in recovery.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(command.as_ptr());
        pg_sys::PreventCommandDuringRecovery(command.as_ptr());
    }
}
