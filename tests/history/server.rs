//! How the processes of clients find the server, and know when the run is over.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use postgres::{Client, Config, Error, NoTls};

/// Where the server listens, and until when there is something to do.
pub struct Server {
    pub socket: PathBuf,
    pub deadline: Instant,
}

impl Server {
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// A connection; waits while the server restarts. None when the time is over.
    pub fn connect(&self) -> Option<Client> {
        while !self.is_over() {
            let mut config = Config::new();
            config
                .host_path(&self.socket)
                .user("postgres")
                .dbname("history");
            if let Ok(client) = config
                .connect_timeout(Duration::from_secs(5))
                .connect(NoTls)
            {
                return Some(client);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

/// The SQLSTATE of an error; empty where the connection broke.
pub fn state(error: &Error) -> &str {
    error.code().map_or("", |c| c.code())
}

/// Whether an error says that the connection, or the server, is gone: whether something is stored is unknown then.
pub fn broken(error: &Error) -> bool {
    match state(error) {
        "" => true,
        // admin_shutdown, crash_shutdown, cannot_connect_now, and connection exceptions
        code => code.starts_with("57P0") || code.starts_with("08"),
    }
}
