//! Event types and upcasters as far as they need no server.

#![allow(missing_docs)]

use en57_tests::dcb;

use dcb::error::SqlState;
use dcb::query::{Criterion, Query};
use dcb::schema::Schema;
use dcb::upcast::{Chains, Form};

/// Steps from texts like `a1 > b2`.
fn steps(text: &str) -> Vec<(Form, Form)> {
    let form = |t: &str| {
        let (name, version) = t.trim().split_at(1);
        Form::new(name, version.parse().expect("a version"))
    };
    let step = |t: &str| {
        let (from, to) = t.split_once('>').expect("a step");
        (form(from), form(to))
    };
    text.split(',').map(step).collect()
}

fn types(names: &[&str]) -> Query {
    Query::new(vec![Criterion {
        types: names.iter().map(|n| (*n).to_owned()).collect(),
        tags: vec!["t".to_owned()],
        ..Criterion::default()
    }])
}

#[test]
fn upcasters_are_followed_to_the_end() {
    let chains = Chains::new(steps("a1>a2, a2>b1, b1>b2, c1>c2")).expect("no circle");
    let chain = chains.of("a", 1).expect("a chain");
    assert_eq!(
        (chain.steps.as_slice(), &chain.last),
        ([0, 1, 2].as_slice(), &Form::new("b", 2))
    );
    assert_eq!(chains.of("a", 3), None);
    assert_eq!(chains.of("b", 2), None);
    assert_eq!(
        (
            chains.name_of("a", 1),
            chains.name_of("a", 3),
            chains.name_of("c", 1)
        ),
        ("b", "a", "c")
    );
    assert!(chains.renames());
    // The new name finds what is stored under the old one; the old name is looked for as it is, since other
    // versions keep it.
    assert_eq!(chains.as_stored(&types(&["b"])), Some(types(&["a", "b"])));
    assert_eq!(chains.as_stored(&types(&["a", "c"])), None);
    assert_eq!(chains.as_stored(&Query::everything()), None);
    // Who reads what no upcaster changes, or leads to, need not ask.
    for (names, concern) in [("a", true), ("b", true), ("c", true), ("d", false)] {
        assert_eq!(chains.concern(&types(&[names])), concern, "{names}");
    }
    assert!(chains.concern(&types(&["d", "c"])));
    assert!(chains.concern(&types(&[])) && chains.concern(&Query::everything()));
    assert!(!Chains::default().concern(&Query::everything()));
    // A name that stands at the same bit as another one is another name.
    let x = Chains::new(steps("x1>x2")).expect("no circle");
    assert!(x.of("x", 1).is_some() && x.of("8", 1).is_none());
}

#[test]
fn upcasters_do_not_go_in_circles() {
    for circle in ["a1>a1", "a1>a2, a2>a1", "a1>b1, b1>c1, c1>b1"] {
        assert!(Chains::new(steps(circle)).is_err(), "{circle}");
    }
    assert!(Chains::new(steps("a1>b1, c1>b1, b1>b2")).is_ok());
}

#[test]
fn only_other_names_are_other_names() {
    let chains = |text| Chains::new(steps(text)).expect("no circle");
    assert!(!chains("a1>a2").renames_unlike(&Chains::default()));
    assert!(!chains("a1>a2, a2>b1").renames_unlike(&chains("a1>b1, a2>b1")));
    assert!(chains("a1>b1").renames_unlike(&Chains::default()));
    assert!(chains("a1>b1").renames_unlike(&chains("a1>c1")));
    assert!(Chains::default().renames_unlike(&chains("a1>b1")));
}

#[test]
fn a_change_leaves_no_gap() {
    let check = |before: &str, after: &str, added: &str, registered: &[(&str, i32)]| {
        let chains = |text: &str| {
            let steps = if text.is_empty() {
                Vec::new()
            } else {
                steps(text)
            };
            Chains::new(steps).expect("no circle")
        };
        let added = (!added.is_empty())
            .then(|| Form::new(&added[..1], added[1..].parse().expect("a version")));
        let registered: Vec<Form> = registered.iter().map(|(n, v)| Form::new(n, *v)).collect();
        chains(after)
            .check_against(&chains(before), added.as_ref(), &registered)
            .is_ok()
    };
    // Upwards without registered versions, downwards with them.
    assert!(check("", "a1>a2", "a1", &[]));
    assert!(check("a1>a2", "a1>a2, a2>a3", "a2", &[]));
    assert!(!check("a1>a2", "a1>a2, a3>a4", "a3", &[]));
    assert!(!check("", "a1>a2", "a1", &[("a", 3)]));
    assert!(check("", "a2>a3", "a2", &[("a", 3)]));
    // What was incomplete before does not stand in the way.
    assert!(check("a1>a2", "a1>a2, a3>a4", "a3", &[("a", 4)]));
    // A new name, and its newest version; dropping from the middle.
    assert!(!check("", "a1>b1", "a1", &[("b", 2)]));
    assert!(!check("a1>b1, b1>b2", "a1>b1", "", &[("b", 2)]));
    assert!(check("a1>b1, b1>b2", "b1>b2", "", &[("b", 2)]));
}

#[test]
fn schemas_fetch_nothing() {
    for schema in [
        r#"{"$ref": "http://127.0.0.1:9/x"}"#,
        r#"{"$ref": "file:///etc/passwd"}"#,
        r#"{"$schema": "file:///etc/passwd"}"#,
        r#"{"$id": "file:///etc/", "$ref": "passwd"}"#,
    ] {
        let error = Schema::compile(schema, "json_schema", true).expect_err(schema);
        assert_eq!(error.state, SqlState::InvalidParameter);
    }
}
