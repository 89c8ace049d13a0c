//! What the lease of a value gives the right to, and what takes that right away: the same for every tier.

use std::time::Duration;

use super::lane::Lane;
use super::{Claimed, Filled, LeaseCall, Leased, Store};
use crate::error::Fault;
use crate::rule::seq::{Era, Point, Seq};
use crate::rule::stamp::Stamp;
use crate::wire::envelope::{Head, MUTABLE, Writer, mutable, open};

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn stamp(number: u8) -> Stamp {
    Stamp([number; Stamp::LEN])
}

fn head(created: u64) -> Head {
    let born = Point { era: Era(7), seq: Seq(9) };
    Head { codec: 1, created, soft: 60_000, hard: u32::MAX, born, ..Head::default() }
}

/// A value of this stamp that was created then.
pub(crate) fn value(number: u8, created: u64, payload: &str) -> Vec<u8> {
    written(number, &head(created), payload)
}

fn written(number: u8, head: &Head, payload: &str) -> Vec<u8> {
    let mut writer = Writer::begin(stamp(number), head, &[], None).unwrap();
    writer.payload().extend_from_slice(payload.as_bytes());
    writer.finish()
}

async fn plant(store: &dyn Store, key: &str, value: &[u8], by: Stamp) {
    assert_eq!(store.probe(key, by, HOUR).await, Ok(None));
    assert_eq!(store.fill(key, by, value, HOUR).await, Ok(Filled::Stored));
}

/// Who asks for leases here: two of them, and nobody else.
const US: u8 = 7;
const OTHERS: u8 = 255;

async fn take(store: &dyn Store, key: &str, seen: u8) {
    assert_eq!(store.lease(key, stamp(seen), US, LeaseCall::Take(MINUTE)).await, Ok(Leased::Yes));
}

/// When the lease of the value is over, counted from when it was created, and who has it.
async fn lease_of(store: &dyn Store, key: &str) -> (u32, u8) {
    let held = store.read(key).await.unwrap().unwrap();
    let refresh = open(&held).unwrap().head.refresh;
    (refresh & !0xff, refresh.to_be_bytes()[3])
}

/// `now` is the tier's clock, and goes on at most a minute meanwhile.
pub(crate) async fn a_lease_that_the_value_would_not_outlive_is_not_taken(store: &dyn Store, now: u64) {
    let ending = Head { hard: 10 * 60_000, ..head(now) };
    plant(store, "k", &written(1, &ending, "seven"), stamp(1)).await;
    let lease = |who, call| async move { store.lease("k", stamp(1), who, call).await };
    assert_eq!(lease(US, LeaseCall::Take(11 * MINUTE)).await, Ok(Leased::Ending));
    assert_eq!(lease_of(store, "k").await, (0, 0), "it is nobody's");
    assert_eq!(lease(US, LeaseCall::Take(MINUTE)).await, Ok(Leased::Yes));
    assert_eq!(lease(OTHERS, LeaseCall::Take(11 * MINUTE)).await, Ok(Leased::Not), "it is somebody's");
    // Who has it keeps it for as long as there is something.
    assert_eq!(lease(US, LeaseCall::Lengthen(11 * MINUTE)).await, Ok(Leased::Yes));
}

/// `now` is the tier's clock, and goes on at most a minute meanwhile.
pub(crate) async fn a_lease_is_one_holders_until_it_is_over(store: &dyn Store, now: u64) {
    let lease = |seen, who, call| async move { store.lease("k", stamp(seen), who, call).await };
    let (hour, longer) = (LeaseCall::Take(HOUR), LeaseCall::Lengthen(2 * HOUR));
    for call in [hour, longer, LeaseCall::GiveBack] {
        assert_eq!(lease(1, US, call).await, Ok(Leased::Moved), "nothing is there");
    }
    let whole = value(1, now - 1_000, "seven");
    plant(store, "k", &whole, stamp(1)).await;
    assert_eq!(lease(2, US, hour).await, Ok(Leased::Moved), "another value is there");
    assert_eq!(lease(1, US, LeaseCall::GiveBack).await, Ok(Leased::Not));

    assert_eq!(lease(1, US, hour).await, Ok(Leased::Yes));
    let (until, who) = lease_of(store, "k").await;
    assert!((3_601_000..=3_661_256).contains(&until) && who == US, "{until} {who}");
    // Nobody else gets it, gives it back or lengthens it; who has it does, however often.
    for call in [hour, longer, LeaseCall::GiveBack] {
        assert_eq!(lease(1, OTHERS, call).await, Ok(Leased::Not), "{call:?}");
    }
    assert_eq!(lease(1, US, hour).await, Ok(Leased::Not), "nor is it taken by one of the same number");
    for _ in 0..2 {
        assert_eq!(lease(1, US, longer).await, Ok(Leased::Yes));
        let (until, who) = lease_of(store, "k").await;
        assert!((7_201_000..=7_261_256).contains(&until) && who == US, "{until} {who}");
    }
    let held = store.read("k").await.unwrap().unwrap();
    let opened = open(&held).unwrap();
    let refresh = opened.head.refresh;
    assert_eq!((opened.head, opened.payload), (Head { refresh, ..head(now - 1_000) }, &b"seven"[..]));
    for _ in 0..2 {
        assert_eq!(lease(1, US, LeaseCall::GiveBack).await, Ok(Leased::Not));
        assert_eq!(store.read("k").await, Ok(Some(whole.clone())), "given back, it has left no trace");
    }
    assert_eq!(lease(1, OTHERS, hour).await, Ok(Leased::Yes));

    // One that is over is anybody's; and where it began does not matter for how long it lasts at most.
    let old = Writer::begin(stamp(3), &Head { refresh: 60_000, ..head(now - 120_000) }, &[], None).unwrap().finish();
    plant(store, "old", &old, stamp(3)).await;
    take(store, "old", 3).await;
    let ever = LeaseCall::Lengthen(Duration::from_secs(u32::MAX.into()));
    assert_eq!(store.lease("old", stamp(3), US, ever).await, Ok(Leased::Yes));
    assert_eq!(lease_of(store, "old").await, (0xffff_ff00, US));
    let ahead = value(4, now + 120_000, "from the future");
    plant(store, "ahead", &ahead, stamp(4)).await;
    take(store, "ahead", 4).await;
    assert_eq!(lease_of(store, "ahead").await, (60_160, US));
    assert_eq!(store.lease("ahead", stamp(4), OTHERS, hour).await, Ok(Leased::Not));
}

pub(crate) async fn who_refreshes_puts_the_new_value_in_the_place_of_the_old_one_alone(store: &dyn Store, now: u64) {
    for (key, payload) in [("small", "new".to_owned()), ("large", "new".repeat(1_000))] {
        plant(store, key, &value(1, now, "old"), stamp(1)).await;
        take(store, key, 1).await;
        let new = value(2, now, &payload);
        assert_eq!(store.refill(key, stamp(9), &new, HOUR).await, Ok(Filled::Refused));
        assert_eq!(store.fill(key, stamp(1), &new, HOUR).await, Ok(Filled::Refused), "no ticket is there");
        assert_eq!(store.read(key).await.unwrap().unwrap().last(), Some(&b'd'));
        for _ in 0..2 {
            assert_eq!(store.refill(key, stamp(1), &new, HOUR).await, Ok(Filled::Stored));
        }
        assert_eq!(store.read(key).await, Ok(Some(new.clone())), "without the lease of the old one");
        // What has gone meanwhile is not brought back.
        assert_eq!(store.claim(key, stamp(2), stamp(3), HOUR).await, Ok(Claimed::Yes));
        assert_eq!(store.refill(key, stamp(2), &value(4, now, "late"), HOUR).await, Ok(Filled::Refused));
        assert_eq!(store.lease(key, stamp(2), US, LeaseCall::Take(MINUTE)).await, Ok(Leased::Moved));
        store.abandon(key, stamp(3), &[]).await.unwrap();
        assert_eq!(store.refill(key, stamp(2), &value(4, now, "late"), HOUR).await, Ok(Filled::Refused));
        assert_eq!(store.read(key).await, Ok(None));
    }
}

pub(crate) async fn a_value_lives_anew_as_it_stands_there(store: &dyn Store, now: u64) {
    let payload = "seven".repeat(1_000);
    plant(store, "k", &value(1, now, &payload), stamp(1)).await;
    take(store, "k", 1).await;
    let later = Head { soft: 120_000, born: Point { era: Era(8), seq: Seq(10) }, ..head(now + 5) };
    let header = mutable(&later).unwrap();
    assert_eq!(header.len(), MUTABLE.len());
    assert_eq!(store.renew("k", stamp(9), stamp(2), &header, HOUR).await, Ok(Filled::Refused));
    for _ in 0..2 {
        assert_eq!(store.renew("k", stamp(1), stamp(2), &header, HOUR).await, Ok(Filled::Stored));
    }
    let held = store.read("k").await.unwrap().unwrap();
    let opened = open(&held).unwrap();
    assert_eq!((opened.stamp, opened.head, opened.payload), (stamp(2), later, payload.as_bytes()));
    // Under the old stamp nobody does anything to it.
    assert_eq!(store.refill("k", stamp(1), &value(3, now, "late"), HOUR).await, Ok(Filled::Refused));
    assert_eq!(store.renew("k", stamp(1), stamp(3), &header, HOUR).await, Ok(Filled::Refused));
    assert_eq!(store.lease("k", stamp(1), US, LeaseCall::Take(MINUTE)).await, Ok(Leased::Moved));
    assert_eq!(store.renew("none", stamp(1), stamp(2), &header, HOUR).await, Ok(Filled::Refused));
    assert_eq!(store.read("none").await, Ok(None));
}

pub(crate) async fn what_is_foreign_or_cut_short_is_left_alone(
    store: &dyn Store,
    put: impl AsyncFn(&str, &[u8]),
    list: impl AsyncFn(&str),
) {
    let header = mutable(&head(1)).unwrap();
    let whole = value(1, 1, "x");
    for (key, bytes) in [("text", &b"text"[..]), ("cut", &whole[..39]), ("bare", &whole[..17])] {
        put(key, bytes).await;
        assert_eq!(store.lease(key, stamp(1), US, LeaseCall::Take(MINUTE)).await, Ok(Leased::Moved));
        assert_eq!(store.read(key).await, Ok(Some(bytes.to_vec())));
    }
    list("list").await;
    assert_eq!(store.lease("list", stamp(1), US, LeaseCall::Take(MINUTE)).await, Err(Fault::Foreign));
    assert_eq!(store.refill("list", stamp(1), &whole, MINUTE).await, Err(Fault::Foreign));
    assert_eq!(store.renew("list", stamp(1), stamp(2), &header, MINUTE).await, Err(Fault::Foreign));
}

/// `name` is what the tier calls the key `k`.
pub(crate) async fn what_is_expired_stays_under_another_stamp(store: &dyn Store, lane: &dyn Lane, name: &str, now: u64) {
    let floor = Point { era: Era(0), seq: Seq(0) };
    plant(store, name, &value(1, now, "old"), stamp(1)).await;
    take(store, name, 1).await;
    let first = lane.expire("k", stamp(2), floor).await.unwrap();
    assert_eq!(first.held, 1);
    let held = store.read(name).await.unwrap().unwrap();
    let opened = open(&held).unwrap();
    assert_eq!((opened.stamp, opened.head, opened.payload), (stamp(2), Head { expired: true, ..head(now) }, &b"old"[..]));
    // What was under way is refused, as after any mutation; and what comes after takes its place.
    assert_eq!(store.refill(name, stamp(1), &value(3, now, "late"), HOUR).await, Ok(Filled::Refused));
    take(store, name, 2).await;
    assert_eq!(store.refill(name, stamp(2), &value(4, now, "new"), HOUR).await, Ok(Filled::Stored));

    // A ticket goes: its load began before.
    store.claim(name, stamp(4), stamp(5), HOUR).await.unwrap();
    let second = lane.expire("k", stamp(6), first.point).await.unwrap();
    assert_eq!((second.held, store.read(name).await), (0, Ok(None)));
    assert!(second.point.seq > first.point.seq && second.point.era == first.point.era);
    assert_eq!(store.fill(name, stamp(5), &value(5, now, "late"), HOUR).await, Ok(Filled::Refused));
    assert_eq!(lane.expire("k", stamp(7), second.point).await.unwrap().held, 0);
}

pub(crate) async fn what_is_no_value_goes_when_it_is_expired(
    store: &dyn Store,
    lane: &dyn Lane,
    name: &str,
    put: impl AsyncFn(&str, &[u8]),
    list: impl AsyncFn(&str),
) {
    let floor = Point { era: Era(0), seq: Seq(0) };
    let mut newer = value(1, 1, "newer");
    newer[17] = 2;
    for bytes in [&b"text"[..], &value(1, 1, "")[..63], &newer] {
        put(name, bytes).await;
        assert_eq!(lane.expire("k", stamp(2), floor).await.map(|expired| expired.held), Ok(0));
        assert_eq!(store.read(name).await, Ok(None));
    }
    list(name).await;
    assert_eq!(lane.expire("k", stamp(2), floor).await.map(|expired| expired.held), Ok(0));
    assert_eq!(store.read(name).await, Ok(None));
    // A hold stays, and is touched.
    lane.hold(&["k".to_owned()], stamp(8), MINUTE, floor).await.unwrap();
    assert_eq!(lane.expire("k", stamp(2), floor).await.map(|expired| expired.held), Ok(0));
    let held = store.read(name).await.unwrap().unwrap();
    assert_eq!((held[0], held[1]), (0xf7, 1));
}
