//! Which faults a run makes, and when: drawn from the seed before it begins. Who makes them is told in `run`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{AFTER_KILL, AFTERMATH, FIRST_REST};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident: $hand:ident, $least:literal..$most:literal;)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind { $($(#[doc = $doc])+ $kind,)+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// Who makes it.
            #[must_use]
            pub fn hand(self) -> Hand {
                match self { $(Self::$kind => Hand::$hand,)+ }
            }

            /// How long before the end of all faults it is mended at the latest.
            #[must_use]
            pub fn spare(self) -> Duration {
                if self == Self::InstanceKilled { AFTER_KILL } else { Duration::ZERO }
            }

            /// How long it lasts, in milliseconds.
            fn length(self) -> std::ops::Range<u64> {
                match self { $(Self::$kind => $least..$most,)+ }
            }
        }
    };
}

kinds! {
    /// The server is killed and comes back empty.
    RestartEmpty: Server, 1..900;
    /// The server saves, lives on for a while, is killed and comes back with what it had saved.
    RestartOld: Server, 100..1_500;
    /// The server is frozen.
    ServerFrozen: Server, 200..3_000;
    /// Everything in the server is dropped.
    FlushAll: Server, 1..2;
    /// The server forgets its scripts.
    ScriptFlush: Server, 1..2;
    /// The server evicts anything at random: values, tickets, the lane, its table.
    Eviction: Server, 500..2_500;
    /// The server refuses what needs memory.
    Full: Server, 500..2_000;
    /// The channel is forbidden to everybody.
    AclRevoked: Server, 300..2_500;
    /// A subscriber does not read until the server gives it up.
    PubsubOverrun: Server, 300..1_500;
    /// The connections of an instance break.
    Cut: Network, 1..2;
    /// The connections of an instance break and no other is made.
    Refused: Network, 300..2_500;
    /// What an instance and the server send each other is lost.
    Hole: Network, 300..3_000;
    /// What an instance sends arrives late, also after it has given up.
    Late: Network, 100..2_500;
    /// Each connection of an instance breaks within a reply.
    CutMidReply: Network, 200..900;
    /// Everything takes longer.
    Slow: Network, 300..2_000;
    /// The server has lost the connections of an instance, which does not know it.
    HalfOpen: Network, 300..2_500;
    /// The subscription of an instance breaks, nothing else.
    PubsubCut: Network, 1..2;
    /// What is sent to the subscription of an instance is lost, nothing else.
    PubsubHole: Network, 300..3_000;
    /// What the server answers arrives late, also when nobody waits for it any more.
    ReplyLate: Network, 60..1_500;
    /// Single messages of the channel do not come to an instance; what follows them does.
    MessageLost: Network, 800..3_000;
    /// Single messages come behind the answer to a check that was asked after them.
    MessageLate: Network, 800..3_000;
    /// A process of instances is frozen.
    InstanceFrozen: Network, 200..3_000;
    /// A process of instances is killed, and another one takes its place.
    InstanceKilled: Network, 1..900;
    /// The server's clock is stepped, forward or back, and goes back to the true time or stays.
    ClockStepped: Server, 300..3_000;
    /// As `RestartOld`, and every instance trusts what the server had saved: one of the last, for no other scenario has them.
    RestartTrusted: Server, 100..1_500;
    /// The primary is killed, and comes back some time after another has taken its place.
    PrimaryKilled: Server, 100..1_500;
    /// The primary is frozen, and goes on some time after another has taken its place.
    PrimaryFrozen: Server, 100..1_500;
    /// The primary is replaced though it is well.
    PrimaryReplaced: Server, 100..1_500;
    /// The primary is cut off from the other nodes of its Cluster, and goes on some time after another has taken its place.
    PrimaryCutOff: Server, 100..1_500;
    /// The slot is moved to another primary, key by key.
    SlotMoved: Server, 100..1_500;
}

impl Kind {
    /// How many kinds `everything` has none of: the last ones.
    const APART: usize = 6;

    /// Whether another server takes the place of the primary.
    #[must_use]
    pub fn fails_over(self) -> bool {
        matches!(self, Self::PrimaryKilled | Self::PrimaryFrozen | Self::PrimaryReplaced | Self::PrimaryCutOff)
    }
}

/// Who makes a fault: two at once, so that faults of the server and of the way to it meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Owns the server.
    Server,
    /// Owns the proxies and the processes.
    Network,
}

/// Whether the server's clock can be stepped on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerClock {
    /// It can.
    Stepped,
    /// What it takes is not there.
    #[default]
    True,
}

impl ServerClock {
    /// Whether a kind can be made with this clock.
    #[must_use]
    pub fn allows(self, kind: Kind) -> bool {
        kind != Kind::ClockStepped || self == Self::Stepped
    }
}

/// A step of the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// By how many milliseconds it differs from the true time then.
    pub millis: i64,
    /// Whether it does so on after the fault.
    pub stays: bool,
}

impl Step {
    /// Draws one: of seconds, minutes or hours, forward or back.
    #[must_use]
    pub fn drawn(dice: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(dice);
        let most = dice.choice([60_000, 3_600_000, 6 * 3_600_000]).unwrap_or(60_000);
        let by = dice.i64(1_000..most);
        Self { millis: if dice.bool() { by } else { -by }, stays: dice.bool() }
    }
}

/// Which kinds a run makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`kinds` says what each is")]
pub enum Scenario {
    Calm,
    Restarts,
    Network,
    Pubsub,
    Memory,
    Pauses,
    Trust,
    Everything,
    Failover,
    Cluster,
}

/// What the instances of a scenario stand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// One server, behind proxies.
    Server,
    /// A primary with replicas, and Sentinels.
    Sentinels,
    /// A Cluster.
    Cluster,
}

impl Scenario {
    /// All of them, by name.
    pub const NAMED: [(&'static str, Self); 10] = [
        ("calm", Self::Calm),
        ("restarts", Self::Restarts),
        ("network", Self::Network),
        ("pubsub", Self::Pubsub),
        ("memory", Self::Memory),
        ("pauses", Self::Pauses),
        ("trust", Self::Trust),
        ("everything", Self::Everything),
        ("failover", Self::Failover),
        ("cluster", Self::Cluster),
    ];
    /// How many of these a seed draws from: over one server.
    const DRAWN: u64 = 8;

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, scenario)| *scenario)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// The one that a seed draws: of seeds that follow on one another each in turn.
    #[must_use]
    pub fn drawn(seed: u64) -> Self {
        let at = usize::try_from(seed % Self::DRAWN).unwrap_or_default();
        Self::NAMED.get(at).map_or(Self::Everything, |(_, scenario)| *scenario)
    }

    /// Whether its instances trust what a server has saved.
    #[must_use]
    pub fn trusts(self) -> bool {
        self == Self::Trust
    }

    /// What it is over.
    #[must_use]
    pub fn over(self) -> Over {
        match self {
            Self::Failover => Over::Sentinels,
            Self::Cluster => Over::Cluster,
            _ => Over::Server,
        }
    }

    /// The faults that it makes with this clock.
    #[must_use]
    pub fn made(self, clock: ServerClock) -> Vec<Kind> {
        self.kinds().iter().copied().filter(|kind| clock.allows(*kind)).collect()
    }

    /// The faults it makes where all can be made.
    #[must_use]
    pub fn kinds(self) -> &'static [Kind] {
        use Kind::{
            AclRevoked, ClockStepped, Cut, CutMidReply, Eviction, FlushAll, Full, HalfOpen, Hole, InstanceFrozen, InstanceKilled,
            Late, MessageLate, MessageLost, PrimaryCutOff, PrimaryFrozen, PrimaryKilled, PrimaryReplaced, PubsubCut, PubsubHole,
            PubsubOverrun, Refused, ReplyLate, RestartEmpty, RestartOld, RestartTrusted, ScriptFlush, ServerFrozen, SlotMoved,
            Slow,
        };
        match self {
            Self::Calm => &[],
            Self::Restarts => &[RestartEmpty, RestartOld, FlushAll, ScriptFlush, ClockStepped],
            Self::Network => &[Cut, Refused, Hole, Late, ReplyLate, CutMidReply, Slow, HalfOpen],
            Self::Pubsub => &[PubsubCut, PubsubHole, PubsubOverrun, AclRevoked, MessageLost, MessageLate],
            Self::Memory => &[Eviction, Full, FlushAll],
            Self::Pauses => &[ServerFrozen, InstanceFrozen, InstanceKilled],
            Self::Trust => &[RestartEmpty, RestartTrusted, FlushAll, ScriptFlush],
            Self::Everything => Kind::ALL.split_at(Kind::ALL.len() - Kind::APART).0,
            Self::Failover => &[PrimaryKilled, PrimaryFrozen, PrimaryReplaced, InstanceFrozen, InstanceKilled],
            Self::Cluster => {
                &[PrimaryKilled, PrimaryFrozen, PrimaryReplaced, PrimaryCutOff, SlotMoved, InstanceFrozen, InstanceKilled]
            }
        }
    }
}

/// Runs with less time than this have one fault after the other.
const HASTE: Duration = Duration::from_secs(50);

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// How long to wait after the one before.
    pub rest: Duration,
    /// What.
    pub kind: Kind,
    /// Whose, where it is an instance's.
    pub instance: u16,
    /// How long.
    pub length: Duration,
    /// For what else must be drawn.
    pub dice: u64,
}

/// Draws the faults of one hand, from these kinds, for a time of this length.
#[must_use]
pub fn plan(kinds: &[Kind], hand: Hand, seed: u64, length: Duration, instances: u16) -> Vec<Planned> {
    let mut dice = fastrand::Rng::with_seed(seed ^ if hand == Hand::Server { 0x5e } else { 0x17 });
    let kinds: Vec<Kind> = kinds.iter().copied().filter(|kind| kind.hand() == hand).collect();
    let (mut planned, mut deck) = (Vec::new(), Vec::new());
    let mut at = Duration::ZERO;
    // An instance that has lost the lane a few times rests for seconds before it tries again: a long run has the time to see more than that.
    let pace = if length < HASTE { 1 } else { 4 };
    while !kinds.is_empty() {
        if deck.is_empty() {
            deck.clone_from(&kinds);
            dice.shuffle(&mut deck);
        }
        let Some(kind) = deck.pop() else { break };
        // Mostly one soon after the other, so that they meet; now and then a rest in which all comes into step.
        let rest = match planned.len() {
            0 => FIRST_REST,
            n if n % 4 == 0 => AFTERMATH + Duration::from_millis(dice.u64(400..1_200)) * pace,
            _ => Duration::from_millis(dice.u64(20..600)) * pace,
        };
        let length_of_it = Duration::from_millis(dice.u64(kind.length()));
        at += rest + length_of_it;
        if at > length {
            break;
        }
        planned.push(Planned { rest, kind, instance: dice.u16(0..instances.max(1)), length: length_of_it, dice: dice.u64(..) });
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(115);

    #[test]
    fn a_seed_draws_the_same_plan_again_and_another_one_another() {
        let of = |seed| plan(Scenario::Everything.kinds(), Hand::Server, seed, LONG, 4);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn a_long_plan_has_every_kind_of_its_scenario_and_ends_in_time() {
        for (name, scenario) in Scenario::NAMED {
            let planned: Vec<Planned> =
                [Hand::Server, Hand::Network].iter().flat_map(|hand| plan(scenario.kinds(), *hand, 7, LONG, 4)).collect();
            for kind in Kind::ALL {
                let is = planned.iter().any(|planned| planned.kind == *kind);
                assert_eq!(is, scenario.kinds().contains(kind), "{kind:?} in {name}");
            }
            for hand in [Hand::Server, Hand::Network] {
                let whole: Duration = planned.iter().filter(|planned| planned.kind.hand() == hand).map(|p| p.rest + p.length).sum();
                assert!(whole <= LONG, "{whole:?} in {name}");
            }
        }
    }

    #[test]
    fn a_clock_that_cannot_be_stepped_is_not_and_changes_no_other_scenario() {
        for (name, scenario) in Scenario::NAMED {
            let (all, fewer) = (scenario.made(ServerClock::Stepped), scenario.made(ServerClock::True));
            assert_eq!(all, scenario.kinds(), "{name}");
            assert!(!fewer.contains(&Kind::ClockStepped), "{name}");
            assert_eq!(fewer.len() + usize::from(all.contains(&Kind::ClockStepped)), all.len(), "{name}");
        }
    }

    #[test]
    fn steps_go_forward_and_back_by_seconds_to_hours_and_stay_or_not() {
        let steps: Vec<Step> = (0..200).map(Step::drawn).collect();
        assert_eq!(steps, (0..200).map(Step::drawn).collect::<Vec<_>>());
        assert!(steps.iter().all(|step| (1_000..6 * 3_600_000).contains(&step.millis.abs())));
        for (forward, stays) in [(true, true), (true, false), (false, true), (false, false)] {
            let of = || steps.iter().filter(|step| (step.millis > 0) == forward && step.stays == stays);
            assert!(of().any(|step| step.millis.abs() < 60_000) && of().any(|step| step.millis.abs() > 3_600_000));
        }
    }

    #[test]
    fn a_scenario_is_known_by_its_name() {
        for (name, scenario) in Scenario::NAMED {
            assert_eq!(Scenario::named(name).map(Scenario::name), Some(name));
            assert_eq!(scenario.name(), name);
        }
        assert_eq!(Scenario::named("chaos"), None);
        let drawn: Vec<Scenario> = (5..13).map(Scenario::drawn).collect();
        let alone = |scenario: &Scenario| scenario.over() != Over::Server;
        assert!(Scenario::NAMED.iter().all(|(_, scenario)| drawn.contains(scenario) != alone(scenario)), "{drawn:?}");
    }
}
