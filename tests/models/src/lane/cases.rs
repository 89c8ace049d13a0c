//! The cases of the lane model: its ablations, what bounds its promises, and the sizes at which the recommended rules are explored.

use super::{Fate, Fault, Kinds, LaneModel, Noting, Point, ProofFrom};
use crate::case::Case;
use crate::{B, G1, G3, R, T};

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = ablations();
    cases.extend(ablations_of_renewal());
    cases.extend(ablations_of_return());
    cases.extend(limits());
    cases.extend(recommended());
    cases.extend(recommended_with_faults());
    cases.extend(recommended_with_points());
    cases.extend(also_right());
    cases
}

const RIGHT: LaneModel = LaneModel::recommended();
/// Reads ask for a proof beside the subscription.
const RENEWALS: LaneModel = LaneModel { renewals: true, ..RIGHT };
/// The instance invalidates, and one answer is lost.
const OWN: LaneModel = LaneModel { own: Some(1), losses: 0, ..RIGHT };
const BREAK: LaneModel = LaneModel { breaks: 1, ..RIGHT };
/// The lane or its table is lost.
const LOST: LaneModel = LaneModel { faults: &[Fault::LoseLane, Fault::LoseTable], failures: 1, ..RIGHT };
const LOST_AND_RENEWALS: LaneModel = LaneModel { writes: 1, renewals: true, ..LOST };
/// The server's clock goes back as the lane is lost.
const SLOW: LaneModel = LaneModel { clock_goes_on: false, faults: &[Fault::LoseLane], failures: 1, ..RIGHT };
/// The same, and the instance invalidates.
const OWN_SLOW: LaneModel = LaneModel { own: Some(0), losses: 0, writes: 3, kinds: Kinds::Tag, ..SLOW };
/// The server returns with an older copy of its data.
const OLD: LaneModel = LaneModel { faults: &[Fault::ReturnOld], failures: 1, losses: 0, ..RIGHT };
const OLD_AND_RENEWALS: LaneModel = LaneModel { writes: 1, renewals: true, ..OLD };

const ANY_FATE: &[Fate] = &[Fate::Lost, Fate::Late, Fate::Doubled];

fn ablations() -> Vec<Case> {
    let grows = LaneModel { reads_in_two: true, growths: 1, ..RIGHT };
    vec![
        Case::breaks("a check counts from when its answer came", B, 6, LaneModel { proof_from: ProofFrom::Arrival, ..RIGHT }),
        Case::breaks("a gap is ignored", B, 6, LaneModel { gaps_seen: false, ..RIGHT }),
        Case::breaks(
            "the table is read before the point that it is taken over at",
            B,
            15,
            LaneModel { point: Point::SecondAnswer, ..BREAK },
        ),
        Case::breaks("proven before the table is taken over", B, 15, LaneModel { merge_first: false, ..RIGHT }),
        Case::breaks("the first check begins no epoch", B, 14, LaneModel { first_check_begins_epoch: false, losses: 0, ..BREAK }),
        Case::breaks("the lane is not asked once more, and its table grows", B, 18, LaneModel { second_check: false, ..grows }),
        Case::breaks("suspects are kept by their stamp alone", B, 16, LaneModel { suspects_judged: false, ..RIGHT }),
        Case::breaks(
            "flights live on when an epoch ends, and take the one that they end in",
            B,
            15,
            LaneModel { epoch_noted: Noting::Last, epochs_detach: false, ..RIGHT },
        ),
        Case::breaks("S is taken at the end of a load", B, 8, LaneModel { seq_noted: Noting::Last, ..RIGHT }),
        Case::breaks("L2 is believed without a proof", B, 6, LaneModel { l2_needs_proof: false, ..RIGHT }),
        Case::breaks(
            "flights live on when an epoch ends, and waiters ask for none",
            T,
            16,
            LaneModel { waiters: true, waiter_epoch: false, epochs_detach: false, ..RIGHT },
        ),
        Case::breaks("giving up drops nothing", G3, 9, LaneModel { drops_on_giving_up: false, ..OWN }),
        Case::breaks("a lane that was lost begins the same era again", G1, 6, LaneModel { eras: false, ..LOST }),
        Case::breaks("nobody sees that the table is gone", G1, 4, LaneModel { table_loss_seen: false, ..LOST }),
    ]
}

fn ablations_of_renewal() -> Vec<Case> {
    let tag = LaneModel { kinds: Kinds::Tag, ..LOST_AND_RENEWALS };
    let table = LaneModel { faults: &[Fault::LoseTable], ..tag };
    vec![
        Case::breaks("a renewal takes over nothing", B, 6, LaneModel { renewal_takes_over: false, ..RENEWALS }),
        Case::breaks("a renewal begins no epoch", B, 10, LaneModel { renewal_begins_epoch: false, ..RENEWALS }),
        Case::breaks("a renewal does not ask once more, and the table is lost", B, 14, LaneModel { second_check: false, ..table }),
        Case::breaks(
            "a renewal's proof is kept across an epoch's end, and the lane is lost",
            B,
            22,
            LaneModel { proves_in_its_epoch: false, ..tag },
        ),
        Case::breaks(
            "a renewal compares a point of another era than the known one, and the lane is lost",
            B,
            25,
            LaneModel { reached_in_known_era: false, ..tag },
        ),
    ]
}

fn ablations_of_return() -> Vec<Case> {
    let unseen = LaneModel { runs_seen: false, kinds: Kinds::Any, ..OLD };
    vec![
        Case::breaks(
            "runs are not told apart, older data returns, and somebody bumps before who was told more has asked",
            B,
            20,
            unseen,
        ),
        Case::breaks(
            "runs are not told apart, the floor is not sent, and older data returns",
            B,
            18,
            LaneModel { others_come_first: false, floor_sent: false, ..unseen },
        ),
        Case::breaks(
            "a bump counts on from what another run has left, and somebody waits for its point",
            R,
            9,
            LaneModel { bumps_see_runs: false, points: true, kinds: Kinds::Any, ..OLD },
        ),
        Case::breaks(
            "a proof vouches for every connection, and older data returns",
            B,
            12,
            LaneModel { proofs_name_connections: false, ..OLD },
        ),
        Case::breaks(
            "the next epoch's proof vouches for the connections of the one before, and older data returns",
            B,
            24,
            LaneModel { epochs_end_connections: false, newcomer: true, kinds: Kinds::Key, ..OLD_AND_RENEWALS },
        ),
        Case::breaks(
            "an own bump that another era has answered loses its tick, and the clock goes back",
            G3,
            13,
            LaneModel { ticks_outlast_eras: false, ..OWN_SLOW },
        ),
    ]
}

/// What the protocol does not promise.
fn limits() -> Vec<Case> {
    vec![Case::breaks("limit: a copy is served without a proof (`Serve`)", B, 3, LaneModel { l1_needs_proof: false, ..RIGHT })]
}

fn recommended() -> Vec<Case> {
    let renewals_of_key = LaneModel { kinds: Kinds::Key, ..RENEWALS };
    let renewals_of_tag = LaneModel { kinds: Kinds::Tag, ..RENEWALS };
    vec![
        Case::holds(
            "RECOMMENDED 2 bumps, 2 loads, 1 message lost, late or doubled",
            282_899,
            LaneModel { loads: 2, fates: ANY_FATE, ..RIGHT },
        ),
        Case::holds("RECOMMENDED 3 bumps, 2 loads, 2 lost", 1_359_709, LaneModel { writes: 3, loads: 2, losses: 2, ..RIGHT }),
        Case::holds(
            "RECOMMENDED an instance that has just started, 2 bumps, 2 loads, 1 lost",
            245_402,
            LaneModel { newcomer: true, loads: 2, ..RIGHT },
        ),
        Case::holds("RECOMMENDED waiters, 2 bumps, 2 loads, 1 lost", 157_758, LaneModel { waiters: true, loads: 2, ..RIGHT }),
        Case::holds("RECOMMENDED renewals, 2 bumps, 1 load, 1 lost", 2_368_315, RENEWALS),
        Case::holds("RECOMMENDED renewals, 1 bump, 2 loads, 1 lost", 161_713, LaneModel { writes: 1, loads: 2, ..RENEWALS }),
        Case::holds(
            "RECOMMENDED renewals, 2 bumps of the key, 2 loads, none lost",
            205_051,
            LaneModel { losses: 0, loads: 2, ..renewals_of_key },
        ),
        Case::holds(
            "RECOMMENDED own bumps, 2 bumps, 1 load, 1 answer and 1 message lost",
            1_329_078,
            LaneModel { losses: 1, ..OWN },
        ),
        Case::holds(
            "RECOMMENDED own bumps, renewals, 1 bump, 1 load, 1 answer and 1 message lost",
            612_788,
            LaneModel { writes: 1, losses: 1, renewals: true, ..OWN },
        ),
        Case::holds(
            "RECOMMENDED 2 bumps, 2 loads, 2 messages lost, late or doubled",
            926_081,
            LaneModel { loads: 2, losses: 2, fates: ANY_FATE, ..RIGHT },
        )
        .long(),
        Case::holds(
            "RECOMMENDED renewals, 2 bumps of the tag, 2 loads, 1 lost",
            3_231_613,
            LaneModel { loads: 2, ..renewals_of_tag },
        )
        .long(),
    ]
}

fn recommended_with_faults() -> Vec<Case> {
    let grows = LaneModel { reads_in_two: true, growths: 1, ..LOST };
    let alone = LaneModel { liveness: true, loads: 0, fates: ANY_FATE, breaks: 1, ..LOST };
    vec![
        Case::holds("RECOMMENDED a subscription breaks, 2 bumps, 2 loads, 1 lost", 413_477, LaneModel { loads: 2, ..BREAK }),
        Case::holds("RECOMMENDED the lane or its table is lost, 2 bumps, 2 loads, 1 lost", 918_896, LaneModel { loads: 2, ..LOST }),
        Case::holds("RECOMMENDED the same, renewals, 1 bump, 1 load", 1_805_194, LOST_AND_RENEWALS),
        Case::holds("RECOMMENDED the lane or its table is lost, and it grows, 2 bumps, 1 load, 1 lost", 1_046_785, grows),
        Case::holds(
            "RECOMMENDED the table grows, renewals, 1 bump, 1 load, 1 lost",
            245_463,
            LaneModel { writes: 1, renewals: true, faults: &[], failures: 0, ..grows },
        ),
        Case::holds("RECOMMENDED older data returns, 2 bumps, 1 load", 308_035, LaneModel { kinds: Kinds::Any, ..OLD }),
        Case::holds(
            "RECOMMENDED older data returns, 2 bumps, 2 loads, 1 lost",
            3_981_271,
            LaneModel { kinds: Kinds::Any, losses: 1, loads: 2, ..OLD },
        )
        .long(),
        Case::holds("RECOMMENDED older data returns, renewals, 1 bump, 1 load", 1_392_252, OLD_AND_RENEWALS),
        Case::holds(
            "RECOMMENDED the same, an instance that has just started",
            7_535_695,
            LaneModel { newcomer: true, ..OLD_AND_RENEWALS },
        )
        .long(),
        Case::holds("RECOMMENDED the same, a subscription breaks", 6_662_190, LaneModel { breaks: 1, ..OLD_AND_RENEWALS }).long(),
        Case::holds(
            "RECOMMENDED older data returns, own bumps, 1 bump, 2 loads, 1 answer lost",
            368_447,
            LaneModel { own: Some(1), writes: 1, loads: 2, ..OLD },
        ),
        Case::holds(
            "RECOMMENDED the clock goes back as older data returns, 2 bumps, 1 load",
            185_034,
            LaneModel { clock_goes_on: false, ..OLD },
        ),
        Case::holds(
            "RECOMMENDED the clock goes back as the lane is lost, 2 bumps, 2 loads, 1 lost",
            955_387,
            LaneModel { loads: 2, ..SLOW },
        ),
        Case::holds(
            "RECOMMENDED the same, own bumps, 2 bumps of the tag, 2 loads",
            1_786_151,
            LaneModel { writes: 2, loads: 2, ..OWN_SLOW },
        ),
        Case::holds("RECOMMENDED the same, own bumps, 3 bumps of the tag, 1 load", 4_474_016, OWN_SLOW).long(),
        Case::holds("RECOMMENDED left alone, the follower finds back from all of these", 386_648, alone),
        Case::holds(
            "RECOMMENDED a subscription breaks, renewals, 2 bumps of the key, 1 load",
            955_564,
            LaneModel { losses: 0, renewals: true, kinds: Kinds::Key, ..BREAK },
        )
        .long(),
        Case::holds(
            "RECOMMENDED a subscription breaks, renewals, 2 bumps of the tag, 1 load",
            1_342_179,
            LaneModel { losses: 0, renewals: true, kinds: Kinds::Tag, ..BREAK },
        )
        .long(),
        Case::holds(
            "RECOMMENDED a subscription breaks, own bumps, 2 bumps, 1 load, 1 answer lost",
            1_700_830,
            LaneModel { breaks: 1, ..OWN },
        )
        .long(),
        Case::holds(
            "RECOMMENDED the lane or its table is lost, own bumps, 2 bumps, 1 load, 1 answer lost",
            3_347_661,
            LaneModel { losses: 0, own: Some(1), ..LOST },
        )
        .long(),
        Case::holds(
            "RECOMMENDED the lane or its table is lost, renewals, 2 bumps of the tag, 1 load",
            6_053_577,
            LaneModel { losses: 0, writes: 2, kinds: Kinds::Tag, ..LOST_AND_RENEWALS },
        )
        .long(),
        Case::holds(
            "RECOMMENDED the lane or its table is lost, renewals, an instance that has just started",
            3_110_056,
            LaneModel { newcomer: true, losses: 0, ..LOST_AND_RENEWALS },
        )
        .long(),
    ]
}

/// Somebody waits for the points that are given elsewhere.
fn recommended_with_points() -> Vec<Case> {
    vec![
        Case::holds(
            "RECOMMENDED points are waited for, older data returns, 2 bumps, 1 load",
            312_653,
            LaneModel { points: true, kinds: Kinds::Any, ..OLD },
        ),
        Case::holds(
            "RECOMMENDED points are waited for, the lane or its table is lost, 2 bumps, 2 loads, 1 lost",
            936_938,
            LaneModel { points: true, loads: 2, ..LOST },
        ),
        Case::holds(
            "RECOMMENDED points are waited for, renewals, a subscription breaks, 1 bump, 2 loads, 1 lost",
            957_576,
            LaneModel { points: true, writes: 1, loads: 2, renewals: true, ..BREAK },
        ),
    ]
}

fn also_right() -> Vec<Case> {
    vec![
        Case::holds(
            "also right: runs are not told apart, older data returns, and who was told more asks first",
            293_762,
            LaneModel { runs_seen: false, others_come_first: false, kinds: Kinds::Any, ..OLD },
        ),
        Case::holds(
            "also right: an own bump acts here at its outcome alone",
            222_663,
            LaneModel { drops_before_sending: false, ..OWN },
        ),
        Case::holds(
            "also right: flights take the epoch that they end in, and no epoch ends without detaching them",
            24_282,
            LaneModel { epoch_noted: Noting::Last, ..RIGHT },
        ),
        Case::holds(
            "also right: flights live on when an epoch ends, with the one that they began in",
            27_054,
            LaneModel { epochs_detach: false, ..RIGHT },
        ),
    ]
}
