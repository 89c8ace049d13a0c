//! Values by key: what a ticket gives the right to, and what takes that right away.

use std::time::Duration;

use super::server::{HELD, LEASE, Plain, Server, eventually, stamp, ticket, value};
use crate::error::Fault;
use crate::l2::many::{Claim, Fill, Seen, Standing};
use crate::l2::{Claimed, Filled, Store as _};

const KEY: &str = "ct:shop:v:user:7";
const LIFE: Duration = Duration::from_secs(60);

/// One that a script is handed, and one that lies beside its key first.
fn payloads() -> [String; 2] {
    ["seven".to_owned(), "seven".repeat(1_000)]
}

/// What lies beside a key.
async fn beside(plain: &mut Plain) -> Vec<String> {
    plain.say("KEYS *#*").await
}

fn lasts(life: i64, whole: Duration) -> bool {
    let whole = i64::try_from(whole.as_millis()).unwrap();
    (whole - 10_000..=whole).contains(&life)
}

#[tokio::test]
async fn a_probe_plants_its_ticket_only_where_there_is_nothing() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    assert_eq!(store.probe(KEY, stamp(1), LEASE).await, Ok(None));
    assert_eq!(plain.get(KEY).await, Some(ticket(1)));
    assert!(lasts(plain.life(KEY).await, LEASE));
    assert_eq!(store.probe(KEY, stamp(2), LEASE).await, Ok(Some(ticket(1))), "another's ticket is shown, not replaced");
    assert_eq!(plain.get(KEY).await, Some(ticket(1)));
}

#[tokio::test]
async fn a_read_plants_nothing() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    assert_eq!(store.read(KEY).await, Ok(None));
    assert_eq!(plain.get(KEY).await, None);
    plain.set(KEY, &value(1, "seven")).await;
    assert_eq!(store.read(KEY).await, Ok(Some(value(1, "seven"))));
}

#[tokio::test]
async fn a_fill_swaps_the_ticket_for_the_value_and_may_come_twice() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    for payload in payloads() {
        plain.ask::<()>(&[b"DEL", KEY.as_bytes()]).await;
        store.probe(KEY, stamp(1), LEASE).await.unwrap();
        for _ in 0..2 {
            assert_eq!(store.fill(KEY, stamp(1), &value(1, &payload), LIFE).await, Ok(Filled::Stored));
            assert_eq!(plain.get(KEY).await, Some(value(1, &payload)));
            assert!(lasts(plain.life(KEY).await, LIFE));
            assert!(beside(&mut plain).await.is_empty());
        }
        assert_eq!(store.probe(KEY, stamp(2), LEASE).await, Ok(Some(value(1, &payload))));
        assert!(lasts(plain.life(KEY).await, LIFE), "a probe leaves the life of what it finds");
    }
}

#[tokio::test]
async fn a_fill_finds_its_ticket_in_front_of_the_ids_of_those_who_wait() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    for payload in payloads() {
        plain.set(KEY, &[ticket(1), vec![9; 32]].concat()).await;
        assert_eq!(store.fill(KEY, stamp(1), &value(1, &payload), LIFE).await, Ok(Filled::Stored));
        assert_eq!(plain.get(KEY).await, Some(value(1, &payload)));
    }
}

#[tokio::test]
async fn a_fill_is_refused_once_its_ticket_is_deleted_replaced_or_held_over() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    for now in [None, Some(ticket(2)), Some(value(2, "newer")), Some(HELD.to_vec()), Some(b"foreign".to_vec()), Some(Vec::new())] {
        plain.ask::<()>(&[b"DEL", KEY.as_bytes()]).await;
        store.probe(KEY, stamp(1), LEASE).await.unwrap();
        match &now {
            Some(bytes) => plain.set(KEY, bytes).await,
            None => plain.ask(&[b"DEL", KEY.as_bytes()]).await,
        }
        for payload in payloads() {
            assert_eq!(store.fill(KEY, stamp(1), &value(1, &payload), LIFE).await, Ok(Filled::Refused), "{now:?}");
            assert_eq!(plain.get(KEY).await.unwrap_or_default(), now.clone().unwrap_or_default());
            assert!(beside(&mut plain).await.is_empty(), "what was refused lies beside the key");
        }
    }
}

#[tokio::test]
async fn a_fill_is_refused_once_its_ticket_has_expired() {
    let server = Server::start().await;
    let (store, _lane) = server.open().await;
    // A lease of less than a millisecond is rounded up to one the server accepts.
    store.probe(KEY, stamp(1), Duration::from_nanos(1)).await.unwrap();
    eventually("the ticket expires", async || store.read(KEY).await == Ok(None)).await;
    assert_eq!(store.fill(KEY, stamp(1), &value(1, "old"), LIFE).await, Ok(Filled::Refused));
    assert_eq!(store.read(KEY).await, Ok(None));
}

#[tokio::test]
async fn the_longest_life_is_accepted() {
    let server = Server::start().await;
    let (store, _lane) = server.open().await;
    store.probe(KEY, stamp(1), Duration::MAX).await.unwrap();
    assert_eq!(store.fill(KEY, stamp(1), &value(1, "seven"), Duration::MAX).await, Ok(Filled::Stored));
}

#[tokio::test]
async fn a_claim_swaps_just_the_value_it_has_seen() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    plain.set(KEY, &value(1, "corrupt")).await;
    assert_eq!(store.claim(KEY, stamp(2), stamp(3), LEASE).await, Ok(Claimed::No));
    assert_eq!(plain.get(KEY).await, Some(value(1, "corrupt")));
    assert_eq!(store.claim(KEY, stamp(1), stamp(3), LEASE).await, Ok(Claimed::Yes));
    assert_eq!(plain.get(KEY).await, Some(ticket(3)));
    assert!(lasts(plain.life(KEY).await, LEASE));
    assert_eq!(store.claim(KEY, stamp(1), stamp(4), LEASE).await, Ok(Claimed::No), "of two who saw it one wins");
    for held in [None, Some(ticket(1)), Some(HELD.to_vec())] {
        plain.ask::<()>(&[b"DEL", KEY.as_bytes()]).await;
        if let Some(bytes) = &held {
            plain.set(KEY, bytes).await;
        }
        assert_eq!(store.claim(KEY, stamp(1), stamp(3), LEASE).await, Ok(Claimed::No), "{held:?}");
        assert_eq!(plain.get(KEY).await, held);
    }
}

#[tokio::test]
async fn an_abandoned_ticket_is_gone_and_nothing_else_is() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    for kept in [ticket(2), value(1, "filled"), HELD.to_vec(), b"foreign".to_vec()] {
        plain.set(KEY, &kept).await;
        assert_eq!(store.abandon(KEY, stamp(1), &[]).await, Ok(()));
        assert_eq!(plain.get(KEY).await, Some(kept));
    }
    for given_back in [ticket(1), [ticket(1), vec![9; 16]].concat()] {
        plain.set(KEY, &given_back).await;
        assert_eq!(store.abandon(KEY, stamp(1), &[]).await, Ok(()));
        assert_eq!(plain.get(KEY).await, None);
    }
    assert_eq!(store.abandon(KEY, stamp(1), &[]).await, Ok(()), "twice is once");
}

#[tokio::test]
async fn an_extended_ticket_lives_for_another_lease_and_nothing_else_does() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    assert_eq!(store.extend(KEY, stamp(1), LEASE).await, Ok(()));
    assert_eq!(plain.get(KEY).await, None, "what has ended stays so");
    for (now, extended) in [
        (ticket(1), true),
        ([ticket(1), vec![9; 32]].concat(), true),
        (ticket(2), false),
        (value(1, "seven"), false),
        (HELD.to_vec(), false),
        (b"foreign".to_vec(), false),
    ] {
        plain.ask::<()>(&[b"SET", KEY.as_bytes(), &now, b"PX", b"10000"]).await;
        assert_eq!(store.extend(KEY, stamp(1), LEASE).await, Ok(()));
        assert_eq!(plain.life(KEY).await > 10_000, extended, "{now:?}");
        assert_eq!(plain.get(KEY).await, Some(now));
    }
}

#[tokio::test]
async fn a_key_of_another_type_is_foreign_to_every_verb() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    plain.ask::<()>(&[b"RPUSH", KEY.as_bytes(), b"a queue"]).await;
    assert_eq!(store.probe(KEY, stamp(1), LEASE).await, Err(Fault::Foreign));
    assert_eq!(store.read(KEY).await, Err(Fault::Foreign));
    assert_eq!(store.fill(KEY, stamp(1), &value(1, "x"), LIFE).await, Err(Fault::Foreign));
    assert_eq!(store.claim(KEY, stamp(1), stamp(2), LEASE).await, Err(Fault::Foreign));
    assert_eq!(store.abandon(KEY, stamp(1), &[]).await, Err(Fault::Foreign));
    assert_eq!(plain.ask::<usize>(&[b"LLEN", KEY.as_bytes()]).await, 1);
}

#[tokio::test]
async fn a_full_server_reads_claims_and_abandons_but_keeps_nothing_new() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    plain.set("value", &value(1, "here")).await;
    plain.set("ticket", &ticket(2)).await;
    plain.say::<()>("CONFIG SET maxmemory 1").await;
    assert_eq!(store.probe("value", stamp(9), LEASE).await, Ok(Some(value(1, "here"))));
    let full = |fault: &Fault| matches!(fault, Fault::Refused(why) if why.starts_with("OOM"));
    let absent = store.probe("absent", stamp(9), LEASE).await;
    assert!(matches!(&absent, Err(Fault::Full(why)) if why.starts_with("OOM")), "{absent:?}");
    let [small, large] = payloads();
    assert!(store.fill("ticket", stamp(2), &value(2, &small), LIFE).await.is_err_and(|fault| full(&fault)));
    // A server before 7.0 lets a script look for what was refused a place beside its key.
    let unfilled = store.fill("ticket", stamp(2), &value(2, &large), LIFE).await;
    assert!(matches!(&unfilled, Err(Fault::Refused(why)) if why.starts_with("OOM") || why.contains("no such key")), "{unfilled:?}");
    assert!(beside(&mut plain).await.is_empty());
    assert_eq!(store.abandon("ticket", stamp(2), &[]).await, Ok(()));
    assert_eq!(store.claim("value", stamp(1), stamp(3), LEASE).await, Ok(Claimed::Yes));
    assert_eq!(plain.get("ticket").await, None);
    assert_eq!(plain.get("value").await, Some(ticket(3)));
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_is_sent_them_again() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    for _ in 0..2 {
        plain.set(KEY, &value(1, "corrupt")).await;
        assert_eq!(store.claim(KEY, stamp(1), stamp(2), LEASE).await, Ok(Claimed::Yes));
        for payload in payloads() {
            plain.set(KEY, &ticket(2)).await;
            assert_eq!(store.fill(KEY, stamp(2), &value(2, &payload), LIFE).await, Ok(Filled::Stored));
        }
        plain.set(KEY, &ticket(3)).await;
        assert_eq!(store.abandon(KEY, stamp(3), &[]).await, Ok(()));
        plain.say::<()>("SCRIPT FLUSH").await;
    }
}

#[tokio::test]
async fn a_refusal_repeats_neither_keys_nor_more_than_a_line() {
    let server = Server::start_with(&["--rename-command", "GET", ""]).await;
    let (store, _lane) = server.open().await;
    let Err(Fault::Refused(why)) = store.read("user:secret@example.org").await else { panic!("GET is not known") };
    assert!(why.starts_with("ERR unknown command"), "{why}");
    assert!(!why.contains("secret"), "{why}");
    assert!(why.len() <= 200, "{why}");
}

#[tokio::test]
async fn calls_for_many_keys_answer_each_for_itself() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    let [a, b, c, d] = ["ct:shop:v:a", "ct:shop:v:b", "ct:shop:v:c", "ct:shop:v:d"];
    plain.set(a, &value(1, "one")).await;
    plain.ask::<()>(&[b"LPUSH", d.as_bytes(), b"x"]).await;
    // `MGET` does not tell a list from nothing; a probe does.
    assert_eq!(store.read_many(&[a, b, c, d]).await, [Ok(Some(value(1, "one"))), Ok(None), Ok(None), Ok(None)]);
    let planted = |name, at| Standing { name, ticket: stamp(at) };
    let probed = store.probe_many(&[planted(b, 2), planted(a, 3), planted(d, 4), planted(c, 5)], LEASE).await;
    assert_eq!(probed, [Ok(None), Ok(Some(value(1, "one"))), Err(Fault::Foreign), Ok(None)]);

    let [small, large] = payloads();
    let (small, large, none) = (value(2, &small), value(5, &large), value(9, "none"));
    let fill = |name, at, value| Fill { name, seen: Seen::Ticket(stamp(at)), value, life: LIFE };
    // The server knows none of the scripts: each kind is told once.
    let filled = store.fill_many(&[fill(b, 2, &small), fill(c, 5, &large), fill(a, 9, &none), fill(d, 4, &none)]).await;
    assert_eq!(filled, [Ok(Filled::Stored), Ok(Filled::Stored), Ok(Filled::Refused), Err(Fault::Foreign)]);
    assert_eq!((plain.get(b).await, plain.get(c).await, plain.get(a).await), (Some(small), Some(large), Some(value(1, "one"))));
    assert!(lasts(plain.life(c).await, LIFE) && beside(&mut plain).await.is_empty());

    let claim = |name, seen, at| Claim { name, seen: stamp(seen), ticket: stamp(at) };
    let claimed = store.claim_many(&[claim(b, 7, 8), claim(a, 1, 6)], LEASE).await;
    assert_eq!(claimed, [Ok(Claimed::No), Ok(Claimed::Yes)]);
    assert_eq!(plain.get(a).await, Some(ticket(6)));
    assert_eq!(store.extend_many(&[planted(a, 6), planted(b, 6)], 2 * LEASE).await, [Ok(()), Ok(())]);
    assert!(lasts(plain.life(a).await, 2 * LEASE) && lasts(plain.life(b).await, LIFE));
    assert_eq!(store.abandon_many(&[planted(b, 6), planted(a, 6)]).await, [Ok(()), Ok(())]);
    assert_eq!((plain.get(a).await, plain.get(b).await.is_some()), (None, true));
}
