use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::*;
use crate::cache::{Delivery, TieredCache};
use crate::installed::installed;
use crate::l2::memory::{Call, CallKind, Plan};
use crate::rule::policy::{OnUnreachable, Policy};

const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).jitter(0);
/// Less than there is between two checks.
const SOON: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);

async fn read(group: &Group, instance: usize, source: &Source<u32>) -> u32 {
    group.instance(instance).get_or_load("k", POLICY, || source.load("k")).await.unwrap()
}

/// What a test says that fails.
async fn said(test: impl Future<Output = ()>) -> String {
    let mut test = Box::pin(test);
    let caught =
        std::future::poll_fn(|cx: &mut Context<'_>| match std::panic::catch_unwind(AssertUnwindSafe(|| test.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(None),
            Err(panic) => Poll::Ready(Some(panic)),
        });
    *caught.await.expect("it failed").downcast::<String>().expect("a message")
}

#[tokio::test(start_paused = true)]
async fn what_one_instance_invalidates_all_others_have_heard_of_when_the_group_is_settled() {
    let group = Group::new(3).await;
    let source = Source::from([("k", 1)]);
    for instance in 0..3 {
        assert_eq!(read(&group, instance, &source).await, 1);
    }
    source.set("k", 2);
    assert!(matches!(group.instance(2).invalidate("k").await, Ok(Delivery::Applied(_))));
    assert_eq!(read(&group, 0, &source).await, 1, "nobody has heard of it: no other task has run");
    group.settle().await;
    for instance in 0..3 {
        assert_eq!(read(&group, instance, &source).await, 2, "{instance}");
    }
    assert_eq!(source.loads(), 2);
}

/// Holds each message to the second instance for some seconds.
fn delay_messages(group: &Group) {
    group.tier().script(|call: &Call<'_>| match (call.kind, call.instance) {
        (CallKind::Deliver, 1) => Plan::delay(Duration::from_secs(3)),
        _ => Plan::go(),
    });
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_under_way_is_waited_for() {
    let group = Group::new(2).await;
    group.instance(1).set("k", 1_u32, POLICY).await.unwrap();
    group.settle().await;
    delay_messages(&group);
    group.instance(0).invalidate("k").await.unwrap();
    group.settle().await;
    assert_eq!(group.instance(1).get::<u32>("k").await, None);
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_and_learns_of_it_late_is_waited_for() {
    let group = Group::new(2).await;
    delay_messages(&group);
    group.instance(0).invalidate("k").await.unwrap();
    // Its checks wait for the message as well.
    group.partition(1).await;
    assert_eq!(group.instance(1).stats().lane_lost, 1);
}

#[tokio::test]
async fn a_group_settles_in_the_machines_time_too() {
    let group = Group::builder().instances(2).prove_for(Duration::from_secs(2)).build().await;
    let source = Source::from([("k", 1)]);
    assert_eq!((read(&group, 0, &source).await, read(&group, 1, &source).await), (1, 1));
    source.set("k", 2);
    group.partition(1).await;
    group.instance(0).invalidate("k").await.unwrap();
    group.heal(1).await;
    assert_eq!(read(&group, 1, &source).await, 2);
    group.jump(MINUTE).await;
    assert!(!group.instance(1).is_unproven());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_settles_on_several_threads() {
    let group = Group::new(4).await;
    for round in 0..50_u32 {
        group.instance(0).set("k", round, POLICY).await.unwrap();
        group.settle().await;
        for cache in group.instances() {
            assert_eq!(cache.get("k").await, Some(round));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_instance_tells_late_those_before_it_have_heard_of_when_the_group_is_settled() {
    let group = Group::new(3).await;
    let source = Source::from([("k", 1)]);
    for instance in 0..3 {
        read(&group, instance, &source).await;
    }
    source.set("k", 2);
    group.tier().fail_next(CallKind::Bump);
    assert_eq!(group.instance(2).invalidate("k").await, Ok(Delivery::Pending));
    group.settle().await;
    for instance in 0..3 {
        assert_eq!(read(&group, instance, &source).await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_may_close_its_cache_itself() {
    let group = Group::new(2).await;
    group.instance(0).close(MINUTE).await.unwrap();
    group.settle().await;
    group.start(0).await;
    let source = Source::from([("k", 1)]);
    assert_eq!(read(&group, 0, &source).await, 1);
    group.instance(1).invalidate("k").await.unwrap();
    group.settle().await;
    assert_eq!(group.instance(0).get::<u32>("k").await, None);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_cut_off_hears_nothing_and_what_it_invalidates_is_told_when_it_is_back() {
    let group = Group::new(2).await;
    let source = Source::from([("k", 1)]);
    assert_eq!((read(&group, 0, &source).await, read(&group, 1, &source).await), (1, 1));
    let begun = tokio::time::Instant::now();
    group.partition(1).await;
    assert!(begun.elapsed() < SOON, "it is told, not found out by a check");
    assert_eq!((group.instance(0).stats().lane_lost, group.instance(1).stats().lane_lost), (0, 1));
    source.set("k", 2);
    group.instance(0).invalidate("k").await.unwrap();
    group.settle().await;
    assert_eq!(read(&group, 0, &source).await, 2);
    assert_eq!(read(&group, 1, &source).await, 1, "it serves its copy");
    assert_eq!(group.instance(1).stats().served_unproven, 1);
    assert_eq!(group.instance(1).invalidate("other").await, Ok(Delivery::Pending));
    group.heal(1).await;
    assert_eq!(group.instance(1).stats().pending, 0);
    assert_eq!(read(&group, 1, &source).await, 2);
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_the_policy_decides_and_afterwards_all_are_in_step() {
    let group = Group::builder().instances(2).configure(|builder| builder.on_unreachable(OnUnreachable::Fail)).build().await;
    let source = Source::from([("k", 1)]);
    assert_eq!((read(&group, 0, &source).await, read(&group, 1, &source).await), (1, 1));
    group.partition(0).await;
    group.outage().await;
    // What was loaded within the bound on staleness needs no proof.
    group.jump(MINUTE).await;
    for cache in group.instances() {
        assert!(cache.get_or_load("k", POLICY, || source.load("k")).await.is_err());
    }
    group.recover().await;
    assert_eq!(read(&group, 1, &source).await, 1);
    let alone = group.instance(0).get_or_load("k", POLICY, || source.load("k")).await;
    assert!(alone.is_err(), "it is still cut off by itself");
    group.heal(0).await;
    assert_eq!((read(&group, 0, &source).await, source.loads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_killed_instance_gives_nothing_back_and_a_closed_one_does() {
    for killed in [true, false] {
        let group = Arc::new(Group::new(2).await);
        let source = Source::from([("k", 1)]);
        source.hold();
        let load = tokio::spawn({
            let (group, source) = (Arc::clone(&group), source.clone());
            async move { read(&group, 0, &source).await }
        });
        source.held(1).await;
        assert!(group.tier().holds_ticket("ct:test:v:k"));
        if killed {
            group.kill(0).await;
        }
        load.abort();
        assert!(load.await.unwrap_err().is_cancelled());
        if !killed {
            assert!(group.close(0).await);
        }
        assert_eq!(group.tier().holds_ticket("ct:test:v:k"), killed);
        group.start(0).await;
        source.release();
        group.pass(Duration::from_secs(4)).await;
        assert!(!group.tier().holds_ticket("ct:test:v:k"), "its lease is over");
        assert_eq!((read(&group, 0, &source).await, read(&group, 1, &source).await), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_instance_loses_what_it_had_to_tell_and_a_closed_one_tells_it() {
    for killed in [true, false] {
        let group = Group::new(2).await;
        let source = Source::from([("k", 1)]);
        assert_eq!((read(&group, 0, &source).await, read(&group, 1, &source).await), (1, 1));
        source.set("k", 2);
        group.tier().fail_next(CallKind::Bump);
        assert_eq!(group.instance(0).invalidate("k").await, Ok(Delivery::Pending));
        if killed {
            group.kill(0).await;
        } else {
            assert!(group.close(0).await);
        }
        assert_eq!(read(&group, 1, &source).await, if killed { 1 } else { 2 });
        group.start(0).await;
        assert_eq!(read(&group, 0, &source).await, if killed { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn time_passes_for_the_clock_and_for_timers_together() {
    let group = Group::builder().instances(1).prove_for(Duration::from_secs(2)).build().await;
    let (cache, source) = (group.instance(0), Source::from([("k", 1)]));
    source.takes(Duration::from_secs(5));
    let load = tokio::spawn({
        let (cache, source) = (cache.clone(), source.clone());
        async move { cache.get_or_load("k", Policy::ttl(MINUTE).jitter(0), || source.load("k")).await }
    });
    group.pass(Duration::from_secs(6)).await;
    assert!(load.is_finished());
    assert!(group.tier().holds_value("ct:test:v:k"), "the ticket was extended by the same time");
    assert_eq!(cache.stats().time_unproven, Duration::ZERO, "it was checked all the time");
    group.pass(2 * MINUTE).await;
    assert_eq!(cache.stats().l1_entries, 0, "it was swept");
    assert_eq!(cache.stats().evicted_by_age, 1);
}

#[tokio::test(start_paused = true)]
async fn a_jump_ends_what_has_a_life_and_no_timer() {
    let group = Group::builder().instances(1).prove_for(Duration::from_secs(2)).build().await;
    let source = Source::from([("k", 1)]);
    let begun = tokio::time::Instant::now();
    assert_eq!(read(&group, 0, &source).await, 1);
    group.jump(60 * MINUTE).await;
    assert!(!group.instance(0).is_unproven(), "it is proven anew");
    assert!(begun.elapsed() < SOON, "no check has come");
    assert_eq!((read(&group, 0, &source).await, source.loads()), (1, 2));
}

#[tokio::test]
async fn time_does_not_pass_by_itself() {
    let why = said(async { Group::new(1).await.pass(MINUTE).await }).await;
    assert!(why.starts_with("`pass` needs tokio's time paused"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_says_why() {
    let none = said(async { drop(Group::new(0).await) }).await;
    assert_eq!(none, "a group of 0 instances, expected 1 to 64");
    let group = Group::new(2).await;
    assert_eq!(said(async { drop(group.instance(2)) }).await, "instance 2 of a group of 2: the first one is 0");
    assert_eq!(said(group.start(1)).await, "instance 1 has not ended: `kill` or `close` it first");
    group.kill(1).await;
    assert_eq!(said(group.partition(1)).await, "instance 1 has ended: `start` it first");
    let settings = Group::builder().configure(|builder| builder.tag_cells(1));
    assert!(said(async { drop(settings.build().await) }).await.contains("tag_cells is 1"));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_does_not_settle_says_who_and_why() {
    let group = Group::new(2).await;
    group.tier().script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::away() } else { Plan::go() });
    group.instance(1).invalidate("k").await.unwrap();
    let why = said(group.settle()).await;
    assert_eq!(why, "the group was not settled within 10s: instance 1 has 0 writes under way, and 1 invalidations to tell");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_too_long_is_told() {
    let source = Source::<u32>::new();
    assert_eq!(said(source.held(1)).await, "expected 1 loads that are held, found 0 within 10s");
}

#[tokio::test(start_paused = true)]
async fn loads_are_counted_over_all_instances_and_lives() {
    let group = Group::new(2).await;
    let source = Source::from([("k", 1)]);
    let load = async || {
        read(&group, 0, &source).await;
        group.instance(0).invalidate("k").await.unwrap();
        group.settle().await;
        read(&group, 1, &source).await
    };
    assert_eq!(assert_loads!(group, 2, { load().await }), 1);
    assert_loads!(source, 0, { read(&group, 0, &source).await });
    assert_loads!(group, 1, {
        group.tier().flush_all();
        group.kill(0).await;
        group.start(0).await;
        read(&group, 0, &source).await
    });
    assert_loads!([group.instance(0), group.instance(1)], 0, { read(&group, 0, &source).await });
}

#[tokio::test(start_paused = true)]
async fn a_wrong_number_of_loads_shows_what_happened() {
    let group = Group::new(2).await;
    let source = Source::from([("k", 1)]);
    let why = said(async {
        assert_loads!(group, 2, {
            source.fail_next();
            assert!(group.instance(0).get_or_load("k", POLICY, || source.load("k")).await.is_err());
            for instance in [0, 1, 1] {
                read(&group, instance, &source).await;
            }
            source.fail_next();
            assert!(group.instance(1).get_or_load("another", POLICY, || source.load("another")).await.is_err());
        });
    })
    .await;
    let told = "expected 2 loads, found 3 loads, of which 2 failed and 0 were for their caller alone; 0 waited for another's, \
                1 hits in L1, 1 in the shared tier";
    let did = [
        "0: missed k",
        "0: began to load k",
        "0: failed to load k",
        "0: called Abandon k",
        "0: missed k",
        "0: began to load k",
        "0: loaded k",
        "0: stored k",
        "1: found k",
        "1: missed another",
        "1: began to load another",
        "1: failed to load another",
        "1: called Abandon another",
    ];
    assert_eq!(why, [&[told][..], &did].concat().join("\n  "));
    let why = said(async { assert_loads!(source, 0, { source.load("k").await.unwrap() }).ignore() }).await;
    assert!(why.ends_with("\n  loaded k"), "{why}");
    let why = said(async { assert_loads!(group.instance(0), 1, { read(&group, 0, &source).await }).ignore() }).await;
    assert!(why.starts_with("expected 1 loads, found 0 loads"), "too few are wrong, too: {why}");
}

trait Ignore: Sized {
    fn ignore(self) {}
}
impl Ignore for u32 {}

#[tokio::test(start_paused = true)]
async fn events_tell_of_races_and_faults_in_order_and_by_the_number_in_the_group() {
    let group = Arc::new(Group::new(2).await);
    group.kill(0).await;
    group.start(0).await;
    let source = Source::from([("k", 1)]);
    source.hold();
    let load = tokio::spawn({
        let (group, source) = (Arc::clone(&group), source.clone());
        async move { read(&group, 0, &source).await }
    });
    source.held(1).await;
    assert!(group.tier().evict("ct:test:v:k"));
    source.release();
    load.await.unwrap();
    group.instance(1).invalidate("k").await.unwrap();
    group.settle().await;
    group.tier().fail_next(CallKind::Bump);
    group.instance(1).invalidate_tag("t").await.unwrap();
    let told: Vec<String> = group.events().iter().map(ToString::to_string).collect();
    let expected = ["0: missed k", "0: began to load k", "0: loaded k", "0: refused k", "1: invalidated k"];
    let (mut heard, told): (Vec<_>, Vec<_>) = told.into_iter().partition(|line| line.contains("heard"));
    heard.sort();
    assert_eq!(heard, ["0: heard of k", "1: heard of k"]);
    assert_eq!(told[..5], expected);
    assert_eq!(told[5..], ["1: failed at Bump"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_latest_events_are_kept() {
    let group = Group::new(1).await;
    for key in 0..10_001 {
        group.instance(0).invalidate(&key.to_string()).await.unwrap();
    }
    let events = group.events();
    assert_eq!(events.len(), 10_000);
    assert_eq!(group.events_after(group.events_so_far() - 1), events[9_999..]);
    assert_eq!(group.events_after(group.events_so_far()), []);
}

#[tokio::test(start_paused = true)]
async fn a_scope_names_the_instance() {
    let group = Group::new(2).await;
    group.scope(1, async { installed().unwrap().set("k", 1_u32, POLICY).await.unwrap() }).await;
    assert_eq!((group.instance(0).stats().invalidations, group.instance(1).stats().invalidations), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn who_has_ended_keeps_nothing() {
    let group = Group::new(1).await;
    let source = Source::from([("k", 1)]);
    let old = group.instance(0);
    group.kill(0).await;
    group.start(0).await;
    let from_old = async |cache: &TieredCache| cache.get_or_load("k", POLICY, || source.load("k")).await.unwrap();
    assert_loads!(source, 2, {
        from_old(&old).await;
        from_old(&old).await
    });
    assert!(!group.tier().holds_value("ct:test:v:k"));
}

#[tokio::test(start_paused = true)]
async fn a_source_keeps_versions_and_counts_what_is_asked_of_it() {
    let source = Source::from([("a", 1)]);
    assert_eq!((source.version("a"), source.version("b")), (1, 0));
    assert_eq!((source.set("b", 2), source.remove("a")), (1, 2));
    assert_eq!((source.load("a").await, source.find("a").await), (Err(SourceError::Missing), Ok(None)));
    source.fail_next();
    source.fail_next();
    for failed in [true, true, false] {
        assert_eq!(source.load("b").await == Err(SourceError::Failed), failed);
    }
    assert_eq!((source.loads(), source.loads_of("a"), source.loads_of("b"), source.loads_of("c")), (5, 2, 3, 0));
    source.takes(MINUTE);
    let begun = tokio::time::Instant::now();
    assert_eq!(source.load("b").await, Ok(2));
    assert_eq!(begun.elapsed(), MINUTE);
}
