//! Replacing the definition of a projection that exists.

use crate::dcb::error::{Error, Result, SqlState};
use crate::definition::name::{self, Taken};
use crate::store::Datum;
use crate::store::log::partition::Partition;
use crate::store::pg::spi::{self, Type, text};
use crate::store::pg::{fmgr, json, rights};
use crate::store::session::definitions::as_extension_owner;

use super::create::Checked;
use super::definition::{KIND, Projection, Work, by_name};
use super::document::{Documents, IdSource, missing_table};
use super::reset::{Beginning, begin_at};
use super::status::{MODES, ON_ERROR, Status, word};
use super::{manage, rebuild};

/// The parts of a definition that decide what is made of the events. If one of them changes, it is made anew.
const MAKING: [&str; 6] = [
    "query",
    "handler",
    "evolve",
    "key",
    "initial",
    "search_path",
];

impl Checked<'_> {
    /// Whether the projection that exists is to get the requested definition.
    ///
    /// # Errors
    /// 42710 if the request does not allow that, or it is not possible.
    pub fn changes(&self, old: &Projection, partition: &Partition) -> Result<bool> {
        let is_elsewhere = old.partition != partition.name;
        let is_other_kind = self.has_documents != matches!(old.work, Work::Documents(_));
        let differs_in = match (is_elsewhere, is_other_kind) {
            (true, _) => vec!["partition"],
            (false, true) => vec!["kind"],
            (false, false) => self.differences(old)?,
        };
        let changes = self.if_taken.changes(&Taken {
            title: &format!("{KIND} \"{}\"", self.name),
            differs_in,
            is_replaceable: !is_elsewhere && !is_other_kind,
        })?;
        if changes && is_elsewhere {
            return Err(name::of_another_partition(KIND, self.name));
        }
        if changes && is_other_kind {
            let message = format!("{KIND} \"{}\" exists already", self.name);
            let detail = match old.work {
                Work::Documents(_) => {
                    "It keeps documents, and cannot be made one that calls a handler."
                }
                Work::Handler(_) => {
                    "It calls a handler, and cannot be made one that keeps documents."
                }
            };
            return Err(Error::new(SqlState::DuplicateObject, message)
                .detail(detail)
                .hint("Drop it with en57_drop_projection() to make another one."));
        }
        Ok(changes)
    }

    /// The arguments in which the request differs from a projection of the same kind and partition. The start is no part
    /// of the definition.
    fn differences(&self, old: &Projection) -> Result<Vec<&'static str>> {
        let initial = self.work.initial.map(fmgr::varlena);
        let (function, key, old_initial) = match &old.work {
            Work::Handler(handler) => (&handler.name, true, None),
            Work::Documents(d) => (&d.evolve.name, self.has_key_of(d), d.initial.as_deref()),
        };
        Ok(name::unlike(&[
            ("query", self.query == old.query),
            (
                if self.has_documents {
                    "evolve"
                } else {
                    "handler"
                },
                self.work.function == *function,
            ),
            ("key", key),
            ("initial", initial == old_initial),
            ("search_path", rights::path_of_caller() == old.path),
            ("mode", self.is_inline == old.is_inline),
            ("on_error", self.skips == old.skips),
            ("batch_size", self.batch_size as usize == old.batch_size),
            (
                "truncate",
                self.work.truncate == Beginning::of(&old.name)?.truncate,
            ),
        ]))
    }

    fn has_key_of(&self, old: &Documents) -> bool {
        match &old.key {
            IdSource::Plain(key) => self.work.key == Some(key.to_string().as_str()),
            IdSource::Function(key) => self.work.key_function.as_ref() == Some(&key.name),
        }
    }

    /// Gives a projection the requested definition. The caller has locked it and excluded appends to its partition.
    ///
    /// If the definition changes what is made of the events, that is deleted and made anew: documents, or what the
    /// truncate function of a handler deletes. A handler without such a function keeps its position, and handles only
    /// later events by the new definition.
    ///
    /// # Errors
    /// 42501 where the table of documents is somebody else's; those of the functions.
    pub fn replace(&self, old: Projection) -> Result<()> {
        let differs = self.differences(&old)?;
        if differs.is_empty() {
            return Ok(());
        }
        let makes_others = differs.iter().any(|d| MAKING.contains(d));
        if let Work::Documents(documents) = &old.work {
            let owner =
                rights::owner_of(documents.table).ok_or_else(|| missing_table(&old.name))?;
            documents.demand_rights_of(owner)?;
        }
        if makes_others || differs.contains(&"mode") {
            rebuild::drop_of(&old.name)?;
        }
        let position = if old.runs_inline() {
            manage::last_position()?
        } else {
            old.position
        };
        self.store(&old, position)?;
        if makes_others && (self.has_documents || self.work.truncate.is_some()) {
            let start = Beginning::of(&old.name)?.start;
            return begin_at(&by_name(Some(&old.name), true)?, start);
        }
        if self.is_inline && !old.is_inline && old.status == Status::Running {
            manage::set(&old.name, Status::Paused, position)?;
            return manage::activate(&old.name);
        }
        Ok(())
    }

    fn store(&self, old: &Projection, position: i64) -> Result<()> {
        let optional = |t: Option<&str>| t.map_or((Type::Text, None), text);
        let parameters = [
            text(&old.name),
            text(word(self.is_inline, MODES)),
            (Type::Jsonb, Some(json::parse(&self.query.to_string(), "")?)),
            text(&self.work.function),
            optional(self.work.key),
            optional(self.work.key_function.as_deref()),
            (Type::Jsonb, self.work.initial),
            text(word(!self.skips, ON_ERROR)),
            (Type::Bigint, Some(Datum::from(i64::from(self.batch_size)))),
            text(&rights::path_of_caller().to_string_lossy()),
            (Type::Bigint, Some(Datum::from(position))),
            optional(self.work.truncate.as_deref()),
        ];
        let sql = "UPDATE en57.projections SET mode = $2, query = $3, handler = $4, key = $5, key_function = $6, initial = $7,
                 on_error = $8, batch_size = $9, search_path = $10, position = $11, truncate_function = $12,
                 updated_at = clock_timestamp() WHERE name = $1";
        as_extension_owner(|| spi::run(sql, &parameters).map(drop))
    }
}
