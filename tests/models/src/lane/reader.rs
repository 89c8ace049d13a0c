//! What calls do in the instance: reads with and without L2, suspects, waiters, own bumps.

use super::state::{Entry, Flight, Kind, OwnBump, Stage, State, Stored, Token, Version, Waiter, Way, Wrong};
use super::{Action, LaneModel, Noting};

impl LaneModel {
    /// No later caller joins the flight, and it enters nothing; who waited still gets what it brings.
    pub(super) fn detach(state: &mut State) {
        match &mut state.flight {
            Some(flight) if state.waiter.is_some() => {
                flight.attached = false;
                if let Way::Loaded(version, _) = flight.way {
                    flight.way = Way::Loaded(version, false);
                }
            }
            _ => state.flight = None,
        }
    }

    /// What a bump of the key does here; what was loaded by whom the lane had told `at` before is newer.
    pub(super) fn drop_key(state: &mut State, at: Option<Token>) {
        let newer = |born: Token| at.is_some_and(|at| born.era == at.era && born.seq >= at.seq);
        state.l1 = state.l1.filter(|entry| newer(entry.born));
        if state.flight.is_some_and(|flight| !newer(flight.noted)) {
            Self::detach(state);
        }
    }

    /// Whether it is proven of the process that answers commands now that nothing is missing here.
    pub(super) fn proven(self, state: &State) -> bool {
        let of_this_line = state.proof_line >= state.line || !self.proofs_name_connections;
        state.proof.is_some() && of_this_line
    }

    /// Whether L2 may be read now: proven, and nothing of the key waits to be told.
    fn readable(self, state: &State) -> bool {
        (self.proven(state) || !self.l2_needs_proof) && !state.pending()
    }

    /// Whether a value of L2 is of use here.
    fn usable(state: &State, value: Stored) -> bool {
        value.born.era == state.known.era && state.unmoved(value.born, true)
    }

    fn is_suspect(self, state: &State, entry: Entry) -> bool {
        !entry.present
            && entry.stamp != 0
            && entry.born.era == state.known.era
            && (state.unmoved(entry.born, entry.ticked) || !self.suspects_judged)
    }

    /// What reads may do next.
    pub(super) fn reads(self, state: &State, may: &mut impl FnMut(bool, Action)) {
        match state.flight {
            Some(flight) => {
                let join = self.waiters && flight.attached && state.waiter.is_none() && state.proof.is_some();
                may(join, Action::Join);
                may(
                    state.connected() || !matches!(flight.way, Way::L2Asked | Way::StampAsked),
                    match flight.way {
                        Way::Loaded(..) => Action::EndLoad,
                        Way::L2Asked => Action::L2Answers,
                        Way::L2Answered(_) => Action::EndL2Read,
                        Way::StampAsked => Action::StampAnswers,
                        Way::StampAnswered(_) => Action::EndStamp,
                    },
                );
            }
            None if state.proven_copy().is_some() => {}
            None => {
                let suspect = state.l1.is_some_and(|entry| self.is_suspect(state, entry));
                may(suspect && self.readable(state), Action::AskStamp);
                let readable = self.readable(state) && state.connected();
                let usable = state.memory.l2.is_some_and(|value| Self::usable(state, value));
                may(state.left.loads > 0 && readable && state.memory.l2.is_some(), Action::AskL2);
                may(state.left.loads > 0 && !(readable && usable), Action::BeginLoad);
            }
        }
    }

    fn begin(state: &State, way: Way) -> Flight {
        let judged = way == Way::L2Asked;
        Flight {
            way,
            attached: true,
            present: true,
            noted: state.known,
            ticked: true,
            acknowledged: if judged { state.acknowledged.max(state.heard) } else { 0 },
            told: if judged { state.told } else { 0 },
        }
    }

    pub(super) fn read(self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::BeginLoad => {
                state.left.loads -= 1;
                let readable = self.readable(state) && state.connected();
                if readable {
                    // The ticket stands where nothing was, or is put in the place of what is of no use.
                    state.memory.l2 = None;
                }
                state.flight = Some(Self::begin(state, Way::Loaded(state.committed, readable)));
            }
            Action::AskL2 => {
                state.left.loads -= 1;
                state.flight = Some(Self::begin(state, Way::L2Asked));
            }
            Action::L2Answers => state.flight.as_mut()?.way = Way::L2Answered(state.memory.l2),
            Action::AskStamp => state.flight = Some(Self::begin(state, Way::StampAsked)),
            Action::StampAnswers => {
                let stamp = state.l1.map(|entry| entry.stamp);
                let same = stamp.is_some() && state.memory.l2.map(|value| value.stamp) == stamp;
                state.flight.as_mut()?.way = Way::StampAnswered(same);
            }
            Action::Join => {
                let flight = state.flight?;
                state.waiter =
                    Some(Waiter { since: state.proof?, known: state.known, ticked: flight.ticked, present: flight.present });
            }
            Action::EndLoad => self.end_load(state)?,
            Action::EndL2Read => self.end_l2_read(state)?,
            Action::EndStamp => self.end_stamp(state)?,
            _ => return None,
        }
        Some(())
    }

    fn end_load(self, state: &mut State) -> Option<()> {
        let flight = state.flight?;
        let Way::Loaded(version, ticket) = flight.way else { return None };
        let born = if self.seq_noted == Noting::First { flight.noted } else { state.known };
        let fills = ticket && flight.attached && !state.pending() && state.connected();
        let stamp = if fills {
            state.stamps += 1;
            state.memory.l2 = Some(Stored { version, born, stamp: state.stamps });
            state.stamps
        } else {
            0
        };
        let entry = Entry { version, born, ticked: flight.ticked, present: flight.present, loaded_here: true, stamp };
        self.land(state, entry);
        Some(())
    }

    fn end_l2_read(self, state: &mut State) -> Option<()> {
        let flight = state.flight?;
        let Way::L2Answered(found) = flight.way else { return None };
        let current = (self.proven(state) && flight.present) || !self.l2_needs_proof;
        let usable = found
            .filter(|value| current && !state.pending() && Self::usable(state, *value) && state.unmoved(value.born, flight.ticked));
        let Some(Stored { version, born, stamp }) = usable else {
            state.flight = None;
            state.waiter = None;
            return Some(());
        };
        let covered = state.proof.map_or(flight.acknowledged, |since| since.min(flight.acknowledged));
        if version < flight.told {
            state.wrong = Some(Wrong::Own);
        } else if version < covered {
            state.wrong = Some(Wrong::Bound);
        }
        self.land(state, Entry { version, born, ticked: flight.ticked, present: flight.present, loaded_here: false, stamp });
        Some(())
    }

    fn end_stamp(self, state: &mut State) -> Option<()> {
        let flight = state.flight?;
        let Way::StampAnswered(same) = flight.way else { return None };
        let current = self.proven(state) && flight.present;
        let held = state.l1.filter(|entry| current && same && self.is_suspect(state, *entry));
        if let Some(entry) = held {
            // As it was judged, should no table be asked.
            let born = if self.suspects_judged { entry.born } else { Token { seq: entry.born.seq.max(state.table), ..entry.born } };
            self.land(state, Entry { present: flight.present, born, ..entry });
        } else {
            state.flight = None;
            state.waiter = None;
        }
        Some(())
    }

    /// The flight ends: its entry enters L1 if it is attached, and who waits takes it or not.
    fn land(self, state: &mut State, entry: Entry) {
        let Some(flight) = state.flight.take() else { return };
        if let Some(waiter) = state.waiter.take() {
            let as_late = waiter.known == flight.noted && waiter.ticked;
            let bounded = waiter.present || !self.waiter_epoch;
            if bounded && (as_late || state.unmoved(entry.born, entry.ticked)) && entry.version < waiter.since {
                state.wrong = Some(Wrong::Wait);
            }
        }
        if flight.attached {
            let present = entry.present || self.epoch_noted == Noting::Last;
            state.l1 = Some(Entry { present, ..entry });
        }
    }

    // --- own bumps

    /// Makes the bump count here without a seq.
    fn act_here(state: &mut State, kind: Kind) {
        match kind {
            Kind::Key => Self::drop_key(state, None),
            Kind::Other => {}
            Kind::Tag => {
                state.unanswered = true;
                // Its tick is a later one.
                state.answered_elsewhere = None;
                if let Some(entry) = &mut state.l1 {
                    entry.ticked = false;
                }
                if let Some(flight) = &mut state.flight {
                    flight.ticked = false;
                }
            }
        }
    }

    pub(super) fn commit(state: &mut State, kind: Kind) {
        state.committed += 1;
        state.own = Some(OwnBump { kind, version: state.committed, stage: Stage::Committed, pending: false });
    }

    /// `end_own`: it stands on the lane at `at`.
    fn answered(self, state: &mut State, kind: Kind, at: Token, version: Version) {
        match kind {
            Kind::Key => Self::drop_key(state, Some(at)),
            Kind::Other => {}
            Kind::Tag => {
                state.table = state.table.max(at.seq);
                if state.known.era == at.era || !self.ticks_outlast_eras {
                    state.unanswered = false;
                } else {
                    state.answered_elsewhere = Some(at);
                }
            }
        }
        if state.known.era == at.era {
            state.known.seq = state.known.seq.max(at.seq);
        }
        state.heard = state.heard.max(version);
        state.told = state.told.max(version);
    }

    pub(super) fn own_bump(self, state: &mut State, action: Action) -> Option<()> {
        let own = state.own?;
        state.own = match (action, own.stage) {
            (Action::SendBump, Stage::Committed) => {
                if self.drops_before_sending {
                    Self::act_here(state, own.kind);
                }
                Some(OwnBump { stage: Stage::Sent(state.known), ..own })
            }
            (Action::SendAgain, Stage::InOutbox) => Some(OwnBump { stage: Stage::Sent(state.known), ..own }),
            (Action::OwnBumpRuns(fate), Stage::Sent(floor)) => {
                let at = self.bump(state, floor, own.kind, own.version, fate);
                Some(OwnBump { stage: Stage::Executed(at), ..own })
            }
            (Action::OwnAnswered, Stage::Executed(at)) => {
                self.answered(state, own.kind, at, own.version);
                None
            }
            (Action::GiveUp, Stage::Sent(_) | Stage::Executed(_)) => {
                state.left.answers -= 1;
                state.told = state.told.max(own.version);
                if self.drops_on_giving_up && !own.pending {
                    Self::act_here(state, own.kind);
                }
                Some(OwnBump { stage: Stage::InOutbox, pending: true, ..own })
            }
            _ => return None,
        };
        Some(())
    }
}
