//! How the processes of clients find the server, and know when the run is over.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postgres::{Client, Config, Error, NoTls};

/// Where the server is found, and until when there is something to do.
pub struct Server {
    /// The folder of the logs. A file there names the folder in which the primary listens: it is another one after a
    /// promotion.
    pub folder: PathBuf,
    pub deadline: Instant,
}

/// Who may take the risk of losing what was acknowledged holds this file's lock as a reader; who needs that nothing is
/// lost, as a writer.
pub struct Risk(#[allow(dead_code)] File);

impl Risk {
    /// None while a promotion is being made ready.
    pub fn take(folder: &Path) -> Option<Self> {
        if folder.join("no risk").exists() {
            return None;
        }
        let file = File::open(folder.join("risk")).ok()?;
        file.try_lock_shared().ok()?;
        Some(Self(file))
    }

    /// Waits until nobody takes it, and then nobody can.
    pub fn forbid(folder: &Path) -> Self {
        // Else those who take it would not let the writer in.
        File::create(folder.join("no risk")).expect("the folder can be written");
        let file = File::open(folder.join("risk")).expect("a file for the lock");
        file.lock().expect("the file can be locked");
        Self(file)
    }

    /// From now on it may be taken.
    pub fn allow(folder: &Path) {
        File::create(folder.join("risk")).expect("a file for the lock");
        let _ = std::fs::remove_file(folder.join("no risk"));
    }
}

/// Says where the primary listens.
pub fn announce(folder: &Path, socket: &str) {
    let (new, name) = (folder.join("primary.new"), folder.join("primary"));
    std::fs::write(&new, socket).expect("the folder can be written");
    std::fs::rename(new, name).expect("the folder can be written");
}

impl Server {
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// A connection; waits while the server restarts. None when the time is over.
    pub fn connect(&self) -> Option<Client> {
        while !self.is_over() {
            let socket = std::fs::read_to_string(self.folder.join("primary"));
            let mut config = Config::new();
            config
                .host_path(socket.expect("the primary was announced"))
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
        // idle_in_transaction_session_timeout, admin_shutdown, crash_shutdown, cannot_connect_now, and connection exceptions
        code => code == "25P03" || code.starts_with("57P0") || code.starts_with("08"),
    }
}
