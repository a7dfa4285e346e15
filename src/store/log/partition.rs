//! A partition: its table and indexes, what a caller may do with it, and how it is opened.

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState, shown};
use crate::dcb::query::{Criterion, Query};
use crate::store::lock::plan::Plan;
use crate::store::pg::names::qualified_name;
use crate::store::row::table::{Index, IndexRole, Opened};
use crate::store::row::trigger::Firing;
use crate::store::session::transaction;

use super::partition_bound::relation_name;
use super::triggers::{GUARDS, Guard};

/// What a caller is about to do with a partition: which rights he needs, and which lock keeps others from
/// what would disturb it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read its events.
    Read,
    /// Look at its frontier; nothing is locked any more when it has been found.
    Watch,
    /// Append without a condition.
    Append,
    /// Append on a condition: a refused append shows events.
    AppendIf,
    /// Lock a query.
    Lock,
    /// Make code run in the appends to it.
    Project,
    /// Empty or drop it.
    Manage,
    /// Erase what its events say.
    Erase,
    /// Keep everybody out.
    Close,
    /// en57's own look.
    Own,
}

impl Access {
    /// The privileges on its table, and to whom en57_grant() gives them.
    fn rights(self) -> &'static [(u32, &'static str, &'static str)] {
        type Right = (u32, &'static str, &'static str);
        const SELECT: Right = (pg_sys::ACL_SELECT, "SELECT", "a reader");
        const INSERT: Right = (pg_sys::ACL_INSERT, "INSERT", "a writer");
        const TRIGGER: Right = (pg_sys::ACL_TRIGGER, "TRIGGER", "an admin");
        const TRUNCATE: Right = (pg_sys::ACL_TRUNCATE, "TRUNCATE", "an admin");
        match self {
            Self::Read | Self::Watch => &[SELECT],
            Self::Append => &[INSERT],
            Self::AppendIf | Self::Lock => &[INSERT, SELECT],
            Self::Project => &[TRIGGER],
            Self::Manage | Self::Erase => &[TRUNCATE],
            Self::Close | Self::Own => &[],
        }
    }

    /// Whether row-level security would have a say.
    pub(in crate::store) fn sees_rows(self) -> bool {
        !matches!(
            self,
            Self::Project | Self::Manage | Self::Erase | Self::Close | Self::Own
        )
    }

    /// Whether it is about what is settled, or adds to it.
    pub(in crate::store) fn needs_frontier(self) -> bool {
        self.sees_rows() || matches!(self, Self::Project | Self::Erase)
    }

    /// The lock on its table.
    pub(in crate::store) fn lock(self) -> u32 {
        match self {
            Self::Read | Self::Watch | Self::Lock | Self::Project | Self::Own => {
                pg_sys::AccessShareLock
            }
            Self::Append | Self::AppendIf | Self::Erase => pg_sys::RowExclusiveLock,
            Self::Manage | Self::Close => pg_sys::AccessExclusiveLock,
        }
    }

    /// Makes sure that the caller may do it; `false` where the table is gone.
    ///
    /// # Errors
    /// 42501.
    pub fn demand(self, table: Oid) -> Result<bool> {
        for (right, called, given_to) in self.rights() {
            let mut is_missing = false;
            if has_right(table, *right, &mut is_missing) {
                continue;
            }
            if is_missing {
                return Ok(false);
            }
            let name = relation_name(table);
            // Who administers a partition takes that of the log for his own.
            let of_all = if name == "events" {
                " of the whole log"
            } else {
                ""
            };
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("permission denied for table {name}"),
            )
            .hint(format!(
                "This needs the {called} privilege on en57.{name}, as en57_grant() gives it to {given_to}{of_all}."
            )));
        }
        Ok(true)
    }

    /// Whether the caller may do it.
    pub fn is_allowed(self, table: Oid) -> bool {
        let rights = self.rights();
        rights
            .iter()
            .all(|(r, ..)| has_right(table, *r, &mut false))
    }
}

fn has_right(table: Oid, right: u32, is_missing: &mut bool) -> bool {
    // SAFETY: reads the backend's state.
    let user = unsafe { pg_sys::GetUserId() };
    role_has_right(user, table, right, is_missing)
}

fn role_has_right(role: Oid, table: Oid, right: u32, is_missing: &mut bool) -> bool {
    // SAFETY: lookups in the system caches.
    unsafe {
        pg_sys::pg_class_aclcheck_ext(table, role, right as _, is_missing)
            == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// Whether a role may read a partition's table.
pub fn is_readable_by(role: Oid, table: Oid) -> bool {
    role_has_right(role, table, pg_sys::ACL_SELECT, &mut false)
}

/// The indexes that every event is in, and these with the list of streams.
const OWN: [IndexRole; 3] = [IndexRole::Position, IndexRole::Id, IndexRole::Keys];
const WITH_STREAMS: [IndexRole; 4] = [
    IndexRole::Position,
    IndexRole::Id,
    IndexRole::Keys,
    IndexRole::Stream,
];

/// A partition: its table and indexes.
pub struct Partition {
    /// The table's oid: what locks and slots are keyed by.
    pub oid: Oid,
    /// Its name, as events carry it.
    pub name: String,
    indexes: Vec<(Oid, IndexRole)>,
    /// Whether inserting needs more than the heap and en57's own indexes.
    pub needs_extras: bool,
    has_row_security: bool,
    /// Logical replication fills it.
    is_replica: bool,
    /// The guards that it does not have, be they in force or not.
    lost_guards: Vec<&'static Guard>,
}

impl Partition {
    /// Looks at a table that the caller has locked.
    ///
    /// # Errors
    /// 55000 where it is not as en57 makes them.
    pub(in crate::store) fn load(oid: Oid, name: &str, is_replica: bool) -> Result<Self> {
        let relation = Opened::table(oid, pg_sys::NoLock);
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
                let index = (*(*list).elements.add(i)).oid_value;
                indexes.push(Index::open(index, pg_sys::AccessShareLock).describe(am));
                // Those that are used are locked when they are opened for it.
                pg_sys::UnlockRelationOid(index, pg_sys::AccessShareLock as _);
            }
            pg_sys::list_free(list);
            let constraints = (*(*relation.relation()).rd_att).constr;
            let has_checks = !constraints.is_null() && (*constraints).num_check > 0;
            let has_others = indexes.iter().any(|(_, role)| *role == IndexRole::Other);
            Ok(Self {
                oid,
                name: name.to_owned(),
                indexes,
                needs_extras: has_checks || has_others || has_added_not_null(oid),
                has_row_security: (*(*relation.relation()).rd_rel).relrowsecurity,
                is_replica,
                lost_guards: GUARDS
                    .iter()
                    .filter(|guard| !relation.has_guard(guard.name, guard.kind))
                    .collect(),
            })
        }
    }

    /// Opens the table and some of its indexes, locked until the end of the transaction. Whether an index
    /// may be read, and must be written, is asked each time: one that is being rebuilt becomes so without a
    /// change of the table.
    fn open(&self, lock: u32, roles: &[IndexRole]) -> Opened {
        let mut opened = Opened::table(self.oid, lock);
        let indexes = self.indexes.iter().filter(|(_, r)| roles.contains(r));
        let indexes = indexes.map(|(oid, role)| (*role, Index::open(*oid, lock)));
        opened.take(indexes.collect(), lock != pg_sys::AccessShareLock);
        opened
    }

    /// Opens it with all of en57's indexes, whether they are there or not.
    pub fn open_to_check(&self) -> Opened {
        self.open(pg_sys::AccessShareLock, &WITH_STREAMS)
    }

    /// The names of its indexes that may not be read: they are being built, or their build has failed.
    pub fn invalid_indexes(&self) -> Vec<String> {
        let open = |(oid, _): &(Oid, IndexRole)| Index::open(*oid, pg_sys::AccessShareLock);
        let invalid = self.indexes.iter().map(open).filter(|i| !i.state().0);
        invalid.map(|index| index.name()).collect()
    }

    /// Opens it for reading.
    pub fn open_to_read(&self) -> Opened {
        self.open(pg_sys::AccessShareLock, &OWN)
    }

    /// Opens it with what a scan of a query needs: the lock table need not hold more of a thousand
    /// partitions.
    pub fn open_to_scan(&self, query: &Query) -> Opened {
        let criteria = query.criteria();
        let lists = query.lists_streams();
        let mut roles = Vec::with_capacity(3);
        if !criteria.iter().all(Criterion::has_keys) {
            roles.push(IndexRole::Position);
        }
        if lists || criteria.iter().any(Criterion::has_keys) {
            roles.push(IndexRole::Keys);
        }
        if lists {
            roles.push(IndexRole::Stream);
        }
        self.open(pg_sys::AccessShareLock, &roles)
    }

    /// Opens it for reading, with the list of streams, which few need.
    ///
    /// # Errors
    /// 55000 where the list is missing.
    pub fn open_to_list(&self) -> Result<Opened> {
        let opened = self.open(pg_sys::AccessShareLock, &WITH_STREAMS);
        opened.index(IndexRole::Stream)?;
        Ok(opened)
    }

    /// Opens it for appending, with the list of streams, or without it where none of them is written or looked for.
    ///
    /// # Errors
    /// 0A000 where somebody's INSERT trigger would have to fire; 55000 where an index or a guard is missing.
    pub fn open_to_append(&self, with_streams: bool) -> Result<Opened> {
        let roles: &[IndexRole] = if with_streams { &WITH_STREAMS } else { &OWN };
        let opened = self.open(pg_sys::RowExclusiveLock, roles);
        // A row that is missing from one of them would never be found.
        for role in roles {
            opened.index(*role)?;
        }
        if !self.lost_guards.is_empty() {
            return Err(self.unguarded());
        }
        opened.refuse_triggers(Firing::Insert)?;
        Ok(opened)
    }

    /// It was attached by hand without guards, or they were replaced, so what is appended could be changed. Not so where they were
    /// disabled: whoever does that knows of them, and the rest should go on meanwhile.
    fn unguarded(&self) -> Error {
        let table = qualified_name(self.oid).unwrap_or_default();
        let statements: Vec<String> = self.lost_guards.iter().map(|g| g.create(&table)).collect();
        Error::new(
            SqlState::NotInPrerequisiteState,
            format!(
                "table \"{}\" does not have the triggers that guard events",
                relation_name(self.oid)
            ),
        )
        .detail("A partition that is attached by hand comes without them. Another trigger with the name of one of them is none.")
        .hint(format!("Run {}", statements.join(" ")))
    }

    /// The oids of its indexes for one thing.
    pub fn indexes_of(&self, role: IndexRole) -> impl Iterator<Item = Oid> {
        self.indexes
            .iter()
            .filter(move |(_, r)| *r == role)
            .map(|(oid, _)| *oid)
    }

    /// Refuses where row-level security is in force for the caller.
    ///
    /// # Errors
    /// 0A000.
    pub(in crate::store) fn refuse_row_security(&self) -> Result<()> {
        if !self.has_row_security || !is_row_security_in_force(self.oid) {
            return Ok(());
        }
        Err(Error::new(
            SqlState::NotSupported,
            format!(
                "row-level security is in force for this role on table \"{}\"",
                relation_name(self.oid)
            ),
        )
        .detail("en57 reads and writes the table directly and would bypass its policies.")
        .hint("Use one partition for each tenant, or a role that bypasses row-level security."))
    }

    /// Refuses where logical replication fills the table.
    ///
    /// # Errors
    /// 55006.
    pub fn refuse_replica(&self) -> Result<()> {
        if !self.is_replica {
            return Ok(());
        }
        Err(Error::new(
            SqlState::ObjectInUse,
            format!("partition \"{}\" is filled by logical replication", shown(&self.name)),
        )
        .detail("Events arrive in the order of commits here, so that events with lower positions may come after those that are there.")
        .hint("Read the table with plain SQL, or drop the subscription: then en57 reads and appends here."))
    }
}

/// Whether row-level security is in force for the caller on a table, which need not be locked.
pub fn is_row_security_in_force(table: Oid) -> bool {
    // SAFETY: looks in the system caches and raises nothing with noError set.
    let state = unsafe { pg_sys::check_enable_rls(table, pg_sys::InvalidOid, true) };
    state == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
}

/// Whether a column that en57 leaves NULL may not be.
fn has_added_not_null(table: Oid) -> bool {
    use crate::store::row::event::Column;
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

/// Waits until all appends to the partition have ended, and keeps new ones out until this transaction has.
///
/// # Errors
/// 53200 where there is no room for what readers must know of it.
pub fn exclude_appends(partition: &Partition) -> Result<()> {
    let mut plan = Plan::default();
    plan.check_all();
    plan.acquire(partition.oid)?;
    transaction::renew_moment();
    Ok(())
}
