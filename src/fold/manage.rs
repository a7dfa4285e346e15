//! Creating and dropping named folds and deciders.

use crate::dcb::error::{Error, Result, SqlState, invalid, required};
use crate::definition::function::Form;
use crate::definition::name::{self, IfTaken, Taken};
use crate::event_type;
use crate::store::call::function::Function;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::{composite, fmgr, rights};
use crate::store::session::definitions::as_extension_owner;
use crate::store::{Datum, Oid};

use super::definition::{self, Decider, Definition};
use super::{evolve, snapshot};

/// The arguments of en57_create_fold() or en57_create_decider().
pub struct NewFold<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// The function that folds.
    pub evolve: Option<&'a str>,
    /// The state before the first event.
    pub initial: Option<Datum>,
    /// A snapshot is taken after a read of at least so many events that the last one does not contain; `None`: never.
    pub snapshot_every: Option<i32>,
    /// What a decider has beyond a fold; `None`: it is a fold.
    pub decider: Option<NewDecider<'a>>,
    /// What happens if there is a definition of this name.
    pub if_taken: IfTaken,
    /// The row type en57_event.
    pub event_type: Oid,
    /// The type en57_query.
    pub query_type: Oid,
}

/// What a decider has beyond a fold.
pub struct NewDecider<'a> {
    /// `command → query`.
    pub query_function: Option<&'a str>,
    /// `(command, state) → events`.
    pub decide: Option<&'a str>,
    /// The JSON Schema of commands.
    pub command_schema: Option<Datum>,
}

/// The functions of a request, which fit and which the caller may use.
struct Functions {
    evolve: Function,
    /// The names of a decider's query function and of its decide function.
    of_decider: Option<[String; 2]>,
}

impl Functions {
    fn query(&self) -> Option<&str> {
        self.of_decider.as_ref().map(|[query, _]| query.as_str())
    }

    fn decide(&self) -> Option<&str> {
        self.of_decider.as_ref().map(|[_, decide]| decide.as_str())
    }
}

impl NewFold<'_> {
    fn kind(&self) -> &'static str {
        if self.decider.is_some() {
            "decider"
        } else {
            "fold"
        }
    }

    /// Checks the functions, the schema of commands, and that the caller may let a definition run the functions.
    fn functions(&self) -> Result<Functions> {
        let because = format!(
            "A {} runs its functions with the rights of their owner.",
            self.kind()
        );
        let evolve = evolve::check(
            required(self.evolve, "evolve")?,
            self.event_type,
            self.initial.is_some(),
        )?;
        evolve.demand_definable(&because)?;
        let Some(decider) = &self.decider else {
            return Ok(Functions {
                evolve,
                of_decider: None,
            });
        };
        if let Some(schema) = decider.command_schema {
            event_type::demand(schema, "command_schema")?;
        }
        let (query, decide) = decider_functions(decider, self.query_type)?;
        query.demand_definable(&because)?;
        decide.demand_definable(&because)?;
        if decide.strict && self.initial.is_none() {
            return Err(invalid("decide must not be STRICT where initial is NULL")
                .detail("It would not be called for the first command: the state is NULL then."));
        }
        Ok(Functions {
            evolve,
            of_decider: Some([query.name(), decide.name()]),
        })
    }

    /// Whether a definition of this name is to get the requested one. Makes sure that the caller may do that.
    fn changes(&self, name: &str, old: &Definition, functions: &Functions) -> Result<bool> {
        let kind = self.kind();
        if old.decider.is_some() != self.decider.is_some() {
            let message = format!("{} \"{name}\" exists already", old.kind());
            return Err(Error::new(SqlState::DuplicateObject, message)
                .detail("Folds and deciders share their names."));
        }
        let taken = Taken {
            title: &format!("{kind} \"{name}\""),
            differs_in: self.differences(old, functions),
            is_replaceable: true,
        };
        let changes = self.if_taken.changes(&taken)?;
        if changes {
            demand_administration(old)?;
        }
        Ok(changes)
    }

    /// The arguments in which the request differs from a definition of the same kind.
    fn differences(&self, old: &Definition, functions: &Functions) -> Vec<&'static str> {
        let is_initial =
            |given: Option<Datum>, stored: Option<&[u8]>| given.map(fmgr::varlena) == stored;
        let (new, of_old) = (self.decider.as_ref(), old.decider.as_ref());
        let schema = new.and_then(|d| d.command_schema);
        let (query, decide) = (functions.query(), functions.decide());
        name::unlike(&[
            ("evolve", functions.evolve.name() == old.evolve.name),
            ("initial", is_initial(self.initial, old.initial.as_deref())),
            (
                "snapshot_every",
                self.snapshot_every.map(i64::from) == old.snapshot_every,
            ),
            (
                "query_function",
                query == of_old.map(|d| d.query.name.as_str()),
            ),
            ("decide", decide == of_old.map(|d| d.decide.name.as_str())),
            (
                "command_schema",
                is_initial(schema, of_old.and_then(Decider::command_schema)),
            ),
            ("search_path", rights::path_of_caller() == old.path),
        ])
    }
}

/// Creates a fold or a decider, or redefines one and deletes its snapshots.
///
/// # Errors
/// 42501 without the rights; 42710 where the name is taken; 22004 and 22023 for what does not fit.
pub fn create(request: &NewFold) -> Result<()> {
    let kind = request.kind();
    catalog::demand_writable(&format!("en57_create_{kind}()"))?;
    let name = name::name(request.name, &format!("a {kind}'s"))?;
    if request.snapshot_every.is_some_and(|n| n < 1) {
        return Err(
            invalid("snapshot_every must be at least 1").hint("With NULL no snapshots are taken.")
        );
    }
    let functions = request.functions()?;
    // Folds and deciders share their names.
    name::reserve("fold", name);
    let old = lock(name)?;
    if let Some(old) = &old
        && !request.changes(name, old, &functions)?
    {
        return Ok(());
    }
    store(request, name, &functions, old.is_some())?;
    old.map_or(Ok(()), |old| snapshot::forget_fold(old.number).map(drop))
}

fn decider_functions(decider: &NewDecider, query_type: Oid) -> Result<(Function, Function)> {
    let form = Form {
        role: "query_function",
        text: "(jsonb) returning en57_query",
    };
    let query = form.find(required(decider.query_function, form.role)?, |f| {
        f.arguments == [composite::JSONB] && f.result == query_type
    })?;
    let form = Form {
        role: "decide",
        text: "(jsonb, jsonb) returning jsonb",
    };
    let decide = form.find(required(decider.decide, form.role)?, |f| {
        f.arguments == [composite::JSONB, composite::JSONB] && f.result == composite::JSONB
    })?;
    Ok((query, decide))
}

/// Inserts a definition, or updates the row of one that exists.
fn store(request: &NewFold, name: &str, functions: &Functions, exists: bool) -> Result<()> {
    let optional = |t: Option<&str>| t.map_or((Type::Text, None), text);
    let path = rights::path_of_caller();
    let every = request.snapshot_every.map(|n| Datum::from(i64::from(n)));
    let schema = request.decider.as_ref().and_then(|d| d.command_schema);
    let parameters = [
        text(name),
        text(&functions.evolve.name()),
        (Type::Jsonb, request.initial),
        (Type::Bigint, every),
        optional(functions.query()),
        optional(functions.decide()),
        (Type::Jsonb, schema),
        text(&path.to_string_lossy()),
    ];
    let sql = if exists {
        "UPDATE en57.folds SET number = nextval('en57.fold_number'), evolve = $2, initial = $3,
             snapshot_every = $4::integer, query_function = $5, decide = $6, command_schema = $7, search_path = $8,
             updated_at = clock_timestamp()
         WHERE name = $1"
    } else {
        "INSERT INTO en57.folds (name, evolve, initial, snapshot_every, query_function, decide,
             command_schema, search_path)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    };
    as_extension_owner(|| spi::run(sql, &parameters).map(drop))
}

/// Locks the definition of a name until the end of the transaction; `None` where there is none.
fn lock(name: &str) -> Result<Option<Definition>> {
    as_extension_owner(|| {
        let rows = spi::run(
            "SELECT * FROM en57.folds WHERE name = $1 FOR UPDATE",
            &[text(name)],
        )?;
        rows.first().map(definition::from_row).transpose()
    })
}

/// Makes sure that the caller may redefine or drop a definition: he has the rights of all owners of its functions, or
/// administers the whole log.
fn demand_administration(definition: &Definition) -> Result<()> {
    let decider = definition.decider.iter();
    let mut functions = decider
        .flat_map(|d| [&d.query, &d.decide])
        .chain([&definition.evolve]);
    if functions.all(|f| f.found().is_some_and(|f| rights::has_rights_of(f.owner))) {
        return Ok(());
    }
    Access::Manage
        .demand(catalog::store()?.events)
        .map(drop)
        .map_err(|_| {
            Error::new(
                SqlState::InsufficientPrivilege,
                format!(
                    "must be owner of the functions of {} \"{}\"",
                    definition.kind(),
                    definition.name
                ),
            )
            .hint("This is for who has the rights of all their owners, and for admins of the whole log, as en57_grant(.., 'admin') makes them.")
        })
}

/// Locks the definition of a name, and makes sure that the caller may administer it.
fn to_administer(name: Option<&str>, kind: &str, function: &str) -> Result<Definition> {
    catalog::demand_writable(function)?;
    // Raises the error for a name that is NULL or unknown.
    definition::by_name(name, kind)?;
    let found = lock(name.unwrap_or_default())?.ok_or_else(|| definition::missing(name, kind))?;
    demand_administration(&found)?;
    Ok(found)
}

/// Drops a fold or a decider, with its snapshots.
///
/// # Errors
/// 42501, 42704.
pub fn remove(name: Option<&str>, kind: &str) -> Result<()> {
    let found = to_administer(name, kind, &format!("en57_drop_{kind}()"))?;
    if found.kind() != kind {
        return Err(definition::missing(name, kind));
    }
    let parameter = (Type::Bigint, Some(Datum::from(found.number)));
    as_extension_owner(|| {
        spi::run("DELETE FROM en57.folds WHERE number = $1", &[parameter]).map(drop)
    })?;
    snapshot::forget_fold(found.number).map(drop)
}

/// Deletes the snapshots of a fold or decider; returns how many there were.
///
/// # Errors
/// 42501, 42704.
pub fn drop_snapshots(name: Option<&str>) -> Result<i64> {
    let found = to_administer(name, "fold", "en57_drop_snapshots()")?;
    snapshot::forget_fold(found.number)
}
