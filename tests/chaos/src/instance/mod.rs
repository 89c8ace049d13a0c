//! A process of instances: it connects, works until it is told to be quiet, reads everything once more, and ends. What its work is stands
//! in `work` and `write`.

mod many;
mod work;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cachetier::{Invalidator, OnRestart, TieredCache};
use cachetier_tests::Reach as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::clock::Nanos;
use crate::database::Connection;
use crate::event::{Counts, Event, Record};
use crate::limits;
use work::{MARK, Work};

/// The namespace of every instance.
pub const NAMESPACE: &str = "chaos";
/// What a process is told, and what it answers: a byte each.
pub mod order {
    /// Stop working, and confirm what is pending.
    pub const QUIET: u8 = b'q';
    /// Read everything once more.
    pub const LAST: u8 = b'l';
    /// The answer to each. To the connection itself it is the number of the first instance.
    pub const DONE: u8 = b'.';
}

/// Between two looks at the counters.
const COUNTED_EACH: Duration = Duration::from_millis(200);
/// How long pending invalidations may take once everything is mended.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// What a process of instances is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Where the process that leads the run listens.
    pub socket: PathBuf,
    /// Where what happens is written.
    pub history: PathBuf,
    /// What everything is drawn from.
    pub seed: u64,
    /// The number of the first instance.
    pub first: u16,
    /// How many there are in all processes.
    pub of: u16,
    /// Whether they trust what a server has saved.
    pub trust: bool,
    /// When the run began: whose turn it is goes by that.
    pub begun: Nanos,
    /// The server's address for each of ours.
    pub urls: Vec<String>,
}

impl Orders {
    /// As arguments of a command line.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let (socket, history) = (self.socket.to_string_lossy().into_owned(), self.history.to_string_lossy().into_owned());
        let numbers =
            [self.seed.to_string(), self.first.to_string(), self.of.to_string(), self.trust.to_string(), self.begun.0.to_string()];
        [socket, history].into_iter().chain(numbers).chain(self.urls.iter().cloned()).collect()
    }

    /// Reads what [`Orders::arguments`] has written.
    #[must_use]
    pub fn read(arguments: &[String]) -> Option<Self> {
        let [socket, history, seed, first, of, trust, begun, urls @ ..] = arguments else { return None };
        Some(Self {
            socket: socket.into(),
            history: history.into(),
            seed: seed.parse().ok()?,
            first: first.parse().ok()?,
            of: of.parse().ok()?,
            trust: trust.parse().ok()?,
            begun: Nanos(begun.parse().ok()?),
            urls: urls.to_vec(),
        })
    }
}

/// Does what a process of instances does, from its begin to its end.
///
/// # Errors
/// When it cannot begin, or the process that leads the run is gone.
pub fn run(orders: &Orders) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(live(orders))
}

async fn live(orders: &Orders) -> Result<(), String> {
    let said = |what: &str| format!("instance {}: {what}", orders.first);
    let record = Arc::new(Record::create(&orders.history).map_err(|error| said(&format!("no history: {error}")))?);
    complain_of_panics(&record, orders.first);
    let connection = Arc::new(Connection::new(&orders.socket));
    let mut leader = connection.orders().await.map_err(|error| said(&format!("nobody leads: {error}")))?;

    cachetier::pause::begin(orders.seed ^ u64::from(orders.first));
    let quiet = Arc::new(AtomicBool::new(false));
    let (mut works, mut tasks) = (Vec::new(), JoinSet::new());
    for (number, url) in (orders.first..).zip(&orders.urls) {
        let handles =
            (cache(url, orders.trust).await.map_err(|error| said(&error))?, outside(url).await.map_err(|error| said(&error))?);
        let work = Work::new(number, orders, handles, &connection, &record, &quiet);
        work.begin(orders.seed, &mut tasks);
        works.push(work);
    }
    let counting = tokio::spawn(count(works.clone(), Arc::clone(&record)));
    let gone = |error: std::io::Error| said(&format!("the leader is gone: {error}"));
    leader.write_u16(orders.first).await.map_err(gone)?;
    loop {
        match leader.read_u8().await {
            Ok(order::QUIET) => {
                quiet.store(true, Ordering::Relaxed);
                while let Some(ended) = tasks.join_next().await {
                    if let Err(error) = ended {
                        record.add(&Event::Complaint { instance: orders.first, text: format!("a task of its work: {error}") });
                    }
                }
                for work in &works {
                    work.confirm(FLUSH_LIMIT).await;
                }
            }
            Ok(order::LAST) => {
                for work in &works {
                    work.read_all().await;
                    work.count();
                }
            }
            // Nobody leads any more.
            Ok(_) | Err(_) => break,
        }
        record.flush().map_err(|error| said(&format!("the history is cut off: {error}")))?;
        leader.write_u8(order::DONE).await.map_err(gone)?;
    }
    counting.abort();
    Ok(())
}

async fn cache(url: &str, trust: bool) -> Result<TieredCache, String> {
    let builder = TieredCache::builder(NAMESPACE).reach(url);
    let builder = builder.max_staleness(limits::MAX_STALENESS).load_limit(limits::LOAD_LIMIT);
    let builder = builder.lease(limits::LEASE).wait_budget(limits::WAIT_BUDGET).command_limit(limits::COMMAND_LIMIT);
    let builder = builder.read_limit(limits::READ_LIMIT).tag_cells(limits::CELLS).l1_max_entries(10_000);
    let builder = builder.guard_limit(limits::GUARD_LIMIT);
    let builder = builder.on_restart(if trust { OnRestart::Trust } else { OnRestart::BeginAnew });
    builder.build().await.map_err(|error| error.to_string())
}

async fn outside(url: &str) -> Result<Invalidator, String> {
    let builder = Invalidator::builder(NAMESPACE).reach(url);
    let builder = builder.command_limit(limits::COMMAND_LIMIT).tag_cells(limits::CELLS);
    builder.build().await.map_err(|error| error.to_string())
}

async fn count(works: Vec<Work>, record: Arc<Record>) {
    loop {
        works.iter().for_each(Work::count);
        // A process that is ended early leaves this much out.
        let _ = record.flush();
        tokio::time::sleep(COUNTED_EACH).await;
    }
}

impl Work {
    fn count(&self) {
        let stats = self.cache.stats();
        let counts = Counts {
            l1_hits: stats.l1_hits,
            l1_misses: stats.l1_misses,
            l2_hits: stats.l2_hits,
            l2_misses: stats.l2_misses,
            l2_faults: stats.l2_faults,
            loads: stats.loads,
            coalesced: stats.coalesced,
            fills: stats.fills,
            fills_refused: stats.fills_refused,
            fills_unanswered: stats.fills_unanswered,
            lane_lost: stats.lane_lost,
            lane_gaps: stats.lane_gaps,
            served_unproven: stats.served_unproven,
            suspects_same: stats.suspects_same,
            holds_lost: stats.holds_lost,
            retold: stats.retold,
        };
        self.record.add(&Event::Counts { instance: self.instance, at: Nanos::now(), counts });
    }

    async fn confirm(&self, limit: Duration) {
        for flushed in [self.cache.flush(limit).await, self.outside.flush(limit).await] {
            if let Err(error) = flushed {
                self.complain(format!("not confirmed at the end: {error}"));
            }
        }
    }
}

/// A panic anywhere in the process is a find, but for those that the loaders make: they call no hook.
fn complain_of_panics(record: &Arc<Record>, instance: u16) {
    let record = Arc::clone(record);
    std::panic::set_hook(Box::new(move |info| {
        let text = info.to_string();
        if !text.contains(MARK) {
            record.add(&Event::Complaint { instance, text });
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_back_from_a_command_line() {
        let orders = Orders {
            socket: "/s".into(),
            history: "/h".into(),
            seed: 7,
            first: 2,
            of: 4,
            trust: true,
            begun: Nanos(7),
            urls: vec!["redis://127.0.0.1:1/".to_owned(), "redis+unix:///p".to_owned()],
        };
        assert_eq!(Orders::read(&orders.arguments()), Some(orders));
        assert_eq!(Orders::read(&["/s".to_owned()]), None);
    }
}
