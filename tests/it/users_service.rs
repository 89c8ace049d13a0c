//! A service and its test, as somebody would write them who uses the crate: fewer than 60 lines in all, which `testing.rs` counts.
#![forbid(unsafe_code)]

use std::time::Duration;

use cachetier::testing::{Group, Source, SourceError, assert_loads};
use cachetier::{cached, invalidates};

/// The service: what it loads from is its database, in the test a `Source`.
#[derive(Clone)]
struct Users {
    db: Source<String>,
}

impl Users {
    #[cached(key = "user:{id}", ttl = "5m", l1_ttl = "1m")]
    async fn name(&self, id: u64) -> Result<String, SourceError> {
        self.db.load(&format!("users/{id}")).await
    }

    #[invalidates(key = "user:{id}")]
    async fn rename(&self, id: u64, name: &str) -> Result<(), SourceError> {
        self.db.set(&format!("users/{id}"), name.to_owned());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_rename_is_seen_everywhere_also_after_an_outage() -> Result<(), SourceError> {
    let users = Users { db: Source::from([("users/1", "Ada".to_owned())]) };
    let group = Group::new(2).await;
    let name = |instance| group.scope(instance, users.name(1));

    // Both instances ask, one of them loads.
    assert_loads!(group, 1, { assert_eq!([name(0).await?, name(1).await?], ["Ada", "Ada"]) });

    // The shared tier is gone while the user is renamed: who does it sees it, the other serves its copy.
    group.outage().await;
    group.scope(0, users.rename(1, "Grace")).await?;
    assert_eq!([name(0).await?, name(1).await?], ["Grace", "Ada"]);
    group.recover().await;
    assert_eq!([name(0).await?, name(1).await?], ["Grace", "Grace"]);

    // The database fails after a minute, when the copies have ended and what the shared tier holds has not.
    users.db.fail_next();
    group.jump(Duration::from_secs(61)).await;
    assert_loads!(users.db, 0, { assert_eq!(name(1).await?, "Grace") });

    // It fails after five minutes, and the next call loads.
    group.jump(Duration::from_secs(300)).await;
    assert_eq!(name(1).await, Err(SourceError::Failed));
    assert_loads!(group, 1, { assert_eq!([name(1).await?, name(0).await?], ["Grace", "Grace"]) });
    Ok(())
}
