//! Connections that the user makes himself: whatever they lead through, and as whom.
#![forbid(unsafe_code)]
#![expect(clippy::panic, reason = "what a connector may do")]

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use cachetier::{Connected, Delivery, Endpoint, InProcess, Invalidator, Policy, TieredCache};
use cachetier_tests::{Cluster, Log, PARTS, RedisServer, Reply, Sentinels, eventually_async};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(30);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

/// Goes where it is told to, and counts.
async fn plain(to: Endpoint, count: Arc<AtomicUsize>) -> io::Result<Connected> {
    count.fetch_add(1, Ordering::SeqCst);
    match to {
        Endpoint::Tcp { host, port, .. } => Ok(Connected::over(TcpStream::connect((host, port)).await?)),
        Endpoint::Unix(path) => Ok(Connected::over(UnixStream::connect(path).await?)),
        other => Err(io::Error::other(other.to_string())),
    }
}

/// A stream that nobody can read from.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        std::panic::panic_any("unlucky")
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn works(cache: &TieredCache) {
    let told = async || matches!(cache.set("k", 7_u32, POLICY).await, Ok(Delivery::Applied(_)));
    eventually_async(LONG, "it is stored", told).await;
    assert_eq!(cache.get::<u32>("k").await, Some(7));
}

#[tokio::test]
async fn a_password_that_changes_is_given_with_each_connection_and_told_nobody() {
    let server = RedisServer::builder().tcp().start();
    let set = |password: &str| {
        let words = ["ACL", "SETUSER", "app", "on", "resetpass", password, "~*", "&*", "+@all"];
        assert_eq!(server.command(&words), Reply::Status("OK".to_owned()));
    };
    set(">today");
    let (log, known) = (Log::default(), Arc::new(Mutex::new("today")));
    let _listening = log.listen();
    let given = Arc::clone(&known);
    let builder = TieredCache::builder("connector").redis(server.url()).connector(move |to| {
        let given = Arc::clone(&given);
        async move {
            let password = *given.lock().expect("not poisoned");
            plain(to, Arc::default()).await.map(|connected| connected.login("app", password))
        }
    });
    let cache = builder.require_redis().build().await.expect("built");
    works(&cache).await;
    let all = || server.command(&["CLIENT", "LIST"]).text().expect("a text");
    let as_app = || all().lines().filter(|line| line.contains("user=app ")).count();
    assert_eq!(as_app(), 2, "{}", all());

    set(">tomorrow");
    server.command(&["CLIENT", "KILL", "USER", "app"]);
    eventually_async(LONG, "the old one does no longer", async || !log.with("WRONGPASS").is_empty()).await;
    *known.lock().expect("not poisoned") = "tomorrow";
    eventually_async(LONG, "it is back", async || as_app() == 2).await;
    works(&cache).await;
    let said = log.with("");
    assert!(said.iter().all(|line| !line.contains("today") && !line.contains("tomorrow")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_is_made_by_it_whoever_says_where() {
    let (cluster, sentinels, alone) = (Cluster::start(), Sentinels::start(), RedisServer::start());
    let counts: [Arc<AtomicUsize>; 4] = std::array::from_fn(|_| Arc::default());
    let counted = |nth: usize| {
        let count = Arc::clone(&counts[nth]);
        move |to| plain(to, Arc::clone(&count))
    };
    let one = TieredCache::builder("connector").redis_cluster(cluster.urls()).connector(counted(0)).build().await.expect("built");
    let other = TieredCache::builder("connector").redis_sentinel(sentinels.urls(), sentinels.name());
    let other = other.connector(counted(1)).build().await.expect("built");
    works(&one).await;
    works(&other).await;
    let made = || counts.each_ref().map(|count| count.load(Ordering::SeqCst));
    assert!(made()[0] >= 2 * PARTS + 3, "those of the parts, and to nodes that are asked: {:?}", made());
    assert!(made()[1] >= 2 + 3, "two, and to Sentinels: {:?}", made());
    if let Some(path) = alone.socket() {
        let url = format!("redis+unix://{}", path.display());
        let cache = TieredCache::builder("connector").redis(&url).connector(counted(2)).build().await.expect("built");
        let worker = Invalidator::builder("connector").redis(&url).connector(counted(3)).build().await.expect("built");
        works(&cache).await;
        let token = worker.invalidate("k").await.expect("usable").confirmed().expect("applied");
        assert_eq!(cache.wait_for(token, LONG).await, Ok(()));
        assert_eq!((cache.get::<u32>("k").await, made()[2], made()[3]), (None, 2, 1));
    }
}

#[tokio::test]
async fn one_that_fails_hangs_or_panics_is_why_redis_is_away() {
    let begun = Instant::now();
    let limit = Duration::from_millis(200);
    for how in ["no tunnel today", "hang", "panic", "panic in the stream"] {
        let log = Log::default();
        let _listening = log.listen();
        let builder =
            TieredCache::builder("connector").redis("redis://127.0.0.1:1").connect_limit(limit).connector(move |_| async move {
                match how {
                    "hang" => std::future::pending().await,
                    "panic" => std::panic::panic_any("unlucky"),
                    "panic in the stream" => Ok(Connected::over(Broken)),
                    why => Err(io::Error::other(why)),
                }
            });
        let cache = builder.clone().command_limit(limit).build().await.expect("without it");
        assert_eq!(cache.get_or_compute("k", POLICY, async || 7).await.expect("loaded"), 7);
        let reason = match how {
            "hang" => "no connection within",
            "panic" | "panic in the stream" => "the connector panicked",
            why => why,
        };
        let told = async || log.with("redis is away").iter().any(|line| line.contains(reason));
        eventually_async(LONG, "the reason is told", told).await;
        let error = builder.require_redis().build().await.expect_err("it is required");
        assert_eq!(error.field(), "redis");
    }
    assert!(begun.elapsed() < LONG);
}

#[tokio::test]
async fn where_it_has_nothing_to_do_it_is_an_error() {
    let nowhere = async |_| Err(io::ErrorKind::Unsupported.into());
    let error = TieredCache::builder("connector").connector(nowhere).build().await.expect_err("no server");
    assert_eq!(error.field(), "connector");
    let error = Invalidator::builder("connector").in_process(&InProcess::new()).connector(nowhere).build().await.expect_err("none");
    assert_eq!(error.field(), "connector");
    let error =
        TieredCache::builder("connector").redis("rediss://127.0.0.1").connector(nowhere).build().await.expect_err("two of TLS");
    assert_eq!(error.field(), "redis");
}
