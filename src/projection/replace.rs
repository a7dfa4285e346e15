//! Making another one of a projection that is there.

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
use super::{manage, rebuild};

/// What of a definition says what is made of the events.
const MAKING: [&str; 6] = [
    "query",
    "handler",
    "evolve",
    "key",
    "initial",
    "search_path",
];

impl Checked<'_> {
    /// Whether the one that is there is to be made another one.
    ///
    /// # Errors
    /// 42710 where it is not to be, or cannot.
    pub fn changes(&self, old: &Projection, place: &Partition) -> Result<bool> {
        let is_elsewhere = old.partition != place.name;
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

    /// The arguments that would make another one of an old one of the same kind and partition. Where it begins is
    /// no part of what it is.
    fn differences(&self, old: &Projection) -> Result<Vec<&'static str>> {
        let initial = self.initial.map(fmgr::varlena);
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
                self.function == *function,
            ),
            ("key", key),
            ("initial", initial == old_initial),
            ("search_path", rights::path_of_caller() == old.path),
            ("mode", self.is_inline == old.is_inline),
            ("on_error", self.skips == old.skips),
            ("batch_size", self.batch_size as usize == old.batch_size),
            (
                "truncate",
                self.truncate == Beginning::of(&old.name)?.truncate,
            ),
        ]))
    }

    fn has_key_of(&self, old: &Documents) -> bool {
        match &old.key {
            IdSource::Plain(key) => self.key == Some(key.to_string().as_str()),
            IdSource::Function(key) => self.key_function.as_ref() == Some(&key.name),
        }
    }

    /// Makes it what is asked for. It is kept from others, and nobody appends to its partition.
    ///
    /// What is made of the events is made anew where that can be taken away which was made before: documents, and what
    /// the truncate function of a handler empties. Otherwise what was handled stays handled.
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
        let position = match old.is_inline && old.status == "running" {
            true => manage::last_position()?,
            false => old.position,
        };
        self.store(&old, position)?;
        if makes_others && (self.has_documents || self.truncate.is_some()) {
            let start = Beginning::of(&old.name)?.start;
            return begin_at(&by_name(Some(&old.name), true)?, start);
        }
        if self.is_inline && !old.is_inline && old.status == "running" {
            manage::set(&old.name, "paused", position)?;
            return manage::activate(&old.name);
        }
        Ok(())
    }

    fn store(&self, old: &Projection, position: i64) -> Result<()> {
        let choose = |yes: bool, a, b| text(if yes { a } else { b });
        let optional = |t: Option<&str>| t.map_or((Type::Text, None), text);
        let parameters = [
            text(&old.name),
            choose(self.is_inline, "inline", "async"),
            (Type::Jsonb, Some(json::parse(&self.query.to_string(), "")?)),
            text(&self.function),
            optional(self.key),
            optional(self.key_function.as_deref()),
            (Type::Jsonb, self.initial),
            choose(self.skips, "skip", "stop"),
            (Type::Bigint, Some(Datum::from(i64::from(self.batch_size)))),
            text(&rights::path_of_caller().to_string_lossy()),
            (Type::Bigint, Some(Datum::from(position))),
            optional(self.truncate.as_deref()),
        ];
        let sql = "UPDATE en57.projections SET mode = $2, query = $3, handler = $4, key = $5, key_function = $6, initial = $7,
                 on_error = $8, batch_size = $9, search_path = $10, position = $11, truncate_function = $12,
                 updated_at = clock_timestamp() WHERE name = $1";
        as_extension_owner(|| spi::run(sql, &parameters).map(drop))
    }
}
