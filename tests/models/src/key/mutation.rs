//! The steps of a mutation in the key model, from the commit to the acknowledgement or to the outbox, and what executes
//! late. Owns invalidations and `set`; not reads.

use super::read::{claim, probe};
use super::state::{Late, Message, Slot, Stamp, State, Version, Who};
use super::{Key, Mutations, Removal, SetScript};

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `invalidate`.
    Invalidate,
    /// `set`.
    Set,
    /// A write guard: HOLD, commit, RELEASE or the `set` of the guard.
    Guard,
}

/// What a mutation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// To be sent: the database has committed.
    Committed,
    /// That it executes at L2.
    Sent,
    /// In a cluster: that the other of DEL and publish executes.
    HalfExecuted,
    /// That the answer arrives.
    Executed,
    /// That the second half of a `set` executes.
    ValueSent,
    /// That its answer arrives: stored.
    ValueStored,
    /// That its answer arrives: refused.
    ValueRefused,
    /// To be sent again.
    InOutbox,
    /// That the HOLD executes.
    HoldSent,
    /// That its answer arrives.
    HoldExecuted,
    /// That the caller commits.
    Held,
    /// That the first half of the guard's `set` executes.
    TradeSent,
}

/// A mutation under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mutation {
    pub(super) kind: Kind,
    pub(super) version: Version,
    pub(super) stage: Stage,
    /// The caller was told `Pending`.
    pub(super) pending: bool,
    /// A message other than its own was applied meanwhile: what a `set` brings may not be the newest.
    pub(super) newer_seen: bool,
}

impl Mutation {
    pub(super) const fn stamp(self) -> Stamp {
        Stamp::Set(self.version)
    }

    pub(super) const fn is_sent(self) -> bool {
        !matches!(self.stage, Stage::Committed | Stage::Held)
    }
}

/// A step of a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutationStep {
    /// Commits the next version to the database and calls this.
    Commit(Kind),
    /// Drops and detaches locally, and sends.
    Send,
    /// Sends the invalidation again, from the outbox.
    SendAgain,
    /// L2 executes it: an invalidation, or the first half of a `set`.
    Executes,
    /// In a cluster, the other half of an invalidation executes.
    OtherHalfExecutes,
    /// The answer arrives: drops and detaches again, the caller is told.
    LearnAnswer,
    /// The answer to the first half of a `set` arrives: sends the value.
    SendValue,
    /// The second half of a `set` executes.
    ValueExecutes,
    /// Its answer arrives: the caller is told; what was stored enters L1 unless something newer was seen.
    LearnValueAnswer,
    /// Gives up on an answer: drops and detaches again, the caller is told `Pending`.
    GiveUp,
    /// Drops and detaches locally, and sends a HOLD.
    Guard,
    /// L2 executes it.
    HoldExecutes,
    /// Its answer arrives: drops and detaches again, the caller has his guard.
    LearnHold,
    /// Commits the next version under the guard.
    CommitHeld,
    /// Drops and detaches locally, and sends the first half of the guard's `set`.
    Trade,
    /// L2 executes it.
    TradeExecutes,
    /// The guard is dropped, as if its process had died: nothing is sent.
    LoseGuard,
}

impl Key {
    fn may_commit(&self, state: &State, who: Who) -> bool {
        let called = self.writers.has(who);
        // Two calls of `set` at a time have no order that could be wrong; the user's duty is to commit and set in one order.
        let sets = self.mutations != Mutations::Invalidate;
        let in_turn = !sets || state.processes.all(|process| process.mutation.is_none_or(|mutation| mutation.pending));
        called && in_turn && state.committed < self.writes
    }

    pub(super) fn next_mutation_steps(&self, state: &State, who: Who, mut may: impl FnMut(MutationStep)) {
        let Some(mutation) = state.processes.of(who).mutation else {
            if self.may_commit(state, who) {
                if self.mutations != Mutations::Set {
                    may(MutationStep::Commit(Kind::Invalidate));
                }
                if self.mutations != Mutations::Invalidate {
                    may(MutationStep::Commit(Kind::Set));
                }
            }
            if self.may_guard(state, who) {
                may(MutationStep::Guard);
            }
            return;
        };
        may(match mutation.stage {
            Stage::Committed => MutationStep::Send,
            Stage::InOutbox => MutationStep::SendAgain,
            Stage::Sent => MutationStep::Executes,
            Stage::HalfExecuted => MutationStep::OtherHalfExecutes,
            Stage::Executed if mutation.kind == Kind::Set && self.set == SetScript::TwoHalves => MutationStep::SendValue,
            Stage::Executed => MutationStep::LearnAnswer,
            Stage::ValueSent => MutationStep::ValueExecutes,
            Stage::ValueStored | Stage::ValueRefused => MutationStep::LearnValueAnswer,
            Stage::HoldSent => MutationStep::HoldExecutes,
            Stage::HoldExecuted => MutationStep::LearnHold,
            Stage::Held => MutationStep::CommitHeld,
            Stage::TradeSent => MutationStep::TradeExecutes,
        });
        self.next_guard_steps(mutation, &mut may);
        if state.losses_left > 0 && !matches!(mutation.stage, Stage::Committed | Stage::InOutbox | Stage::Held) {
            may(MutationStep::GiveUp);
        }
    }

    pub(super) fn mutate(&self, state: &mut State, who: Who, step: MutationStep) -> Option<()> {
        if let MutationStep::Commit(kind) = step {
            state.committed += 1;
            let mutation = Mutation { kind, version: state.committed, stage: Stage::Committed, pending: false, newer_seen: false };
            state.processes.of_mut(who).mutation = Some(mutation);
            return Some(());
        }
        if step == MutationStep::Guard {
            self.begin_guard(state.processes.of_mut(who));
            return Some(());
        }
        let mutation = state.processes.of(who).mutation?;
        let next = match step {
            MutationStep::HoldExecutes
            | MutationStep::LearnHold
            | MutationStep::CommitHeld
            | MutationStep::Trade
            | MutationStep::TradeExecutes
            | MutationStep::LoseGuard => return self.guard(state, who, step),
            MutationStep::Send => {
                self.invalidate_locally(state.processes.of_mut(who));
                Stage::Sent
            }
            MutationStep::SendAgain => Stage::Sent,
            MutationStep::Executes => self.execute(state, who, mutation),
            MutationStep::OtherHalfExecutes => {
                match self.removal {
                    Removal::DeleteThenPublish => self.publish(state, who, None),
                    _ => self.bump(&mut state.slot),
                }
                Stage::Executed
            }
            MutationStep::SendValue => Stage::ValueSent,
            MutationStep::ValueExecutes if state.slot == Slot::Ticket(mutation.stamp()) => {
                state.slot = self.value(mutation.version, mutation.stamp());
                Stage::ValueStored
            }
            MutationStep::ValueExecutes => Stage::ValueRefused,
            MutationStep::LearnAnswer | MutationStep::LearnValueAnswer => {
                self.acknowledge(state, who, mutation);
                return Some(());
            }
            MutationStep::GiveUp | MutationStep::Commit(_) | MutationStep::Guard => {
                self.give_up(state, who, mutation);
                return Some(());
            }
        };
        state.processes.of_mut(who).mutation.as_mut()?.stage = next;
        Some(())
    }

    fn execute(&self, state: &mut State, who: Who, mutation: Mutation) -> Stage {
        match (mutation.kind, self.removal) {
            (Kind::Guard, _) => {
                self.release(&mut state.slot, who);
                self.publish(state, who, None);
                Stage::Executed
            }
            (Kind::Set, _) if matches!(state.slot, Slot::Hold(_)) => {
                self.bump(&mut state.slot);
                self.publish(state, who, None);
                if let Some(mutation) = &mut state.processes.of_mut(who).mutation {
                    mutation.kind = Kind::Invalidate;
                }
                Stage::Executed
            }
            (Kind::Set, _) => {
                let first_half = match self.set {
                    SetScript::TwoHalves => Slot::Ticket(mutation.stamp()),
                    SetScript::One => self.value(mutation.version, mutation.stamp()),
                };
                state.slot = first_half;
                self.publish(state, who, Some(mutation.stamp()));
                Stage::Executed
            }
            (Kind::Invalidate, Removal::Atomic) => {
                self.bump(&mut state.slot);
                self.publish(state, who, None);
                Stage::Executed
            }
            (Kind::Invalidate, Removal::DeleteThenPublish) => {
                self.bump(&mut state.slot);
                Stage::HalfExecuted
            }
            (Kind::Invalidate, Removal::PublishThenDelete) => {
                self.publish(state, who, None);
                Stage::HalfExecuted
            }
        }
    }

    pub(super) fn publish(&self, state: &mut State, from: Who, stamp: Option<Stamp>) {
        let message = Message { from: (!self.own_echo).then_some(from), stamp };
        state.processes.for_each(|process| process.inbox.push(message));
    }

    fn acknowledge(&self, state: &mut State, who: Who, mutation: Mutation) {
        state.acknowledged = state.acknowledged.max(mutation.version);
        let process = state.processes.of_mut(who);
        process.mutation = None;
        process.told = process.told.max(mutation.version);
        if self.drop_when_answered {
            self.invalidate_locally(process);
        }
        if mutation.kind == Kind::Set && mutation.stage != Stage::ValueRefused {
            process.l1 = (!mutation.newer_seen).then(|| self.entry(mutation.version, Some(mutation.stamp())));
        }
    }

    /// What was sent and not executed is late; whatever it was, the outbox now holds an invalidation.
    fn give_up(&self, state: &mut State, who: Who, mutation: Mutation) {
        state.losses_left -= 1;
        let process = state.processes.of_mut(who);
        let late = match (mutation.stage, mutation.kind, self.set) {
            (Stage::HoldSent | Stage::HoldExecuted, ..) => {
                // The caller has no guard and commits nothing under it.
                process.mutation = None;
                if mutation.stage == Stage::HoldSent {
                    process.leave(Late::Hold(who));
                }
                return;
            }
            (Stage::Sent, Kind::Guard, _) => Some(Late::Release(who)),
            (Stage::TradeSent, ..) => Some(Late::Trade(who, mutation.version)),
            (Stage::Sent, Kind::Invalidate, _) => Some(Late::Invalidate),
            (Stage::Sent, Kind::Set, SetScript::TwoHalves) => Some(Late::SetFirstHalf(mutation.version)),
            (Stage::Sent, Kind::Set, SetScript::One) => Some(Late::Set(mutation.version)),
            (Stage::ValueSent, ..) => Some(Late::SetSecondHalf(mutation.version)),
            _ => None,
        };
        if let Some(late) = late {
            process.leave(late);
        }
        if self.drop_when_given_up {
            self.invalidate_locally(process);
        }
        process.told = process.told.max(mutation.version);
        process.mutation = Some(Mutation {
            kind: Kind::Invalidate,
            version: mutation.version,
            stage: Stage::InOutbox,
            pending: true,
            newer_seen: false,
        });
    }

    pub(super) fn execute_late(&self, state: &mut State, who: Who, late: Late) -> Option<()> {
        state.processes.of_mut(who).take_late(late)?;
        match late {
            // The answer is still listened to: a ticket that nobody waits for is given back.
            Late::Probe(ticket) => {
                probe(&mut state.slot, ticket);
                state.processes.of_mut(who).leave(Late::Abandon(ticket));
            }
            Late::SecondProbe(ticket) => {
                probe(&mut state.slot, ticket);
            }
            Late::Claim { ticket, unusable } => {
                claim(&mut state.slot, ticket, unusable);
                state.processes.of_mut(who).leave(Late::Abandon(ticket));
            }
            Late::Abandon(ticket) if state.slot == Slot::Ticket(ticket) => state.slot = Slot::Absent,
            Late::Abandon(_) => {}
            Late::Fill(ticket, version) => state.slot = self.value(version, ticket),
            Late::SetSecondHalf(version) => state.slot = self.value(version, Stamp::Set(version)),
            Late::Invalidate => {
                self.bump(&mut state.slot);
                self.publish(state, who, None);
            }
            Late::Set(_) | Late::SetFirstHalf(_) if matches!(state.slot, Slot::Hold(_)) => {
                self.bump(&mut state.slot);
                self.publish(state, who, None);
            }
            Late::Set(version) => {
                state.slot = self.value(version, Stamp::Set(version));
                self.publish(state, who, Some(Stamp::Set(version)));
            }
            Late::SetFirstHalf(version) => {
                state.slot = Slot::Ticket(Stamp::Set(version));
                self.publish(state, who, Some(Stamp::Set(version)));
            }
            Late::Hold(_) => self.hold(state, who),
            Late::Release(_) => {
                self.release(&mut state.slot, who);
                self.publish(state, who, None);
            }
            Late::Trade(_, version) => {
                self.trade(state, who, version);
            }
        }
        Some(())
    }
}
