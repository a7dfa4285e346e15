//! What only real connections can show: races, crashes, restores, and answers compared with the domain's
//! own matching. The servers are the driver's own, see `support/cluster.rs`.
//!
//! `EN57_BINDIR`      PostgreSQL's programs; by default what `pg_config --bindir` says
//! `EN57_TEST_SCALE`  how much longer than usual the tests run, 1 by default
//! `EN57_TEST_SEED`   the seed of the random data, printed by every run that was given none

use en57_tests::dcb;

mod support;

mod append_races;
mod append_repeated;
mod backend_crash;
mod check_files;
mod check_rows;
mod clock;
mod connection_pool;
mod deadlocks;
mod deciders;
mod disk_full;
mod dump_and_restore;
mod erase_under_load;
mod error_location;
mod examples_retry;
mod fold_snapshots;
mod frontier_is_local;
mod frontier_monotone;
mod fuzz;
mod index_leaves;
mod invariants_under_load;
mod inventory;
mod key_locks;
mod load_interrupted;
mod lock_escalation;
mod lock_table;
mod logical_replica;
mod many_connections;
mod many_requests;
mod matching_oracle;
mod memory;
mod moved_by_dump;
mod out_of_memory;
mod partitions;
mod pg_upgrade;
mod point_in_time;
mod positions_after_restart;
mod projections_under_load;
mod promotion;
mod rebuild_by_files;
mod rebuild_interrupted;
mod rebuild_under_load;
mod reindex_concurrently;
mod restore_default_partition;
mod safe_checkpoint;
mod shared_memory_small;
mod smith;
mod statistics;
mod stream_versions;
mod streams_in_one_append;
mod subscription_delivery;
mod subscription_polling;
mod torn_page;
mod truncate;
mod two_phase_commit;
mod versions_mixed;
mod wait_for_events;
mod worker;
mod worker_life;
mod worker_notify;
