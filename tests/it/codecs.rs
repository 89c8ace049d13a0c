//! Codecs from without: each carries values between instances whatever the other is set to write, and what one cannot carry is said
//! once for each type.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cachetier::{CacheError, Codec, Policy};
use cachetier_tests::{Oops, over_each, over_shared};
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const CODECS: [Codec; 4] = [Codec::Postcard, Codec::Bincode, Codec::Json, Codec::MessagePack];

/// What was logged on this thread, above all that is only told.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn listen(&self) -> DefaultGuard {
        tracing::subscriber::set_default(self.clone())
    }

    /// Takes what says that something was not stored.
    fn not_stored(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.0.lock().expect("nobody panicked"));
        lines.into_iter().filter(|line| line.contains("is returned and not stored")).collect()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("cachetier")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                let _ = write!(self.0, "{field}={value:?} ");
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("nobody panicked").push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    score: f64,
}

#[tokio::test]
async fn every_instance_reads_what_any_other_has_written_whatever_itself_writes() {
    over_shared(async |tier| {
        for written in CODECS {
            let writer = tier.builder().codec(written).build().await.expect("built");
            for other in CODECS {
                let reader = tier.builder().codec(other).build().await.expect("built");
                let key = format!("{written:?}:{other:?}");
                let user = User { id: 1 << 40, name: "Ada".to_owned(), score: 0.1 };
                writer.set(&key, user.clone(), POLICY).await.expect("put");
                assert_eq!(reader.get(&key).await, Some(user), "{key}");
                assert_eq!((reader.stats().l2_hits, reader.stats().l2_foreign), (1, 0), "{key}");
            }
        }
    })
    .await;
}

/// Asks the bytes what they are, which postcard and bincode do not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

/// Moves the fields behind one that is not written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skipping {
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    name: String,
}

#[tokio::test]
async fn a_type_that_is_written_and_not_read_again_is_found_at_its_first_store_and_said_once() {
    let log = Log::default();
    let _listening = log.listen();
    over_shared(async |tier| {
        for codec in [Codec::Postcard, Codec::Bincode] {
            let cache = tier.builder().codec(codec).build().await.expect("built");
            let untagged = || async { Ok::<_, Oops>(Untagged::Number(7)) };
            for times in 1..=3 {
                assert_eq!(cache.get_or_load("untagged", POLICY, untagged).await.expect("loaded"), Untagged::Number(7));
                assert_eq!((cache.stats().loads, cache.stats().not_stored, cache.stats().l2_unusable), (times, times, 0));
            }
            assert!(!tier.holds_value("untagged"));
            let put = cache.set("untagged", Untagged::Text("a".to_owned()), POLICY).await;
            assert!(matches!(&put, Err(CacheError::Encode(why)) if why.contains("not to be read again")), "{put:?}");
            let told = log.not_stored();
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains("Untagged") && told[0].contains(&format!("{codec:?}")), "{told:?}");

            // Another type is said for itself, and stored as soon as a value of it is read back.
            let (without, with) =
                (Skipping { email: None, name: "a".into() }, Skipping { email: Some("b".into()), name: "c".into() });
            for _ in 0..2 {
                cache.get_or_load("skipping", POLICY, || async { Ok::<_, Oops>(without.clone()) }).await.expect("loaded");
            }
            let told = log.not_stored();
            assert!(told.len() == 1 && told[0].contains("Skipping"), "{told:?}");
            cache.set("skipping", with.clone(), POLICY).await.expect("put");
            assert_eq!(tier.cache().await.get("skipping").await, Some(with));
            cache.remove("skipping").await.expect("removed");
        }
        for codec in [Codec::Json, Codec::MessagePack] {
            let cache = tier.builder().codec(codec).build().await.expect("built");
            cache.set("untagged", Untagged::Number(7), POLICY).await.expect("put");
            assert_eq!(tier.cache().await.get("untagged").await, Some(Untagged::Number(7)));
            let without = Skipping { email: None, name: "a".into() };
            cache.set("skipping", without.clone(), POLICY).await.expect("put");
            assert_eq!(tier.cache().await.get("skipping").await, Some(without));
        }
        assert_eq!(log.not_stored(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn what_json_has_no_word_for_is_returned_and_not_stored() {
    over_each(async |tier| {
        let cache = tier.builder().codec(Codec::Json).build().await.expect("built");
        let pairs = BTreeMap::from([((1_u8, 2_u8), "a".to_owned())]);
        for times in 1..=2 {
            let loaded = cache.get_or_load("pairs", POLICY, || async { Ok::<_, Oops>(pairs.clone()) }).await;
            assert_eq!(loaded.expect("loaded"), pairs);
            assert_eq!((cache.stats().loads, cache.stats().not_stored), (times, times));
        }
        for number in [f64::NAN, f64::INFINITY] {
            let put = cache.set("number", number, POLICY).await;
            assert!(matches!(put, Err(CacheError::Encode(_))), "{put:?}");
        }
        let put = cache.set("nothing", Some(None::<u8>), POLICY).await;
        assert!(matches!(put, Err(CacheError::Encode(_))), "{put:?}");
        assert!(!tier.holds_value("pairs") && !tier.holds_value("number") && !tier.holds_value("nothing"));
    })
    .await;
}
