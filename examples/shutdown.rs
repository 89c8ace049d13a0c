//! A graceful shut-down: no new requests, those that are open are answered, what is pending is told, all within one limit; and what is
//! lost is said. `cargo run --example shutdown`; with `REDIS_URL=redis://127.0.0.1/` it is over Redis.
#![forbid(unsafe_code)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use cachetier::{CacheError, Call, CallKind, Delivery, InProcess, Plan, Policy, TieredCache};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long all of it may take: less than what the platform waits before it kills the process.
const LIMIT: Duration = Duration::from_secs(1);

/// Prices may be old for so long where nobody tells that they have changed.
const PRICES: Policy = Policy::ttl(Duration::from_secs(300));

/// Stands for a database that takes 100 ms to answer.
#[derive(Default)]
struct Database(AtomicU32);

#[derive(Clone)]
struct App {
    cache: TieredCache,
    database: Arc<Database>,
}

async fn price(State(app): State<App>) -> Result<String, StatusCode> {
    let load = || async {
        sleep(Duration::from_millis(100)).await;
        app.database.0.load(Ordering::Relaxed)
    };
    let price = app.cache.get_or_compute("price", PRICES, load).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(price.to_string())
}

async fn set_price(State(app): State<App>, Path(price): Path<u32>) -> Result<StatusCode, StatusCode> {
    app.database.0.store(price, Ordering::Relaxed);
    match app.cache.invalidate("price").await {
        Ok(Delivery::Applied(_)) => Ok(StatusCode::OK),
        // The other instances are told as soon as they can be: `close` waits for that.
        Ok(_) => Ok(StatusCode::ACCEPTED),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// A service that runs.
struct Service {
    address: SocketAddr,
    cache: TieredCache,
    /// In the place of a signal: `tokio::signal` has a future for that of your platform.
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), std::io::Error>>,
}

impl Service {
    async fn begin(cache: TieredCache, database: &Arc<Database>) -> Result<Self, Box<dyn Error>> {
        let app = App { cache: cache.clone(), database: Arc::clone(database) };
        let router = Router::new().route("/price", get(price)).route("/price/{price}", post(set_price)).with_state(app);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let running = axum::serve(listener, router).with_graceful_shutdown(async move { drop(stopped.await) });
        let server = tokio::spawn(async move { running.await });
        Ok(Self { address, cache, stop, server })
    }

    /// Ends it within `limit`. The error says what is lost.
    async fn shut_down(self, limit: Duration) -> Result<(), CacheError> {
        let end = Instant::now() + limit;
        // First the requests: those that are open may still write, and so invalidate.
        // An error means that the server has ended by itself.
        let _ = self.stop.send(());
        if timeout(limit / 2, self.server).await.is_err() {
            println!("requests are still open: they end with the process");
        }
        // Then the cache, with all the time that is left: it flushes, and is closed whether that succeeds or not.
        self.cache.close(end.saturating_duration_since(Instant::now())).await
    }
}

/// Asks as a browser would, and returns the status and the body.
async fn ask(address: SocketAddr, what: &str) -> Result<(u16, String), std::io::Error> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(format!("{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (tier, database) = (InProcess::new(), Arc::new(Database::default()));
    let url = std::env::var("REDIS_URL").ok();
    let instance = || {
        let builder = TieredCache::builder("shutdown-example");
        match &url {
            Some(url) => builder.redis(url),
            None => builder.in_process(&tier),
        }
    };
    let other = instance().build().await?;
    // What an earlier run may have left on a server.
    other.clear().await?;

    // All goes well: a request that is open when the stop comes is answered.
    let service = Service::begin(instance().build().await?, &database).await?;
    let address = service.address;
    ask(address, "POST /price/100").await?;
    let open = tokio::spawn(ask(address, "GET /price"));
    while service.cache.stats().flights == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    service.shut_down(LIMIT).await?;
    println!("the open request got {:?}, and nothing was lost", open.await??);
    if ask(address, "GET /price").await.is_ok() {
        return Err("a service that is down has answered".into());
    }

    if url.is_none() {
        // The shared tier cannot be reached, and stays away: what is pending cannot be told within the limit.
        let service = Service::begin(instance().build().await?, &database).await?;
        println!("the other instance has {:?}", other.get::<u32>("price").await);
        tier.script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::away() } else { Plan::go() });
        println!("a new price without the tier: {}", ask(service.address, "POST /price/200").await?.0);
        match service.shut_down(LIMIT).await {
            Err(CacheError::Unfinished { invalidations, .. }) => {
                // For an alarm, or for a log that somebody reads: the others are not going to hear of it.
                println!("lost: {invalidations} invalidation");
                println!("the other instance has {:?}, for 5 minutes at most", other.get::<u32>("price").await);
            }
            ended => return Err(format!("expected that an invalidation is lost, found {ended:?}").into()),
        }
        // What its policy says bounds the damage, or somebody clears it when the tier is back.
        tier.clear_script();
        other.clear().await?.confirmed()?;
    }
    other.close(LIMIT).await?;
    Ok(())
}
