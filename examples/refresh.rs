//! Pages of somebody else's service: asked for again when their life is over, with the tag that they had; if they have not changed, nothing is
//! sent, neither by that service nor to Redis.
//!
//! ```text
//! cargo run --example refresh                                    # needs nothing: the shared tier is inside the process
//! REDIS_URL=redis://127.0.0.1/ cargo run --example refresh       # the same over a server
//! ```
#![forbid(unsafe_code)]

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetier::{InProcess, LoadContext, Loaded, Policy, TieredCache};

/// Stands for a service behind HTTP.
#[derive(Default)]
struct Upstream {
    version: AtomicU64,
    sent: AtomicU64,
}

/// What it answers.
enum Response {
    NotModified,
    /// Says for how long it may be kept.
    Page {
        etag: String,
        body: String,
        max_age: Duration,
    },
    NotFound,
}

impl Upstream {
    /// `GET`, with `If-None-Match` if there is a tag.
    async fn get(&self, path: &str, if_none_match: Option<&str>) -> Result<Response, std::io::Error> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let version = self.version.load(Ordering::SeqCst);
        let etag = format!("v{version}");
        if path == "/missing" {
            return Ok(Response::NotFound);
        }
        if if_none_match == Some(etag.as_str()) {
            println!("  GET {path}, If-None-Match: {etag} -> 304");
            return Ok(Response::NotModified);
        }
        self.sent.fetch_add(1, Ordering::SeqCst);
        println!("  GET {path} -> 200, ETag: {etag}");
        Ok(Response::Page { etag, body: format!("<p>version {version}"), max_age: Duration::from_millis(50) })
    }
}

async fn page(cache: &TieredCache, upstream: &Upstream, path: &str) -> Result<Option<String>, Box<dyn Error>> {
    // The life is what the answer says; what is over is kept for an hour.
    let policy = Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(3_600)).jitter(0);
    let load = async |context: LoadContext<'_, String>| {
        let stale = context.stale();
        let tag = stale.and_then(|stale| stale.validator());
        Ok::<_, std::io::Error>(match (upstream.get(context.key(), tag).await?, stale) {
            (Response::Page { etag, body, max_age }, _) => Loaded::new(body).validator(etag).ttl(max_age),
            (Response::NotModified, Some(stale)) => stale.not_modified().ttl(Duration::from_millis(50)),
            // A service that says so without having been asked.
            (Response::NotModified, None) => Loaded::nothing(),
            (Response::NotFound, _) => Loaded::nothing().ttl(Duration::from_secs(10)),
        })
    };
    Ok(cache.get_or_load_with(path, policy, load).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let builder = TieredCache::builder("refresh-example");
    let cache = match std::env::var("REDIS_URL") {
        Ok(url) => builder.redis(url).build().await?,
        Err(_) => builder.in_process(&InProcess::new()).build().await?,
    };
    cache.clear().await?;
    let upstream = Upstream::default();

    println!("first, and again within its life:");
    for _ in 0..2 {
        assert_eq!(page(&cache, &upstream, "/news").await?.as_deref(), Some("<p>version 0"));
    }
    println!("when its life is over, it has not changed:");
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(page(&cache, &upstream, "/news").await?.as_deref(), Some("<p>version 0"));

    println!("somebody says that it may have changed:");
    cache.expire("/news").await?;
    assert_eq!(page(&cache, &upstream, "/news").await?.as_deref(), Some("<p>version 0"));
    println!("and now it has:");
    upstream.version.store(1, Ordering::SeqCst);
    cache.expire("/news").await?;
    assert_eq!(page(&cache, &upstream, "/news").await?.as_deref(), Some("<p>version 1"));

    assert_eq!(page(&cache, &upstream, "/missing").await?, None);
    assert_eq!((upstream.sent.load(Ordering::SeqCst), cache.stats().renewals), (2, 2));
    println!("sent twice, renewed twice");
    Ok(cache.close(Duration::from_secs(1)).await?)
}
