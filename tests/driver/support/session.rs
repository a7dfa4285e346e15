//! One connection, with its statements prepared once.

use std::collections::HashMap;

use postgres::types::ToSql;
use postgres::{Client, Error, Row, Statement};
use serde_json::Value;

/// A connection.
pub struct Session {
    pub client: Client,
    statements: HashMap<String, Statement>,
}

/// What an append answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Appended {
    pub outcome: String,
    pub position: i64,
    pub first: Option<i64>,
    pub conflicts: Option<Value>,
}

impl Appended {
    pub fn is_appended(&self) -> bool {
        self.outcome == "appended"
    }

    pub fn is_conflict(&self) -> bool {
        self.outcome == "conflict"
    }

    /// The positions of the conflicting events, as they were told.
    pub fn conflicting(&self) -> Vec<i64> {
        let list = self.conflicts.as_ref().and_then(Value::as_array);
        let position = |e: &Value| e["position"].as_i64().expect("a position");
        list.map_or_else(Vec::new, |l| l.iter().map(position).collect())
    }
}

impl Session {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            statements: HashMap::new(),
        }
    }

    /// Runs statements that must succeed.
    pub fn run(&mut self, sql: &str) {
        self.try_run(sql)
            .unwrap_or_else(|e| panic!("{sql}: {}", told(&e)));
    }

    /// Creates one of PostgreSQL's own extensions, which look at tables and indexes. False where this build of PostgreSQL
    /// comes without it, as some do that are not a system's own; CI's have it.
    pub fn has(&mut self, extension: &str) -> bool {
        let sql = format!("SELECT FROM pg_available_extensions WHERE name = '{extension}'");
        let rows = self.try_rows(&sql, &[]).expect("extensions");
        if rows.is_empty() {
            assert!(std::env::var_os("CI").is_none(), "{extension} is missing");
            eprintln!("{extension} is not there: what it would look at is left out");
            return false;
        }
        self.run(&format!("CREATE EXTENSION IF NOT EXISTS {extension}"));
        true
    }

    pub fn try_run(&mut self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql)
    }

    pub fn try_rows(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let statement = match self.statements.get(sql) {
            Some(known) => known.clone(),
            None => {
                let new = self.client.prepare(sql)?;
                self.statements.insert(sql.to_owned(), new.clone());
                new
            }
        };
        self.client.query(&statement, values)
    }

    pub fn rows(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.try_rows(sql, values)
            .unwrap_or_else(|e| panic!("{sql}: {}", told(&e)))
    }

    pub fn row(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Row {
        let mut rows = self.rows(sql, values);
        assert_eq!(rows.len(), 1, "{sql}");
        rows.remove(0)
    }

    pub fn number(&mut self, sql: &str) -> i64 {
        self.row(sql, &[]).get(0)
    }

    pub fn text(&mut self, sql: &str) -> String {
        self.row(sql, &[]).get(0)
    }

    pub fn pid(&mut self) -> i32 {
        self.row("SELECT pg_backend_pid()", &[]).get(0)
    }

    pub fn try_append(&mut self, events: &Value, fail_if: Option<&str>) -> Result<Appended, Error> {
        const SQL: &str = "SELECT outcome::text, position, first_position, conflicts
            FROM en57_append($1, fail_if => $2::text::en57_query)";
        let rows = self.try_rows(SQL, &[events, &fail_if])?;
        let row = &rows[0];
        Ok(Appended {
            outcome: row.get(0),
            position: row.get(1),
            first: row.get(2),
            conflicts: row.get(3),
        })
    }

    pub fn append(&mut self, events: &Value, fail_if: Option<&str>) -> Appended {
        self.try_append(events, fail_if)
            .unwrap_or_else(|e| panic!("append of {:.300}: {}", events.to_string(), told(&e)))
    }

    /// The positions that a read of the query returns.
    pub fn positions(&mut self, query: &str) -> Vec<i64> {
        let sql = "SELECT position FROM en57_read($1::text::en57_query)";
        self.rows(sql, &[&query]).iter().map(|r| r.get(0)).collect()
    }

    pub fn head(&mut self) -> i64 {
        self.number("SELECT en57_head()")
    }
}

/// An error with all that the server said.
pub fn told(error: &Error) -> String {
    match error.as_db_error() {
        Some(e) => format!(
            "{} {} DETAIL {} HINT {} WHERE {}",
            e.code().code(),
            e.message(),
            e.detail().unwrap_or("-"),
            e.hint().unwrap_or("-"),
            e.where_().unwrap_or("-")
        ),
        None => format!("{error:?}"),
    }
}

/// The SQLSTATE of an error; empty where the connection broke.
pub fn state(error: &Error) -> &str {
    error.code().map_or("", |c| c.code())
}
