//! The functions of docs/examples that try again after a conflict end at every isolation level: also in a transaction
//! that has begun to read before somebody else appended, and whose reads repeat.
//!
//! Without the `en57_lock` in their loops they read the same again, and conflict with what they do not see, for ever.

use crate::support::cluster::{Cluster, Database};

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// The first functions of a page, as many as there are before anything else.
fn functions(page: &str) -> String {
    let (_, rest) = page.split_once("CREATE FUNCTION").expect("a function");
    let (block, _) = rest.split_once("```").expect("the end of the block");
    let end = block.rfind("$$;").expect("the end of a function");
    format!("CREATE FUNCTION{}$$;", &block[..end])
}

/// Runs a call in a transaction that has read before another session runs its own; returns its answer.
fn after(db: &Database, level: &str, others: &str, call: &str) -> String {
    let (mut session, mut other) = (db.connect(), db.connect());
    session.run(&format!(
        "SET statement_timeout = '60s'; BEGIN ISOLATION LEVEL {level}; SELECT en57_count()"
    ));
    other.run(&format!("SELECT {others}"));
    let answer = session.text(&format!("SELECT ({call})::text"));
    session.run("COMMIT");
    answer
}

#[test]
fn invoices_are_numbered() {
    let db = Cluster::shared().database();
    let page = include_str!("../../docs/examples/invoice-number.md");
    db.connect().run(&functions(page));
    for (n, level) in LEVELS.iter().enumerate() {
        let number = after(&db, level, "invoice('{}')", "invoice('{}')");
        assert_eq!(number, (2 * n + 2).to_string(), "{level}");
    }
}

#[test]
fn names_are_claimed() {
    let db = Cluster::shared().database();
    let page = include_str!("../../docs/examples/unique-username.md");
    // The first statement of the block is a comment with the function.
    db.connect().run(&functions(page));
    for (n, level) in LEVELS.iter().enumerate() {
        let claim = |account: usize| {
            format!(
                r#"claim('ada{n}', '{{"type": "registered", "tags": ["username:ada{n}", "account:{account}"]}}')"#
            )
        };
        assert_eq!(after(&db, level, &claim(1), &claim(2)), "taken", "{level}");
    }
}

#[test]
fn prices_change() {
    let db = Cluster::shared().database();
    let page = include_str!("../../docs/examples/dynamic-product-price.md");
    db.connect().run(&functions(page));
    for (n, level) in LEVELS.iter().enumerate() {
        let price = |price: usize, ago: usize| format!("price('lamp{n}', {price}, {ago})");
        db.connect().run(&format!("SELECT {}", price(100, 60)));
        let order = format!(r#"order_products('{{"lamp{n}": 100}}')"#);
        let answer = after(&db, level, &price(120, 20), &order);
        assert_eq!(answer, format!("not at this price: lamp{n}"), "{level}");
        // Still good for some minutes, but no more as it was read.
        let order = format!(r#"order_products('{{"lamp{n}": 120}}')"#);
        let answer = after(&db, level, &price(140, 1), &order);
        assert_eq!(answer, "ordered", "{level}");
    }
}
