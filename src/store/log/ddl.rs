//! What is done by SQL commands, most as the owner of the log: partitions made and dropped, rights given.
//!
//! **Invariant:** the caller's rights have been checked by whoever calls this. Names reach a command quoted
//! alone, and the session's search path does not count.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::names::identifier;
use crate::store::pg::{guard, rights};
use crate::store::row::table::Opened;
use crate::store::row::trigger::Firing;

use super::catalog::Store;
use super::partition_bound;
use super::triggers::{self, Doing, GUARDS};

/// Runs commands as a role; returns the first column of what the last one answers.
fn run(role: Oid, commands: &[String]) -> Vec<String> {
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

fn literal(text: &str) -> String {
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
                AND a.privilege_type OPERATOR(pg_catalog.=) ANY ('{{SELECT,INSERT,TRUNCATE}}')",
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

/// The functions that admins call; all of the schema of `function`, and so are types of en57.
const ADMIN_FUNCTIONS: [&str; 12] = [
    "en57_create_partition(text, boolean)",
    "en57_drop_partition(text)",
    "en57_detach_partition(text)",
    "en57_truncate(text, boolean)",
    "en57_erase({schema}.en57_query, text, text)",
    "en57_grant(pg_catalog.regrole, text, text)",
    "en57_revoke(pg_catalog.regrole, text, text)",
    "en57_create_fold(text, {schema}.en57_function, pg_catalog.jsonb, integer, boolean, boolean)",
    "en57_drop_fold(text)",
    "en57_drop_snapshots(text)",
    "en57_create_decider(text, {schema}.en57_function, {schema}.en57_function, {schema}.en57_function, pg_catalog.jsonb, pg_catalog.jsonb, integer, boolean, boolean)",
    "en57_drop_decider(text)",
];

/// Gives rights on tables to a role.
///
/// # Errors
/// 42704 where there is no such role.
pub fn grant(role: Oid, rights: Rights, tables: &[Oid], function: Oid) -> Result<()> {
    let role_name = role_name(role)?;
    for table in tables {
        let (name, what) = (in_schema(*table), rights.privileges());
        run(
            rights::owner_of_existing(*table),
            &[format!("GRANT {what} ON TABLE {name} TO {role_name}")],
        );
    }
    if rights == Rights::Admin {
        on_functions("GRANT", "TO", &role_name, function);
    }
    Ok(())
}

/// Takes them away. Who is an admin of nothing any more loses the functions of admins.
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
    for table in tables {
        let (name, what) = (in_schema(*table), rights.privileges());
        run(
            rights::owner_of_existing(*table),
            &[format!("REVOKE {what} ON TABLE {name} FROM {role_name}")],
        );
    }
    let events = store.events.to_u32();
    let still = format!(
        "SELECT 'yes' FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
            WHERE (c.oid OPERATOR(pg_catalog.=) {events} OR c.oid OPERATOR(pg_catalog.=) ANY (
                    SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent OPERATOR(pg_catalog.=) {events}))
                AND a.grantee OPERATOR(pg_catalog.=) {} AND a.privilege_type OPERATOR(pg_catalog.=) 'TRUNCATE'
            LIMIT 1",
        role.to_u32()
    );
    if run(rights::owner_of_existing(store.events), &[still]).is_empty() {
        on_functions("REVOKE", "FROM", &role_name, function);
    }
    Ok(())
}

fn on_functions(verb: &str, preposition: &str, role: &str, function: Oid) {
    // SAFETY: lookups in the system caches; the tuple is read before it is released.
    let (owner, schema) = unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, Datum::from(function));
        if tuple.is_null() {
            return;
        }
        let form: *mut pg_sys::FormData_pg_proc = pg_sys::GETSTRUCT(tuple).cast();
        let (owner, schema) = ((*form).proowner, (*form).pronamespace);
        pg_sys::ReleaseSysCache(tuple);
        let schema = CStr::from_ptr(pg_sys::get_namespace_name(schema));
        (owner, schema.to_string_lossy().into_owned())
    };
    let schema = identifier(&schema);
    let commands: Vec<String> = ADMIN_FUNCTIONS
        .iter()
        .map(|f| f.replace("{schema}", &schema))
        .map(|f| format!("{verb} EXECUTE ON FUNCTION {schema}.{f} {preposition} {role}"))
        .collect();
    run(owner, &commands);
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
