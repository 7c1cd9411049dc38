//! How fast the functions start and how little they need, as a table; `bench/lambda` runs it on release binaries.
//! It must never judge: what a figure is worth depends on the machine, and whoever reads it knows that.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::cloud::{ADMIN_KEY, CLIENT_KEY, Cloud};
use crate::runtime::Function;
use crate::{event, request};

/// Cold starts of each function, and warm invocations of the last one.
const STARTS: usize = 9;
const WARM: u32 = 200;

struct Measured {
    first_poll: Duration,
    first: Duration,
    warm: Duration,
    /// The function's own, of one warm invocation.
    cpu: Duration,
    rss_kib: u64,
}

fn events() -> Vec<(&'static str, Value)> {
    vec![
        ("auth", event("authorizer.json")),
        ("dialout", event("proxy_stage.json")),
        ("calls", request("GET", "/api/v1/calls/0190a5f0-0000-7000-8000-000000000001", Some(CLIENT_KEY))),
        ("admin", request("GET", "/api/v1/admin/bots/bot-1", Some(ADMIN_KEY))),
        ("fleet_health", request("GET", "/health/fleet", None)),
        ("docs", request("GET", "/openapi.json", None)),
        ("analyze", event("sqs.json")),
        ("push", event("sqs.json")),
        ("sweep", event("schedule.json")),
        ("reap", event("schedule.json")),
        ("retain", event("schedule.json")),
    ]
}

/// All threads' time on a processor so far.
fn cpu(id: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        let schedstat = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
        schedstat.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn rss_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

async fn measure(program: &Path, cloud: &Cloud, event: &Value) -> Measured {
    let (mut first_polls, mut firsts) = (Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..STARTS {
        let begun = Instant::now();
        let mut function = Function::start(program, &cloud.environment()).await;
        function.asks(1).await;
        first_polls.push(begun.elapsed());
        let begun = Instant::now();
        function.invoke(event).await.unwrap();
        firsts.push(begun.elapsed());
        function.asks(2).await;
        last = Some(function);
    }
    let mut function = last.unwrap();
    let id = function.child.id().unwrap();
    let (before, mut warm) = (cpu(id), Vec::new());
    for number in 0..WARM {
        let begun = Instant::now();
        function.invoke(event).await.unwrap();
        warm.push(begun.elapsed());
        function.asks(u64::from(number) + 3).await;
    }
    let cpu = (cpu(id) - before) / WARM;
    Measured { first_poll: median(first_polls), first: median(firsts), warm: median(warm), cpu, rss_kib: rss_kib(id) }
}

fn zipped(binary: &[u8]) -> usize {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("bootstrap", SimpleFileOptions::default()).unwrap();
    zip.write_all(binary).unwrap();
    zip.finish().unwrap().into_inner().len()
}

/// The folder of cargo-lambda's binaries.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os("RINGFLEET_LAMBDA_BINARIES").map(PathBuf::from)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a bench: bench/lambda runs it"]
async fn bench() {
    let binaries = folder().expect("RINGFLEET_LAMBDA_BINARIES names the folder of cargo-lambda's binaries");
    let data = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(data.path()).await;
    cloud.open_server().await;
    let mut table = "| function | first poll, ms | first invoke, ms | warm, ms | own CPU warm, ms | RSS, MiB | binary, MiB | zipped, MiB |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    for (name, event) in events() {
        let program = binaries.join(name).join("bootstrap");
        let binary = std::fs::read(&program).unwrap();
        let measured = measure(&program, &cloud, &event).await;
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let mib = |bytes: usize| bytes as f64 / 1024.0 / 1024.0;
        let Measured { first_poll, first, warm, cpu, rss_kib } = measured;
        table.push_str(&format!(
            "| {name} | {:.1} | {:.1} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} |\n",
            ms(first_poll),
            ms(first),
            ms(warm),
            ms(cpu),
            rss_kib as f64 / 1024.0,
            mib(binary.len()),
            mib(zipped(&binary)),
        ));
    }
    std::io::stdout().write_all(table.as_bytes()).unwrap();
}

/// Runs where `tests/run --aws` has built them.
#[test]
fn each_binary_is_below_eight_megabytes_zipped() {
    let Some(folder) = folder() else { return };
    for (name, _) in events() {
        let binary = std::fs::read(folder.join(name).join("bootstrap")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let size = zipped(&binary);
        assert!(size < 8_000_000, "{name} takes {size} bytes zipped");
    }
}
