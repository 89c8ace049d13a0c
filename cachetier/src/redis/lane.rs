//! The lane over a Redis server: bumps by script over the shared connection, messages over a subscription's own.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, PushInfo, PushKind, Value};
use async_trait::async_trait;

use crate::clock::millis;
use crate::error::Fault;
use crate::key::{CELLS_PER_PAGE, CELLS_PER_TAG};
use crate::l2::lane::{Bumped, Lane, LaneNames, LaneState, Planted, Released, Seized, Subscription};
use crate::rule::seq::{Era, Seq, Token};
use crate::rule::stamp::Stamp;
use crate::rule::table::{Page, TableCopy};
use crate::wire::message::{Targets, body};
use crate::wire::slot::{TICKET, prefix};

use super::connect::{Dial, Link, Made, Pushes, failed, judged, misread};
use super::script::Script;
use super::store::{bytes, life};
use super::version::Form;

/// How many keys, or hashes of tags and prefixes, one script takes: it holds up the server for about a millisecond.
const TARGETS: usize = 1_000;

/// How many bytes of keys one message carries, so that a thousand subscribers do not each have megabytes to be sent.
const KEY_BYTES: usize = 64 << 10;

/// How the table lies in its string: a head that names its size and era, the last bump of everything, that of each page of cells, the
/// cells. As `scripts/mark.lua` and `scripts/stand.lua` write it.
const TABLE_HEAD: usize = 16;

const PAGE: usize = CELLS_PER_PAGE as usize;

/// How many pages are read at once: larger answers would hold up the messages behind them.
const PAGES: usize = 8;

/// The highest floor passed on, far from where scripts lose count. A higher one was told by no server.
const HIGHEST_FLOOR: u64 = 1 << 52;

/// The writing end of a lane in a Redis server.
#[derive(Debug)]
pub(crate) struct RedisLane {
    link: Arc<Link>,
    dial: Dial,
    names: LaneNames,
    place: Arc<Place>,
    bump: Script,
    seize: Script,
    hold: Script,
    release: Script,
    trade: Script,
    /// What a release to come may write behind every body: a field that may be overlooked.
    #[cfg(test)]
    pub(super) more: std::sync::OnceLock<Vec<u8>>,
}

/// Where the lane is, and what its two ends ask alike.
#[derive(Debug)]
struct Place {
    state: String,
    table: String,
    channel: String,
    cells: u32,
    outlives_runs: bool,
    check: Script,
}

/// A script of the lane, out of its parts.
macro_rules! lane_script {
    ($($part:literal),+) => {
        Script::of_lane(concat!(include_str!("scripts/lane.lua"), $(include_str!(concat!("scripts/", $part, ".lua"))),+))
    };
}

impl LaneNames {
    /// The string that holds era and seq.
    pub(super) fn state(&self) -> String {
        format!("ct:{{{}}}:lane", self.namespace)
    }

    /// The string that holds the tag table.
    pub(super) fn table(&self) -> String {
        format!("ct:{{{}}}:tags", self.namespace)
    }

    /// The channel on which bumps are told.
    pub(super) fn channel(&self) -> String {
        format!("ct:{{{}}}:bus", self.namespace)
    }
}

impl RedisLane {
    pub(super) fn new(link: Arc<Link>, dial: Dial, names: LaneNames, database: i64) -> Self {
        let mut channel = names.channel();
        if database != 0 {
            // Keys live in a database, channels do not: two databases' lanes of one name would hear each other.
            channel = format!("{channel}:{database}");
        }
        let check = lane_script!("table", "check", "begin", "stand");
        let (cells, outlives_runs) = (names.cells.max(1), names.outlives_runs);
        let place = Place { state: names.state(), table: names.table(), channel, cells, outlives_runs, check };
        Self {
            link,
            dial,
            names,
            place: Arc::new(place),
            bump: lane_script!("table", "bump", "begin", "next", "mark", "tell"),
            seize: lane_script!("seize", "begin", "next", "tell"),
            hold: lane_script!("holds", "hold", "begin", "next", "tell"),
            release: lane_script!("holds", "release", "begin", "next", "tell"),
            trade: lane_script!("holds", "trade", "begin", "next", "tell"),
            #[cfg(test)]
            more: std::sync::OnceLock::new(),
        }
    }

    async fn part(&self, part: &Range<usize>) -> Result<Vec<u8>, Fault> {
        Ok(bytes(self.link.send(&self.place.part(part), self.dial.settings.limits.read).await?)?.unwrap_or_default())
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "a test adds to it"))]
    fn body(&self, targets: &Targets, coming: Option<Stamp>) -> Vec<u8> {
        let body = body(targets, coming);
        #[cfg(test)]
        let body = [body.as_slice(), self.more.get().map_or(&[], Vec::as_slice)].concat();
        body
    }

    async fn bump_part(&self, targets: &Targets, floor: Token) -> Result<Bumped, Fault> {
        let values: Vec<String> = targets.keys.iter().map(|key| self.names.value(key)).collect();
        let lane = [self.place.state.as_bytes(), self.place.table.as_bytes()];
        let keys: Vec<&[u8]> = lane.into_iter().chain(values.iter().map(String::as_bytes)).collect();
        let caller = self.place.caller(floor);
        let [fresh, known, floor, cells] = caller.each_ref().map(String::as_bytes);
        let hashes: Vec<u8> = targets.tags.iter().chain(&targets.prefixes).flat_map(|hash| hash.0.to_be_bytes()).collect();
        let (all, body): (&[u8], _) = (if targets.all { b"1" } else { b"0" }, self.body(targets, None));
        let args = [fresh, known, floor, cells, self.place.channel.as_bytes(), &hashes, all, &body];
        let [era, seq, held] = numbers(self.link.run(&self.bump, &keys, &args, self.dial.settings.limits.command).await?)?;
        Ok(Bumped { token: token(era, seq)?, held })
    }

    /// What a guard does to some keys: HOLD or RELEASE, with its time.
    async fn guard_part(
        &self,
        script: &Script,
        targets: &Targets,
        guard: Stamp,
        time: u64,
        floor: Token,
    ) -> Result<[u64; 3], Fault> {
        let values: Vec<String> = targets.keys.iter().map(|key| self.names.value(key)).collect();
        let lane = [self.place.state.as_bytes(), self.place.table.as_bytes()];
        let keys: Vec<&[u8]> = lane.into_iter().chain(values.iter().map(String::as_bytes)).collect();
        let (caller, time) = (self.place.caller(floor), time.to_string());
        let [fresh, known, floor, cells] = caller.each_ref().map(String::as_bytes);
        let body = self.body(targets, None);
        let args = [fresh, known, floor, cells, self.place.channel.as_bytes(), &body, &guard.0, time.as_bytes()];
        numbers(self.link.run(script, &keys, &args, self.dial.settings.limits.command).await?)
    }
}

/// What a fault in a later part means for the whole: some of it has run, so neither "not sent" nor "refused" would be true.
fn of_part(fault: Fault, first: bool) -> Fault {
    match fault {
        Fault::Away(why) | Fault::Refused(why) if !first => Fault::Unanswered(why),
        fault => fault,
    }
}

#[async_trait]
impl Lane for RedisLane {
    async fn bump(&self, targets: &Targets, floor: Token) -> Result<Bumped, Fault> {
        let Some(parts) = split(targets) else { return self.bump_part(targets, floor).await };
        let mut done: Option<Bumped> = None;
        for part in &parts {
            let bumped = self.bump_part(part, floor).await.map_err(|fault| of_part(fault, done.is_none()))?;
            let before = done.map_or(0, |done| done.held);
            done = Some(Bumped { token: bumped.token, held: bumped.held.saturating_add(before) });
        }
        done.ok_or_else(|| misread("at least one part"))
    }

    async fn seize(&self, key: &str, ticket: Stamp, lease: Duration, floor: Token) -> Result<Seized, Fault> {
        let value = self.names.value(key);
        let keys = [self.place.state.as_bytes(), self.place.table.as_bytes(), value.as_bytes()];
        let (caller, lease) = (self.place.caller(floor), life(lease).to_string());
        let [fresh, known, floor, cells] = caller.each_ref().map(String::as_bytes);
        let targets = Targets { keys: vec![key.to_owned()], ..Targets::default() };
        let (body, slot) = (self.body(&targets, Some(ticket)), prefix(TICKET, ticket));
        let args = [fresh, known, floor, cells, self.place.channel.as_bytes(), &body, &slot, lease.as_bytes()];
        let [era, seq, planted] = numbers(self.link.run(&self.seize, &keys, &args, self.dial.settings.limits.command).await?)?;
        let token = token(era, seq)?;
        Ok(if planted == 1 { Seized::Planted(token) } else { Seized::Held(token) })
    }

    async fn hold(&self, keys: &[String], guard: Stamp, limit: Duration, floor: Token) -> Result<Planted, Fault> {
        let mut stands = None;
        for part in parts(keys) {
            let part = self.guard_part(&self.hold, &part, guard, life(limit), floor).await;
            let [era, seq, planted] = part.map_err(|fault| of_part(fault, stands.is_none()))?;
            if planted == 0 {
                return Ok(Planted::Crowded);
            }
            stands = Some(token(era, seq)?);
        }
        stands.map(Planted::Yes).ok_or_else(|| misread("at least one part"))
    }

    async fn release(&self, keys: &[String], guard: Stamp, lag: Duration, floor: Token) -> Result<Released, Fault> {
        let mut done: Option<Released> = None;
        for part in parts(keys) {
            let part = self.guard_part(&self.release, &part, guard, millis(lag), floor).await;
            let [era, seq, stood] = part.map_err(|fault| of_part(fault, done.is_none()))?;
            let before = done.map_or(0, |done| done.stood);
            done = Some(Released { token: token(era, seq)?, stood: stood.saturating_add(before) });
        }
        done.ok_or_else(|| misread("at least one part"))
    }

    async fn trade(&self, key: &str, guard: Stamp, ticket: Stamp, lease: Duration, floor: Token) -> Result<Seized, Fault> {
        let value = self.names.value(key);
        let keys = [self.place.state.as_bytes(), self.place.table.as_bytes(), value.as_bytes()];
        let (caller, lease) = (self.place.caller(floor), life(lease).to_string());
        let [fresh, known, floor, cells] = caller.each_ref().map(String::as_bytes);
        let targets = Targets { keys: vec![key.to_owned()], ..Targets::default() };
        let (body, slot) = (self.body(&targets, Some(ticket)), prefix(TICKET, ticket));
        let channel = self.place.channel.as_bytes();
        let args = [fresh, known, floor, cells, channel, &body, &guard.0, &slot, lease.as_bytes()];
        let [era, seq, planted] = numbers(self.link.run(&self.trade, &keys, &args, self.dial.settings.limits.command).await?)?;
        let token = token(era, seq)?;
        Ok(if planted == 1 { Seized::Planted(token) } else { Seized::Held(token) })
    }

    async fn stand(&self, floor: Token) -> Result<LaneState, Fault> {
        let keys = [self.place.state.as_bytes(), self.place.table.as_bytes()];
        let line = self.link.line()?;
        let args = self.place.checker(floor, line.run());
        let args = args.each_ref().map(String::as_bytes);
        lane_state(self.link.run_over(line, &self.place.check, &keys, &args, self.dial.settings.limits.read).await?)
    }

    async fn table(&self, state: LaneState, since: Seq) -> Result<TableCopy, Fault> {
        let layout = Layout::of(state);
        let begin = self.part(&layout.begin()).await?;
        let (mut copy, parts) = layout.moved(&begin, since)?;
        for (first, part) in parts {
            copy.pages.push(Page { first, cells: self.part(&part).await? });
        }
        Ok(copy)
    }

    fn line(&self) -> u64 {
        self.link.lines()
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, Fault> {
        // Cancel safety: until it is returned, the connection belongs to this call and ends with it.
        let made = self.dial.connect().await.map_err(|refusal| Fault::Away(refusal.why))?;
        let Made { mut connection, form, run, pushes } = made;
        let limit = self.dial.settings.limits.command;
        match tokio::time::timeout(limit, connection.subscribe(&self.place.channel)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => return Err(Fault::Unanswered(format!("no confirmation within {limit:?}").into())),
        }
        // Before anything is proven: a proof makes copies suspect that have lived without one, and whoever cannot ask for their stamps must
        // load them all.
        self.link.revive(run, limit).await;
        let proves_for = self.dial.settings.max_staleness;
        Ok(Box::new(RedisSubscription {
            connection,
            form,
            pushes,
            place: Arc::clone(&self.place),
            run,
            limit,
            proves_for,
            commands: Arc::clone(&self.link),
        }))
    }
}

impl Place {
    /// Reads that part of the table.
    fn part(&self, part: &Range<usize>) -> Cmd {
        let mut command = Cmd::with_capacity(4, self.table.len() + 32);
        command.arg("GETRANGE").arg(&self.table).arg(part.start).arg(part.end.saturating_sub(1));
        command
    }

    /// What every script of the lane is told of its caller: an era to begin if there is none, the era known here, the highest seq told
    /// in it, the size of a table to begin.
    fn caller(&self, floor: Token) -> [String; 4] {
        let Era(known) = floor.era;
        [fresh_era(), known.to_string(), decimal(floor.seq), self.cells.to_string()]
    }

    /// What a check is told: its caller, the run that he knows of or zero, whether the lane outlives runs.
    fn checker(&self, floor: Token, run: u64) -> [String; 6] {
        let [fresh, known, floor, cells] = self.caller(floor);
        [fresh, known, floor, cells, run.to_string(), u8::from(self.outlives_runs).to_string()]
    }
}

/// The keys of a guard, in as many pieces as it takes scripts.
fn parts(keys: &[String]) -> Vec<Targets> {
    let whole = Targets { keys: keys.to_vec(), ..Targets::default() };
    split(&whole).unwrap_or_else(|| vec![whole])
}

/// Cuts targets that are too many for one script; `None` if they are not. Everything else holds once "everything" is bumped, so
/// that comes first.
fn split(targets: &Targets) -> Option<Vec<Targets>> {
    let hashes = targets.tags.len().saturating_add(targets.prefixes.len());
    let bytes: usize = targets.keys.iter().map(String::len).sum();
    if targets.keys.len() <= TARGETS && bytes <= KEY_BYTES && hashes <= TARGETS {
        return None;
    }
    let mut parts = Vec::new();
    if targets.all {
        parts.push(Targets { all: true, ..Targets::default() });
    }
    if targets.doubt {
        parts.push(Targets { doubt: true, ..Targets::default() });
    }
    for tags in targets.tags.chunks(TARGETS) {
        parts.push(Targets { tags: tags.to_vec(), ..Targets::default() });
    }
    for prefixes in targets.prefixes.chunks(TARGETS) {
        parts.push(Targets { prefixes: prefixes.to_vec(), ..Targets::default() });
    }
    let (mut part, mut bytes) = (Targets::default(), 0_usize);
    for key in &targets.keys {
        bytes = bytes.saturating_add(key.len());
        if part.keys.len() == TARGETS || (bytes > KEY_BYTES && !part.keys.is_empty()) {
            parts.push(std::mem::take(&mut part));
            bytes = key.len();
        }
        part.keys.push(key.clone());
    }
    if !part.keys.is_empty() {
        parts.push(part);
    }
    Some(parts)
}

/// The era that a lane without one begins. Never zero, which stands for "none known".
fn fresh_era() -> String {
    fastrand::u32(1..).to_string()
}

fn decimal(floor: Seq) -> String {
    if floor.0 > HIGHEST_FLOOR { "0".to_owned() } else { floor.0.to_string() }
}

/// Reads an answer of whole numbers.
pub(super) fn numbers<const N: usize>(reply: Value) -> Result<[u64; N], Fault> {
    let Value::Array(values) = reply else { return Err(misread("a list of numbers")) };
    let numbers: Option<Vec<u64>> = values
        .into_iter()
        .map(|value| match value {
            Value::Int(number) => u64::try_from(number).ok(),
            _ => None,
        })
        .collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| misread("a list of numbers"))
}

/// What a check's answer says.
fn lane_state(reply: Value) -> Result<LaneState, Fault> {
    let [era, seq, server_millis, cells, run] = numbers(reply)?;
    let cells = u32::try_from(cells).ok().filter(|cells| cells.is_power_of_two()).ok_or_else(|| misread("a power of two"))?;
    Ok(LaneState { token: token(era, seq)?, server_millis, cells, run })
}

fn token(era: u64, seq: u64) -> Result<Token, Fault> {
    let era = u32::try_from(era).map_err(|_| misread("an era below 2^32"))?;
    Ok(Token { era: Era(era), seq: Seq(seq) })
}

/// The reading end of a lane: a connection of its own.
struct RedisSubscription {
    connection: MultiplexedConnection,
    form: Form,
    /// The connection's task puts each message here before it looks at what the server sent next, the answer to a check
    /// included: so whatever was published before that answer is here when the answer is.
    pushes: Pushes,
    place: Arc<Place>,
    /// As [`Made::run`].
    run: u64,
    limit: Duration,
    proves_for: Duration,
    /// The commands' connection: as long as this one is answered, it need not be waited for.
    commands: Arc<Link>,
}

impl RedisSubscription {
    async fn part(&mut self, part: &Range<usize>) -> Result<Vec<u8>, Fault> {
        let command = self.place.part(part);
        let part = tokio::time::timeout(self.limit, self.connection.send_packed_command(&command)).await;
        Ok(bytes(judged(part, self.limit)?)?.unwrap_or_default())
    }
}

/// Cells in a row: the index of the first, and where they lie.
type Part = (u32, Range<usize>);

/// Where what lies in the string of a table.
struct Layout {
    state: LaneState,
    cells: usize,
    /// Where they begin.
    first: usize,
}

impl Layout {
    fn of(state: LaneState) -> Self {
        let cells = usize::try_from(state.cells).unwrap_or(usize::MAX);
        let pages = cells.div_ceil(PAGE);
        Self { state, cells, first: TABLE_HEAD.saturating_add(8).saturating_add(pages.saturating_mul(8)) }
    }

    /// What stands before the cells.
    fn begin(&self) -> Range<usize> {
        0..self.first
    }

    /// What that says of everything, and where the cells lie that were bumped after `since`, with the index of the first.
    fn moved(&self, begin: &[u8], since: Seq) -> Result<(TableCopy, Vec<Part>), Fault> {
        let mut copy = TableCopy { cells: self.state.cells, ..TableCopy::default() };
        if begin.is_empty() {
            return Ok((copy, Vec::new()));
        }
        let Era(era) = self.state.token.era;
        let head = [*b"ctt\x01", self.state.cells.to_be_bytes(), era.to_be_bytes(), CELLS_PER_TAG.to_be_bytes()].concat();
        let Some(told) = begin.strip_prefix(head.as_slice()) else {
            return Err(Fault::Refused("the table is another's".into()));
        };
        let mut told = told.chunks_exact(8).map(|seq| Seq(seq.iter().fold(0, |seq, byte| (seq << 8) | u64::from(*byte))));
        copy.all = told.next().unwrap_or_default();
        let moved: Vec<usize> = told.enumerate().filter(|(_, seq)| *seq > since).map(|(page, _)| page).collect();
        let runs = moved.chunk_by(|page, next| page.saturating_add(1) == *next).flat_map(|run| run.chunks(PAGES));
        let parts = runs.map(|run| {
            let from = run.first().copied().unwrap_or_default().saturating_mul(PAGE);
            let until = from.saturating_add(run.len().saturating_mul(PAGE)).min(self.cells);
            let place = |cell: usize| self.first.saturating_add(cell.saturating_mul(8));
            (u32::try_from(from).unwrap_or(u32::MAX), place(from)..place(until))
        });
        Ok((copy, parts.collect()))
    }
}

/// What a push means to a subscription.
enum Push {
    Message(Vec<u8>),
    /// The confirmation, and whatever newer servers may have to say.
    Other,
    Lost,
}

fn read(push: PushInfo) -> Push {
    match push.kind {
        PushKind::Message => match push.data.into_iter().nth(1) {
            Some(Value::BulkString(payload)) => Push::Message(payload),
            _ => Push::Lost,
        },
        PushKind::Disconnection | PushKind::Unsubscribe => Push::Lost,
        _ => Push::Other,
    }
}

fn lost() -> Fault {
    Fault::Away("the subscription is lost".into())
}

#[async_trait]
impl Subscription for RedisSubscription {
    async fn next(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            // Cancel safety: receiving takes a push or leaves it.
            match self.pushes.recv().await.map_or(Push::Lost, read) {
                Push::Message(payload) => return Ok(payload),
                Push::Other => {}
                Push::Lost => {
                    self.pushes.close();
                    return Err(lost());
                }
            }
        }
    }

    fn ready(&mut self) -> Option<Vec<u8>> {
        loop {
            match read(self.pushes.try_recv().ok()?) {
                Push::Message(payload) => return Some(payload),
                Push::Other => {}
                Push::Lost => {
                    // Closed, so that `next` says so too.
                    self.pushes.close();
                    return None;
                }
            }
        }
    }

    async fn check(&mut self, floor: Token) -> Result<LaneState, Fault> {
        if self.pushes.is_closed() {
            // The connection may still answer when the subscription is gone: that would prove nothing.
            return Err(lost());
        }
        let keys = [self.place.state.as_bytes(), self.place.table.as_bytes()];
        let args = self.place.checker(floor, self.run);
        let args = args.each_ref().map(String::as_bytes);
        let check = self.place.check.run(self.form, &mut self.connection, &keys, &args);
        let state = lane_state(judged(tokio::time::timeout(self.limit, check).await, self.limit)?)?;
        if !self.commands.agrees(state.run) {
            return Err(Fault::Away("commands went to another server".into()));
        }
        Ok(state)
    }

    async fn table(&mut self, state: LaneState, since: Seq) -> Result<TableCopy, Fault> {
        let layout = Layout::of(state);
        let begin = self.part(&layout.begin()).await?;
        let (mut copy, parts) = layout.moved(&begin, since)?;
        for (first, part) in parts {
            copy.pages.push(Page { first, cells: self.part(&part).await? });
        }
        Ok(copy)
    }

    fn proves_for(&self) -> Option<Duration> {
        Some(self.proves_for)
    }
}
