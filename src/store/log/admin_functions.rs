//! The functions that admins of partitions call: who may execute them is given and taken with the rights on tables.
//!
//! **Invariant:** EXECUTE on them is for all partitions, and an admin of one can have it taken. So nothing is taken but what
//! `en57_grant()` has given: not what the functions' owner has given by a plain GRANT, to whom it was no admin then.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::store::pg::names::identifier;

use super::ddl::{literal, run};

/// All of the schema of `en57_grant`, and so are types of en57. Who has them all counts as having them by `en57_grant()`; so a
/// version that adds one must give it to those who have the others.
const FUNCTIONS: [&str; 12] = [
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

/// EXECUTE on this marks who had some of them before. It is a privilege, so it goes where those on the functions go: into
/// dumps, and away with the role.
const MARK: &str = "en57.had_functions_before()";

/// These functions, and who owns them.
pub(super) struct AdminFunctions {
    owner: Oid,
    names: Vec<String>,
}

impl AdminFunctions {
    /// Those beside `function`, one of the extension; `None` where it is gone.
    pub(super) fn beside(function: Oid) -> Option<Self> {
        // SAFETY: lookups in the system caches; the tuple is read before it is released.
        let (owner, schema) = unsafe {
            let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
            let tuple = pg_sys::SearchSysCache1(cache, Datum::from(function));
            if tuple.is_null() {
                return None;
            }
            let form: *mut pg_sys::FormData_pg_proc = pg_sys::GETSTRUCT(tuple).cast();
            let (owner, schema) = ((*form).proowner, (*form).pronamespace);
            pg_sys::ReleaseSysCache(tuple);
            let schema = CStr::from_ptr(pg_sys::get_namespace_name(schema));
            (owner, schema.to_string_lossy().into_owned())
        };
        let schema = identifier(&schema);
        let full = |f: &&str| format!("{schema}.{}", f.replace("{schema}", &schema));
        Some(Self {
            owner,
            names: FUNCTIONS.iter().map(full).collect(),
        })
    }

    /// Gives them to a role that is about to become an admin, of the first partition or of one more.
    pub(super) fn give(&self, role: Oid, role_name: &str, is_admin: bool) {
        let mut given = self.names.clone();
        let is_marked = !is_admin && !self.held(role, &self.names).is_empty();
        // The tables may be older than the library.
        if is_marked && !self.oids_of(&[MARK.to_owned()]).is_empty() {
            given.push(MARK.to_owned());
        }
        self.change("GRANT", &given, "TO", role_name);
    }

    /// Takes them from a role that is an admin no more, if `en57_grant()` has given them. Where it was one of those who had some
    /// before, the mark alone goes: what else was given stays with what was there.
    pub(super) fn take(&self, role: Oid, role_name: &str) {
        let mark = [MARK.to_owned()];
        if !self.held(role, &mark).is_empty() {
            self.change("REVOKE", &mark, "FROM", role_name);
            return;
        }
        let held = self.held(role, &self.names);
        let is_as_given = held.len() == self.names.len() && held.iter().all(|h| h == "false");
        if role != self.owner && is_as_given {
            self.change("REVOKE", &self.names, "FROM", role_name);
        }
    }

    /// For each of the functions on which their owner has given EXECUTE to this very role: whether with grant option.
    fn held(&self, role: Oid, names: &[String]) -> Vec<String> {
        let question = format!(
            "SELECT a.is_grantable::pg_catalog.text FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
                WHERE p.oid OPERATOR(pg_catalog.=) ANY ('{{{}}}')
                    AND a.grantee OPERATOR(pg_catalog.=) {} AND a.grantor OPERATOR(pg_catalog.=) p.proowner",
            self.oids_of(names).join(","),
            role.to_u32()
        );
        run(self.owner, &[question])
    }

    /// Of those that there are.
    fn oids_of(&self, names: &[String]) -> Vec<String> {
        let names: Vec<String> = names.iter().map(|f| literal(f)).collect();
        let question = format!(
            "SELECT pg_catalog.to_regprocedure(f)::pg_catalog.oid FROM pg_catalog.unnest(ARRAY[{}]) AS f",
            names.join(", ")
        );
        run(self.owner, &[question])
    }

    fn change(&self, verb: &str, names: &[String], preposition: &str, role: &str) {
        let command = |f: &String| format!("{verb} EXECUTE ON FUNCTION {f} {preposition} {role}");
        run(self.owner, &names.iter().map(command).collect::<Vec<_>>());
    }
}
