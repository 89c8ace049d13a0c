//! Two processes of a service over one server: what one invalidates by a tag, the other loads anew.

use std::process::{Command, Stdio};
use std::time::Duration;

use cachetier::{cached, scope};
use cachetier_tests::{Tier, eventually_async};

use crate::{Db, LONG};

#[cached(key = "user:{id}", ttl = "5m", tags = ["users", "org:{org}"])]
async fn by_template(db: &Db, org: u64, id: u64) -> Result<u64, std::fmt::Error> {
    Ok(db.query(org + id))
}

#[cached(ttl = "5m", tags = ["users", "org:{org}"], skip(db))]
async fn by_arguments(db: &Db, org: u64, id: u64) -> Option<u64> {
    Some(db.query(org + id))
}

/// Runs the other process to its end, and no longer than a test may take.
async fn second_process(url: &str, namespace: &str, org: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_second_process"));
    let mut process = command.args([url, namespace, org]).stdout(Stdio::piped()).spawn().expect("the other process");
    let mut status = None;
    for _ in 0..2_000 {
        status = process.try_wait().expect("a process of ours");
        if status.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if status.is_none() {
        process.kill().expect("a process of ours");
    }
    let output = process.wait_with_output().expect("a process of ours");
    assert!(output.status.success(), "the other process failed: {:?}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("invalidated org:{org}\n"));
}

#[tokio::test]
async fn what_another_process_invalidates_by_tag_is_loaded_anew() {
    let tier = Tier::redis();
    let (url, namespace) = (tier.server().expect("a server").url(), tier.namespace().to_owned());
    let (cache, db) = (tier.cache().await, Db::default());
    scope(cache, async {
        for _ in 0..3 {
            by_template(&db, 7, 42).await.expect("loaded");
            by_arguments(&db, 7, 42).await.expect("loaded");
            // Another key of the same function, which carries another tag.
            by_template(&db, 8, 43).await.expect("loaded");
        }
        assert_eq!(db.queries(), 3, "warm");
        second_process(&url, &namespace, "7").await;
        // By message: as soon as it is here.
        let anew = async || {
            by_template(&db, 7, 42).await.expect("loaded");
            by_arguments(&db, 7, 42).await.expect("loaded");
            db.queries() == 5
        };
        eventually_async(LONG, "both forms are loaded anew", anew).await;
        by_template(&db, 8, 43).await.expect("loaded");
        assert_eq!(db.queries(), 5, "what carries another tag stays");
    })
    .await;
}
