//! Each fault of a message: what arrives, when and in which order, and what it does to the answers behind it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::Fault;

#[test]
fn a_reader_that_comes_while_the_script_is_asked_is_asked_about_too() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let _first = subscribe(&lane);
    let newcomer = Arc::new(Mutex::new(None));
    let asked = Arc::new(AtomicUsize::new(0));
    let (slot, count, second) = (Arc::clone(&newcomer), Arc::clone(&asked), Arc::clone(&lane));
    tier.script(move |call: &Call<'_>| {
        if call.kind == CallKind::Deliver && count.fetch_add(1, Ordering::Relaxed) == 0 {
            *slot.lock().expect("whole") = Some(subscribe(&second));
        }
        if call.kind == CallKind::Deliver { Plan::lost() } else { Plan::go() }
    });
    now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let mut second = newcomer.lock().expect("whole").take().expect("subscribed");
    assert_eq!(second.ready(), None);
    tier.clear_script();
}

#[test]
fn script_calls_is_not_asked_about_messages() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    tier.script_calls(|call: &Call<'_>| if call.kind == CallKind::Deliver { Plan::lost() } else { Plan::go() });
    now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped");
    assert!(reader.ready().is_some());
}

#[test]
fn a_lost_message_shows_as_a_gap() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    script(&tier, CallKind::Deliver, [Plan::go(), Plan::lost(), Plan::go()]);
    let seqs = [(); 3].map(|()| now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point.seq);
    assert_eq!(head(&reader.ready().expect("the first")).2, seqs[0]);
    let (_, previous, seq) = head(&reader.ready().expect("the third"));
    assert_eq!((previous, seq), (seqs[1], seqs[2]));
    assert_eq!(reader.ready(), None);
}

#[test]
fn a_lost_last_message_shows_in_the_check() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    tier.lose_next(CallKind::Deliver);
    assert!(reader.proves_for().is_some());
    let point = now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point;
    assert_eq!(now(reader.check(Point::default())).expect("checked").point, point);
    assert_eq!(reader.ready(), None);
}

#[test]
fn a_held_message_holds_what_follows_to_that_subscriber_alone() {
    let (tier, _) = tier();
    let (one, two) = (lane(&tier), lane(&tier));
    let (mut held, mut free) = (subscribe(&one), subscribe(&two));
    let (open, closed) = gate();
    let closed = Mutex::new(Some(closed));
    tier.script(move |call: &Call<'_>| {
        let gate = (call.kind == CallKind::Deliver && call.instance == 0).then(|| closed.lock().expect("whole").take());
        gate.flatten().map_or_else(Plan::go, |gate| Plan::go().after(gate))
    });
    let seqs = [(); 2].map(|()| now(one.bump(&keys(&["k"]), Point::default())).expect("bumped").point.seq);
    for seq in seqs {
        assert_eq!(points(&free.ready().expect("a message")).seq, seq);
    }
    assert_eq!(held.ready(), None);
    let mut next = Box::pin(held.next());
    assert!(poll(next.as_mut()).is_pending());
    drop(next);
    open.send(()).expect("waited for");
    assert_eq!(points(&now(held.next()).expect("a message")).seq, seqs[0], "a dropped call has lost nothing");
    assert_eq!(points(&held.ready().expect("a message")).seq, seqs[1]);
}

#[test]
fn an_answer_does_not_overtake_the_messages_before_it_nor_wait_for_those_behind() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let ((first, one), (_second, two), (answer, reply)) = (gate(), gate(), gate());
    let (deliver, check) = (Mutex::new(vec![Plan::go().after(two), Plan::go().after(one)]), Mutex::new(Some(reply)));
    tier.script(move |call: &Call<'_>| match call.kind {
        CallKind::Deliver => deliver.lock().expect("whole").pop().expect("two messages"),
        CallKind::Check => Plan::go().reply_after(check.lock().expect("whole").take().expect("one check")),
        _ => Plan::go(),
    });
    let seen = now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point;
    {
        let mut call = reader.check(Point::default());
        assert!(poll(call.as_mut()).is_pending());
        now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped");
        answer.send(()).expect("waited for");
        assert!(poll(call.as_mut()).is_pending(), "the first message is held");
        first.send(()).expect("waited for");
        let Poll::Ready(Ok(state)) = poll(call.as_mut()) else { panic!("it waits for the second message") };
        assert_eq!(state.point, seen);
    }
    assert_eq!(points(&reader.ready().expect("arrived before the answer")), seen);
    assert_eq!(reader.ready(), None);
}

#[test]
fn a_dropped_check_loses_no_message() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let (open, closed) = gate();
    script(&tier, CallKind::Deliver, [Plan::go(), Plan::go().after(closed)]);
    let seqs = [(); 2].map(|()| now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point.seq);
    let mut call = reader.check(Point::default());
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    open.send(()).expect("waited for");
    assert_eq!(seqs.map(|_| points(&now(reader.next()).expect("a message")).seq), seqs);
}

#[test]
fn a_subscription_ends_where_its_script_ends_it() {
    let (tier, _) = tier();
    let (one, two) = (lane(&tier), lane(&tier));
    let (mut broken, mut whole) = (subscribe(&one), subscribe(&two));
    script(&tier, CallKind::Deliver, [Plan::go(), Plan::go(), Plan::away()]);
    for _ in 0..2 {
        now(one.bump(&keys(&["k"]), Point::default())).expect("bumped");
    }
    assert!(now(broken.next()).is_ok());
    assert!(matches!(now(broken.next()), Err(Fault::Away(_))));
    assert!(matches!(now(broken.check(Point::default())), Err(Fault::Away(_))));
    assert!(whole.ready().is_some() && whole.ready().is_some());
}

#[test]
fn a_stalled_subscription_neither_delivers_nor_answers() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    tier.hang(CallKind::Deliver);
    now(lane.bump(&keys(&["k"]), Point::default())).expect("the bump itself is answered");
    assert!(poll(pin!(reader.next())).is_pending());
    assert!(poll(reader.check(Point::default()).as_mut()).is_pending());
    assert!(poll(reader.table(STATE, Seq(0)).as_mut()).is_pending());
}

#[test]
fn a_doubled_message_comes_again_when_it_is_landed() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    script(&tier, CallKind::Deliver, [Plan::twice(), Plan::late()]);
    let seqs = [(); 2].map(|()| now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point.seq);
    assert_eq!(points(&reader.ready().expect("a message")).seq, seqs[0]);
    assert_eq!(reader.ready(), None);
    assert_eq!(tier.strays(), 2);
    assert!(tier.land(1));
    assert_eq!(points(&reader.ready().expect("the late one")).seq, seqs[1]);
    assert!(tier.land(0));
    assert_eq!(points(&reader.ready().expect("the doubled one")).seq, seqs[0]);
}

#[tokio::test(start_paused = true)]
async fn delayed_messages_are_delayed_together_and_keep_their_order() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let delay = Duration::from_millis(100);
    tier.delay(CallKind::Deliver, delay);
    let begun = tokio::time::Instant::now();
    let seqs = [(); 2].map(|()| now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point.seq);
    tokio::time::sleep(delay / 2).await;
    for seq in seqs {
        assert_eq!(points(&reader.next().await.expect("a message")).seq, seq);
    }
    assert_eq!(begun.elapsed(), delay);
}

#[tokio::test]
async fn a_waiting_subscriber_is_woken_by_a_message_and_by_its_gate() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let (open, closed) = gate();
    script(&tier, CallKind::Deliver, [Plan::go().after(closed)]);
    let waiting = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    let point = now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point;
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    open.send(()).expect("waited for");
    assert_eq!(points(&waiting.await.expect("no panic").expect("a message")), point);
}

#[tokio::test]
async fn what_has_arrived_is_ready_even_when_the_task_has_used_up_its_turn() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    // Far beyond what a task may receive before the runtime asks it to yield.
    for _ in 0..1_000 {
        now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped");
    }
    now(reader.check(Point::default())).expect("checked");
    assert_eq!(std::iter::from_fn(|| reader.ready()).count(), 1_000);
}

#[test]
fn two_threads_bumping_publish_in_the_order_of_their_seqs() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    tier.script(|_: &Call<'_>| Plan::go());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..500).for_each(|_| assert!(now(lane.bump(&keys(&["k"]), Point::default())).is_ok())));
        }
    });
    let mut applied = Seq(0);
    for _ in 0..1_000 {
        let (_, previous, seq) = head(&reader.ready().expect("a message"));
        assert_eq!(previous, applied);
        applied = seq;
    }
    assert_eq!(reader.ready(), None);
}
