//! Each fault of a call, and what a dropped call leaves behind.

use super::*;
use crate::error::Fault;
use crate::l2::Filled;

#[track_caller]
fn unanswered<T: std::fmt::Debug>(outcome: Result<T, Fault>) {
    let fault = outcome.expect_err("no answer");
    assert!(matches!(fault, Fault::Unanswered(_)), "{fault:?}");
}

#[test]
fn a_call_that_is_refused_away_or_lost_has_not_run() {
    let (tier, _, store) = stored();
    script(&tier, CallKind::Probe, [Plan::error("full"), Plan::away(), Plan::lost()]);
    assert_eq!(now(store.probe("k", A, LEASE)), Err(Fault::Refused(Arc::from("full"))));
    assert!(matches!(now(store.probe("k", A, LEASE)), Err(Fault::Away(_))));
    unanswered(now(store.probe("k", A, LEASE)));
    assert!(tier.is_empty());
    assert_eq!(now(store.probe("k", A, LEASE)), Ok(None));
}

#[test]
fn a_call_whose_reply_is_lost_has_run() {
    let (tier, _, store) = stored();
    script(&tier, CallKind::Probe, [Plan::lost_reply()]);
    unanswered(now(store.probe("k", A, LEASE)));
    assert!(tier.holds_ticket("k"));
}

#[test]
fn a_lost_reply_hides_a_refusal_too() {
    let (tier, _, store) = stored();
    script(&tier, CallKind::Probe, [Plan::lost_reply()]);
    unanswered(now(store.probe("k", A, Duration::ZERO)));
}

#[test]
fn a_hanging_call_neither_runs_nor_ends() {
    let (tier, _, store) = stored();
    script(&tier, CallKind::Probe, [Plan::hang()]);
    let mut call = pin!(store.probe("k", A, LEASE));
    assert!(poll(call.as_mut()).is_pending());
    tier.clear_script();
    assert!(poll(call).is_pending());
    assert!(tier.is_empty());
}

#[test]
fn a_call_runs_when_its_gate_opens_and_answers_when_the_second_one_does() {
    let (tier, _, store) = stored();
    let ((run, before), (answer, reply)) = (gate(), gate());
    script(&tier, CallKind::Probe, [Plan::go().after(before).reply_after(reply)]);
    let mut call = pin!(store.probe("k", A, LEASE));
    assert!(poll(call.as_mut()).is_pending());
    assert!(tier.is_empty());
    run.send(()).expect("waited for");
    assert!(poll(call.as_mut()).is_pending());
    assert!(tier.holds_ticket("k"));
    tier.evict("k");
    answer.send(()).expect("waited for");
    assert_eq!(poll(call), Poll::Ready(Ok(None)), "the answer is that of the moment it ran");
}

#[test]
fn a_held_call_sees_what_came_before_it_ran() {
    let (tier, _, store) = stored();
    let (run, before) = gate();
    script(&tier, CallKind::Probe, [Plan::go().after(before)]);
    let mut call = pin!(store.probe("k", A, LEASE));
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!(now(store.probe("k", B, LEASE)), Ok(None));
    run.send(()).expect("waited for");
    assert_eq!(poll(call), Poll::Ready(Ok(Some(ticket(B)))));
}

#[test]
fn all_gates_of_a_plan_must_open() {
    let (tier, _, store) = stored();
    let ((first, one), (second, two)) = (gate(), gate());
    script(&tier, CallKind::Probe, [Plan::go().after(one).after(two)]);
    let mut call = pin!(store.probe("k", A, LEASE));
    second.send(()).expect("waited for");
    assert!(poll(call.as_mut()).is_pending());
    first.send(()).expect("waited for");
    assert_eq!(poll(call), Poll::Ready(Ok(None)));
}

#[test]
fn a_call_dropped_before_it_ran_has_not_run_and_after_it_ran_has() {
    let (tier, _, store) = stored();
    let ((_run, before), (_answer, reply)) = (gate(), gate());
    script(&tier, CallKind::Probe, [Plan::go().after(before), Plan::go().reply_after(reply)]);
    for (key, ran) in [("a", false), ("b", true)] {
        let mut call = Box::pin(store.probe(key, A, LEASE));
        assert!(poll(call.as_mut()).is_pending());
        drop(call);
        assert_eq!(tier.holds_ticket(key), ran);
    }
}

#[test]
fn a_call_that_is_never_polled_has_not_run_and_asks_no_script() {
    let (tier, _, store) = stored();
    tier.fail_next(CallKind::Probe);
    drop(store.probe("k", A, LEASE));
    assert!(tier.is_empty());
    assert!(matches!(now(store.probe("k", A, LEASE)), Err(Fault::Refused(_))));
}

#[test]
fn a_late_call_runs_when_it_is_landed_after_later_ones() {
    let (tier, _, store) = stored();
    let lane = lane(&tier);
    script(&tier, CallKind::Probe, [Plan::late()]);
    unanswered(now(store.probe("ct:shop:v:k", A, LEASE)));
    assert!(tier.is_empty());
    now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped");
    assert_eq!(tier.strays(), 1);
    assert!(tier.land(0));
    assert!(tier.holds_ticket("ct:shop:v:k"));
    assert!(!tier.land(0));
}

#[test]
fn every_call_that_changes_something_can_run_late() {
    let (tier, _, store) = stored();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    tier.script_calls(|call: &Call<'_>| if call.kind == CallKind::Read { Plan::go() } else { Plan::late() });
    let key = "ct:shop:v:k";
    let holds = |bytes: Option<Vec<u8>>| assert_eq!(now(store.read(key)), Ok(bytes));

    unanswered(now(store.probe(key, A, LEASE)));
    unanswered(now(store.fill(key, A, &value(A, "v"), LIFE)));
    unanswered(now(store.claim(key, A, B, LEASE)));
    unanswered(now(store.abandon(key, B, &[])));
    unanswered(now(lane.seize("k", C, LEASE, Point::default())));
    unanswered(now(lane.bump(&keys(&["k"]), Point::default())));
    unanswered(now(reader.check(Point::default())));
    for bytes in [Some(ticket(A)), Some(value(A, "v")), Some(ticket(B)), None] {
        assert!(tier.land(0));
        holds(bytes);
    }
    assert_eq!(reader.ready(), None);
    assert!(tier.land(0));
    holds(Some(ticket(C)));
    assert!(reader.ready().is_some());
    assert!(tier.land(0));
    holds(None);
    assert!(reader.ready().is_some());
    assert_eq!(tier.land_all(), 1);
}

#[test]
fn a_late_call_can_be_landed_before_an_earlier_one() {
    let (tier, _, store) = stored();
    script(&tier, CallKind::Probe, [Plan::late(), Plan::late()]);
    unanswered(now(store.probe("k", A, LEASE)));
    unanswered(now(store.probe("k", B, LEASE)));
    assert!(tier.land(1));
    assert_eq!(now(store.read("k")), Ok(Some(ticket(B))));
    assert_eq!(tier.land_all(), 1);
    assert_eq!(now(store.read("k")), Ok(Some(ticket(B))));
}

#[test]
fn a_doubled_probe_plants_its_ticket_once_more() {
    let (tier, _, store) = stored();
    script(&tier, CallKind::Probe, [Plan::twice()]);
    assert_eq!(now(store.probe("k", A, LEASE)), Ok(None));
    tier.evict("k");
    assert_eq!(tier.land_all(), 1);
    assert_eq!(now(store.fill("k", A, &value(A, "v"), LIFE)), Ok(Filled::Stored));
}

#[test]
fn a_script_is_told_kind_key_and_instance_of_each_call() {
    let (tier, _) = tier();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    tier.script(move |call: &Call<'_>| {
        log.lock().expect("whole").push((call.kind, call.key.map(str::to_owned), call.instance));
        Plan::go()
    });
    let (stores, lanes) = ([tier.store(None), tier.store(None)], [lane(&tier), lane(&tier)]);
    let mut reader = subscribe(&lanes[1]);
    now(stores[0].probe("p", A, LEASE)).expect("probed");
    now(stores[1].read("r")).expect("read");
    now(stores[0].fill("f", A, &value(A, "v"), LIFE)).expect("refused");
    now(stores[1].claim("c", A, B, LEASE)).expect("not claimed");
    now(stores[0].abandon("a", A, &[])).expect("abandoned");
    now(lanes[0].bump(&keys(&["b"]), Point::default())).expect("bumped");
    now(lanes[1].bump(&keys(&["x", "y"]), Point::default())).expect("bumped");
    now(lanes[0].seize("s", A, LEASE, Point::default())).expect("seized");
    now(reader.check(Point::default())).expect("checked");
    now(reader.table(STATE, Seq(0))).expect("fetched");
    let key = |key: &str| Some(key.to_owned());
    let expected = [
        (CallKind::Subscribe, None, 1),
        (CallKind::Probe, key("p"), 0),
        (CallKind::Read, key("r"), 1),
        (CallKind::Fill, key("f"), 0),
        (CallKind::Claim, key("c"), 1),
        (CallKind::Abandon, key("a"), 0),
        (CallKind::Bump, key("ct:shop:v:b"), 0),
        (CallKind::Deliver, None, 1),
        (CallKind::Bump, None, 1),
        (CallKind::Deliver, None, 1),
        (CallKind::Seize, key("ct:shop:v:s"), 0),
        (CallKind::Deliver, None, 1),
        (CallKind::Check, None, 1),
        (CallKind::Table, None, 1),
    ];
    assert_eq!(*seen.lock().expect("whole"), expected);
}

#[test]
fn a_script_may_use_the_tier() {
    let (tier, _) = tier();
    let (store, lane) = (tier.store(None), lane(&tier));
    let mut reader = subscribe(&lane);
    let inside = tier.clone();
    tier.script(move |_: &Call<'_>| {
        inside.put("seen", b"");
        Plan::go()
    });
    now(store.read("k")).expect("read");
    assert!(tier.evict("seen"));
    now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped");
    assert!(reader.ready().is_some());
    assert!(tier.evict("seen"));
    tier.clear_script();
}

#[test]
fn the_plans_for_one_call_each_come_once_and_in_order() {
    let (tier, _, store) = stored();
    tier.lose_next(CallKind::Probe);
    tier.fail_next(CallKind::Probe);
    tier.lose_reply_next(CallKind::Probe);
    assert_eq!(now(store.read("k")), Ok(None), "of another kind");
    unanswered(now(store.probe("k", A, LEASE)));
    assert!(matches!(now(store.probe("k", A, LEASE)), Err(Fault::Refused(_))));
    assert!(tier.is_empty());
    unanswered(now(store.probe("k", A, LEASE)));
    assert!(tier.holds_ticket("k"));
    assert_eq!(now(store.probe("k", B, LEASE)), Ok(Some(ticket(A))));
}

#[test]
fn a_hang_lasts_until_the_script_is_cleared_and_lets_one_time_faults_before_it() {
    let (tier, _, store) = stored();
    tier.hang(CallKind::Fill);
    tier.fail_next(CallKind::Fill);
    assert!(matches!(now(store.fill("k", A, &value(A, "v"), LIFE)), Err(Fault::Refused(_))));
    for _ in 0..2 {
        assert!(poll(store.fill("k", A, &value(A, "v"), LIFE).as_mut()).is_pending());
    }
    tier.clear_script();
    assert_eq!(now(store.fill("k", A, &value(A, "v"), LIFE)), Ok(Filled::Refused));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_runs_after_its_delay() {
    let (tier, _, store) = stored();
    let delay = Duration::from_millis(100);
    tier.delay(CallKind::Probe, delay);
    let begun = tokio::time::Instant::now();
    {
        let mut call = pin!(store.probe("k", A, LEASE));
        assert!(tokio::time::timeout(Duration::from_millis(99), &mut call).await.is_err());
        assert!(tier.is_empty());
        assert_eq!(call.await, Ok(None));
    }
    assert_eq!(begun.elapsed(), delay);
    tier.delay(CallKind::Probe, Duration::ZERO);
    assert!(store.probe("k", A, LEASE).await.is_ok());
    assert_eq!(begun.elapsed(), delay, "the later delay has taken the place of the first");
}
