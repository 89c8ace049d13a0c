//! The lease of a value over a real server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::server::{Server, eventually};
use crate::l2::{LeaseCall, Leased, Store as _, refresh_tests};

#[expect(clippy::disallowed_methods, reason = "a real server keeps the machine's time, not an injected one")]
pub(super) fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test]
async fn a_lease_that_the_value_would_not_outlive_is_not_taken() {
    let server = Server::start().await;
    let (store, _lane) = server.open().await;
    refresh_tests::a_lease_that_the_value_would_not_outlive_is_not_taken(&*store, now()).await;
}

#[tokio::test]
async fn a_lease_is_one_holders_until_it_is_over() {
    let server = Server::start().await;
    let (store, _lane) = server.open().await;
    refresh_tests::a_lease_is_one_holders_until_it_is_over(&*store, now()).await;
    let value = refresh_tests::value(5, now(), "soon");
    server.plain().await.set("soon", &value).await;
    let lease = |who| store.lease("soon", refresh_tests::stamp(5), who, LeaseCall::Take(Duration::from_millis(20)));
    assert_eq!(lease(1).await, Ok(Leased::Yes));
    eventually("it is over", async || lease(2).await == Ok(Leased::Yes)).await;
}

#[tokio::test]
async fn who_refreshes_puts_the_new_value_in_the_place_of_the_old_one_alone() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    refresh_tests::who_refreshes_puts_the_new_value_in_the_place_of_the_old_one_alone(&*store, now()).await;
    let left: Vec<String> = plain.say("KEYS *").await;
    assert!(!left.iter().any(|name| name.contains('#')), "{left:?}");
}

#[tokio::test]
async fn a_value_lives_anew_as_it_stands_there() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    refresh_tests::a_value_lives_anew_as_it_stands_there(&*store, now()).await;
    assert!((3_590_000..=3_600_000).contains(&plain.life("k").await));
    // A lease leaves the life of the value.
    plain.say::<()>("PEXPIRE k 100000").await;
    store.lease("k", refresh_tests::stamp(2), 9, LeaseCall::Take(Duration::from_secs(500))).await.unwrap();
    assert!(plain.life("k").await <= 100_000);
}

#[tokio::test]
async fn what_is_foreign_or_cut_short_is_left_alone() {
    let server = Server::start().await;
    let (store, _lane) = server.open().await;
    let put = async |key: &str, bytes: &[u8]| server.plain().await.set(key, bytes).await;
    let list = async |key: &str| server.plain().await.say::<()>(&format!("LPUSH {key} x")).await;
    refresh_tests::what_is_foreign_or_cut_short_is_left_alone(&*store, put, list).await;
}

const NAME: &str = "ct:shop:v:k";

#[tokio::test]
async fn what_is_expired_stays_under_another_stamp() {
    let server = Server::start().await;
    let (store, lane) = server.open().await;
    refresh_tests::what_is_expired_stays_under_another_stamp(&*store, &*lane, NAME, now()).await;
}

#[tokio::test]
async fn what_is_no_value_goes_when_it_is_expired() {
    let server = Server::start().await;
    let (store, lane) = server.open().await;
    let put = async |key: &str, bytes: &[u8]| server.plain().await.set(key, bytes).await;
    let list = async |key: &str| server.plain().await.say::<()>(&format!("LPUSH {key} x")).await;
    refresh_tests::what_is_no_value_goes_when_it_is_expired(&*store, &*lane, NAME, put, list).await;
}
