//! Runs a workload of the Event Store Benchmark Suite against one store that is there already, and prints a line a run:
//! workload, store, workers, events a second, p50 and p99 in microseconds, errors.
//!
//! The suite starts its stores in Docker. Here run.sh starts them as processes, and says where they are.

mod postgres;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bench_core::metrics::WorkloadResults;
use bench_core::workloads::performance::{PerformanceMode, StoreValue, WorkloadConfig};
use bench_core::{EventStoreAdapter, PerformanceWorkload, StoreManager, WorkloadRunner};
use postgres::{En57, Insert};
use py_eventsourcing::PostgresDCBRecorderTT;
use py_eventsourcing_adapter::PyEventsourcingAdapter;
use serde::Deserialize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use umadb_adapter::UmaDbAdapter;

/// The clients of a running store. Those with a pool share it.
enum Clients {
    En57(deadpool_postgres::Pool),
    Insert(deadpool_postgres::Pool),
    Postgres(PostgresDCBRecorderTT),
    UmaDb(String),
}

struct Running {
    name: &'static str,
    clients: Clients,
}

impl Running {
    /// Connects to the store and creates its tables, but for the indexes of `reads` where there are none.
    async fn connect(store: &str, uri: &str, reads: bool) -> Result<Self> {
        Ok(match store {
            "en57" => {
                let pool = postgres::pool(uri)?;
                postgres::create(&pool, En57::SCRIPT).await?;
                Running {
                    name: "en57",
                    clients: Clients::En57(pool),
                }
            }
            "insert" => {
                let pool = postgres::pool(uri)?;
                postgres::create(&pool, Insert::SCRIPT).await?;
                if reads {
                    postgres::create(&pool, Insert::FOR_READS).await?;
                }
                Running {
                    name: "insert",
                    clients: Clients::Insert(pool),
                }
            }
            "postgres-dcb-ttcte" => {
                let recorder = PostgresDCBRecorderTT::connect(uri, "public").await?;
                recorder.create_tables().await?;
                Running {
                    name: "postgres-dcb-ttcte",
                    clients: Clients::Postgres(recorder),
                }
            }
            "umadb" => Running {
                name: "umadb",
                clients: Clients::UmaDb(uri.into()),
            },
            _ => bail!("there is no store {store}"),
        })
    }
}

#[async_trait]
impl StoreManager for Running {
    fn use_docker(&self) -> bool {
        false
    }
    async fn start(&mut self) -> Result<()> {
        Ok(())
    }
    async fn pull(&mut self) -> Result<()> {
        Ok(())
    }
    async fn stop(&mut self) -> Result<()> {
        Ok(())
    }
    fn container_id(&self) -> Option<String> {
        None
    }
    fn set_memory_limit(&mut self, _limit_mb: Option<u64>) {}
    fn set_docker_platform(&mut self, _platform: Option<String>) {}
    fn name(&self) -> &'static str {
        self.name
    }
    async fn create_adapter(&mut self) -> Result<Arc<dyn EventStoreAdapter>> {
        Ok(match &self.clients {
            Clients::En57(pool) => Arc::new(En57(pool.clone())),
            Clients::Insert(pool) => Arc::new(Insert(pool.clone())),
            Clients::Postgres(recorder) => {
                Arc::new(PyEventsourcingAdapter::with_recorder(recorder.clone()))
            }
            Clients::UmaDb(uri) => Arc::new(UmaDbAdapter::new(uri.clone()).await?),
        })
    }
    async fn logs(&self) -> Result<String> {
        Ok(String::new())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, store, uri] = &arguments[..] else {
        bail!("usage: CONFIG STORE URI")
    };
    let text = std::fs::read_to_string(config).with_context(|| config.clone())?;
    for document in serde_yaml::Deserializer::from_str(&text) {
        let Some(mut config) = WorkloadConfig::deserialize(document)?.performance else {
            continue;
        };
        config.stores = StoreValue::Single(store.clone());
        let workload = config.name.clone();
        for run in config.expand() {
            let reads = matches!(run.mode, PerformanceMode::Read);
            let workers = run.concurrency.writers.first() + run.concurrency.readers.first();
            let seconds = run.duration_seconds as f64;
            let running = Running::connect(store, uri, reads).await?;
            let runner = WorkloadRunner::Performance(PerformanceWorkload::from_config(run, 42)?);
            let results = runner
                .execute(Box::new(running), CancellationToken::new())
                .await?;
            let WorkloadResults::Performance(results) = results.workload_results else {
                bail!("no figures")
            };
            let latency = |percentile: f64| {
                let near = |p: f64| (p - percentile).abs();
                let found = results.store_latency_percentiles.iter();
                let found = found.min_by(|a, b| near(a.percentile).total_cmp(&near(b.percentile)));
                found.map_or(0.0, |p| p.latency_ns as f64 / 1e3)
            };
            let errors: u64 = results
                .operation_error_samples
                .iter()
                .map(|s| s.count)
                .sum();
            let done: u64 = results.throughput_samples.iter().map(|s| s.count).sum();
            let rate = done as f64 / seconds;
            println!(
                "result {workload} {store} {workers} {rate:.1} {:.0} {:.0} {errors}",
                latency(50.0),
                latency(99.0)
            );
        }
    }
    Ok(())
}
