//! Making and dropping named folds and deciders.

use crate::dcb::error::{Error, Result, SqlState, invalid, required};
use crate::definition::function::Form;
use crate::definition::name::{self, IfTaken, Taken};
use crate::event_type;
use crate::store::call::function::Function;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::spi::{self, Type};
use crate::store::pg::{composite, fmgr, rights};
use crate::store::session::definitions::as_extension_owner;
use crate::store::{Datum, Oid};

use super::definition::{self, Decider, Definition};
use super::{evolve, snapshot};

/// What is to be made, as the caller said it.
pub struct NewFold<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// The function that folds.
    pub evolve: Option<&'a str>,
    /// What the first event meets.
    pub initial: Option<Datum>,
    /// A snapshot is taken when so many events were read beyond the last one; `None`: never.
    pub snapshot_every: Option<i32>,
    /// What makes a decider of it.
    pub decider: Option<NewDecider<'a>>,
    /// What is done where there is one of the name.
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

impl NewFold<'_> {
    fn kind(&self) -> &'static str {
        if self.decider.is_some() {
            "decider"
        } else {
            "fold"
        }
    }

    /// The arguments that would make another one of an old one of the same kind.
    fn differences(
        &self,
        old: &Definition,
        evolve: &Function,
        [query, decide]: &[Option<String>; 2],
    ) -> Vec<&'static str> {
        let is_initial =
            |given: Option<Datum>, stored: Option<&[u8]>| given.map(fmgr::varlena) == stored;
        let (new, of_old) = (self.decider.as_ref(), old.decider.as_ref());
        let schema = new.and_then(|d| d.command_schema);
        name::unlike(&[
            ("evolve", evolve.name() == old.evolve.name),
            ("initial", is_initial(self.initial, old.initial.as_deref())),
            (
                "snapshot_every",
                self.snapshot_every.map(i64::from) == old.snapshot_every,
            ),
            (
                "query_function",
                query.as_ref() == of_old.map(|d| &d.query.name),
            ),
            ("decide", decide.as_ref() == of_old.map(|d| &d.decide.name)),
            (
                "command_schema",
                is_initial(schema, of_old.and_then(Decider::command_schema)),
            ),
            ("search_path", rights::path_of_caller() == old.path),
        ])
    }
}

/// Makes a fold or a decider, or redefines one; then its snapshots are forgotten.
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
    let because = format!("A {kind} runs its functions with the rights of their owner.");
    let evolve = evolve::check(
        required(request.evolve, "evolve")?,
        request.event_type,
        request.initial.is_some(),
    )?;
    evolve.demand_definable(&because)?;
    let mut of_decider = [None, None];
    if let Some(decider) = &request.decider {
        if let Some(schema) = decider.command_schema {
            event_type::demand(schema, "command_schema")?;
        }
        let (query, decide) = decider_functions(decider, request.query_type)?;
        query.demand_definable(&because)?;
        decide.demand_definable(&because)?;
        if decide.strict && request.initial.is_none() {
            return Err(invalid("decide must not be STRICT where initial is NULL")
                .detail("It would not be called for the first command: the state is NULL then."));
        }
        of_decider = [Some(query.name()), Some(decide.name())];
    }
    // Folds and deciders share their names.
    name::reserve("fold", name);
    let old = lock(name)?;
    if let Some(old) = &old {
        if old.decider.is_some() != request.decider.is_some() {
            let message = format!("{} \"{name}\" exists already", old.kind());
            return Err(Error::new(SqlState::DuplicateObject, message)
                .detail("Folds and deciders share their names."));
        }
        let taken = Taken {
            title: &format!("{kind} \"{name}\""),
            differs_in: request.differences(old, &evolve, &of_decider),
            is_replaceable: true,
        };
        if !request.if_taken.changes(&taken)? {
            return Ok(());
        }
        demand_administration(old)?;
    }
    store(request, name, &evolve, &of_decider, old.is_some())?;
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

/// Stores a new definition, or in place of an old one.
fn store(
    request: &NewFold,
    name: &str,
    evolve: &Function,
    [query, decide]: &[Option<String>; 2],
    is_known: bool,
) -> Result<()> {
    let text = |t: &str| Some(fmgr::make_varlena(t.as_bytes()));
    let path = rights::path_of_caller();
    let every = request.snapshot_every.map(|n| Datum::from(i64::from(n)));
    let schema = request.decider.as_ref().and_then(|d| d.command_schema);
    let parameters = [
        (Type::Text, text(name)),
        (Type::Text, text(&evolve.name())),
        (Type::Jsonb, request.initial),
        (Type::Bigint, every),
        (Type::Text, query.as_deref().and_then(text)),
        (Type::Text, decide.as_deref().and_then(text)),
        (Type::Jsonb, schema),
        (Type::Text, text(&path.to_string_lossy())),
    ];
    let sql = if is_known {
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

/// The definition of a name, kept from others until the end of the transaction; `None` where there is none.
fn lock(name: &str) -> Result<Option<Definition>> {
    let name = (Type::Text, Some(fmgr::make_varlena(name.as_bytes())));
    as_extension_owner(|| {
        let rows = spi::run(
            "SELECT * FROM en57.folds WHERE name = $1 FOR UPDATE",
            &[name],
        )?;
        rows.first().map(definition::from_row).transpose()
    })
}

/// Makes sure that the caller may redefine or drop it: who has the rights of its functions' owners, or those of
/// the log's.
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

/// The definition of a name that the caller may administer, kept from others.
fn to_administer(name: Option<&str>, kind: &str, function: &str) -> Result<Definition> {
    catalog::demand_writable(function)?;
    // For its errors.
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

/// Forgets the snapshots of a fold or decider; returns how many there were.
///
/// # Errors
/// 42501, 42704.
pub fn drop_snapshots(name: Option<&str>) -> Result<i64> {
    let found = to_administer(name, "fold", "en57_drop_snapshots()")?;
    snapshot::forget_fold(found.number)
}
