//! The parts of a cache, made and connected.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::behind::Behind;
use super::over::Ends;
use super::part::{Part, Shared};
use super::refresh::Refreshes;
use super::sweep::sweep;
use crate::clock::{Clock, Millis};
use crate::coherence::courier::carry;
use crate::coherence::follower::{Pace, follow};
use crate::coherence::holds::Holds;
use crate::coherence::instance::Instance;
use crate::coherence::journal::Journal;
use crate::coherence::outbox::Outbox;
use crate::coherence::renewal::Renewal;
use crate::coherence::together::Together;
use crate::coherence::waits::Waits;
use crate::config::Config;
use crate::error::Fault;
use crate::flight::Flights;
use crate::key::{KeyHasher, PrefixHasher};
use crate::l1::L1;
use crate::l2::NotReady;
use crate::l2::lane::LaneNames;
use crate::l2::tier::Tier;
use crate::observe::counters::Gauge;
use crate::observe::hot::HotKeys;
use crate::observe::once::OnceByType;
use crate::observe::stats::Counters;
use crate::proofs::Proof;
use crate::rule::habit::Habit;
use crate::rule::stamp::Stamps;
use crate::tasks::{Background, Tasks};
use crate::view::View;

/// What the parts of a cache have in common.
pub(super) struct Start {
    /// What each of them keeps to.
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) runtime: Handle,
    pub(super) hasher: KeyHasher,
    pub(super) counters: Arc<Counters>,
    pub(super) behind: Behind,
    pub(super) refreshes: Refreshes,
    pub(super) hot: Option<Arc<HotKeys>>,
}

impl Start {
    pub(super) fn new(config: Config, clock: Clock, runtime: Handle) -> Self {
        let (hasher, counters, behind) = (KeyHasher::new(secret()), Arc::default(), Behind::default());
        let refreshes = Refreshes::new(runtime.clone(), config.refresh_queue, config.refreshes_at_once);
        let hot = (config.hot_keys > 0).then(|| Arc::new(HotKeys::new(config.hot_keys)));
        Self { config, clock, runtime, hasher, counters, behind, refreshes, hot }
    }

    /// Begins one part, and returns what waits until it is in step with the shared tier, for at most the connect and the command limit together.
    pub(super) fn part(
        &self,
        number: Option<usize>,
        names: &LaneNames,
        ends: Option<Ends>,
    ) -> (Part, impl Future<Output = Result<(), NotReady>> + use<>) {
        let (config, now) = (self.config.clone(), self.clock.now());
        let instance = Arc::new(Instance {
            namespace: config.namespace.clone(),
            hasher: self.hasher.clone(),
            prefix_hasher: PrefixHasher::new(&config.namespace),
            clock: self.clock.clone(),
            l1: L1::new(config.capacity, config.eviction, Arc::clone(&self.counters)),
            flights: Flights::new(config.shards),
            view: View::new(names.cells, now),
            together: Together::default(),
            outbox: Outbox::new(config.outbox),
            journal: Journal::new(config.outbox, config.journal),
            holds: Holds::new(),
            waits: Waits::new(names.value("")),
            needless: Gauge::default(),
            part: number,
            counters: Arc::clone(&self.counters),
        });
        let (tasks, mut background) = (Tasks::new(self.runtime.clone()), Background::default());
        background.spawn(&self.runtime, sweep(Arc::clone(&instance), config.sweep_interval, config.needless_limit));
        let limit = config.connect_limit.saturating_add(config.command_limit);
        let (synced, mut in_step) = watch::channel(false);
        let tier = match ends {
            None => {
                // Nobody else can invalidate anything: there is nothing to prove.
                instance.view.prove(0, Proof { asked: now, until: Millis::NEVER, now });
                None
            }
            Some((store, lane)) => {
                let counters = Arc::clone(&self.counters);
                let tier = Arc::new(Tier::new((store, Arc::clone(&lane)), names, config.lease, counters, tasks.clone()));
                let pace = Pace { interval: config.check_interval, limit };
                background.spawn(&self.runtime, follow(Arc::clone(&instance), lane, pace, synced));
                background.spawn(&self.runtime, carry(Arc::clone(&instance), Arc::clone(&tier)));
                Some(tier)
            }
        };
        let of = tier.clone();
        let ready = async move {
            let Some(tier) = of else { return Ok(()) };
            let in_step = async {
                tier.ready(limit).await?;
                // Ends with the follower alone, which ends with what is built here.
                let _ = in_step.wait_for(|in_step| *in_step).await;
                Ok(())
            };
            if let Ok(ready) = timeout(limit, in_step).await {
                return ready;
            }
            // Why, if that is known: both limits end in the same moment.
            tier.ready(Duration::ZERO).await?;
            Err(NotReady::Yet(Fault::Unanswered("out of time".into())))
        };
        let shared = Shared {
            number,
            renewal: Renewal::new(config.max_staleness, config.read_limit),
            config,
            instance,
            tier,
            stamps: Stamps::new(RandomState::new().build_hasher().finish()),
            habit: Habit::default(),
            behind: self.behind.clone(),
            refreshes: self.refreshes.clone(),
            hot: self.hot.clone(),
            read_back: OnceByType::default(),
            tasks,
            background,
            closed: AtomicBool::new(false),
        };
        (Part { shared: Arc::new(shared), group: None }, ready)
    }
}

/// Sixteen bytes that nobody outside can know: the standard library keys its own maps with the same source.
fn secret() -> [u8; 16] {
    let half = || RandomState::new().build_hasher().finish().to_ne_bytes();
    let mut secret = [0; 16];
    for (to, from) in secret.iter_mut().zip(half().into_iter().chain(half())) {
        *to = from;
    }
    secret
}
