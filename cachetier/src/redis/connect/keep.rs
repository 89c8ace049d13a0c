//! Makes the connection, and makes it anew when it is lost; hears from Sentinels, or the nodes of a Cluster, where the primary is; says in the log what it
//! comes to.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::redis::PushKind;
use tokio::sync::{Notify, watch};

use crate::clock::millis;
use crate::sync::lock;

use super::super::answer::{Class, News, REPLACED, Where, is_no_primary};
use super::super::dial::{Connection, Dial, Made, Pushes, Refusal};
use super::super::guide::Guide;
use super::super::sentinel;
use super::{Heard, Line, Shared, State};

/// Between two attempts to connect: at most this, doubling from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// After all Sentinels that were listened to are lost, before they are sought again: at most.
const MINDED: Duration = Duration::from_secs(1);

/// After how many pauses what a connection is left for is no passing thing.
const IN_VAIN: u32 = 5;

/// How long a connection must last for the next loss to be met with the shortest pause again.
const STEADY: Duration = Duration::from_secs(10);

/// When a connection that is missing is tried for again.
#[derive(Debug, Default)]
pub(in super::super) struct Retry {
    /// How many pauses there were since the server was known to be well.
    pauses: AtomicU32,
    over: Notify,
}

impl Retry {
    /// Somebody has reached the server in another way: a pause is over, and the next one is as short as the first.
    pub(in super::super) fn at_once(&self) {
        self.pauses.store(0, Ordering::Relaxed);
        self.over.notify_waiters();
    }

    /// Whether connections have been made again and again, and have not lasted.
    pub(super) fn is_in_vain(&self) -> bool {
        self.pauses.load(Ordering::Relaxed) >= IN_VAIN
    }

    /// Full jitter: the instances that lost a server together must not come back together.
    pub(in super::super) async fn pause(&self) {
        // First: whoever ends it has set the count back before.
        let over = self.over.notified();
        let most = millis(ceiling(self.pauses.fetch_add(1, Ordering::Relaxed)));
        // In vain or not: it is a pause less.
        let _ = tokio::time::timeout(Duration::from_millis(fastrand::u64(0..=most)), over).await;
    }
}

/// Keeps the connection until the link is gone.
pub(super) async fn keep(owner: Weak<Shared>, mut state: watch::Receiver<State>, retry: Arc<Retry>, (dial, heard): (Dial, Heard)) {
    let (mut away, mut looked_at) = (None, None);
    loop {
        let why = match dial.connect().await {
            Ok(Made { connection, form, run, pushes, spot }) => {
                let line = Line { connection, form, run, spot: spot.map(Arc::new), pulse: Arc::default() };
                let Some(shared) = owner.upgrade() else { return };
                // Before the line can be used: who has an answer of it finds its number.
                shared.lines.fetch_add(1, Ordering::AcqRel);
                let now = shared.clock.now();
                lock(&shared.circuit).hint(now, now);
                // Once closed it stays so: the abort of this task takes hold only at its next await.
                shared.state.send_modify(|state| {
                    state.line = (!state.closed).then(|| line.clone());
                    state.unfit = None;
                });
                shared.leave_unless_primary();
                drop(shared);
                if away.take().is_some_and(|server| dial.told.is_back(&server)) {
                    tracing::info!(server = %dial, "redis is back");
                } else {
                    tracing::debug!(server = %dial, "connected to redis");
                }
                let new = dial.guide.as_ref().is_some_and(|guide| !guide.is_cluster())
                    && heard == Heard::Yes
                    && std::mem::replace(&mut looked_at, line.spot.clone()) != line.spot;
                let looking = look_at_replicas(&dial, new.then(|| line.connection.clone()));
                let lost = until_lost(&owner, &mut state, line, pushes, &retry);
                tokio::pin!(lost);
                let lost = tokio::select! {
                    lost = &mut lost => lost,
                    () = looking => lost.await,
                };
                let Some(why) = lost else { return };
                why
            }
            Err(Refusal { why, unfit }) => {
                let Some(shared) = owner.upgrade() else { return };
                shared.state.send_modify(|state| {
                    state.why = Arc::clone(&why);
                    state.unfit = unfit;
                });
                why
            }
        };
        if heard == Heard::Yes {
            tell_away(&dial, &mut away, &why);
        }
        retry.pause().await;
    }
}

/// Says why the server is away, if that is not known by now.
fn tell_away(dial: &Dial, away: &mut Option<Where>, reason: &str) {
    // What it has refused was told when it did, and that it was left for another is no fault.
    if is_no_primary(reason) || reason == REPLACED {
        return;
    }
    let place = dial.place();
    let again = away.as_ref().is_some_and(|known| place.is_none() || *known == place);
    if !again && let Some(other) = away.replace(place) {
        // Nobody knew where it was, or it is another one by now.
        dial.told.is_back(&other);
    }
    let server = away.clone().flatten();
    match dial.told.is_away(&server, reason, again) {
        News::Away(None) => tracing::warn!(server = %dial, %reason, "redis is away: its commands fail at once until it is back"),
        News::Away(Some(Class { mend, .. })) => {
            tracing::warn!(server = %dial, %reason, mend, "redis is away: its commands fail at once until it is back");
        }
        News::Known => tracing::debug!(server = %dial, %reason, "redis is away"),
    }
}

/// Warns of a primary that takes writes which nobody has to confirm, within the limit of a command.
async fn look_at_replicas(dial: &Dial, primary: Option<Connection>) {
    let Some(primary) = primary else { return };
    let alone = tokio::time::timeout(dial.settings.limits.command, sentinel::takes_writes_alone(primary)).await;
    if alone == Ok(true) {
        tracing::warn!(
            server = %dial,
            "the primary has replicas and takes writes without them: once replaced it may take more for seconds, which are lost; set its \
             `min-replicas-to-write` to 1"
        );
    }
}

/// Leaves a primary as soon as those who are asked where it is know of another, until the link is gone.
pub(super) async fn mind(owner: Weak<Shared>, guide: Guide) {
    let mut known = None;
    loop {
        if let Ok(mut news) = guide.listen().await {
            loop {
                if let Ok(spot) = guide.look().await {
                    let Some(shared) = owner.upgrade() else { return };
                    if known.as_ref() != Some(&spot) {
                        if let (Some(_), Some(server)) = (&known, &shared.server) {
                            tracing::info!(%server, host = spot.0, port = spot.1, "the primary is another one now");
                        }
                        shared.retry.at_once();
                        known = Some(spot);
                    }
                    shared.leave_unless_primary();
                }
                if !news.next().await {
                    break;
                }
            }
        }
        // Another one, a little later: those who lost one together do not come to the next together.
        tokio::time::sleep(MINDED.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

/// Waits until `line` is lost and says why; `None` when the link is gone.
async fn until_lost(
    owner: &Weak<Shared>,
    state: &mut watch::Receiver<State>,
    line: Line,
    mut pushes: Pushes,
    retry: &Retry,
) -> Option<Arc<str>> {
    // Only the mark is kept: a connection ends with its last clone.
    let pulse = line.pulse;
    drop(line.connection);
    loop {
        tokio::select! {
            push = pushes.recv() => {
                if push.is_none_or(|push| push.kind == PushKind::Disconnection) {
                    let shared = owner.upgrade()?;
                    // Bound first: the borrow would otherwise outlive it into the write below.
                    let present = shared.state.borrow().line.clone();
                    if let Some(present) = present.filter(|present| Arc::ptr_eq(&present.pulse, &pulse)) {
                        shared.lose(&present, &"the connection was closed".into());
                    }
                }
            }
            lost = state.wait_for(|state| state.line.as_ref().is_none_or(|line| !Arc::ptr_eq(&line.pulse, &pulse))) => {
                return lost.ok().map(|state| Arc::clone(&state.why));
            }
            () = tokio::time::sleep(STEADY), if retry.pauses.load(Ordering::Relaxed) > 0 => retry.pauses.store(0, Ordering::Relaxed),
        }
    }
}

/// The longest pause before the next attempt, after `tries` in a row.
pub(in super::super) fn ceiling(tries: u32) -> Duration {
    let (first, last) = BACKOFF;
    first.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX).max(1)).min(last)
}
