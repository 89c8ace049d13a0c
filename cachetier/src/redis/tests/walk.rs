//! Walks: what they find, what the script deletes, and that a restarted server ends them.

use super::server::{HELD, Plain, Server, stamp, ticket};
use crate::key::TagHash;
use crate::l2::Store as _;
use crate::l2::walk::{Doomed, READ, Selection, Swept, Verdict, Walk};
use crate::rule::glob::Glob;
use crate::rule::seq::{Era, Point, Seq};
use crate::wire::envelope::{Head, Writer};

const HEAD: &str = "ct:shop:v:";
const POINT: Point = Point { era: Era(7), seq: Seq(1 << 50) };
const TAG: TagHash = TagHash(0xffee_ddcc_bbaa_0011);

fn selection(keys: Glob) -> Selection {
    Selection { head: HEAD.to_owned(), keys }
}

/// A value of that era and seq, with these tags.
fn value(era: u32, seq: u64, tags: &[TagHash]) -> Vec<u8> {
    let head = Head { hard: 1, born: Point { era: Era(era), seq: Seq(seq) }, ..Head::default() };
    let mut writer = Writer::begin(stamp(3), &head, tags, None).unwrap();
    writer.payload().extend_from_slice(b"the payload");
    writer.finish()
}

async fn found(walk: &mut dyn Walk, batch: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..10_000 {
        let found = walk.next(batch).await.expect("an answer");
        names.extend(found.names.into_iter().map(|name| String::from_utf8(name).expect("text")));
        if found.last {
            names.sort_unstable();
            names.dedup();
            return names;
        }
    }
    panic!("the walk does not end");
}

async fn put(plain: &mut Plain, name: &str, slot: &[u8]) {
    plain.set(name, slot).await;
}

#[tokio::test]
async fn a_walk_finds_what_the_pattern_matches_whatever_stands_in_names() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    let keys = ["a", "b", "ab", "a*b", "a?b", "a[b]", "a\\b", "a]b", "a^b", "a-b", "axb", "ä", "*", "user:1:mail", "user:1:name"];
    for key in keys {
        put(&mut plain, &format!("{HEAD}{key}"), b"x").await;
        put(&mut plain, &format!("ct:shopXv:{key}"), b"x").await;
    }
    let patterns = [
        "*",
        "a*",
        "a?b",
        r"a\*b",
        r"a\?b",
        r"a\[b\]",
        r"a\\b",
        "a]b",
        "a[*]b",
        "a[a-z]b",
        "a[^a-z]b",
        r"a[\]\\]b",
        "a[Z-a]b",
        "a[+--]b",
        r"a[\--^]b",
        "a[^^]b",
        "*b",
        "**",
        "user:*:mail",
        "?",
        "??",
        "[^a]",
        "ä",
        "a[a-]b",
    ];
    for pattern in patterns {
        let selection = selection(Glob::parse(pattern).unwrap());
        let mut walks = store.walks(&selection).await.expect("begun");
        let there = found(&mut *walks[0], 3).await;
        let mut here: Vec<String> =
            keys.iter().map(|key| format!("{HEAD}{key}")).filter(|name| selection.finds(name.as_bytes())).collect();
        here.sort_unstable();
        assert_eq!(there, here, "{pattern}");
    }
    for prefix in ["a*", "a[", "a\\", "a?", "a"] {
        let selection = selection(Glob::below(prefix));
        let mut walks = store.walks(&selection).await.expect("begun");
        let there = found(&mut *walks[0], 3).await;
        let mut here: Vec<String> = keys.iter().filter(|key| key.starts_with(prefix)).map(|key| format!("{HEAD}{key}")).collect();
        here.sort_unstable();
        assert_eq!(there, here, "{prefix}");
    }
}

// It was counted, deleted and told of as if it were a key.
#[tokio::test]
async fn a_value_on_its_way_to_its_key_is_not_found_and_a_key_that_is_named_like_one_is() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    let named = |number: u8| format!("{HEAD}k#{}", format!("{number:02x}").repeat(16));
    // The stamp of each value is `stamp(3)`.
    put(&mut plain, &named(3), &value(7, 1, &[])).await;
    put(&mut plain, &named(4), &value(7, 1, &[])).await;
    put(&mut plain, &named(5), &ticket(5)).await;
    plain.ask::<()>(&[b"RPUSH", named(6).as_bytes(), b"x"]).await;
    put(&mut plain, &format!("{HEAD}k"), b"x").await;
    for batch in [1, 100] {
        let mut walks = store.walks(&selection(Glob::everything())).await.expect("begun");
        assert_eq!(found(&mut *walks[0], batch).await, [format!("{HEAD}k"), named(4), named(5), named(6)]);
    }
}

#[tokio::test]
async fn the_script_deletes_what_the_rule_dooms_and_nothing_else() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    let many: Vec<TagHash> = (0..31).map(TagHash).chain([TAG]).collect();
    let (mut newer, mut flags, mut crowded) = (value(7, 1, &[TAG]), value(7, 1, &[TAG]), value(7, 1, &[TAG]));
    (newer[17], flags[18], crowded[20]) = (2, 4, 33);
    let (mut compressed, mut compressed_newer) = (value(7, 1, &[TAG]), value(7, POINT.seq.0, &[TAG]));
    (compressed[18], compressed_newer[18]) = (2, 2);
    let slots = [
        value(7, POINT.seq.0 - 1, &[TAG]),
        value(7, POINT.seq.0, &[TAG]),
        value(7, POINT.seq.0 + 1, &[TAG]),
        value(8, POINT.seq.0 + 1, &[TAG]),
        value(7, 1, &[]),
        value(7, 1, &[TagHash(1), TAG]),
        value(7, 1, &many),
        [value(7, 1, &[TagHash(1)]), TAG.0.to_be_bytes().to_vec()].concat(),
        newer,
        flags,
        compressed,
        compressed_newer,
        crowded,
        value(7, 1, &[TAG])[..70].to_vec(),
        value(7, 1, &[])[..17].to_vec(),
        value(7, 1, &[])[..16].to_vec(),
        ticket(1),
        HELD.to_vec(),
        b"foreign".to_vec(),
        b"something foreign that is long enough to be ours".to_vec(),
    ];
    let name = format!("{HEAD}user:7");
    let mut walks = store.walks(&selection(Glob::everything())).await.expect("begun");
    for doomed in [Doomed::All, Doomed::Before(POINT), Doomed::Tagged(TAG, POINT)] {
        for slot in &slots {
            put(&mut plain, &name, slot).await;
            let verdict = doomed.judge(&slot[..slot.len().min(READ)]);
            let mut expected = Swept::default();
            expected.count(verdict, u64::try_from(slot.len()).unwrap());
            let swept = walks[0].sweep(&[name.clone().into_bytes()], doomed).await;
            assert_eq!(swept, Ok(expected), "{doomed:?} {slot:02x?}");
            assert_eq!(plain.get(&name).await.is_none(), verdict == Verdict::Goes, "{doomed:?} {slot:02x?}");
        }
    }
}

#[tokio::test]
async fn what_is_gone_counts_for_nothing_and_another_type_stays() {
    let server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    let list = format!("{HEAD}list");
    plain.ask::<()>(&[b"LPUSH", list.as_bytes(), b"x"]).await;
    let mut walks = store.walks(&selection(Glob::everything())).await.expect("begun");
    let names = [format!("{HEAD}gone").into_bytes(), list.clone().into_bytes()];
    assert_eq!(walks[0].sweep(&names, Doomed::All).await, Ok(Swept { foreign: 1, ..Swept::default() }));
    assert_eq!(plain.say::<usize>(&format!("LLEN {list}")).await, 1);
}

#[tokio::test]
async fn a_full_server_still_deletes() {
    let server = Server::start_with(&["--maxmemory-policy", "noeviction"]).await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    let name = format!("{HEAD}user:7");
    put(&mut plain, &name, &value(7, 1, &[])).await;
    plain.say::<()>("CONFIG SET maxmemory 1").await;
    let mut walks = store.walks(&selection(Glob::everything())).await.expect("begun");
    let swept = walks[0].sweep(&[name.into_bytes()], Doomed::All).await.expect("an answer");
    assert_eq!(swept.gone, 1);
}

#[tokio::test]
async fn a_restarted_server_ends_the_walk() {
    let mut server = Server::start().await;
    let ((store, _lane), mut plain) = (server.open().await, server.plain().await);
    for number in 0..100 {
        put(&mut plain, &format!("{HEAD}{number}"), b"x").await;
    }
    let mut walks = store.walks(&selection(Glob::everything())).await.expect("begun");
    assert!(!walks[0].next(3).await.expect("an answer").last);
    server.kill();
    server.again().await;
    store.ready(super::server::PATIENCE).await.expect("the store is connected again");
    let found = walks[0].next(3).await;
    assert!(found.is_err(), "a cursor of before says nothing now: {found:?}");
}
