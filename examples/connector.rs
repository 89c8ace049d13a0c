//! Connections of one's own making: as a user whose password is handed out for a while, or through whatever leads to the server.
//!
//! ```text
//! cargo run --example connector                                     # nobody listens there: what is not held goes to the loader
//! REDIS_URL=redis://127.0.0.1/ cargo run --example connector        # over a server; APP_PASSWORD=.. logs in as the user `app`
//! ```
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cachetier::{Connected, Endpoint, Policy, TieredCache};
use tokio::net::TcpStream;

/// Stands for the service that hands out passwords. Each connection is made with the one of the moment.
async fn password() -> Option<String> {
    tokio::task::yield_now().await;
    std::env::var("APP_PASSWORD").ok()
}

async fn connect(to: Endpoint, made: Arc<AtomicU32>) -> io::Result<Connected> {
    let nth = made.fetch_add(1, Ordering::Relaxed) + 1;
    println!("connection {nth} is asked for, to {to}");
    let Endpoint::Tcp { host, port, .. } = to else { return Err(io::ErrorKind::Unsupported.into()) };
    // Or a tunnel, or TLS of another kind: whatever is read from and written to.
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let connected = Connected::over(stream);
    Ok(match password().await {
        Some(password) => connected.login("app", password),
        None => connected,
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:1".to_owned());
    let made = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&made);
    let cache = TieredCache::builder("connector").redis(url).connector(move |to| connect(to, Arc::clone(&count))).build().await?;

    let policy = Policy::ttl(Duration::from_secs(60));
    for _ in 0..3 {
        let user = cache.get_or_load("user:42", policy, || async { Ok::<_, Infallible>("Ada".to_owned()) }).await?;
        assert_eq!(user, "Ada");
    }
    let stats = cache.stats();
    println!("{} connections were asked for; of 3 reads {} went to the loader", made.load(Ordering::Relaxed), stats.loads);
    cache.close(Duration::from_secs(1)).await?;
    Ok(())
}
