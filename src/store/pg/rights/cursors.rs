//! The session's cursors, while functions of users run with other rights than the caller's.
//!
//! A cursor is asked for its rows with the rights that its reader has by then, and its query was allowed to whoever has opened
//! it. So a function must neither read the caller's cursors, nor close one and open another of its name, which the caller would
//! go on with. PostgreSQL refuses the command CLOSE in a security-restricted operation, but not that of PL/pgSQL, nor FETCH.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::{self, MemoryContext, Portal, PortalStatus};

/// The cursors that there were, which nobody can use as long as this lives.
pub(super) struct Shut(Vec<Was>);

/// A cursor, and what it was.
struct Was {
    portal: Portal,
    status: PortalStatus::Type,
    visible: bool,
}

impl Shut {
    /// Shuts all cursors that the session has open.
    pub(super) fn begin() -> Self {
        // SAFETY: each is of the session's table of portals. One that is active can be neither run nor dropped, so it is there
        // until this is dropped; a subtransaction that ends meanwhile takes those alone that were made in it.
        unsafe {
            let shut = |portal: Portal| {
                let was = Was {
                    portal,
                    status: (*portal).status,
                    visible: (*portal).visible,
                };
                (*portal).status = PortalStatus::PORTAL_ACTIVE;
                (*portal).visible = false;
                was
            };
            Self(portals().into_iter().map(shut).collect())
        }
    }

    /// Closes those that were opened meanwhile, and opens the others again.
    pub(super) fn end(self) {
        // SAFETY: each is of the session's table of portals; none of them is running, and they are no others' to close.
        unsafe {
            for portal in portals() {
                let is_new = !self.0.iter().any(|was| was.portal == portal);
                if is_new
                    && (*portal).status != PortalStatus::PORTAL_ACTIVE
                    && !(*portal).portalPinned
                {
                    pg_sys::PortalDrop(portal, false);
                }
            }
        }
    }
}

impl Drop for Shut {
    /// Also where an error unwinds: the transaction's abort looks at what they are.
    fn drop(&mut self) {
        for was in &self.0 {
            // SAFETY: as above.
            unsafe {
                (*was.portal).status = was.status;
                (*was.portal).visible = was.visible;
            }
        }
    }
}

/// All portals of the session. PostgreSQL's table of them is its own; but each has a memory context, which has its name.
///
/// # Safety
/// Called in a transaction.
unsafe fn portals() -> Vec<Portal> {
    // SAFETY: contexts are in lists that end with null; an identifier is null or ends with NUL.
    unsafe {
        let mut found = Vec::with_capacity(4);
        let mut context = match top() {
            null if null.is_null() => return found,
            top => (*top).firstchild,
        };
        while !context.is_null() {
            let name = (*context).ident;
            if !name.is_null() {
                // The portal of the protocol has no name, and its context this one; another could be called so.
                let named = pg_sys::GetPortalByName(name);
                let unnamed = match CStr::from_ptr(name) == c"<unnamed>" {
                    true => pg_sys::GetPortalByName(c"".as_ptr()),
                    false => std::ptr::null_mut(),
                };
                let is_its = |p: &Portal| !p.is_null() && (**p).portalContext == context;
                found.extend([named, unnamed].into_iter().find(is_its));
            }
            context = (*context).nextchild;
        }
        found
    }
}

/// The context that has those of all portals: there from the start of the session to its end.
unsafe fn top() -> MemoryContext {
    thread_local! {
        static TOP: Cell<MemoryContext> = const { Cell::new(std::ptr::null_mut()) };
    }
    if TOP.get().is_null() {
        // SAFETY: contexts are in lists that end with null; their names are constants that end with NUL.
        unsafe {
            let mut context = (*pg_sys::TopMemoryContext).firstchild;
            while !context.is_null() && CStr::from_ptr((*context).name) != c"TopPortalContext" {
                context = (*context).nextchild;
            }
            TOP.set(context);
        }
    }
    TOP.get()
}
