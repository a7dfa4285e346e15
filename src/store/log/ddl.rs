//! What is done by SQL commands, most as the owner of the log: partitions made and dropped, rights given.
//!
//! **Invariant:** the caller's rights have been checked by whoever calls this. Names reach a command quoted
//! alone, and the session's search path does not count.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::names::identifier;
use crate::store::pg::{guard, rights};
use crate::store::row::table::Opened;
use crate::store::row::trigger::Firing;

use super::admin_functions::AdminFunctions;
use super::catalog::Store;
use super::partition_bound;
use super::triggers::{self, Doing, GUARDS};

/// Runs commands as a role; returns the first column of what the last one answers.
pub(super) fn run(role: Oid, commands: &[String]) -> Vec<String> {
    let mut answer = Vec::new();
    // SAFETY: SPI's protocol; rows are copied before SPI frees them.
    let body = || unsafe {
        pg_sys::SPI_connect();
        for command in commands {
            pg_sys::SPI_execute(guard::text(command).as_ptr(), false, 0);
        }
        let table = pg_sys::SPI_tuptable;
        for row in 0..if table.is_null() {
            0
        } else {
            pg_sys::SPI_processed
        } {
            let tuple = *(*table).vals.add(row as usize);
            let value = pg_sys::SPI_getvalue(tuple, (*table).tupdesc, 1);
            if !value.is_null() {
                answer.push(CStr::from_ptr(value).to_string_lossy().into_owned());
            }
        }
        pg_sys::SPI_finish();
    };
    // What a trigger has set does not stay.
    rights::as_role_unrestricted(role, || rights::with_path(rights::SAFE_PATH, body));
    answer
}

/// A text as a command contains it.
pub(super) fn literal(text: &str) -> String {
    // SAFETY: returns a copy in the current memory context.
    unsafe {
        let quoted = CStr::from_ptr(pg_sys::quote_literal_cstr(guard::text(text).as_ptr()));
        quoted.to_string_lossy().into_owned()
    }
}

/// A partition's table with its schema, as a command names it.
pub(in crate::store) fn in_schema(table: Oid) -> String {
    format!(
        "en57.{}",
        identifier(&partition_bound::relation_name(table))
    )
}

/// Makes a partition, with the rights that others have on the log as a whole. It is no member of an extension
/// whose script is running, so that a dump has all that a DBA has done to it.
pub fn create_partition(store: &Store, name: &str, table: &str) -> Oid {
    let owner = rights::owner_of_existing(store.events);
    let full = format!("en57.{}", identifier(table));
    let index = |suffix: &str| identifier(&format!("{table}_{suffix}"));
    let mut commands = vec![
        format!(
            "CREATE TABLE {full} (LIKE en57.events INCLUDING ALL EXCLUDING INDEXES EXCLUDING COMMENTS
                EXCLUDING STATISTICS) USING heap WITH (autovacuum_vacuum_insert_scale_factor = 0.1)"
        ),
        format!("REVOKE ALL ON TABLE {full} FROM PUBLIC"),
        format!(
            "ALTER TABLE {full} ALTER COLUMN data SET STATISTICS 0, ALTER COLUMN meta SET STATISTICS 0"
        ),
        format!(
            "COMMENT ON TABLE {full} IS {}",
            literal(&format!("events of the partition {name}"))
        ),
        format!(
            "CREATE UNIQUE INDEX {} ON {full} (\"position\")",
            index("position")
        ),
        // What a publication of updates names an event by.
        format!(
            "ALTER TABLE {full} REPLICA IDENTITY USING INDEX {}",
            index("position")
        ),
        format!("CREATE UNIQUE INDEX {} ON {full} (id)", index("id")),
        format!(
            "CREATE UNIQUE INDEX {} ON {full} (stream) WHERE stream_version = 1",
            index("stream")
        ),
        format!(
            "CREATE INDEX {} ON {full} USING en57_keys
                (en57.keys(type, tags, stream, meta), \"position\")",
            index("keys")
        ),
    ];
    commands.extend(GUARDS.iter().map(|guard| guard.create(&full)));
    commands.push(format!(
        "ALTER TABLE en57.events ATTACH PARTITION {full} FOR VALUES IN ({})",
        literal(name)
    ));
    commands.push(format!(
        "SELECT pg_catalog.format('GRANT %s ON TABLE %s TO %I%s', a.privilege_type, {}, r.rolname,
                CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
            FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a, pg_catalog.pg_roles r
            WHERE c.oid OPERATOR(pg_catalog.=) {} AND r.oid OPERATOR(pg_catalog.=) a.grantee
                AND r.oid OPERATOR(pg_catalog.<>) c.relowner
                AND a.privilege_type OPERATOR(pg_catalog.=) ANY ('{{SELECT,INSERT,TRUNCATE,TRIGGER}}')",
        literal(&full),
        store.events.to_u32()
    ));
    as_no_member(|| {
        let grants = run(owner, &commands);
        run(owner, &grants);
    });
    store.table_named(table)
}

/// Makes what is made no member of the extension whose script is running; CREATE EXTENSION's own cleanup follows
/// an error.
fn as_no_member(body: impl FnOnce()) {
    // SAFETY: a variable of the backend, which only the commands on extensions look at.
    unsafe {
        let is_script = pg_sys::creating_extension;
        pg_sys::creating_extension = false;
        body();
        pg_sys::creating_extension = is_script;
    }
}

/// Drops an empty partition, as the caller.
pub(in crate::store) fn drop_empty(table: Oid) {
    // SAFETY: reads the backend's state.
    let caller = unsafe { pg_sys::GetUserId() };
    run(caller, &[format!("DROP TABLE {}", in_schema(table))]);
}

/// Drops a partition with its events.
pub fn drop_partition(store: &Store, table: Oid) {
    let command = format!("DROP TABLE {}", in_schema(table));
    run(rights::owner_of_existing(store.events), &[command]);
}

/// Takes a partition out of the log; its table is an ordinary one then.
pub fn detach_partition(store: &Store, table: Oid) {
    let name = in_schema(table);
    let mut commands = vec![format!("ALTER TABLE en57.events DETACH PARTITION {name}")];
    commands.extend(GUARDS.iter().map(|guard| {
        let guard = guard.name.to_string_lossy();
        format!("DROP TRIGGER IF EXISTS {guard} ON {name}")
    }));
    run(rights::owner_of_existing(store.events), &commands);
}

/// Empties a partition, as the caller.
///
/// # Errors
/// 0A000 where a trigger of somebody's would fire.
pub fn truncate(table: Oid) -> Result<()> {
    let opened = Opened::table(table, pg_sys::AccessExclusiveLock);
    opened.refuse_triggers(Firing::Truncate)?;
    drop(opened);
    let command = format!("TRUNCATE TABLE ONLY {}", in_schema(table));
    // SAFETY: reads the backend's state.
    let caller = unsafe { pg_sys::GetUserId() };
    triggers::letting(Doing::Truncate, table, || run(caller, &[command]));
    Ok(())
}

/// What en57_grant() gives, and en57_revoke() takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// To read.
    Reader,
    /// To read and append.
    Writer,
    /// To do all with a partition, and to give rights on it.
    Admin,
}

impl Rights {
    fn privileges(self) -> &'static str {
        match self {
            Self::Reader => "SELECT",
            Self::Writer => "SELECT, INSERT",
            Self::Admin => "SELECT, INSERT, TRUNCATE, TRIGGER",
        }
    }
}

/// Gives rights on tables to a role.
///
/// # Errors
/// 42704 where there is no such role.
pub fn grant(
    store: &Store,
    role: Oid,
    rights: Rights,
    tables: &[Oid],
    function: Oid,
) -> Result<()> {
    let role_name = role_name(role)?;
    if rights == Rights::Admin
        && let Some(functions) = AdminFunctions::beside(function)
    {
        functions.give(role, &role_name, is_admin_anywhere(store, role));
    }
    for table in tables {
        let (name, what) = (in_schema(*table), rights.privileges());
        run(
            rights::owner_of_existing(*table),
            &[format!("GRANT {what} ON TABLE {name} TO {role_name}")],
        );
    }
    Ok(())
}

/// Takes them away. Who is an admin of nothing any more, and was one before, loses the functions of admins. What a role has as
/// the owner of a table was not given to it, and is not taken; nor is what others than the owner have given.
///
/// # Errors
/// 42704 where there is no such role.
pub fn revoke(
    store: &Store,
    role: Oid,
    rights: Rights,
    tables: &[Oid],
    function: Oid,
) -> Result<()> {
    let role_name = role_name(role)?;
    let was_admin = is_admin_anywhere(store, role);
    for table in tables {
        let (name, what) = (in_schema(*table), rights.privileges());
        let owner = rights::owner_of_existing(*table);
        if owner != role {
            let command = format!("REVOKE {what} ON TABLE {name} FROM {role_name}");
            run(owner, &[command]);
        }
    }
    if was_admin
        && !is_admin_anywhere(store, role)
        && let Some(functions) = AdminFunctions::beside(function)
    {
        functions.take(role, &role_name);
    }
    Ok(())
}

/// Whether a role itself was made an admin, of any partition or of the log.
fn is_admin_anywhere(store: &Store, role: Oid) -> bool {
    let events = store.events.to_u32();
    let question = format!(
        "SELECT 'yes' FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
            WHERE (c.oid OPERATOR(pg_catalog.=) {events} OR c.oid OPERATOR(pg_catalog.=) ANY (
                    SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent OPERATOR(pg_catalog.=) {events}))
                AND a.grantee OPERATOR(pg_catalog.=) {} AND a.privilege_type OPERATOR(pg_catalog.=) 'TRUNCATE'
                AND a.grantee OPERATOR(pg_catalog.<>) c.relowner
            LIMIT 1",
        role.to_u32()
    );
    !run(rights::owner_of_existing(store.events), &[question]).is_empty()
}

fn role_name(role: Oid) -> Result<String> {
    // SAFETY: a lookup in the system caches; null where there is none.
    let name = unsafe { pg_sys::GetUserNameFromId(role, true) };
    if name.is_null() {
        return Err(Error::new(
            SqlState::UndefinedObject,
            format!("role with oid {} does not exist", role.to_u32()),
        )
        .hint("Rights of PUBLIC are given by GRANT."));
    }
    // SAFETY: a copy in the current memory context.
    let name = unsafe { CStr::from_ptr(name) };
    Ok(identifier(&name.to_string_lossy()))
}
