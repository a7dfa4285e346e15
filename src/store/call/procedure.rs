//! Procedures: a CALL that may commit what it has done so far, and go on.

use pgrx::pg_sys;

use crate::dcb::error::{Error, Result, SqlState};
use crate::store::pg::fmgr::Args;

/// What a call of a procedure may do with the transaction.
pub struct Call {
    commits: bool,
}

impl Call {
    /// Asks how a procedure was called.
    pub fn of(args: &Args) -> Self {
        // SAFETY: PostgreSQL sets `context` to the call's description when it calls a procedure.
        let commits = unsafe {
            let context = (*args.raw()).context.cast::<pg_sys::CallContext>();
            !context.is_null()
                && (*context).type_ == pg_sys::NodeTag::T_CallContext
                && !(*context).atomic
        };
        Self { commits }
    }

    /// Whether it may commit: not in a transaction block, nor where a function has called it.
    pub fn commits(&self) -> bool {
        self.commits
    }

    /// Commits, where it may, and begins a new transaction. The caller keeps nothing of the old one: no
    /// snapshot, no relation, nothing in a memory context of the transaction.
    ///
    /// # Errors
    /// PostgreSQL's own at commit, by unwinding.
    pub fn commit(&self) -> Result<()> {
        if !self.commits {
            return Ok(());
        }
        // SAFETY: SPI's protocol for procedures. The memory context and what hangs on it are the portal's,
        // which outlives the transaction; the snapshot that a statement needs is there again afterwards.
        unsafe {
            let connected = pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
            if connected < 0 {
                return Err(Error::new(SqlState::Internal, "SPI_connect_ext failed"));
            }
            pg_sys::SPI_commit();
            pg_sys::SPI_finish();
            pg_sys::EnsurePortalSnapshotExists();
        }
        Ok(())
    }
}
