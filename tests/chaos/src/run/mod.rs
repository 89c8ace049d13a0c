//! A run from its begin to its history: the server, the proxies, the processes, the hands that make the faults, and the quiet at the end.
//! What the history must show is the checker's.

mod cluster_hand;
mod fleet;
mod network_hand;
mod sentinel_hand;
mod server_hand;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cachetier_tests::{Cluster, Owned, Proxy, RedisServer, Reply, Sentinels, eventually, lanes_in_cluster};
use tokio::runtime::Runtime;

use crate::clock::Nanos;
use crate::event::{self, Ending, Event, Fault, Record, Span};
use crate::instance::{NAMESPACE, order};
use crate::limits::{CELLS, LAST_REST, MAX_STALENESS, PLAIN_WITHIN};
use crate::plan::{Hand, Kind, Over, Planned, Scenario, ServerClock, plan};
use cluster_hand::ClusterHand;
use fleet::Fleet;
use network_hand::NetworkHand;
use sentinel_hand::SentinelHand;
use server_hand::ServerHand;

/// From the end of the work to the last reads.
const QUIET: Duration = MAX_STALENESS.saturating_add(Duration::from_secs(1));

/// How the instances are spread over processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Four processes, each an instance.
    Processes,
    /// One process of sixteen.
    OneProcess,
}

impl Spread {
    /// How many instances there are.
    #[must_use]
    pub fn instances(self) -> u16 {
        match self {
            Self::Processes => 4,
            Self::OneProcess => 16,
        }
    }

    /// How many of them a process has.
    #[must_use]
    pub fn each(self) -> u16 {
        match self {
            Self::Processes => 1,
            Self::OneProcess => 16,
        }
    }
}

/// What a run is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How long it takes, its begin and its check left out.
    pub length: Duration,
    /// What everything is drawn from.
    pub seed: u64,
    /// Which faults are made.
    pub scenario: Scenario,
    /// Whether the server's clock can be stepped.
    pub clock: ServerClock,
    /// Where the instances live.
    pub spread: Spread,
}

/// Names libfaketime to a run.
const FAKETIME: &str = "CACHETIER_FAKETIME";

/// The library that steps the server's clock, if there is one.
///
/// # Errors
/// When one is named and is not there.
pub fn faketime() -> Result<Option<PathBuf>, String> {
    let Some(named) = std::env::var_os(FAKETIME).filter(|named| !named.is_empty()).map(PathBuf::from) else { return Ok(None) };
    if named.is_file() { Ok(Some(named)) } else { Err(format!("{FAKETIME} names {}: no such file", named.display())) }
}

/// Runs it and returns everything that happened. `program` is what becomes an instance, with the orders behind the word `instance`.
///
/// # Errors
/// When it cannot be run here, or a part of it has failed that is not under test.
pub fn run(asked: &Asked, program: &Path) -> Result<Vec<Event>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    if asked.scenario.over() == Over::Cluster {
        let mut cluster = Cluster::try_start(|builder| builder)?;
        for lane in lanes_in_cluster(NAMESPACE) {
            cluster.node(cluster.owner(&lane)).command(&[b"SET", lane.as_bytes(), &old_lane()]);
        }
        let urls = vec![cluster.address(); usize::from(asked.spread.instances())];
        return over(asked, program, &runtime, &urls, (&Arc::from(Vec::new()), Ground::Cluster(&mut cluster)));
    }
    if asked.scenario.over() == Over::Sentinels {
        let mut sentinels = Sentinels::try_start()?;
        let primary = sentinels.servers.get(sentinels.primary()).ok_or("no primary")?;
        primary.command(&[b"SET", lane().as_bytes(), &old_lane()]);
        let urls = vec![sentinels.address(); usize::from(asked.spread.instances())];
        return over(asked, program, &runtime, &urls, (&Arc::from(Vec::new()), Ground::Sentinels(&mut sentinels)));
    }
    let kinds = asked.scenario.made(asked.clock);
    let mut server = RedisServer::builder();
    if let Some(library) = faketime()?.filter(|_| kinds.contains(&Kind::ClockStepped)) {
        server = server.faketime(&library);
    }
    let mut server = server.try_start()?;
    server.command(&[b"SET", lane().as_bytes(), &old_lane()]);
    let proxies: Arc<[Proxy]> = (0..asked.spread.instances())
        .map(|instance| if instance % 2 == 0 { Proxy::on_socket(&server) } else { Proxy::on_port(&server) })
        .collect();
    let urls: Vec<String> = proxies.iter().map(Proxy::url).collect();
    over(asked, program, &runtime, &urls, (&proxies, Ground::Server(&mut server)))
}

/// Makes one fault after the other.
type Hands<'a> = dyn FnMut(&Planned) -> Result<Made, String> + Send + 'a;

/// What the instances stand over.
enum Ground<'a> {
    Server(&'a mut RedisServer),
    Sentinels(&'a mut Sentinels),
    Cluster(&'a mut Cluster),
}

/// Runs it over this.
fn over(
    asked: &Asked,
    program: &Path,
    runtime: &Runtime,
    urls: &[String],
    (proxies, mut ground): (&Arc<[Proxy]>, Ground<'_>),
) -> Result<Vec<Event>, String> {
    let folder = Folder::new()?;
    let record = Arc::new(Record::create(&folder.0.join("leader")).map_err(|error| format!("no history: {error}"))?);
    let mut fleet = Fleet::start(asked, program, &folder, runtime, urls, &record)?;
    if let Ground::Server(server) = &ground {
        check_kind(server, asked.scenario);
    }
    let hands = make_faults(asked, &mut ground, proxies, &mut fleet, runtime, &record);
    proxies.iter().for_each(Proxy::restore);
    hands?;
    std::thread::sleep(LAST_REST);
    runtime.block_on(fleet.order(order::QUIET, &record));
    std::thread::sleep(QUIET);
    runtime.block_on(fleet.order(order::LAST, &record));
    fleet.processes.iter_mut().for_each(Owned::kill);

    record.flush().map_err(|error| format!("the history is cut off: {error}"))?;
    let mut events = event::read(&folder.0.join("leader"), Ending::Whole)?;
    for (history, ending) in fleet.histories() {
        events.extend(event::read(&history, ending)?);
    }
    Ok(events)
}

fn lane() -> String {
    format!("ct:{{{NAMESPACE}}}:lane")
}

/// Else the run would see nothing of the shorter way that bumps of keys go in such a lane. One that outlives runs never is of that kind.
fn check_kind(server: &RedisServer, scenario: Scenario) {
    if scenario.trusts() {
        return;
    }
    eventually(
        PLAIN_WITHIN,
        "a lane of the second kind",
        || matches!(server.command(&["GETRANGE", &lane(), "0", "3"]), Reply::Bulk(kind) if kind == b"ctl\x02"),
    );
}

/// The state of a lane that was begun long ago, as docs/wire.md has it: no hold of before can stand, which is not known of one that begins.
fn old_lane() -> Vec<u8> {
    let (era, seq, run, rest) = (7_u32, 7_u64, 0_u64, [0; 10]);
    [b"ctl\x01", &era.to_be_bytes()[..], &seq.to_be_bytes(), &CELLS.to_be_bytes(), &run.to_be_bytes(), &rest].concat()
}

/// Both hands make their faults at once; returns when both have mended what they broke.
fn make_faults(
    asked: &Asked,
    ground: &mut Ground<'_>,
    proxies: &Arc<[Proxy]>,
    fleet: &mut Fleet,
    runtime: &Runtime,
    record: &Record,
) -> Result<(), String> {
    let length = asked.length.saturating_sub(LAST_REST + QUIET);
    let kinds = asked.scenario.made(asked.clock);
    let planned = |hand| plan(&kinds, hand, asked.seed, length, asked.spread.instances());
    let (for_server, for_network) = (planned(Hand::Server), planned(Hand::Network));
    let end = Nanos::now().plus(length);
    std::thread::scope(|scope| {
        let mut of_server: Box<Hands<'_>> = match ground {
            Ground::Server(server) => {
                let mut hand = ServerHand { server, proxies, runtime, stepped: 0 };
                Box::new(move |planned| hand.make(planned))
            }
            Ground::Sentinels(sentinels) => {
                let mut hand = SentinelHand { sentinels };
                Box::new(move |planned| hand.make(planned))
            }
            Ground::Cluster(cluster) => {
                let mut hand = ClusterHand { cluster };
                Box::new(move |planned| hand.make(planned))
            }
        };
        let mut network = NetworkHand { proxies, fleet, runtime, record, spread: asked.spread };
        let hands = [
            scope.spawn(move || work_off(&for_server, end, record, |planned| of_server(planned))),
            scope.spawn(move || work_off(&for_network, end, record, |planned| network.make(planned))),
        ];
        std::thread::sleep(end.since(Nanos::now()));
        hands.into_iter().try_for_each(|hand| hand.join().map_err(|_| "a hand that makes faults has failed".to_owned())?)
    })
}

/// What a fault was, once it is mended.
struct Made {
    instance: Option<u16>,
    effect: String,
}

fn work_off(
    planned: &[Planned],
    end: Nanos,
    record: &Record,
    mut make: impl FnMut(&Planned) -> Result<Made, String>,
) -> Result<(), String> {
    for planned in planned {
        std::thread::sleep(planned.rest);
        // Each took a little longer than was planned.
        if Nanos::now().plus(planned.length) > end {
            return Ok(());
        }
        if Nanos::now().plus(planned.length + planned.kind.spare()) > end {
            continue;
        }
        let start = Nanos::now();
        let Made { instance, effect } = make(planned)?;
        let span = Span { start, end: Nanos::now() };
        record.add(&Event::Fault(Fault { kind: planned.kind, instance, span, effect }));
    }
    Ok(())
}

/// A folder of one run, removed with it. Its path is short: a unix socket's has at most 107 bytes.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("cachetier-chaos-{}", std::process::id()));
        // Left by a process that was killed and had our id.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).map_err(|error| format!("no folder at {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
