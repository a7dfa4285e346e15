//! Servers of our own: initdb, start, stop, crash. No TCP address, data in a temporary folder, and
//! gone when the driver is, however it ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

use super::session::Session;

/// Nothing that a test awaits may take longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server.
pub struct Cluster {
    folder: PathBuf,
    /// Stops the server and removes its folder as soon as our end of its standard input is closed.
    guardian: Child,
    databases: Mutex<u32>,
    /// Where its programs are.
    bin: String,
    /// What its processes have in their environment.
    environment: Vec<(&'static str, String)>,
}

/// A database of a cluster, with the extension.
pub struct Database {
    pub cluster: &'static Cluster,
    pub name: String,
}

impl Cluster {
    /// The server that most tests share. Its settings are PostgreSQL's defaults but for what is said here.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            Self::new(&["max_prepared_transactions = 5", "max_worker_processes = 40"])
        })
    }

    /// A new server, started.
    pub fn new(settings: &[&str]) -> Self {
        Self::new_with(settings, &[], &[])
    }

    /// A folder's name that nobody has used.
    fn new_folder() -> PathBuf {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let parent = std::env::var("TMPDIR").unwrap_or_else(|_| "/tmp".into());
        PathBuf::from(parent).join(format!("en57-{}-{number}", std::process::id()))
    }

    fn new_with(
        settings: &[&str],
        options: &[&str],
        environment: &[(&'static str, String)],
    ) -> Self {
        let cluster = Self::prepared(&bindir(), environment);
        let data = cluster.data();
        let initdb = [
            "initdb",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
            "-D",
            &data,
        ];
        succeed(&mut as_server(&cluster.bin, &[&initdb, options].concat()));
        cluster.configure(settings);
        cluster.start();
        cluster
    }

    /// A server without data.
    fn prepared(bin: &str, environment: &[(&'static str, String)]) -> Self {
        let folder = Self::new_folder();
        let mut install = Command::new("install");
        install.args(["-d", "-m", "700"]);
        if let Some(user) = server_user() {
            install.args(["-o", user]);
        }
        succeed(install.arg(&folder));
        Self {
            guardian: guardian(bin, &folder),
            bin: bin.to_owned(),
            folder,
            databases: Mutex::new(0),
            environment: environment.to_vec(),
        }
    }

    /// Adds what all servers of the tests have to its configuration, and more settings.
    fn configure(&self, settings: &[&str]) {
        let socket = self.folder.display();
        let mut lines = format!(
            "listen_addresses = ''\nunix_socket_directories = '{socket}'\nmax_connections = 100\nfsync = off\n\
             shared_buffers = 128MB\nlog_min_messages = log\n"
        );
        settings.iter().for_each(|s| lines += &format!("{s}\n"));
        self.write("cat >> \"$1/data/postgresql.conf\"", lines.as_bytes());
    }

    /// Runs a shell script of the server's user with an input; `$1` is the server's folder.
    fn write(&self, script: &str, input: &[u8]) {
        let folder = self.folder();
        let mut child = as_user(&["sh", "-c", script, "sh", &folder])
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh runs");
        io::Write::write_all(&mut child.stdin.take().expect("a pipe"), input)
            .expect("it is written");
        assert!(child.wait().expect("sh ends").success());
    }

    /// A server whose data are a copy that `fill` makes in the folder that it is given, not started yet.
    pub fn copied(settings: &[&str], fill: impl FnOnce(&str)) -> OwnCluster {
        Self::copied_to(&bindir(), settings, fill)
    }

    /// The same for a PostgreSQL whose programs are elsewhere.
    pub fn copied_to(bin: &str, settings: &[&str], fill: impl FnOnce(&str)) -> OwnCluster {
        let cluster = Self::prepared(bin, &[]);
        fill(&cluster.data());
        cluster.configure(settings);
        OwnCluster(Box::leak(Box::new(cluster)))
    }

    /// More settings, from the next start on.
    pub fn set(&self, settings: &[&str]) {
        self.configure(settings);
    }

    /// An empty file in the folder of its data.
    pub fn touch(&self, file: &str) {
        self.write(&format!("touch \"$1/data/{file}\""), b"");
    }

    /// The folder of its data.
    pub fn data(&self) -> String {
        format!("{}/data", self.folder.display())
    }

    pub fn start(&self) {
        assert!(
            self.try_start(),
            "the server did not start:\n{}",
            self.log()
        );
    }

    /// Starts it; whether it came up.
    pub fn try_start(&self) -> bool {
        let (data, log) = (self.data(), format!("{}/log", self.folder.display()));
        as_server(
            &self.bin,
            &["pg_ctl", "start", "-s", "-w", "-D", &data, "-l", &log],
        )
        .envs(self.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("pg_ctl runs")
        .success()
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        as_server(&self.bin, &["pg_ctl", "status", "-s", "-D", &self.data()])
            .stdout(Stdio::null())
            .status()
            .expect("pg_ctl runs")
            .success()
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        succeed(&mut as_server(
            &self.bin,
            &["pg_ctl", "promote", "-s", "-w", "-D", &self.data()],
        ));
    }

    /// Stops it; `mode` is pg_ctl's.
    pub fn stop(&self, mode: &str) {
        succeed(&mut as_server(
            &self.bin,
            &["pg_ctl", "stop", "-s", "-w", "-m", mode, "-D", &self.data()],
        ));
    }

    /// The server's log.
    pub fn log(&self) -> String {
        let log = format!("{}/log", self.folder.display());
        let output = as_user(&["cat", &log]).output().expect("cat runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A connection, if there is one to be had now.
    pub fn try_connect(&self, database: &str) -> Result<Client, postgres::Error> {
        Config::new()
            .host_path(&self.folder)
            .user("postgres")
            .dbname(database)
            .connect_timeout(PATIENCE)
            .connect(NoTls)
    }

    /// A connection; waits while the server starts or recovers.
    pub fn connect(&self, database: &str) -> Session {
        let mut last = None;
        let connected = until(|| match self.try_connect(database) {
            Ok(client) => Some(client),
            Err(error) => {
                last = Some(error);
                None
            }
        });
        match connected {
            Some(client) => Session::new(client),
            None => panic!("cannot connect to {database}: {last:?}\n{}", self.log()),
        }
    }

    /// A new database without the extension.
    pub fn bare_database(&'static self) -> Database {
        let mut number = self.databases.lock().unwrap_or_else(|e| e.into_inner());
        *number += 1;
        let name = format!("t{number}");
        self.connect("postgres")
            .run(&format!("CREATE DATABASE {name}"));
        Database {
            cluster: self,
            name,
        }
    }

    /// A new database with the extension.
    pub fn database(&'static self) -> Database {
        let database = self.bare_database();
        database.connect().run("CREATE EXTENSION en57");
        database
    }

    /// Lives as long as the driver; for tests that want a server of their own. Its end is the guardian's work.
    pub fn own(settings: &[&str]) -> OwnCluster {
        OwnCluster(Box::leak(Box::new(Self::new(settings))))
    }

    /// The same with options for initdb, and an environment for its processes.
    pub fn own_with(
        settings: &[&str],
        initdb: &[&str],
        environment: &[(&'static str, String)],
    ) -> OwnCluster {
        OwnCluster(Box::leak(Box::new(Self::new_with(
            settings,
            initdb,
            environment,
        ))))
    }

    /// A folder for whatever a test needs, which goes when the driver ends.
    pub fn scratch_folder() -> PathBuf {
        static SCRATCH: OnceLock<Cluster> = OnceLock::new();
        let folder = &SCRATCH
            .get_or_init(|| Self::prepared(&bindir(), &[]))
            .folder;
        succeed(Command::new("chmod").arg("755").arg(folder));
        folder.clone()
    }

    /// Runs a client program of PostgreSQL with a shell, `$BIN` standing for the folder of programs.
    pub fn shell(&self, script: &str) -> String {
        self.try_shell(script)
            .unwrap_or_else(|told| panic!("{told}"))
    }

    /// The same, or what it told of its failure.
    pub fn try_shell(&self, script: &str) -> Result<String, String> {
        let bin = &self.bin;
        let output = as_user(&["sh", "-c", &format!("set -e; BIN='{bin}'; {script}")])
            .env("PGHOST", &self.folder)
            .env("PGUSER", "postgres")
            .output()
            .expect("sh runs");
        shown(&output, script)
    }

    pub fn folder(&self) -> String {
        self.folder.display().to_string()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}

/// A test's own server: stopped and removed when dropped, so nothing of it may be used longer.
pub struct OwnCluster(&'static Cluster);

impl std::ops::Deref for OwnCluster {
    type Target = &'static Cluster;
    fn deref(&self) -> &&'static Cluster {
        &self.0
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.0.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the server's log ends with:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        if self.0.is_up() {
            self.0.stop("immediate");
        }
    }
}

impl Database {
    /// So few key locks stand for batches that have too many.
    pub fn with_few_key_locks(self) -> Self {
        let sql = format!("ALTER DATABASE {} SET en57.max_key_locks = 64", self.name);
        self.connect().run(&sql);
        self
    }

    pub fn connect(&self) -> Session {
        self.cluster.connect(&self.name)
    }
}

/// Asks again and again until there is an answer, or patience is over.
pub fn until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if start.elapsed() > PATIENCE {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until something holds.
pub fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    assert!(
        until(|| holds().then_some(())).is_some(),
        "waited in vain until {what}"
    );
}

/// Lets the other threads end when this one does, also when something has failed.
pub struct End<'a>(pub &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn guardian(bin: &str, folder: &std::path::Path) -> Child {
    let script =
        "cat >/dev/null; \"$1/pg_ctl\" stop -s -w -m immediate -D \"$2/data\"; rm -rf \"$2\"";
    as_user(&[
        "sh",
        "-c",
        script,
        "guardian",
        bin,
        &folder.display().to_string(),
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .process_group(0)
    .spawn()
    .expect("sh runs")
}

/// Where PostgreSQL's programs are: `EN57_BINDIR`, or what `pg_config` says.
pub fn bindir() -> String {
    static BINDIR: OnceLock<String> = OnceLock::new();
    let ask = || {
        std::env::var("EN57_BINDIR").unwrap_or_else(|_| {
            succeed(Command::new("pg_config").arg("--bindir"))
                .trim()
                .into()
        })
    };
    BINDIR.get_or_init(ask).clone()
}

/// The user who runs the servers, where it is not ourselves: PostgreSQL refuses to run as root.
fn server_user() -> Option<&'static str> {
    static USER: OnceLock<Option<&str>> = OnceLock::new();
    *USER.get_or_init(|| {
        let is_root = succeed(Command::new("id").arg("-u")).trim() == "0";
        let has_postgres = || {
            Command::new("id")
                .arg("postgres")
                .output()
                .is_ok_and(|o| o.status.success())
        };
        is_root.then(|| if has_postgres() { "postgres" } else { "nobody" })
    })
}

/// A command of the user who runs the servers.
pub fn as_user(command: &[&str]) -> Command {
    let mut result = match server_user() {
        Some(user) => {
            let mut runuser = Command::new("runuser");
            runuser.args(["-u", user, "--"]).args(command);
            runuser
        }
        None => {
            let mut plain = Command::new(command[0]);
            plain.args(&command[1..]);
            plain
        }
    };
    // A backtrace must not reach clients, whatever the environment says.
    result.current_dir("/").env("RUST_BACKTRACE", "1");
    // The servers and their clients are found by their folder alone.
    for variable in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS"] {
        result.env_remove(variable);
    }
    result
}

fn as_server(bin: &str, command: &[&str]) -> Command {
    let program = format!("{bin}/{}", command[0]);
    let mut all = vec![program.as_str()];
    all.extend(&command[1..]);
    as_user(&all)
}

fn succeed(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    shown(&output, &format!("{command:?}")).unwrap_or_else(|told| panic!("{told}"))
}

/// What a program has written, or why it failed. Its own words come first: a message may be cut off.
fn shown(output: &Output, what: &str) -> Result<String, String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{errors}{} of {what}\n{text}", output.status))
}

/// Kills the first process of a server as nothing but the system would: it cannot do anything more. Of all others
/// `Cluster::kill_backend` takes care.
pub fn kill_postmaster(pid: i32) {
    let status = as_user(&["sh", "-c", &format!("kill -9 {pid}")])
        .status()
        .expect("kill runs");
    assert!(status.success());
}
