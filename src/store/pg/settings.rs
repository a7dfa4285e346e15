//! The settings `en57.*`.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use serde::de::IgnoredAny;

use crate::dcb::error::{Error, Result, SqlState};

static META: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static PARTITION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static MAX_CONFLICTS: GucSetting<i32> = GucSetting::<i32>::new(100);
static MAX_EVENT_SIZE_KB: GucSetting<i32> = GucSetting::<i32>::new(16 << 10);
static MAX_KEY_LOCKS: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static WAIT_TIMEOUT_MS: GucSetting<i32> = GucSetting::<i32>::new(5000);
static DATABASES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static NOTIFY: GucSetting<bool> = GucSetting::<bool>::new(false);
static CHANNEL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"en57"));
static SCANS: GucSetting<bool> = GucSetting::<bool>::new(true);
static MAX_SNAPSHOTS: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static STRICT_TYPES: Guarded = Guarded::new(c"en57.strict_types", false);
static CHECK_FORMATS: Guarded = Guarded::new(c"en57.check_formats", true);
static DEBUG_KEY_BITS: GucSetting<i32> = GucSetting::<i32>::new(64);

thread_local! {
    /// Whether settings are being declared, and take the values that they were given before.
    static DECLARING: Cell<bool> = const { Cell::new(false) };
}

/// Declares the settings. Called once, when the library is loaded.
pub fn init() {
    DECLARING.set(true);
    // SAFETY: the hook reads a text and raises nothing.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"en57.meta",
            c"Metadata that is merged into the metadata of each appended event.",
            c"A JSON object, for example {\"correlation_id\": \"..\", \"user\": \"..\"}. Empty: none.",
            &META,
            GucContext::Userset,
            GucFlags::default(),
            Some(is_meta),
            None,
            None,
        );
    }
    DECLARING.set(false);
    GucRegistry::define_string_guc(
        c"en57.partition",
        c"The partition that is used if none is named.",
        c"Empty: the partition default.",
        &PARTITION,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"en57.max_conflicts",
        c"The greatest number of conflicting events that a refused append returns.",
        c"It returns the newest ones.",
        &MAX_CONFLICTS,
        1,
        10_000,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"en57.max_event_size",
        c"The greatest size of an event that is appended or imported.",
        c"Its type, tags, data and metadata, in PostgreSQL's binary form.",
        &MAX_EVENT_SIZE_KB,
        1,
        1 << 20,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"en57.max_key_locks",
        c"How many key locks a transaction takes before it locks its partition instead.",
        c"Each key lock is an entry of the table of key locks, whose size depends on max_locks_per_transaction.",
        &MAX_KEY_LOCKS,
        1,
        100_000,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"en57.wait_timeout",
        c"How long a read waits for transactions in flight below the session's own last append.",
        c"After that the read fails with N5706. 0: no limit.",
        &WAIT_TIMEOUT_MS,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    init_worker();
    GucRegistry::define_bool_guc(
        c"en57.enable_scan",
        c"Enables the planner's use of scans for functions in FROM that return events.",
        c"Off: PostgreSQL collects all that such a function returns before the first row is used.",
        &SCANS,
        GucContext::Userset,
        GucFlags::EXPLAIN,
    );
    GucRegistry::define_int_guc(
        c"en57.max_snapshots",
        c"For about how many queries snapshots are kept, for each fold and partition.",
        c"The oldest ones are removed first.",
        &MAX_SNAPSHOTS,
        1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    init_guarded();
    if preloading() {
        GucRegistry::define_int_guc(
            c"en57.debug_key_bits",
            c"For tests of hash collisions only: the number of bits of a key's hash that are used.",
            c"A log that was written with another value cannot be read.",
            &DEBUG_KEY_BITS,
            1,
            64,
            GucContext::Postmaster,
            GucFlags::NO_SHOW_ALL,
        );
    }
    // SAFETY: a static NUL-terminated text.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"en57".as_ptr()) };
}

/// `en57.enable_scan`
pub fn scans() -> bool {
    SCANS.get()
}

/// Whether the library is being loaded by the postmaster.
pub fn preloading() -> bool {
    // SAFETY: reading a flag that the postmaster set before it loads libraries.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// A setting by which events are refused, and which superusers alone may set.
///
/// A client can give any value to what is not declared yet, and hides that of the configuration, the database
/// and the role by it. PostgreSQL then finds out that he may not, warns, and knows of no other value.
struct Guarded {
    name: &'static CStr,
    setting: GucSetting<bool>,
    /// Whether it has been given a value by somebody who may.
    is_given: AtomicBool,
    /// Whether a value was refused when the setting was declared, and none of those who may was left.
    was_refused: AtomicBool,
}

type CheckBool =
    unsafe extern "C-unwind" fn(*mut bool, *mut *mut c_void, pg_sys::GucSource::Type) -> bool;

impl Guarded {
    const fn new(name: &'static CStr, default: bool) -> Self {
        Self {
            name,
            setting: GucSetting::<bool>::new(default),
            is_given: AtomicBool::new(false),
            was_refused: AtomicBool::new(false),
        }
    }

    /// Declares it; `check` calls [`Self::note`].
    fn declare(&'static self, short: &'static CStr, long: &'static CStr, check: CheckBool) {
        // SAFETY: a NUL-terminated name; nothing is kept of the result.
        let was_set =
            unsafe { !pg_sys::GetConfigOption(self.name.as_ptr(), true, false).is_null() };
        // SAFETY: the hook stores a flag and raises nothing.
        unsafe {
            GucRegistry::define_bool_guc_with_hooks(
                self.name,
                short,
                long,
                &self.setting,
                GucContext::Suset,
                GucFlags::default(),
                Some(check),
                None,
                None,
            );
        }
        self.was_refused
            .store(was_set && !self.is_given.load(Relaxed), Relaxed);
    }

    /// Notes a value of those who may set it, or the one that it is declared with.
    fn note(&self, source: pg_sys::GucSource::Type) -> bool {
        if source != pg_sys::GucSource::PGC_S_DEFAULT {
            self.is_given.store(true, Relaxed);
        }
        true
    }

    /// Its value.
    ///
    /// # Errors
    /// 42501 where the session has tried to set it without the right, so that its value is not known.
    fn get(&self) -> Result<bool> {
        if self.was_refused.load(Relaxed) {
            let name = self.name.to_string_lossy();
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("permission denied to set parameter \"{name}\""),
            )
            .detail(
                "The session has been given a value for it, which hides the one of its database.",
            )
            .hint("Connect anew, without setting it."));
        }
        Ok(self.setting.get())
    }
}

fn init_guarded() {
    STRICT_TYPES.declare(
        c"Refuses new events of types that are not registered.",
        c"See en57_register_type().",
        notes_strict_types,
    );
    CHECK_FORMATS.declare(
        c"Checks the formats that a JSON Schema names, such as dates and addresses.",
        c"Off: formats are annotations, as the standard says from draft 2019-09 on.",
        notes_check_formats,
    );
}

unsafe extern "C-unwind" fn notes_strict_types(
    _: *mut bool,
    _: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    STRICT_TYPES.note(source)
}

unsafe extern "C-unwind" fn notes_check_formats(
    _: *mut bool,
    _: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    CHECK_FORMATS.note(source)
}

/// What the worker goes by.
fn init_worker() {
    GucRegistry::define_string_guc(
        c"en57.databases",
        c"The databases whose workers are started with the server.",
        c"A list of names. It only has an effect if en57 is in shared_preload_libraries.",
        &DATABASES,
        // One of the postmaster's can be defined at its start alone.
        if preloading() {
            GucContext::Postmaster
        } else {
            GucContext::Sighup
        },
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"en57.notify",
        c"Whether the worker sends a notification when there is more to read.",
        c"With NOTIFY on the channel that en57.channel names.",
        &NOTIFY,
        GucContext::Sighup,
        GucFlags::default(),
    );
    // SAFETY: the hook reads a text and raises nothing.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"en57.channel",
            c"The channel of the worker's notifications.",
            c"A name of 1 to 63 bytes.",
            &CHANNEL,
            GucContext::Sighup,
            GucFlags::default(),
            Some(is_channel),
            None,
            None,
        );
    }
}

/// Whether it is a JSON object, as far as that can be said without PostgreSQL's own parser, which raises
/// errors: an append says the rest.
///
/// Only commands are refused. Where a value comes from elsewhere (the configuration, a role's settings, a SET before
/// the library was loaded) PostgreSQL would warn and go on with none, and events without their metadata would be
/// stored; so it is kept, and the append refused.
unsafe extern "C-unwind" fn is_meta(
    value: *mut *mut c_char,
    _: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL gives the address of a NUL-terminated text, or of null; the flag is the process's own.
    let (text, is_restored) = unsafe {
        if (*value).is_null() {
            return true;
        }
        (CStr::from_ptr(*value), pg_sys::InitializingParallelWorker)
    };
    if text.is_empty()
        || source < pg_sys::GucSource::PGC_S_INTERACTIVE
        || is_restored
        || DECLARING.get()
    {
        return true;
    }
    let text = text.to_string_lossy();
    let is_object = text.trim_start().starts_with('{');
    let detail = match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(_) if is_object => return true,
        Ok(_) => c"It must be a JSON object.",
        Err(_) => c"It is not JSON.",
    };
    // SAFETY: read at once, and freed by nobody.
    unsafe { pg_sys::GUC_check_errdetail_string = detail.as_ptr().cast_mut() };
    false
}

/// PostgreSQL's limits of a channel's name.
unsafe extern "C-unwind" fn is_channel(
    value: *mut *mut c_char,
    _: *mut *mut c_void,
    _: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL gives the address of a NUL-terminated text, or of null.
    unsafe {
        let text = *value;
        !text.is_null()
            && (1..pg_sys::NAMEDATALEN as usize).contains(&CStr::from_ptr(text).count_bytes())
    }
}

/// `en57.databases`, as it is written.
pub fn databases() -> Option<CString> {
    DATABASES.get().filter(|d| !d.is_empty())
}

/// The channel of notifications, where they are to be sent.
pub fn notify_channel() -> Option<CString> {
    CHANNEL.get().filter(|_| NOTIFY.get())
}

/// `en57.meta`, where it is set to anything.
pub fn meta() -> Option<CString> {
    META.get().filter(|m| !m.is_empty())
}

/// `en57.partition`, where it is set to anything.
pub fn partition() -> Option<CString> {
    PARTITION.get().filter(|p| !p.is_empty())
}

/// `en57.max_conflicts`.
pub fn max_conflicts() -> usize {
    MAX_CONFLICTS.get() as usize
}

/// `en57.max_event_size`, in kB.
pub fn max_event_size_kb() -> usize {
    MAX_EVENT_SIZE_KB.get() as usize
}

/// `en57.max_key_locks`.
pub fn max_key_locks() -> usize {
    MAX_KEY_LOCKS.get() as usize
}

/// `en57.max_snapshots`.
pub fn max_snapshots() -> usize {
    MAX_SNAPSHOTS.get() as usize
}

/// `en57.wait_timeout` in milliseconds, 0 for no limit.
pub fn wait_timeout_ms() -> u64 {
    WAIT_TIMEOUT_MS.get() as u64
}

/// `en57.strict_types`.
///
/// # Errors
/// 42501 where the session has tried to set it without the right, so that its value is not known.
pub fn strict_types() -> Result<bool> {
    STRICT_TYPES.get()
}

/// `en57.check_formats`.
///
/// # Errors
/// 42501 where the session has tried to set it without the right, so that its value is not known.
pub fn check_formats() -> Result<bool> {
    CHECK_FORMATS.get()
}

/// The key as it is indexed and locked: all of the hash, unless a test says otherwise.
pub fn effective_key(key: i64) -> i64 {
    match DEBUG_KEY_BITS.get() {
        64 => key,
        bits => key & ((1i64 << bits) - 1),
    }
}

/// How long PostgreSQL lets the session wait for a lock, in milliseconds; 0: for ever.
pub fn lock_timeout_ms() -> i32 {
    // SAFETY: reads a setting.
    unsafe { pg_sys::LockTimeout }
}
