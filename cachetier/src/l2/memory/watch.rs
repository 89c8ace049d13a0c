//! What a test may want of a tier beyond its faults: instances that are cut off from it, and a record of what each of them has done.

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::InProcess;
use super::faults::{Call, CallKind};
use super::hub::Hub;
use crate::error::Fault;
use crate::l2::{Claimed, Filled, Loading};
use crate::rule::seq::Point;
use crate::wire::{message, slot};

/// How many events are kept, the latest ones.
const KEPT: usize = 10_000;

/// What one instance of a [`Group`](crate::testing::Group) did, as the shared tier saw it. `Display` shows it in a line.
///
/// ```
/// use std::time::Duration;
/// use cachetier::Policy;
/// use cachetier::testing::{Group, What};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let group = Group::new(1).await;
/// group.instance(0).get_or_compute("k", Policy::ttl(Duration::from_secs(60)), || async { 1 }).await?;
///
/// let events = group.events();
/// let did: Vec<What> = events.iter().map(|event| event.what).collect();
/// assert_eq!(did, [What::Missed, What::LoadBegun, What::LoadEnded, What::Stored]);
/// assert_eq!(events[0].to_string(), "0: missed k");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Which instance: its number in the group. One that was started again keeps it; who is over the tier and not of the group has none.
    pub instance: Option<usize>,
    /// What it did.
    pub what: What,
    /// The one key that it is about; none where it is about several, or about tags.
    pub key: Option<String>,
}

/// What an [`Event`] is about. Reads that are answered by an instance's own copy leave none: they are counted in
/// [`Stats::l1_hits`](crate::Stats::l1_hits).
///
/// ```
/// assert_eq!(cachetier::testing::What::Refused.to_string(), "refused");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum What {
    /// Asked the shared tier, which had a value.
    Found,
    /// Asked the shared tier, which had nothing.
    Missed,
    /// Asked the shared tier, where another's ticket or a write guard's hold stood.
    Busy,
    /// Began a load.
    LoadBegun,
    /// The load brought something, which may be that there is nothing.
    LoadEnded,
    /// The load failed, panicked or came to its limit. One that was dropped has neither an end nor a failure.
    LoadFailed,
    /// The shared tier stored what was loaded.
    Stored,
    /// The shared tier refused what was loaded: the key had moved on.
    Refused,
    /// Told the shared tier of an invalidation.
    Invalidated,
    /// Heard of an invalidation, its own included.
    Heard,
    /// Made any other call, which went well.
    Called(CallKind),
    /// Made a call that failed, by a script or because it was cut off.
    Failed(CallKind),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Found => "found",
            Self::Missed => "missed",
            Self::Busy => "found busy",
            Self::LoadBegun => "began to load",
            Self::LoadEnded => "loaded",
            Self::LoadFailed => "failed to load",
            Self::Stored => "stored",
            Self::Refused => "refused",
            Self::Invalidated => "invalidated",
            Self::Heard => "heard of",
            Self::Called(kind) => return write!(f, "called {kind:?}"),
            Self::Failed(kind) => return write!(f, "failed at {kind:?}"),
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instance {
            Some(instance) => write!(f, "{instance}: {}", self.what)?,
            None => write!(f, "-: {}", self.what)?,
        }
        match &self.key {
            Some(key) => write!(f, " {key}"),
            None => Ok(()),
        }
    }
}

/// The latest events, by the numbers of the tier's instances, and how many there were before the first of them.
#[derive(Debug, Default)]
struct Record {
    events: VecDeque<Event>,
    before: u64,
}

/// Who is cut off, and what is written down.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Nobody can reach the tier.
    shut: bool,
    /// These cannot.
    cut: BTreeSet<usize>,
    /// Where it is written.
    record: Option<Record>,
}

impl Watch {
    /// What a call of this instance comes to that cannot reach the tier.
    pub(super) fn cut_off(&self, instance: usize) -> Option<Fault> {
        self.is_cut_off(instance).then(away)
    }

    fn is_cut_off(&self, instance: usize) -> bool {
        self.shut || self.cut.contains(&instance)
    }

    fn write(&mut self, instance: usize, what: What, key: Option<&str>) {
        let Some(record) = &mut self.record else { return };
        if record.events.len() >= KEPT {
            record.events.pop_front();
            record.before = record.before.saturating_add(1);
        }
        record.events.push_back(Event { instance: Some(instance), what, key: key.map(str::to_owned) });
    }
}

fn away() -> Fault {
    Fault::Away(Arc::from("cut off by the test"))
}

/// The key of a whole name, which is `ct:`, a namespace without colons, `:v:` and the key.
fn key_of(name: &str) -> &str {
    name.strip_prefix("ct:").and_then(|rest| rest.split_once(":v:")).map_or(name, |(_, key)| key)
}

/// What a call came to; nothing for those by which an instance only keeps in step.
fn what(kind: CallKind, answer: Result<&dyn Any, &Fault>) -> Option<What> {
    if matches!(kind, CallKind::Subscribe | CallKind::Check | CallKind::Table | CallKind::Stand | CallKind::Deliver) {
        return None;
    }
    let Ok(answer) = answer else { return Some(What::Failed(kind)) };
    Some(match kind {
        CallKind::Probe | CallKind::Read => {
            let held = answer.downcast_ref::<Option<Vec<u8>>>()?;
            match held.as_deref().map(<[u8]>::first) {
                None => What::Missed,
                Some(Some(&slot::VALUE)) => What::Found,
                Some(Some(&(slot::TICKET | slot::HOLD))) => What::Busy,
                Some(_) => What::Called(kind),
            }
        }
        CallKind::Fill if answer.downcast_ref() == Some(&Filled::Refused) => What::Refused,
        CallKind::Claim if answer.downcast_ref() == Some(&Claimed::No) => What::Refused,
        CallKind::Fill => What::Stored,
        CallKind::Bump => What::Invalidated,
        _ => What::Called(kind),
    })
}

impl Hub {
    /// Writes down what a call came to.
    pub(super) fn note<T: 'static>(&self, call: &Call<'_>, answer: &Result<T, Fault>) {
        if let Some(what) = what(call.kind, answer.as_ref().map(|answer| answer as &dyn Any)) {
            self.lock().watch.write(call.instance, what, call.key.map(key_of));
        }
    }

    pub(super) fn note_load(&self, instance: usize, key: &str, loading: Loading) {
        let what = match loading {
            Loading::Begun => What::LoadBegun,
            Loading::Ended => What::LoadEnded,
            Loading::Failed => What::LoadFailed,
        };
        self.lock().watch.write(instance, what, Some(key));
    }

    pub(super) fn note_heard(&self, instance: usize, bytes: &[u8]) {
        let keys = message::read(bytes).map(|message| message.targets.keys).unwrap_or_default();
        let key = match keys.as_slice() {
            [only] => Some(only.as_str()),
            _ => None,
        };
        self.lock().watch.write(instance, What::Heard, key);
    }
}

impl InProcess {
    /// Writes down from now on what instances do.
    pub(crate) fn record(&self) {
        self.hub.lock().watch.record.get_or_insert_default();
    }

    /// How many events there were so far.
    pub(crate) fn events_so_far(&self) -> u64 {
        let state = self.hub.lock();
        let record = state.watch.record.as_ref();
        record.map_or(0, |record| record.before.saturating_add(u64::try_from(record.events.len()).unwrap_or(u64::MAX)))
    }

    /// The events after the first so many, as far as they are kept.
    pub(crate) fn events_after(&self, so_many: u64) -> Vec<Event> {
        let state = self.hub.lock();
        let Some(record) = &state.watch.record else { return Vec::new() };
        let skipped = usize::try_from(so_many.saturating_sub(record.before)).unwrap_or(usize::MAX);
        record.events.iter().skip(skipped).cloned().collect()
    }

    /// Cuts one instance off: its calls fail at once, and its subscription ends.
    pub(crate) fn cut(&self, instance: usize) {
        let mut state = self.hub.lock();
        state.watch.cut.insert(instance);
        for room in state.rooms() {
            room.break_those(|reader| reader == instance, &away());
        }
    }

    /// Lets it reach the tier again.
    pub(crate) fn mend(&self, instance: usize) {
        self.hub.lock().watch.cut.remove(&instance);
    }

    /// Cuts all off, or lets them reach the tier again: those that are cut off for themselves stay so.
    pub(crate) fn shut(&self, shut: bool) {
        let mut state = self.hub.lock();
        state.watch.shut = shut;
        if shut {
            for room in state.rooms() {
                room.break_all(&away());
            }
        }
    }

    pub(crate) fn is_cut_off(&self, instance: usize) -> bool {
        self.hub.lock().watch.is_cut_off(instance)
    }

    /// Where the lane of a namespace stands, if the instance listens to it.
    pub(crate) fn heard_by(&self, namespace: &str, instance: usize) -> Option<Point> {
        let state = self.hub.lock();
        let room = state.room_of(namespace)?;
        room.point().filter(|_| room.readers(None).any(|(_, reader)| reader == instance))
    }
}
