//! Orders of the protocol, each broken on purpose: `build.rs` makes copies of the engine's files in which these places have two
//! ways, and a test takes the wrong one. So the model is seen to find each of them.

/// One place of a file.
pub struct Edit {
    pub name: &'static str,
    pub file: &'static str,
    pub from: &'static str,
    /// `BROKEN` stands for the question whether this is the one that is broken.
    pub to: &'static str,
}

const fn edit(
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> Edit {
    Edit {
        name,
        file,
        from,
        to,
    }
}

pub const EDITS: &[Edit] = &[
    edit(
        "no_pending_mark",
        "store/memory/late_key.rs",
        "    bound.store(PENDING, SeqCst);\n",
        "    if !BROKEN { bound.store(PENDING, SeqCst); }\n",
    ),
    edit(
        "bound_after_allotment",
        "store/log/position.rs",
        "        self.cover(partition)?;\n        let first = keeping_only(|| self.take(n)).ok_or_else(no_positions_left)?;\n",
        "        if !BROKEN { self.cover(partition)?; }\n        let first = keeping_only(|| self.take(n)).ok_or_else(no_positions_left)?;\n        if BROKEN { self.cover(partition)?; }\n",
    ),
    edit(
        "next_after_slots",
        "read/writers.rs",
        "    let flights: Vec<Flight> = flights.filter(|f| f.may_be_in(partition)).collect();\n",
        "    let flights: Vec<Flight> = flights.filter(|f| f.may_be_in(partition)).collect();\n    let next = if BROKEN { counter.next() } else { next };\n",
    ),
    edit(
        "next_after_holders",
        "read/writers.rs",
        "    let writers = ask();\n",
        "    let writers = ask();\n    let next = if BROKEN { counter.next() } else { next };\n",
    ),
    edit(
        "holders_before_slots",
        "read/writers.rs",
        "    let next = transaction::bounded_next(counter.next());\n",
        "    let early = BROKEN.then(|| { let criteria = criteria(); Writers::of(partition, criteria.as_deref()) });\n    let next = transaction::bounded_next(counter.next());\n",
    ),
    edit(
        "holders_before_slots",
        "read/writers.rs",
        "        let bound = counter.look(flight, next, earliest).flatten()?;\n",
        "        let bound = match &early { Some(early) => early.earliest(counter, flight, next)?, None => counter.look(flight, next, earliest).flatten()? };\n",
    ),
    edit(
        "slot_counted_late",
        "store/log/position.rs",
        "            shared.used_slots.fetch_max(my_backend() as u32 + 1, SeqCst);\n            set_bound(&slot.bound, || self.next());\n",
        "            set_bound(&slot.bound, || self.next());\n            if !BROKEN { shared.used_slots.fetch_max(my_backend() as u32 + 1, SeqCst); }\n",
    ),
    edit(
        "allotted_in_two_steps",
        "store/log/position.rs",
        "            } else if self\n                .log\n                .next\n                .compare_exchange(first, last + 1, SeqCst, SeqCst)\n                .is_ok()\n            {\n                if ceiling",
        "            } else if (BROKEN && { self.log.next.store(last + 1, SeqCst); true }) || self\n                .log\n                .next\n                .compare_exchange(first, last + 1, SeqCst, SeqCst)\n                .is_ok()\n            {\n                if ceiling",
    ),
    edit(
        "generation_raised_before_the_bound",
        "store/memory/slot.rs",
        "    slot.generation.fetch_add(1, SeqCst);\n",
        "    if !BROKEN {\n    slot.generation.fetch_add(1, SeqCst);\n    }\n",
    ),
    edit(
        "generation_raised_before_the_bound",
        "store/memory/slot.rs",
        "    slot.bound.store(0, SeqCst);\n",
        "    if BROKEN { slot.generation.fetch_add (1, SeqCst); }\n    slot.bound.store(0, SeqCst);\n",
    ),
    edit(
        "generation_raised_after_the_list",
        "store/memory/slot.rs",
        "    slot.generation.fetch_add(1, SeqCst);\n",
        "    if !BROKEN {\n    slot.generation.fetch_add(1, SeqCst);\n    }\n",
    ),
    edit(
        "generation_raised_after_the_list",
        "store/memory/slot.rs",
        "    late_key::give_back(shared);\n",
        "    late_key::give_back(shared);\n    if BROKEN { slot.generation.fetch_add (1, SeqCst); }\n",
    ),
    edit(
        "generation_not_raised_at_the_end",
        "store/memory/slot.rs",
        "    slot.generation.fetch_add(1, SeqCst);\n",
        "    if !BROKEN {\n    slot.generation.fetch_add(1, SeqCst);\n    }\n",
    ),
    edit(
        "woken_before_the_slot_is_cleared",
        "store/memory/slot.rs",
        "    slot.bound.store(0, SeqCst);\n",
        "    if BROKEN { wake(); }\n    slot.bound.store(0, SeqCst);\n",
    ),
    edit(
        "woken_before_the_slot_is_cleared",
        "store/memory/slot.rs",
        "    wake();\n}\n\n/// Wakes those who wait",
        "    if !BROKEN { wake(); }\n}\n\n/// Wakes those who wait",
    ),
    edit(
        "generation_not_raised_for_another_key",
        "store/memory/late_key.rs",
        "                if known.is_none() {\n",
        "                if known.is_none() && !BROKEN {\n",
    ),
    edit(
        "generation_not_compared",
        "store/log/position.rs",
        "                let is_of_one = slot.generation.load(SeqCst) == flight.generation;\n",
        "                let is_of_one = BROKEN || slot.generation.load(SeqCst) == flight.generation;\n",
    ),
    edit(
        "no_late_keys",
        "store/lock/keys.rs",
        "    let late = slot::holder().filter(|_| writes);\n",
        "    let late = slot::holder().filter(|_| writes && !BROKEN);\n",
    ),
    edit(
        "late_key_after_lock",
        "store/lock/keys.rs",
        "        late_key::add(shared, partition, name)?;\n    }\n    let taken = take()?;\n",
        "        if !BROKEN { late_key::add(shared, partition, name)?; }\n    }\n    let taken = take()?;\n    if let Some(shared) = late { if BROKEN { late_key::add(shared, partition, name)?; } }\n",
    ),
    edit(
        "several_not_stored",
        "store/log/position.rs",
        "            slot.is_several.store(1, SeqCst);\n        }\n",
        "            if !BROKEN { slot.is_several.store(1, SeqCst); }\n        }\n",
    ),
    edit(
        "partition_without_late_key",
        "store/log/position.rs",
        "        let name = Name::of_partition(partition);\n        late_key::bound_under(self.shared, flight.backend, name, next)\n",
        "        if BROKEN { return Some(flight.bound); }\n        let name = Name::of_partition(partition);\n        late_key::bound_under(self.shared, flight.backend, name, next)\n",
    ),
    edit(
        "bounds_by_any_partition",
        "store/memory/late_key.rs",
        "                State::Locked => o.partition == partition,\n",
        "                State::Locked => BROKEN || o.partition == partition,\n",
    ),
    edit(
        "ceiling_known_before_stored",
        "store/log/ceiling.rs",
        "            let ceiling = self.store_ceiling(needed.max(stored));\n",
        "            if BROKEN { self.log.ceiling.store(needed + 64, SeqCst); }\n            let ceiling = self.store_ceiling(needed.max(stored));\n",
    ),
    edit(
        "written_keys_not_locked",
        "store/lock/plan.rs",
        "        for (key, of) in keys.chain(owned) {\n",
        "        for (key, of) in keys.chain(owned) {\n            if BROKEN && of == Mode::Written { continue; }\n",
    ),
    edit(
        "checked_keys_not_locked",
        "store/lock/plan.rs",
        "        for (key, of) in keys.chain(owned) {\n",
        "        for (key, of) in keys.chain(owned) {\n            if BROKEN && of == Mode::Checked { continue; }\n",
    ),
    edit(
        "checked_and_written_is_only_written",
        "store/lock/plan.rs",
        "        for (key, of) in keys.chain(owned) {\n",
        "        for (key, of) in keys.chain(owned) {\n            let of = if BROKEN && of == Mode::CheckedAndWritten { Mode::Written } else { of };\n",
    ),
    edit(
        "keys_not_locked",
        "store/lock/plan.rs",
        "        for (key, of) in keys.chain(owned) {\n",
        "        for (key, of) in keys.chain(owned) {\n            if BROKEN { continue; }\n",
    ),
    edit(
        "root_shared_by_all",
        "store/lock/plan.rs",
        "            (false, false) => (pg_sys::ShareLock, Escalation::Written),\n",
        "            (false, false) => (if BROKEN { pg_sys::RowShareLock } else { pg_sys::ShareLock }, Escalation::Written),\n",
    ),
    edit(
        "root_checked_weakly",
        "store/lock/plan.rs",
        "            (true, true) => (pg_sys::RowExclusiveLock, Escalation::None),\n",
        "            (true, true) => (if BROKEN { pg_sys::RowShareLock } else { pg_sys::RowExclusiveLock }, Escalation::None),\n",
    ),
    edit(
        "everything_checked_weakly",
        "store/lock/plan.rs",
        "            _ if checks_root => (pg_sys::ExclusiveLock, Escalation::All),\n",
        "            _ if checks_root => (if BROKEN { pg_sys::ShareRowExclusiveLock } else { pg_sys::ExclusiveLock }, Escalation::All),\n",
    ),
    edit(
        "asleep_before_prepared",
        "store/session/sleep.rs",
        "        unsafe { pg_sys::ConditionVariablePrepareToSleep(variable) };\n        let found = look()?;\n",
        "        if !BROKEN { unsafe { pg_sys::ConditionVariablePrepareToSleep(variable) }; }\n        let found = look()?;\n        if BROKEN { unsafe { pg_sys::ConditionVariablePrepareToSleep(variable) }; }\n",
    ),
    edit(
        "sleeper_counted_late",
        "store/session/sleep.rs",
        "    let _sleeper = transaction::Sleeper::new(shared);\n",
        "    let mut sleeper = (!BROKEN).then(|| transaction::Sleeper::new(shared));\n",
    ),
    edit(
        "sleeper_counted_late",
        "store/session/sleep.rs",
        "        let is_ready = matches!(found, Look::Ready);\n",
        "        sleeper.get_or_insert_with(|| transaction::Sleeper::new(shared));\n        let is_ready = matches!(found, Look::Ready);\n",
    ),
    edit(
        "not_woken_by_a_savepoint",
        "store/session/transaction.rs",
        "    if is_last && !is_commit && !is_top_level && slot::in_use() {\n",
        "    if is_last && !is_commit && !is_top_level && slot::in_use() && !BROKEN {\n",
    ),
    edit(
        "woken_before_the_locks_are_released",
        "store/session/transaction.rs",
        "    let is_last = phase == pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS;\n",
        "    let is_last = phase == if BROKEN { pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_BEFORE_LOCKS } else { pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS };\n",
    ),
];

/// Each broken order, and the scenario that finds it. The last ones are orders of PostgreSQL: `server` breaks them.
pub const FOUND_BY: &[(&str, &str)] = &[
    ("no_pending_mark", "slots"),
    ("bound_after_allotment", "slots_where_all_look"),
    ("next_after_slots", "slots_of_new_backends"),
    ("next_after_holders", "slots_of_new_backends"),
    ("holders_before_slots", "late_keys"),
    ("slot_counted_late", "slots_of_new_backends"),
    ("allotted_in_two_steps", "slots_where_all_look"),
    ("generation_not_raised_at_the_end", "late_keys"),
    ("generation_raised_before_the_bound", "late_keys"),
    ("generation_raised_after_the_list", "late_keys"),
    (
        "generation_not_raised_for_another_key",
        "savepoint_and_another_key",
    ),
    ("generation_not_compared", "late_keys"),
    ("woken_before_the_slot_is_cleared", "sleepers"),
    ("no_late_keys", "late_keys"),
    ("late_key_after_lock", "late_keys"),
    ("several_not_stored", "partitions"),
    ("partition_without_late_key", "partitions"),
    ("bounds_by_any_partition", "refused_elsewhere"),
    ("ceiling_known_before_stored", "ceiling"),
    ("written_keys_not_locked", "conditions"),
    ("checked_keys_not_locked", "conditions"),
    (
        "checked_and_written_is_only_written",
        "conditions_on_one_key",
    ),
    ("keys_not_locked", "conditions"),
    ("root_shared_by_all", "escalation"),
    ("root_checked_weakly", "escalation"),
    ("everything_checked_weakly", "condition_on_everything"),
    ("asleep_before_prepared", "sleepers"),
    ("sleeper_counted_late", "sleepers"),
    ("not_woken_by_a_savepoint", "sleeper_beside_a_savepoint"),
    (
        "woken_before_the_locks_are_released",
        "sleeper_beside_a_root_lock",
    ),
    ("cleared_before_visible", "slots_where_all_look"),
    ("locks_released_before_visible", "late_keys"),
];
