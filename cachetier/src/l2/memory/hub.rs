//! The one lock of a tier, and the way of every call through the script: wait, run under the lock, wait, answer.
//! What a call does to the state is `keys`' and `room`'s.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::faults::{Call, CallKind, Effect, Fate, Faults, Plan, Rules};
use super::keys::Keys;
use super::room::{Parcel, Past, ReaderId, Room};
use crate::clock::{Clock, Millis};
use crate::error::Fault;
use crate::wire::wake::{Mailbox, Wake};

/// What every clone of a tier shares.
pub(super) struct Hub(Mutex<State>);

/// Everything that calls change.
pub(super) struct State {
    clock: Clock,
    pub(super) keys: Keys,
    /// The lanes, by namespace.
    rooms: HashMap<Arc<str>, Room>,
    /// The present life of the server.
    run: u64,
    pub(super) strays: VecDeque<Stray>,
    pub(super) faults: Interference,
    /// How many stores and lanes were handed out: the n-th of each belong to the n-th instance.
    pub(super) stores: usize,
    pub(super) lanes: usize,
    /// Whether caches divide their namespace into parts.
    pub(super) spread: bool,
    /// Names readers; never goes back.
    pub(super) readers: u64,
    #[cfg(feature = "testing")]
    pub(super) watch: super::watch::Watch,
}

/// Everything that interferes with calls.
#[derive(Default)]
pub(super) struct Interference {
    rules: Rules,
    script: Option<Arc<dyn Faults>>,
    /// The script wants to be asked about messages too.
    messages: bool,
    /// How long a check proves that no message was missed; unset where none can be.
    proof: Option<Duration>,
}

/// What a server has saved: its keys, and what it knows of each lane.
#[derive(Clone)]
pub(super) struct Saved {
    keys: Keys,
    pasts: HashMap<Arc<str>, Past>,
}

/// What the script has planned for a message that is about to be published, by reader.
pub(super) type Deliveries = Vec<(ReaderId, Plan)>;

/// What a call does, as one step under the lock.
type Deed = Box<dyn FnOnce(&mut State, Deliveries) + Send>;

/// Who is told of what a call does.
#[derive(Clone, Copy)]
pub(super) enum Audience<'a> {
    Nobody,
    /// Everybody in a namespace.
    All(&'a Arc<str>),
    /// Those in a namespace who wait for the ticket of a key.
    Waiting(&'a Arc<str>, &'a str),
}

/// A call, or a message, that is on its way with nobody waiting for it.
pub(super) struct Stray {
    /// Who is told when it lands: a namespace, and the key if only those are told who wait for its ticket.
    audience: Option<(Arc<str>, Option<String>)>,
    deed: Deed,
}

impl Stray {
    pub(super) fn new(audience: Audience<'_>, deed: impl FnOnce(&mut State, Deliveries) + Send + 'static) -> Self {
        let audience = match audience {
            Audience::Nobody => None,
            Audience::All(namespace) => Some((Arc::clone(namespace), None)),
            Audience::Waiting(namespace, key) => Some((Arc::clone(namespace), Some(key.to_owned()))),
        };
        Self { audience, deed: Box::new(deed) }
    }
}

impl Hub {
    pub(super) fn new(clock: Clock) -> Self {
        Self(Mutex::new(State {
            clock,
            keys: Keys::new(),
            rooms: HashMap::new(),
            run: 1,
            strays: VecDeque::new(),
            faults: Interference::default(),
            stores: 0,
            lanes: 0,
            spread: false,
            readers: 0,
            #[cfg(feature = "testing")]
            watch: super::watch::Watch::default(),
        }))
    }

    /// A panic under the lock can only come from the allocator: what it left is as good as what was there.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one call the whole way. `audience` is who is told of what `deed` does, `stray` a copy of the call that can
    /// run when the caller is gone. Only a call that is interfered with needs its `limit`.
    ///
    /// Cancel safety: dropped before `deed` has run, the call has not run; dropped after it, the call has run and is unanswered.
    pub(super) async fn pass<T: Send + 'static>(
        &self,
        call: Call<'_>,
        limit: Option<Duration>,
        audience: Audience<'_>,
        deed: impl Fn(&mut State, Deliveries) -> Result<T, Fault> + Send,
        stray: impl FnOnce() -> Stray + Send,
    ) -> Result<T, Fault> {
        let answer = match self.plan_or_run(&call, &deed) {
            Scripted::Done(answer) => answer,
            Scripted::Plan(plan) => within(limit, self.carry_out(plan, audience, deed, stray)).await,
        };
        #[cfg(feature = "testing")]
        self.note(&call, &answer);
        answer
    }

    /// The rest of a call's way, as planned.
    async fn carry_out<T>(
        &self,
        plan: Plan,
        audience: Audience<'_>,
        deed: impl Fn(&mut State, Deliveries) -> Result<T, Fault>,
        stray: impl FnOnce() -> Stray,
    ) -> Result<T, Fault> {
        if let Some(gate) = plan.before {
            gate.await;
        }
        let answer = match plan.fate {
            Fate::Run => self.run(audience, &deed),
            Fate::Fail(fault) => Err(fault),
            Fate::Hang => std::future::pending().await,
            Fate::LoseReply => {
                drop(self.run(audience, &deed));
                Err(unanswered())
            }
            Fate::Lose => Err(unanswered()),
            Fate::Late => {
                self.lock().strays.push_back(stray());
                Err(unanswered())
            }
            Fate::Twice => {
                let answer = self.run(audience, &deed);
                self.lock().strays.push_back(stray());
                answer
            }
        };
        if let Some(gate) = plan.reply {
            gate.await;
        }
        answer
    }

    /// Runs the call at once where nothing interferes, under the one lock it takes to find out.
    fn plan_or_run<T>(
        &self,
        call: &Call<'_>,
        deed: impl Fn(&mut State, Deliveries) -> Result<T, Fault>,
    ) -> Scripted<Result<T, Fault>> {
        let mut state = self.lock();
        #[cfg(feature = "testing")]
        if let Some(fault) = state.watch.cut_off(call.instance) {
            return Scripted::Done(Err(fault));
        }
        if state.faults.is_plain() {
            return Scripted::Done(deed(&mut state, Vec::new()));
        }
        match state.faults.rule_or_script(call.kind) {
            Planned::Plan(plan) => Scripted::Plan(plan),
            Planned::Ask(script) => {
                drop(state);
                Scripted::Plan(script.plan(call))
            }
        }
    }

    /// Runs `deed` in one step, with a plan for each message it may send.
    ///
    /// Message and seq must come into being under one hold of the lock, and the script is asked under none: so it is asked first,
    /// again if readers have come meanwhile, and the deed finds its plans made.
    fn run<T>(&self, audience: Audience<'_>, deed: impl FnOnce(&mut State, Deliveries) -> T) -> T {
        let mut deliveries = Deliveries::new();
        loop {
            let mut state = self.lock();
            let Some((reader, instance)) = state.unplanned(audience, &deliveries) else {
                return deed(&mut state, deliveries);
            };
            let (kind, key) = match audience {
                Audience::Waiting(_, key) => (CallKind::Wake, Some(key)),
                Audience::Nobody | Audience::All(_) => (CallKind::Deliver, None),
            };
            let plan = match state.faults.rule_or_script(kind) {
                Planned::Plan(plan) => plan,
                Planned::Ask(script) => {
                    drop(state);
                    script.plan(&Call::new(kind, key, instance))
                }
            };
            deliveries.push((reader, plan));
        }
    }

    /// Runs the stray that is the `nth` to have gone astray; says whether there was one.
    pub(super) fn land(&self, nth: usize) -> bool {
        let Some(stray) = self.lock().strays.remove(nth) else { return false };
        let audience = match &stray.audience {
            None => Audience::Nobody,
            Some((namespace, None)) => Audience::All(namespace),
            Some((namespace, Some(key))) => Audience::Waiting(namespace, key),
        };
        self.run(audience, stray.deed);
        true
    }
}

enum Scripted<T> {
    Done(T),
    Plan(Plan),
}

enum Planned {
    Plan(Plan),
    /// To be asked when the lock is free.
    Ask(Arc<dyn Faults>),
}

impl Interference {
    fn is_plain(&self) -> bool {
        self.script.is_none() && self.rules.is_empty()
    }

    fn rule_or_script(&mut self, kind: CallKind) -> Planned {
        if let Some(plan) = self.rules.plan(kind) {
            return Planned::Plan(plan);
        }
        match &self.script {
            Some(script) if !matches!(kind, CallKind::Deliver | CallKind::Wake) || self.messages => {
                Planned::Ask(Arc::clone(script))
            }
            _ => Planned::Plan(Plan::go()),
        }
    }

    /// Sets the script. Returns the one before, to be dropped when the lock is free.
    #[must_use]
    pub(super) fn set(&mut self, script: Arc<dyn Faults>, messages: bool) -> Option<Arc<dyn Faults>> {
        self.messages = messages;
        if messages {
            self.need_proof();
        }
        self.script.replace(script)
    }

    pub(super) fn add(&mut self, kind: CallKind, effect: Effect) {
        self.rules.add(kind, effect);
        if kind == CallKind::Deliver {
            self.need_proof();
        }
    }

    /// Takes all faults away. The proof stays needed: a message lost before may not have been missed yet. Returns the script, to
    /// be dropped when the lock is free.
    #[must_use]
    pub(super) fn clear(&mut self) -> Option<Arc<dyn Faults>> {
        self.rules = Rules::default();
        self.script.take()
    }

    fn need_proof(&mut self) {
        self.proof.get_or_insert(super::PROOF);
    }

    pub(super) fn prove_for(&mut self, proof: Duration) {
        self.proof = Some(proof);
    }

    pub(super) fn proof(&self) -> Option<Duration> {
        self.proof
    }
}

impl State {
    /// The next instance, as a store and as a lane.
    pub(super) fn next_instance(&mut self) -> (usize, usize) {
        let next = (self.stores, self.lanes);
        self.stores += 1;
        self.lanes += 1;
        next
    }

    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The lane of a namespace, and the keys beside it.
    pub(super) fn room(&mut self, namespace: &Arc<str>) -> &mut Room {
        self.rooms.entry(Arc::clone(namespace)).or_insert_with(|| Room::new(self.run))
    }

    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// What a server saves.
    pub(super) fn save(&self) -> Saved {
        let pasts = self.rooms.iter().map(|(namespace, room)| (Arc::clone(namespace), room.past())).collect();
        Saved { keys: self.keys.clone(), pasts }
    }

    /// Begins another life of the server with what was saved, and ends every subscription.
    pub(super) fn restore(&mut self, saved: &Saved, fault: &Fault) {
        self.run = self.run.saturating_add(1);
        self.keys = saved.keys.clone();
        for namespace in saved.pasts.keys() {
            self.room(namespace);
        }
        for (namespace, room) in &mut self.rooms {
            room.restore(saved.pasts.get(namespace).cloned().unwrap_or_default(), self.run);
            room.break_all(fault);
        }
    }

    /// The lane of a namespace, if anybody has used it.
    #[cfg(feature = "testing")]
    pub(super) fn room_of(&self, namespace: &str) -> Option<&Room> {
        self.rooms.get(namespace)
    }

    pub(super) fn rooms(&mut self) -> impl Iterator<Item = &mut Room> {
        self.rooms.values_mut()
    }

    /// Tells the readers of `namespace`, or those alone whose mailboxes these are, each as planned.
    pub(super) fn publish(&mut self, namespace: &Arc<str>, to: Option<&[Mailbox]>, message: &Arc<[u8]>, deliveries: Deliveries) {
        for reader in self.room(namespace).publish(to, message, deliveries) {
            let (namespace, message) = (Arc::clone(namespace), Arc::clone(message));
            let send = move |state: &mut Self, _: Deliveries| state.room(&namespace).send(reader, Parcel::of(message));
            self.strays.push_back(Stray::new(Audience::Nobody, send));
        }
    }

    /// Tells those who waited for the ticket of a key what it holds now, or to look.
    pub(super) fn wake(
        &mut self,
        namespace: &Arc<str>,
        waiting: &[Mailbox],
        (name, held): (&str, Option<&[u8]>),
        deliveries: Deliveries,
    ) {
        let message = if waiting.is_empty() { None } else { Wake { name, held }.write() };
        if let Some(message) = message {
            self.publish(namespace, Some(waiting), &message.into(), deliveries);
        }
    }

    /// A reader that would get a message now and for whom nothing is planned.
    fn unplanned(&mut self, audience: Audience<'_>, planned: &Deliveries) -> Option<(ReaderId, usize)> {
        if self.faults.is_plain() {
            return None;
        }
        let (namespace, waiting) = match audience {
            Audience::Nobody => return None,
            Audience::All(namespace) => (namespace, None),
            Audience::Waiting(namespace, key) => (namespace, Some(self.keys.waiting(key, self.now()))),
        };
        self.room(namespace).readers(waiting.as_deref()).find(|(reader, _)| planned.iter().all(|(known, _)| known != reader))
    }
}

/// What a call comes to, or, at its limit, that it is not answered.
async fn within<T>(limit: Option<Duration>, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    match limit {
        None => call.await,
        Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(Fault::Unanswered("out of time".into()))),
    }
}

/// What a caller is told when its call, or the answer, was lost.
fn unanswered() -> Fault {
    Fault::Unanswered(Arc::from("scripted"))
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Hub")
            .field("keys", &state.keys.count(state.now()))
            .field("namespaces", &state.rooms.len())
            .field("strays", &state.strays.len())
            .finish_non_exhaustive()
    }
}
