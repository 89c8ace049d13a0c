//! A cold key that everybody wants: processes of callers over one server, a database that counts. One load, all of them answered with it; and what
//! follows where who loads is killed, stopped, or comes to nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cachetier::{Policy, TieredCache};
use cachetier_tests::{Owned, RedisServer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::figures::{Sorted, Wrong, ms};

const PROCESSES: usize = 8;
const CALLERS: usize = 125;
const LOADER: Duration = Duration::from_millis(200);
const LEASE: Duration = Duration::from_secs(1);
const POLICY: Policy = Policy::ttl(Duration::from_secs(600));
/// More than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// How many commands an instance may cost the server in all, those that scripts call included.
const COMMANDS: u64 = 6;

type Lines = (tokio::io::Lines<BufReader<OwnedReadHalf>>, OwnedWriteHalf);

fn lines(stream: UnixStream) -> Lines {
    let (read, write) = stream.into_split();
    (BufReader::new(read).lines(), write)
}

async fn next(lines: &mut Lines) -> Result<String, String> {
    let line = timeout(LONG, lines.0.next_line()).await.map_err(|_| "nothing was said in time".to_owned())?;
    line.map_err(|error| error.to_string())?.ok_or_else(|| "the other end is gone".to_owned())
}

async fn say(lines: &mut Lines, line: &str) -> Result<(), String> {
    lines.1.write_all(format!("{line}\n").as_bytes()).await.map_err(|error| error.to_string())
}

// --- a process of callers

/// Does as it is told over the socket: `go KEY CALLERS` asks for a key, `quit` ends it.
pub(crate) async fn member(url: &str, socket: &str) -> Result<(), String> {
    // With a backtrace, where the environment asks for one, telling of the panic would take longer than what is measured.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let builder = TieredCache::builder("load").redis(url).lease(LEASE).load_limit(LONG).wait_budget(LONG);
    let cache = builder.build().await.map_err(|error| error.to_string())?;
    let mut leader = lines(UnixStream::connect(socket).await.map_err(|error| error.to_string())?);
    say(&mut leader, "member").await?;
    loop {
        let order = next_order(&mut leader).await?;
        let words: Vec<&str> = order.split(' ').collect();
        let [_, key, callers] = words.as_slice() else { return Ok(()) };
        let (mut calls, dropped) = (JoinSet::new(), Arc::new(Notify::new()));
        for _ in 0..callers.parse().map_err(|_| format!("expected a number in `{order}`"))? {
            let (cache, key, socket, drops) = (cache.clone(), (*key).to_owned(), PathBuf::from(socket), Arc::clone(&dropped));
            calls.spawn(async move {
                let begun = Instant::now();
                let answer = cache.get_or_load(&key, POLICY, || load(&key, &socket, &drops)).await;
                (answer.unwrap_or_else(|_| "-".to_owned()), begun.elapsed())
            });
        }
        let mut answers = Vec::new();
        loop {
            tokio::select! {
                ended = calls.join_next() => match ended {
                    Some(ended) => answers.extend(ended),
                    None => break,
                },
                () = dropped.notified() => calls.abort_all(),
            }
        }
        let told: Vec<String> = answers.iter().map(|(value, took)| format!("{value}={}", took.as_micros())).collect();
        say(&mut leader, &told.join(" ")).await?;
    }
}

/// Orders may be long in coming, but not for ever.
async fn next_order(leader: &mut Lines) -> Result<String, String> {
    for _ in 0..20 {
        if let Ok(line) = timeout(LONG, leader.0.next_line()).await {
            return line.map_err(|error| error.to_string()).map(Option::unwrap_or_default);
        }
    }
    Ok(String::new())
}

/// Asks the database.
async fn load(key: &str, socket: &Path, drops: &Notify) -> Result<String, String> {
    let mut database = lines(UnixStream::connect(socket).await.map_err(|error| error.to_string())?);
    say(&mut database, &format!("load {key}")).await?;
    match next(&mut database).await?.as_str() {
        "fail" => Err("as it was told".to_owned()),
        #[expect(clippy::panic, reason = "as it was told")]
        "panic" => panic!("as it was told"),
        "drop" => {
            drops.notify_one();
            std::future::pending().await
        }
        value => Ok(value.to_owned()),
    }
}

// --- the leader, who is the database as well

/// What the database does with the next load of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Then {
    #[default]
    Answer,
    Fail,
    Panic,
    Drop,
    /// It answers only when it is told to.
    Hold,
}

#[derive(Debug, Default)]
struct Database {
    then: Mutex<BTreeMap<String, Then>>,
    /// When each load of a key began, and when it was answered.
    loads: Mutex<Vec<(String, Instant)>>,
    answered: Mutex<Vec<(String, Instant)>>,
    go_on: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    fn then(&self, key: &str, then: Then) {
        lock(&self.then).insert(key.to_owned(), then);
    }

    fn loads_of(&self, key: &str) -> Vec<Instant> {
        lock(&self.loads).iter().filter(|(of, _)| of == key).map(|(_, at)| *at).collect()
    }

    fn answered(&self, key: &str) -> Option<Instant> {
        lock(&self.answered).iter().find(|(of, _)| of == key).map(|(_, at)| *at)
    }

    async fn answer(&self, mut caller: Lines, key: &str) {
        let nth = {
            let mut loads = lock(&self.loads);
            loads.push((key.to_owned(), Instant::now()));
            loads.iter().filter(|(of, _)| of == key).count()
        };
        let then = lock(&self.then).remove(key).unwrap_or_default();
        if then == Then::Hold {
            self.go_on.notified().await;
        } else {
            sleep(LOADER).await;
        }
        let answer = match then {
            Then::Answer | Then::Hold => format!("v{nth}"),
            Then::Fail => "fail".to_owned(),
            Then::Panic => "panic".to_owned(),
            Then::Drop => "drop".to_owned(),
        };
        lock(&self.answered).push((key.to_owned(), Instant::now()));
        // Who asked may be gone.
        let _ = say(&mut caller, &answer).await;
    }

    async fn loaded(&self, key: &str, times: usize) -> Result<(), String> {
        let begun = Instant::now();
        while self.loads_of(key).len() < times {
            if begun.elapsed() > LONG {
                return Err(format!("{key} was not loaded {times} times"));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

struct Fleet {
    server: RedisServer,
    database: Arc<Database>,
    socket: String,
    processes: Vec<(Owned, Lines)>,
    arrivals: tokio::sync::mpsc::UnboundedReceiver<Lines>,
}

/// What the callers of one process got.
type Answers = Vec<(String, Duration)>;

impl Fleet {
    async fn start() -> Result<Self, String> {
        let server = RedisServer::builder().try_start()?;
        let database = Arc::new(Database::default());
        let socket = server.folder().join("database").to_string_lossy().into_owned();
        let listener = UnixListener::bind(&socket).map_err(|error| error.to_string())?;
        let (arrived, arrivals) = tokio::sync::mpsc::unbounded_channel();
        let asked = Arc::clone(&database);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (database, arrived) = (Arc::clone(&asked), arrived.clone());
                tokio::spawn(async move {
                    let mut caller = lines(stream);
                    match next(&mut caller).await.as_deref() {
                        Ok("member") => drop(arrived.send(caller)),
                        Ok(question) => {
                            if let Some(key) = question.strip_prefix("load ") {
                                database.answer(caller, key).await;
                            }
                        }
                        Err(_) => {}
                    }
                });
            }
        });
        let mut fleet = Self { server, database, socket, processes: Vec::new(), arrivals };
        for _ in 0..PROCESSES {
            fleet.add().await?;
        }
        Ok(fleet)
    }

    async fn add(&mut self) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|error| format!("no name of this program: {error}"))?;
        let words = vec!["member".to_owned(), self.server.url(), self.socket.clone()];
        let process = Owned::spawn(&program, words, self.server.folder()).map_err(|error| error.to_string())?;
        let arrived = timeout(LONG, self.arrivals.recv()).await.ok().flatten().ok_or("a process did not begin")?;
        self.processes.push((process, arrived));
        Ok(())
    }

    async fn go(&mut self, which: impl IntoIterator<Item = usize>, key: &str, callers: usize) -> Result<(), String> {
        for nth in which {
            if let Some((_, lines)) = self.processes.get_mut(nth) {
                say(lines, &format!("go {key} {callers}")).await?;
            }
        }
        Ok(())
    }

    async fn answers(&mut self, which: impl IntoIterator<Item = usize>) -> Result<Vec<Answers>, String> {
        let mut all = Vec::new();
        for nth in which {
            let Some((_, lines)) = self.processes.get_mut(nth) else { continue };
            let told = next(lines).await?;
            let read = |word: &str| {
                let (value, micros) = word.split_once('=')?;
                Some((value.to_owned(), Duration::from_micros(micros.parse().ok()?)))
            };
            all.push(told.split_whitespace().filter_map(read).collect());
        }
        Ok(all)
    }

    /// How often the server has run each command.
    fn commands(&self) -> BTreeMap<String, u64> {
        let told = self.server.command(&["INFO", "commandstats"]);
        let told = told.text().unwrap_or_default();
        let line = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        told.lines().filter_map(line).filter(|(name, _)| !["info", "config|resetstat"].contains(&name.as_str())).collect()
    }
}

pub(crate) async fn run() -> Result<(), String> {
    println!("{PROCESSES} processes, {CALLERS} callers each, one cold key; loader {LOADER:?}, lease {LEASE:?}");
    let (mut wrong, mut fleet) = (Wrong::default(), Fleet::start().await?);
    // The scripts are known then, and every connection has been used.
    fleet.go(0..PROCESSES, "warm", 1).await?;
    fleet.answers(0..PROCESSES).await?;
    cold(&mut fleet, &mut wrong).await?;
    for (then, what) in [(Then::Fail, "fails"), (Then::Panic, "panics"), (Then::Drop, "is dropped")] {
        comes_to_nothing(&mut fleet, &mut wrong, then, what).await?;
    }
    stopped(&mut fleet, &mut wrong).await?;
    killed(&mut fleet, &mut wrong).await?;
    wrong.outcome()
}

/// All at once.
async fn cold(fleet: &mut Fleet, wrong: &mut Wrong) -> Result<(), String> {
    // What checks of the lane cost: while nothing else is asked.
    fleet.server.command(&["CONFIG", "RESETSTAT"]);
    sleep(Duration::from_secs(3)).await;
    let idle = fleet.commands();
    fleet.server.command(&["CONFIG", "RESETSTAT"]);
    fleet.go(0..PROCESSES, "cold", CALLERS).await?;
    let answers: Answers = fleet.answers(0..PROCESSES).await?.into_iter().flatten().collect();
    let commands = without_checks(fleet.commands(), &idle)?;
    let (took, loads) = (Sorted::of(answers.iter().map(|(_, took)| *took)), fleet.database.loads_of("cold").len());
    let figures = [500, 990, 999, 1_000].map(|share| ms(took.permille(share))).join("  ");
    println!("cold: ms to the answer: p50, p99, p99.9, max: {figures}");
    let told: Vec<String> = commands.iter().map(|(name, calls)| format!("{name} {calls}")).collect();
    let sum: u64 = commands.values().sum();
    println!("commands, those that scripts call included: {}; in all {sum}", told.join(", "));
    wrong.must(loads == 1, format!("{loads} loads, expected 1"));
    let right = answers.iter().filter(|(value, _)| value == "v1").count();
    wrong.must(right == PROCESSES * CALLERS, format!("{right} callers have the value, expected {}", PROCESSES * CALLERS));
    // What is not optimised takes its time.
    let most = LOADER + Duration::from_millis(if cfg!(debug_assertions) { 60 } else { 20 });
    wrong.must(took.permille(990) <= most, format!("p99 {} ms, expected at most {} ms", ms(took.permille(990)), ms(most)));
    let each = sum.div_ceil(u64::try_from(PROCESSES).unwrap_or(1));
    wrong.must(each <= COMMANDS, format!("{each} commands an instance, expected at most {COMMANDS}"));
    Ok(())
}

/// What is left without the checks of the lane: each of them is a script that asks for the time, and nothing else does.
fn without_checks(mut commands: BTreeMap<String, u64>, idle: &BTreeMap<String, u64>) -> Result<BTreeMap<String, u64>, String> {
    let of_idle = |name: &str| idle.get(name).copied().unwrap_or_default();
    let scripts = Some(of_idle("evalsha")).filter(|scripts| *scripts > 0).ok_or("no check of the lane in three seconds")?;
    // A whole number of each in one check, rounded for the one that was cut off at either end.
    let each = |name: &str| (of_idle(name) + scripts / 2) / scripts;
    let checks = commands.remove("time").unwrap_or_default() / each("time").max(1);
    for (name, calls) in &mut commands {
        *calls = calls.saturating_sub(each(name) * checks);
    }
    println!("checks of the lane meanwhile, left out: {checks}");
    Ok(commands)
}

/// One loads, the others wait for it, and it comes to nothing.
async fn comes_to_nothing(fleet: &mut Fleet, wrong: &mut Wrong, then: Then, what: &str) -> Result<(), String> {
    let key = format!("{then:?}");
    fleet.database.then(&key, then);
    fleet.go([0], &key, 1).await?;
    fleet.database.loaded(&key, 1).await?;
    fleet.go(1..PROCESSES, &key, CALLERS).await?;
    let answers: Answers = fleet.answers(1..PROCESSES).await?.into_iter().flatten().collect();
    fleet.answers([0]).await?;
    let (loads, ended) = (fleet.database.loads_of(&key), fleet.database.answered(&key));
    let after = loads.get(1).zip(ended).map_or(LONG, |(next, ended)| next.saturating_duration_since(ended));
    wrong.must(loads.len() == 2, format!("{what}: {} loads, expected 2", loads.len()));
    wrong
        .must(after <= Duration::from_millis(50), format!("{what}: the next began after {} ms, expected at most 50 ms", ms(after)));
    let right = answers.iter().filter(|(value, _)| value == "v2").count();
    let callers = (PROCESSES - 1) * CALLERS;
    wrong.must(right == callers, format!("{what}: {right} callers have the next one's value, expected {callers}"));
    Ok(())
}

/// One loads, is stopped until its ticket is over, and goes on when another has stored something newer.
async fn stopped(fleet: &mut Fleet, wrong: &mut Wrong) -> Result<(), String> {
    fleet.database.then("stopped", Then::Hold);
    fleet.go([0], "stopped", 1).await?;
    fleet.database.loaded("stopped", 1).await?;
    let frozen = fleet.processes.first_mut().map(|(process, _)| process.stop());
    frozen.ok_or("no process")?.map_err(|error| error.to_string())?;
    let begun = Instant::now();
    fleet.go(1..PROCESSES, "stopped", CALLERS).await?;
    let answers: Answers = fleet.answers(1..PROCESSES).await?.into_iter().flatten().collect();
    fleet.database.go_on.notify_one();
    let name = "ct:load:v:stopped";
    let before = fleet.server.command(&["GET", name]).text();
    let resumed = fleet.processes.first_mut().map(|(process, _)| process.resume());
    resumed.ok_or("no process")?.map_err(|error| error.to_string())?;
    let late: Answers = fleet.answers([0]).await?.into_iter().flatten().collect();
    // Its fill goes out before its caller is answered, or shortly after that.
    sleep(Duration::from_millis(200)).await;
    let after = fleet.server.command(&["GET", name]).text();
    fleet.go(0..PROCESSES, "stopped", 1).await?;
    let then: Answers = fleet.answers(0..PROCESSES).await?.into_iter().flatten().collect();
    let loads = fleet.database.loads_of("stopped");
    let took = loads.get(1).map_or(LONG, |next| next.saturating_duration_since(begun));
    wrong.must(loads.len() == 2, format!("stopped: {} loads, expected 2, the second {} ms after the stop", loads.len(), ms(took)));
    let right = |answers: &Answers| answers.iter().all(|(value, _)| value == "v2") && !answers.is_empty();
    wrong
        .must(right(&answers) && late.iter().all(|(value, _)| value == "v1"), "stopped: each has what its load brought".to_owned());
    wrong.must(before.is_some() && before == after, "stopped: the late fill has changed nothing".to_owned());
    wrong.must(right(&then), "stopped: everybody reads what is newer".to_owned());
    Ok(())
}

/// One loads and is killed.
async fn killed(fleet: &mut Fleet, wrong: &mut Wrong) -> Result<(), String> {
    fleet.database.then("killed", Then::Hold);
    fleet.go([0], "killed", 1).await?;
    fleet.database.loaded("killed", 1).await?;
    fleet.go(1..PROCESSES, "killed", CALLERS).await?;
    // Until its ticket has been extended a few times.
    sleep(LEASE + LEASE / 2).await;
    let before = fleet.database.loads_of("killed").len();
    if let Some((process, _)) = fleet.processes.first_mut() {
        process.kill();
    }
    let killed = Instant::now();
    let answers: Answers = fleet.answers(1..PROCESSES).await?.into_iter().flatten().collect();
    let loads = fleet.database.loads_of("killed");
    let after = loads.get(1).map_or(LONG, |next| next.saturating_duration_since(killed));
    let most = LEASE + Duration::from_millis(100);
    wrong.must(before == 1, format!("killed: {before} loads while it lived, expected 1"));
    wrong.must(loads.len() == 2, format!("killed: {} loads in all, expected 2", loads.len()));
    wrong.must(after <= most, format!("killed: the next began after {} ms, expected at most {} ms", ms(after), ms(most)));
    let right = answers.iter().filter(|(value, _)| value == "v2").count();
    let callers = (PROCESSES - 1) * CALLERS;
    wrong.must(right == callers, format!("killed: {right} callers have the next one's value, expected {callers}"));
    Ok(())
}
