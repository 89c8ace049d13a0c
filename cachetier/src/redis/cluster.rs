//! Where the owner of a slot is, as the nodes of a Cluster say: asked before each connection, and every second between them, so that one that was replaced
//! and does not know it yet is left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, Value};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::sync::{Mutex, lock};

use super::RedisUrl;
use super::answer::bounded;
use super::dial::Connection;
use super::guide::{Known, Said, Spot};
use super::sentinel::{connect, late, reason, text_of};

/// Between two questions where the owner is.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// The nodes of a Cluster, asked for one slot.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    nodes: Arc<Nodes>,
    slot: u16,
    pub(super) known: Known,
}

/// Whom to ask.
#[derive(Debug)]
struct Nodes {
    /// As whom, and how; its place is that of one of them.
    login: RedisUrl,
    /// Those that were named.
    seeds: Vec<Spot>,
    /// Those that were last said to be there.
    found: Mutex<Vec<Spot>>,
    /// Over which they are asked: one each, made with the first question; none once all is closed.
    connections: Mutex<Option<HashMap<Spot, Connection>>>,
    /// How long one may take to answer.
    limit: Duration,
}

/// What one node says.
#[derive(Debug, PartialEq, Eq)]
struct View {
    /// Who has the slot, and since which configuration.
    owner: Option<(Spot, u64)>,
    /// Who is there.
    nodes: Vec<Spot>,
}

impl Cluster {
    pub(super) fn new(login: RedisUrl, nodes: &[RedisUrl], slot: u16, connect_limit: Duration) -> Self {
        let seeds = nodes.iter().filter_map(RedisUrl::spot).collect();
        let (found, connections) = (Mutex::default(), Mutex::new(Some(HashMap::new())));
        // Asked within the limit of the connection that the answer is for.
        let nodes = Nodes { login, seeds, found, connections, limit: connect_limit / 2 };
        Self { nodes: Arc::new(nodes), slot, known: Known::default() }
    }

    pub(super) fn slot(&self) -> u16 {
        self.slot
    }

    /// Where the slot's owner is, as who knows best says; an error says why nobody does. All are asked at once, and more than half are waited for: one
    /// that was cut off from the others may answer first, with what was.
    ///
    /// Cancel safety: dropped, it leaves no task.
    pub(super) async fn primary(&self) -> Result<Spot, Arc<str>> {
        let found = lock(&self.nodes.found).clone();
        let mut best = Err("no node is named".into());
        // Those that were named at first may be long gone; if all of those that are known are, they are asked again.
        for nodes in [&found, &self.nodes.seeds] {
            if !nodes.is_empty() {
                best = self.ask_all(nodes).await;
            }
            if best.is_ok() {
                break;
            }
        }
        let (said, nodes) =
            best.map_err(|why: Arc<str>| bounded(&format!("{why}; no node of the Cluster says who has slot {}", self.slot)))?;
        self.nodes.keep(nodes);
        Ok(self.known.with(said))
    }

    /// Ends what it has asked over, for good.
    pub(super) fn close(&self) {
        // Outside of the lock: a connection's end is more than a moment.
        let ended = lock(&self.nodes.connections).take();
        drop(ended);
    }

    /// What those say, of whom the best one knows that these are there.
    async fn ask_all(&self, spots: &[Spot]) -> Result<(Said, Vec<Spot>), Arc<str>> {
        let mut questions = JoinSet::new();
        for spot in spots {
            let (nodes, slot, node) = (Arc::clone(&self.nodes), self.slot, spot.clone());
            questions.spawn(async move {
                let limit = nodes.limit;
                let asked = timeout(limit, nodes.ask(&node, slot)).await.unwrap_or_else(|_| Err(late(limit)));
                if asked.is_err() {
                    nodes.forget(&node);
                }
                asked
            });
        }
        let (mut best, mut answers, mut why) = (None::<(Said, Vec<Spot>)>, 0, None);
        while let Some(answer) = questions.join_next().await {
            match answer {
                Ok(Ok(View { owner: Some((spot, epoch)), nodes })) => {
                    answers += 1;
                    if best.as_ref().is_none_or(|(best, _)| best.epoch < epoch) {
                        best = Some((Said { spot, epoch }, nodes));
                    }
                }
                Ok(Ok(View { owner: None, .. })) => {
                    answers += 1;
                    why = Some("nobody has it".into());
                }
                Ok(Err(reason)) => why = Some(reason),
                Err(_) => {}
            }
            if answers > spots.len() / 2 {
                break;
            }
        }
        best.ok_or_else(|| why.unwrap_or_else(|| "none answers".into()))
    }
}

impl Nodes {
    /// Who is there now; whoever is not any more is asked nothing.
    fn keep(&self, nodes: Vec<Spot>) {
        if let Some(connections) = &mut *lock(&self.connections) {
            connections.retain(|node, _| nodes.contains(node));
        }
        *lock(&self.found) = nodes;
    }

    fn forget(&self, node: &Spot) {
        if let Some(connections) = &mut *lock(&self.connections) {
            connections.remove(node);
        }
    }

    /// What one of them says.
    async fn ask(&self, node: &Spot, slot: u16) -> Result<View, Arc<str>> {
        let url = self.login.at(node.clone());
        let known = lock(&self.connections).as_ref().and_then(|connections| connections.get(node).cloned());
        let mut connection = if let Some(known) = known {
            known
        } else {
            let made = connect(&url, ::redis::ProtocolVersion::RESP3, None).await?;
            // Two that ask at once each make one: the later is kept.
            if let Some(connections) = &mut *lock(&self.connections) {
                connections.insert(node.clone(), made.clone());
            }
            made
        };
        let mut question = Cmd::new();
        question.arg("CLUSTER").arg("NODES");
        match connection.send_packed_command(&question).await {
            Ok(Value::ServerError(error)) => Err(reason(&url, &error.into())),
            Ok(answer) => {
                let told = text_of(&answer).ok_or_else(|| bounded(&format!("{url} does not answer like a node of a Cluster")))?;
                Ok(view(&told, node, self.login.tls().is_some(), slot))
            }
            Err(error) => Err(reason(&url, &error)),
        }
    }
}

/// Reads the lines of `CLUSTER NODES`: id, place, flags, primary, two times, configuration, link, slots. A node may not know under which address it is
/// reached: then it is the one that it was `asked` at. `by_name` prefers names to addresses: a certificate has one, and who has none cannot look it up.
fn view(told: &str, asked: &Spot, by_name: bool, slot: u16) -> View {
    let mut view = View { owner: None, nodes: Vec::new() };
    for line in told.lines().filter_map(Line::read) {
        let Some(node) = node(line.place, asked, by_name) else { continue };
        if line.is("master") && line.has(slot) {
            view.owner = Some((node.clone(), line.epoch));
        }
        if !line.is("fail") && !line.is("handshake") && !line.is("noaddr") {
            view.nodes.push(node);
        }
    }
    view
}

/// Since which configuration the node that says this has the slot itself, if it does and is not about to give it away.
pub(super) fn own_since(told: &str, slot: u16) -> Option<u64> {
    let own = told.lines().filter_map(Line::read).find(|line| line.is("myself"))?;
    let leaves = own.slots.iter().any(|range| range.starts_with(&format!("[{slot}->-")));
    (own.is("master") && own.has(slot) && !leaves).then_some(own.epoch)
}

/// What is said of one node.
struct Line<'a> {
    place: &'a str,
    flags: &'a str,
    epoch: u64,
    slots: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, place, flags, _, _, _, epoch, _, slots @ ..] = words.as_slice() else { return None };
        Some(Self { place, flags, epoch: epoch.parse().ok()?, slots: slots.to_vec() })
    }

    fn is(&self, flag: &str) -> bool {
        self.flags.split(',').any(|is| is == flag)
    }

    fn has(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
        })
    }
}

/// Reads `host:port@bus[,name]`.
fn node(place: &str, (asked, _): &Spot, by_name: bool) -> Option<Spot> {
    let (address, rest) = place.split_once('@')?;
    let (host, port) = address.rsplit_once(':')?;
    let name = rest.split(',').nth(1).filter(|name| by_name && !name.is_empty());
    let host = name.unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some((if host.is_empty() { asked.clone() } else { host.to_owned() }, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "\
07c37df 127.0.0.1:30004@31004,,shard-id=69bc slave e7d1eec 0 1426238317239 4 connected
67ed2db 127.0.0.1:30002@31002,cache-2.internal master - 0 1426238316232 2 connected 5461-10922 16383
292f8b3 10.0.0.3:30003@31003 master,fail - 1426238318243 1426238318243 3 disconnected 10923-16382
e7d1eec :30001@31001 myself,master - 0 0 1 connected 0-5459 5460 [5000->-67ed2db] [93-<-292f8b3]
6ec2392 :0@0 master,noaddr - 0 0 0 disconnected
";

    #[test]
    fn what_a_node_says_is_read() {
        let spot = |host: &str, port| (host.to_owned(), port);
        let asked = spot("10.0.0.1", 30_001);
        let owner = |slot| view(TOLD, &asked, true, slot).owner;
        assert_eq!(owner(0), Some((spot("10.0.0.1", 30_001), 1)));
        assert_eq!(owner(5_460), owner(0));
        // On its way still the old one's.
        assert_eq!(owner(5_000), owner(0));
        assert_eq!(owner(5_461), Some((spot("cache-2.internal", 30_002), 2)));
        assert_eq!(owner(16_383), owner(5_461));
        // It has failed, and nobody has it yet.
        assert_eq!(owner(12_000), Some((spot("10.0.0.3", 30_003), 3)));
        let nodes = view(TOLD, &asked, true, 0).nodes;
        assert_eq!(nodes, [spot("127.0.0.1", 30_004), spot("cache-2.internal", 30_002), spot("10.0.0.1", 30_001)]);
        assert_eq!(view(TOLD, &asked, false, 9_000).owner, Some((spot("127.0.0.1", 30_002), 2)));
        assert_eq!((own_since(TOLD, 0), own_since(TOLD, 5_000), own_since(TOLD, 9_000)), (Some(1), None, None));
        assert_eq!(view("nonsense\n\n1 2 3 4 5 6 7 8 9 10", &asked, true, 9), View { owner: None, nodes: Vec::new() });
    }
}
