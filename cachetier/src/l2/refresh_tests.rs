//! What the lease of a value gives the right to, and what takes that right away: the same for every tier.

use std::time::Duration;

use super::lane::Lane;
use super::{Claimed, Filled, Leased, Store};
use crate::error::Fault;
use crate::rule::seq::{Era, Seq, Token};
use crate::rule::stamp::Stamp;
use crate::wire::envelope::{Head, MUTABLE, Writer, mutable, open};

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn stamp(number: u8) -> Stamp {
    Stamp([number; Stamp::LEN])
}

fn head(created: u64) -> Head {
    let born = Token { era: Era(7), seq: Seq(9) };
    Head { codec: 1, created, soft: 60_000, hard: 3_600_000, born, ..Head::default() }
}

/// A value of this stamp that was created then.
pub(crate) fn value(number: u8, created: u64, payload: &str) -> Vec<u8> {
    let mut writer = Writer::begin(stamp(number), &head(created), &[], None).unwrap();
    writer.payload().extend_from_slice(payload.as_bytes());
    writer.finish()
}

async fn plant(store: &dyn Store, key: &str, value: &[u8], by: Stamp) {
    assert_eq!(store.probe(key, by, HOUR).await, Ok(None));
    assert_eq!(store.fill(key, by, value, HOUR).await, Ok(Filled::Stored));
}

async fn until(store: &dyn Store, key: &str, seen: u8, own: u32, time: Duration) -> u32 {
    match store.lease(key, stamp(seen), own, time).await {
        Ok(Leased::Until(until)) => until,
        other => panic!("no lease: {other:?}"),
    }
}

/// `now` is the tier's clock, and goes on at most a minute meanwhile.
pub(crate) async fn a_lease_is_one_holders_until_it_is_over(store: &dyn Store, now: u64) {
    let lease = |seen, own, time| async move { store.lease("k", stamp(seen), own, time).await };
    assert_eq!(lease(1, 0, HOUR).await, Ok(Leased::Moved), "nothing is there");
    let whole = value(1, now - 1_000, "seven");
    plant(store, "k", &whole, stamp(1)).await;
    assert_eq!(lease(2, 0, HOUR).await, Ok(Leased::Moved), "another value is there");

    let first = until(store, "k", 1, 0, HOUR).await;
    assert!((3_601_000..=3_661_000).contains(&first), "{first}");
    // Nobody else gets it, gives it back or lengthens it; who has it does.
    for own in [0, first - 1, first + 1] {
        for time in [HOUR, Duration::ZERO] {
            assert_eq!(lease(1, own, time).await, Ok(Leased::Not), "{own} {time:?}");
        }
    }
    let second = until(store, "k", 1, first, 2 * HOUR).await;
    assert!((7_201_000..=7_261_000).contains(&second), "{second}");
    assert_eq!(lease(1, first, HOUR).await, Ok(Leased::Not), "it is over later now");
    let held = store.read("k").await.unwrap().unwrap();
    let opened = open(&held).unwrap();
    assert_eq!((opened.head, opened.payload), (Head { refresh: second, ..head(now - 1_000) }, &b"seven"[..]));
    assert_eq!(lease(1, second, Duration::ZERO).await, Ok(Leased::Not));
    assert_eq!(store.read("k").await, Ok(Some(whole)), "given back, it has left no trace");

    // One that is over is anybody's; and where it began does not matter for how long it lasts at most.
    let old = Writer::begin(stamp(3), &Head { refresh: 60_000, ..head(now - 120_000) }, &[], None).unwrap().finish();
    plant(store, "old", &old, stamp(3)).await;
    let longest = until(store, "old", 3, 0, Duration::from_secs(u32::MAX.into())).await;
    assert_eq!(longest, u32::MAX);
    let ahead = value(4, now + 120_000, "from the future");
    plant(store, "ahead", &ahead, stamp(4)).await;
    let taken = until(store, "ahead", 4, 0, MINUTE).await;
    assert_eq!(taken, 60_000);
    assert_eq!(store.lease("ahead", stamp(4), 0, MINUTE).await, Ok(Leased::Not));
}

pub(crate) async fn who_refreshes_puts_the_new_value_in_the_place_of_the_old_one_alone(store: &dyn Store, now: u64) {
    for (key, payload) in [("small", "new".to_owned()), ("large", "new".repeat(1_000))] {
        plant(store, key, &value(1, now, "old"), stamp(1)).await;
        until(store, key, 1, 0, MINUTE).await;
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
        assert_eq!(store.lease(key, stamp(2), 0, MINUTE).await, Ok(Leased::Moved));
        store.abandon(key, stamp(3)).await.unwrap();
        assert_eq!(store.refill(key, stamp(2), &value(4, now, "late"), HOUR).await, Ok(Filled::Refused));
        assert_eq!(store.read(key).await, Ok(None));
    }
}

pub(crate) async fn a_value_lives_anew_as_it_stands_there(store: &dyn Store, now: u64) {
    let payload = "seven".repeat(1_000);
    plant(store, "k", &value(1, now, &payload), stamp(1)).await;
    until(store, "k", 1, 0, MINUTE).await;
    let later = Head { soft: 120_000, born: Token { era: Era(8), seq: Seq(10) }, ..head(now + 5) };
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
    assert_eq!(store.lease("k", stamp(1), 0, MINUTE).await, Ok(Leased::Moved));
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
        assert_eq!(store.lease(key, stamp(1), 0, MINUTE).await, Ok(Leased::Moved));
        assert_eq!(store.read(key).await, Ok(Some(bytes.to_vec())));
    }
    list("list").await;
    assert_eq!(store.lease("list", stamp(1), 0, MINUTE).await, Err(Fault::Foreign));
    assert_eq!(store.refill("list", stamp(1), &whole, MINUTE).await, Err(Fault::Foreign));
    assert_eq!(store.renew("list", stamp(1), stamp(2), &header, MINUTE).await, Err(Fault::Foreign));
}

/// `name` is what the tier calls the key `k`.
pub(crate) async fn what_is_expired_stays_under_another_stamp(store: &dyn Store, lane: &dyn Lane, name: &str, now: u64) {
    let floor = Token { era: Era(0), seq: Seq(0) };
    plant(store, name, &value(1, now, "old"), stamp(1)).await;
    until(store, name, 1, 0, MINUTE).await;
    let first = lane.expire("k", stamp(2), floor).await.unwrap();
    assert_eq!(first.held, 1);
    let held = store.read(name).await.unwrap().unwrap();
    let opened = open(&held).unwrap();
    assert_eq!((opened.stamp, opened.head, opened.payload), (stamp(2), Head { expired: true, ..head(now) }, &b"old"[..]));
    // What was under way is refused, as after any mutation; and what comes after takes its place.
    assert_eq!(store.refill(name, stamp(1), &value(3, now, "late"), HOUR).await, Ok(Filled::Refused));
    until(store, name, 2, 0, MINUTE).await;
    assert_eq!(store.refill(name, stamp(2), &value(4, now, "new"), HOUR).await, Ok(Filled::Stored));

    // A ticket goes: its load began before.
    store.claim(name, stamp(4), stamp(5), HOUR).await.unwrap();
    let second = lane.expire("k", stamp(6), first.token).await.unwrap();
    assert_eq!((second.held, store.read(name).await), (0, Ok(None)));
    assert!(second.token.seq > first.token.seq && second.token.era == first.token.era);
    assert_eq!(store.fill(name, stamp(5), &value(5, now, "late"), HOUR).await, Ok(Filled::Refused));
    assert_eq!(lane.expire("k", stamp(7), second.token).await.unwrap().held, 0);
}

pub(crate) async fn what_is_no_value_goes_when_it_is_expired(
    store: &dyn Store,
    lane: &dyn Lane,
    name: &str,
    put: impl AsyncFn(&str, &[u8]),
    list: impl AsyncFn(&str),
) {
    let floor = Token { era: Era(0), seq: Seq(0) };
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
