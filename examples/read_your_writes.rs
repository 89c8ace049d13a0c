//! A user reads what he has written, whichever instance answers: the one that writes gives the token of its invalidation along in a
//! header, the one that reads waits for it. `cargo run --example read_your_writes`; with `REDIS_URL=redis://127.0.0.1/` it is over Redis.
#![forbid(unsafe_code)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cachetier::{CacheBuilder, Delivery, InProcess, Policy, TieredCache, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The header in which the token travels, there and back.
const TOKEN: &str = "cache-token";

/// How long a read waits for what its caller has written before it goes past the cache.
const PATIENCE: Duration = Duration::from_millis(500);

/// What both instances of the service read and write. It counts its reads.
#[derive(Clone, Default)]
struct Database {
    name: Arc<Mutex<(String, u32)>>,
}

impl Database {
    fn write(&self, name: String) {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).0 = name;
    }

    async fn read(&self) -> Result<String, StatusCode> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut row = self.name.lock().unwrap_or_else(PoisonError::into_inner);
        row.1 += 1;
        Ok(row.0.clone())
    }

    fn reads(&self) -> u32 {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// One instance of the service.
#[derive(Clone)]
struct Instance {
    cache: TieredCache,
    database: Database,
}

/// Writes, invalidates, and gives the token along.
async fn rename(State(instance): State<Instance>, Path(name): Path<String>) -> Result<Response, StatusCode> {
    instance.database.write(name);
    let delivery = instance.cache.invalidate("user:42").await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    match delivery {
        Delivery::Applied(token) => Ok([(TOKEN, token.to_string())].into_response()),
        // It stands on no lane yet: there is no point to wait for.
        _ => Ok(StatusCode::ACCEPTED.into_response()),
    }
}

/// Waits for the token that came along, if one did, then reads through the cache.
async fn user(State(instance): State<Instance>, headers: HeaderMap) -> Result<String, StatusCode> {
    let text = headers.get(TOKEN).and_then(|token| token.to_str().ok());
    if let Some(token) = text.and_then(|text| text.parse::<Token>().ok())
        && instance.cache.wait_for(token, PATIENCE).await.is_err()
    {
        return instance.database.read().await;
    }
    let policy = Policy::ttl(Duration::from_secs(300));
    let loaded = instance.cache.get_or_load("user:42", policy, || instance.database.read()).await;
    loaded.map_err(|error| error.into_loader().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

/// Begins an instance of the service on a free port of the loopback interface.
async fn serve(builder: CacheBuilder, database: &Database) -> Result<(SocketAddr, TieredCache), Box<dyn Error>> {
    let cache = builder.build().await?;
    let instance = Instance { cache: cache.clone(), database: database.clone() };
    let service = Router::new().route("/user", get(user)).route("/user/{name}", post(rename)).with_state(instance);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok((address, cache))
}

/// What an instance answered: the token in its header, if there was one, and the body.
struct Answer {
    token: Option<String>,
    body: String,
}

/// Asks an instance as a browser would.
async fn ask(address: SocketAddr, what: &str, token: Option<&str>) -> Result<Answer, Box<dyn Error>> {
    let token = token.map(|token| format!("{TOKEN}: {token}\r\n")).unwrap_or_default();
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(format!("{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{token}\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without an end of its head")?;
    let token = head.lines().find_map(|line| line.strip_prefix(TOKEN)?.strip_prefix(": "));
    Ok(Answer { token: token.map(str::to_owned), body: body.to_owned() })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (tier, database) = (InProcess::new(), Database::default());
    let builder = || {
        let builder = TieredCache::builder("read-your-writes");
        match std::env::var("REDIS_URL") {
            Ok(url) => builder.redis(url),
            Err(_) => builder.in_process(&tier),
        }
    };
    let (a, first) = serve(builder(), &database).await?;
    let (b, second) = serve(builder(), &database).await?;
    // What an earlier run may have left on a server.
    first.clear().await?;

    for name in ["Ada", "Grace", "Barbara"] {
        let written = ask(a, &format!("POST /user/{name}"), None).await?;
        let token = written.token.ok_or("instance A could not tell the others: is there a server?")?;
        println!("A has stored {name:<8} its token is {token}");
        let read = ask(b, "GET /user", Some(&token)).await?;
        println!("B answers    {}", read.body);
        if read.body != name {
            return Err(format!("expected {name}, found {}", read.body).into());
        }
    }
    ask(b, "GET /user", None).await?;
    println!("B answered 4 times with {} reads of the database", database.reads());

    // A point that no lane has come to: the limit ends the wait, and the source answers.
    let ahead = ask(a, "POST /user/Katherine", None).await?.token.ok_or("no token")?.replace('-', "-f");
    println!("B answers    {} (past the cache: {ahead} was not reached)", ask(b, "GET /user", Some(&ahead)).await?.body);

    first.close(Duration::from_secs(1)).await?;
    second.close(Duration::from_secs(1)).await?;
    Ok(())
}
