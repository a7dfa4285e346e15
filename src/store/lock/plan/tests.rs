//! The locks that a plan takes, and from where on the root's lock stands for them.

use pgrx::pg_sys::Oid;

use crate::dcb::error::Result;
use crate::store::lock::keys::root_tag;
use crate::store::memory::key_locks;
use crate::store::memory::key_mode::Mode;
use crate::store::pg::in_process::tests;
use crate::store::pg::{fmgr, spi};

use super::Plan;

tests![
    uses_of_one_key,
    nothing,
    keys_one_by_one,
    conditions_show_on_the_root,
    one_key_for_several_uses,
    id_and_documents,
    everything_is_checked,
    limit_of_written_keys,
    limit_with_a_condition,
    limit_of_checked_keys,
    documents_count_as_checked,
    id_below_the_root,
    what_is_held_is_not_taken_again,
    what_is_held_needs_no_room,
    stronger_use_of_a_key_that_is_held,
    root_that_covers_keys,
    keys_that_come_late,
    keys_that_come_when_all_is_locked,
    partitions_are_locked_apart,
];

const PARTITION: u32 = 4_000_000_000;

/// The locks of this backend on a partition's root and on the keys from 1 to 9, in words.
fn held_in(partition: u32) -> Result<Vec<String>> {
    let root = root_tag(Oid::from(partition));
    let rows = spi::run(
        "SELECT classid::bigint, objid::bigint, objsubid::bigint, mode FROM pg_catalog.pg_locks
         WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid() AND granted",
        &[],
    )?;
    let mut found = Vec::new();
    for row in &rows {
        let number = |n: usize| row[n].map_or(0, |d| d.value() as u32);
        let is_it = (number(0), number(1), number(2))
            == (
                root.locktag_field2,
                root.locktag_field3,
                u32::from(root.locktag_field4),
            );
        if let Some(mode) = row[3].filter(|_| is_it) {
            let mode = fmgr::text(mode)?.trim_end_matches("Lock");
            found.push(format!("root {mode}"));
        }
    }
    for key in 1..=9 {
        let mode = key_locks::held_as(Oid::from(partition), key);
        found.extend(mode.map(|mode| format!("{key} {}", mode.name())));
    }
    Ok(found)
}

fn held() -> Result<Vec<String>> {
    held_in(PARTITION)
}

/// A plan.
fn plan(fill: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = Plan::default();
    fill(&mut plan);
    plan
}

/// The locks that are held after a plan was carried out.
fn locked(fill: impl FnOnce(&mut Plan)) -> Result<Vec<String>> {
    plan(fill).acquire(Oid::from(PARTITION))?;
    held()
}

/// At most so many keys are locked one by one.
fn limit(keys: usize) -> Result<()> {
    spi::command(&format!("SET LOCAL en57.max_key_locks = {keys}"))
}

fn uses_of_one_key() {
    use Mode::{Checked, CheckedAndWritten, Written};
    for of in [Written, Checked, CheckedAndWritten] {
        assert_eq!(of.and(of), of);
        for other in [Written, Checked, CheckedAndWritten] {
            if of != other {
                assert_eq!(of.and(other), CheckedAndWritten);
            }
        }
    }
}

/// Also who writes under no key at all says that he writes.
fn nothing() -> Result<()> {
    assert_eq!(locked(|_| ())?, ["root RowShare"]);
    Ok(())
}

fn keys_one_by_one() -> Result<()> {
    let found = locked(|plan| [3, 1, 2].into_iter().for_each(|key| plan.write(key)))?;
    assert_eq!(
        found,
        ["root RowShare", "1 written", "2 written", "3 written"]
    );
    Ok(())
}

fn conditions_show_on_the_root() -> Result<()> {
    let found = locked(|plan| {
        plan.check(1);
        plan.check_and_write(2);
        plan.write(3);
    })?;
    assert_eq!(
        found,
        [
            "root RowExclusive",
            "1 checked",
            "2 checked and written",
            "3 written"
        ]
    );
    Ok(())
}

/// Locked as both at once, never one after the other.
fn one_key_for_several_uses() -> Result<()> {
    let found = locked(|plan| {
        plan.check(1);
        plan.write(1);
        plan.write(2);
        plan.check(2);
        plan.check_and_write(3);
        plan.write(3);
    })?;
    assert_eq!(
        found,
        [
            "root RowExclusive",
            "1 checked and written",
            "2 checked and written",
            "3 checked and written"
        ]
    );
    Ok(())
}

/// Neither makes an append a conditional one.
fn id_and_documents() -> Result<()> {
    let found = locked(|plan| {
        plan.write(1);
        plan.sole(2);
        plan.own(3);
        plan.own(3);
    })?;
    assert_eq!(
        found,
        [
            "root RowShare",
            "1 written",
            "2 checked and written",
            "3 checked and written"
        ]
    );
    Ok(())
}

/// Then nothing is locked but the root, and the id, which no condition depends on.
fn everything_is_checked() -> Result<()> {
    let found = locked(|plan| {
        plan.write(1);
        plan.check(2);
        plan.check_all();
        plan.own(3);
        plan.sole(4);
    })?;
    // Nobody else appends, so nobody else sends the id.
    assert_eq!(found, ["root Exclusive"]);
    Ok(())
}

fn limit_of_written_keys() -> Result<()> {
    limit(3)?;
    let found = locked(|plan| (1..=3).for_each(|key| plan.write(key)))?;
    assert_eq!(found.len(), 4, "so many fit");
    let other = Oid::from(PARTITION + 1);
    limit(6)?; // three are held
    plan(|plan| (1..=4).for_each(|key| plan.write(key))).acquire(other)?;
    assert_eq!(held_in(PARTITION + 1)?, ["root Share"], "one too many");
    Ok(())
}

/// The root's lock stands for what is written; what is checked is locked as before.
fn limit_with_a_condition() -> Result<()> {
    limit(3)?;
    let found = locked(|plan| {
        (1..=4).for_each(|key| plan.write(key));
        plan.check(5);
        plan.check(1);
    })?;
    assert_eq!(
        found,
        [
            "root ShareRowExclusive",
            "1 checked and written",
            "5 checked"
        ]
    );
    Ok(())
}

fn limit_of_checked_keys() -> Result<()> {
    limit(3)?;
    let found = locked(|plan| {
        (1..=4).for_each(|key| plan.check(key));
        plan.write(5);
    })?;
    assert_eq!(found, ["root Exclusive"]);
    Ok(())
}

fn documents_count_as_checked() -> Result<()> {
    limit(3)?;
    let found = locked(|plan| {
        plan.write(1);
        (2..=5).for_each(|key| plan.own(key));
    })?;
    assert_eq!(found, ["root Exclusive"]);
    Ok(())
}

/// The id is locked beside a root that stands for all keys: who sends it again must wait for it.
fn id_below_the_root() -> Result<()> {
    limit(1)?;
    let found = locked(|plan| {
        (1..=4).for_each(|key| plan.check(key));
        plan.sole(9);
    })?;
    assert_eq!(found, ["root Exclusive"]);
    Ok(())
}

fn what_is_held_is_not_taken_again() -> Result<()> {
    let first = locked(|plan| {
        plan.check_and_write(1);
        plan.check(2);
    })?;
    let second = locked(|plan| {
        plan.write(1);
        plan.check(1);
        plan.check(2);
    })?;
    assert_eq!(first, second);
    Ok(())
}

/// Keys that are held need no further room.
fn what_is_held_needs_no_room() -> Result<()> {
    limit(2)?;
    let first = locked(|plan| [1, 2].into_iter().for_each(|key| plan.write(key)))?;
    let second = locked(|plan| [1, 2].into_iter().for_each(|key| plan.write(key)))?;
    assert_eq!(first, second);
    assert_eq!(first, ["root RowShare", "1 written", "2 written"]);
    // One more does not fit. The root is held, and nobody is in the way of a stronger mode.
    let third = locked(|plan| plan.write(3))?;
    assert!(third.contains(&"root Share".to_owned()) && !third.contains(&"3 written".to_owned()));
    Ok(())
}

fn stronger_use_of_a_key_that_is_held() -> Result<()> {
    locked(|plan| plan.write(1))?;
    let found = locked(|plan| plan.check(1))?;
    assert_eq!(
        found,
        [
            "root RowShare",
            "root RowExclusive",
            "1 checked and written"
        ]
    );
    Ok(())
}

/// What the root stands for is not locked beside it later.
fn root_that_covers_keys() -> Result<()> {
    limit(2)?;
    locked(|plan| (1..=3).for_each(|key| plan.write(key)))?;
    let found = locked(|plan| plan.write(4))?;
    assert!(found.contains(&"root Share".to_owned()), "{found:?}");
    Ok(())
}

/// What is found out once the root is locked is locked with the rest.
fn keys_that_come_late() -> Result<()> {
    let mut asked = 0;
    let start = plan(|plan| plan.write(1));
    start.acquire_with(Oid::from(PARTITION), |plan| {
        asked += 1;
        if asked == 1 {
            assert_eq!(held()?, ["root RowShare"]);
            plan.check(2);
        }
        Ok(())
    })?;
    assert_eq!(
        held()?,
        [
            "root RowShare",
            "root RowExclusive",
            "1 written",
            "2 checked"
        ]
    );
    assert_eq!(asked, 3, "after the root, after it again, after the keys");
    Ok(())
}

/// And so is what is found out once all is locked, until nothing more comes.
fn keys_that_come_when_all_is_locked() -> Result<()> {
    let mut asked = 0;
    let start = plan(|plan| plan.check(1));
    start.acquire_with(Oid::from(PARTITION), |plan| {
        asked += 1;
        if held()?.contains(&format!("{} checked", asked / 2)) && asked <= 6 {
            plan.check(asked / 2 + 1);
        }
        Ok(())
    })?;
    let found = held()?;
    let last = found.last().map(String::as_str);
    assert_eq!(last, Some("4 checked"), "{found:?}");
    let error = plan(|_| ()).acquire_with(Oid::from(PARTITION), |_| {
        Err(crate::dcb::error::Error::new(
            crate::dcb::error::SqlState::ConditionFailed,
            "as it is told",
        ))
    });
    assert_eq!(
        error.err().map(|e| e.message),
        Some("as it is told".to_owned())
    );
    Ok(())
}

fn partitions_are_locked_apart() -> Result<()> {
    locked(|plan| plan.write(1))?;
    plan(|plan| plan.check(1)).acquire(Oid::from(PARTITION + 1))?;
    assert_eq!(held()?, ["root RowShare", "1 written"]);
    assert_eq!(held_in(PARTITION + 1)?, ["root RowExclusive", "1 checked"]);
    Ok(())
}
