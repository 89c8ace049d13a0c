//! The script of the shared tier: what becomes of each call and each message, as the steps of the history say. It knows on whose
//! behalf a call is made, and whose news a message carries; what that proves is the ledger's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cachetier::{Call, CallKind, Faults, Plan};
use tokio::sync::oneshot;

use crate::step::{CACHES, Fate, Run};

/// An operation of the history: the n-th that began.
pub(crate) type Op = usize;

/// What interferes with a tier. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Wire {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// Nothing goes wrong, and nothing is held.
    calm: bool,
    /// What the first calls of each operation fare like.
    fates: Vec<VecDeque<Fate>>,
    background: [VecDeque<Fate>; CACHES],
    asking: [VecDeque<Fate>; CACHES],
    /// Whose future is being polled.
    current: Option<Op>,
    /// On whose behalf the call was made that runs now.
    running: Option<Op>,
    held: Vec<Held>,
    /// The calls that run late, as the tier counts them.
    strays: Vec<(Option<Op>, String)>,
    sides: [Side; CACHES],
    counts: Counts,
}

struct Held {
    what: String,
    go: oneshot::Sender<()>,
}

/// The way to one cache.
#[derive(Default)]
struct Side {
    holds: bool,
    loses: bool,
    letters: VecDeque<oneshot::Sender<()>>,
    /// Whose news the follower has taken out of its mail.
    arrived: Vec<Op>,
    /// The follower waits for an answer, and what arrives meanwhile may not be applied yet.
    asks: Option<Asks>,
    /// Something was lost on the way, so what arrives after it may be thrown away with the subscription.
    doubtful: bool,
}

impl Side {
    /// Forgets messages that nobody waits for: their subscription has ended, and what it had taken in may have ended with it.
    fn sweep(&mut self) {
        let before = self.letters.len();
        self.letters.retain(|letter| !letter.is_closed());
        self.doubtful |= self.letters.len() < before;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Sent,
    Answered,
}

/// How often the script did what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) held: u64,
    pub(crate) unanswered: u64,
    pub(crate) late: u64,
    pub(crate) messages: u64,
    pub(crate) messages_held: u64,
    pub(crate) messages_lost: u64,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an operation whose first calls fare as said.
    pub(crate) fn begin(&self, calls: &[Fate]) -> Op {
        let mut inner = self.lock();
        inner.fates.push(calls.iter().copied().collect());
        inner.fates.len() - 1
    }

    /// Says whose future is polled from now on.
    pub(crate) fn polls(&self, op: Option<Op>) {
        self.lock().current = op;
    }

    pub(crate) fn background(&self, cache: usize, fate: Fate) {
        self.lock().background[cache].push_back(fate);
    }

    pub(crate) fn asking(&self, cache: usize, fate: Fate) {
        self.lock().asking[cache].push_back(fate);
    }

    /// Lets one held call go on, and says which.
    pub(crate) fn release(&self, pick: usize) -> Option<String> {
        let mut inner = self.lock();
        inner.held.retain(|held| !held.go.is_closed());
        let nth = pick.checked_rem(inner.held.len())?;
        let Held { what, go } = inner.held.remove(nth);
        drop(inner);
        go.send(()).ok().map(|()| what)
    }

    /// Takes one of the late calls off the list: the n-th, which is now to be landed.
    pub(crate) fn land(&self, pick: usize) -> Option<(usize, String)> {
        let mut inner = self.lock();
        let nth = pick.checked_rem(inner.strays.len())?;
        let (op, what) = inner.strays.remove(nth);
        inner.running = op;
        Some((nth, what))
    }

    pub(crate) fn hold(&self, cache: usize) {
        self.lock().sides[cache].holds = true;
    }

    pub(crate) fn lose(&self, cache: usize) {
        self.lock().sides[cache].loses = true;
    }

    /// Lets the next message arrive, and says whether there was one.
    pub(crate) fn deliver(&self, cache: usize) -> bool {
        let letter = {
            let mut inner = self.lock();
            let side = &mut inner.sides[cache];
            side.sweep();
            side.letters.pop_front()
        };
        letter.is_some_and(|letter| letter.send(()).is_ok())
    }

    pub(crate) fn deliver_all(&self, cache: usize) {
        self.lock().sides[cache].holds = false;
        while self.deliver(cache) {}
    }

    /// All subscriptions are about to end.
    pub(crate) fn breaks(&self) {
        self.lock().sides.iter_mut().for_each(|side| side.doubtful = true);
    }

    /// Ends all faults: what is held goes on.
    pub(crate) fn calm(&self) {
        self.lock().calm = true;
        while self.release(0).is_some() {}
        (0..CACHES).for_each(|cache| self.deliver_all(cache));
    }

    /// Whose news the cache has surely applied since this was last asked. To be asked when no task can run.
    pub(crate) fn applied(&self, cache: usize) -> Vec<Op> {
        let mut inner = self.lock();
        let side = &mut inner.sides[cache];
        side.sweep();
        // Answers wait for the messages before them, and what has arrived waits with the answer.
        if side.asks == Some(Asks::Answered) && side.letters.is_empty() {
            side.asks = None;
        }
        if side.asks.is_some() || side.doubtful { Vec::new() } else { std::mem::take(&mut side.arrived) }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// The call made on behalf of `op` runs now, or goes astray.
    fn runs(&self, op: Option<Op>, stray: Option<String>) {
        let mut inner = self.lock();
        inner.running = op;
        if let Some(what) = stray {
            inner.strays.push((op, what));
            inner.counts.late += 1;
        }
    }

    fn message(&self, cache: usize) -> Plan {
        let mut inner = self.lock();
        let (calm, news) = (inner.calm, inner.running);
        inner.counts.messages += 1;
        let side = &mut inner.sides[cache];
        if std::mem::take(&mut side.loses) && !calm {
            side.doubtful = true;
            inner.counts.messages_lost += 1;
            return Plan::lost();
        }
        let letter = (side.holds && !calm).then(oneshot::channel);
        let gate = letter.map(|(go, gate)| {
            side.letters.push_back(go);
            gate
        });
        if gate.is_some() {
            inner.counts.messages_held += 1;
        }
        drop(inner);
        let wire = self.clone();
        Plan::go().after(async move {
            if let Some(gate) = gate {
                // Dropped only with everything else.
                let _ = gate.await;
            }
            // The follower is being polled: unless it is asking something, it applies the message before it does anything else.
            wire.lock().sides[cache].arrived.extend(news);
        })
    }
}

impl Faults for Wire {
    fn plan(&self, call: &Call<'_>) -> Plan {
        let cache = call.instance;
        // The one that watches sees everything at once: by messages, not by a proof beside them.
        if cache >= CACHES {
            return if call.kind == CallKind::Stand { Plan::away() } else { Plan::go() };
        }
        if call.kind == CallKind::Deliver {
            return self.message(cache);
        }
        let mut inner = self.lock();
        let asks = matches!(call.kind, CallKind::Subscribe | CallKind::Check | CallKind::Table);
        let op = if asks { None } else { inner.current };
        let fate = match op {
            _ if asks => inner.asking[cache].pop_front(),
            Some(op) => inner.fates[op].pop_front(),
            None => inner.background[cache].pop_front(),
        };
        let fate = fate.filter(|_| !inner.calm).unwrap_or(Fate::WELL);
        if asks {
            let side = &mut inner.sides[cache];
            side.asks = Some(Asks::Sent);
            if call.kind == CallKind::Subscribe {
                // What the subscription before this one had taken in was perhaps not applied.
                side.arrived.clear();
                side.letters.clear();
                side.doubtful = false;
            }
        }
        let what = || match op {
            Some(op) => format!("#{op}'s {:?}", call.kind),
            None => format!("cache {cache}'s {:?}", call.kind),
        };
        let mut gates = [fate.held, fate.answer_held].map(|held| held.then(oneshot::channel::<()>));
        let [before, answer] = [("call", 0), ("answer", 1)].map(|(part, at)| {
            let (go, gate) = gates[at].take()?;
            inner.held.push(Held { what: format!("{} ({part})", what()), go });
            inner.counts.held += 1;
            Some(gate)
        });
        let stray = (fate.run == Run::Late).then(what);
        if fate.run != Run::Well {
            inner.counts.unanswered += 1;
        }
        drop(inner);
        let plan = match fate.run {
            Run::Well => Plan::go(),
            Run::Unanswered => Plan::lost_reply(),
            Run::Lost => Plan::lost(),
            Run::Late => Plan::late(),
            Run::Refused => Plan::error("scripted"),
        };
        let wire = self.clone();
        let plan = plan.after(async move {
            if let Some(gate) = before {
                let _ = gate.await;
            }
            wire.runs(op, stray);
        });
        if answer.is_none() && !asks {
            return plan;
        }
        let wire = self.clone();
        plan.reply_after(async move {
            if let Some(gate) = answer {
                let _ = gate.await;
            }
            if asks {
                wire.lock().sides[cache].asks = Some(Asks::Answered);
            }
        })
    }
}
