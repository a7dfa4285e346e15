//! What only real connections can show: races, crashes, restores, and answers compared with the domain's
//! own matching. The servers are the driver's own, see `cluster`.
//!
//! `EN57_BINDIR`      PostgreSQL's programs; by default what `pg_config --bindir` says
//! `EN57_TEST_SCALE`  how much longer than usual the tests run, 1 by default
//! `EN57_TEST_SEED`   the seed of the random data, printed by every run that was given none

#[allow(dead_code)]
#[path = "../../src/dcb/mod.rs"]
mod dcb;

mod cluster;
mod crew;
mod model;
mod random;
mod session;

mod check;
mod checkpoint;
mod crash;
mod damage;
mod deadlock;
mod decide;
mod dump;
mod erase;
mod errors;
mod escalation;
mod examples;
mod folds;
mod frontier;
mod fuzz;
mod invariants;
mod inventory;
mod leaves;
mod memory;
mod monotone;
mod oracle;
mod partitions;
mod polling;
mod pool;
mod prepare;
mod project;
mod race;
mod rebuild;
mod rebuild_end;
mod rebuild_files;
mod reindex;
mod repeat;
mod replica;
mod restart;
mod restore;
mod status;
mod streams;
mod streams_at_once;
mod subscribe;
mod truncate;
mod wait;
mod worker;
mod worker_life;
mod worker_notify;
