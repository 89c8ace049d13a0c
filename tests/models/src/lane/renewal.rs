//! A proof beside the subscription, step by step as `coherence/renewal.rs` goes.

use super::state::{Position, Renewal, State, Token};
use super::{Action, LaneModel};

impl LaneModel {
    /// What whoever asks does next.
    pub(super) fn renewal_goes_on(state: &State) -> Option<Action> {
        Some(match state.renewal {
            Renewal::Idle => return None,
            Renewal::Sent(_) => Action::StandRuns,
            Renewal::Answered(..) => Action::StandAnswered,
            Renewal::Head(..) => Action::RenewalReadsPage,
            Renewal::Read(..) => Action::RenewalAsksAgain,
            Renewal::Confirmed(..) => Action::RenewalMeets,
            Renewal::Met(..) => Action::RenewalMerges,
            Renewal::Merged(..) => Action::RenewalProves,
        })
    }

    pub(super) fn renew(self, state: &mut State, action: Action) -> Option<()> {
        state.renewal = match (action, state.renewal) {
            (Action::Renew, _) => {
                let counts = state.reached.era == state.known.era || !self.reached_in_known_era;
                let reached = if counts { state.reached } else { Token::default() };
                Renewal::Sent(Position { present: true, reached, asked: state.ask() })
            }
            (Action::StandRuns, Renewal::Sent(position)) => Renewal::Answered(position, self.check(state, position.asked.floor)),
            (Action::StandAnswered, Renewal::Answered(position, told))
                if told.token == position.reached || !self.renewal_takes_over =>
            {
                self.prove_in(state, position);
                Renewal::Idle
            }
            // The answer is read, then the table.
            (Action::StandAnswered, Renewal::Answered(position, told)) => match Self::page_moved(state, told, position.reached) {
                Some(moved) if self.reads_in_two => Renewal::Head(position, told, moved),
                Some(moved) => Renewal::Read(position, told, Self::read_page(state, told, moved)),
                None => Renewal::Idle,
            },
            (Action::RenewalReadsPage, Renewal::Head(position, told, moved)) => {
                Renewal::Read(position, told, Self::read_page(state, told, moved))
            }
            (Action::RenewalAsksAgain, Renewal::Read(position, told, page)) => {
                let again = self.check(state, state.known);
                let same = (again.token.era, again.large) == (told.token.era, told.large);
                if same || !self.second_check { Renewal::Confirmed(position, told, page) } else { Renewal::Idle }
            }
            (Action::RenewalMeets, Renewal::Confirmed(position, told, page)) => {
                if position.present || !self.proves_in_its_epoch {
                    if self.renewal_begins_epoch {
                        self.meet(state, told.token);
                    }
                    // Of the epoch that has just begun.
                    Renewal::Met(Position { present: true, ..position }, told, page)
                } else {
                    Renewal::Idle
                }
            }
            (Action::RenewalMerges, Renewal::Met(position, told, page)) => {
                Self::merge(state, page, told.token);
                Renewal::Merged(position, told)
            }
            (Action::RenewalProves, Renewal::Merged(position, told)) => {
                Self::reach(state, told.token);
                self.prove_in(state, position);
                Renewal::Idle
            }
            _ => return None,
        };
        Some(())
    }

    fn prove_in(self, state: &mut State, position: Position) {
        if position.present || !self.proves_in_its_epoch {
            state.proof = Some(state.proof.unwrap_or(0).max(position.asked.since));
            state.proof_line = state.proof_line.max(position.asked.line);
        }
    }
}
