//! A server that is killed and restored again and again under load: what the process holds must not grow.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cachetier_tests::{Proxy, RedisServer};

use crate::figures::Wrong;
use crate::service::{INSTANCES, Keys, Service};

/// How long the server is there, and how long it is not.
const EACH: Duration = Duration::from_secs(5);

/// What the process holds at a moment when all is well.
#[derive(Clone, Copy, Debug)]
struct Holds {
    /// Resident memory, in KiB.
    memory: u64,
    tasks: usize,
    files: usize,
    /// Connections to the server.
    connections: usize,
    /// Loads that run, and calls that wait.
    flights: u64,
}

impl Holds {
    fn now(service: &Service) -> Result<Self, String> {
        let connections = service.proxies.iter().map(|proxy| proxy.count(cachetier_tests::Which::All)).sum();
        Ok(Self {
            memory: resident()?,
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            files: std::fs::read_dir("/proc/self/fd").map_err(|error| error.to_string())?.count(),
            connections,
            flights: service.stat(|stats| stats.flights),
        })
    }

    fn line(&self) -> String {
        let Self { memory, tasks, files, connections, flights } = self;
        format!("{memory:>8} KiB {tasks:>6} tasks {files:>5} files {connections:>5} connections {flights:>4} loads")
    }
}

/// What `/proc` says of this process.
pub(crate) fn resident() -> Result<u64, String> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    line.trim().trim_end_matches("kB").trim().parse().map_err(|_| "VmRSS is no number".to_owned())
}

/// Kills and restores the server for so long, a line each minute.
pub(crate) async fn run(seconds: u64) -> Result<(), String> {
    let mut server = RedisServer::builder().try_start()?;
    let keys = Arc::new(Keys::new(1.0));
    let service = Service::start(&server, |builder| builder).await?;
    let (mut lines, mut errors, mut requests, mut rounds) = (Vec::new(), 0, 0, 0_u64);
    let all = seconds / (2 * EACH.as_secs());
    // Also what was there before the first outage is not what is there after it: buffers grow to their size once.
    for round in 0..=all {
        let samples = service.serve(&keys, EACH).await;
        requests += samples.len();
        errors += samples.iter().filter(|sample| sample.failed.is_some()).count();
        if all < 12 || round % 6 == 0 || round == all {
            let holds = Holds::now(&service)?;
            println!("{:>5} s  {}", round * 2 * EACH.as_secs(), holds.line());
            lines.push(holds);
        }
        if round == all {
            break;
        }
        server.kill();
        service.proxies.iter().for_each(|proxy| proxy.refuse(true));
        let samples = service.serve(&keys, EACH).await;
        requests += samples.len();
        errors += samples.iter().filter(|sample| sample.failed.is_some()).count();
        server.restart();
        service.proxies.iter().for_each(Proxy::restore);
        rounds += 1;
    }
    println!("{requests} requests, {rounds} outages");
    let mut wrong = Wrong::default();
    wrong.must(errors == 0, format!("{errors} errors, expected 0"));
    let (Some(first), Some(last)) = (lines.get(1), lines.last()) else { return Err("too short to compare anything".to_owned()) };
    // What a minute of outages has made of it, and what all have.
    wrong.must(
        last.memory <= first.memory + first.memory / 10 + 4_096,
        format!("memory {} KiB, expected at most a tenth and 4 MiB above {} KiB", last.memory, first.memory),
    );
    wrong.must(last.tasks <= first.tasks + 8, format!("{} tasks, expected about {}", last.tasks, first.tasks));
    wrong.must(last.files <= first.files + 8, format!("{} files, expected about {}", last.files, first.files));
    let most = INSTANCES * 3;
    wrong.must(last.connections <= most, format!("{} connections, expected at most {most}", last.connections));
    for cache in &service.caches {
        let _ = cache.close(Duration::from_secs(1)).await;
    }
    wrong.outcome()
}
