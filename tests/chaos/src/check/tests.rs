//! Histories written by hand, good ones and bad ones, and one that is drawn and spoilt.

use super::*;
use crate::clock::Nanos;
use crate::event::{Commit, Counts, Event, Fault, Held, Load, Point, Points, Span, Waited};
use crate::layout::{KEYS, Tag, Target};
use crate::limits::{AFTERMATH, HELD_FOR, LEFT, READS_A_SECOND, REPLACED, TOLD_AGAIN, WHOLE};
use crate::plan::{Kind, Scenario, ServerClock};

const K: Key = Key(0);
/// Longer ago than the bound allows.
const LATE: u64 = 1_600;

/// Milliseconds since a begin that is not zero, so that what lies a bound before it is there too.
fn at(millis: u64) -> Nanos {
    Nanos(1_000_000 * (100_000 + millis))
}

fn span(start: u64, end: u64) -> Span {
    Span { start: at(start), end: at(end) }
}

fn commit(version: u64, when: u64) -> Event {
    Event::Commit(Commit { key: K, version, at: at(when) })
}

fn row(version: u64, begun: u64) -> Row {
    Row { key: K, version, begun: at(begun), put: false }
}

fn read(instance: u16, when: u64, row: Row) -> Event {
    Event::Read(Read { instance, key: K, span: span(when, when + 1), got: Got::Row(row), unproven: false, last: false })
}

fn last(instance: u16, when: u64, row: Row) -> Event {
    Event::Read(Read { instance, key: K, span: span(when, when + 1), got: Got::Row(row), unproven: false, last: true })
}

fn made(instance: u16, target: Target, start: u64, end: u64, told: Told) -> Event {
    Event::Mutation(Mutation { instance, verb: Verb::Invalidate, target, span: span(start, end), told, points: Points::default() })
}

fn applied(instance: u16, start: u64, end: u64) -> Event {
    made(instance, Target::Key(K), start, end, Told::Applied)
}

fn put(instance: u16, start: u64, end: u64) -> Event {
    let span = span(start, end);
    Event::Mutation(Mutation {
        instance,
        verb: Verb::Set,
        target: Target::Key(K),
        span,
        told: Told::Applied,
        points: Points::default(),
    })
}

fn fault(kind: Kind, instance: Option<u16>, start: u64, end: u64) -> Event {
    Event::Fault(Fault { kind, instance, span: span(start, end), effect: String::new() })
}

fn verdict(events: Vec<Event>) -> Verdict {
    check(&History::of(events))
}

#[track_caller]
fn good(events: Vec<Event>) -> Verdict {
    let verdict = verdict(events);
    assert_eq!(verdict.violations, []);
    verdict
}

#[track_caller]
fn bad(events: Vec<Event>, expected: Rule) {
    let verdict = verdict(events);
    assert_eq!(verdict.violations.iter().map(|violation| violation.rule).collect::<Vec<_>>(), [expected]);
}

#[test]
fn an_old_value_may_be_served_elsewhere_within_the_bound() {
    good(vec![commit(1, 10), applied(0, 11, 12), read(1, 1_500, row(0, 5))]);
}

#[test]
fn an_old_value_may_not_be_served_anywhere_after_the_bound() {
    bad(vec![commit(1, 10), applied(0, 11, 12), read(1, 12 + LATE, row(0, 5))], Rule::Bound);
}

#[test]
fn the_bound_counts_from_the_acknowledgement_to_the_begin_of_the_read() {
    let slow = |start, end| {
        Event::Read(Read { instance: 1, key: K, span: span(start, end), got: Got::Row(row(0, 5)), unproven: false, last: false })
    };
    good(vec![commit(1, 10), applied(0, 11, 1_000), slow(2_000, 5_000)]);
    bad(vec![commit(1, 10), applied(0, 11, 1_000), slow(1_000 + LATE, 5_000)], Rule::Bound);
}

#[test]
fn what_is_pending_or_was_dropped_binds_its_own_instance_alone() {
    for told in [Told::Pending, Told::Dropped] {
        let made = made(0, Target::Key(K), 11, 12, told);
        good(vec![commit(1, 10), made.clone(), read(1, 12 + LATE, row(0, 5))]);
        bad(vec![commit(1, 10), made, read(0, 13, row(0, 5))], Rule::Own);
    }
}

#[test]
fn the_instance_that_invalidated_sees_it_at_once() {
    good(vec![commit(1, 10), applied(0, 11, 20), read(0, 19, row(0, 5)), read(0, 21, row(1, 20))]);
    bad(vec![commit(1, 10), applied(0, 11, 20), read(0, 21, row(0, 5))], Rule::Own);
}

#[test]
fn an_invalidation_of_a_tag_a_prefix_or_everything_covers_the_key() {
    for target in [Target::Tag(Tag::Wide(0)), Target::Group(0), Target::Everything, Target::Keys(vec![Key(3), K])] {
        bad(vec![commit(1, 10), made(0, target, 11, 12, Told::Applied), read(1, 12 + LATE, row(0, 5))], Rule::Bound);
    }
    for target in [Target::Tag(Tag::Wide(1)), Target::Group(1), Target::Keys(vec![Key(3)])] {
        good(vec![commit(1, 10), made(0, target, 11, 12, Told::Applied), read(1, 12 + LATE, row(0, 5))]);
    }
}

#[test]
fn what_was_committed_after_an_invalidation_began_is_not_promised_by_it() {
    good(vec![commit(1, 10), applied(0, 11, 20), commit(2, 15), read(0, 21, row(1, 16))]);
}

#[test]
fn what_was_loaded_before_an_invalidation_is_hidden_though_the_row_is_the_same() {
    let tag = made(0, Target::Tag(Tag::Wide(0)), 11, 12, Told::Applied);
    good(vec![commit(1, 1), tag.clone(), read(0, 13, row(1, 11))]);
    bad(vec![commit(1, 1), tag.clone(), read(0, 13, row(1, 10))], Rule::Hidden);
    bad(vec![commit(1, 1), tag, read(1, 12 + LATE, row(1, 10))], Rule::Hidden);
}

#[test]
fn what_was_put_is_as_old_as_the_end_of_its_call() {
    let value = Row { key: K, version: 1, begun: at(20), put: true };
    good(vec![commit(1, 10), put(0, 20, 40), applied(1, 30, 35), read(1, 50, value)]);
    bad(vec![commit(1, 10), put(0, 20, 25), applied(1, 30, 35), read(1, 50, value)], Rule::Hidden);
}

#[test]
fn what_nobody_could_prove_is_old_by_policy_but_never_older_than_ones_own_invalidation() {
    let unproven = |instance, when, row| {
        Event::Read(Read { instance, key: K, span: span(when, when + 1), got: Got::Row(row), unproven: true, last: false })
    };
    let served = good(vec![commit(1, 10), applied(0, 11, 12), unproven(1, 12 + LATE, row(0, 5))]);
    assert_eq!((served.unproven, served.unproven_in_sound), (1, 1));
    bad(vec![commit(1, 10), applied(0, 11, 12), unproven(0, 12 + LATE, row(0, 5))], Rule::Own);
    bad(vec![commit(1, 10), applied(0, 11, 12), read(0, 1, row(0, 0)), unproven(1, 9_100, row(0, 5))], Rule::Lives);
    let refused = |last| Event::Read(Read { instance: 1, key: K, span: span(50, 51), got: Got::Unproven, unproven: false, last });
    assert_eq!(good(vec![refused(false)]).refused, 1);
    bad(vec![refused(true)], Rule::Settled);
}

/// An invalidation that stands at a point of the lane.
fn stands(instance: u16, start: u64, end: u64, (era, seq): (u32, u64)) -> Event {
    let (target, points) = (Target::Key(K), Points(vec![Point { part: None, era, seq }]));
    let verb = Verb::Invalidate;
    Event::Mutation(Mutation { instance, verb, target, span: span(start, end), told: Told::Applied, points })
}

fn waited(instance: u16, end: u64, (era, seq): (u32, u64), reached: bool) -> Event {
    Event::Waited(Waited { instance, points: Points(vec![Point { part: None, era, seq }]), span: span(end - 1, end), reached })
}

#[test]
fn who_has_waited_for_a_point_reads_nothing_older_than_what_stands_before_it() {
    let told = [commit(1, 10), stands(0, 11, 12, (7, 100))];
    let with = |events: [Event; 2]| told.iter().cloned().chain(events).collect::<Vec<_>>();
    let old = |when| read(1, when, row(0, 5));
    for point in [(7, 100), (7, 200)] {
        bad(with([waited(1, 20, point, true), old(21)]), Rule::Promised);
        good(with([waited(1, 20, point, true), old(18)]));
        good(with([waited(1, 20, point, false), old(21)]));
        good(with([waited(2, 20, point, true), old(21)]));
    }
    for point in [(7, 99), (8, 200)] {
        good(with([waited(1, 20, point, true), old(21)]));
    }
    let unproven =
        Event::Read(Read { instance: 1, key: K, span: span(21, 22), got: Got::Row(row(0, 5)), unproven: true, last: false });
    bad(with([waited(1, 20, (7, 100), true), unproven]), Rule::Promised);
    // One that was acknowledged after the wait and stands before its point.
    let late = vec![commit(1, 10), stands(0, 11, 40, (7, 100)), waited(1, 20, (7, 200), true), old(21)];
    bad(late, Rule::Promised);
}

#[test]
fn an_invalidator_has_no_copies_and_a_guard_that_failed_has_changed_nothing() {
    for (verb, told, rule) in [
        (Verb::Outside, Told::Applied, None),
        (Verb::Hold, Told::Applied, Some(Rule::Own)),
        (Verb::Hold, Told::NotHeld, None),
        (Verb::Hold, Told::Dropped, None),
        (Verb::Release, Told::Pending, Some(Rule::Own)),
    ] {
        let made = Mutation { instance: 0, verb, target: Target::Key(K), span: span(11, 12), told, points: Points::default() };
        let events = vec![commit(1, 10), Event::Mutation(made), read(0, 13, row(0, 5))];
        assert_eq!(verdict(events).violations.first().map(|violation| violation.rule), rule, "{verb:?} {told:?}");
    }
}

#[test]
fn what_is_loaded_under_a_hold_is_kept_nowhere_unless_the_server_has_lost_it() {
    let held = |end| Event::Held(Held { instance: 0, key: K, span: span(1_000, end), dropped: true });
    let late = u64::try_from(HELD_FOR.as_millis()).unwrap() + 1;
    let kept = |begun: u64| read(1, begun + late, row(0, begun));
    bad(vec![held(1_500), kept(1_400)], Rule::Held);
    assert_eq!(good(vec![held(1_500), kept(1_500), kept(999), read(1, 1_400 + late - 2, row(0, 1_400))]).holds, 1);
    for (kind, loses) in [(Kind::Eviction, true), (Kind::FlushAll, true), (Kind::ClockStepped, true), (Kind::Cut, false)] {
        let lost = verdict(vec![held(1_500), kept(1_400), fault(kind, None, 1_100, 1_200)]);
        assert_eq!(lost.violated == 0, loses, "{kind:?}");
        assert_eq!(verdict(vec![held(1_500), kept(1_400), fault(kind, None, 10, 20)]).violated, 1);
    }
    good(vec![held(1_500), kept(1_400), fault(Kind::InstanceFrozen, Some(1), 1_450, 1_460)]);
    let put = Row { put: true, ..row(0, 1_400) };
    good(vec![held(1_500), read(1, 1_400 + late, put)]);
}

#[test]
fn what_a_guard_puts_stands_for_no_more_than_what_was_committed_under_it() {
    let held = Mutation {
        instance: 0,
        verb: Verb::SetHeld(1),
        target: Target::Key(K),
        span: span(25, 26),
        told: Told::Applied,
        points: Points::default(),
    };
    let put = Row { put: true, ..row(1, 25) };
    good(vec![commit(1, 10), commit(2, 20), Event::Mutation(held), read(0, 30, put)]);
}

#[test]
fn when_all_is_quiet_every_copy_is_the_databases() {
    good(vec![commit(1, 10), last(1, 500, row(1, 20))]);
    bad(vec![commit(1, 10), last(1, 500, row(0, 5))], Rule::Settled);
}

#[test]
fn who_drops_a_guard_whose_hold_was_lost_may_leave_an_old_copy() {
    let held = |dropped| Event::Held(Held { instance: 0, key: K, span: span(1, 40), dropped });
    let with = |dropped, kind| vec![commit(1, 10), held(dropped), fault(kind, None, 5, 6), last(1, 500, row(0, 5))];
    assert_eq!(good(with(true, Kind::Eviction)).unguarded, 1);
    bad(with(false, Kind::Eviction), Rule::Settled);
    bad(with(true, Kind::Cut), Rule::Settled);
}

#[test]
fn a_value_is_of_its_key_and_was_committed() {
    bad(vec![commit(1, 10), read(0, 20, row(2, 15))], Rule::Sane);
    bad(vec![commit(1, 10), read(0, 20, Row { key: Key(1), ..row(1, 15) })], Rule::Sane);
}

#[test]
fn a_call_ends_by_its_deadline_less_the_time_its_process_was_frozen() {
    let long = |end| Event::Read(Read { instance: 0, key: K, span: span(0, end), got: Got::Failed, unproven: false, last: false });
    good(vec![long(8_900)]);
    bad(vec![long(9_100)], Rule::Ends);
    good(vec![long(9_100), fault(Kind::InstanceFrozen, Some(0), 100, 400)]);
    bad(vec![long(9_100), fault(Kind::InstanceFrozen, Some(1), 100, 400), read(1, 1, row(0, 0))], Rule::Ends);
    bad(vec![made(0, Target::Everything, 0, 4_100, Told::Pending), read(0, 0, row(0, 0))], Rule::Ends);
    bad(vec![made(0, Target::Everything, 0, 1, Told::Overdue), read(0, 0, row(0, 0))], Rule::Ends);
}

#[test]
fn a_complaint_is_a_violation() {
    bad(vec![Event::Complaint { instance: 0, text: "it panicked".to_owned() }], Rule::Ends);
}

#[test]
fn what_a_server_has_forgotten_counts_as_anything_else() {
    let back = fault(Kind::RestartOld, None, 5, 40);
    bad(vec![commit(1, 10), applied(0, 11, 12), back.clone(), read(0, 50, row(0, 4))], Rule::Own);
    bad(vec![commit(1, 10), applied(0, 11, 12), back.clone(), read(1, 12 + LATE, row(0, 4))], Rule::Bound);
    let promise = [stands(0, 11, 12, (7, 100)), waited(1, 20, (7, 100), true)];
    bad([commit(1, 10), back, read(1, 60, row(0, 4))].into_iter().chain(promise).collect(), Rule::Promised);
}

#[test]
fn what_a_trusted_server_has_forgotten_is_asked_of_its_issuer_at_once_and_of_others_when_it_was_told_again() {
    let back = || fault(Kind::RestartTrusted, None, 1_000, 2_000);
    let told = u64::try_from(TOLD_AGAIN.as_millis()).unwrap();
    let with = |version, told: Event, when| {
        vec![commit(version, 1_010), told, back(), read(0, when, row(0, 900)), read(1, when, row(0, 900))]
    };
    let forgotten = || applied(2, 1_011, 1_012);
    good(with(1, forgotten(), 2_000 + told));
    assert_eq!(verdict(with(1, forgotten(), 2_001 + told)).violated, 2);
    let own = verdict(with(1, applied(0, 1_011, 1_012), 2_100));
    assert_eq!(own.violations.iter().map(|violation| (violation.instance, violation.rule)).collect::<Vec<_>>(), [(0, Rule::Own)]);
    // What it was told before it saved it has not forgotten.
    bad(vec![commit(1, 10), applied(2, 11, 12), back(), read(1, 12 + LATE, row(0, 5))], Rule::Bound);
    let promise = |seq, end| {
        vec![commit(1, 10), stands(2, 11, 12, (7, seq)), waited(1, end, (7, seq), true), back(), read(1, 1_500, row(0, 5))]
    };
    bad(promise(100, 999), Rule::Promised);
    good(promise(100, 1_400));
    bad(vec![commit(1, 490), back(), last(1, 2_100, row(0, 5)), forgotten()], Rule::Settled);
}

#[test]
fn what_a_replaced_primary_answers_is_counted_for_as_long_as_it_may_be_asked() {
    let replaced = || fault(Kind::PrimaryReplaced, None, 1_000, 20_000);
    let (out, left) = (u64::try_from(REPLACED.as_millis()).unwrap(), u64::try_from(LEFT.as_millis()).unwrap());
    let old = |when| vec![commit(1, 1_010), applied(2, 1_011, 1_012), replaced(), read(1, when, row(0, 900))];
    let counted = verdict(old(1_000 + out));
    assert_eq!((counted.violated, counted.replaced), (0, 1));
    bad(old(1_001 + out), Rule::Bound);
    // Who was frozen then has a second from when it goes on; who was frozen later has not.
    let frozen =
        |start, end, when| old(when).into_iter().chain([fault(Kind::InstanceFrozen, Some(1), start, end)]).collect::<Vec<_>>();
    assert_eq!(verdict(frozen(2_000, 7_000, 7_000 + left)).replaced, 1);
    bad(frozen(2_000, 7_000, 7_001 + left), Rule::Bound);
    bad(frozen(6_500, 7_000, 7_100), Rule::Bound);
    // What is one's own, and what was acknowledged before, is asked of everybody.
    bad(vec![commit(1, 1_010), applied(1, 1_011, 1_012), replaced(), read(1, 1_100, row(0, 900))], Rule::Own);
    bad(vec![commit(1, 10), applied(2, 11, 12), replaced(), read(1, 1_000 + LATE, row(0, 5))], Rule::Bound);
}

#[test]
fn a_run_whose_server_is_trusted_shows_that_something_was_told_again() {
    let saw = |retold| {
        let counts = Counts { l1_hits: 1, retold, ..Counts::default() };
        let counts = Event::Counts { instance: 0, at: at(1_000), counts };
        let history = History::of(vec![counts, fault(Kind::RestartTrusted, None, 1, 2), read(0, 10, row(0, 5))]);
        unmet(&Summary::of(&history, &check(&history), Scenario::Trust, ServerClock::True), Duration::ZERO)
    };
    assert_eq!(saw(1), Vec::<String>::new());
    assert_eq!(saw(0), ["expected invalidations to be told again to a server that has forgotten them, found none"]);
}

fn killed(instance: u16, when: u64) -> Event {
    Event::Killed { instance, at: at(when) }
}

#[test]
fn who_takes_the_place_of_a_killed_instance_is_bound_by_what_others_know_alone() {
    let pending = || vec![commit(1, 10), made(0, Target::Key(K), 11, 12, Told::Pending)];
    let with = |events: [Event; 2]| pending().into_iter().chain(events).collect::<Vec<_>>();
    good(with([killed(0, 20), read(0, 30, row(0, 5))]));
    bad(with([killed(0, 20), read(0, 19, row(0, 5))]), Rule::Own);
    bad(with([killed(1, 20), read(0, 30, row(0, 5))]), Rule::Own);
    bad(vec![commit(1, 10), applied(0, 11, 12), killed(0, 20), read(0, 12 + LATE, row(0, 5))], Rule::Bound);
    // What was there after it is its own.
    bad(with([killed(0, 20), commit(2, 31)]).into_iter().chain([applied(0, 32, 33), read(0, 34, row(1, 30))]).collect(), Rule::Own);
    let promise = || vec![commit(1, 10), stands(2, 11, 12, (7, 100)), waited(1, 20, (7, 100), true)];
    let old = || read(1, 60, row(0, 5));
    bad(promise().into_iter().chain([old()]).collect(), Rule::Promised);
    good(promise().into_iter().chain([killed(1, 50), old()]).collect());
    bad(promise().into_iter().chain([killed(1, 50), waited(1, 55, (7, 100), true), old()]).collect(), Rule::Promised);
}

#[test]
fn a_guard_that_is_killed_holds_to_its_limit_unless_it_was_about_to_let_go() {
    let late = u64::try_from(HELD_FOR.as_millis()).unwrap() + 1;
    let holding = || Event::Holding(Held { instance: 0, key: K, span: span(1_000, 1_500), dropped: true });
    let kept = || read(1, 1_400 + late, row(0, 1_400));
    bad(vec![holding(), killed(0, 1_100), kept()], Rule::Held);
    good(vec![holding(), Event::LettingGo { instance: 0, begun: at(1_000) }, killed(0, 1_100), kept()]);
    let released = Event::Held(Held { instance: 0, key: K, span: span(1_000, 1_100), dropped: false });
    good(vec![holding(), released, kept()]);
}

#[test]
fn what_a_killed_instance_had_counted_is_counted_on() {
    let counted = |when, loads| Event::Counts { instance: 0, at: at(when), counts: Counts { loads, ..Counts::default() } };
    let history = History::of(vec![counted(1, 5), counted(9, 7), killed(0, 10), counted(11, 1), killed(0, 12), counted(13, 2)]);
    assert_eq!(history.counts.iter().map(|(_, _, counts)| counts.loads).collect::<Vec<_>>(), [5, 7, 8, 10]);
}

#[test]
fn staleness_is_measured_from_what_overtook_the_value_apart_in_sound_and_in_disturbed_time() {
    let settled = u64::try_from(AFTERMATH.as_millis()).unwrap() + 1_000;
    let events = vec![
        fault(Kind::Cut, Some(1), 10, 20),
        commit(1, settled),
        applied(0, settled, settled + 10),
        read(1, settled + 110, row(0, 30)),
        read(1, 15, row(0, 5)),
        read(0, 15, row(0, 5)),
    ];
    let verdict = good(events);
    assert_eq!((verdict.sound.fresh, verdict.disturbed.fresh), (1, 1));
    assert_eq!(verdict.sound.stale, [Duration::from_millis(100)]);
}

#[test]
fn two_loads_at_once_are_counted_unless_something_explains_them() {
    let load = |instance, start, end| Event::Load(Load { instance, key: K, span: span(start, end) });
    let both = vec![load(0, 110, 130), load(1, 115, 120), read(1, 140, row(0, 110))];
    let with = |event| both.iter().cloned().chain([event]).collect::<Vec<_>>();
    assert_eq!(good(both.clone()).doubled, 1);
    assert_eq!(good(with(applied(0, 1, 2))).doubled, 1);
    assert_eq!(good(with(applied(0, 111, 112))).doubled, 0);
    assert_eq!(good(with(applied(0, 101, 102))).doubled, 0);
    assert_eq!(good(with(fault(Kind::Cut, Some(1), 1, 2))).doubled, 0);
    assert_eq!(good(vec![load(0, 110, 130), load(1, 130, 140)]).doubled, 0);
}

/// A world without faults in which each of four instances reads what is true, and hears of each invalidation late or early within the
/// bound. Returns its events, and for each read the place of it.
fn drawn(seed: u64) -> Vec<Event> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut events = Vec::new();
    let mut versions = vec![0; KEYS as usize];
    // Of each instance and key: the copy it serves.
    let mut copies = vec![Row { key: K, version: 0, begun: at(0), put: false }; 4 * 3];
    for step in 1..400_u64 {
        let now = step * 10;
        let key = Key(dice.u32(0..3));
        let instance = dice.u16(0..4);
        let place = usize::from(instance) * 3 + key.0 as usize;
        if dice.u8(0..4) == 0 {
            versions[key.0 as usize] += 1;
            events.push(Event::Commit(Commit { key, version: versions[key.0 as usize], at: at(now) }));
            events.push(made(instance, Target::Key(key), now + 1, now + 2, Told::Applied));
            // It is heard of everywhere before the next step.
            for other in 0..4 {
                copies[other * 3 + key.0 as usize] = Row { key, version: versions[key.0 as usize], begun: at(now + 3), put: false };
            }
        } else {
            let row = Row { key, ..copies[place] };
            events.push(Event::Read(Read {
                instance,
                key,
                span: span(now + 4, now + 5),
                got: Got::Row(row),
                unproven: false,
                last: false,
            }));
        }
    }
    events
}

#[test]
fn a_planted_violation_is_found_in_any_history_and_an_honest_history_has_none() {
    for seed in 0..200 {
        let honest = drawn(seed);
        good(honest.clone());
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut reads: Vec<usize> = (0..honest.len()).collect();
        dice.shuffle(&mut reads);
        // The first read that can be made too old: something of its key was acknowledged long enough before.
        let spoilt = reads.into_iter().find_map(|place| {
            let Event::Read(read) = honest[place] else { return None };
            let Got::Row(row) = read.got else { return None };
            let overtaken = honest.iter().any(|event| {
                let bound = Duration::from_millis(LATE);
                matches!(event, Event::Mutation(made) if made.target.covers(read.key) && made.span.end <= read.span.start.minus(bound))
            });
            let older = Row { version: row.version.checked_sub(dice.u64(1..=row.version.max(1)))?, ..row };
            let old_enough = older.version == 0 && overtaken;
            old_enough.then(|| {
                let mut spoilt = honest.clone();
                spoilt[place] = Event::Read(Read { got: Got::Row(Row { begun: at(0), ..older }), ..read });
                spoilt
            })
        });
        let Some(spoilt) = spoilt else { continue };
        let verdict = verdict(spoilt);
        assert_eq!(verdict.violated, 1, "seed {seed}");
        assert!(matches!(verdict.violations[0].rule, Rule::Bound | Rule::Own), "seed {seed}");
    }
}

#[test]
fn the_story_of_a_violation_holds_what_happened_to_its_key_and_nothing_else() {
    let other = Event::Commit(Commit { key: Key(1), version: 1, at: at(11) });
    let events = vec![
        other,
        commit(1, 10),
        applied(0, 11, 12),
        read(1, 1, row(0, 0)),
        read(1, 12 + LATE, row(0, 5)),
        read(2, 1_000, row(1, 20)),
        commit(2, 5_000),
        fault(Kind::PubsubHole, Some(1), 10, 20),
        fault(Kind::PubsubHole, Some(2), 10, 20),
    ];
    let history = History::of(events);
    let verdict = check(&history);
    let story = story(&history, &verdict.violations[0]);
    assert_eq!(story.len(), 4, "{story:#?}");
    assert!(story[0].contains("fault PubsubHole of instance 1") || story[0].contains("committed: version 1"), "{story:#?}");
    assert!(story[3].contains("u:0:0 read by 1"), "{story:#?}");
}

fn counts(l1_hits: u64, l1_misses: u64) -> Event {
    Event::Counts { instance: 0, at: at(1_000_000), counts: Counts { l1_hits, l1_misses, ..Counts::default() } }
}

/// What is missing of a run of a minute with so many reads and these events, in the scenario `pauses`.
fn missing(reads: u64, more: Vec<Event>) -> Vec<String> {
    let reads = (0..reads).map(|n| read(0, 10 + n / 10, row(0, 5)));
    let history = History::of(reads.chain(more).collect());
    let verdict = check(&history);
    unmet(&Summary::of(&history, &verdict, Scenario::Pauses, ServerClock::True), Duration::from_secs(60))
}

#[test]
fn a_run_that_saw_too_little_says_what_it_missed() {
    let whole = 60 * READS_A_SECOND;
    let frozen = || fault(Kind::ServerFrozen, None, 1, 2);
    assert_eq!(missing(whole, vec![counts(30, 70), frozen()]), Vec::<String>::new());
    assert_eq!(missing(whole - 1, vec![counts(30, 70), frozen()]), ["expected 90000 reads or more, found 89999"]);
    let few = ["expected L1 to answer 30 % of the reads or more, found 29.0 %"];
    assert_eq!(missing(whole, vec![counts(29, 71), frozen()]), few);
    let kinds = ["expected 1 kinds of faults or more, found 0; missing: ServerFrozen, InstanceFrozen, InstanceKilled"];
    assert_eq!(missing(whole, vec![counts(30, 70)]), kinds);
}

#[test]
fn the_staleness_of_one_in_a_thousand_counts_the_fresh_ones() {
    let millis = |from: u64, to: u64| (from..to).map(Duration::from_millis).collect::<Vec<_>>();
    let shown = |fresh, stale| Staleness { fresh, stale }.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(shown(9_999, millis(7, 8)), "10000 1 0.000 ms 7.000 ms");
    assert_eq!(shown(9_000, millis(0, 1_000)), "10000 1000 990.000 ms 999.000 ms");
    assert_eq!(shown(0, Vec::new()), "0 0 0.000 ms 0.000 ms");
}

/// The sum of a run of so many seconds with so many reads, of which one in a hundred was as old as that.
fn sum(seconds: u64, stale: u64) -> Vec<String> {
    let mut events = vec![counts(30, 70), commit(1, 10), applied(0, 11, 12)];
    events.extend((0..990).map(|n| read(1, 100 + n, row(1, 20))));
    events.extend((0..10).map(|_| read(1, 12 + stale, row(0, 5))));
    let history = History::of(events);
    let verdict = check(&history);
    let mut sums = Sums::default();
    let line = sums.add(7, Duration::from_secs(seconds), &Summary::of(&history, &verdict, Scenario::Calm, ServerClock::True));
    assert!(line.contains("seed   7 calm") && line.contains("violations 0"), "{line}");
    sums.unmet()
}

#[test]
fn of_a_whole_every_kind_is_asked_for_and_of_less_only_that_nothing_is_broken() {
    assert_eq!(sum(WHOLE.as_secs() - 1, 100), Vec::<String>::new());
    let unmet = sum(WHOLE.as_secs(), 100);
    assert_eq!(unmet.len(), 3, "{unmet:?}");
    assert!(unmet[0].contains("1000000 reads"), "{unmet:?}");
    assert!(unmet[1].contains("restarts") && unmet[1].contains("MessageLost") && !unmet[1].contains("calm"), "{unmet:?}");
    assert_eq!(unmet[2], "expected a p99.9 below 50ms in sound time, found 100ms");
    assert_eq!(sum(WHOLE.as_secs(), 40).len(), 2);
}
