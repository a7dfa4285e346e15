//! The memory that the threads of the model share, and the point at which a thread stops before it touches it.
//!
//! Each word of memory, each lock and each list of the server is a *place*. Before a thread touches a place that another
//! thread may change (or changes one that another thread looks at), it stops, and `explore` decides who goes on. What no
//! other thread can notice is done at once. Which places that concerns is learnt: see `explore`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The number of a place.
pub type Place = usize;

/// At most so many threads.
pub const THREADS: usize = 4;

/// What a thread is about to do, or waits for.
#[derive(Clone)]
pub struct Pending {
    pub place: Place,
    pub parts: Parts,
    /// It can only go on when this holds.
    pub when: Option<Rc<dyn Fn() -> bool>>,
}

impl Pending {
    /// Whether it makes no difference which of the two comes first.
    pub fn is_independent(&self, other: &Self) -> bool {
        self.place != other.place || !self.parts.meet(other.parts)
    }
}

/// What of a place is looked at, and what is changed, as sets of bits. A word has one part, a lock one for each mode.
#[derive(Clone, Copy, Default)]
pub struct Parts {
    pub reads: u8,
    pub writes: u8,
}

impl Parts {
    pub const READ: Self = Self {
        reads: 1,
        writes: 0,
    };
    pub const WRITE: Self = Self {
        reads: 1,
        writes: 1,
    };

    fn meet(self, other: Self) -> bool {
        self.writes & (other.reads | other.writes) != 0 || other.writes & self.reads != 0
    }
}

/// Which threads have looked at a place, and which have changed it, in any run so far.
type Users = [Parts; THREADS];

/// What must hold whenever a place has changed.
type Check = (Place, Rc<dyn Fn()>);

/// What is known of a thread.
#[derive(Clone, Default)]
pub struct Thread {
    /// A hash of all that it has done and seen: it is deterministic, so that is where it stands.
    pub history: u64,
    /// What it saw last, and its history before that: for a loop that waits for a change.
    last: Option<(Place, i64, u64)>,
    pub pending: Option<Pending>,
    pub finished: bool,
    /// What its `thread_local!`s hold, by the address of the static.
    locals: Vec<(usize, Rc<dyn std::any::Any>)>,
}

/// The shared memory, and who is running.
#[derive(Default)]
pub struct World {
    first: RefCell<Vec<i64>>,
    values: RefCell<Vec<i64>>,
    names: RefCell<Vec<String>>,
    users: RefCell<Vec<Users>>,
    /// Places that a check looks at together are one, for what can be noticed.
    groups: RefCell<Vec<Place>>,
    /// What must hold whenever a place has changed.
    checks: RefCell<Vec<Check>>,
    pub has_learnt: Cell<bool>,
    /// A hash of all places, changed along with them.
    pub hash: Cell<u64>,
    pub current: Cell<Option<usize>>,
    pub threads: RefCell<Vec<Thread>>,
    /// The run is given up: threads are unwound, and nothing counts.
    pub is_over: Cell<bool>,
    /// What happens from here on is known.
    pub is_known: Cell<bool>,
    pub failure: RefCell<Option<String>>,
    /// What happened, where somebody wants to read it.
    pub story: RefCell<Option<Vec<String>>>,
}

std::thread_local! {
    static WORLD: Rc<World> = Rc::default();
}

/// The world of this test.
pub fn world() -> Rc<World> {
    WORLD.with(Rc::clone)
}

/// Mixes two numbers into one that looks like neither.
pub fn mix(a: u64, b: u64) -> u64 {
    let product =
        u128::from(a ^ 0x9E37_79B9_7F4A_7C15) * u128::from(b ^ 0xD1B5_4A32_D192_ED03 | 1 << 63);
    (product as u64 ^ (product >> 64) as u64).rotate_left(29)
}

struct Mixer(u64);

impl std::hash::Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = mix(self.0, u64::from_le_bytes(word));
        }
    }
}

/// Something in a message of the model.
pub fn fail(message: String) {
    let world = world();
    if !world.is_over.get() && !world.is_known.get() {
        world.failure.borrow_mut().get_or_insert(message);
        crate::explore::stop();
    }
}

impl World {
    pub fn new_place(&self, name: String, value: i64) -> Place {
        self.first.borrow_mut().push(value);
        self.values.borrow_mut().push(value);
        self.users.borrow_mut().push(Users::default());
        let own = self.groups.borrow().len();
        self.groups.borrow_mut().push(own);
        self.names.borrow_mut().push(name);
        self.values.borrow().len() - 1
    }

    pub fn name(&self, place: Place, name: &str) {
        self.names.borrow_mut()[place] = name.to_owned();
    }

    /// Checks something whenever one of two places has changed.
    pub fn check(&self, place: Place, other: Place, check: Rc<dyn Fn()>) {
        self.groups.borrow_mut()[other] = place;
        *self.checks.borrow_mut() = vec![(place, Rc::clone(&check)), (other, check)];
    }

    fn group(&self, place: Place) -> Place {
        self.groups.borrow()[place]
    }

    /// As it was when nothing had run.
    pub fn reset(&self, threads: usize) {
        self.values.borrow_mut().clone_from(&self.first.borrow());
        self.hash.set(0);
        self.current.set(None);
        self.is_over.set(false);
        self.is_known.set(false);
        *self.threads.borrow_mut() = vec![Thread::default(); threads];
        self.failure.take();
    }

    pub fn value(&self, place: Place) -> i64 {
        self.values.borrow()[place]
    }

    /// Changes a place without anybody's doing: before a run.
    pub fn set(&self, place: Place, value: i64) {
        let old = std::mem::replace(&mut self.values.borrow_mut()[place], value);
        if old != value {
            self.toggle(mix(place as u64, old as u64));
            self.toggle(mix(place as u64, value as u64));
        }
    }

    /// Something is there now that was not, or the other way round.
    pub fn toggle(&self, what: u64) {
        self.hash.set(self.hash.get() ^ what);
    }

    /// The running thread has seen something.
    pub fn note(&self, what: u64) {
        if let Some(t) = self.current.get() {
            let thread = &mut self.threads.borrow_mut()[t];
            thread.history = mix(thread.history, what);
        }
    }

    pub fn history(&self) -> u64 {
        self.current
            .get()
            .map_or(0, |t| self.threads.borrow()[t].history)
    }

    /// What the running thread has seen since it had a history counts no more, but for a result.
    pub fn keep_only<T: std::hash::Hash>(&self, before: u64, result: &T) {
        if let Some(t) = self.current.get() {
            let mut hasher = Mixer(7);
            result.hash(&mut hasher);
            let thread = &mut self.threads.borrow_mut()[t];
            thread.history = mix(before, std::hash::Hasher::finish(&hasher));
            thread.last = None;
        }
    }

    /// What the running thread has seen up to now counts no more but for this: it has forgotten all else.
    pub fn forget_but(&self, what: u64) {
        if let Some(t) = self.current.get() {
            self.threads.borrow_mut()[t].history = mix(1, what);
        }
    }

    pub fn tell(&self, what: impl FnOnce() -> String) {
        if let (Some(story), Some(t)) = (self.story.borrow_mut().as_mut(), self.current.get()) {
            story.push(format!("thread {}: {}", t + 1, what()));
        }
    }

    /// Whether somebody else can notice that the thread is at a place now, and not a little earlier.
    fn is_shared(&self, t: usize, place: Place, parts: Parts) -> bool {
        let users = self.users.borrow()[self.group(place)];
        // Whether it writes is known when it has written: it may find nothing to change.
        let own = Parts {
            reads: parts.reads,
            writes: parts.writes & users[t].writes,
        };
        let mut others = users.iter().enumerate().filter(|(u, _)| *u != t);
        others.any(|(_, other)| own.meet(*other))
    }

    fn learn(&self, place: Place, parts: Parts) {
        let Some(t) = self.current.get() else { return };
        let known = &mut self.users.borrow_mut()[self.group(place)][t];
        if parts.reads & !known.reads != 0 || parts.writes & !known.writes != 0 {
            known.reads |= parts.reads;
            known.writes |= parts.writes;
            self.has_learnt.set(true);
        }
    }

    /// Stops before a place is touched, if somebody could notice.
    fn stop_at(&self, place: Place, parts: Parts) {
        let Some(t) = self.current.get().filter(|_| !self.is_over.get()) else {
            return;
        };
        if self.is_shared(t, place, parts) {
            self.stop(t, place, parts, None);
        }
    }

    fn stop(&self, t: usize, place: Place, parts: Parts, when: Option<Rc<dyn Fn() -> bool>>) {
        self.threads.borrow_mut()[t].pending = Some(Pending {
            place: self.group(place),
            parts,
            when,
        });
        crate::explore::stop();
        self.note(place as u64 * 2 + u64::from(parts.writes != 0));
    }

    /// Touches something of the server that is no word of memory.
    pub fn touch(&self, place: Place, parts: Parts) {
        if self.current.get().is_some() && !self.is_over.get() {
            self.learn(place, parts);
            self.stop_at(place, parts);
        }
    }

    /// Touches it as soon as that can be done.
    pub fn touch_when(&self, place: Place, parts: Parts, when: Rc<dyn Fn() -> bool>) {
        if let Some(t) = self.current.get().filter(|_| !self.is_over.get()) {
            self.learn(place, parts);
            if self.is_shared(t, place, parts) || !when() {
                self.stop(t, place, parts, Some(when));
            }
        }
    }

    pub fn load(&self, place: Place) -> i64 {
        let t = self.current.get();
        let before = t.map_or(0, |t| self.threads.borrow()[t].history);
        self.stop_at(place, Parts::READ);
        self.learn(place, Parts::READ);
        let value = self.value(place);
        self.note(value as u64);
        if let Some(t) = t {
            self.threads.borrow_mut()[t].last = Some((place, value, before));
        }
        self.tell(|| format!("loads {} = {value}", self.names.borrow()[place]));
        value
    }

    pub fn store(&self, place: Place, value: i64) {
        if self.value(place) == value && self.is_only_writer(place) {
            return; // Nobody can notice, now or later.
        }
        self.update(place, "stores", |_| Some(value), false);
    }

    fn is_only_writer(&self, place: Place) -> bool {
        let users = self.users.borrow()[self.group(place)];
        let others = users.iter().enumerate();
        let mut others = others.filter(|(u, _)| Some(*u) != self.current.get());
        others.all(|(_, other)| other.writes == 0)
    }

    /// Changes a word to what `new` says; whoever runs sees the old value if `sees`.
    pub fn update(
        &self,
        place: Place,
        verb: &str,
        new: impl Fn(i64) -> Option<i64>,
        sees: bool,
    ) -> i64 {
        let writes = Parts {
            reads: u8::from(sees),
            writes: 1,
        };
        self.stop_at(place, writes);
        let old = self.value(place);
        if sees {
            self.learn(place, Parts::READ);
            self.note(old as u64);
        }
        if let Some(value) = new(old).filter(|value| *value != old) {
            self.learn(place, writes);
            self.set(place, value);
            let checks = self.checks.borrow();
            checks
                .iter()
                .filter(|(at, _)| *at == place)
                .for_each(|(_, check)| check());
        }
        self.tell(|| {
            let (name, value) = (&self.names.borrow()[place], self.value(place));
            format!("{verb} {name}: {old} -> {value}")
        });
        old
    }

    /// Waits until what the thread loaded last is something else.
    pub fn wait_for_change(&self) {
        let Some(t) = self.current.get().filter(|_| !self.is_over.get()) else {
            return;
        };
        let last = self.threads.borrow()[t].last;
        let Some((place, value, before)) = last else {
            return;
        };
        let when = move || world().value(place) != value;
        self.stop(t, place, Parts::READ, Some(Rc::new(when)));
        self.threads.borrow_mut()[t].history = before;
    }

    /// What a `thread_local!` of the engine holds for the running thread.
    pub fn local<T: 'static>(&self, of: usize, init: fn() -> T) -> Rc<T> {
        let t = self.current.get().unwrap_or(0);
        let known = {
            let threads = self.threads.borrow();
            let locals = threads[t].locals.iter();
            let mut of_static = locals.filter(|(address, _)| *address == of);
            of_static.next().map(|(_, value)| Rc::clone(value))
        };
        let value = known.unwrap_or_else(|| {
            let value: Rc<dyn std::any::Any> = Rc::new(init());
            let locals = &mut self.threads.borrow_mut()[t].locals;
            locals.push((of, Rc::clone(&value)));
            value
        });
        value
            .downcast()
            .unwrap_or_else(|_| unreachable!("one static has one type"))
    }
}
