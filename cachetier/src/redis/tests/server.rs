//! A real server of a test's own: on a unix socket in a directory of its own, gone with its handle.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, FromRedisValue};

use crate::error::Fault;
use crate::l2::lane::LaneNames;
use crate::l2::{Limits, Store as _};
use crate::redis::{Ends, RedisLane, RedisStore, RedisUrl, Settings, Target, open_parts};
use crate::rule::breaker::Breaker;
use crate::rule::stamp::Stamp;
use crate::wire::slot::{TICKET, VALUE, prefix};
use crate::wire::wake::Mailbox;

/// How long a test waits for what must happen: far longer than it takes, so that a busy machine fails no test.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const LEASE: Duration = Duration::from_secs(30);

pub(super) const CELLS: u32 = 64;

pub(super) const SETTINGS: Settings = Settings {
    connect_limit: Duration::from_secs(5),
    limits: Limits { read: Duration::from_secs(5), command: Duration::from_secs(5) },
    max_staleness: Duration::from_secs(2),
    // What these tests are about begins where it would step in.
    breaker: Breaker::off(),
};

/// A server process, or the place where one will be started.
pub(super) struct Server {
    child: Option<Child>,
    directory: PathBuf,
    options: Vec<String>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(super) async fn start_with(options: &[&str]) -> Self {
        let mut server = Self::later(options);
        server.again().await;
        server
    }

    /// A server that is not started yet.
    pub(super) fn later(options: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("cachetier-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the server");
        Self { child: None, directory, options: options.iter().map(ToString::to_string).collect() }
    }

    /// Starts the server, after [`Server::later`] or [`Server::kill`].
    pub(super) async fn again(&mut self) {
        let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let child = Command::new(&program)
            .current_dir(&self.directory)
            .args(["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            panic!("no {program}: these tests need redis-server 7.0 or newer in PATH or named by REDIS_SERVER")
        };
        self.child = Some(child);
        eventually("the server answers", async || {
            let Ok(mut socket) = UnixStream::connect(self.socket()) else { return false };
            let mut answer = [0; 1];
            socket.write_all(b"PING\r\n").is_ok() && socket.read_exact(&mut answer).is_ok()
        })
        .await;
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the server can be killed");
            child.wait().expect("the server ends");
        }
    }

    /// Sends the process a signal by its id: `STOP` makes it a black hole, `CONT` ends that.
    pub(super) fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("a started server").id();
        let status = Command::new("kill").arg(format!("-{signal}")).arg(id.to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{signal} {id}");
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    pub(super) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// A TCP address behind which the server stands, as long as the test runs.
    pub(super) fn over_tcp(&self) -> SocketAddr {
        self.behind(<[u8]>::to_vec)
    }

    /// An address behind which the server says that it has this version, until another is put there.
    pub(super) fn told_to_be(&self, version: &Arc<Mutex<&'static str>>) -> String {
        let version = Arc::clone(version);
        let address = self.behind(move |bytes| {
            let version = *version.lock().expect("no test fails with it locked");
            disguised(bytes, version).unwrap_or_else(|| bytes.to_vec())
        });
        format!("redis://{address}/")
    }

    /// A TCP address behind which the server stands, as long as the test runs; `answers` is what becomes of what it sends.
    fn behind(&self, answers: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its number");
        let (socket, answers) = (self.socket(), Arc::new(answers));
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                // While the server is away, its clients are let go of.
                let Ok(server) = UnixStream::connect(&socket) else { continue };
                let (mut from_client, mut to_server) = (client.try_clone().expect("a clone"), server.try_clone().expect("a clone"));
                let (mut from_server, mut to_client) = (server, client);
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from_client, &mut to_server);
                    to_server.shutdown(Shutdown::Both)
                });
                let answers = Arc::clone(&answers);
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(length @ 1..) = from_server.read(&mut buffer) {
                        if to_client.write_all(&answers(&buffer[..length])).is_err() {
                            break;
                        }
                    }
                    to_client.shutdown(Shutdown::Both)
                });
            }
        });
        address
    }

    /// The adapter over this server, connected. With `CACHETIER_OLDER_REDIS` set, every test shows the form of what is sent to servers
    /// before 7.0.
    pub(super) async fn open(&self) -> (Arc<RedisStore>, Arc<RedisLane>) {
        let older = std::env::var_os("CACHETIER_OLDER_REDIS").is_some();
        let url = if older { self.told_to_be(&Arc::new(Mutex::new("6.2.7"))) } else { self.url() };
        self.open_at(&url).await
    }

    /// The adapter over this address of the server, connected.
    pub(super) async fn open_at(&self, url: &str) -> (Arc<RedisStore>, Arc<RedisLane>) {
        let (store, lane) = open_with(url, SETTINGS);
        store.ready(PATIENCE).await.expect("a connection");
        (store, lane)
    }

    /// A plain connection, to look at the server past the adapter.
    pub(super) async fn plain(&self) -> Plain {
        let client = ::redis::Client::open(self.url()).expect("an address");
        Plain(client.get_multiplexed_async_connection().await.expect("a connection"))
    }
}

/// The answer to the handshake with another version; nothing where it is another answer.
fn disguised(bytes: &[u8], version: &str) -> Option<Vec<u8>> {
    const BEFORE: &[u8] = b"$7\r\nversion\r\n";
    let at = bytes.windows(BEFORE.len()).position(|window| window == BEFORE)?;
    // The length of the version, then itself: each ends its line.
    let mut lines = bytes[at + BEFORE.len()..].split_inclusive(|byte| *byte == b'\n');
    let behind = at + BEFORE.len() + lines.next()?.len() + lines.next()?.len();
    let told = format!("${}\r\n{version}\r\n", version.len());
    Some([&bytes[..at], BEFORE, told.as_bytes(), &bytes[behind..]].concat())
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Works on a stopped process too.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A connection without the adapter.
pub(super) struct Plain(MultiplexedConnection);

impl Plain {
    /// How often a command was called on the server, by scripts as well.
    pub(super) async fn calls(&mut self, command: &str) -> u64 {
        let stats: String = self.say("INFO commandstats").await;
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or_default()
    }

    /// How many connections were ever made to the server.
    pub(super) async fn connected(&mut self) -> u64 {
        let stats: String = self.say("INFO stats").await;
        let count = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.and_then(|count| count.trim().parse().ok()).expect("the server counts them")
    }

    pub(super) async fn ask<T: FromRedisValue>(&mut self, words: &[&[u8]]) -> T {
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut self.0).await.expect("an answer")
    }

    /// Sends words without spaces.
    pub(super) async fn say<T: FromRedisValue>(&mut self, words: &str) -> T {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.ask(&words).await
    }

    pub(super) async fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        self.ask(&[b"GET", key.as_bytes()]).await
    }

    pub(super) async fn set(&mut self, key: &str, value: &[u8]) {
        self.ask::<()>(&[b"SET", key.as_bytes(), value]).await;
    }

    /// Milliseconds to live; -1 for ever, -2 for no key.
    pub(super) async fn life(&mut self, key: &str) -> i64 {
        self.ask(&[b"PTTL", key.as_bytes()]).await
    }

    /// The ids of all connections but this one.
    pub(super) async fn others(&mut self) -> Vec<u64> {
        let own: u64 = self.say("CLIENT ID").await;
        let list: String = self.say("CLIENT LIST").await;
        let ids = list.lines().filter_map(|line| line.strip_prefix("id=")?.split(' ').next()?.parse().ok());
        ids.filter(|id| *id != own).collect()
    }
}

/// The adapter over a server, not yet connected.
pub(super) fn open_with(url: &str, settings: Settings) -> (Arc<RedisStore>, Arc<RedisLane>) {
    open(RedisUrl::parse(url).expect("an address"), settings, &names()).expect("a runtime")
}

/// The two ends of the one part of these names.
pub(super) fn open(target: impl Into<Target>, settings: Settings, names: &LaneNames) -> Result<Ends, Fault> {
    open_parts(target, settings, [names]).map(|mut parts| parts.remove(0))
}

pub(super) fn names() -> LaneNames {
    LaneNames { room: "shop".to_owned(), in_one_slot: false, cells: CELLS, outlives_runs: false, mailbox: Mailbox::random() }
}

pub(super) fn stamp(number: u8) -> Stamp {
    Stamp([number; Stamp::LEN])
}

pub(super) fn ticket(number: u8) -> Vec<u8> {
    prefix(TICKET, stamp(number)).to_vec()
}

pub(super) fn value(number: u8, payload: &str) -> Vec<u8> {
    [&prefix(VALUE, stamp(number)), payload.as_bytes()].concat()
}

/// A write guard's hold.
pub(super) const HELD: &[u8] = b"\xf7\x01 a guard's hold";

/// Waits until `condition` holds.
#[track_caller]
pub(super) fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let wait = async move {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    async move { assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "in vain: {what}") }
}
