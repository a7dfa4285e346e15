//! Trying a projection on given events: which documents it makes of them.

use std::collections::BTreeMap;

use crate::dcb::error::{Error, Result, SqlState};
use crate::fold::evolve::Folding;
use crate::projection::definition::{KIND, Work, by_name};
use crate::projection::document::{IdSource, asked_ids};
use crate::store::Datum;
use crate::store::pg::composite::RowType;
use crate::store::pg::{fmgr, rights};

use super::Trial;

/// A document of given events.
pub struct TriedDocument<'d> {
    /// Its id.
    pub id: &'d str,
    /// Its contents.
    pub doc: Datum,
    /// How many events have made it.
    pub version: i64,
    /// The position of the last of them.
    pub position: i64,
}

struct Making<'f> {
    folding: Folding<'f>,
    version: i64,
    position: i64,
}

/// Hands the documents of a projection to `sink`, as if the given events were all that is stored.
///
/// # Errors
/// 42501, 42704, 42883; 0A000 if the projection calls a handler; 22023 if a given event is not valid; those of the
/// functions.
pub fn try_on(
    name: Option<&str>,
    given: Option<Datum>,
    mut sink: impl FnMut(TriedDocument) -> Result<()>,
) -> Result<()> {
    let projection = by_name(name, false)?;
    let trial = Trial::of(given, &projection.partition)?;
    let Work::Documents(documents) = &projection.work else {
        return Err(Error::new(
            SqlState::NotSupported,
            format!("projection \"{}\" calls a handler", projection.name),
        )
        .detail("A handler is called for what it does; it has no answer.")
        .hint("Append the events in a transaction that you roll back."));
    };
    let evolve = documents.evolve.function(KIND, &projection.name)?;
    evolve.demand_execute()?;
    let key = match &documents.key {
        IdSource::Function(key) => Some(key.function(KIND, &projection.name)?),
        IdSource::Plain(_) => None,
    };
    key.map_or(Ok(()), |key| key.demand_execute())?;
    let (evolve, key) = (evolve.prepare(), key.map(|key| key.prepare()));
    let initial = documents.initial.as_deref().map(fmgr::make_varlena);
    let event_type = RowType::of(projection.event_type()?);
    let mut making: BTreeMap<String, Making> = BTreeMap::new();
    let (asking, evolving) = (
        projection.error_context("key"),
        projection.error_context("evolve function"),
    );
    rights::for_functions(&projection.path, &projection.partition, || {
        trial.each(&projection.query, &event_type, |given, event| {
            let position = given.position;
            let tags = given.event.tags.iter().copied();
            let ids = match (documents.key.ids(given.event.stream, tags), &key) {
                (None, Some(key)) => {
                    asking.at(position, position);
                    asking.tell(|| asked_ids(key, event, &projection.name))?
                }
                (ids, _) => ids.unwrap_or_default(),
            };
            for id in ids {
                let document = making.entry(id).or_insert_with(|| Making {
                    folding: Folding::new(&evolve, initial),
                    version: 0,
                    position: 0,
                });
                evolving.at(position, position);
                let goes_on = evolving.tell(|| document.folding.add(event));
                document.version = if goes_on { document.version + 1 } else { 0 };
                document.position = position;
            }
            Ok(())
        })
    })?;
    for (id, document) in &making {
        // Version 0: evolve has returned NULL for the last event, so there is no document.
        let doc = document.folding.state().filter(|_| document.version > 0);
        doc.map_or(Ok(()), |doc| {
            sink(TriedDocument {
                id,
                doc,
                version: document.version,
                position: document.position,
            })
        })?;
    }
    Ok(())
}
