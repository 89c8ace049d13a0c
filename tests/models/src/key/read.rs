//! The steps of a read in the key model: probe, load, fill, and every way to give up on the way. Owns flights; not
//! mutations, nor what executes late.

use super::state::{Entry, Late, Process, Slot, Stamp, State, Version, Who};
use super::{Key, Pending, UnansweredProbe, UnderHold, Writers};

/// What L2 answered to a probe or a CLAIM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The ticket is planted.
    Planted,
    /// Another ticket is there, or the value to claim is gone.
    OthersTicket,
    /// A value, with its stamp if anything can compare it.
    Value(Version, Option<Stamp>),
    /// A write guard holds the key.
    Held,
}

/// What a flight waits for. A stamp is the one of its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// That its probe executes.
    ProbeSent(Stamp),
    /// That its CLAIM executes.
    ClaimSent {
        /// The ticket to come.
        ticket: Stamp,
        /// The value to be replaced.
        unusable: Option<Stamp>,
    },
    /// That the answer of either arrives.
    Answered(Stamp, Answer),
    /// That its fill executes.
    FillSent(Stamp, Version),
    /// That the answer of the fill arrives: stored under this stamp, or refused.
    FillAnswered(Option<Stamp>, Version),
    /// Nothing any more: it has loaded and L2 is not to be filled.
    PastL2(Version),
}

/// The one load of the key in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    pub(super) step: Step,
    /// Cleared by an invalidation: the value then enters no L1, and no later caller joins.
    pub(super) attached: bool,
}

/// A step of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Sends its probe.
    SendProbe,
    /// Loads without asking L2: it is away, or must not be read.
    LoadPastL2,
    /// L2 executes the probe or the CLAIM.
    Executes,
    /// The answer arrives: loads, takes the value, or loads without a ticket and keeps nothing.
    LearnAnswer,
    /// The answer arrives, a value that is of no use: sends a CLAIM.
    SendClaim,
    /// Gives up on that answer, and loads.
    GiveUpOnAnswer,
    /// The flight ends; what it loaded enters L1 without a stamp, if still attached.
    KeepUnstamped,
    /// L2 executes the fill.
    FillExecutes,
    /// Has nothing to fill after all, and gives the ticket back.
    Abandon,
    /// The answer of the fill arrives: what was stored enters L1, if still attached.
    LearnFillAnswer,
    /// Gives up on that answer; the value enters L1 without a stamp, if still attached.
    GiveUpOnFill,
}

/// How an entry of L1 stands to L2.
#[derive(Clone, Copy)]
enum Backing {
    /// It is stored there under this stamp.
    Stored(Option<Stamp>),
    /// It may yet be stored there: nobody knows.
    Unknown,
    /// It never got there, and that is known to nobody.
    Never,
    /// It was refused, and that is known.
    Refused,
}

impl Key {
    pub(super) fn value(&self, version: Version, stamp: Stamp) -> Slot {
        Slot::Value(version, (self.sets() || self.claims).then_some(stamp))
    }

    pub(super) fn entry(&self, version: Version, stamp: Option<Stamp>) -> Entry {
        Entry { version, stamp: stamp.filter(|_| self.sets()), never_in_l2: false, bounded: false }
    }

    fn end_flight(&self, process: &mut Process, version: Version, backing: Backing) -> Option<()> {
        let flight = process.flight.take()?;
        if flight.attached {
            let stamp = if let Backing::Stored(stamp) = backing { stamp } else { None };
            let judged = matches!(backing, Backing::Refused) || self.unstamped_stays && matches!(backing, Backing::Never);
            let bounded =
                self.guards != Writers::Nobody && !self.unstamped_stays && matches!(backing, Backing::Never | Backing::Unknown);
            process.l1 = Some(Entry { never_in_l2: self.foreign && judged, bounded, ..self.entry(version, stamp) });
        }
        Some(())
    }

    const fn must_not_read_l2(&self, process: &Process) -> bool {
        let Some(mutation) = &process.mutation else { return false };
        match self.pending {
            Pending::Unreadable => mutation.pending,
            Pending::UnreadableWhenSent => mutation.pending || mutation.is_sent(),
            Pending::Readable => false,
        }
    }

    pub(super) fn next_read_steps(&self, state: &State, process: &Process, mut may: impl FnMut(ReadStep)) {
        let may_lose = state.losses_left > 0;
        let Some(flight) = process.flight else {
            if process.l1.is_none() && process.loads_begun < self.loads {
                let hidden = self.must_not_read_l2(process);
                if !hidden {
                    may(ReadStep::SendProbe);
                }
                if hidden || self.outages {
                    may(ReadStep::LoadPastL2);
                }
            }
            return;
        };
        match flight.step {
            Step::ProbeSent(_) | Step::ClaimSent { .. } => may(ReadStep::Executes),
            Step::Answered(_, answer) => {
                may(ReadStep::LearnAnswer);
                if self.claims && matches!(answer, Answer::Value(..)) {
                    may(ReadStep::SendClaim);
                }
            }
            Step::FillSent(..) => {
                may(ReadStep::FillExecutes);
                may(ReadStep::Abandon);
            }
            Step::FillAnswered(..) => may(ReadStep::LearnFillAnswer),
            Step::PastL2(_) => may(ReadStep::KeepUnstamped),
        }
        match flight.step {
            Step::PastL2(_) => {}
            Step::FillSent(..) | Step::FillAnswered(..) if may_lose => may(ReadStep::GiveUpOnFill),
            _ if may_lose => may(ReadStep::GiveUpOnAnswer),
            _ => {}
        }
    }

    pub(super) fn read(&self, state: &mut State, who: Who, action: ReadStep) -> Option<()> {
        let committed = state.committed;
        let process = state.processes.of_mut(who);
        if let ReadStep::SendProbe | ReadStep::LoadPastL2 = action {
            let step = if action == ReadStep::SendProbe { self.send_probe(process, who) } else { Step::PastL2(committed) };
            process.loads_begun += 1;
            process.flight = Some(Flight { step, attached: true });
            return Some(());
        }
        let flight = process.flight?;
        let next = match (action, flight.step) {
            (ReadStep::Executes, Step::ProbeSent(ticket)) => Step::Answered(ticket, probe(&mut state.slot, ticket)),
            (ReadStep::Executes, Step::ClaimSent { ticket, unusable }) => {
                Step::Answered(ticket, claim(&mut state.slot, ticket, unusable))
            }
            (ReadStep::LearnAnswer, Step::Answered(ticket, Answer::Planted)) => Step::FillSent(ticket, committed),
            (ReadStep::LearnAnswer, Step::Answered(_, Answer::Held)) if self.under_hold == UnderHold::KeepsInL1 => {
                return self.end_flight(process, committed, Backing::Refused);
            }
            (ReadStep::LearnAnswer, Step::Answered(_, Answer::Value(version, stamp))) => {
                return self.end_flight(process, version, Backing::Stored(stamp));
            }
            (ReadStep::SendClaim, Step::Answered(Stamp::Load(who, number), Answer::Value(_, unusable))) => {
                Step::ClaimSent { ticket: Stamp::Claim(who, number), unusable }
            }
            (ReadStep::GiveUpOnAnswer, step) => {
                state.losses_left -= 1;
                return self.forfeit(process, step, committed);
            }
            (ReadStep::FillExecutes, Step::FillSent(ticket, version)) => {
                let stored = state.slot == Slot::Ticket(ticket);
                if stored {
                    state.slot = self.value(version, ticket);
                }
                Step::FillAnswered(stored.then_some(ticket), version)
            }
            (ReadStep::Abandon, Step::FillSent(ticket, _)) => {
                process.flight = None;
                process.leave(Late::Abandon(ticket));
                return Some(());
            }
            (ReadStep::LearnFillAnswer, Step::FillAnswered(Some(ticket), version)) => {
                return self.end_flight(process, version, Backing::Stored(Some(ticket)));
            }
            (ReadStep::LearnFillAnswer, Step::FillAnswered(None, version)) if self.keep_refused => {
                return self.end_flight(process, version, Backing::Refused);
            }
            (ReadStep::GiveUpOnFill, step) => {
                state.losses_left -= 1;
                return self.give_up_on_fill(process, step);
            }
            (ReadStep::KeepUnstamped, Step::PastL2(version)) => return self.end_flight(process, version, Backing::Never),
            // The callers have their value; nothing is kept.
            _ => {
                process.flight = None;
                return Some(());
            }
        };
        process.flight = Some(Flight { step: next, ..flight });
        Some(())
    }

    fn send_probe(&self, process: &mut Process, who: Who) -> Step {
        let ticket = Stamp::Load(who, process.loads_begun);
        if self.probe_retried {
            process.leave(Late::SecondProbe(ticket));
        }
        Step::ProbeSent(ticket)
    }

    /// Nobody knows whether the ticket is planted, will be planted, or what else the answer would have said.
    fn forfeit(&self, process: &mut Process, step: Step, committed: Version) -> Option<()> {
        let flight = process.flight?;
        let ticket = match step {
            Step::ProbeSent(ticket) => {
                process.leave(Late::Probe(ticket));
                ticket
            }
            Step::ClaimSent { ticket, unusable } => {
                process.leave(Late::Claim { ticket, unusable });
                ticket
            }
            Step::Answered(ticket, answer) => {
                if answer == Answer::Planted {
                    process.leave(Late::Abandon(ticket));
                }
                ticket
            }
            _ => return None,
        };
        process.flight = match self.unanswered_probe {
            UnansweredProbe::KeepsNothing => None,
            UnansweredProbe::KeepsUnstamped => Some(Flight { step: Step::PastL2(committed), ..flight }),
            UnansweredProbe::Fills => Some(Flight { step: Step::FillSent(ticket, committed), ..flight }),
        };
        Some(())
    }

    fn give_up_on_fill(&self, process: &mut Process, step: Step) -> Option<()> {
        match step {
            Step::FillSent(ticket, version) => {
                process.leave(Late::Fill(ticket, version));
                self.end_flight(process, version, Backing::Unknown)
            }
            Step::FillAnswered(Some(_), version) => self.end_flight(process, version, Backing::Unknown),
            Step::FillAnswered(None, version) => self.end_flight(process, version, Backing::Never),
            _ => None,
        }
    }
}

/// `SET NX GET`: one command that plants the ticket or tells what is there.
pub(super) fn probe(slot: &mut Slot, ticket: Stamp) -> Answer {
    match *slot {
        Slot::Absent => {
            *slot = Slot::Ticket(ticket);
            Answer::Planted
        }
        Slot::Ticket(_) => Answer::OthersTicket,
        Slot::Value(version, stamp) => Answer::Value(version, stamp),
        Slot::Hold(_) => Answer::Held,
    }
}

/// Swaps the value with this stamp for a ticket.
pub(super) fn claim(slot: &mut Slot, ticket: Stamp, unusable: Option<Stamp>) -> Answer {
    match *slot {
        Slot::Value(_, stamp) if stamp == unusable => {
            *slot = Slot::Ticket(ticket);
            Answer::Planted
        }
        _ => Answer::OthersTicket,
    }
}
