//! The one error type of the domain and the engine: a SQLSTATE, a message, and where they help a
//! DETAIL and a HINT.
//!
//! Messages are short, in lower case and without a full stop; details and hints are sentences.

use std::fmt;
use std::panic::Location;

use super::partition::shown;
use super::refusal::Refusal;

/// The outcome of everything that can be refused.
pub type Result<T> = std::result::Result<T, Error>;

/// The SQLSTATEs that en57 raises itself; PostgreSQL's own where their meaning fits.
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
    /// 22P02: a text is not of its type's form.
    InvalidText,
    /// 22023: a value is not allowed where it stands.
    InvalidParameter,
    /// 22004: NULL is not allowed here.
    NullNotAllowed,
    /// 23505: an event's id is known already.
    UniqueViolation,
    /// 42501: the role may not do this.
    InsufficientPrivilege,
    /// 42704: something named does not exist.
    UndefinedObject,
    /// 42710: something of that name is there already.
    DuplicateObject,
    /// 42883: a function does not exist.
    UndefinedFunction,
    /// 42725: a name may mean several functions.
    AmbiguousFunction,
    /// 54000: a limit of the program is exceeded.
    LimitExceeded,
    /// 55000: the object or server is not in the state that this needs.
    NotInPrerequisiteState,
    /// Somebody else works with it, for as long as he likes.
    ObjectInUse,
    /// 55P03: somebody else has a lock that is not waited for.
    LockNotAvailable,
    /// P0001: what RAISE raises in PL/pgSQL, for clients that wait for that.
    RaiseException,
    /// 0A000: not supported.
    NotSupported,
    /// XX001: stored data is damaged.
    DataCorrupted,
    /// 53200: out of memory (of the shared kind).
    OutOfMemory,
    /// 53400: a limit that is configured is reached.
    ConfigurationLimitExceeded,
    /// XX000: cannot happen.
    Internal,
}

impl SqlState {
    /// The five characters that a client sees.
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

/// What was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The SQLSTATE.
    pub state: SqlState,
    /// The primary message.
    pub message: String,
    /// DETAIL: a full sentence, or a machine-readable document where the contract says so.
    pub detail: Option<String>,
    /// HINT: the remedy, a full sentence.
    pub hint: Option<String>,
    /// What it is about, as programs are told it.
    pub about: Option<Box<About>>,
    /// Where it was made.
    pub made_at: MadeAt,
}

/// Names of what an error is about: the fields that PostgreSQL's own errors have for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The table's schema.
    pub schema: Option<String>,
    /// A table.
    pub table: Option<String>,
    /// What does not hold.
    pub constraint: Option<String>,
    /// What is wrong with events, one by one.
    pub refusals: Vec<Refusal>,
}

/// A place in this source. One is as good as another: errors that say the same are the same.
#[derive(Clone, Copy, Debug)]
pub struct MadeAt(pub &'static Location<'static>);

impl PartialEq for MadeAt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for MadeAt {}

impl Error {
    /// An error with neither detail nor hint.
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

    /// The same with a DETAIL.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same about this table.
    pub fn table(mut self, schema: impl Into<String>, name: impl Into<String>) -> Self {
        let about = self.about.get_or_insert_default();
        (about.schema, about.table) = (Some(schema.into()), Some(name.into()));
        self
    }

    /// The same about this rule, which does not hold.
    pub fn constraint(mut self, name: impl Into<String>) -> Self {
        self.about.get_or_insert_default().constraint = Some(name.into());
        self
    }

    /// The same with what is wrong, one by one.
    pub fn refusals(mut self, refusals: Vec<Refusal>) -> Self {
        self.about.get_or_insert_default().refusals = refusals;
        self
    }

    /// What is wrong with events, where this is a refusal by a schema or an invariant; otherwise the error itself.
    ///
    /// # Errors
    /// This one.
    pub fn into_refusals(self) -> Result<Vec<Refusal>> {
        let refuses = [SqlState::DoesNotFit, SqlState::InvariantBroken].contains(&self.state);
        match self.about {
            Some(about) if refuses && !about.refusals.is_empty() => Ok(about.refusals),
            about => Err(Self { about, ..self }),
        }
    }

    /// The same with a HINT.
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

/// What an argument that must be there is.
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

/// 22004: an argument is NULL.
#[track_caller]
pub fn null(argument: &str) -> Error {
    Error::new(
        SqlState::NullNotAllowed,
        format!("{argument} must not be NULL"),
    )
}

/// 42704: something that has a name is not there.
#[track_caller]
pub fn missing(kind: &str, name: &str) -> Error {
    Error::new(
        SqlState::UndefinedObject,
        format!("{kind} \"{}\" does not exist", shown(name)),
    )
    .hint(where_to_look(kind))
}

/// Which view shows what there is of a kind.
pub fn where_to_look(kind: &str) -> String {
    match kind {
        "type" => "The view en57_event_types shows all that there are.".into(),
        "subscription" | "source" => format!("The view en57_{kind}s shows all that are yours."),
        _ => format!("The view en57_{kind}s shows all that there are."),
    }
}

/// 22023: an argument is not one that is allowed.
#[track_caller]
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::InvalidParameter, message)
}

/// The known word nearest to `word`, where one is near enough to be a likely slip of the pen.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|k| (distance(word, k), *k))
        .min()
        .filter(|(d, k)| *d <= 1 + k.chars().count() / 3)
        .map(|(_, k)| k)
}

/// Levenshtein's distance, over at most the first 64 characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
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
