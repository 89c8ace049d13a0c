//! Values by key in a Redis server: each verb one command or one script.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, Pipeline, RedisWrite as _, Value};
use async_trait::async_trait;

use crate::clock::millis;
use crate::error::Fault;
use crate::l2::lane::LaneNames;
use crate::l2::many::{Answers, Claim, Fill, Lease, Seen, Standing};
use crate::l2::walk::{Selection, Walk};
use crate::l2::{Claimed, Filled, LeaseCall, Leased, Limits, NotReady, Prospect, Store};
use crate::rule::breaker::BreakerState;
use crate::rule::stamp::Stamp;
use crate::wire::slot::{PREFIX, Slot, TICKET, VALUE, prefix};
use crate::wire::wake::{Mailbox, SMALL};

use super::answer::{failed, misread};
use super::connect::{Line, Link};
use super::dial::Dial;
use super::large::{LARGE, Large};
use super::script::{Run, Script, waking_script};
use super::version::Form;
use super::walk::RedisWalk;

/// The longest life a server is asked for: a hundred years. It refuses what its clock cannot be added to.
const LONGEST: u64 = 100 * 365 * 24 * 60 * 60 * 1_000;

/// For how many milliseconds a value lies beside its key at most, should nobody move it.
const BESIDE: u64 = 10_000;

/// Whether something can be done without, if the breaker says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urge {
    Spare,
    Needed,
}

/// Values in a Redis server.
#[derive(Debug)]
pub(crate) struct RedisStore {
    link: Arc<Link>,
    large: Large,
    dial: Dial,
    limits: Limits,
    /// What stands before a mailbox in the name of its channel.
    channels: String,
    /// This instance's.
    mailbox: Mailbox,
    probe: Script,
    fill: Script,
    shift: Script,
    claim: Script,
    abandon: Script,
    wait: Script,
    extend: Script,
    lease: Script,
    renew: Script,
}

impl RedisStore {
    pub(super) fn new(link: Arc<Link>, dial: Dial, names: &LaneNames) -> Self {
        Self {
            link,
            large: Large::new(dial.clone()),
            limits: dial.settings.limits,
            dial,
            channels: names.channels(),
            mailbox: names.mailbox,
            probe: Script::of_entry(include_str!("scripts/probe.lua")),
            fill: waking_script!("#!lua", "fill").sharded(names.in_one_slot),
            shift: waking_script!("#!lua", "move").sharded(names.in_one_slot),
            claim: Script::of_entry(include_str!("scripts/claim.lua")),
            abandon: waking_script!("#!lua flags=allow-oom", "abandon").sharded(names.in_one_slot),
            wait: Script::of_entry(include_str!("scripts/wait.lua")),
            extend: Script::of_entry(include_str!("scripts/extend.lua")),
            lease: Script::of_entry(include_str!("scripts/lease.lua")),
            renew: Script::of_entry(include_str!("scripts/renew.lua")),
        }
    }

    /// The connection that what is asked goes over.
    fn way(&self, urge: Urge, large: bool) -> Result<(&Link, Line), Fault> {
        let way = if large { self.large.way(&self.link)? } else { (self.link.as_ref(), self.link.line()?) };
        if urge == Urge::Spare {
            way.0.admits()?;
        }
        Ok(way)
    }

    /// As [`RedisStore::way`], for the values of these: one for all, so that they are one write.
    fn way_to<'a>(&self, mut keys: impl Iterator<Item = &'a str>) -> Result<(&Link, Line), Fault> {
        self.way(Urge::Spare, keys.any(|key| self.large.knows(key)))
    }

    /// What each of several keys holds.
    fn found_many<'a>(
        &self,
        keys: impl ExactSizeIterator<Item = &'a str>,
        replies: Result<Vec<Value>, Fault>,
    ) -> Answers<Option<Vec<u8>>> {
        let answers = each(keys.len(), replies, bytes);
        for (key, answer) in keys.zip(&answers) {
            if let Ok(Some(found)) = answer {
                self.large.saw(key, found);
            }
        }
        answers
    }

    /// What a key holds.
    fn found(&self, key: &str, reply: Value) -> Result<Option<Vec<u8>>, Fault> {
        let found = bytes(reply)?;
        if let Some(found) = &found {
            self.large.saw(key, found);
        }
        Ok(found)
    }

    /// What there is to wait for.
    fn awaited(&self, key: &str, reply: Value) -> Result<Prospect, Fault> {
        match reply {
            Value::Int(left) => {
                Ok(u64::try_from(left).map_or(Prospect::Untold, |left| Prospect::Told(Duration::from_millis(left))))
            }
            reply => self.found(key, reply).map(Prospect::Not),
        }
    }

    async fn probe_by_script(
        &self,
        (over, line): (&Link, Line),
        key: &str,
        ticket: Stamp,
        lease: Duration,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let (ticket, lease) = (prefix(TICKET, ticket), life(lease).to_string());
        let reply = over.run(line, &self.probe, &[key.as_bytes()], &[&ticket, lease.as_bytes()], self.limits.read).await;
        match reply {
            Ok(reply) => self.found(key, reply),
            // It has looked first: there was nothing to read.
            Err(Fault::Refused(why)) if why.starts_with("OOM") => Err(Fault::Full(why)),
            Err(fault) => Err(fault),
        }
    }

    /// A run for each, in the form that the server at the end of this way can read, in one go.
    async fn swap_many<'a, I: ExactSizeIterator, T>(
        &self,
        way: Result<(&Link, Line), Fault>,
        each_of: I,
        run: impl Fn(Form, I::Item) -> Run<'a>,
        (limit, what): (Duration, impl Fn(bool) -> T),
    ) -> Answers<T> {
        let count = each_of.len();
        let replies = match way {
            Ok((over, line)) => {
                let form = line.form();
                let runs: Vec<Run<'_>> = each_of.map(|one| run(form, one)).collect();
                over.run_many(line, runs, limit).await
            }
            Err(fault) => Err(fault),
        };
        each(count, replies, |reply| swapped(&reply).map(&what))
    }

    async fn run_leases(
        &self,
        way: Result<(&Link, Line), Fault>,
        leases: &[Lease<'_>],
        call: LeaseCall,
    ) -> Result<Vec<Value>, Fault> {
        let (over, line) = way?;
        let (form, time) = (line.form(), lasting(call).to_string());
        let run = |lease: &Lease<'_>| {
            let who = lease.who.to_string();
            let args = [&lease.seen.0[..], time.as_bytes(), who.as_bytes(), b"1"];
            Run::new(&self.lease, form, &[lease.name.as_bytes()], args.get(..words(call)).unwrap_or(&args))
        };
        over.run_many(line, leases.iter().map(run).collect(), self.limit_of(call)).await
    }

    /// A reader waits for a lease that is to be had first.
    fn limit_of(&self, call: LeaseCall) -> Duration {
        if matches!(call, LeaseCall::Take(_)) { self.limits.read } else { self.limits.command }
    }

    /// Puts the value in the place of what begins with `seen`.
    async fn put_for(&self, urge: Urge, key: &str, seen: &[u8], value: &[u8], life_of: Duration) -> Result<Filled, Fault> {
        let (over, line) = self.way(urge, value.len() >= LARGE)?;
        let lasts = life(life_of).to_string();
        let limit = self.limits.command;
        // An argument costs a script about two nanoseconds a byte. So a larger one is put beside the key first, under a name that only this fill
        // knows, and moved there.
        let reply = if value.len() <= SMALL {
            over.run(line, &self.fill, &[key.as_bytes()], &[seen, value, lasts.as_bytes(), self.channels()], limit).await?
        } else {
            let (beside, put) = lay_beside(key, value);
            let args = [seen, lasts.as_bytes(), head(value), self.channels()];
            over.run_behind(line, put, &self.shift, &[key.as_bytes(), beside.as_bytes()], &args, limit).await?
        };
        // Who stores it is who reads it next.
        self.large.note(key, value.len());
        Ok(if swapped(&reply)? { Filled::Stored } else { Filled::Refused })
    }

    fn channels(&self) -> &[u8] {
        self.channels.as_bytes()
    }

    async fn swap(
        &self,
        (over, line): (&Link, Line),
        script: &Script,
        key: &str,
        args: &[&[u8]],
        limit: Duration,
    ) -> Result<bool, Fault> {
        swapped(&over.run(line, script, &[key.as_bytes()], args, limit).await?)
    }
}

/// The name beside the key under which a value lies first, and what puts it there.
fn lay_beside(key: &str, value: &[u8]) -> (String, Cmd) {
    let mut stamp = [0; Stamp::LEN];
    stamp.iter_mut().zip(head(value).iter().skip(1)).for_each(|(place, byte)| *place = *byte);
    let beside = format!("{key}#{}", ending(Stamp(stamp)));
    let mut put = Cmd::with_capacity(5, beside.len() + value.len() + 16);
    put.arg("SET").arg(&beside).arg(value).arg("PX").arg(BESIDE);
    (beside, put)
}

/// Kind and stamp of a value.
fn head(value: &[u8]) -> &[u8] {
    value.get(..PREFIX).unwrap_or(value)
}

/// What the name of a value on its way to its key ends with, behind a `#`.
pub(super) fn ending(stamp: Stamp) -> String {
    format!("{:032x}", u128::from_be_bytes(stamp.0))
}

fn swapped(reply: &Value) -> Result<bool, Fault> {
    match reply {
        Value::Int(swapped) => Ok(*swapped == 1),
        _ => Err(misread("a number")),
    }
}

/// `SET .. NX GET`: reads a key, or plants a ticket where it holds nothing.
fn planting(key: &str, ticket: Stamp, lease: Duration) -> Cmd {
    // Sized so that the command is built in two allocations: a hit must cost what a plain GET does.
    let mut command = Cmd::with_capacity(7, key.len() + PREFIX + 32);
    command.write_arg(b"SET");
    command.write_arg(key.as_bytes());
    command.write_arg(&prefix(TICKET, ticket));
    command.write_arg(b"NX");
    command.write_arg(b"GET");
    command.write_arg(b"PX");
    command.arg(life(lease));
    command
}

/// What one of many was answered.
fn each<T>(count: usize, replies: Result<Vec<Value>, Fault>, read: impl Fn(Value) -> Result<T, Fault>) -> Answers<T> {
    let replies = match replies {
        Ok(replies) if replies.len() == count => replies,
        Ok(_) => return vec_of(count, &misread("as many answers")),
        Err(fault) => return vec_of(count, &fault),
    };
    let one = |reply| match reply {
        Value::ServerError(error) => Err(failed(&error.into())),
        reply => read(reply),
    };
    replies.into_iter().map(one).collect()
}

fn vec_of<T>(count: usize, fault: &Fault) -> Answers<T> {
    (0..count).map(|_| Err(fault.clone())).collect()
}

/// A full server plants nothing, and what was asked held nothing a moment ago.
fn unless_full<T>(answer: Result<T, Fault>) -> Result<T, Fault> {
    match answer {
        Err(Fault::Refused(why)) if why.starts_with("OOM") => Err(Fault::Full(why)),
        answer => answer,
    }
}

#[async_trait]
impl Store for RedisStore {
    fn line(&self) -> u64 {
        self.link.lines()
    }

    fn breaker(&self) -> (BreakerState, u64) {
        self.link.breaker()
    }

    async fn probe(&self, key: &str, ticket: Stamp, lease: Duration) -> Result<Option<Vec<u8>>, Fault> {
        let (over, line) = self.way_to([key].into_iter())?;
        if line.form() == Form::Older {
            return self.probe_by_script((over, line), key, ticket, lease).await;
        }
        match over.send(line, &planting(key, ticket, lease), self.limits.read).await {
            Ok(reply) => self.found(key, reply),
            // A full server refuses to plant before it looks whether it would have to: what it holds can still be read.
            Err(Fault::Refused(why)) if why.starts_with("OOM") => match self.read(key).await? {
                Some(found) => Ok(Some(found)),
                None => Err(Fault::Full(why)),
            },
            Err(fault) => Err(fault),
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let mut command = Cmd::with_capacity(2, key.len() + 3);
        command.write_arg(b"GET");
        command.write_arg(key.as_bytes());
        let (over, line) = self.way_to([key].into_iter())?;
        self.found(key, over.send(line, &command, self.limits.read).await?)
    }

    async fn stamp(&self, key: &str) -> Result<Option<Stamp>, Fault> {
        let mut command = Cmd::with_capacity(4, key.len() + 16);
        command.write_arg(b"GETRANGE");
        command.write_arg(key.as_bytes());
        command.arg(0).arg(PREFIX - 1);
        let head = bytes(self.link.send(self.link.spare_line()?, &command, self.limits.read).await?)?;
        Ok(head.and_then(|head| match Slot::of(&head) {
            Slot::Value { stamp, .. } => Some(stamp),
            _ => None,
        }))
    }

    async fn fill(&self, key: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        self.put_for(Urge::Spare, key, &prefix(TICKET, seen), value, life).await
    }

    async fn put(&self, key: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        self.put_for(Urge::Needed, key, &prefix(TICKET, seen), value, life).await
    }

    async fn refill(&self, key: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        self.put_for(Urge::Spare, key, &prefix(VALUE, seen), value, life).await
    }

    async fn lease(&self, key: &str, seen: Stamp, who: u8, call: LeaseCall) -> Result<Leased, Fault> {
        let one = self.lease_many(&[Lease { name: key, seen, who }], call).await.pop();
        one.unwrap_or_else(|| Err(misread("whose the lease is")))
    }

    async fn lease_many(&self, leases: &[Lease<'_>], call: LeaseCall) -> Answers<Leased> {
        // What is to be stored by it may be under way over the connection for large values: first behind that, or another instance begins a load
        // whose outcome is refused; then behind what has taken it.
        if call == LeaseCall::GiveBack
            && let Some(way) = self.large.own(&self.link)
        {
            let _ = self.run_leases(Ok(way), leases, call).await;
        }
        // One that is given back or lengthened is nobody's wait.
        let urge = if matches!(call, LeaseCall::Take(_)) { Urge::Spare } else { Urge::Needed };
        let replies = self.run_leases(self.way(urge, false), leases, call).await;
        each(leases.len(), replies, |reply| leased(&reply))
    }

    async fn renew(&self, key: &str, seen: Stamp, stamp: Stamp, header: &[u8], life_of: Duration) -> Result<Filled, Fault> {
        let lasts = life(life_of).to_string();
        let renewed = self
            .swap(
                self.way(Urge::Spare, false)?,
                &self.renew,
                key,
                &[&seen.0, &stamp.0, header, lasts.as_bytes()],
                self.limits.command,
            )
            .await?;
        Ok(if renewed { Filled::Stored } else { Filled::Refused })
    }

    async fn claim(&self, key: &str, seen: Stamp, ticket: Stamp, lease: Duration) -> Result<Claimed, Fault> {
        let ticket = prefix(TICKET, ticket);
        let ours = self
            .swap(
                self.way(Urge::Spare, false)?,
                &self.claim,
                key,
                &[&seen.0, &ticket, life(lease).to_string().as_bytes()],
                self.limits.read,
            )
            .await?;
        Ok(if ours { Claimed::Yes } else { Claimed::No })
    }

    async fn wait(&self, key: &str) -> Result<Prospect, Fault> {
        let (over, line) = self.way_to([key].into_iter())?;
        let reply = over.run(line, &self.wait, &[key.as_bytes()], &[&self.mailbox.0], self.limits.read).await?;
        self.awaited(key, reply)
    }

    async fn extend(&self, key: &str, ticket: Stamp, lease: Duration) -> Result<(), Fault> {
        let lease = life(lease).to_string();
        self.swap(self.way(Urge::Needed, false)?, &self.extend, key, &[&ticket.0, lease.as_bytes()], self.limits.command)
            .await
            .map(|_| ())
    }

    async fn abandon(&self, key: &str, ticket: Stamp, word: &[u8]) -> Result<(), Fault> {
        let args: [&[u8]; 3] = [&ticket.0, self.channels(), word];
        let shared = async { self.swap(self.way(Urge::Needed, false)?, &self.abandon, key, &args, self.limits.command).await };
        let shared = shared.await;
        // What planted it may be under way over the other connection still: what gives it back must come behind it there.
        let Some((own, line)) = self.large.own(&self.link) else { return shared.map(|_| ()) };
        own.run(line, &self.abandon, &[key.as_bytes()], &args, self.limits.command).await?;
        shared.map(|_| ())
    }

    async fn read_many(&self, names: &[&str]) -> Answers<Option<Vec<u8>>> {
        let bytes_of_names: usize = names.iter().map(|name| name.len()).sum();
        let mut command = Cmd::with_capacity(names.len() + 1, bytes_of_names + 4);
        command.write_arg(b"MGET");
        for name in names {
            command.write_arg(name.as_bytes());
        }
        let reply = match self.way_to(names.iter().copied()) {
            Ok((over, line)) => over.send_large(line, &command, self.limits.read).await,
            Err(fault) => Err(fault),
        };
        let replies = match reply {
            Ok(Value::Array(replies)) => Ok(replies),
            Ok(_) => Err(misread("a list")),
            Err(fault) => Err(fault),
        };
        self.found_many(names.iter().copied(), replies)
    }

    async fn probe_many(&self, tickets: &[Standing<'_>], lease: Duration) -> Answers<Option<Vec<u8>>> {
        let names = || tickets.iter().map(|one| one.name);
        let (over, line) = match self.way_to(names()) {
            Ok(way) => way,
            Err(fault) => return vec_of(tickets.len(), &fault),
        };
        let replies = if line.form() == Form::Older {
            let lease = life(lease).to_string();
            let args = |ticket: Stamp| prefix(TICKET, ticket);
            let run = |one: &Standing<'_>| {
                Run::new(&self.probe, Form::Older, &[one.name.as_bytes()], &[&args(one.ticket), lease.as_bytes()])
            };
            over.run_many(line, tickets.iter().map(run).collect(), self.limits.read).await
        } else {
            let mut commands = Pipeline::with_capacity(tickets.len());
            for one in tickets {
                commands.add_command(planting(one.name, one.ticket, lease));
            }
            over.send_many(line, &commands, self.limits.read).await
        };
        self.found_many(names(), replies).into_iter().map(unless_full).collect()
    }

    async fn fill_many(&self, fills: &[Fill<'_>]) -> Answers<Filled> {
        let way = self.way(Urge::Spare, fills.iter().any(|fill| fill.value.len() >= LARGE));
        let run = |form, fill: &Fill<'_>| {
            let life = life(fill.life).to_string();
            let seen = match fill.seen {
                Seen::Ticket(ticket) => prefix(TICKET, ticket),
                Seen::Value(seen) => prefix(VALUE, seen),
            };
            let (key, seen, life) = (fill.name.as_bytes(), &seen, life.as_bytes());
            if fill.value.len() <= SMALL {
                return Run::new(&self.fill, form, &[key], &[seen, fill.value, life, self.channels()]);
            }
            let (beside, put) = lay_beside(fill.name, fill.value);
            Run::new(&self.shift, form, &[key, beside.as_bytes()], &[seen, life, head(fill.value), self.channels()]).behind(put)
        };
        let filled = |swapped| if swapped { Filled::Stored } else { Filled::Refused };
        let answers = self.swap_many(way, fills.iter(), run, (self.limits.command, filled)).await;
        // As after one fill.
        for (fill, answer) in fills.iter().zip(&answers) {
            if answer.is_ok() {
                self.large.note(fill.name, fill.value.len());
            }
        }
        answers
    }

    async fn claim_many(&self, claims: &[Claim<'_>], lease: Duration) -> Answers<Claimed> {
        let lease = life(lease).to_string();
        let run = |form, claim: &Claim<'_>| {
            let ticket = prefix(TICKET, claim.ticket);
            Run::new(&self.claim, form, &[claim.name.as_bytes()], &[&claim.seen.0, &ticket, lease.as_bytes()])
        };
        let claimed = |swapped| if swapped { Claimed::Yes } else { Claimed::No };
        self.swap_many(self.way(Urge::Spare, false), claims.iter(), run, (self.limits.read, claimed)).await
    }

    async fn wait_many(&self, names: &[&str]) -> Answers<Prospect> {
        let replies = match self.way_to(names.iter().copied()) {
            Ok((over, line)) => {
                let run = |name: &&str| Run::new(&self.wait, line.form(), &[name.as_bytes()], &[&self.mailbox.0]);
                let runs = names.iter().map(run).collect();
                over.run_many(line, runs, self.limits.read).await
            }
            Err(fault) => Err(fault),
        };
        let answers = each(names.len(), replies, Ok).into_iter().zip(names);
        answers.map(|(answer, name)| answer.and_then(|reply| self.awaited(name, reply))).collect()
    }

    async fn extend_many(&self, tickets: &[Standing<'_>], lease: Duration) -> Answers<()> {
        let lease = life(lease).to_string();
        let run =
            |form, one: &Standing<'_>| Run::new(&self.extend, form, &[one.name.as_bytes()], &[&one.ticket.0, lease.as_bytes()]);
        self.swap_many(self.way(Urge::Needed, false), tickets.iter(), run, (self.limits.command, |_| ())).await
    }

    async fn abandon_many(&self, tickets: &[Standing<'_>]) -> Answers<()> {
        let run = |form, one: &Standing<'_>| {
            Run::new(&self.abandon, form, &[one.name.as_bytes()], &[&one.ticket.0, self.channels(), &[]])
        };
        let shared = self.swap_many(self.way(Urge::Needed, false), tickets.iter(), run, (self.limits.command, |_| ())).await;
        // As after one.
        let Some(way) = self.large.own(&self.link) else { return shared };
        let own = self.swap_many(Ok(way), tickets.iter(), run, (self.limits.command, |_| ())).await;
        shared.into_iter().zip(own).map(|(shared, own)| shared.and(own)).collect()
    }

    async fn walks(&self, selection: &Selection) -> Result<Vec<Box<dyn Walk>>, Fault> {
        Ok(vec![Box::new(RedisWalk::begin(&self.dial, selection).await?)])
    }

    async fn ready(&self, limit: Duration) -> Result<(), NotReady> {
        self.link.ready(limit).await
    }

    fn close(&self) {
        self.large.close();
        self.link.close();
    }
}

/// For how long a lease is to be had, in whole milliseconds.
fn lasting(call: LeaseCall) -> u64 {
    if call == LeaseCall::GiveBack { 0 } else { life(call.time()) }
}

/// How many of its arguments the script is given: the last one says that the lease is to be had first.
fn words(call: LeaseCall) -> usize {
    if matches!(call, LeaseCall::Take(_)) { 4 } else { 3 }
}

fn leased(reply: &Value) -> Result<Leased, Fault> {
    match reply {
        Value::Int(-1) => Ok(Leased::Moved),
        Value::Int(0) => Ok(Leased::Not),
        Value::Int(1) => Ok(Leased::Yes),
        Value::Int(2) => Ok(Leased::Ending),
        _ => Err(misread("whose the lease is")),
    }
}

/// A life in whole milliseconds that a server accepts: it takes none for an error.
pub(super) fn life(life: Duration) -> u64 {
    millis(life).clamp(1, LONGEST)
}

/// Takes the bytes out of an answer without copying them.
pub(super) fn bytes(reply: Value) -> Result<Option<Vec<u8>>, Fault> {
    match reply {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        _ => Err(misread("bytes or nothing")),
    }
}
