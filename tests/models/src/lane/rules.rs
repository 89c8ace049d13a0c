//! The rules of the lane model, each of which an ablation may take away, and its sizes.

use super::state::{Fate, Kind};

/// From when a check's answer counts as proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofFrom {
    /// From when it was asked.
    Asked,
    /// From when the answer came.
    Arrival,
}

/// Which check's point the lane is taken over at: the table is read between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The first.
    FirstAnswer,
    /// The second.
    SecondAnswer,
}

/// When a load notes what its value is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noting {
    /// Before it reads anything.
    First,
    /// When it ends.
    Last,
}

/// What is bumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// The key alone.
    Key,
    /// The tag alone.
    Tag,
    /// Either, as the caller likes.
    Either,
    /// Either, and something else.
    Any,
}

/// What the server may do to the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It forgets the lane's state and table, and keeps its values.
    LoseLane,
    /// It forgets the table alone.
    LoseTable,
    /// It comes back with an older copy of its data.
    ReturnOld,
}

/// The model: its rules and its sizes.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one rule that an ablation takes away")]
pub struct LaneModel {
    /// Whether a check that finds another run of the server begins another era.
    pub runs_seen: bool,
    /// Whether a bump does.
    pub bumps_see_runs: bool,
    /// Whether a proof vouches for no answer of a later connection than those there were when it was asked for.
    pub proofs_name_connections: bool,
    /// Whether the connections that a proof vouches for are forgotten when its epoch ends.
    pub epochs_end_connections: bool,
    /// Whether an own bump that is answered in another era than is known keeps its tick.
    pub ticks_outlast_eras: bool,
    /// Whether callers say what they were told, so that a lane below it begins another era.
    pub floor_sent: bool,
    /// Whether a lane that begins anew does so under another era.
    pub eras: bool,
    /// Whether it is seen that the table is gone.
    pub table_loss_seen: bool,
    /// From when a check counts.
    pub proof_from: ProofFrom,
    /// Whether a break in the line of messages is seen.
    pub gaps_seen: bool,
    /// Which point is taken over with the table.
    pub point: Point,
    /// Whether the lane is asked once more when its table was read.
    pub second_check: bool,
    /// Whether the table is taken over before anything is proven.
    pub merge_first: bool,
    /// Whether the first check on a subscription begins an epoch.
    pub first_check_begins_epoch: bool,
    /// Whether an epoch's end detaches flights.
    pub epochs_detach: bool,
    /// When the epoch of an entry is noted.
    pub epoch_noted: Noting,
    /// When its seq is.
    pub seq_noted: Noting,
    /// Whether suspects are judged by rule T and not by their stamp alone.
    pub suspects_judged: bool,
    /// Whether L2 is only believed on proof.
    pub l2_needs_proof: bool,
    /// Whether a copy needs a proof to be served.
    pub l1_needs_proof: bool,
    /// Whether a proof beside the subscription that finds the lane elsewhere takes over its table first.
    pub renewal_takes_over: bool,
    /// Whether that begins an epoch.
    pub renewal_begins_epoch: bool,
    /// Whether a proof beside the subscription is of no use in another epoch.
    pub proves_in_its_epoch: bool,
    /// Whether the point that a proof beside the subscription compares counts in the era known here alone.
    pub reached_in_known_era: bool,
    /// Whether a waiter asks whether the flight is of the epoch that it called in.
    pub waiter_epoch: bool,
    /// Whether an own bump acts here before it is sent.
    pub drops_before_sending: bool,
    /// Whether it acts here once more when it is given up.
    pub drops_on_giving_up: bool,

    /// What is bumped elsewhere, and here.
    pub kinds: Kinds,
    /// How many versions are committed, here and elsewhere together.
    pub writes: u8,
    /// How many loads, and reads of L2, begin.
    pub loads: u8,
    /// How many messages are lost, late or doubled.
    pub losses: u8,
    /// What becomes of those.
    pub fates: &'static [Fate],
    /// How many subscriptions break.
    pub breaks: u8,
    /// What the server forgets.
    pub faults: &'static [Fault],
    /// How often it does.
    pub failures: u8,
    /// How often the table grows.
    pub growths: u8,
    /// Whether reads without a proof ask for one.
    pub renewals: bool,
    /// Whether this instance invalidates, and how many of its bumps are not answered.
    pub own: Option<u8>,
    /// Whether callers wait for flights.
    pub waiters: bool,
    /// Whether somebody waits for the points that are given elsewhere.
    pub points: bool,
    /// Whether the table is read in two steps.
    pub reads_in_two: bool,
    /// Whether the server's clock goes on when it forgets.
    pub clock_goes_on: bool,
    /// Whether others bump a lane that has gone back before this instance has asked it where it stands.
    pub others_come_first: bool,
    /// Whether the instance has just started, and knows nothing.
    pub newcomer: bool,
    /// Whether it is looked at in every state if the follower finds back.
    pub liveness: bool,
}

impl LaneModel {
    /// The rules of the protocol, at the smallest sizes that show the faults of most others.
    #[must_use]
    pub const fn recommended() -> Self {
        Self {
            runs_seen: true,
            bumps_see_runs: true,
            proofs_name_connections: true,
            epochs_end_connections: true,
            ticks_outlast_eras: true,
            floor_sent: true,
            eras: true,
            table_loss_seen: true,
            proof_from: ProofFrom::Asked,
            gaps_seen: true,
            point: Point::FirstAnswer,
            second_check: true,
            merge_first: true,
            first_check_begins_epoch: true,
            epochs_detach: true,
            epoch_noted: Noting::First,
            seq_noted: Noting::First,
            suspects_judged: true,
            l2_needs_proof: true,
            l1_needs_proof: true,
            renewal_takes_over: true,
            renewal_begins_epoch: true,
            proves_in_its_epoch: true,
            reached_in_known_era: true,
            waiter_epoch: true,
            drops_before_sending: true,
            drops_on_giving_up: true,
            kinds: Kinds::Either,
            writes: 2,
            loads: 1,
            losses: 1,
            fates: &[Fate::Lost],
            breaks: 0,
            faults: &[],
            failures: 0,
            growths: 0,
            renewals: false,
            own: None,
            waiters: false,
            points: false,
            reads_in_two: false,
            clock_goes_on: true,
            others_come_first: true,
            newcomer: false,
            liveness: false,
        }
    }

    pub(super) const fn kinds(self) -> &'static [Kind] {
        match self.kinds {
            Kinds::Key => &[Kind::Key],
            Kinds::Tag => &[Kind::Tag],
            Kinds::Either => &[Kind::Key, Kind::Tag],
            Kinds::Any => &[Kind::Key, Kind::Tag, Kind::Other],
        }
    }
}
