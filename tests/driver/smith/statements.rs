//! Random statements over everything that the extension has, as the catalogs tell.

use crate::support::random::Random;
use crate::support::session::Session;

use super::values::{expression, quoted};

struct Function {
    name: String,
    is_procedure: bool,
    /// Name, type, and whether it can be left out.
    arguments: Vec<(String, String, bool)>,
}

/// What can be called and named.
pub struct Surface {
    functions: Vec<Function>,
    relations: Vec<String>,
    /// Operators, with the types of both sides.
    operators: Vec<(String, String, String)>,
    settings: Vec<String>,
}

impl Surface {
    pub fn of(session: &mut Session) -> Self {
        // A function that takes what SQL cannot give, or that is a trigger, answers to no call.
        const FUNCTIONS: &str = "SELECT p.oid::regproc::text, p.prokind = 'p', coalesce(p.proargnames, '{}'), a.types, p.pronargdefaults::int
            FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'en57' JOIN pg_proc p ON p.oid = d.objid,
                LATERAL (SELECT coalesce(array_agg(format_type(t, NULL) ORDER BY n), '{}') types, coalesce(bool_or(t = 'internal'::regtype), false) closed
                           FROM unnest(p.proargtypes) WITH ORDINALITY AS t (t, n)) a
            WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND NOT a.closed
                AND p.prorettype <> ALL ('{trigger,event_trigger,language_handler,internal}'::regtype[])
            ORDER BY p.oid";
        const RELATIONS: &str = "SELECT c.oid::regclass::text FROM pg_class c
            WHERE c.relkind IN ('r', 'p', 'v', 'S') AND (c.relnamespace = 'en57'::regnamespace
                OR c.oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e')) ORDER BY 1";
        const OPERATORS: &str = "SELECT o.oprname::text, format_type(o.oprleft, NULL), format_type(o.oprright, NULL)
            FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'en57' JOIN pg_operator o ON o.oid = d.objid
            WHERE d.classid = 'pg_operator'::regclass AND d.deptype = 'e' ORDER BY o.oid";
        let functions: Vec<Function> = session
            .rows(FUNCTIONS, &[])
            .iter()
            .map(|row| {
                let (names, types): (Vec<String>, Vec<String>) = (row.get(2), row.get(3));
                let defaults: i32 = row.get(4);
                let optional_from = types.len() - defaults as usize;
                let argument = |(n, kind): (usize, String)| {
                    (
                        names.get(n).cloned().unwrap_or_default(),
                        kind,
                        n >= optional_from,
                    )
                };
                Function {
                    name: row.get(0),
                    is_procedure: row.get(1),
                    arguments: types.into_iter().enumerate().map(argument).collect(),
                }
            })
            .collect();
        assert!(
            functions.len() > 150,
            "the extension has {} functions",
            functions.len()
        );
        Self {
            functions,
            relations: session
                .rows(RELATIONS, &[])
                .iter()
                .map(|r| r.get(0))
                .collect(),
            operators: session
                .rows(OPERATORS, &[])
                .iter()
                .map(|r| (r.get(0), r.get(1), r.get(2)))
                .collect(),
            settings: {
                session.run("SELECT en57_head()");
                session
                    .rows(
                        "SELECT name FROM pg_settings WHERE name LIKE 'en57.%' ORDER BY 1",
                        &[],
                    )
                    .iter()
                    .map(|r| r.get(0))
                    .collect()
            },
        }
    }

    /// A call of any function, as an expression; the second is whether it is a procedure's.
    fn call(&self, random: &mut Random) -> (String, bool) {
        let function = random.pick(&self.functions);
        let mut list = vec![];
        let mut by_name = false;
        for (name, kind, is_optional) in &function.arguments {
            if *is_optional && !name.is_empty() && random.chance(45) {
                by_name = true;
                continue;
            }
            let value = expression(random, kind, name);
            list.push(if by_name {
                format!("\"{name}\" => {value}")
            } else {
                value
            });
        }
        // Mixed notation needs a name for each argument after the first that has one.
        (
            format!("{}({})", function.name, list.join(", ")),
            function.is_procedure,
        )
    }

    fn expression(&self, random: &mut Random) -> String {
        if random.chance(6) {
            let (name, left, right) = random.pick(&self.operators);
            return format!(
                "(SELECT {} OPERATOR(public.{name}) {})",
                expression(random, left, ""),
                expression(random, right, "")
            );
        }
        loop {
            if let (call, false) = self.call(random) {
                return call;
            }
        }
    }

    fn relation_statement(&self, random: &mut Random) -> String {
        let relation = random.pick(&self.relations);
        match random.below(20) {
            0..8 => format!(
                "SELECT * FROM {relation} LIMIT {}",
                random.pick(&["1", "100", "ALL"])
            ),
            8 => format!(
                "SELECT count(*) FROM {relation} x WHERE x::text LIKE '%a%' AND {}",
                "length(x::text) < 1e6"
            ),
            9 => format!("INSERT INTO {relation} DEFAULT VALUES"),
            10 => format!("INSERT INTO {relation} SELECT * FROM {relation} LIMIT 1"),
            11 => format!("DELETE FROM {relation}"),
            12 => format!("TRUNCATE {relation}"),
            13 => format!(
                "LOCK TABLE {relation} IN {} MODE NOWAIT",
                random.pick(&["ACCESS SHARE", "ROW EXCLUSIVE", "ACCESS EXCLUSIVE"])
            ),
            14 => format!(
                "ALTER TABLE {relation} {}",
                random.pick(&[
                    "DISABLE TRIGGER ALL",
                    "ADD COLUMN x int",
                    "OWNER TO CURRENT_USER",
                    "ENABLE ROW LEVEL SECURITY",
                    "SET UNLOGGED"
                ])
            ),
            15 => format!(
                "CREATE TRIGGER smith AFTER INSERT ON {relation} FOR EACH ROW EXECUTE FUNCTION en57.{}()",
                random.pick(&["guard", "projections_changed", "definitions_changed"])
            ),
            16 => format!("GRANT ALL ON {relation} TO CURRENT_USER"),
            17 => format!("CREATE INDEX ON {relation} USING en57_keys ((1))"),
            18 => format!("COPY {relation} TO PROGRAM 'true'"),
            _ => format!("DROP TABLE {relation} CASCADE"),
        }
    }

    /// One statement.
    pub fn statement(&self, random: &mut Random) -> String {
        match random.below(22) {
            0..3 => self.relation_statement(random),
            3..9 => format!("SELECT * FROM {} AS x", self.expression(random)),
            9..12 => format!("SELECT {} AS x", self.expression(random)),
            12 => format!(
                "SELECT n, ({})::text FROM generate_series(1, 3) n",
                self.expression(random)
            ),
            13 => format!(
                "SELECT x FROM (SELECT {} AS x LIMIT 1) s LIMIT 1",
                self.expression(random)
            ),
            14 => format!(
                "SELECT count(*) FROM {} AS x, LATERAL (SELECT {} LIMIT 2) y",
                self.expression(random),
                self.expression(random)
            ),
            15 => match self.call(random) {
                (call, true) => format!("CALL {call}"),
                (call, false) => format!("SELECT 1 WHERE ({call}) IS NULL"),
            },
            16 => format!(
                "DECLARE c{0} {1} CURSOR {2} FOR SELECT {3} AS x; FETCH 1 FROM c{0}; SAVEPOINT c; FETCH 2 FROM c{0}; ROLLBACK TO c; FETCH ALL FROM c{0}",
                random.below(3),
                random.pick(&["", "SCROLL", "BINARY"]),
                random.pick(&["", "WITH HOLD"]),
                self.expression(random),
            ),
            17 => self.prepared(random),
            18 => format!(
                "EXPLAIN (ANALYZE, COSTS OFF) SELECT {}",
                self.expression(random)
            ),
            _ => self.block(random),
        }
    }

    /// A prepared statement with a generic plan. Its arguments are those of one function.
    fn prepared(&self, random: &mut Random) -> String {
        let function = loop {
            let function = random.pick(&self.functions);
            if !function.is_procedure && !function.arguments.is_empty() {
                break function;
            }
        };
        let types: Vec<&str> = function
            .arguments
            .iter()
            .map(|(_, kind, _)| kind.as_str())
            .collect();
        let holes: Vec<String> = (1..=types.len()).map(|n| format!("${n}")).collect();
        let values = |random: &mut Random| {
            let all: Vec<String> = function
                .arguments
                .iter()
                .map(|(name, kind, _)| expression(random, kind, name))
                .collect();
            all.join(", ")
        };
        let (first, second) = (values(random), values(random));
        format!(
            "SET plan_cache_mode = force_generic_plan; DEALLOCATE ALL; PREPARE p ({}) AS SELECT * FROM {}({}) x; EXECUTE p({first}); EXECUTE p({second})",
            types.join(", "),
            function.name,
            holes.join(", "),
        )
    }

    /// A block of PL/pgSQL that catches what is raised, but not what is told of a broken inside.
    fn block(&self, random: &mut Random) -> String {
        let inner = |random: &mut Random| {
            format!(
                "BEGIN PERFORM {}; EXCEPTION WHEN internal_error OR data_corrupted OR index_corrupted THEN RAISE; WHEN OTHERS THEN NULL; END;",
                self.expression(random)
            )
        };
        let steps: String = (0..random.between(1, 4)).map(|_| inner(random)).collect();
        let body = match random.below(3) {
            0 => format!("FOR i IN 1..2 LOOP {steps} END LOOP;"),
            1 => format!(
                "BEGIN {steps} RAISE 'undo'; EXCEPTION WHEN raise_exception THEN NULL; END; {}",
                inner(random)
            ),
            _ => steps,
        };
        format!("DO {}", quoted(&format!("BEGIN {body} END")))
    }

    /// A change of settings, or none.
    pub fn setting(&self, random: &mut Random) -> String {
        let local = random.pick(&["", "LOCAL "]);
        match random.below(16) {
            0 => format!("SET {local}search_path = {}", random.pick(&["''", "pg_temp, en57, public", "en57, public", "smith_victim, public", "public", "\"$user\", public"])),
            1 => format!("SET {local}work_mem = {}", random.pick(&["'64kB'", "'100MB'"])),
            2 => format!("SET {local}statement_timeout = {}", random.pick(&["'1ms'", "'5ms'", "'50ms'", "'400ms'"])),
            3 => format!("SET {local}quote_all_identifiers = {}", random.pick(&["on", "off"])),
            4 => format!("SET default_transaction_isolation = {}", random.pick(&["'serializable'", "'repeatable read'", "'read committed'"])),
            5 => format!("SET {local}{} = off", random.pick(&["enable_seqscan", "enable_indexscan", "enable_bitmapscan", "enable_hashjoin", "enable_material", "jit"])),
            6 => "CREATE TEMP TABLE IF NOT EXISTS events AS SELECT 1 AS position; CREATE OR REPLACE FUNCTION pg_temp.evolve(jsonb, en57_event) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'".into(),
            7 => format!("SET {local}timezone = {}", random.pick(&["'UTC'", "'Asia/Kathmandu'"])),
            8 => format!("SET {local}datestyle = {}", random.pick(&["'ISO, MDY'", "'German'", "'SQL, DMY'"])),
            9 => format!("SET {}", random.pick(&["ROLE none", "ROLE smith_victim", "ROLE postgres", "SESSION AUTHORIZATION postgres", "session_replication_role = replica", "row_security = off", "default_transaction_read_only = on", "bytea_output = 'escape'", "xmlbinary = hex", "array_nulls = off", "debug_parallel_query = on", "parallel_setup_cost = 0", "lock_timeout = '3ms'"])),
            10 => random.pick(&["RESET ALL", "DISCARD ALL", "DISCARD PLANS", "DISCARD TEMP", "RESET ALL"]).to_string(),
            _ => {
                let name = random.pick(&self.settings);
                format!("SET {local}{name} = {}", random.pick(&["DEFAULT", "'mine'", "'theirs'", "'{\"by\": \"s\"}'", "0", "1", "5", "on", "off", "'20ms'", "-1", "1000000", "'[]'", "''"]))
            }
        }
    }
}
