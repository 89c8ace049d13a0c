//! The server's part: the scripts of the lane, what is published, and what the server forgets.

use super::state::{Elsewhere, Fate, Item, Kind, Lane, Message, Seq, Standing, State, Step, Token, Version, Way};
use super::{Fault, LaneModel};

impl LaneModel {
    /// The lane, or `None` where there is none to count on from: `standing` in `scripts/lane.lua`.
    fn standing(self, lane: Option<Lane>, floor: Token) -> Option<Lane> {
        lane.filter(|lane| {
            let token = lane.standing.token;
            let gone = self.table_loss_seen && lane.table_lost;
            let went_back = self.floor_sent && token.era == floor.era && token.seq < floor.seq;
            !gone && !went_back
        })
    }

    /// `begin.lua`: from the server's clock on.
    fn begin_era(self, state: &mut State, floor: Token) -> Lane {
        state.eras += u8::from(self.eras);
        let told = if self.floor_sent { floor.seq } else { 0 };
        let seq = if self.clock_goes_on { state.clock.max(told) + 1 } else { told + 1 };
        state.clock = state.clock.max(seq);
        let standing = Standing { token: Token { era: state.eras, seq }, large: false };
        Lane { standing, cell: 0, table_lost: false, covered: 0, run: state.run }
    }

    /// `check.lua`: what another run of the server has left is not counted on from.
    pub(super) fn check(self, state: &mut State, floor: Token) -> Standing {
        let stands = self.standing(state.memory.lane, floor).filter(|lane| !self.runs_seen || lane.run == state.run);
        let lane = stands.unwrap_or_else(|| self.begin_era(state, floor));
        state.memory.lane = Some(lane);
        lane.standing
    }

    /// `bump.lua`: drops the key, moves the lane on, publishes.
    pub(super) fn bump(self, state: &mut State, floor: Token, kind: Kind, version: Version, fate: Fate) -> Token {
        let counted_on = |lane: &Lane| !self.bumps_see_runs || !self.runs_seen || lane.run == state.run;
        let (mut lane, previous) = match self.standing(state.memory.lane, floor).filter(counted_on) {
            Some(mut lane) => {
                let previous = lane.standing.token.seq;
                lane.standing.token.seq = previous + 1;
                state.clock = state.clock.max(previous + 1);
                (lane, previous)
            }
            None => (self.begin_era(state, floor), 0),
        };
        let at = lane.standing.token;
        match kind {
            Kind::Key => {
                state.memory.l2 = None;
                void_ticket(state);
            }
            Kind::Tag => {
                lane.cell = at.seq;
                lane.table_lost = false;
            }
            Kind::Other => {}
        }
        lane.covered = lane.covered.max(version);
        state.memory.lane = Some(lane);
        publish(state, Message { at, previous, kind, version }, fate);
        at
    }

    /// What of the table is read whose head was found to be that of `begun`: `None` if the page is found to be another's.
    pub(super) fn page_moved(state: &State, begun: Standing, since: Token) -> Option<bool> {
        let Some(lane) = state.memory.lane.filter(|lane| lane.cell > 0 && !lane.table_lost) else { return Some(false) };
        let since = if since.era == begun.token.era { since.seq } else { 0 };
        let same = lane.standing.token.era == begun.token.era && lane.standing.large == begun.large;
        same.then_some(lane.cell > since)
    }

    /// What the page reads then: nothing of use, if the table is another one by now.
    pub(super) fn read_page(state: &State, begun: Standing, moved: bool) -> Seq {
        let same =
            |lane: &Lane| !lane.table_lost && lane.standing.token.era == begun.token.era && lane.standing.large == begun.large;
        state.memory.lane.filter(same).map_or(0, |lane| if moved { lane.cell } else { 0 })
    }

    pub(super) fn server_fails(self, state: &mut State, fault: Fault) -> Option<()> {
        state.left.faults -= 1;
        match fault {
            Fault::LoseLane => state.memory.lane = None,
            Fault::LoseTable => {
                let lane = state.memory.lane.as_mut()?;
                lane.table_lost = true;
                lane.cell = 0;
            }
            Fault::ReturnOld => {
                state.memory = state.snapshot.take()?;
                state.run += 1;
                void_ticket(state);
                if !self.runs_seen {
                    forgive(state);
                }
            }
        }
        Some(())
    }
}

/// Where the run is not told, a bump that the older state has forgotten is owed by nobody who has not heard of it, and until the lane is
/// asked again by nobody at all.
fn forgive(state: &mut State) {
    let covered = state.memory.lane.map_or(0, |lane| lane.covered);
    state.acknowledged = state.acknowledged.min(covered);
    state.proof = state.proof.map(|since| since.min(covered));
    for asked in [state.follower.step.asked(), state.renewal.asked()].into_iter().flatten() {
        asked.since = asked.since.min(covered);
    }
    if let Some(waiter) = &mut state.waiter {
        waiter.since = waiter.since.min(covered);
    }
    if let Some(flight) = &mut state.flight {
        flight.acknowledged = flight.acknowledged.min(covered);
    }
    if let Elsewhere::Bumped(version, _) = state.elsewhere
        && version > covered
    {
        // Its answer comes all the same, and is worth nothing.
        state.elsewhere = Elsewhere::Idle;
    }
}

/// The flight's ticket is gone from the key.
fn void_ticket(state: &mut State) {
    if let Some(flight) = &mut state.flight
        && let Way::Loaded(version, _) = flight.way
    {
        flight.way = Way::Loaded(version, false);
    }
}

fn publish(state: &mut State, message: Message, fate: Fate) {
    if state.follower.step == Step::Away || state.follower.run != state.run {
        return;
    }
    let copies = match fate {
        Fate::Delivered => 1,
        Fate::Lost => 0,
        Fate::Late => {
            state.astray = Some(message);
            0
        }
        Fate::Doubled => 2,
    };
    state.left.losses -= u8::from(fate != Fate::Delivered);
    for _ in 0..copies {
        state.follower.stream.push(Item::Message(message));
    }
}
