//! Registering and dropping upcasters.
//!
//! A change of names changes which keys a condition locks. So nobody appends to any partition while names change: an
//! append has either ended before, or sees the new names when it has the root lock.

use crate::dcb::error::{Error, Result, SqlState, invalid, required, where_to_look};
use crate::dcb::limits;
use crate::dcb::upcast::{Chains, Form};
use crate::definition::function;
use crate::definition::name::{self, IfTaken, Taken};
use crate::store::log::catalog::{self, Exclusion};
use crate::store::log::partition::{Access, exclude_appends};
use crate::store::pg::rights;
use crate::store::pg::spi::{self, Type, text};
use crate::store::session::definitions::as_extension_owner;
use crate::store::session::transaction;
use crate::store::{Datum, Oid};

use super::definitions::{Definitions, known};

/// Returns the registered types with their versions. It is called when nobody else can change upcasters any more, so
/// that types and upcasters are those of one moment.
pub type Registered = fn() -> Result<Vec<Form>>;

/// The upcaster to register, as the caller describes it.
pub struct NewUpcaster<'a> {
    /// The type.
    pub name: Option<&'a str>,
    /// Its version.
    pub version: Option<i32>,
    /// The function.
    pub function: Option<&'a str>,
    /// The type that it becomes; `None`: the same.
    pub to_name: Option<&'a str>,
    /// The version that it becomes; `None`: the next one, or 1 of another type.
    pub to_version: Option<i32>,
    /// What to do if the type and version have an upcaster.
    pub if_taken: IfTaken,
    /// The row type en57_event.
    pub event_type: Oid,
    /// Returns the registered types.
    pub registered: Registered,
}

/// Registers an upcaster, or replaces it.
///
/// # Errors
/// 22004, 22023, 54000 if an argument is not allowed; 42501 if the function belongs to somebody else.
pub fn register(request: &NewUpcaster) -> Result<()> {
    catalog::demand_writable("en57_register_upcaster()")?;
    let from = form("type", request.name, "from_version", request.version)?;
    let to_name = request.to_name.unwrap_or(&from.name);
    let next = if to_name == from.name {
        from.version.checked_add(1)
    } else {
        Some(1)
    };
    let to_version = request.to_version.or(next).ok_or_else(|| {
        invalid("from_version is the last one that there can be")
            .hint("Name the version that it becomes with to_version.")
    });
    let to_version = Some(to_version?);
    let to = form("to_type", Some(to_name), "to_version", to_version)?;
    let function = checked(request)?;
    let path = rights::path_of_caller();
    let before = locked()?;
    if let Some(old) = before.of(&from) {
        let taken = Taken {
            title: &format!("upcaster of {from}"),
            differs_in: name::unlike(&[
                ("upcaster", function == old.name),
                ("to_type", to.name == old.to.name),
                ("to_version", to.version == old.to.version),
                ("search_path", path == old.path),
            ]),
            is_replaceable: false,
        };
        if !request.if_taken.changes(&taken)? {
            return Ok(());
        }
    }
    let others = before.forms().into_iter().filter(|(f, _)| *f != from);
    let after = Chains::new(others.chain([(from.clone(), to.clone())]).collect())?;
    let registered = (request.registered)()?;
    after.check_against(before.chains(), Some(&from), &registered)?;
    change(&before, &after, || {
        spi::run(
            "INSERT INTO en57.upcasters AS u (type, from_version, to_type, to_version, function, search_path)
             VALUES ($1, $2::integer, $3, $4::integer, $5, $6)
             ON CONFLICT (type, from_version) DO UPDATE
                 SET to_type = excluded.to_type, to_version = excluded.to_version, function = excluded.function,
                     search_path = excluded.search_path, registered_at = now()",
            &[
                text(&from.name),
                number(from.version),
                text(&to.name),
                number(to.version),
                text(&function),
                text(&path.to_string_lossy()),
            ],
        )
        .map(drop_rows)
    })
}

/// Drops an upcaster.
///
/// # Errors
/// 42704 if there is none; 22023 if another upcaster leads to it.
pub fn drop(name: Option<&str>, version: Option<i32>, registered: Registered) -> Result<()> {
    catalog::demand_writable("en57_drop_upcaster()")?;
    let from = form("type", name, "from_version", version)?;
    let before = locked()?;
    let mut forms = before.forms();
    forms.retain(|(f, _)| *f != from);
    if forms.len() == before.forms().len() {
        return Err(Error::new(
            SqlState::UndefinedObject,
            format!("upcaster of {from} does not exist"),
        )
        .hint(where_to_look("upcaster")));
    }
    if let Some((other, _)) = forms.iter().find(|(_, to)| *to == from) {
        return Err(invalid("an upcaster would be missing")
            .detail(format!(
                "That of {other} leads to it, and would end at {from}."
            ))
            .hint(format!("First drop the upcaster of {other}.")));
    }
    let after = Chains::new(forms)?;
    after.check_against(before.chains(), None, &registered()?)?;
    change(&before, &after, || {
        spi::run(
            "DELETE FROM en57.upcasters WHERE type = $1 AND from_version = $2",
            &[text(&from.name), number(from.version)],
        )
        .map(drop_rows)
    })
}

fn drop_rows(_: Vec<spi::Values>) {}

/// The upcasters. Nobody else can change them until the transaction ends.
fn locked() -> Result<std::rc::Rc<Definitions>> {
    as_extension_owner(|| spi::command("LOCK TABLE en57.upcasters IN SHARE ROW EXCLUSIVE MODE"))?;
    known()
}

/// Makes a change. If it changes names, nobody appends until the transaction ends. The transaction's own reads see it,
/// even if the transaction is REPEATABLE READ.
fn change(before: &Definitions, after: &Chains, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if after.renames_unlike(before.chains()) {
        let store = catalog::store()?;
        store.lock(Exclusion::OfAttaching);
        let mut partitions = store.all()?;
        partitions.sort_by_key(|(_, table)| table.to_u32());
        for (name, _) in partitions {
            exclude_appends(&*store.partition(Some(&name), Access::Own)?)?;
        }
    }
    transaction::own_definitions();
    as_extension_owner(body)
}

fn form(name: &str, said: Option<&str>, version: &str, number: Option<i32>) -> Result<Form> {
    let null = |what| Error::new(SqlState::NullNotAllowed, format!("{what} must not be NULL"));
    let said = said.ok_or_else(|| null(name))?;
    let number = number.ok_or_else(|| null(version))?;
    if said.is_empty() || said == name::ALL_TYPES {
        return Err(invalid(format!("{name} must be the name of a type")));
    }
    if said.len() > limits::TYPE_BYTES {
        let message = format!("{name} is longer than {} bytes", limits::TYPE_BYTES);
        return Err(Error::new(SqlState::LimitExceeded, message));
    }
    if number < 1 {
        return Err(invalid(format!("{version} must be 1 or greater")));
    }
    Ok(Form::new(said, number))
}

/// The name of the function, if it can be an upcaster, and if the caller may let it run with its owner's rights.
fn checked(request: &NewUpcaster) -> Result<String> {
    let form = function::Form {
        role: "upcaster",
        text: "(en57_event) returning en57_event",
    };
    let event = request.event_type;
    let function = form.find(required(request.function, form.role)?, |f| {
        f.arguments == [event] && f.result == event
    })?;
    if function.volatile {
        return Err(invalid("upcaster must not be VOLATILE")
            .detail("It is called whenever an event is read, and must change nothing.")
            .hint("Declare it IMMUTABLE, or STABLE where it looks into tables."));
    }
    function.demand_definable("An upcaster runs with the rights of its owner.")?;
    Ok(function.name())
}

fn number(value: i32) -> (Type, Option<Datum>) {
    (Type::Bigint, Some(Datum::from(i64::from(value))))
}
