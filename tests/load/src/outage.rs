//! A server that is killed, black-holed, frozen and slow under load, and what its clients notice.

use std::sync::Arc;
use std::time::Duration;

use cachetier::BreakerState;
use cachetier_tests::{Flow, Flows, Proxy, RedisServer, Which};
use tokio::time::Instant;

use crate::figures::{Sorted, Wrong, ms, ratio};
use crate::service::{INSTANCES, Keys, RATE, Sample, Service};

/// What may be added to what is added when all is well: what a read waits for the server, and no more.
const MOST_ADDED: Duration = Duration::from_millis(50);
/// How long the breaker has to open.
const TO_OPEN: Duration = Duration::from_secs(2);
/// Within which time the hits are back.
const TO_RECOVER: usize = 5;

/// A phase: what was measured in it.
struct Phase {
    name: String,
    begun: Instant,
    samples: Vec<Sample>,
    /// How many connections were made.
    connections: u64,
    /// In how many instances the breaker was open at the end.
    open: usize,
}

impl Phase {
    fn took(&self) -> Sorted {
        Sorted::of(self.samples.iter().map(|sample| sample.took))
    }

    fn added(&self) -> Sorted {
        Sorted::of(self.samples.iter().map(Sample::added))
    }

    /// How long those took that came from then on.
    fn took_after(&self, after: Duration) -> Sorted {
        Sorted::of(self.samples.iter().filter(|sample| sample.at >= self.begun + after).map(|sample| sample.took))
    }

    fn errors(&self) -> usize {
        self.samples.iter().filter(|sample| sample.failed.is_some()).count()
    }

    /// Loads in each second.
    fn loads(&self) -> Vec<usize> {
        let mut seconds = Vec::new();
        for sample in self.samples.iter().filter(|sample| sample.loaded()) {
            let second = usize::try_from(sample.at.saturating_duration_since(self.begun).as_secs()).unwrap_or_default();
            if seconds.len() <= second {
                seconds.resize(second + 1, 0);
            }
            if let Some(loads) = seconds.get_mut(second) {
                *loads += 1;
            }
        }
        seconds
    }

    /// The mean of its whole seconds.
    fn loads_a_second(&self, seconds: u64) -> f64 {
        ratio(self.samples.iter().filter(|sample| sample.loaded()).count(), usize::try_from(seconds).unwrap_or(1))
    }

    /// Which share was answered without a loader in that second.
    fn hits_in(&self, second: usize) -> f64 {
        let rate = usize::try_from(RATE).unwrap_or(1);
        1.0 - ratio(self.loads().get(second).copied().unwrap_or_default(), rate)
    }

    fn line(&self, seconds: u64) -> String {
        let (took, added) = (self.took(), self.added());
        let of = |sorted: &Sorted| [500, 990, 999].map(|share| format!("{:>7}", ms(sorted.permille(share)))).join(" ");
        format!(
            "{:<22} {:>7} {} | {} | {:>7.0} {:>6} {:>6} {:>4}/{INSTANCES}",
            self.name,
            self.samples.len(),
            of(&took),
            of(&added),
            self.loads_a_second(seconds),
            self.errors(),
            self.connections,
            self.open
        )
    }
}

/// What is done to the server.
#[derive(Clone, Copy)]
enum Harm {
    Killed,
    BlackHoled,
    Stopped,
    Slow,
}

const HARMS: [(Harm, &str); 4] =
    [(Harm::Killed, "killed"), (Harm::BlackHoled, "black-holed"), (Harm::Stopped, "stopped"), (Harm::Slow, "100 ms slow")];

impl Harm {
    fn begin(self, server: &mut RedisServer, proxies: &[Proxy]) {
        let each = |flows| {
            for proxy in proxies {
                proxy.order(Which::All, flows);
            }
        };
        match self {
            Self::Killed => {
                server.kill();
                for proxy in proxies {
                    proxy.refuse(true);
                }
            }
            Self::BlackHoled => each(Flows::both(Flow::Swallow)),
            Self::Stopped => server.stop(),
            Self::Slow => each(Flows { up: Flow::Pass, down: Flow::Delay(Duration::from_millis(100)) }),
        }
    }

    fn end(self, server: &mut RedisServer, proxies: &[Proxy]) {
        match self {
            Self::Killed => server.restart(),
            Self::Stopped => server.resume(),
            Self::BlackHoled | Self::Slow => {}
        }
        proxies.iter().for_each(Proxy::restore);
    }
}

/// Runs all phases, each of so many seconds, and judges them.
pub(crate) async fn run(seconds: u64) -> Result<(), String> {
    let length = Duration::from_secs(seconds);
    let keys = Arc::new(Keys::new(1.0));
    println!(
        "{RATE} requests a second over {} keys, {INSTANCES} instances of {} copies, loader {:?}",
        crate::service::KEYS,
        crate::service::KEPT,
        crate::service::LOADER
    );
    println!(
        "{seconds} s a phase; ms: latency p50, p99, p99.9 | beyond the request's own loader p50, p99, p99.9 | loads/s, errors, connections made, breakers open at the end"
    );

    let plain = phase(&Service::without().await?, "no shared tier", &keys, length).await;
    println!("{}", plain.line(seconds));

    let mut server = RedisServer::builder().try_start()?;
    let service = Service::start(&server, |builder| builder).await?;
    let _ = phase(&service, "warm-up", &keys, length).await;
    let healthy = phase(&service, "healthy", &keys, length).await;
    println!("{}", healthy.line(seconds));

    let mut pairs = Vec::new();
    for (harm, name) in HARMS {
        harm.begin(&mut server, &service.proxies);
        let out = phase(&service, name, &keys, length).await;
        println!("{}", out.line(seconds));
        harm.end(&mut server, &service.proxies);
        let back = phase(&service, &format!("  back ({name})"), &keys, length).await;
        println!("{}", back.line(seconds));
        pairs.push((out, back));
    }
    let mut wrong = Wrong::default();
    judge(&mut wrong, &plain, &healthy, &pairs, seconds);
    slowest(pairs.iter().flat_map(|(out, back)| [out, back]).chain([&healthy]));
    println!(
        "breakers opened {} times; {} faults of the shared tier, {} of them not sent",
        service.stat(|stats| stats.breaker_opened),
        service.stat(|stats| stats.l2_faults),
        service.stat(|stats| stats.l2_away)
    );
    for cache in &service.caches {
        // What is pending is not of interest here.
        let _ = cache.close(Duration::from_secs(1)).await;
    }
    wrong.outcome()
}

async fn phase(service: &Service, name: &str, keys: &Arc<Keys>, length: Duration) -> Phase {
    let (begun, before) = (Instant::now(), service.connections());
    let samples = service.serve(keys, length).await;
    let open = service.caches.iter().filter(|cache| cache.stats().breaker != BreakerState::Closed).count();
    Phase { name: name.to_owned(), begun, samples, connections: service.connections() - before, open }
}

fn judge(wrong: &mut Wrong, plain: &Phase, healthy: &Phase, pairs: &[(Phase, Phase)], seconds: u64) {
    let bound = MOST_ADDED + healthy.added().permille(999);
    let plain_p99 = plain.took().permille(990);
    let hits = 1.0 - healthy.loads_a_second(seconds) / f64::from(u32::try_from(RATE).unwrap_or(1));
    for phase in pairs.iter().flat_map(|(out, back)| [out, back]).chain([healthy]) {
        let first = phase.samples.iter().find_map(|sample| sample.failed.clone()).unwrap_or_default();
        wrong.must(phase.errors() == 0, format!("{}: {} errors, expected 0 {first}", phase.name.trim(), phase.errors()));
    }
    for (out, back) in pairs {
        for phase in [out, back] {
            let added = phase.added().permille(999);
            wrong.must(
                added <= bound,
                format!("{}: p99.9 beyond the loader {} ms, expected at most {} ms", phase.name.trim(), ms(added), ms(bound)),
            );
        }
        let p99 = out.took_after(TO_OPEN).permille(990);
        let most = plain_p99.mul_f64(1.5);
        wrong.must(
            p99 <= most,
            format!("{}: p99 {} ms after {TO_OPEN:?}, expected at most {} ms (1.5 of no shared tier)", out.name, ms(p99), ms(most)),
        );
        let recovered = (0..=TO_RECOVER).find(|second| back.hits_in(*second) >= hits - 0.05);
        let found = recovered.map_or("not".to_owned(), |second| format!("in second {}", second + 1));
        wrong.must(
            recovered.is_some_and(|second| second < TO_RECOVER),
            format!("{}: hits back ({:.0} %) {found}, expected within {TO_RECOVER} s", out.name, hits * 100.0),
        );
        let (most, rate) = (back.loads().iter().max().copied().unwrap_or_default(), out.loads_a_second(seconds));
        let most_loads = u32::try_from(most).map_or(f64::INFINITY, f64::from);
        wrong.must(
            most_loads <= rate * 2.0,
            format!("{}: {most} loads in a second when back, expected at most {:.0}", out.name, rate * 2.0),
        );
        // Two connections an instance, tried again after 50 ms at first and after 2 and 5 s at most.
        let storm = INSTANCES as u64 * (10 + 2 * seconds);
        wrong.must(
            out.connections + back.connections <= storm,
            format!("{}: {} connections made, expected at most {storm}", out.name, out.connections + back.connections),
        );
        wrong.must(back.open == 0, format!("{}: {} breakers open when back, expected none", out.name, back.open));
    }
}

fn slowest<'a>(phases: impl Iterator<Item = &'a Phase>) {
    let mut all: Vec<(&str, &Sample)> =
        phases.flat_map(|phase| phase.samples.iter().map(|sample| (phase.name.trim(), sample))).collect();
    all.sort_unstable_by_key(|(_, sample)| std::cmp::Reverse(sample.added()));
    println!("the slowest, beyond their own loader:");
    for (phase, sample) in all.iter().take(10) {
        println!("  {:>8} ms  {phase}, key {}, loader {} ms", ms(sample.added()), sample.key, ms(sample.loader));
    }
}
