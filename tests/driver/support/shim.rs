//! A server on a bad machine: `shim.c` is compiled, preloaded into its processes, and told here what to do. It needs a C
//! compiler and no rights.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::cluster::{Cluster, OwnCluster};

/// The fields of `struct control`, in bytes from its beginning.
const CLOCK_US: u64 = 0;
const ROOM: u64 = 8;
const VICTIM: u64 = 16;
const UNTIL_FAULT: u64 = 24;
const FAULTS: u64 = 32;
const FOLDER: u64 = 40;
const SIZE: u64 = FOLDER + 4096;

/// What can be done to a server.
pub struct Shim {
    control: File,
}

impl Shim {
    /// A server of a test's own, whose machine fails when it is told to.
    pub fn cluster(settings: &[&str]) -> (OwnCluster, Self) {
        Self::initialised(settings, &[])
    }

    /// The same, with options for initdb.
    pub fn initialised(settings: &[&str], initdb: &[&str]) -> (OwnCluster, Self) {
        let library = library();
        let path = library.with_extension(format!("control{}", number()));
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .expect("a file to control it");
        control.set_len(SIZE).expect("its size");
        open_to_all(&path);
        let shim = Self { control };
        shim.disk_has_room();
        let environment = [
            ("LD_PRELOAD", library.display().to_string()),
            ("EN57_SHIM", path.display().to_string()),
        ];
        let cluster = Cluster::own_with(settings, initdb, &environment);
        (cluster, shim)
    }

    /// From now on the files below a folder can grow by so many bytes, and no more: its disk is full.
    pub fn fill_disk(&self, folder: &str, room: i64) {
        let folder = std::fs::canonicalize(folder).expect("the folder");
        let mut name = folder.display().to_string().into_bytes();
        name.push(0);
        self.control
            .write_all_at(&name, FOLDER)
            .expect("the folder is told");
        self.set(ROOM, room);
    }

    /// Files grow as they like.
    pub fn disk_has_room(&self) {
        self.set(ROOM, -1);
    }

    /// Sets the time of day forward, or back.
    pub fn shift_clock(&self, seconds: i64) {
        self.set(CLOCK_US, seconds * 1_000_000);
    }

    /// Lets a process get memory so many times; then it is refused once.
    pub fn refuse_memory(&self, pid: i32, after: i64) {
        self.set(FAULTS, 0);
        self.set(UNTIL_FAULT, after);
        self.set(VICTIM, i64::from(pid));
    }

    /// All get what they ask for; returns whether one was refused something.
    pub fn memory_is_back(&self) -> bool {
        self.set(VICTIM, 0);
        self.get(FAULTS) > 0
    }

    fn set(&self, field: u64, value: i64) {
        self.control
            .write_all_at(&value.to_ne_bytes(), field)
            .expect("the shim is told");
    }

    fn get(&self, field: u64) -> i64 {
        let mut bytes = [0; 8];
        self.control
            .read_exact_at(&mut bytes, field)
            .expect("the shim answers");
        i64::from_ne_bytes(bytes)
    }
}

fn number() -> u32 {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn open_to_all(path: &std::path::Path) {
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(path, all).expect("others may use it");
}

/// The compiled shim, in a folder that goes when the driver ends.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let compile = || {
        let folder = Cluster::scratch_folder();
        let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
        std::fs::write(&source, include_str!("shim.c")).expect("the source");
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status()
            .expect("the C compiler cc is needed for this test");
        assert!(done.success(), "cc compiles shim.c");
        open_to_all(&library);
        library
    };
    LIBRARY.get_or_init(compile).clone()
}
