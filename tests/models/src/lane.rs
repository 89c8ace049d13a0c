//! The lane: what an instance may serve when messages, subscriptions, the lane's own state and its table are lost.
//!
//! An instance follows the lane over its own subscription: it applies messages in order, checks that nothing is missing, and
//! takes the lane over anew when something is. What it serves, it serves on proof: less than `max_staleness` ago everything that
//! was acknowledged was applied here. The model has one such instance with one copy, one flight and one waiter, and all others as
//! one writer who knows nothing. It goes step by step as the code does: `coherence/follower.rs`, `coherence/renewal.rs`,
//! `coherence/instance.rs`, `view.rs`, `cache/doubt.rs`, `cache/ask.rs`, `scripts/lane.lua`.
//!
//! *Time* is a proof that may end at any moment, and that stands for a version: the newest that was acknowledged to anybody, or
//! heard of here, when the proof was asked for. It may be relied on for as long as `max_staleness` from then, so what it lets be
//! served may not be older than that version. That is the bound, with no clock in it.
//!
//! A bump is one of the key (L2 is dropped), of its tag (a cell is written), or of something else. Messages are lost, late or
//! doubled; a subscription breaks; the server forgets the lane, or the table alone; another process takes its place, with what was
//! saved; the table grows while it is read. Own bumps that are not answered are pending, and told again.
//!
//! With its process go the subscription and the connection of commands, which come back each at its own time.
//!
//! Abstracted away: several keys, tags, pages and copies; collisions; what the [`crate::tags`] model shows of generations, and the
//! [`crate::key`] model of late commands: a load reads the database as it begins, and fills L2 as it ends, if nothing has taken its
//! ticket; limits, rests and retries; ends of life; guards. A flight that is detached without a waiter is forgotten.
//!
//! # The ablations
//!
//! - [`ProofFrom::Arrival`]: what is acknowledged while the answer to a check is under way is not covered by it.
//! - [`LaneModel::gaps_seen`] off: a lost message is lost.
//! - [`Point::SecondAnswer`]: what is bumped between the read of the table and the second check is taken for applied.
//! - [`LaneModel::merge_first`] off: for a moment the proof stands on a table that lacks what was missed.
//! - [`LaneModel::first_check_begins_epoch`] off: what was loaded while there was no subscription is taken for proven.
//! - [`LaneModel::second_check`] off: a table that is lost or grows while it is read is taken for whole.
//! - [`LaneModel::suspects_judged`] off: a tag's bump changes no stamp.
//! - [`LaneModel::epochs_detach`] and [`LaneModel::epoch_noted`] off, both: a load from before the gap enters L1 as if it were
//!   proven. Either alone is enough.
//! - [`LaneModel::seq_noted`] off: what was bumped while the load ran is taken for older than it.
//! - [`LaneModel::l2_needs_proof`] off: the table that judges the value may lack anything.
//! - [`LaneModel::waiter_epoch`] and [`LaneModel::epochs_detach`] off: who called after the gap gets what was loaded before it.
//! - [`LaneModel::drops_on_giving_up`] off: what was read from L2 after sending stays.
//! - [`LaneModel::runs_seen`] off: nobody notices that the server went back to an older state, if anybody bumps before an instance that
//!   was told more has asked where the lane stands: then its seq is above all floors ([`LaneModel::others_come_first`]).
//! - [`LaneModel::floor_sent`] off as well: nobody does, whoever comes first.
//! - [`LaneModel::bumps_see_runs`] off: a point is given that was reached here before the server went back.
//! - [`LaneModel::proofs_name_connections`] off: what the old process has proven lets the older values of the new one be served.
//! - [`LaneModel::epochs_end_connections`] off: so does an answer of the old process that is read late, after a proof of the new one.
//! - [`LaneModel::ticks_outlast_eras`] off: an own bump leaves its tick for a seq that lies below those that copies carry.
//! - [`LaneModel::eras`] off: what a lost lane had bumped is good again.
//! - [`LaneModel::table_loss_seen`] off: what a lost table had bumped is good again.
//! - [`LaneModel::renewal_takes_over`], [`LaneModel::renewal_begins_epoch`] off: what was not heard of is taken for applied.
//! - [`LaneModel::proves_in_its_epoch`] off: a follower that has met the era from before a loss is proven by the one after it,
//!   before it has merged its table.
//! - [`LaneModel::reached_in_known_era`] off: the same, by a point that was reached in the era after it.
//!
//! # What else holds
//!
//! - An own bump need not act here before it is sent, if it does at each outcome: nothing is promised until then. It is dropped early
//!   so that callers during the trip see it.
//!
//! - Where runs are not told apart, an older state that returns is noticed by the floor alone, if who was told more asks first.
//!   What it has forgotten is owed by nobody then who has not heard of it.
//! - A clock that goes back as the lane is lost, or returns older, breaks nothing: copies of another era need more than a seq.
//!
//! # What does not
//!
//! - A copy that is served without a proof has no bound ([`LaneModel::l1_needs_proof`]).

mod cases;
mod follower;
mod reader;
mod renewal;
mod rules;
mod server;
mod state;

use stateright::{Model, Property};

pub use cases::cases;
pub use rules::{Fault, Kinds, LaneModel, Noting, Point, ProofFrom};
pub use state::{
    Asked, Elsewhere, Entry, Fate, Flight, Follower, Item, Kind, Lane, Left, Memory, Message, OwnBump, Position, Renewal, Run, Seq,
    Stage, Stamp, Standing, State, Step, Stored, Token, Version, Waiter, Way, Wrong,
};

use crate::{B, G1, G3, P, R, T};

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Another instance commits.
    CommitElsewhere,
    /// Its bump runs.
    BumpElsewhere(Kind, Fate),
    /// It is answered.
    AcknowledgeElsewhere,
    /// The server forgets something.
    ServerFails(Fault),
    /// An older state is kept.
    TakeSnapshot,
    /// Another instance asks for a larger table.
    Grow,
    /// A message that was late arrives.
    ArriveLate,

    /// The follower opens a subscription.
    Subscribe,
    /// Its first check is answered.
    FirstCheck,
    /// The table's head is read.
    ReadHead,
    /// What of it has moved is read.
    ReadPage,
    /// The second check is sent.
    AskAgain,
    /// It runs.
    SecondCheckRuns,
    /// Its answer arrives: the epoch ends.
    Meet,
    /// The table is taken over.
    Merge,
    /// What has arrived is applied; proven.
    CatchUp,
    /// A message is applied.
    Hear,
    /// A check is sent.
    AskCheck,
    /// It runs.
    CheckRuns,
    /// Its answer arrives: what came before it is applied; proven.
    CheckAnswered,
    /// The subscription is lost.
    SubscriptionBreaks,
    /// The process that it was made to is gone.
    SubscriptionEnds,
    /// Commands are answered by the server's new process.
    Reconnect,
    /// The proof runs out.
    ProofEnds,

    /// A read without proof asks where the lane stands.
    Renew,
    /// The question runs.
    StandRuns,
    /// Its answer arrives: proven, or the table is read.
    StandAnswered,
    /// What of it has moved is read.
    RenewalReadsPage,
    /// The lane is asked once more.
    RenewalAsksAgain,
    /// The answer arrives: the epoch ends.
    RenewalMeets,
    /// The table is taken over.
    RenewalMerges,
    /// Proven.
    RenewalProves,

    /// A miss begins a load, which reads the database.
    BeginLoad,
    /// The load ends: fills L2, enters L1.
    EndLoad,
    /// A miss reads L2.
    AskL2,
    /// L2 answers.
    L2Answers,
    /// The answer is judged, and served or not.
    EndL2Read,
    /// A suspect copy's stamp is asked for.
    AskStamp,
    /// L2 answers.
    StampAnswers,
    /// The copy is cleared, or not.
    EndStamp,
    /// A caller joins the flight.
    Join,

    /// This instance commits.
    Commit(Kind),
    /// It bumps here, and sends.
    SendBump,
    /// It sends again, from the outbox.
    SendAgain,
    /// The bump runs.
    OwnBumpRuns(Fate),
    /// It is answered, and the caller is told `Applied`.
    OwnAnswered,
    /// Nobody waits for the answer any longer; the caller is told `Pending`.
    GiveUp,
}

/// More steps than a follower needs from anywhere to a proof, if nothing more goes wrong.
const STEPS_TO_PROOF: u32 = 40;

impl LaneModel {
    fn fates(self, state: &State) -> impl Iterator<Item = Fate> {
        let faulty = state.left.losses > 0 && state.follower.step != Step::Away;
        let free = state.astray.is_none();
        let others = self.fates.iter().copied().filter(move |fate| faulty && (*fate != Fate::Late || free));
        std::iter::once(Fate::Delivered).chain(others)
    }

    /// Whether the server went back behind what was told to this instance, and it has not asked since.
    fn went_back_unseen(state: &State) -> bool {
        let in_stream = state.follower.stream.iter().filter_map(|item| match item {
            Item::Message(message) => Some(message.at),
            Item::Reply(_) => None,
        });
        let told = in_stream.chain(state.astray.map(|message| message.at)).chain([state.known]);
        state.memory.lane.is_some_and(|lane| {
            let Token { era, seq } = lane.standing.token;
            told.into_iter().any(|told| told.era == era && told.seq > seq)
        })
    }

    fn world(self, state: &State, may: &mut impl FnMut(bool, Action)) {
        let commits_left = state.committed < self.writes;
        match state.elsewhere {
            Elsewhere::Idle => may(commits_left, Action::CommitElsewhere),
            Elsewhere::Committed(_) if self.others_come_first || !Self::went_back_unseen(state) => {
                for kind in self.kinds() {
                    self.fates(state).for_each(|fate| may(true, Action::BumpElsewhere(*kind, fate)));
                }
            }
            Elsewhere::Committed(_) => {}
            Elsewhere::Bumped(..) => may(true, Action::AcknowledgeElsewhere),
        }
        for fault in self.faults {
            let possible = match fault {
                Fault::LoseLane => state.memory.lane.is_some(),
                Fault::LoseTable => state.memory.lane.is_some_and(|lane| lane.cell > 0),
                Fault::ReturnOld => state.snapshot.is_some(),
            };
            may(state.left.faults > 0 && possible, Action::ServerFails(*fault));
        }
        let keeps = state.left.faults > 0 && self.faults.contains(&Fault::ReturnOld) && state.snapshot.is_none();
        may(keeps, Action::TakeSnapshot);
        may(state.left.growths > 0 && state.memory.lane.is_some_and(|lane| !lane.table_lost), Action::Grow);
        may(state.astray.is_some(), Action::ArriveLate);
    }
}

impl Model for LaneModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let Self { loads, losses, breaks, failures, growths, .. } = *self;
        let state = State::new(Left { loads, losses, breaks, faults: failures, growths, answers: self.own.unwrap_or(0) });
        vec![if self.newcomer { state.started_anew() } else { state }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What can be neither served nor stored any more is of no interest.
        let served_out = state.l1.is_none() && state.flight.is_none() && state.left.loads == 0;
        let stored = state.memory.l2.is_some() || state.snapshot.is_some_and(|snapshot| snapshot.l2.is_some());
        if served_out && !self.liveness && !stored {
            return;
        }
        let mut may = |condition: bool, action| {
            if condition {
                actions.push(action);
            }
        };
        self.world(state, &mut may);
        may(true, self.follower_goes_on(state));
        let subscribed = state.follower.step != Step::Away;
        let heard = matches!(state.follower.stream.first(), Some(Item::Message(_)));
        may(state.follower.step == Step::Live && heard, Action::AskCheck);
        may(state.left.breaks > 0 && subscribed, Action::SubscriptionBreaks);
        may(subscribed && state.follower.run != state.run, Action::SubscriptionEnds);
        may(!state.connected(), Action::Reconnect);
        may(state.proof.is_some(), Action::ProofEnds);
        may(self.renewals && !self.proven(state) && state.renewal == Renewal::Idle, Action::Renew);
        if let Some(action) = Self::renewal_goes_on(state) {
            may(state.connected() || !state.renewal.needs_server(), action);
        }
        self.reads(state, &mut may);
        match state.own.map(|own| own.stage) {
            None => {
                for kind in
                    self.kinds().iter().filter(|kind| **kind != Kind::Other && self.own.is_some() && state.committed < self.writes)
                {
                    may(true, Action::Commit(*kind));
                }
            }
            Some(Stage::Committed) => may(true, Action::SendBump),
            Some(Stage::InOutbox) => may(true, Action::SendAgain),
            Some(Stage::Sent(_)) => self.fates(state).for_each(|fate| may(state.connected(), Action::OwnBumpRuns(fate))),
            Some(Stage::Executed(_)) => may(true, Action::OwnAnswered),
        }
        let unanswered = state.own.is_some_and(|own| matches!(own.stage, Stage::Sent(_) | Stage::Executed(_)));
        may(unanswered && state.left.answers > 0, Action::GiveUp);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::CommitElsewhere => {
                state.committed += 1;
                state.elsewhere = Elsewhere::Committed(state.committed);
            }
            Action::BumpElsewhere(kind, fate) => {
                let Elsewhere::Committed(version) = state.elsewhere else { return None };
                // A bump of something else invalidates nothing that is looked at.
                let version = if kind == Kind::Other { 0 } else { version };
                // Others know nothing of the lane's past: what is noticed is noticed here.
                let at = self.bump(&mut state, Token::default(), kind, version, fate);
                let at = if self.points { at } else { Token::default() };
                state.elsewhere = Elsewhere::Bumped(version, at);
            }
            Action::AcknowledgeElsewhere => {
                let Elsewhere::Bumped(version, at) = state.elsewhere else { return None };
                state.acknowledged = state.acknowledged.max(version);
                if self.points && version > 0 {
                    state.given = Some((at, version));
                }
                state.elsewhere = Elsewhere::Idle;
            }
            Action::ServerFails(fault) => self.server_fails(&mut state, fault)?,
            Action::TakeSnapshot => state.snapshot = Some(state.memory),
            Action::Grow => {
                state.left.growths -= 1;
                state.memory.lane.as_mut()?.standing.large = true;
            }
            Action::ArriveLate => {
                let message = state.astray.take()?;
                if state.follower.step != Step::Away {
                    state.follower.stream.push(Item::Message(message));
                }
            }
            Action::ProofEnds => state.proof = None,
            Action::Reconnect => state.line = state.run,
            Action::Renew
            | Action::StandRuns
            | Action::StandAnswered
            | Action::RenewalReadsPage
            | Action::RenewalAsksAgain
            | Action::RenewalMeets
            | Action::RenewalMerges
            | Action::RenewalProves => self.renew(&mut state, action)?,
            Action::BeginLoad
            | Action::EndLoad
            | Action::AskL2
            | Action::L2Answers
            | Action::EndL2Read
            | Action::AskStamp
            | Action::StampAnswers
            | Action::EndStamp
            | Action::Join => self.read(&mut state, action)?,
            Action::Commit(kind) => Self::commit(&mut state, kind),
            Action::SendBump | Action::SendAgain | Action::OwnBumpRuns(_) | Action::OwnAnswered | Action::GiveUp => {
                self.own_bump(&mut state, action)?;
            }
            _ => self.follow(&mut state, action)?,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(G1, |model: &Self, state: &State| {
                state.memory.l2.is_none_or(|value| !model.anybody_takes(state, value) || value.version >= state.acknowledged)
            }),
            Property::always(B, |model: &Self, state: &State| {
                let unproven = if model.l1_needs_proof { None } else { state.unproven_copy() };
                state.wrong != Some(Wrong::Bound)
                    && state.proven_copy().is_none_or(|entry| Some(entry.version) >= state.proof)
                    && unproven.is_none_or(|entry| entry.version >= state.acknowledged)
            }),
            Property::always(G3, |_, state: &State| {
                let self_evident = state.unproven_copy().filter(|entry| entry.loaded_here);
                state.wrong != Some(Wrong::Own)
                    && state.proven_copy().or(self_evident).is_none_or(|entry| entry.version >= state.told)
            }),
            Property::always(T, |_, state: &State| state.wrong != Some(Wrong::Wait)),
            Property::always(R, |_, state: &State| {
                let reached = |at: Token| state.reached.era == at.era && state.reached.seq >= at.seq;
                let promised = state.given.filter(|(at, _)| reached(*at)).map(|(_, version)| version);
                state.vouched_copy().is_none_or(|entry| Some(entry.version) >= promised)
            }),
        ];
        if self.liveness {
            properties.push(Property::always(P, |model: &Self, state: &State| model.finds_back(state)));
        }
        properties
    }
}

impl LaneModel {
    /// Whether an instance that has just taken the lane over would serve this value.
    fn anybody_takes(self, state: &State, value: Stored) -> bool {
        state.memory.lane.is_some_and(|lane| {
            let gone = self.table_loss_seen && lane.table_lost;
            let another = self.runs_seen && lane.run != state.run;
            !gone && !another && lane.standing.token.era == value.born.era && lane.cell <= value.born.seq
        })
    }

    /// Whether the follower comes to a proof by itself, if nothing more goes wrong.
    fn finds_back(self, state: &State) -> bool {
        let mut state = state.clone();
        state.proof = None;
        for _ in 0..STEPS_TO_PROOF {
            let action = self.follower_goes_on(&state);
            if self.follow(&mut state, action).is_none() {
                return false;
            }
            if state.proof.is_some() {
                return true;
            }
        }
        false
    }
}
