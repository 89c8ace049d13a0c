//! A handler that reads through a cache: the cache is part of the state, and what can go wrong becomes a status.
//! `cargo run --example axum_handler`; with `REDIS_URL=redis://127.0.0.1/` it is over Redis.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use cachetier::{InProcess, LoadError, Policy, TieredCache};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long a user is kept; and how long it is remembered that there is none.
const USERS: Policy = Policy::ttl(Duration::from_secs(300)).negative_ttl(Duration::from_secs(5));

/// Why the database has no answer.
#[derive(Debug)]
struct DbError;

/// Stands for a database. It counts its queries.
#[derive(Default)]
struct Database {
    rows: Mutex<(HashMap<u64, String>, u32)>,
}

impl Database {
    async fn name(&self, id: u64) -> Result<Option<String>, DbError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (names, queries) = &mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        *queries += 1;
        if id == 13 { Err(DbError) } else { Ok(names.get(&id).cloned()) }
    }

    async fn rename(&self, id: u64, name: String) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).0.insert(id, name);
    }

    fn queries(&self) -> u32 {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// What every handler gets. Both are cheap to clone.
#[derive(Clone)]
struct App {
    cache: TieredCache,
    database: Arc<Database>,
}

fn key(id: u64) -> String {
    format!("user:{id}")
}

/// `GET /user/{id}`: many may ask at once, and the database is asked once.
async fn user(State(App { cache, database }): State<App>, Path(id): Path<u64>) -> Result<String, StatusCode> {
    let name = cache.get_or_load_optional(&key(id), USERS, || database.name(id)).await.map_err(|error| status(&error))?;
    name.ok_or(StatusCode::NOT_FOUND)
}

/// `PUT /user/{id}` with the name as its body. It invalidates after the write has been committed, not before.
async fn rename(State(App { cache, database }): State<App>, Path(id): Path<u64>, name: String) -> Result<(), StatusCode> {
    database.rename(id, name).await;
    // Pending or not: it holds here at once, and in the other instances as soon as they can be told.
    cache.invalidate(&key(id)).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(())
}

/// What a caller is told of a load that brought nothing.
fn status(error: &LoadError<DbError>) -> StatusCode {
    match error {
        LoadError::Loader(_) => StatusCode::BAD_GATEWAY,
        error if error.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Begins the service on a free port of the loopback interface.
async fn serve(app: App) -> Result<SocketAddr, Box<dyn Error>> {
    let service = Router::new().route("/user/{id}", get(user).put(rename)).with_state(app);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(address)
}

/// Asks as a browser would, and returns the status and the body.
async fn ask(address: SocketAddr, what: &str, body: &str) -> Result<(u16, String), std::io::Error> {
    let mut connection = TcpStream::connect(address).await?;
    let length = body.len();
    let head = format!("{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    connection.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let builder = TieredCache::builder("axum-example");
    let builder = match std::env::var("REDIS_URL") {
        Ok(url) => builder.redis(url),
        Err(_) => builder.in_process(&InProcess::new()),
    };
    let cache = builder.build().await?;
    // What an earlier run may have left on a server.
    cache.clear().await?;
    let database = Arc::new(Database::default());
    let address = serve(App { cache: cache.clone(), database: Arc::clone(&database) }).await?;

    ask(address, "PUT /user/42", "Ada").await?;
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        callers.spawn(ask(address, "GET /user/42", ""));
    }
    for answer in callers.join_all().await {
        expect(&answer?, (200, "Ada"))?;
    }
    println!("50 callers got Ada, and the database had {} query", database.queries());

    ask(address, "PUT /user/42", "Grace").await?;
    expect(&ask(address, "GET /user/42", "").await?, (200, "Grace"))?;
    println!("renamed, and the next one got Grace");

    let before = database.queries();
    for _ in 0..2 {
        expect(&ask(address, "GET /user/7", "").await?, (404, ""))?;
    }
    println!("nobody is 7, for which the database was asked {} time", database.queries() - before);

    expect(&ask(address, "GET /user/13", "").await?, (502, ""))?;
    println!("a database that fails is a 502, and is asked again by the next one");

    cache.close(Duration::from_secs(1)).await?;
    Ok(())
}

fn expect((status, body): &(u16, String), expected: (u16, &str)) -> Result<(), Box<dyn Error>> {
    if (*status, body.as_str()) == expected {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, found {status} with {body:?}").into())
    }
}
