//! The error type of the domain and the engine: a SQLSTATE, a message, and sometimes a DETAIL and a HINT.
//!
//! Messages are short, in lower case and without a full stop. Details and hints are sentences.

use std::fmt;
use std::panic::Location;

use super::refusal::Refusal;

/// How many characters of a name an error message shows, and a comparison of words looks at.
const SHOWN_CHARS: usize = 64;

/// The result of what may be refused.
pub type Result<T> = std::result::Result<T, Error>;

/// The SQLSTATEs that en57 raises itself: those of PostgreSQL where their meaning fits, otherwise its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlState {
    /// N5701: an append condition failed and the caller asked for an error.
    ConditionFailed,
    /// N5702: a stream is not at the expected version, and the caller asked for an error.
    WrongVersion,
    /// N5703: an invariant does not hold after the events.
    InvariantBroken,
    /// N5704: an event does not fit its type.
    DoesNotFit,
    /// N5706: a wait for transactions in flight took too long.
    WaitTimeout,
    /// 40P01: two transactions wait for each other.
    DeadlockDetected,
    /// 22P02: a text does not have the form of its type.
    InvalidText,
    /// 22023: a value is not allowed for this argument.
    InvalidParameter,
    /// 22004: NULL is not allowed here.
    NullNotAllowed,
    /// 23505: another event has this id.
    UniqueViolation,
    /// 42501: the role may not do this.
    InsufficientPrivilege,
    /// 42704: nothing has this name.
    UndefinedObject,
    /// 42710: something has this name already.
    DuplicateObject,
    /// 42883: a function does not exist.
    UndefinedFunction,
    /// 42725: several functions fit this name.
    AmbiguousFunction,
    /// 54000: a limit of the program is exceeded.
    LimitExceeded,
    /// 55000: the object or the server is not in the state that this needs.
    NotInPrerequisiteState,
    /// 55006: another session uses the object, and may use it for long.
    ObjectInUse,
    /// 55P03: another transaction holds a lock, and this one does not wait.
    LockNotAvailable,
    /// P0001: what RAISE raises in PL/pgSQL. Some clients expect it.
    RaiseException,
    /// 0A000: not supported.
    NotSupported,
    /// XX001: stored data is damaged.
    DataCorrupted,
    /// 53200: there is no shared memory left.
    OutOfMemory,
    /// 53400: a limit in the settings is reached.
    ConfigurationLimitExceeded,
    /// XX000: something that cannot happen has happened.
    Internal,
}

impl SqlState {
    /// The five characters of the SQLSTATE.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ConditionFailed => "N5701",
            Self::WrongVersion => "N5702",
            Self::InvariantBroken => "N5703",
            Self::DoesNotFit => "N5704",
            Self::WaitTimeout => "N5706",
            Self::DeadlockDetected => "40P01",
            Self::InvalidText => "22P02",
            Self::InvalidParameter => "22023",
            Self::NullNotAllowed => "22004",
            Self::UniqueViolation => "23505",
            Self::InsufficientPrivilege => "42501",
            Self::UndefinedObject => "42704",
            Self::DuplicateObject => "42710",
            Self::UndefinedFunction => "42883",
            Self::AmbiguousFunction => "42725",
            Self::LimitExceeded => "54000",
            Self::NotInPrerequisiteState => "55000",
            Self::ObjectInUse => "55006",
            Self::LockNotAvailable => "55P03",
            Self::RaiseException => "P0001",
            Self::NotSupported => "0A000",
            Self::DataCorrupted => "XX001",
            Self::OutOfMemory => "53200",
            Self::ConfigurationLimitExceeded => "53400",
            Self::Internal => "XX000",
        }
    }
}

/// An error: what was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The SQLSTATE.
    pub state: SqlState,
    /// The primary message.
    pub message: String,
    /// DETAIL: sentences, or a JSON document where the documentation says so.
    pub detail: Option<String>,
    /// HINT: what to do about it, in sentences.
    pub hint: Option<String>,
    /// What it is about, for programs.
    pub about: Option<Box<About>>,
    /// The line of code that made it.
    pub made_at: MadeAt,
}

/// What an error is about, in the fields that PostgreSQL's own errors have for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The table's schema.
    pub schema: Option<String>,
    /// The table.
    pub table: Option<String>,
    /// The rule that does not hold.
    pub constraint: Option<String>,
    /// Everything that is wrong with the events.
    pub refusals: Vec<Refusal>,
}

/// A line of code. All of them compare as equal, because two errors are equal wherever they were made.
#[derive(Clone, Copy, Debug)]
pub struct MadeAt(pub &'static Location<'static>);

impl PartialEq for MadeAt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for MadeAt {}

impl Error {
    /// An error with neither DETAIL nor HINT.
    #[track_caller]
    pub fn new(state: SqlState, message: impl Into<String>) -> Self {
        Self {
            state,
            message: message.into(),
            detail: None,
            hint: None,
            about: None,
            made_at: MadeAt(Location::caller()),
        }
    }

    /// Adds a DETAIL.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the table that the error is about.
    pub fn table(mut self, schema: impl Into<String>, name: impl Into<String>) -> Self {
        let about = self.about.get_or_insert_default();
        (about.schema, about.table) = (Some(schema.into()), Some(name.into()));
        self
    }

    /// Adds the rule that does not hold.
    pub fn constraint(mut self, name: impl Into<String>) -> Self {
        self.about.get_or_insert_default().constraint = Some(name.into());
        self
    }

    /// Adds everything that is wrong with the events.
    pub fn refusals(mut self, refusals: Vec<Refusal>) -> Self {
        self.about.get_or_insert_default().refusals = refusals;
        self
    }

    /// Everything that is wrong with the events, if a schema or an invariant refused them.
    ///
    /// # Errors
    /// This error, if it is another one.
    pub fn into_refusals(self) -> Result<Vec<Refusal>> {
        let refuses = [SqlState::DoesNotFit, SqlState::InvariantBroken].contains(&self.state);
        match self.about {
            Some(about) if refuses && !about.refusals.is_empty() => Ok(about.refusals),
            about => Err(Self { about, ..self }),
        }
    }

    /// Adds a HINT.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.state.code(), self.message)
    }
}

impl std::error::Error for Error {}

/// The value of an argument that must not be NULL.
///
/// # Errors
/// 22004 where it is NULL.
#[track_caller]
pub fn required<T>(value: Option<T>, argument: &str) -> Result<T> {
    match value {
        Some(value) => Ok(value),
        None => Err(null(argument)),
    }
}

/// The error that an argument is NULL: 22004.
#[track_caller]
pub fn null(argument: &str) -> Error {
    Error::new(
        SqlState::NullNotAllowed,
        format!("{argument} must not be NULL"),
    )
}

/// The error that nothing has this name: 42704.
#[track_caller]
pub fn missing(kind: &str, name: &str) -> Error {
    Error::new(
        SqlState::UndefinedObject,
        format!("{kind} \"{}\" does not exist", shown(name)),
    )
    .hint(where_to_look(kind))
}

/// A hint: the view that shows everything of a kind.
pub fn where_to_look(kind: &str) -> String {
    match kind {
        "type" => "The view en57_event_types shows all that there are.".into(),
        "subscription" | "source" => format!("The view en57_{kind}s shows all that are yours."),
        _ => format!("The view en57_{kind}s shows all that there are."),
    }
}

/// A name as an error message shows it: its first 64 characters.
pub fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARS).collect()
}

/// The error that an argument is not allowed: 22023.
#[track_caller]
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::InvalidParameter, message)
}

/// The known word that is most like `word`, if it is so like it that `word` is probably misspelt.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|k| (distance(word, k), *k))
        .min()
        .filter(|(d, k)| *d <= 1 + k.chars().count() / 3)
        .map(|(_, k)| k)
}

/// The Levenshtein distance of two words, over the first 64 characters at most.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(SHOWN_CHARS).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(SHOWN_CHARS).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
