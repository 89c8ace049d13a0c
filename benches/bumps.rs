//! How many invalidations a server and a client get through, divided by how many `SET`s: `cargo bench --bench bumps`, with `-- --check`
//! against the limit below, `-- --quick` to see that it runs. Both sides of a ratio are measured in one run, in turns.
//!
//! Lanes are over an hour old: until then a bump of a key looks for write guards of before.
//!
//! *The server*: 50 connections, one command in flight on each, nothing is batched; what is sent are the cache's own scripts, overheard, and
//! the `PING` that goes before each.
//! Once by a client of one thread that does next to nothing, so that nothing hides what a script costs; once by the client library of
//! the cache, one connection for each caller, which is what the limit is for: what a service can send is what counts.
//! *The product*: 50 instances, each with its connection and its own subscription, each in a namespace of its own, so that each bump is
//! heard once, by the same process; and one instance with 50 callers, beside 50 callers of one connection.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cachetier::{Delivery, TieredCache};
use cachetier_benches::{Call, Ground, Outcome, Overheard, Report, Subject, interleave, median, ratio};
use cachetier_tests::{Client, Reply};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, Cmd, ErrorKind, Value};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Bumps in a second, against `SET`s.
const LIMIT: f64 = 0.5;

/// How many connections, or callers.
const WIDE: usize = 50;

/// As long as a small value with its envelope.
const VALUE: [u8; 100] = [b'x'; 100];

/// The key whose bump is overheard; as long as all others.
const HEARD: &str = "user:0000000";

/// A script that answers a number has done nothing, and would be measured as the cheapest of all.
const DECLINED: &str = "a script has done nothing";

/// How often each side is measured, and how many commands one round has on each connection.
struct Size {
    rounds: usize,
    each: usize,
}

fn main() -> ExitCode {
    let call = Call::read();
    let size = if call.measure { Size { rounds: 31, each: 100 } } else { Size { rounds: 1, each: 2 } };
    call.run("bumps", |report| run(&size, report))
}

fn run(size: &Size, report: &mut Report) -> Outcome {
    let ground = Ground::start_tcp()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    server(&ground, &runtime, size, report)?;
    instances(&ground, &runtime, size, report)?;
    callers(&ground, &runtime, size, report)
}

/// What the server gets through.
fn server(ground: &Ground, runtime: &Runtime, size: &Size, report: &mut Report) -> Outcome {
    let namespace = ground.namespace();
    let (by_key, by_tag) = runtime.block_on(overhear(ground, &namespace))?;
    let mut clients: Vec<Client> = (0..WIDE).map(|_| ground.client()).collect();
    let clients = std::cell::RefCell::new(&mut clients);
    let commands = u32::try_from(WIDE * size.each)?;
    let key = |index: usize| format!("user:{index:07}");
    let subject = |name: &str, sent: &dyn Fn(usize) -> Sent| {
        let sent: Vec<Sent> = (0..WIDE * size.each).map(sent).collect();
        let clients = &clients;
        Subject::new(name, commands, move || crowd(&mut clients.borrow_mut(), &sent))
    };
    let stored = |index: usize| format!("ct:{namespace}:v:{}", key(index)).into_bytes();
    let mut subjects = [
        subject("SET", &|index| vec![vec![b"SET".to_vec(), stored(index), VALUE.to_vec()]]),
        // Drops what the round of the first has set.
        subject("the script of `invalidate`", &|index| told(by_key.with(HEARD, &key(index)))),
        subject("the script of `invalidate_tag`", &|_| told(by_tag.with(HEARD, HEARD))),
    ];
    let times = interleave(size.rounds, &mut subjects)?;
    report.line(format!("the server: {WIDE} connections, nothing batched, no subscriber, a client that does next to nothing"));
    compare(&subjects.each_ref().map(Subject::name), &times, Bound::None, report);

    let connections = runtime.block_on(connections(ground))?;
    let subject = |name: &str, sent: &dyn Fn(usize) -> Sent| {
        let sent: Arc<[Sent]> = (0..WIDE * size.each).map(sent).collect();
        let connections = &connections;
        let each = size.each;
        Subject::new(name, commands, move || {
            all(runtime, connections, |connection, caller| {
                let (sent, mut connection) = (Arc::clone(&sent), connection);
                async move {
                    for commands in sent.iter().skip(caller * each).take(each) {
                        send(commands, &mut connection).await.map_err(|error| error.to_string())?;
                    }
                    Ok(())
                }
            })
        })
    };
    let mut subjects = [
        subject("SET", &|index| vec![vec![b"SET".to_vec(), stored(index), VALUE.to_vec()]]),
        subject("the script of `invalidate`", &|index| told(by_key.with(HEARD, &key(index)))),
        subject("the script of `invalidate_tag`", &|_| told(by_tag.with(HEARD, HEARD))),
    ];
    let times = interleave(size.rounds, &mut subjects)?;
    report.line(format!("\nthe server: {WIDE} connections of the client library, nothing batched, no subscriber"));
    compare(&subjects.each_ref().map(Subject::name), &times, Bound::Required, report);
    Ok(())
}

/// Sends one call's commands by the client library, as a service would: one by itself, two in a pipeline.
async fn send(commands: &Sent, connection: &mut MultiplexedConnection) -> redis::RedisResult<()> {
    let command = |words: &Vec<Vec<u8>>| {
        let mut command = Cmd::new();
        for word in words {
            command.arg(word);
        }
        command
    };
    match commands.as_slice() {
        [words] => command(words).query_async::<Value>(connection).await.map(drop),
        commands => {
            let mut pipe = redis::pipe();
            for words in commands {
                pipe.add_command(command(words));
            }
            let answers = pipe.query_async::<Vec<Value>>(connection).await?;
            if answers.iter().any(|answer| matches!(answer, Value::Int(_))) {
                return Err((ErrorKind::UnexpectedReturnType, DECLINED).into());
            }
            Ok(())
        }
    }
}

async fn connections(ground: &Ground) -> Outcome<Vec<MultiplexedConnection>> {
    let mut connections = Vec::new();
    for _ in 0..WIDE {
        connections.push(ground.raw().await?);
    }
    Ok(connections)
}

/// What one call sends at once: a command or two, in words.
type Sent = Vec<Vec<Vec<u8>>>;

/// A script that tells subscribers, as it is sent.
fn told(script: Vec<Vec<u8>>) -> Sent {
    vec![vec![b"PING".to_vec()], script]
}

/// Sends one call's commands on every connection, then takes every answer, until there are none left.
fn crowd(clients: &mut [Client], sent: &[Sent]) -> Outcome<Duration> {
    let begun = now();
    for sent in sent.chunks(clients.len()) {
        for (client, commands) in clients.iter_mut().zip(sent) {
            client.send_all(commands)?;
        }
        for (client, commands) in clients.iter_mut().zip(sent) {
            for _ in commands {
                match client.receive()? {
                    Reply::Error(why) => return Err(why.into()),
                    Reply::Int(_) => return Err(DECLINED.into()),
                    _ => {}
                }
            }
        }
    }
    Ok(begun.elapsed())
}

/// What an instance sends for `invalidate` and `invalidate_tag`. It is gone when this returns, and its subscription with it.
async fn overhear(ground: &Ground, namespace: &str) -> Outcome<(Overheard, Overheard)> {
    let cache = ground.instance(namespace).await?;
    ground.age_lanes(&[namespace]).await?;
    // The server knows the script from here on, and the lane has an era and a table.
    cache.invalidate("another").await?;
    cache.invalidate_tag("another").await?;
    let mut ear = ground.client();
    Overheard::begin(&mut ear)?;
    cache.invalidate(HEARD).await?;
    let by_key = Overheard::next_script(&mut ear, HEARD)?;
    cache.invalidate_tag(HEARD).await?;
    let by_tag = Overheard::next_script(&mut ear, ":bus")?;
    cache.close(Duration::from_secs(1)).await?;
    Ok((by_key, by_tag))
}

/// 50 instances.
fn instances(ground: &Ground, runtime: &Runtime, size: &Size, report: &mut Report) -> Outcome {
    let (caches, connections) = runtime.block_on(async {
        let (mut caches, namespaces) = (Vec::new(), (0..WIDE).map(|_| ground.namespace()).collect::<Vec<_>>());
        for namespace in &namespaces {
            caches.push(ground.instance(namespace).await?);
        }
        ground.age_lanes(&namespaces).await?;
        Outcome::Ok((caches, connections(ground).await?))
    })?;
    report.line(format!("\nthe product: {WIDE} instances, one call at a time in each, beside {WIDE} connections"));
    product(runtime, size, &caches, &connections, report)
}

/// One instance.
fn callers(ground: &Ground, runtime: &Runtime, size: &Size, report: &mut Report) -> Outcome {
    let (cache, connection) = runtime.block_on(async {
        let namespace = ground.namespace();
        let cache = ground.instance(&namespace).await?;
        ground.age_lanes(&[namespace]).await?;
        Outcome::Ok((cache, ground.raw().await?))
    })?;
    report.line(format!("\nthe product: one instance, {WIDE} callers, beside one connection with {WIDE} callers"));
    product(runtime, size, &vec![cache; WIDE], &vec![connection; WIDE], report)
}

fn product(
    runtime: &Runtime,
    size: &Size,
    caches: &[TieredCache],
    connections: &[MultiplexedConnection],
    report: &mut Report,
) -> Outcome {
    let commands = u32::try_from(WIDE * size.each)?;
    let each = size.each;
    let mut subjects = [
        Subject::new("SET", commands, || {
            all(runtime, connections, |connection, caller| async move {
                let mut connection = connection;
                for index in 0..each {
                    let () =
                        connection.set(format!("raw:{caller}:{index}"), &VALUE[..]).await.map_err(|error| error.to_string())?;
                }
                Ok(())
            })
        }),
        Subject::new("`invalidate`", commands, || {
            all(runtime, caches, |cache, caller| async move {
                for index in 0..each {
                    applied(cache.invalidate(&format!("user:{caller}:{index}")).await)?;
                }
                Ok(())
            })
        }),
        Subject::new("`invalidate_tag`", commands, || {
            all(runtime, caches, |cache, caller| async move {
                for index in 0..each {
                    applied(cache.invalidate_tag(&format!("org:{caller}:{index}")).await)?;
                }
                Ok(())
            })
        }),
    ];
    let times = interleave(size.rounds, &mut subjects)?;
    compare(&subjects.each_ref().map(Subject::name), &times, Bound::None, report);
    Ok(())
}

fn applied(delivery: Result<Delivery, cachetier::CacheError>) -> Result<(), String> {
    match delivery {
        Ok(Delivery::Applied(_)) => Ok(()),
        other => Err(format!("expected it to be applied, found {other:?}")),
    }
}

/// Runs one caller for each of `ends`, all at once.
fn all<T, F>(runtime: &Runtime, ends: &[T], call: impl Fn(T, usize) -> F) -> Outcome<Duration>
where
    T: Clone,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    runtime.block_on(async {
        let begun = now();
        let mut callers = JoinSet::new();
        for (caller, end) in ends.iter().enumerate() {
            callers.spawn(call(end.clone(), caller));
        }
        while let Some(done) = callers.join_next().await {
            done??;
        }
        Ok(begun.elapsed())
    })
}

/// Whether a comparison must be within the limit.
#[derive(Clone, Copy)]
enum Bound {
    Required,
    None,
}

fn compare(names: &[&str], times: &[Vec<f64>], bound: Bound, report: &mut Report) {
    let (Some(first), Some(base)) = (names.first(), times.first()) else { return };
    report.line(format!("  {first:<46} {:>9.0} a second", 1e9 / median(base)));
    for (name, times) in names.iter().zip(times).skip(1) {
        report.line(format!("  {name:<46} {:>9.0} a second", 1e9 / median(times)));
        match bound {
            Bound::Required => report.at_least("  against SET", ratio(base, times), LIMIT, ""),
            Bound::None => report.line(format!("    {:<44} {:>9.3}", "against SET", ratio(base, times))),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn now() -> Instant {
    Instant::now()
}
