//! The steps of a write guard in the key model: HOLD, commit, then RELEASE, the guard's own `set`, or its loss. Owns what is
//! done to a hold; not the mutation that a guard becomes once it is sent to L2 a second time.

use super::mutation::{Kind, Mutation, MutationStep, Stage};
use super::state::{Hold, Process, Slot, Stamp, State, Version, Who};
use super::{Holds, Key};

impl Key {
    pub(super) fn may_guard(&self, state: &State, who: Who) -> bool {
        self.guards.has(who) && !state.processes.of(who).guard_begun && state.committed < self.writes
    }

    pub(super) fn begin_guard(&self, process: &mut Process) {
        self.invalidate_locally(process);
        process.guard_begun = true;
        process.mutation =
            Some(Mutation { kind: Kind::Guard, version: 0, stage: Stage::HoldSent, pending: false, newer_seen: false });
    }

    /// What a guard may do beside going on.
    pub(super) fn next_guard_steps(&self, mutation: Mutation, mut may: impl FnMut(MutationStep)) {
        if mutation.kind != Kind::Guard {
            return;
        }
        if mutation.stage == Stage::Committed && self.guards_set {
            may(MutationStep::Trade);
        }
        if self.guards_are_lost && matches!(mutation.stage, Stage::Held | Stage::Committed) {
            may(MutationStep::LoseGuard);
        }
    }

    pub(super) fn guard(&self, state: &mut State, who: Who, step: MutationStep) -> Option<()> {
        let mutation = state.processes.of(who).mutation?;
        let next = match step {
            MutationStep::HoldExecutes => {
                self.hold(state, who);
                Stage::HoldExecuted
            }
            MutationStep::LearnHold => {
                self.invalidate_locally(state.processes.of_mut(who));
                Stage::Held
            }
            MutationStep::CommitHeld => {
                if state.committed >= self.writes {
                    return None;
                }
                state.committed += 1;
                state.processes.of_mut(who).mutation.as_mut()?.version = state.committed;
                Stage::Committed
            }
            MutationStep::Trade => {
                self.invalidate_locally(state.processes.of_mut(who));
                Stage::TradeSent
            }
            MutationStep::TradeExecutes => {
                // From here on it is a `set` between its halves, or an invalidation.
                let kind = if self.trade(state, who, mutation.version) { Kind::Set } else { Kind::Invalidate };
                state.processes.of_mut(who).mutation.as_mut()?.kind = kind;
                Stage::Executed
            }
            _ => {
                if mutation.stage == Stage::Committed {
                    state.orphaned = state.orphaned.max(mutation.version);
                }
                state.processes.of_mut(who).mutation = None;
                return Some(());
            }
        };
        state.processes.of_mut(who).mutation.as_mut()?.stage = next;
        Some(())
    }

    /// Whether the record of `who` may end now.
    pub(super) fn may_lapse(&self, state: &State, who: Who) -> bool {
        let Slot::Hold(hold) = state.slot else { return false };
        let in_transaction =
            state.processes.of(who).mutation.is_some_and(|mutation| matches!(mutation.stage, Stage::HoldExecuted | Stage::Held));
        hold.has(who) && (self.holds == Holds::MayBeLost || !in_transaction)
    }

    /// An invalidation of the key: it leaves a hold where it is.
    pub(super) fn bump(&self, slot: &mut Slot) {
        match slot {
            Slot::Hold(hold) if self.bumps_leave_holds => hold.touched |= self.bumps_touch_holds,
            _ => *slot = Slot::Absent,
        }
    }

    pub(super) fn hold(&self, state: &mut State, who: Who) {
        state.slot = Slot::Hold(match state.slot {
            Slot::Hold(hold) => hold.with(who),
            _ => Hold::of(who),
        });
        self.publish(state, who, None);
    }

    /// Takes the record of `who` out; what is no hold any more is dropped.
    pub(super) fn release(&self, slot: &mut Slot, who: Who) {
        self.bump(slot);
        if let Slot::Hold(hold) = *slot {
            *slot = hold.without(who);
        }
    }

    /// Swaps the hold for a ticket if nobody else has touched it; releases it otherwise.
    pub(super) fn trade(&self, state: &mut State, who: Who, version: Version) -> bool {
        let planted = state.slot == Slot::Hold(Hold::of(who));
        if planted {
            state.slot = Slot::Ticket(Stamp::Set(version));
        } else {
            self.release(&mut state.slot, who);
        }
        self.publish(state, who, planted.then_some(Stamp::Set(version)));
        planted
    }
}
