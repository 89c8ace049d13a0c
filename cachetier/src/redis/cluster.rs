//! Where the owner of a slot is, as the nodes of a Cluster say: asked before each connection, and every second between them, so that one that was replaced
//! and does not know it yet is left.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::{Cmd, ProtocolVersion, Value};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::Stopwatch;
use crate::sync::{Mutex, lock};

use super::RedisUrl;
use super::answer::{bounded, late, text_of};
use super::dial::{Connection, ask_over};
use super::known::{Answers, Known, Said, Spot};

/// Between two questions where the owner is; those who begin together do not go on in step.
const LOOK: Duration = Duration::from_secs(1);

/// How old an answer may be that is taken for one: those who ask for several slots ask once.
const YOUNG: Duration = Duration::from_millis(250);

/// How many nodes are asked each time: the owner, and others, the same ones each time.
const WATCHED: usize = 5;

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
    /// Where the owner is of each slot that they are asked for.
    owners: Mutex<HashMap<u16, Spot>>,
    /// Which of them is watched first: another one in each process.
    first: usize,
    /// Over which they are asked: one each, made with the first question; none once all is closed.
    connections: Mutex<Option<HashMap<Spot, Asked>>>,
    /// What each of them was asked last, and said.
    said: Mutex<HashMap<Spot, Question>>,
    /// How long one may take to answer.
    limit: Duration,
}

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// To a question that was put for this one.
    New,
    /// To one that was put a moment before.
    Young,
}

/// A question, for all who ask the same within a moment.
#[derive(Debug)]
struct Question {
    asked: Stopwatch,
    /// Whether it was sent: who comes before that may share it whatever he needs.
    sent: Arc<AtomicBool>,
    answer: Arc<OnceCell<Arc<str>>>,
}

/// A connection over which a node is asked.
#[derive(Debug)]
struct Asked {
    connection: Connection,
    /// Since when a question waits for its answer, also where nobody waits for it any more.
    unanswered: Option<Stopwatch>,
}

/// What one node says.
#[derive(Debug, Default, PartialEq, Eq)]
struct View {
    /// Who says it.
    id: String,
    /// Who has the slot.
    owner: Option<Owner>,
    /// Who is there.
    nodes: Vec<Spot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    id: String,
    spot: Spot,
    epoch: u64,
}

/// Between two questions.
pub(super) async fn rest() {
    tokio::time::sleep(LOOK.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
}

impl Cluster {
    pub(super) fn new(login: RedisUrl, nodes: &[RedisUrl], connect_limit: Duration) -> Self {
        let seeds = nodes.iter().filter_map(RedisUrl::spot).collect();
        let (found, connections, said) = (Mutex::default(), Mutex::new(Some(HashMap::new())), Mutex::default());
        // Asked within the limit of the connection that the answer is for.
        let (owners, first) = (Mutex::default(), fastrand::usize(..));
        let nodes = Nodes { login, seeds, found, owners, first, connections, said, limit: connect_limit / 2 };
        Self { nodes: Arc::new(nodes), slot: 0, known: Known::default() }
    }

    /// The same nodes, asked for another slot.
    pub(super) fn to_slot(&self, slot: u16) -> Self {
        Self { nodes: Arc::clone(&self.nodes), slot, known: Known::default() }
    }

    pub(super) fn slot(&self) -> u16 {
        self.slot
    }

    /// Where the slot's owner is, as who knows best says; an error says why nobody does. All are asked at once, and more than half are waited for.
    ///
    /// Cancel safety: dropped, it leaves no task. Done, it leaves those that are still asked, for as long as that may take.
    pub(super) async fn primary(&self) -> Result<Spot, Arc<str>> {
        let found = lock(&self.nodes.found).clone();
        let mut why = None;
        // Those that were named at first may be long gone; if all of those that are known are, they are asked again.
        for nodes in [&found, &self.nodes.seeds] {
            match self.ask_all(nodes, Age::New).await {
                Ok(spot) => return Ok(spot),
                // Who was not asked has no reason.
                Err(reason) => why = reason.or(why),
            }
        }
        let why = why.unwrap_or_else(|| "nobody has it".into());
        Err(bounded(&format!("{why}; no node of the Cluster says who has slot {}", self.slot)))
    }

    /// As [`Cluster::primary`], and asks those that are watched. What these say for more than a moment all do.
    pub(super) async fn look(&self) -> Result<Spot, Arc<str>> {
        let watched = self.nodes.watched(self.known.spot().as_ref());
        match self.ask_all(&watched, Age::Young).await {
            Ok(spot) => Ok(spot),
            Err(_) => self.primary().await,
        }
    }

    /// Ends what it has asked over, for good.
    pub(super) fn close(&self) {
        // Outside of the lock: a connection's end is more than a moment.
        let ended = lock(&self.nodes.connections).take();
        drop(ended);
    }

    /// Where the owner is, as these say; an error is why one of them does not.
    async fn ask_all(&self, spots: &[Spot], age: Age) -> Result<Spot, Option<Arc<str>>> {
        let mut questions = JoinSet::new();
        for spot in spots {
            let (nodes, slot, node) = (Arc::clone(&self.nodes), self.slot, spot.clone());
            questions.spawn(async move {
                // Who asks again and again is not to have many questions open.
                let limit = if age == Age::Young { nodes.limit.min(LOOK) } else { nodes.limit };
                let asked = timeout(limit, nodes.ask(&node, slot, age)).await.unwrap_or_else(|_| Err(late(limit)));
                if asked.is_err() {
                    nodes.forget(&node);
                }
                asked
            });
        }
        let Answers { said, most, why } = Answers::to(&mut questions).await;
        // An answer that is on its way is heard, and its connection kept.
        questions.detach_all();
        let nodes = claims(&said).max_by_key(|(owner, _)| owner.epoch).map(|(_, view)| view.nodes.clone());
        let claims = claims(&said).map(|(owner, _)| Said { spot: owner.spot.clone(), epoch: owner.epoch });
        let owner = self.known.with(&claims.collect::<Vec<_>>(), most);
        if let Some(nodes) = nodes {
            self.nodes.keep(nodes, self.slot, owner.as_ref());
        }
        owner.ok_or(why)
    }
}

/// Who is said to have the slot, and by which view. Who says himself that another one has it, has not: his own configuration may be the latest all the same.
fn claims(views: &[View]) -> impl Iterator<Item = (&Owner, &View)> {
    let denies =
        |owner: &Owner| views.iter().any(|view| view.id == owner.id && view.owner.as_ref().is_some_and(|said| said.id != owner.id));
    views.iter().filter_map(|view| Some((view.owner.as_ref()?, view))).filter(move |(owner, _)| !denies(owner))
}

impl Nodes {
    /// Those that are asked again and again for this slot: its owner, and others, the same for each.
    fn watched(&self, owner: Option<&Spot>) -> Vec<Spot> {
        let found = lock(&self.found);
        let others = (0..found.len()).filter_map(|nth| found.get(self.first.wrapping_add(nth).checked_rem(found.len())?));
        let others = others.filter(|node| owner != Some(*node));
        owner.into_iter().chain(others).take(WATCHED).cloned().collect()
    }

    /// Who is there now. Over the connections to whoever is watched for no slot nothing more is asked.
    fn keep(&self, mut nodes: Vec<Spot>, slot: u16, owner: Option<&Spot>) {
        // Whoever is asked first tells them in another order.
        nodes.sort_unstable();
        *lock(&self.found) = nodes;
        let owners: Vec<Spot> = {
            let mut owners = lock(&self.owners);
            owners.extend(owner.map(|owner| (slot, owner.clone())));
            owners.values().cloned().collect()
        };
        let watched: HashSet<Spot> = owners.iter().flat_map(|owner| self.watched(Some(owner))).collect();
        let unwatched: Vec<Asked> = match &mut *lock(&self.connections) {
            Some(connections) => connections.extract_if(|node, _| !watched.contains(node)).map(|(_, asked)| asked).collect(),
            None => Vec::new(),
        };
        drop(unwatched);
    }

    fn forget(&self, node: &Spot) {
        let forgotten = lock(&self.connections).as_mut().and_then(|connections| connections.remove(node));
        drop(forgotten);
    }

    /// The connection to a node that is there already, for a question. One that leaves others without an answer is given up: who asks is content with
    /// more than half, and would send it another question each time.
    fn begin(&self, node: &Spot) -> Option<Connection> {
        let silent = {
            let mut connections = lock(&self.connections);
            let connections = connections.as_mut()?;
            let asked = connections.get_mut(node)?;
            if asked.unanswered.get_or_insert_with(Stopwatch::start).elapsed() <= self.limit {
                return Some(asked.connection.clone());
            }
            connections.remove(node)
        };
        drop(silent);
        None
    }

    fn answered(&self, node: &Spot) {
        if let Some(asked) = lock(&self.connections).as_mut().and_then(|connections| connections.get_mut(node)) {
            asked.unanswered = None;
        }
    }

    /// What one of them says of a slot.
    ///
    /// Cancel safety: of those who ask at once another one goes on.
    async fn ask(&self, node: &Spot, slot: u16, age: Age) -> Result<View, Arc<str>> {
        let (answer, sent) = self.question(node, age);
        let told = answer.get_or_try_init(|| async { self.ask_now(node, &sent).await.map(Arc::from) }).await?;
        Ok(view(told, node, self.login.tls().is_some() || self.login.connector().is_some(), slot))
    }

    /// The one that was put lately, or a new one.
    fn question(&self, node: &Spot, age: Age) -> (Arc<OnceCell<Arc<str>>>, Arc<AtomicBool>) {
        let mut said = lock(&self.said);
        said.retain(|of, question| {
            let sent = question.sent.load(Ordering::Acquire);
            question.asked.elapsed() < YOUNG && (age == Age::Young || of != node || !sent)
        });
        let new = || Question { asked: Stopwatch::start(), sent: Arc::default(), answer: Arc::default() };
        let question = said.entry(node.clone()).or_insert_with(new);
        (Arc::clone(&question.answer), Arc::clone(&question.sent))
    }

    /// What one of them says.
    async fn ask_now(&self, node: &Spot, sent: &AtomicBool) -> Result<String, Arc<str>> {
        let url = self.login.at(node.clone());
        if lock(&self.connections).is_none() {
            return Err("closed".into());
        }
        let mut connection = if let Some(known) = self.begin(node) {
            known
        } else {
            let made = ask_over(&url, ProtocolVersion::RESP3, self.limit, None).await?;
            let asked = Asked { connection: made.clone(), unanswered: None };
            let replaced = lock(&self.connections).as_mut().and_then(|connections| connections.insert(node.clone(), asked));
            drop(replaced);
            made
        };
        let mut question = Cmd::new();
        question.arg("CLUSTER").arg("NODES");
        sent.store(true, Ordering::Release);
        let answer = connection.send_packed_command(&question).await;
        self.answered(node);
        match answer {
            Ok(Value::ServerError(error)) => Err(url.reason(&error.into())),
            Ok(answer) => text_of(&answer).ok_or_else(|| bounded(&format!("{url} does not answer like a node of a Cluster"))),
            Err(error) => Err(url.reason(&error)),
        }
    }
}

/// Reads the lines of `CLUSTER NODES`: id, place, flags, primary, two times, configuration, link, slots. A node may not know under which address it is
/// reached: then it is the one that it was `asked` at. `by_name` prefers names to addresses: a certificate has one, and who has none cannot look it up.
fn view(told: &str, asked: &Spot, by_name: bool, slot: u16) -> View {
    let mut view = View::default();
    for line in told.lines().filter_map(Line::read) {
        let Some(place) = place(line.place, asked, by_name) else { continue };
        if line.is("myself") {
            line.id.clone_into(&mut view.id);
        }
        if line.is("master") && line.has(slot) {
            view.owner = Some(Owner { id: line.id.to_owned(), spot: place.clone(), epoch: line.epoch });
        }
        if !line.is("fail") && !line.is("handshake") && !line.is("noaddr") {
            view.nodes.push(place);
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
    id: &'a str,
    place: &'a str,
    flags: &'a str,
    epoch: u64,
    slots: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [id, place, flags, _, _, _, epoch, _, slots @ ..] = words.as_slice() else { return None };
        Some(Self { id, place, flags, epoch: epoch.parse().ok()?, slots: slots.to_vec() })
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
fn place(told: &str, (asked, _): &Spot, by_name: bool) -> Option<Spot> {
    let (address, rest) = told.split_once('@')?;
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

    fn spot(host: &str, port: u16) -> Spot {
        (host.to_owned(), port)
    }

    #[test]
    fn what_a_node_says_is_read() {
        let asked = spot("10.0.0.1", 30_001);
        let owner = |slot| view(TOLD, &asked, true, slot).owner.map(|owner| (owner.id, owner.spot, owner.epoch));
        let is = |id: &str, host: &str, port, epoch| Some((id.to_owned(), spot(host, port), epoch));
        // It does not know its own address.
        assert_eq!(owner(0), is("e7d1eec", "10.0.0.1", 30_001, 1));
        assert_eq!(owner(5_460), owner(0));
        // On its way still the old one's.
        assert_eq!(owner(5_000), owner(0));
        assert_eq!(owner(5_461), is("67ed2db", "cache-2.internal", 30_002, 2));
        assert_eq!(owner(16_383), owner(5_461));
        // It has failed, and nobody has it yet.
        assert_eq!(owner(12_000), is("292f8b3", "10.0.0.3", 30_003, 3));
        let View { id, nodes, .. } = view(TOLD, &asked, true, 0);
        assert_eq!(nodes, [spot("127.0.0.1", 30_004), spot("cache-2.internal", 30_002), spot("10.0.0.1", 30_001)]);
        assert_eq!(id, "e7d1eec");
        let by_address = view(TOLD, &asked, false, 9_000).owner;
        assert_eq!(by_address.map(|owner| owner.spot), Some(spot("127.0.0.1", 30_002)));
        assert_eq!((own_since(TOLD, 0), own_since(TOLD, 5_000), own_since(TOLD, 9_000)), (Some(1), None, None));
        assert_eq!(view("nonsense\n\n1 2 3 4 5 6 7 8 9 10", &asked, true, 9), View::default());
    }

    #[test]
    fn who_says_himself_that_it_has_gone_does_not_have_it_though_his_configuration_is_the_latest() {
        let says = |id: &str, owner: &str, epoch| View {
            id: id.to_owned(),
            owner: Some(Owner { id: owner.to_owned(), spot: spot(owner, 1), epoch }),
            nodes: Vec::new(),
        };
        let named = |views: &[View]| claims(views).map(|(owner, _)| owner.id.clone()).collect::<Vec<_>>();
        // It has another slot since, and the third has not heard where this one went.
        assert_eq!(named(&[says("a", "b", 5), says("b", "b", 5), says("c", "a", 6)]), ["b", "b"]);
        assert_eq!(named(&[says("b", "b", 5), says("c", "a", 6)]), ["b", "a"], "he was not asked");
    }

    #[test]
    fn of_many_nodes_the_owner_and_a_few_are_watched() {
        let login = RedisUrl::parse("redis://10.0.0.1").unwrap();
        let cluster = Cluster::new(login.clone(), &[login], Duration::from_secs(1));
        let owner = Some(spot("10.0.0.60", 1));
        assert_eq!(cluster.nodes.watched(None), []);
        cluster.nodes.keep((0..61).map(|node| spot(&format!("10.0.0.{node}"), 1)).collect(), 0, owner.as_ref());
        let watched = cluster.nodes.watched(owner.as_ref());
        assert_eq!((watched.len(), watched.first()), (WATCHED, owner.as_ref()));
        assert_eq!(watched.iter().filter(|node| Some(*node) == owner.as_ref()).count(), 1);
        assert_eq!(cluster.nodes.watched(owner.as_ref()), watched, "the same ones");
    }
}
