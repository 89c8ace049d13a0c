//! The writing end of the lane over a Redis server: bumps by script, over the shared connection. What lies where in the table is `table`'s.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::redis::Value;
use async_trait::async_trait;

use crate::clock::millis;
use crate::error::Fault;
use crate::l2::lane::{Bumped, Lane, LaneNames, LaneState, Planted, Released, Seized, Subscription};
use crate::rule::seq::{Point, Seq};
use crate::rule::stamp::Stamp;
use crate::rule::table::TableCopy;
use crate::wire::message::{Targets, body};
use crate::wire::slot::{TICKET, prefix};

use super::answer::misread;
use super::connect::{Line, Link};
use super::dial::Dial;
use super::place::{Place, caller, known, told};
use super::script::{Script, lane_script};
use super::store::{bytes, life};
use super::subscription::RedisSubscription;
use super::table::{Layout, Reader};

/// How many keys, or hashes of tags and prefixes, one script takes: it holds up the server for about a millisecond.
const TARGETS: usize = 1_000;

/// How many bytes of keys one message carries, so that a thousand subscribers do not each have megabytes to be sent.
const KEY_BYTES: usize = 64 << 10;

/// How many bumps of keys take the longer way after one has been declined the shorter: each of these has to be sent again.
pub(super) const UNUSUAL: u32 = 100;

/// How often a bump is sent that finds a table of another size each time.
const TRIES: usize = 3;

/// The writing end of a lane in a Redis server.
#[derive(Debug)]
pub(crate) struct RedisLane {
    link: Arc<Link>,
    dial: Dial,
    names: LaneNames,
    place: Arc<Place>,
    bump: Script,
    /// The same for keys alone, as it usually is: it declines where there is more to look at.
    usual: Script,
    /// So many bumps of keys will not ask it: it has declined lately.
    unusual: AtomicU32,
    seize: Script,
    expire: Script,
    hold: Script,
    release: Script,
    trade: Script,
    /// What a release to come may write behind every body: a field that may be overlooked.
    #[cfg(test)]
    pub(super) more: std::sync::OnceLock<Vec<u8>>,
}

impl RedisLane {
    pub(super) fn new(link: Arc<Link>, dial: Dial, names: LaneNames, database: i64) -> Self {
        let (place, sharded) = (Place::new(&names, database), names.in_one_slot);
        let of = |script: Script| script.sharded(sharded);
        Self {
            link,
            dial,
            names,
            place: Arc::new(place),
            bump: of(lane_script!("next", "table", "place", "bump", "begin", "mark", "tell")),
            usual: of(Script::of_lane(include_str!("scripts/usual.lua"))),
            unusual: AtomicU32::new(0),
            seize: of(lane_script!("next", "seize", "begin", "tell")),
            expire: of(lane_script!("next", "expire", "begin", "tell")),
            hold: of(lane_script!("next", "holds", "hold", "begin", "tell")),
            release: of(lane_script!("next", "holds", "release", "begin", "tell")),
            trade: of(lane_script!("next", "holds", "trade", "begin", "tell")),
            #[cfg(test)]
            more: std::sync::OnceLock::new(),
        }
    }

    /// Runs a script of the lane on some keys, for a caller who was told of this floor and of so many cells. What it is told besides is the
    /// channel, the body, and `more`.
    async fn run(
        &self,
        script: &Script,
        keys: &[String],
        (floor, cells): (Point, u32),
        body: &[u8],
        more: &[&[u8]],
    ) -> Result<Value, Fault> {
        let line = self.link.line()?;
        let caller = caller(floor, cells, line.run());
        let told = [caller.as_slice(), self.place.channel.as_bytes(), body];
        let args: Vec<&[u8]> = told.into_iter().chain(more.iter().copied()).collect();
        self.send(line, script, &self.place.keys(), keys, &args).await
    }

    /// Sends a script that bumps.
    ///
    /// A command that does nothing goes before it. What one turn of the server's loop has to send goes first to whom it had something to
    /// say last: to the caller, if the script's answer is all that he gets, and then to those who wait for the message. So he is answered
    /// twice, and they are told first.
    async fn send(&self, line: Line, script: &Script, of_lane: &[&[u8]], keys: &[String], args: &[&[u8]]) -> Result<Value, Fault> {
        let values: Vec<String> = keys.iter().map(|key| self.names.value(key)).collect();
        let keys: Vec<&[u8]> = of_lane.iter().copied().chain(values.iter().map(String::as_bytes)).collect();
        self.link.run_behind(line, ::redis::cmd("PING"), script, &keys, args, self.dial.settings.limits.command).await
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "a test adds to it"))]
    fn body(&self, targets: &Targets, coming: Option<Stamp>) -> Vec<u8> {
        let body = body(targets, coming);
        #[cfg(test)]
        let body = [body.as_slice(), self.more.get().map_or(&[], Vec::as_slice)].concat();
        body
    }

    /// The shorter way of a bump of keys alone; nothing where it takes the longer.
    async fn bump_as_usual(&self, targets: &Targets, floor: Point, body: &[u8]) -> Result<Option<Bumped>, Fault> {
        let alone = !targets.keys.is_empty() && targets.tags.is_empty() && targets.prefixes.is_empty() && !targets.all;
        let passes = |left: u32| left.checked_sub(1);
        if !alone || self.unusual.fetch_update(Ordering::Relaxed, Ordering::Relaxed, passes).is_ok() {
            return Ok(None);
        }
        let line = self.link.line()?;
        let told_of = [&known(floor)[..], &line.run().to_be_bytes(), body].concat();
        match self.send(line, &self.usual, &[self.place.state()], &targets.keys, &[self.place.channel.as_bytes(), &told_of]).await?
        {
            // Nothing was done.
            Value::Int(0) => {
                self.unusual.store(UNUSUAL, Ordering::Relaxed);
                Ok(None)
            }
            answer => told(answer).map(|(point, held)| Some(Bumped { point, held })),
        }
    }

    async fn bump_parts(&self, parts: &[Targets], floor: Point) -> Result<Bumped, Fault> {
        let mut done: Option<Bumped> = None;
        for part in parts {
            let bumped = self.bump_part(part, floor).await.map_err(|fault| of_part(fault, done.is_none()))?;
            let before = done.map_or(0, |done| done.held);
            done = Some(Bumped { point: bumped.point, held: bumped.held.saturating_add(before) });
        }
        done.ok_or_else(|| misread("at least one part"))
    }

    async fn bump_part(&self, targets: &Targets, floor: Point) -> Result<Bumped, Fault> {
        let body = self.body(targets, None);
        match self.bump_as_usual(targets, floor, &body).await? {
            Some(bumped) => Ok(bumped),
            None => self.bump_in_full(targets, floor, &body).await,
        }
    }

    /// The longer way.
    async fn bump_in_full(&self, targets: &Targets, floor: Point, body: &[u8]) -> Result<Bumped, Fault> {
        for _ in 0..TRIES {
            let cells = self.place.cells_now();
            let places: Vec<String> = Layout::of(cells).places(targets).iter().map(usize::to_string).collect();
            let places: Vec<&[u8]> = places.iter().map(String::as_bytes).collect();
            match self.run(&self.bump, &targets.keys, (floor, cells), body, &places).await? {
                // Nothing was done.
                Value::Int(other) => _ = self.place.has_cells(u64::try_from(other).unwrap_or_default())?,
                answer => return told(answer).map(|(point, held)| Bumped { point, held }),
            }
        }
        Err(Fault::Refused("the table has another size each time".into()))
    }

    /// What a guard does to some keys: HOLD or RELEASE, with its time.
    async fn guard_part(&self, script: &Script, targets: &Targets, guard: Stamp, time: u64, floor: Point) -> Result<Value, Fault> {
        let (body, time) = (self.body(targets, None), time.to_string());
        self.run(script, &targets.keys, (floor, self.place.cells), &body, &[&guard.0, time.as_bytes()]).await
    }

    /// Plants a ticket in a key: what a `set` and a guard's store begin with. `guard` is told of before it.
    async fn plant(
        &self,
        script: &Script,
        key: &str,
        guard: Option<&Stamp>,
        ticket: Stamp,
        lease: Duration,
        floor: Point,
    ) -> Result<Seized, Fault> {
        let targets = Targets { keys: vec![key.to_owned()], ..Targets::default() };
        let body = self.body(&targets, Some(ticket));
        let (slot, lease) = (prefix(TICKET, ticket), life(lease).to_string());
        let more: Vec<&[u8]> = guard.map(|guard| guard.0.as_slice()).into_iter().chain([&slot[..], lease.as_bytes()]).collect();
        let (point, planted) = told(self.run(script, &targets.keys, (floor, self.place.cells), &body, &more).await?)?;
        Ok(if planted == 1 { Seized::Planted(point) } else { Seized::Held(point) })
    }
}

#[async_trait]
impl Reader for &RedisLane {
    async fn part(&mut self, part: Range<usize>) -> Result<Vec<u8>, Fault> {
        Ok(bytes(self.link.send(self.link.spare_line()?, &self.place.part(&part), self.dial.settings.limits.read).await?)?
            .unwrap_or_default())
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
    async fn bump(&self, targets: &Targets, floor: Point) -> Result<Bumped, Fault> {
        match split(targets) {
            None => self.bump_part(targets, floor).await,
            Some(parts) => self.bump_parts(&parts, floor).await,
        }
    }

    async fn seize(&self, key: &str, ticket: Stamp, lease: Duration, floor: Point) -> Result<Seized, Fault> {
        self.plant(&self.seize, key, None, ticket, lease, floor).await
    }

    async fn expire(&self, key: &str, stamp: Stamp, floor: Point) -> Result<Bumped, Fault> {
        let targets = Targets { keys: vec![key.to_owned()], stale: true, ..Targets::default() };
        let (body, caller) = (self.body(&targets, None), (floor, self.place.cells));
        let (point, held) = told(self.run(&self.expire, &targets.keys, caller, &body, &[&stamp.0]).await?)?;
        Ok(Bumped { point, held })
    }

    async fn announce(&self, key: &str, stamp: Stamp, floor: Point) -> Result<Bumped, Fault> {
        let targets = Targets { keys: vec![key.to_owned()], stale: true, ..Targets::default() };
        // The script is told of no key: what it holds stays.
        self.bump_in_full(&Targets::default(), floor, &self.body(&targets, Some(stamp))).await
    }

    async fn hold(&self, keys: &[String], guard: Stamp, limit: Duration, floor: Point) -> Result<Planted, Fault> {
        let mut stands = None;
        for part in parts(keys) {
            let part = self.guard_part(&self.hold, &part, guard, life(limit), floor).await;
            let answer = part.map_err(|fault| of_part(fault, stands.is_none()))?;
            if matches!(&answer, Value::BulkString(told) if told.is_empty()) {
                return Ok(Planted::Crowded);
            }
            stands = Some(told(answer)?.0);
        }
        stands.map(Planted::Yes).ok_or_else(|| misread("at least one part"))
    }

    async fn release(&self, keys: &[String], guard: Stamp, lag: Duration, floor: Point) -> Result<Released, Fault> {
        let mut done: Option<Released> = None;
        for part in parts(keys) {
            let part = self.guard_part(&self.release, &part, guard, millis(lag), floor).await;
            let (point, stood) = told(part.map_err(|fault| of_part(fault, done.is_none()))?)?;
            let before = done.map_or(0, |done| done.stood);
            done = Some(Released { point, stood: stood.saturating_add(before) });
        }
        done.ok_or_else(|| misread("at least one part"))
    }

    async fn trade(&self, key: &str, guard: Stamp, ticket: Stamp, lease: Duration, floor: Point) -> Result<Seized, Fault> {
        self.plant(&self.trade, key, Some(&guard), ticket, lease, floor).await
    }

    async fn stand(&self, floor: Point) -> Result<LaneState, Fault> {
        let line = self.link.spare_line()?;
        let (check, keys, args) = self.place.check(floor, line.run());
        let args = args.each_ref().map(Vec::as_slice);
        self.place.found(self.link.run(line, check, &keys, &args, self.dial.settings.limits.read).await?)
    }

    async fn table(&self, state: LaneState, since: Seq) -> Result<TableCopy, Fault> {
        Layout::of(state.cells).read(&mut &*self, state.point.era, since).await
    }

    fn line(&self) -> u64 {
        self.link.lines()
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, Fault> {
        Ok(Box::new(RedisSubscription::open(&self.dial, Arc::clone(&self.place), Arc::clone(&self.link)).await?))
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
