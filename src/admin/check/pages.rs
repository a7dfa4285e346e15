//! Pages that cannot be read: those whose checksum is wrong, and those that the disk does not give.

use crate::dcb::error::Result;
use crate::store::row::pages::{Unreadable, unreadable};
use crate::store::row::table::IndexRole;

use super::{Check, REINDEX, RESTORE};

impl Check<'_, '_> {
    /// Reads all pages of the table, and of the table of its large values; returns those of the former that cannot be read.
    pub(super) fn check_pages(&mut self) -> Result<Vec<u32>> {
        let lost = unreadable(self.table.relation())?;
        if let Some(toast) = self.table.toast() {
            for page in unreadable(toast.relation())? {
                let Unreadable { block, reason } = page;
                let problem = format!("page {block} of its TOAST table cannot be read: {reason}");
                self.found(self.table_name(), problem, RESTORE)?;
            }
        }
        for page in &lost {
            self.found(self.table_name(), in_words(page), RESTORE)?;
        }
        Ok(lost.iter().map(|page| page.block).collect())
    }

    /// Reads all pages of an index; whether it is there, and they can be read.
    pub(super) fn check_index_pages(&mut self, role: IndexRole) -> Result<bool> {
        let Ok(index) = self.table.index(role) else {
            return Ok(false);
        };
        let (name, lost) = (index.name(), unreadable(index.relation())?);
        for page in &lost {
            self.found(format!("index en57.{name}"), in_words(page), REINDEX)?;
        }
        Ok(lost.is_empty())
    }
}

fn in_words(page: &Unreadable) -> String {
    format!("page {} cannot be read: {}", page.block, page.reason)
}
