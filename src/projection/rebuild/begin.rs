//! Beginning a rebuild, or joining one that exists.

use crate::dcb::error::{Error, Result, SqlState, invalid};
use crate::dcb::query::Query;
use crate::fold::evolve;
use crate::store::log::catalog;
use crate::store::log::partition::Access;
use crate::store::pg::{fmgr, rights};
use crate::store::{Datum, Oid};

use super::super::create::{BECAUSE, check_key, check_key_function, choice, demand_stop};
use super::super::definition::{KIND, Projection, by_name, locked};
use super::super::document::{IdSource, missing_table};
use super::super::status::{MODES, Phase};
use super::documents;
use super::state::{Definition, RebuildState};
use super::swap::SwapMethod;

/// The arguments of en57_rebuild().
pub struct RebuildRequest<'a> {
    /// The projection.
    pub name: Option<&'a str>,
    /// Another function that folds.
    pub evolve: Option<&'a str>,
    /// Another document before its first event.
    pub initial: Option<Datum>,
    /// Another key: `stream` or `tag:PREFIX`.
    pub key: Option<&'a str>,
    /// A function, in place of it.
    pub key_function: Option<&'a str>,
    /// Other events.
    pub query: Option<Query>,
    /// `inline` or `async`.
    pub mode: Option<&'a str>,
    /// How the live table is to be given the new documents.
    pub method: SwapMethod,
    /// The row type en57_event.
    pub event_type: Oid,
}

/// A rebuild that this session works on.
pub struct Run {
    /// The rebuild's number.
    pub number: i64,
    /// The projection's name.
    pub name: String,
    projection: i64,
}

impl Run {
    /// Finds out why the rebuild does not exist any more.
    ///
    /// # Errors
    /// 55000, unless another session has finished it.
    pub fn ended(&self) -> Result<()> {
        let is_there = by_name(Some(&self.name), false).is_ok_and(|p| p.number == self.projection);
        if is_there && RebuildState::of(&self.name, false)?.is_none() {
            return Ok(());
        }
        let what = if is_there {
            "rebuild was ended"
        } else {
            "projection was dropped"
        };
        Err(Error::new(
            SqlState::NotInPrerequisiteState,
            format!("projection \"{}\" was not rebuilt to the end", self.name),
        )
        .detail(format!("The {what} by another session.")))
    }
}

/// Begins, or joins a rebuild that was interrupted or is under way.
pub fn begin(request: &RebuildRequest) -> Result<Run> {
    catalog::demand_writable("en57_rebuild()")?;
    let found = by_name(request.name, false)?;
    let partition = catalog::partition_to_administer(Some(&found.partition))?;
    // Locked, so that nobody drops it before the rebuild is stored.
    let projection = locked(&found)?;
    let owner = rights::owner_of(documents(&projection)?.table);
    let owner = owner.ok_or_else(|| missing_table(&projection.name))?;
    let wanted = request.applied_to(&projection)?;
    if request.changes() {
        Access::Read.demand(partition.oid)?;
        request.demand_creation(&projection, owner)?;
    }
    request.method.demand_open(&projection)?;
    let run = |number| Run {
        number,
        name: projection.name.clone(),
        projection: projection.number,
    };
    let Some(state) = RebuildState::of(&projection.name, true)? else {
        return RebuildState::begin(&projection.name, &wanted).map(run);
    };
    if state.phase == Phase::Cancelled {
        state.remove()?;
        return RebuildState::begin(&projection.name, &wanted).map(run);
    }
    if request.changes() && !state.definition.is_as(&wanted) {
        return Err(Error::new(
            SqlState::NotInPrerequisiteState,
            format!("projection \"{}\" is being rebuilt with another definition", projection.name),
        )
        .hint("Leave the other arguments out to go on with that one, or end it with en57_cancel_rebuild()."));
    }
    if state.phase == Phase::Failed {
        state.try_again()?;
    }
    Ok(run(state.number))
}

impl RebuildRequest<'_> {
    /// Whether the projection is to get another definition.
    fn changes(&self) -> bool {
        self.evolve.is_some()
            || self.initial.is_some()
            || self.key.is_some()
            || self.key_function.is_some()
            || self.query.is_some()
            || self.mode.is_some()
    }

    /// Makes sure that the caller could create the new projection with its table. This includes functions that do not
    /// change: they will run with another search path, and what they return is written with the rights of the table's owner.
    fn demand_creation(&self, projection: &Projection, owner: Oid) -> Result<()> {
        let documents = documents(projection)?;
        documents.demand_rights_of(owner)?;
        let name = &projection.name;
        if self.evolve.is_none() {
            documents
                .evolve
                .function(KIND, name)?
                .demand_definable(BECAUSE)?;
        }
        match &documents.key {
            IdSource::Function(key) if self.key.is_none() && self.key_function.is_none() => {
                key.function(KIND, name)?.demand_definable(BECAUSE)
            }
            _ => Ok(()),
        }
    }

    fn applied_to(&self, projection: &Projection) -> Result<Definition> {
        let documents = documents(projection)?;
        let mut definition = Definition::of(projection, documents);
        if let Some(initial) = self.initial {
            definition.initial = Some(fmgr::varlena(initial).to_vec());
        }
        let has_initial = definition.initial.is_some();
        if let Some(function) = self.evolve {
            let function = evolve::check(function, self.event_type, has_initial)?;
            function.demand_definable(BECAUSE)?;
            definition.handler = function.name();
        } else if documents.evolve.function(KIND, &projection.name)?.strict && !has_initial {
            return Err(invalid("evolve must not be STRICT where initial is NULL"));
        }
        match (self.key, self.key_function) {
            (Some(_), Some(_)) => {
                return Err(invalid("only one of key and key_function can be given"));
            }
            (Some(key), None) => {
                let (key, function) = check_key(key, self.event_type)?;
                definition.key = key.map(str::to_owned);
                definition.key_function = function;
            }
            (None, Some(function)) => {
                definition.key = None;
                definition.key_function =
                    Some(check_key_function(function, self.event_type)?.name());
            }
            (None, None) => {}
        }
        definition.query = self.query.clone().filter(|q| *q != projection.query);
        if let Some(mode) = self.mode {
            let is_inline = choice(Some(mode), "mode", MODES)?;
            definition.is_inline = Some(is_inline).filter(|i| *i != projection.is_inline);
            demand_stop(is_inline, projection.skips)?;
        }
        if self.changes() {
            definition.path = rights::path_of_caller().to_string_lossy().into_owned();
        }
        Ok(definition)
    }
}
