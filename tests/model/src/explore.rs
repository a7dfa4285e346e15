//! All interleavings of a few threads: a depth-first search over the choices who goes on.
//!
//! The threads are deterministic, and memory is sequentially consistent, as it is for atomics that are all `SeqCst`. So a
//! state is what memory holds, and what each thread has seen. The search does three things to be done in seconds, and none
//! of them leaves out a state that matters:
//!
//! - **A state that was seen before is not entered again.** States are told apart by a 64-bit hash: in a search of ten
//!   million states two of them share one with a probability of some 3 in a million.
//! - **Of two steps that do not touch the same place, or both only look at it, one order is enough** (sleep sets).
//! - **A step that no other thread can notice is not a choice.** Which places several threads touch, and which of them
//!   change them, is learnt. A search that learns something new begins again with what it knows by then. So the last one
//!   has met no step that it took to be unnoticed and that another thread could have noticed.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, Yielder};

use crate::world::{World, mix, world};

/// A thread's program.
pub type Program = Rc<dyn Fn()>;

/// What is explored.
pub struct Model {
    /// Sets memory up before each run.
    pub begin: Box<dyn Fn()>,
    pub threads: Vec<Program>,
    /// Looks at what is left when all threads have ended.
    pub end: Box<dyn Fn()>,
}

/// What the search has found.
#[derive(Debug)]
pub struct Report {
    pub states: usize,
    pub runs: usize,
    pub seconds: f64,
    /// What went wrong, and how it came to that.
    pub failure: Option<(String, Vec<String>)>,
    /// All was explored.
    pub is_complete: bool,
}

std::thread_local! {
    static YIELDER: Cell<*const Yielder<(), ()>> = const { Cell::new(std::ptr::null()) };
}

/// Stops the running thread until it is chosen.
pub fn stop() {
    let yielder = YIELDER.get();
    if yielder.is_null() {
        return;
    }
    // SAFETY: it belongs to the coroutine that is running, and lives as long as that.
    unsafe { (*yielder).suspend(()) };
    YIELDER.set(yielder);
}

type Stack = Coroutine<(), (), (), DefaultStack>;

/// A choice that was made, and those that are left.
struct Choice {
    chosen: usize,
    todo: u8,
    done: u8,
    sleep: u8,
}

struct Search<'m> {
    model: &'m Model,
    world: Rc<World>,
    choices: Vec<Choice>,
    /// The states that were entered, with the threads that slept there.
    seen: HashMap<u64, u8, std::hash::BuildHasherDefault<Plain>>,
    spare: Vec<DefaultStack>,
    runs: usize,
    is_sparing: bool,
}

/// The keys are hashes already.
#[derive(Default)]
struct Plain(u64);

impl std::hash::Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// Explores all of a model, or as many runs of it as it may; stops at the first failure.
pub fn explore(model: &Model, most_runs: usize) -> Report {
    search(model, most_runs, true)
}

/// Explores each order of each step: to compare with.
pub fn explore_plainly(model: &Model) -> Report {
    search(model, usize::MAX, false)
}

fn search(model: &Model, most_runs: usize, is_sparing: bool) -> Report {
    let started = std::time::Instant::now();
    let mut search = Search {
        model,
        world: world(),
        choices: Vec::new(),
        seen: HashMap::default(),
        spare: Vec::new(),
        runs: 0,
        is_sparing,
    };
    let mut failure = None;
    let mut is_complete = false;
    while search.runs < most_runs {
        search.world.has_learnt.set(false);
        search.run(false);
        if let Some(message) = search.world.failure.take() {
            search.world.story.replace(Some(Vec::new()));
            search.run(true);
            let story = search.world.story.take().unwrap_or_default();
            failure = Some((message, story));
            break;
        }
        if search.world.has_learnt.get() {
            search.choices.clear();
            search.seen.clear();
        } else if !search.go_back() {
            is_complete = true;
            break;
        }
    }
    Report {
        states: search.seen.len(),
        runs: search.runs,
        seconds: started.elapsed().as_secs_f64(),
        failure,
        is_complete,
    }
}

impl Search<'_> {
    /// Turns to the last choice that has alternatives; whether there is one.
    fn go_back(&mut self) -> bool {
        while let Some(choice) = self.choices.last_mut() {
            choice.done |= 1 << choice.chosen;
            choice.todo &= !(1 << choice.chosen);
            if choice.todo != 0 {
                choice.chosen = choice.todo.trailing_zeros() as usize;
                return true;
            }
            self.choices.pop();
        }
        false
    }

    /// One run: as it was chosen before, then on to the end, or to a state that is known.
    fn run(&mut self, only_again: bool) {
        let world = Rc::clone(&self.world);
        self.runs += 1;
        world.reset(self.model.threads.len());
        (self.model.begin)();
        let mut stacks: Vec<Stack> = Vec::new();
        for (t, program) in self.model.threads.iter().enumerate() {
            let program = Rc::clone(program);
            let stack = self.spare.pop().unwrap_or_default();
            stacks.push(Coroutine::with_stack(stack, move |yielder, ()| {
                YIELDER.set(yielder);
                program();
            }));
            self.go_on(&mut stacks[t], t);
        }
        self.steps(&mut stacks, only_again);
        world.is_known.set(true);
        self.finish(&mut stacks);
        world.is_over.set(true);
        YIELDER.set(std::ptr::null());
        for (t, mut stack) in stacks.into_iter().enumerate() {
            world.current.set(Some(t));
            stack.force_unwind();
            self.spare.push(stack.into_stack());
        }
        world.current.set(None);
    }

    fn steps(&mut self, stacks: &mut [Stack], only_again: bool) {
        let world = Rc::clone(&self.world);
        let mut sleep = 0;
        let mut last = 0;
        for depth in 0.. {
            if world.failure.borrow().is_some() {
                return;
            }
            if depth >= self.choices.len() {
                if only_again {
                    return;
                }
                let (able, left) = self.able();
                if left == 0 {
                    (self.model.end)();
                    return;
                }
                if able == 0 {
                    let waits = "all threads wait for something that will not happen";
                    world.failure.replace(Some(waits.to_owned()));
                    return;
                }
                let todo = self.todo(able, sleep);
                if todo == 0 {
                    return;
                }
                let chosen = match todo & 1 << last {
                    0 => todo.trailing_zeros() as usize,
                    _ => last,
                };
                self.choices.push(Choice {
                    chosen,
                    todo,
                    done: 0,
                    sleep,
                });
            }
            let choice = &self.choices[depth];
            last = choice.chosen;
            sleep = match self.is_sparing {
                true => self.still_asleep(choice.sleep | choice.done, last),
                false => 0,
            };
            self.go_on(&mut stacks[last], last);
        }
    }

    /// What follows is known. The threads are let run to their ends, which costs less than to unwind them.
    fn finish(&mut self, stacks: &mut [Stack]) {
        loop {
            let (able, _) = self.able();
            if able == 0 {
                return;
            }
            let t = able.trailing_zeros() as usize;
            self.go_on(&mut stacks[t], t);
        }
    }

    /// The threads that can go on, and all that have not ended.
    fn able(&self) -> (u8, u8) {
        let mut able = 0;
        let mut left = 0;
        for (t, thread) in self.world.threads.borrow().iter().enumerate() {
            if let Some(pending) = &thread.pending {
                left |= 1 << t;
                if pending.when.as_ref().is_none_or(|when| when()) {
                    able |= 1 << t;
                }
            }
        }
        (able, left)
    }

    /// Which threads are to go on from here. None where all that follows is known.
    fn todo(&mut self, able: u8, sleep: u8) -> u8 {
        if !self.is_sparing {
            return able;
        }
        let threads = self.world.threads.borrow();
        let histories = threads.iter().map(|t| t.history ^ u64::from(t.finished));
        let state = histories.fold(self.world.hash.get(), mix);
        match self.seen.get_mut(&state) {
            None => {
                self.seen.insert(state, sleep);
                able & !sleep
            }
            Some(slept) => {
                let todo = able & *slept & !sleep;
                *slept &= sleep;
                todo
            }
        }
    }

    /// Those whose next step does not meet that of the thread which goes on.
    fn still_asleep(&self, sleep: u8, t: usize) -> u8 {
        let threads = self.world.threads.borrow();
        let Some(step) = &threads[t].pending else {
            return 0;
        };
        let mut still = 0;
        for (u, other) in threads.iter().enumerate() {
            let is_asleep = sleep & 1 << u != 0 && u != t;
            if is_asleep
                && other
                    .pending
                    .as_ref()
                    .is_some_and(|p| p.is_independent(step))
            {
                still |= 1 << u;
            }
        }
        still
    }

    /// A thread goes on until it stops before its next step, or ends.
    fn go_on(&mut self, stack: &mut Stack, t: usize) {
        self.world.current.set(Some(t));
        self.world.threads.borrow_mut()[t].pending = None;
        let outcome = catch_unwind(AssertUnwindSafe(|| stack.resume(())));
        self.world.current.set(None);
        YIELDER.set(std::ptr::null());
        if outcome.is_err() {
            let message = "a thread panicked".to_owned();
            self.world.failure.borrow_mut().get_or_insert(message);
        }
        let is_done = stack.done();
        let mut threads = self.world.threads.borrow_mut();
        threads[t].finished = is_done;
    }
}
