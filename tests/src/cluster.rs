//! A Redis Cluster on this machine: primaries and replicas, all of them processes with one owner.

use std::time::Duration;

use crate::bus::{self, Bus};
use crate::client::{Address, Client, Reply};
use crate::eventually::Deadline;
use crate::reach;
use crate::server::{RedisServer, ServerBuilder, free_port};

/// How long it may take on a busy machine to find each other, or to replace a primary.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long a node may be silent before the others hold it for failed, in milliseconds.
const NODE_TIMEOUT: &str = "1500";

/// How many free ports are tried for a node.
const PORTS_TRIED: u32 = 3;

/// How many primaries there are, and as many replicas, one for each.
const PRIMARIES: usize = 3;

/// A Cluster of three primaries and three replicas. Dropping it ends them all.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes; who of them is a primary is theirs to say.
    pub nodes: Vec<RedisServer>,
    bus: Bus,
}

impl Cluster {
    /// Starts it, and returns once every node says that all is well, and each primary has a replica.
    ///
    /// # Panics
    /// When a node does not start, or they do not find each other in time.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        match Self::try_start(|builder| builder) {
            Ok(started) => started,
            Err(why) => panic!("{why}"),
        }
    }

    /// Starts it as [`Cluster::start`] does, each node with what is added, for callers that can say why it cannot be had.
    ///
    /// # Errors
    /// Where that panics, with the same text.
    pub fn try_start(with: impl Fn(ServerBuilder) -> ServerBuilder) -> Result<Self, String> {
        let bus = Bus::default();
        let one = |nth: usize| {
            let port = free_port()?;
            let open = bus.open(nth, port).map_err(|error| format!("no way to a node: {error}"))?;
            let builder =
                RedisServer::builder().tcp().config("cluster-enabled", "yes").config("cluster-node-timeout", NODE_TIMEOUT);
            let builder = builder.config("cluster-port", &port.to_string()).config("cluster-announce-bus-port", &open.to_string());
            let builder = builder.config("bind-source-addr", &bus::source(nth).to_string());
            // It takes these for addresses of others; it listens to none but this machine.
            let builder = builder.config("protected-mode", "no");
            with(builder.config("repl-diskless-sync-delay", "0")).try_start()
        };
        let node = |nth| tried(|| one(nth));
        let nodes = (0..PRIMARIES * 2).map(node).collect::<Result<Vec<_>, String>>()?;
        let started = Self { nodes, bus };
        let each = 16_384_usize.div_ceil(PRIMARIES);
        let slots: Vec<(usize, usize)> = (0..PRIMARIES).map(|nth| (nth * each, ((nth + 1) * each).min(16_384) - 1)).collect();
        join(&started.nodes.iter().collect::<Vec<_>>(), &slots)?;
        Ok(started)
    }

    /// One of the nodes.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    #[track_caller]
    pub fn node(&self, which: usize) -> &RedisServer {
        match self.nodes.get(which) {
            Some(node) => node,
            None => panic!("there is no node {which}"),
        }
    }

    /// The addresses of all nodes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// The address of all of it, for [`Reach`](crate::Reach).
    #[must_use]
    pub fn address(&self) -> String {
        reach::in_cluster(&self.urls())
    }

    /// Which node has the slot of a key now, as the one says that was configured last, of those that answer.
    ///
    /// # Panics
    /// When none answers, or nobody has it.
    #[must_use]
    #[track_caller]
    pub fn owner(&self, key: &str) -> usize {
        match self.find_owner(key) {
            Some((owner, _)) => owner,
            None => panic!("nobody has the slot of {key}"),
        }
    }

    fn find_owner(&self, key: &str) -> Option<(usize, u64)> {
        let slot = self.ask(&["CLUSTER", "KEYSLOT", key]).find_map(|(_, reply)| match reply {
            Reply::Int(slot) => u16::try_from(slot).ok(),
            _ => None,
        })?;
        let claims = self.ask(&["CLUSTER", "NODES"]).filter_map(|(_, reply)| reply.text()).flat_map(|told| {
            let claim = |line: &str| {
                let words: Vec<&str> = line.split(' ').collect();
                let has = words.iter().skip(8).any(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
                });
                let port = words.get(1)?.split('@').next()?.rsplit(':').next()?.parse::<u16>().ok()?;
                has.then_some((port, words.get(6)?.parse::<u64>().ok()?))
            };
            told.lines().filter_map(claim).collect::<Vec<_>>()
        });
        let (port, epoch) = claims.max_by_key(|(_, epoch)| *epoch)?;
        let owner = self.nodes.iter().position(|node| node.port() == Some(port))?;
        Some((owner, epoch))
    }

    /// What each node says that answers within a moment.
    fn ask<'a>(&'a self, words: &'a [&'a str]) -> impl Iterator<Item = (usize, Reply)> + 'a {
        let ask = |node: &RedisServer| {
            Client::connect_within(&Address::Tcp(node.port()?), Duration::from_millis(300)).ok()?.command(words).ok()
        };
        self.nodes.iter().enumerate().filter_map(move |(nth, node)| Some((nth, ask(node)?)))
    }

    /// Which nodes are primaries, as they say themselves.
    #[must_use]
    pub fn primaries(&self) -> Vec<usize> {
        let told = self.ask(&["CLUSTER", "NODES"]);
        told.filter(|(_, reply)| reply.text().unwrap_or_default().contains("myself,master")).map(|(node, _)| node).collect()
    }

    /// Waits until another node than this has the slot of a key, and returns which.
    ///
    /// # Panics
    /// When that takes too long.
    #[must_use]
    #[track_caller]
    pub fn wait_for_another(&self, key: &str, than: usize) -> usize {
        let deadline = Deadline::after(PATIENCE);
        loop {
            if let Some((owner, _)) = self.find_owner(key).filter(|(owner, _)| *owner != than) {
                return owner;
            }
            assert!(!deadline.passed(), "nobody else takes the slot of {key}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until every slot has an owner that every node agrees on, and each primary has a replica that is in step with it.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait_until_well(&self) {
        let deadline = Deadline::after(PATIENCE);
        let well = |node: &RedisServer| {
            let lines = lines(node);
            let info = node.command(&["CLUSTER", "INFO"]).text().unwrap_or_default();
            let primaries = lines.iter().filter(|line| line.contains("master")).count();
            primaries == PRIMARIES
                && !lines.iter().any(|line| line.contains("fail"))
                && info.contains("cluster_state:ok")
                && in_step(node)
        };
        while !self.nodes.iter().all(well) {
            assert!(!deadline.passed(), "the Cluster does not come back:\n{}", lines(self.node(0)).join("\n"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The replica of a primary, which is to take its place though nothing is wrong with it.
    ///
    /// # Panics
    /// When it has none, or that will not.
    #[track_caller]
    pub fn fail_over(&self, primary: usize) {
        let id = self.node(primary).command(&["CLUSTER", "MYID"]).text().unwrap_or_default();
        let of = |node: &RedisServer| lines(node).iter().any(|line| line.contains("myself,slave") && line.contains(&id));
        let Some(replica) = self.nodes.iter().position(of) else { panic!("node {primary} has no replica") };
        let reply = self.node(replica).command(&["CLUSTER", "FAILOVER"]);
        assert_eq!(reply, Reply::Status("OK".to_owned()));
    }

    /// Cuts a node off from all others, while its clients still reach it, until [`Cluster::mend`].
    pub fn cut_off(&self, node: usize) {
        self.bus.cut_off(node);
    }

    /// Nobody is cut off any more.
    pub fn mend(&self) {
        self.bus.mend();
    }

    /// Moves the slot of a key to another primary, with all that is in it.
    ///
    /// # Panics
    /// When one of them will not.
    #[track_caller]
    pub fn move_slot(&self, key: &str, to: usize) {
        self.begin_to_move(key, to);
        self.finish_moving(key, to);
    }

    /// Opens the slot of a key for its way to another primary: nothing is there yet.
    ///
    /// # Panics
    /// When one of them will not.
    #[track_caller]
    pub fn begin_to_move(&self, key: &str, to: usize) {
        let (from, slot) = (self.owner(key), self.slot(key));
        let id = |node: usize| self.node(node).command(&["CLUSTER", "MYID"]).text().unwrap_or_default();
        must(self.node(to), &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
        must(self.node(from), &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    }

    /// Moves what is in the slot, and then the slot.
    ///
    /// # Panics
    /// When one of them will not.
    #[track_caller]
    pub fn finish_moving(&self, key: &str, to: usize) {
        let (from, slot) = (self.owner(key), self.slot(key));
        let port = self.node(to).port().unwrap_or_default().to_string();
        for _ in 0..10_000 {
            let Reply::Array(keys) = self.node(from).command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]) else { break };
            if keys.is_empty() {
                break;
            }
            let mut words =
                ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"].map(str::as_bytes).map(<[u8]>::to_vec).to_vec();
            words.extend(keys.into_iter().filter_map(|key| match key {
                Reply::Bulk(name) => Some(name),
                _ => None,
            }));
            let reply = self.node(from).command(&words);
            // One that has ended meanwhile is not there.
            assert!(matches!(&reply, Reply::Status(status) if status == "OK" || status == "NOKEY"), "{reply:?}");
        }
        let id = self.node(to).command(&["CLUSTER", "MYID"]).text().unwrap_or_default();
        for node in [to, from] {
            must(self.node(node), &["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
        for (node, reply) in self.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]).filter(|(node, _)| ![from, to].contains(node)) {
            // A replica is told by its primary.
            assert!(matches!(reply, Reply::Status(_) | Reply::Error(_)), "{node}: {reply:?}");
        }
    }

    fn slot(&self, key: &str) -> String {
        match self.node(0).command(&["CLUSTER", "KEYSLOT", key]) {
            Reply::Int(slot) => slot.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

/// Starts a node, and another one where a port was taken meanwhile.
fn tried(start: impl Fn() -> Result<RedisServer, String>) -> Result<RedisServer, String> {
    let mut tried = 1;
    loop {
        match start() {
            Err(why) if tried < PORTS_TRIED && why.contains("in use") => tried += 1,
            outcome => return outcome,
        }
    }
}

/// Makes one Cluster of these: the first have these slots, as many behind them are their replicas.
fn join(nodes: &[&RedisServer], slots: &[(usize, usize)]) -> Result<(), String> {
    let first = nodes.first().ok_or("no node")?;
    let ids: Vec<String> = nodes.iter().filter_map(|node| node.command(&["CLUSTER", "MYID"]).text()).collect();
    for (nth, node) in nodes.iter().enumerate() {
        told(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(nth + 1).to_string()])?;
    }
    // Each is told of each: by hearsay it takes seconds.
    for (nth, one) in nodes.iter().enumerate() {
        for other in nodes.iter().skip(nth + 1) {
            told(one, &["CLUSTER", "MEET", "127.0.0.1", &port(other).to_string(), &bus(other)])?;
        }
    }
    for (node, (from, to)) in nodes.iter().zip(slots) {
        told(node, &["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()])?;
    }
    let deadline = Deadline::after(PATIENCE);
    let wait = |what: &str, until: &dyn Fn(&RedisServer) -> bool| {
        while !nodes.iter().all(|node| until(node)) {
            if deadline.passed() {
                return Err(format!("{what}\n{}", first.command(&["CLUSTER", "NODES"]).text().unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    let knows_all = |node: &RedisServer| lines(node).iter().filter(|line| !line.contains("handshake")).count() == nodes.len();
    wait("the nodes do not find each other", &knows_all)?;
    for (node, primary) in nodes.iter().skip(slots.len()).zip(&ids) {
        told(node, &["CLUSTER", "REPLICATE", primary])?;
    }
    let well = |node: &RedisServer| {
        let replicas = lines(node).iter().filter(|line| line.contains("slave")).count();
        let info = node.command(&["CLUSTER", "INFO"]).text().unwrap_or_default();
        replicas == slots.len() && info.contains("cluster_state:ok") && in_step(node)
    };
    wait("the Cluster does not come up", &well)
}

/// Waits until a node that was started again takes commands: it looks around first.
pub(crate) fn wait_until_served(node: &RedisServer) -> Result<(), String> {
    let deadline = Deadline::after(PATIENCE);
    while !node.command(&["CLUSTER", "INFO"]).text().unwrap_or_default().contains("cluster_state:ok") {
        if deadline.passed() {
            return Err(format!("its Cluster does not serve:\n{}", lines(node).join("\n")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The other nodes of the Cluster of a server that has nearly all slots, which nobody replaces. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Peers {
    _nodes: Vec<RedisServer>,
}

/// What makes a server a node of it.
pub(crate) fn node_of_suite() -> Result<Vec<(String, String)>, String> {
    let port = free_port()?.to_string();
    // Longer than any test has one frozen; and it is how long a restarted one waits before it takes writes, up to five seconds.
    let options = [
        ("cluster-enabled", "yes"),
        ("cluster-node-timeout", "4000"),
        ("cluster-replica-no-failover", "yes"),
        ("cluster-port", &port),
    ];
    Ok(options.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

impl Peers {
    pub(crate) fn start(server: &RedisServer) -> Result<Self, String> {
        let one = || {
            let options = node_of_suite()?.into_iter();
            options.fold(RedisServer::builder().tcp(), |builder, (name, value)| builder.config(&name, &value)).try_start()
        };
        let node = |_| tried(one);
        let nodes = (1..PRIMARIES * 2).map(node).collect::<Result<Vec<_>, String>>()?;
        let all: Vec<&RedisServer> = std::iter::once(server).chain(&nodes).collect();
        join(&all, &[(2, 16_383), (0, 0), (1, 1)])?;
        Ok(Self { _nodes: nodes })
    }
}

fn told(node: &RedisServer, words: &[&str]) -> Result<(), String> {
    match node.command(words) {
        Reply::Status(status) if status == "OK" => Ok(()),
        other => Err(format!("{words:?}: {other:?}")),
    }
}

#[track_caller]
fn must(node: &RedisServer, words: &[&str]) {
    if let Err(why) = told(node, words) {
        panic!("{why}");
    }
}

fn port(node: &RedisServer) -> u16 {
    node.port().unwrap_or_default()
}

/// The port over which the nodes talk to it.
fn bus(node: &RedisServer) -> String {
    let line = lines(node).into_iter().find(|line| line.contains("myself")).unwrap_or_default();
    line.split(['@', ',', ' ']).nth(2).unwrap_or_default().to_owned()
}

fn lines(node: &RedisServer) -> Vec<String> {
    node.command(&["CLUSTER", "NODES"]).text().unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Whether it is a primary with a replica that is in step, or a replica that is.
fn in_step(node: &RedisServer) -> bool {
    let told = node.command(&["INFO", "replication"]).text().unwrap_or_default();
    told.contains("state=online") || told.contains("master_link_status:up")
}
