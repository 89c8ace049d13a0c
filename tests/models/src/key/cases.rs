//! The cases of the key model: its ablations, and the sizes at which the recommended rules are explored.

use super::{Holds, Key, Mutations, Pending, Removal, SetScript, UnansweredProbe, UnderHold, Writers};
use crate::case::Case;
use crate::{F, G1, G2, G3, L, W};

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = ablations();
    cases.extend(recommended());
    cases.extend(also_right());
    cases.extend(unanswered_probe_kept());
    cases.extend(guards());
    cases
}

const RIGHT: Key = Key::recommended();

fn ablations() -> Vec<Case> {
    let foreign = Key { foreign: true, ..RIGHT };
    vec![
        Case::breaks(
            "a ticket filled whose probe was never answered",
            G1,
            8,
            Key { unanswered_probe: UnansweredProbe::Fills, ..RIGHT },
        ),
        Case::breaks("a probe sent twice with one stamp", G1, 9, Key { probe_retried: true, ..RIGHT }),
        Case::breaks("no detaching", L, 6, Key { detach: false, ..RIGHT }),
        Case::breaks("a pending key is readable", L, 9, Key { pending: Pending::Readable, ..RIGHT }),
        Case::breaks("a pending key is readable, seen in L1", G3, 10, Key { pending: Pending::Readable, ..RIGHT }),
        Case::breaks("no second drop, own message skipped", L, 10, Key { own_echo: false, drop_when_answered: false, ..RIGHT }),
        Case::breaks("no second drop, own message applied", L, 10, Key { drop_when_answered: false, ..RIGHT }),
        Case::breaks(
            "giving up drops nothing, own message skipped",
            L,
            9,
            Key { own_echo: false, drop_when_given_up: false, ..RIGHT },
        ),
        Case::breaks("giving up drops nothing, own message applied", L, 9, Key { drop_when_given_up: false, ..RIGHT }),
        Case::breaks("a foreign DEL, and a refused fill kept in L1", F, 7, Key { keep_refused: true, losses: 0, ..foreign }),
        Case::breaks(
            "a foreign DEL, and what was never in L2 stays in L1 as long as anything",
            F,
            7,
            Key { unstamped_stays: true, writers: Writers::Nobody, ..foreign },
        ),
        Case::breaks("set in one script", G1, 8, Key { mutations: Mutations::Either, set: SetScript::One, ..RIGHT }),
        Case::breaks("cluster: publish, then DEL", G2, 13, Key { removal: Removal::PublishThenDelete, losses: 0, ..RIGHT }),
    ]
}

fn recommended() -> Vec<Case> {
    let one_load = Key { loads: 1, ..RIGHT };
    vec![
        Case::holds("RECOMMENDED 2 loads each, A writes twice, 1 lost answer", 1_085_688, Key { writers: Writers::OnlyA, ..RIGHT }),
        Case::holds("RECOMMENDED 1 load each, both write, 1 lost answer", 1_162_243, one_load),
        Case::holds(
            "RECOMMENDED 1 load each, 1 write, 2 lost answers, CLAIM, outages",
            208_582,
            Key { writes: 1, losses: 2, claims: true, outages: true, ..one_load },
        ),
        Case::holds(
            "RECOMMENDED a foreign DEL, 1 load each, A writes, CLAIM, 1 lost answer",
            425_251,
            Key { foreign: true, claims: true, writers: Writers::OnlyA, ..one_load },
        ),
        Case::holds(
            "RECOMMENDED set in two halves, 1 load each, A sets twice, 1 lost answer",
            1_065_208,
            Key { mutations: Mutations::Set, writers: Writers::OnlyA, ..one_load },
        ),
        Case::holds(
            "RECOMMENDED 2 loads each, both write, outages, no lost answer",
            1_483_566,
            Key { losses: 0, outages: true, ..RIGHT },
        )
        .long(),
        Case::holds(
            "RECOMMENDED set in two halves or invalidate, both write, no lost answer",
            1_159_920,
            Key { mutations: Mutations::Either, losses: 0, ..one_load },
        )
        .long(),
        Case::holds(
            "RECOMMENDED cluster: DEL, then publish, no lost answer",
            1_322_557,
            Key { removal: Removal::DeleteThenPublish, losses: 0, ..RIGHT },
        )
        .long(),
    ]
}

fn also_right() -> Vec<Case> {
    let one_load = Key { loads: 1, ..RIGHT };
    vec![
        Case::holds(
            "also right: own message skipped, but dropped when answered and when given up",
            1_723_739,
            Key { own_echo: false, ..one_load },
        )
        .long(),
        Case::holds(
            "also right: unreadable from sending on, giving up drops nothing",
            1_012_227,
            Key { pending: Pending::UnreadableWhenSent, drop_when_given_up: false, ..one_load },
        )
        .long(),
        Case::holds(
            "also right as long as no answer is lost: set in one script",
            726_446,
            Key { mutations: Mutations::Either, set: SetScript::One, losses: 0, ..one_load },
        )
        .long(),
    ]
}

/// A load whose probe was not answered keeps its value in L1 without a stamp.
fn unanswered_probe_kept() -> Vec<Case> {
    let kept = Key { unanswered_probe: UnansweredProbe::KeepsUnstamped, ..RIGHT };
    let one_load = Key { loads: 1, ..kept };
    vec![
        Case::holds(
            "unanswered probe kept: 2 loads each, A writes twice, 1 lost answer",
            1_239_688,
            Key { writers: Writers::OnlyA, ..kept },
        ),
        Case::holds("unanswered probe kept: 1 load each, both write, 1 lost answer", 1_335_553, one_load).long(),
        Case::holds(
            "unanswered probe kept: 1 load each, 1 write, 2 lost answers, CLAIM, outages",
            245_810,
            Key { writes: 1, losses: 2, claims: true, outages: true, ..one_load },
        ),
        Case::holds(
            "unanswered probe kept: a foreign DEL, 1 load each, A writes, CLAIM, outages, 1 lost answer",
            574_502,
            Key { foreign: true, claims: true, outages: true, writers: Writers::OnlyA, ..one_load },
        ),
        Case::holds(
            "unanswered probe kept: set in two halves, 1 load each, A sets twice, 1 lost answer",
            1_192_088,
            Key { mutations: Mutations::Set, writers: Writers::OnlyA, ..one_load },
        )
        .long(),
        Case::holds("unanswered probe kept: 1 load each, both write, 2 lost answers", 4_844_735, Key { losses: 2, ..one_load })
            .long(),
        Case::holds(
            "unanswered probe kept: 1 load each, both write, CLAIM, 1 lost answer",
            1_649_378,
            Key { claims: true, ..one_load },
        )
        .long(),
        Case::holds(
            "unanswered probe kept: set in two halves or invalidate, 1 load each, A writes, 1 lost answer",
            2_026_313,
            Key { mutations: Mutations::Either, writers: Writers::OnlyA, ..one_load },
        )
        .long(),
        Case::holds(
            "unanswered probe kept: a foreign DEL, 2 loads each, A writes, outages, 1 lost answer",
            3_572_854,
            Key { foreign: true, outages: true, writers: Writers::OnlyA, ..kept },
        )
        .long(),
        Case::breaks(
            "unanswered probe kept, a foreign DEL, and it stays as long as anything",
            F,
            5,
            Key { foreign: true, unstamped_stays: true, writers: Writers::Nobody, ..kept },
        ),
    ]
}

/// Write guards, beside invalidations without one.
fn guards() -> Vec<Case> {
    let lost = Key { guards: Writers::OnlyA, guards_are_lost: true, writers: Writers::Nobody, losses: 0, ..RIGHT };
    let one_load = Key { loads: 1, ..lost };
    let both = Key { guards: Writers::Both, ..one_load };
    let lost_holds = Key { guards_set: true, guards_are_lost: false, holds: Holds::MayBeLost, ..one_load };
    vec![
        Case::breaks("loads under a hold kept in L1, and a guard lost", W, 9, Key { under_hold: UnderHold::KeepsInL1, ..lost }),
        Case::breaks("a hold shorter than its transaction, and a guard lost", W, 10, Key { holds: Holds::MayBeLost, ..lost }),
        Case::breaks(
            "what L2 was not asked for stays in L1 as long as anything, and a guard lost",
            W,
            8,
            Key { outages: true, unstamped_stays: true, ..lost },
        ),
        Case::breaks(
            "an invalidation drops a hold, and a guard lost",
            W,
            12,
            Key { bumps_leave_holds: false, writers: Writers::Both, ..lost },
        ),
        Case::breaks(
            "an invalidation leaves no mark in a hold, and its guard sets",
            G1,
            12,
            Key { bumps_touch_holds: false, guards_set: true, writers: Writers::Both, ..lost },
        ),
        Case::holds(
            "RECOMMENDED a guard that may be lost, 2 loads each, A invalidates too",
            1_205_397,
            Key { writers: Writers::OnlyA, ..lost },
        ),
        Case::holds(
            "RECOMMENDED a guard that may be lost, 1 load each, both invalidate",
            1_537_919,
            Key { writers: Writers::Both, ..one_load },
        ),
        Case::holds("RECOMMENDED two guards that may be lost, 1 load each", 1_507_747, both),
        Case::holds(
            "RECOMMENDED a guard that may be lost and sets, 1 load each, outages, 1 lost answer",
            356_875,
            Key { guards_set: true, losses: 1, outages: true, ..one_load },
        ),
        Case::holds(
            "RECOMMENDED a guard that sets and whose hold may be lost, A invalidates too, 1 lost answer",
            2_734_948,
            Key { writers: Writers::OnlyA, losses: 1, ..lost_holds },
        ),
        Case::holds(
            "RECOMMENDED a guard that may be lost and sets, 1 load each, both invalidate",
            3_447_538,
            Key { guards_set: true, writers: Writers::Both, ..one_load },
        )
        .long(),
        Case::holds(
            "RECOMMENDED a guard that sets and whose hold may be lost, 1 load each, both invalidate",
            3_275_566,
            Key { writers: Writers::Both, ..lost_holds },
        )
        .long(),
        Case::holds("RECOMMENDED two guards that may be lost, 2 loads each", 7_597_406, Key { loads: 2, ..both }).long(),
        Case::holds(
            "RECOMMENDED two guards that may be lost, 1 load each, 1 lost answer, outages",
            9_984_467,
            Key { losses: 1, outages: true, ..both },
        )
        .long(),
        Case::holds("RECOMMENDED two guards that may be lost and set, 1 load each", 18_406_882, Key { guards_set: true, ..both })
            .long(),
    ]
}
