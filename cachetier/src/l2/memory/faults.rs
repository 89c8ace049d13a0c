//! Scripted faults: what a script is told of a call, and what it can make of it. Who carries a plan out is `hub`'s.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::pause;
use crate::error::Fault;

/// The ways of using an [`InProcess`](crate::InProcess) tier that a script can interfere with.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::time::Duration;
/// # use cachetier::*;
/// # let tier = InProcess::new();
/// # let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// // A `get` reads, a load looks and plants its ticket, an invalidation bumps.
/// tier.fail_next(CallKind::Read);
/// assert_eq!(cache.get::<u32>("k").await, None);
/// assert_eq!(cache.stats().l2_faults, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallKind {
    /// Reads a key, or plants a ticket where it holds nothing.
    Probe,
    /// Reads a key.
    Read,
    /// Reads the stamp of a key's value.
    Stamp,
    /// Swaps a ticket for a value.
    Fill,
    /// Swaps an unusable value for a ticket.
    Claim,
    /// Takes the lease of a value that is to be refreshed, lengthens it or gives it back.
    Lease,
    /// Swaps a value for a newer one.
    Refill,
    /// Lets a value live anew as it is.
    Renew,
    /// Gives a ticket back.
    Abandon,
    /// A ticket is let live longer.
    Extend,
    /// Invalidates keys, tags, prefixes or everything.
    Bump,
    /// The first half of storing a value unasked: invalidates the key and plants a ticket.
    Seize,
    /// Makes a key's value stale.
    Expire,
    /// Makes other values of a key stale than the one that it holds.
    Announce,
    /// Plants a write guard's hold in its keys.
    Hold,
    /// Takes a write guard's hold away.
    Release,
    /// The first half of storing what was written under a write guard: swaps its hold for a ticket.
    Trade,
    /// Looks for the next keys of a walk.
    Scan,
    /// Deletes those of some values that a walk was begun for.
    Purge,
    /// Opens the subscription of one instance.
    Subscribe,
    /// Asks for the lane's state on a subscription.
    Check,
    /// Asks for the tag table on a subscription.
    Table,
    /// Asks for the lane's state, or its tag table, beside the subscription.
    Stand,
    /// Not a call: the way of one message to one subscriber.
    Deliver,
    /// Asks to be told what becomes of another instance's ticket.
    Wait,
    /// Not a call: the way of such word to the instance that waits. It is asked about where [messages](CallKind::Deliver) are.
    Wake,
}

/// One call, as a script is told of it.
///
/// ```
/// use cachetier::{Call, CallKind, InProcess, Plan};
///
/// let tier = InProcess::new();
/// tier.script_calls(|call: &Call<'_>| match call {
///     Call { kind: CallKind::Fill, key: Some("ct:shop:v:user:42"), .. } => Plan::lost(),
///     _ => Plan::go(),
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call<'a> {
    /// What is asked.
    pub kind: CallKind,
    /// The whole name, in the shared tier, of the one key that the call is about; none where it is about several or no key.
    pub key: Option<&'a str>,
    /// Which instance calls, or is to get the message: the first cache built over the tier is 0, the next one 1.
    pub instance: usize,
}

impl<'a> Call<'a> {
    pub(super) fn new(kind: CallKind, key: Option<&'a str>, instance: usize) -> Self {
        Self { kind, key, instance }
    }
}

/// Decides what becomes of each call and of each message. Every closure of the right shape is one.
///
/// It is asked once for each call, as the call is made, and once for each message and subscriber, as the message is published.
/// No lock is held while it is asked, so it may use the tier.
///
/// ```
/// use cachetier::{Call, CallKind, InProcess, Plan};
///
/// let tier = InProcess::new();
/// // The answers to what the second instance stores are lost; everything else goes well.
/// tier.script(|call: &Call<'_>| match call.kind {
///     CallKind::Fill if call.instance == 1 => Plan::lost_reply(),
///     _ => Plan::go(),
/// });
/// ```
pub trait Faults: Send + Sync {
    /// Returns what is to become of `call`.
    ///
    /// ```
    /// use cachetier::{Call, CallKind, Faults, InProcess, Plan};
    ///
    /// /// One instance cannot send.
    /// struct CutOff(usize);
    ///
    /// impl Faults for CutOff {
    ///     fn plan(&self, call: &Call<'_>) -> Plan {
    ///         if call.instance == self.0 && call.kind != CallKind::Deliver { Plan::away() } else { Plan::go() }
    ///     }
    /// }
    ///
    /// InProcess::new().script(CutOff(1));
    /// ```
    fn plan(&self, call: &Call<'_>) -> Plan;
}

impl<F: Fn(&Call<'_>) -> Plan + Send + Sync> Faults for F {
    fn plan(&self, call: &Call<'_>) -> Plan {
        self(call)
    }
}

/// Something to wait for.
pub(super) type Gate = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What becomes of a call: when it runs, whether it does, when it is answered and how.
///
/// | plan | the call runs | the caller is told |
/// |---|---|---|
/// | [`go`](Plan::go) | now | the answer |
/// | [`error`](Plan::error) | never | that it was refused |
/// | [`away`](Plan::away) | never | that nothing was sent |
/// | [`hang`](Plan::hang) | never | nothing, ever |
/// | [`lost`](Plan::lost) | never | that no answer came |
/// | [`lost_reply`](Plan::lost_reply) | now | that no answer came |
/// | [`late`](Plan::late) | when it is [landed](crate::InProcess::land) | at once, that no answer came |
/// | [`twice`](Plan::twice) | now, and again when it is landed | the first answer |
///
/// Each of them can be made to wait: [`after`](Plan::after) before it runs, [`reply_after`](Plan::reply_after) before the caller
/// is told. A caller that stops waiting before its call has run takes it back; what has run stays done.
///
/// For a message, `lost` loses it, `error` and `away` end the subscription in its place, `hang` stalls the subscription at it for
/// ever, and both waits hold it back, with all that follows it to the same subscriber and the answers to what is asked there: the
/// order is kept. `late` and `twice` make a copy that comes when it is landed, in disorder. `lost_reply` is `go`.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{CallKind, InProcess, Plan};
///
/// let (open, gate) = tokio::sync::oneshot::channel::<()>();
/// let gate = std::sync::Mutex::new(Some(gate));
/// let tier = InProcess::new();
/// tier.script(move |call: &cachetier::Call<'_>| match (call.kind, gate.lock().unwrap().take()) {
///     // The first probe waits for the gate, runs, and then its answer is lost.
///     (CallKind::Probe, Some(gate)) => Plan::lost_reply().after(gate),
///     _ => Plan::delay(Duration::from_millis(1)),
/// });
/// # drop(open);
/// ```
///
/// One of each, by turns:
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::time::Duration;
/// use cachetier::{Call, InProcess, Plan};
///
/// let turn = AtomicUsize::new(0);
/// InProcess::new().script(move |_: &Call<'_>| match turn.fetch_add(1, Ordering::Relaxed) % 8 {
///     0 => Plan::go(),
///     1 => Plan::error("BUSY the server runs a script"),
///     2 => Plan::away(),
///     3 => Plan::hang(),
///     4 => Plan::lost(),
///     5 => Plan::late(),
///     6 => Plan::twice(),
///     _ => Plan::go().reply_after(tokio::time::sleep(Duration::from_millis(5))),
/// });
/// ```
#[must_use]
pub struct Plan {
    pub(super) before: Option<Gate>,
    pub(super) fate: Fate,
    pub(super) reply: Option<Gate>,
}

/// What becomes of a call that has waited long enough.
#[derive(Debug)]
pub(super) enum Fate {
    Run,
    Fail(Fault),
    Hang,
    LoseReply,
    Lose,
    Late,
    Twice,
}

impl Plan {
    fn of(fate: Fate) -> Self {
        Self { before: None, fate, reply: None }
    }

    /// Lets the call run and answers it.
    pub fn go() -> Self {
        Self::of(Fate::Run)
    }

    /// Does not run the call and answers that the server refused it, saying `why`.
    pub fn error(why: impl Into<Arc<str>>) -> Self {
        Self::of(Fate::Fail(Fault::Refused(why.into())))
    }

    /// Does not run the call and answers that there was no connection to send it on.
    pub fn away() -> Self {
        Self::of(Fate::Fail(Fault::Away(Arc::from("scripted"))))
    }

    /// Does not run the call and never answers: the caller's own limit ends it.
    pub fn hang() -> Self {
        Self::of(Fate::Hang)
    }

    /// Runs the call and loses its answer.
    pub fn lost_reply() -> Self {
        Self::of(Fate::LoseReply)
    }

    /// Loses the call on its way: it never runs, and no answer comes.
    pub fn lost() -> Self {
        Self::of(Fate::Lose)
    }

    /// Keeps the call on its way: the caller is told at once that no answer came, and the call runs when it is
    /// [landed](crate::InProcess::land), whatever has happened until then.
    pub fn late() -> Self {
        Self::of(Fate::Late)
    }

    /// Runs the call, answers it, and keeps a copy on its way that runs again when it is [landed](crate::InProcess::land).
    pub fn twice() -> Self {
        Self::of(Fate::Twice)
    }

    /// Runs the call after `by` of tokio's time, counted from now, and answers it.
    pub fn delay(by: Duration) -> Self {
        Self::go().after(pause(by))
    }

    /// Waits for `gate` before the call runs, besides what was to be waited for already.
    pub fn after<G: Future + Send + 'static>(self, gate: G) -> Self {
        Self { before: chain(self.before, Some(boxed(gate))), ..self }
    }

    /// Waits for `gate` before the caller is told what the call came to, besides what was to be waited for already.
    pub fn reply_after<G: Future + Send + 'static>(self, gate: G) -> Self {
        Self { reply: chain(self.reply, Some(boxed(gate))), ..self }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("waits", &self.before.is_some())
            .field("fate", &self.fate)
            .field("reply_waits", &self.reply.is_some())
            .finish()
    }
}

fn boxed(gate: impl Future + Send + 'static) -> Gate {
    Box::pin(async move { drop(gate.await) })
}

/// One gate after the other.
pub(super) fn chain(first: Option<Gate>, second: Option<Gate>) -> Option<Gate> {
    match (first, second) {
        (Some(first), Some(second)) => Some(Box::pin(async move {
            first.await;
            second.await;
        })),
        (first, second) => first.or(second),
    }
}

/// The faults that need no script: each of one kind of call, once or for good.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    kind: CallKind,
    effect: Effect,
}

/// What a rule does to the calls of its kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    FailNext,
    LoseNext,
    LoseReplyNext,
    Delay(Duration),
    Hang,
}

impl Effect {
    fn is_lasting(self) -> bool {
        matches!(self, Self::Delay(_) | Self::Hang)
    }
}

impl Rules {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a rule. A lasting one takes the place of the lasting one of its kind.
    pub(super) fn add(&mut self, kind: CallKind, effect: Effect) {
        if effect.is_lasting() {
            self.0.retain(|rule| rule.kind != kind || !rule.effect.is_lasting());
        }
        self.0.push(Rule { kind, effect });
    }

    /// The plan of the oldest rule for this kind, those for one call before those that last.
    pub(super) fn plan(&mut self, kind: CallKind) -> Option<Plan> {
        let of_kind = |rule: &Rule| rule.kind == kind;
        let once = self.0.iter().position(|rule| of_kind(rule) && !rule.effect.is_lasting());
        let effect = match once {
            Some(at) => self.0.remove(at).effect,
            None => self.0.iter().find(|rule| of_kind(rule))?.effect,
        };
        Some(match effect {
            Effect::FailNext => Plan::error("scripted"),
            Effect::LoseNext => Plan::lost(),
            Effect::LoseReplyNext => Plan::lost_reply(),
            Effect::Delay(by) => Plan::delay(by),
            Effect::Hang => Plan::hang(),
        })
    }
}
