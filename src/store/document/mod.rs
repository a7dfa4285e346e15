//! Tables of documents, read and written without the executor, and the new files of a rebuild.
//!
//! It folds nothing. It uses `log`, `index`, `row`, `pg` and `dcb`.
//!
//! See docs/architecture/projections.md and docs/architecture/rebuilds.md.

pub mod exchange;
pub mod new_files;
pub mod table;
