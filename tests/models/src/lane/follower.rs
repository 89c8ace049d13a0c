//! The follower, step by step as `coherence/follower.rs` goes, and what it does to the instance: `View` and `Instance`.

use super::state::{Asked, Item, Kind, Message, Seq, Standing, State, Step, Token};
use super::{Action, LaneModel, Point, ProofFrom};

/// Why a session could not go on.
enum Broken {
    /// Something was missed.
    Behind,
    /// The subscription is of no more use.
    Lost,
}

impl LaneModel {
    // --- what it does to the instance

    /// An epoch ends: what is held is suspect, and flights are detached.
    pub(super) fn end_epoch(self, state: &mut State) {
        state.proof = None;
        if self.epochs_end_connections {
            state.proof_line = 0;
        }
        state.renewal.overtake();
        if let Some(entry) = &mut state.l1 {
            entry.present = false;
        }
        if let Some(flight) = &mut state.flight {
            flight.present = false;
        }
        if self.epochs_detach {
            Self::detach(state);
        }
    }

    /// Takes the lane's point over and begins an epoch: `View::meet`.
    pub(super) fn meet(self, state: &mut State, told: Token) {
        if state.known.era == told.era {
            state.known.seq = state.known.seq.max(told.seq);
        } else {
            state.known = told;
        }
        self.end_epoch(state);
    }

    /// Takes over the table of the lane that stood at `told`: `View::take_over`.
    pub(super) fn merge(state: &mut State, page: Seq, told: Token) {
        state.table = state.table.max(page);
        // What was bumped later is not in that table.
        let later = |at: &Token| at.era == told.era && at.seq > told.seq;
        if state.answered_elsewhere.is_some_and(|at| !later(&at)) {
            state.answered_elsewhere = None;
            state.unanswered = false;
        }
    }

    pub(super) fn reach(state: &mut State, point: Token) {
        if state.reached.era != point.era || state.reached.seq < point.seq {
            state.reached = point;
        }
    }

    /// `Instance::apply`: what a bump does to copies and loads, then the table, then the highest point known.
    fn apply(state: &mut State, message: Message) {
        let at = message.at;
        match message.kind {
            Kind::Key => Self::drop_key(state, Some(at)),
            Kind::Tag => state.table = state.table.max(at.seq),
            Kind::Other => {}
        }
        if state.known.era == at.era {
            state.known.seq = state.known.seq.max(at.seq);
        }
        state.heard = state.heard.max(message.version);
    }

    // --- the session

    fn end_session(self, state: &mut State) {
        if std::mem::take(&mut state.follower.synced) {
            self.end_epoch(state);
        }
        state.follower.step = Step::Away;
        state.follower.stream.clear();
        state.follower.mended = false;
    }

    /// Something was missed, and the subscription goes on; unless that has just been.
    fn fall_behind(self, state: &mut State) {
        if state.follower.mended {
            self.end_session(state);
        } else {
            state.follower.mended = true;
            self.end_epoch(state);
            state.follower.step = Step::Subscribed;
        }
    }

    /// Applies one message and says which point is reached.
    fn hear(self, state: &mut State, message: Message, applied: Token) -> Result<Token, Broken> {
        Self::apply(state, message);
        let at = message.at;
        if at.era != applied.era {
            return Err(Broken::Behind);
        }
        if at.seq <= applied.seq {
            return Ok(applied);
        }
        if message.previous != applied.seq && self.gaps_seen {
            return Err(Broken::Behind);
        }
        Ok(at)
    }

    /// Applies what had arrived before the answer to a check, and takes that out of the stream.
    fn catch_up(self, state: &mut State, before: Token) -> Result<Token, Broken> {
        let (mut applied, mut behind) = (before, false);
        while let Some(item) = state.follower.stream.pop_at(0) {
            match item {
                Item::Message(message) => match self.hear(state, message, applied) {
                    Ok(reached) => applied = reached,
                    Err(_) => behind = true,
                },
                Item::Reply(Standing { token: told, .. }) if told.era == applied.era && !behind => {
                    return match told.seq {
                        seq if seq < before.seq => Err(Broken::Lost),
                        seq if seq > applied.seq && self.gaps_seen => Err(Broken::Behind),
                        seq => Ok(Token { seq: applied.seq.max(seq), ..applied }),
                    };
                }
                Item::Reply(_) => break,
            }
        }
        Err(Broken::Behind)
    }

    fn told(state: &State) -> Option<Standing> {
        state.follower.stream.iter().find_map(|item| match item {
            Item::Reply(standing) => Some(*standing),
            Item::Message(_) => None,
        })
    }

    fn prove(self, state: &mut State, asked: Asked) {
        let since = match self.proof_from {
            ProofFrom::Asked => asked.since,
            ProofFrom::Arrival => state.ask().since,
        };
        state.proof = Some(since);
        state.proof_line = state.proof_line.max(asked.line);
    }

    fn caught_up(self, state: &mut State, before: Standing, asked: Asked, then: Step) {
        match self.catch_up(state, before.token) {
            Ok(applied) => {
                state.follower.applied = applied;
                state.follower.synced = true;
                state.follower.step = then;
                self.prove(state, asked);
                Self::reach(state, applied);
            }
            // Anything while it comes into step ends the session.
            Err(_) => self.end_session(state),
        }
    }

    /// What the follower does next, if nothing goes wrong.
    pub(super) fn follower_goes_on(self, state: &State) -> Action {
        let heard = matches!(state.follower.stream.first(), Some(Item::Message(_)));
        match state.follower.step {
            Step::Away => Action::Subscribe,
            step if step.needs_server() && state.follower.run != state.run => Action::SubscriptionEnds,
            Step::Subscribed => Action::FirstCheck,
            Step::Begun(_) => Action::ReadHead,
            Step::Head(..) => Action::ReadPage,
            Step::Read(..) => Action::AskAgain,
            Step::Again(..) => Action::SecondCheckRuns,
            Step::Answered(..) => Action::Meet,
            Step::Met(..) if self.merge_first => Action::Merge,
            Step::Met(..) | Step::Merged(..) => Action::CatchUp,
            Step::Unmerged(_) => Action::Merge,
            Step::Live if heard => Action::Hear,
            Step::Live => Action::AskCheck,
            Step::Checking(_) => Action::CheckRuns,
            Step::Checked(_) => Action::CheckAnswered,
        }
    }

    pub(super) fn follow(self, state: &mut State, action: Action) -> Option<()> {
        let step = state.follower.step;
        state.follower.step = match (action, step) {
            (Action::SubscriptionBreaks, _) => {
                state.left.breaks -= 1;
                self.end_session(state);
                return Some(());
            }
            (Action::SubscriptionEnds, _) => {
                self.end_session(state);
                return Some(());
            }
            (Action::Subscribe, Step::Away) => {
                state.follower.run = state.run;
                Step::Subscribed
            }
            (Action::FirstCheck, Step::Subscribed) => Step::Begun(self.check(state, state.known)),
            (Action::ReadHead, Step::Begun(begun)) => match Self::page_moved(state, begun, state.follower.applied) {
                Some(moved) if self.reads_in_two => Step::Head(begun, moved),
                Some(moved) => Step::Read(begun, Self::read_page(state, begun, moved)),
                None => {
                    self.end_session(state);
                    return Some(());
                }
            },
            (Action::ReadPage, Step::Head(begun, moved)) => Step::Read(begun, Self::read_page(state, begun, moved)),
            (Action::AskAgain, Step::Read(begun, page)) => Step::Again(begun, page, state.ask()),
            (Action::SecondCheckRuns, Step::Again(begun, page, asked)) => {
                let standing = self.check(state, asked.floor);
                state.follower.stream.push(Item::Reply(standing));
                Step::Answered(begun, page, asked)
            }
            (Action::Meet, Step::Answered(begun, page, asked)) => {
                let told = Self::told(state)?;
                if self.second_check && (told.token.era, told.large) != (begun.token.era, begun.large) {
                    self.end_session(state);
                    return Some(());
                }
                let point = if self.point == Point::FirstAnswer { begun } else { told };
                if self.first_check_begins_epoch || state.follower.synced {
                    self.meet(state, point.token);
                } else {
                    state.known = if state.known.era == point.token.era { state.known } else { point.token };
                    state.known.seq = state.known.seq.max(point.token.seq);
                }
                Step::Met(point, page, asked)
            }
            (Action::Merge, Step::Met(begun, page, asked)) => {
                Self::merge(state, page, begun.token);
                Step::Merged(begun, asked)
            }
            (Action::Merge, Step::Unmerged(page)) => {
                Self::merge(state, page, state.follower.applied);
                Step::Live
            }
            (Action::CatchUp, Step::Met(begun, page, asked)) => {
                self.caught_up(state, begun, asked, Step::Unmerged(page));
                return Some(());
            }
            (Action::CatchUp, Step::Merged(begun, asked)) => {
                self.caught_up(state, begun, asked, Step::Live);
                return Some(());
            }
            (Action::Hear, Step::Live) => {
                if let Some(Item::Message(message)) = state.follower.stream.pop_at(0) {
                    match self.hear(state, message, state.follower.applied) {
                        Ok(applied) => {
                            state.follower.applied = applied;
                            Self::reach(state, applied);
                        }
                        Err(_) => self.fall_behind(state),
                    }
                }
                return Some(());
            }
            (Action::AskCheck, Step::Live) => Step::Checking(state.ask()),
            (Action::CheckRuns, Step::Checking(asked)) => {
                let standing = self.check(state, asked.floor);
                state.follower.stream.push(Item::Reply(standing));
                Step::Checked(asked)
            }
            (Action::CheckAnswered, Step::Checked(asked)) => {
                match self.catch_up(state, state.follower.applied) {
                    Ok(applied) => {
                        state.follower.applied = applied;
                        state.follower.mended = false;
                        state.follower.step = Step::Live;
                        self.prove(state, asked);
                        Self::reach(state, applied);
                    }
                    Err(Broken::Behind) => self.fall_behind(state),
                    Err(Broken::Lost) => self.end_session(state),
                }
                return Some(());
            }
            _ => return None,
        };
        Some(())
    }
}
