//! What a value costs beyond itself: bytes that Redis holds, and bytes that it is sent for a load. Prints a table.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::{Codec, Policy};
use cachetier_tests::{Oops, RedisServer, Tier};

const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const CODECS: [Codec; 4] = [Codec::Postcard, Codec::Bincode, Codec::Json, Codec::MessagePack];
const PAYLOADS: [usize; 4] = [100, 300, 1 << 10, 10 << 10];
const TAGS: [usize; 3] = [0, 2, 8];
/// Before the tags.
const HEADER: usize = 64;
/// What a codec writes of a text beside its bytes: their number, or two quotes.
const OF_THE_CODEC: usize = 5;

/// What the server has been sent since it began, this question included.
fn received(server: &RedisServer) -> usize {
    let info = server.command(&["INFO", "stats"]).text().expect("text");
    let line = info.lines().find_map(|line| line.strip_prefix("total_net_input_bytes:")).expect("a line of it");
    line.parse().expect("a number")
}

#[tokio::test]
async fn the_bytes_beyond_a_value_are_few() {
    let tier = Tier::over(RedisServer::start());
    let server = tier.server().expect("a server");
    println!("{:<12} {:>8} {:>5} {:>10} {:>8} {:>12}", "codec", "payload", "tags", "in Redis", "of it", "of a load");
    for codec in CODECS {
        let cache = tier.builder().codec(codec).build().await.expect("built");
        for bytes in PAYLOADS {
            for count in TAGS {
                let tags: Vec<String> = (0..count).map(|n| format!("tag:{n}")).collect();
                let (mut sent, mut held) = (usize::MAX, 0);
                // The least of several: the checks of the lane, twice a second, count as well.
                for round in 0..3 {
                    let key = format!("key:{round}:{codec:?}:{bytes}:{count}");
                    let question = received(server);
                    let question = received(server) - question;
                    let before = received(server);
                    let load = || async { Ok::<_, Oops>("x".repeat(bytes)) };
                    cache.get_or_load(&key, POLICY.tags(&tags), load).await.expect("loaded");
                    sent = sent.min((received(server) - before).saturating_sub(question + bytes));
                    held = tier.bytes(&key).expect("held").len() - bytes;
                }
                let share =
                    100.0 * f64::from(u32::try_from(held).expect("small")) / f64::from(u32::try_from(bytes).expect("small"));
                println!("{:<12} {bytes:>8} {count:>5} {held:>10} {share:>6.1} % {sent:>12}", format!("{codec:?}"));
                assert!(held <= HEADER + 8 * count + OF_THE_CODEC, "{codec:?}: {bytes} bytes, {count} tags: {held}");
                // Eight tags take as much as the header; with as many as entries usually have it stays below a tenth.
                assert!(bytes < 1 << 10 || count > 2 || share < 10.0, "{codec:?}: {bytes} bytes, {count} tags: {share} %");
            }
        }
    }
}

/// A value that takes no byte shows the header alone.
#[tokio::test]
async fn the_header_takes_64_bytes_and_each_tag_8() {
    let tier = Tier::redis();
    let cache = tier.cache().await;
    for count in TAGS {
        let tags: Vec<String> = (0..count).map(|n| format!("tag:{n}")).collect();
        cache.set("nothing", (), POLICY.tags(tags)).await.expect("put");
        assert_eq!(tier.bytes("nothing").expect("held").len(), HEADER + 8 * count);
    }
}
