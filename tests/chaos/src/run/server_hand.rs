//! The hand that owns the server: kills it, freezes it, empties it, fills it, forbids its channel, steps its clock, and mends each of these.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use cachetier::TieredCache;
use cachetier_tests::{Flow, Flows, Proxy, RedisServer, Reply, Which};
use tokio::runtime::Runtime;

use super::Made;
use crate::clock::Nanos;
use crate::instance::NAMESPACE;
use crate::limits::CELLS;
use crate::plan::{Kind, Planned, Step};

/// How much a subscriber may have unread while one is to be overrun: several of the messages that are told meanwhile.
const OVERRUN_AT: &str = "pubsub 256kb 0 0";
const USUAL: &str = "pubsub 32mb 8mb 60";
const KEYS_TOLD: u32 = 1_000;
const ROUNDS: u32 = 60;
/// For how long somebody who can be overrun is waited for.
const LOOKS: u32 = 60;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// How long a look at the server's clock may take on a busy machine, in milliseconds.
const LOOK_TAKES: i64 = 5_000;

pub(super) struct ServerHand<'a> {
    pub(super) server: &'a mut RedisServer,
    pub(super) proxies: &'a Arc<[Proxy]>,
    pub(super) runtime: &'a Runtime,
    /// By how many milliseconds its clock differs from the true time.
    pub(super) stepped: i64,
}

impl ServerHand<'_> {
    pub(super) fn make(&mut self, planned: &Planned) -> Result<Made, String> {
        let mut instance = None;
        let effect = match planned.kind {
            Kind::RestartEmpty => {
                let before = self.info("server", "run_id");
                self.server.kill();
                sleep(planned.length);
                self.server.restart();
                self.another_run(&before)
            }
            Kind::RestartOld | Kind::RestartTrusted => {
                let before = self.info("server", "run_id");
                self.server.save();
                sleep(planned.length);
                self.server.kill();
                self.server.restart_from_saved();
                format!("{}, {} keys came back", self.another_run(&before), self.keys())
            }
            Kind::ServerFrozen => {
                self.server.stop();
                sleep(planned.length);
                self.server.resume();
                String::new()
            }
            Kind::FlushAll => {
                let before = self.keys();
                self.command(&["FLUSHALL"])?;
                format!("{before} keys dropped")
            }
            Kind::ScriptFlush => {
                let before = self.info("memory", "number_of_cached_scripts");
                self.command(&["SCRIPT", "FLUSH"])?;
                format!("{before} scripts forgotten")
            }
            Kind::Eviction => self.evict(planned)?,
            Kind::Full => {
                let before = self.refusals("OOM");
                self.command(&["CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction"])?;
                sleep(planned.length);
                self.command(&["CONFIG", "SET", "maxmemory", "0"])?;
                format!("{} commands refused", self.refusals("OOM").saturating_sub(before))
            }
            Kind::AclRevoked => {
                let before = self.refusals("NOPERM");
                self.command(&["ACL", "SETUSER", "default", "resetchannels"])?;
                sleep(planned.length);
                self.command(&["ACL", "SETUSER", "default", "allchannels"])?;
                format!("{} commands refused", self.refusals("NOPERM").saturating_sub(before))
            }
            Kind::ClockStepped => {
                let Step { millis, stays } = Step::drawn(planned.dice);
                let jumped = self.step(millis)?;
                sleep(planned.length);
                if stays {
                    format!("TIME jumped by {jumped} and stays")
                } else {
                    format!("TIME jumped by {jumped} and by {}", self.step(0)?)
                }
            }
            Kind::PubsubOverrun => {
                // One that has a subscription to lose, if one has within a while.
                for _ in 0..LOOKS {
                    if self.subscribers() > 0 {
                        break;
                    }
                    sleep(BETWEEN_LOOKS);
                }
                let from = usize::from(planned.instance);
                let mut turned = (from..self.proxies.len()).chain(0..from);
                let of = turned.find(|at| self.proxies.get(*at).is_some_and(|proxy| proxy.count(Which::Subscribed) > 0));
                let of = of.unwrap_or(from);
                instance = u16::try_from(of).ok();
                self.overrun(planned, of)?
            }
            other => return Err(format!("{other:?} is not the server's")),
        };
        Ok(Made { instance, effect })
    }

    /// Makes the server's clock differ by so much from the true time, and says by how much it was seen to jump.
    fn step(&mut self, millis: i64) -> Result<String, String> {
        let (time, at) = (self.time()?, Nanos::now());
        self.server.step_clock(millis).map_err(|error| format!("the server's clock cannot be stepped: {error}"))?;
        let passed = i64::try_from(Nanos::now().since(at).as_millis()).unwrap_or_default();
        let jumped = self.time()? - time - passed;
        let asked = millis - std::mem::replace(&mut self.stepped, millis);
        if (jumped - asked).abs() > asked.abs() / 2 + LOOK_TAKES {
            return Err(format!(
                "the server's clock was stepped by {asked} ms and jumped by {jumped} ms: it does not follow libfaketime"
            ));
        }
        let sign = if jumped < 0 { '-' } else { '+' };
        Ok(format!("{sign}{}.{} s", jumped.abs() / 1_000, jumped.abs() % 1_000 / 100))
    }

    /// The server's clock, in milliseconds.
    fn time(&self) -> Result<i64, String> {
        let Reply::Array(parts) = self.server.command(&["TIME"]) else {
            return Err("the server does not tell its time".to_owned());
        };
        let mut parts = parts.iter().map(|part| part.text().and_then(|text| text.parse::<i64>().ok()));
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(seconds), Some(micros)) => Ok(seconds * 1_000 + micros / 1_000),
            _ => Err("the server does not tell its time".to_owned()),
        }
    }

    /// Either there is never enough room, or there is as much as is in use now: then any newcomer drives somebody out.
    fn evict(&self, planned: &Planned) -> Result<String, String> {
        let number = |text: String| text.parse::<u64>().unwrap_or_default();
        let before = number(self.info("stats", "evicted_keys"));
        let most = if planned.dice.is_multiple_of(3) { "1mb".to_owned() } else { self.info("memory", "used_memory") };
        self.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", &most])?;
        sleep(planned.length);
        self.command(&["CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction"])?;
        Ok(format!("{} keys evicted", number(self.info("stats", "evicted_keys")).saturating_sub(before)))
    }

    /// One subscriber is not read from, and much is told, until the server closes its connection.
    fn overrun(&self, planned: &Planned, of: usize) -> Result<String, String> {
        let Some(proxy) = self.proxies.get(of) else { return Err("no such instance".to_owned()) };
        self.command(&["CONFIG", "SET", "client-output-buffer-limit", OVERRUN_AT])?;
        proxy.order(Which::Subscribed, Flows { up: Flow::Pass, down: Flow::Hold });
        let end = Nanos::now().plus(planned.length);
        let (before, told) = self.runtime.block_on(async {
            let cache = TieredCache::builder(NAMESPACE).redis(self.server.url()).tag_cells(CELLS).build().await;
            let cache = cache.map_err(|error| error.to_string())?;
            // With the subscription of that cache, which is in step by now.
            let before = self.subscribers();
            let mut told = 0;
            while told < ROUNDS && Nanos::now() < end && self.subscribers() > before.saturating_sub(1) {
                let keys = (0..KEYS_TOLD).map(|n| format!("nobody:reads:this:{told}:{n}:{}", planned.dice));
                cache.invalidate_many(keys).await.map_err(|error| error.to_string())?;
                told += 1;
            }
            Ok::<_, String>((before, format!("{} after {told} messages", self.subscribers())))
        })?;
        sleep(end.since(Nanos::now()));
        proxy.order(Which::Subscribed, Flows::default());
        self.command(&["CONFIG", "SET", "client-output-buffer-limit", USUAL])?;
        Ok(format!("{before} subscribers, {told}"))
    }

    fn another_run(&self, before: &str) -> String {
        let changed = self.info("server", "run_id") != before;
        if changed { "another run id".to_owned() } else { "the same run id".to_owned() }
    }

    fn keys(&self) -> i64 {
        match self.server.command(&["DBSIZE"]) {
            Reply::Int(keys) => keys,
            _ => 0,
        }
    }

    fn subscribers(&self) -> usize {
        self.server.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).text().map_or(0, |list| list.lines().count())
    }

    /// How many commands have been refused with this error.
    fn refusals(&self, error: &str) -> u64 {
        let count = self.info("errorstats", &format!("errorstat_{error}"));
        count.strip_prefix("count=").and_then(|count| count.parse().ok()).unwrap_or_default()
    }

    /// One field of the server's report; empty if it is not there.
    fn info(&self, section: &str, field: &str) -> String {
        let info = self.server.command(&["INFO", section]).text().unwrap_or_default();
        let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap_or_default().trim().to_owned()
    }

    fn command(&self, words: &[&str]) -> Result<(), String> {
        match self.server.command(words) {
            Reply::Error(error) => Err(format!("the server refuses {words:?}: {error}")),
            _ => Ok(()),
        }
    }
}
