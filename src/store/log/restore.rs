//! The default partition makes way for the one that a restore brings along.
//!
//! A dump has the tables of all partitions, as they are no members of the extension; but CREATE EXTENSION, which comes
//! first, has made the default one already. So it is dropped when the restore makes a table of its name, or attaches
//! another one in its place (it may have been renamed).
//!
//! **Invariant:** only a table without a page is dropped: there has never been an event in it, or it was emptied.

use std::ffi::CStr;

use pgrx::pg_sys::{self, NodeTag, Oid, RangeVar};

use crate::dcb::error::{Error, Result, SqlState};
use crate::dcb::partition::DEFAULT;
use crate::store::pg::fmgr::Args;
use crate::store::pg::guard::{self, Severity};
use crate::store::row::table::Opened;

use super::catalog::{self, Exclusion, Store};
use super::ddl;
use super::partition::Access;
use super::partition_bound::relation_name;
use super::triggers::owns;

/// Called before each CREATE TABLE and ALTER TABLE.
///
/// # Errors
/// 42710 where the table is there and has rows; 0A000 for other callers than event triggers.
pub fn before_restore(args: &Args) -> Result<()> {
    // SAFETY: PostgreSQL sets `context` to the event's data when it calls the function of an event trigger; the
    // statement is as the parser has made it.
    let command = unsafe {
        let data = (*args.raw()).context.cast::<pg_sys::EventTriggerData>();
        if data.is_null() || (*data).type_ != NodeTag::T_EventTriggerData {
            return Err(Error::new(
                SqlState::NotSupported,
                "this function is called by event triggers alone",
            ));
        }
        Command::of((*data).parsetree)
    };
    let Some(command) = command else {
        return Ok(());
    };
    // Where the tables are not there yet, or no more, nothing is in the way.
    let Ok(store) = catalog::store() else {
        return Ok(());
    };
    let Ok(default) = store.demand(DEFAULT, Access::Own) else {
        return Ok(());
    };
    let is_in_the_way = match &command {
        Command::Create(name) => relation_name(default) == *name && is_ours(store, default, name),
        Command::Attach(name) => name.as_ref().is_none_or(|n| relation_name(default) != *n),
    };
    if !is_in_the_way || !may_drop(default) {
        return Ok(());
    }
    if is_empty(default) {
        // As PostgreSQL's own DROP TABLE locks them; there may be an event now.
        store.lock(Exclusion::OfAll);
        let table = Opened::table(default, pg_sys::AccessExclusiveLock);
        let is_empty = table.pages() == 0;
        drop(table);
        if is_empty {
            guard::log(
                Severity::Notice,
                "the empty partition \"default\" makes way for the table of the restore",
                None,
                None,
            );
            ddl::drop_empty(default);
            return Ok(());
        }
    }
    Err(Error::new(
        SqlState::DuplicateObject,
        "the partition \"default\" is there already, and has events",
    )
    .detail("A dump brings its own table along, and only an empty one makes way for it.")
    .hint("Restore into a new database; or call en57_truncate('default') before, if its events may go."))
}

/// A table of the schema en57 is found by its name.
fn is_ours(store: &Store, default: Oid, name: &str) -> bool {
    store.table_named(name) == default
}

/// Whoever may not drop it gets PostgreSQL's own error.
fn may_drop(table: Oid) -> bool {
    // SAFETY: looks in the system caches.
    unsafe { pg_sys::superuser() || owns(table) }
}

fn is_empty(table: Oid) -> bool {
    Opened::table(table, pg_sys::AccessShareLock).pages() == 0
}

/// What a restore says of the default partition.
enum Command {
    /// It makes a table in the schema en57.
    Create(String),
    /// It attaches a table, of this name in the schema en57 or anywhere else, as the default partition.
    Attach(Option<String>),
}

impl Command {
    /// # Safety
    /// A statement as the parser has made it.
    unsafe fn of(statement: *mut pg_sys::Node) -> Option<Self> {
        // SAFETY: as the caller has promised; a node begins with its tag.
        unsafe {
            match (*statement).type_ {
                NodeTag::T_CreateStmt => {
                    let create = &*statement.cast::<pg_sys::CreateStmt>();
                    let name = name_in_schema(create.relation)?;
                    (!create.if_not_exists).then_some(Self::Create(name))
                }
                NodeTag::T_AlterTableStmt => {
                    let alter = &*statement.cast::<pg_sys::AlterTableStmt>();
                    if name_in_schema(alter.relation)? != "events" {
                        return None;
                    }
                    nodes(alter.cmds).iter().find_map(|cmd| attached(*cmd))
                }
                _ => None,
            }
        }
    }
}

/// The command that attaches a table for the one value 'default'.
///
/// # Safety
/// A node of ALTER TABLE's list.
unsafe fn attached(command: *mut pg_sys::Node) -> Option<Command> {
    // SAFETY: as the caller has promised; the definition of this subtype is a PartitionCmd.
    unsafe {
        let command = &*command.cast::<pg_sys::AlterTableCmd>();
        if command.subtype != pg_sys::AlterTableType::AT_AttachPartition {
            return None;
        }
        let attach = &*command.def.cast::<pg_sys::PartitionCmd>();
        let bound = attach.bound.as_ref()?;
        let [value] = nodes(bound.listdatums) else {
            return None;
        };
        let value = &*value.cast::<pg_sys::A_Const>();
        if value.type_ != NodeTag::T_A_Const
            || value.isnull
            || value.val.node.type_ != NodeTag::T_String
            || CStr::from_ptr(value.val.sval.sval).to_bytes() != DEFAULT.as_bytes()
        {
            return None;
        }
        Some(Command::Attach(name_in_schema(attach.name)))
    }
}

/// The name of a relation that is said to be in the schema en57; dumps qualify all names.
///
/// # Safety
/// Null or a node of the parser's.
unsafe fn name_in_schema(relation: *mut RangeVar) -> Option<String> {
    // SAFETY: as the caller has promised; its texts end with NUL.
    unsafe {
        let relation = relation.as_ref()?;
        let is_ours = !relation.schemaname.is_null()
            && CStr::from_ptr(relation.schemaname).to_bytes() == b"en57";
        is_ours.then(|| {
            CStr::from_ptr(relation.relname)
                .to_string_lossy()
                .into_owned()
        })
    }
}

/// # Safety
/// Null or a list of nodes, which outlives what is returned.
unsafe fn nodes<'a>(list: *mut pg_sys::List) -> &'a [*mut pg_sys::Node] {
    if list.is_null() {
        return &[];
    }
    // SAFETY: a list has as many cells as its length says, and a cell is a pointer.
    unsafe { std::slice::from_raw_parts((*list).elements.cast(), (*list).length as usize) }
}
