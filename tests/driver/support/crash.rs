//! A backend that is killed, and what that does to the server: PostgreSQL ends all its processes, makes shared memory
//! anew, and recovers. Until its first process notices, it goes on taking connections, and breaks them a moment later.
//! So nobody may go on before that is over.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, PATIENCE, as_user, await_that, until};

/// How long the server takes at most to write down how a process ended that is gone already.
const TO_BE_NOTED: Duration = Duration::from_secs(5);

/// How often a base backup is tried that a crash has cut short.
const BACKUPS: usize = 5;

impl Cluster {
    /// Kills a backend, or another process of the server, and waits until the server has restarted for it. Returns whether
    /// it has: the process may have ended by itself before the signal came.
    pub fn kill_backend(&self, pid: i32) -> bool {
        let killed = format!("(PID {pid}) was terminated by signal 9");
        let noted = |what: &str| self.log().matches(what).count();
        // Earlier crashes have left the same words.
        const ANEW: &str = "all server processes terminated; reinitializing";
        const READY: &str = "database system is ready to accept";
        let before = [noted(&killed), noted(ANEW), noted(READY)];
        if !signal("-9", pid) {
            return false;
        }
        // A zombie is still there: its parent has not asked yet how it ended.
        await_that("the killed process is gone", || !signal("-0", pid));
        let gone = Instant::now();
        let is_crash = until(|| match noted(&killed) > before[0] {
            true => Some(true),
            false => (gone.elapsed() > TO_BE_NOTED).then_some(false),
        });
        if is_crash != Some(true) {
            return false;
        }
        await_that("the server begins anew", || noted(ANEW) > before[1]);
        await_that("the server is ready again", || noted(READY) > before[2]);
        true
    }

    /// Copies the server's data to a folder with pg_basebackup. A crash that has cut it short is no failure: then it tries
    /// again, a few times. Any other failure is one, and its first words are those of pg_basebackup.
    pub fn base_backup(&self, data: &str, options: &str) {
        let script = format!("$BIN/pg_basebackup -D '{data}' {options}");
        for left in (0..BACKUPS).rev() {
            let Err(told) = self.try_shell(&script) else {
                return;
            };
            let is_crash = [
                "in recovery mode",
                "because of crash of another server process",
            ]
            .iter()
            .any(|m| told.contains(m));
            assert!(left > 0 && is_crash, "{told}");
            let recovered = until(|| self.try_connect("postgres").ok());
            assert!(recovered.is_some(), "after {PATIENCE:?} still: {told}");
        }
    }
}

/// Sends a signal to a process of a server, if it is there.
fn signal(signal: &str, pid: i32) -> bool {
    as_user(&["kill", signal, &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
