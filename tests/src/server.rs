//! A real Redis server with one owner: own process, own folder, own socket or port; gone when the owner is dropped.
//! Finding the program is done here as `cargo xtask test` does it; fetching it is that command's alone.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::certificates::Issued;
use crate::client::{Address, Client, Reply};
use crate::cluster::{self, Peers};
use crate::eventually::Deadline;
use crate::faketime;
use crate::over::{Login, Over};
use crate::process::{Owned, in_path};
use crate::reach;
use crate::sentinel::{self, Watch};

/// A server is ready within a tenth of a second; a machine that is busy with other tests may take far longer.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How many free ports are tried: another process can take one between our look and the server's bind.
const PORTS_TRIED: u32 = 5;

/// How much of the log's end a failure shows, in bytes.
const LOG_SHOWN: usize = 8_192;

/// Says how a server is to run.
#[derive(Clone, Debug, Default)]
pub struct ServerBuilder {
    over: Over,
    /// Who has issued the server's certificate, and that.
    identity: Option<(String, Issued)>,
    config: Vec<(String, String)>,
    faketime: Option<PathBuf>,
}

impl ServerBuilder {
    /// Listens on a free port of the loopback interface, in every run. Defaults to a unix socket in the server's folder, or to what
    /// [`Over::chosen`] says.
    #[must_use]
    pub fn tcp(mut self) -> Self {
        self.over = Over::Tcp;
        self
    }

    /// The same behind TLS, and wants no certificate of its clients.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.over = Over::TlsWithoutCertificate;
        self
    }

    /// The same behind TLS, and wants a certificate of its clients: `client.pem` and `client.key` in the server's folder.
    #[must_use]
    pub fn tls_with_client_certificate(mut self) -> Self {
        self.over = Over::Tls;
        self
    }

    /// Sets the server's certificate, and whose clients are to trust: as PEM, `ca.pem` in the server's folder. Defaults to a good one.
    #[must_use]
    pub fn certificate(mut self, trusted: &str, issued: Issued) -> Self {
        self.identity = Some((trusted.to_owned(), issued));
        self
    }

    /// Sets an option of the server's configuration, such as `maxmemory`.
    #[must_use]
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.config.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets [`RedisServer::step_clock`] step the server's clock, by this libfaketime. Defaults to the machine's clock.
    #[must_use]
    pub fn faketime(mut self, library: &Path) -> Self {
        self.faketime = Some(library.to_owned());
        self
    }

    /// Starts the server and returns once it answers.
    ///
    /// # Panics
    /// When no server is installed, or it does not answer in time; the text holds the end of its log.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> RedisServer {
        match self.try_start() {
            Ok(server) => server,
            Err(why) => panic!("{why}"),
        }
    }

    /// Starts the server as [`ServerBuilder::start`] does, for callers that can say why it cannot be had.
    ///
    /// # Errors
    /// Where that panics, with the same text.
    pub fn try_start(self) -> Result<RedisServer, String> {
        let program = program()?;
        let mut tried = 0;
        loop {
            tried += 1;
            let folder = Folder::new()?;
            let port = if self.over.has_port() { Some(free_port()?) } else { None };
            let mut builder = self.clone();
            if self.over == Over::Cluster {
                builder.config.extend(cluster::node_of_suite()?);
            }
            match RedisServer::launch(program.clone(), port, builder, folder) {
                Err(why) if port.is_some() && tried < PORTS_TRIED && why.contains("Address already in use") => {}
                outcome => return outcome,
            }
        }
    }
}

/// A running server. Dropping it ends the process and removes its folder.
#[derive(Debug)]
pub struct RedisServer {
    // Before the folder: the process is ended before the folder goes.
    process: Owned,
    program: PathBuf,
    /// Where it is reached without TLS.
    address: Address,
    port: Option<u16>,
    builder: ServerBuilder,
    /// Its replicas, and the Sentinels that say where it is, where there are any.
    watch: Option<Watch>,
    /// The other nodes of its Cluster.
    peers: Option<Peers>,
    folder: Folder,
}

impl RedisServer {
    /// Returns a builder for a server without persistence, reached as [`Over::chosen`] says.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder { over: Over::chosen(), ..ServerBuilder::default() }
    }

    /// Starts a server, reached as [`Over::chosen`] says.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    fn launch(program: PathBuf, port: Option<u16>, builder: ServerBuilder, folder: Folder) -> Result<Self, String> {
        if builder.faketime.is_some() {
            faketime::tell(&folder.clock(), 0).map_err(|error| format!("no clock at {}: {error}", folder.clock().display()))?;
        }
        let address = match port {
            Some(port) if !builder.over.is_tls() => Address::Tcp(port),
            // Without a port it listens there alone; behind TLS for whoever asks about it.
            _ => Address::Unix(folder.0.join("redis.sock")),
        };
        let process = spawn(&program, &address, port, &builder, &folder)?;
        let mut server = Self { process, program, address, port, builder, watch: None, peers: None, folder };
        server.ready()?;
        if let Some(port) = port.filter(|_| server.builder.over == Over::Sentinel) {
            server.watch = Some(Watch::start(port)?);
        }
        if server.builder.over == Over::Cluster {
            server.peers = Some(Peers::start(&server)?);
        }
        Ok(server)
    }

    /// Returns the address as clients take it: `redis+unix:///..`, `redis://127.0.0.1:port/` or `rediss://127.0.0.1:port/?..`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for(&self.login())
    }

    /// Returns the address of one of its databases.
    #[must_use]
    pub fn url_of(&self, database: u32) -> String {
        self.url_for(&Login { database, ..self.login() })
    }

    /// Returns the address for this user, or for nobody in particular where there is no name or no password.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str, database: u32) -> String {
        self.url_for(&Login { user, password, database })
    }

    fn url_for(&self, login: &Login<'_>) -> String {
        if let Some(watch) = &self.watch {
            return reach::named(&watch.urls(), &format!("redis://{}{}/{}", login.authority(), sentinel::NAME, login.path()));
        }
        if self.is_in_cluster() {
            return reach::in_cluster(&[self.address.url(login)]);
        }
        match self.port {
            Some(port) if self.builder.over.is_tls() => {
                let query = self.builder.over.query(&self.folder.0);
                format!("rediss://{}127.0.0.1:{port}/{}?{query}", login.authority(), login.path())
            }
            _ => self.address.url(login),
        }
    }

    /// Whether it is a node of the Cluster that this run goes by.
    pub(crate) fn is_in_cluster(&self) -> bool {
        self.builder.over == Over::Cluster
    }

    pub(crate) fn login(&self) -> Login<'static> {
        self.builder.over.login()
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the unix socket, if that is where its clients go.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match &self.address {
            Address::Unix(path) if self.port.is_none() => Some(path),
            _ => None,
        }
    }

    /// Returns the port, if its clients go to one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the process's id; another one after [`RedisServer::restart`].
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the folder of socket and log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Returns the end of the server's log.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.log()).unwrap_or_default();
        let end = log.get(log.len().saturating_sub(LOG_SHOWN)..).unwrap_or_default();
        String::from_utf8_lossy(end).into_owned()
    }

    /// Returns a connection of its own.
    ///
    /// # Panics
    /// When the server cannot be reached.
    #[must_use]
    #[track_caller]
    pub fn client(&self) -> Client {
        match Client::connect(&self.address) {
            Ok(client) if self.is_in_cluster() => client.in_cluster(),
            Ok(client) => client,
            Err(error) => panic!("no connection to the server at {}: {error}\n{}", self.url(), self.shown_log()),
        }
    }

    /// Runs one command on a connection of its own.
    ///
    /// # Panics
    /// When there is no answer. A refusal is an answer: [`Reply::Error`].
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&self, words: &[A]) -> Reply {
        match self.client().command(words) {
            Ok(reply) => reply,
            Err(error) => panic!("no answer from the server at {}: {error}\n{}", self.url(), self.shown_log()),
        }
    }

    /// How many connections it has, those of its replicas and of Sentinels left out, the one that asks included.
    ///
    /// # Panics
    /// As [`RedisServer::command`].
    #[must_use]
    #[track_caller]
    pub fn connections(&self) -> usize {
        let list = self.command(&["CLIENT", "LIST"]).text().unwrap_or_default();
        list.lines().filter(|line| !line.contains(" flags=S") && !line.contains(" name=sentinel-")).count()
    }

    /// Freezes the process: connections stay open and nothing answers, as behind a black hole.
    ///
    /// # Panics
    /// When the process has ended.
    #[track_caller]
    pub fn stop(&mut self) {
        let stopped = self.process.stop();
        self.signalled(stopped);
    }

    /// Lets a frozen process go on.
    ///
    /// # Panics
    /// When the process has ended.
    #[track_caller]
    pub fn resume(&mut self) {
        let resumed = self.process.resume();
        self.signalled(resumed);
    }

    /// Ends the process at once, as a crash would: connections break, nothing is kept. [`RedisServer::restart`] brings a new one.
    pub fn kill(&mut self) {
        self.process.kill();
        if self.builder.faketime.is_some() {
            faketime::sweep(self.process.pid());
        }
    }

    /// Makes the server's clock differ by so much from the machine's, at once and for its successors too. Only the calendar is stepped, as by
    /// who sets a machine's clock.
    ///
    /// # Errors
    /// When the server was not built with [`ServerBuilder::faketime`], or the clock cannot be told.
    pub fn step_clock(&self, millis: i64) -> std::io::Result<()> {
        if self.builder.faketime.is_none() {
            return Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "the server has the machine's clock"));
        }
        faketime::tell(&self.folder.clock(), millis)
    }

    /// Writes what the server holds to its disk, for [`RedisServer::restart_from_saved`].
    ///
    /// # Panics
    /// When the server does not do it.
    #[track_caller]
    pub fn save(&self) {
        let reply = self.command(&["SAVE"]);
        assert_eq!(reply, Reply::Status("OK".to_owned()), "the server at {} does not save", self.url());
    }

    /// Ends the process, if it runs, and starts an empty one at the same address.
    ///
    /// # Panics
    /// When it does not answer in time.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        // An error means that nothing was saved.
        let _ = std::fs::remove_file(self.folder.saved());
        self.launch_again();
    }

    /// Ends the process, if it runs, and starts one at the same address with what was saved last.
    ///
    /// # Panics
    /// When it does not answer in time.
    #[track_caller]
    pub fn restart_from_saved(&mut self) {
        self.kill();
        self.launch_again();
    }

    #[track_caller]
    fn launch_again(&mut self) {
        let restarted = spawn(&self.program, &self.address, self.port, &self.builder, &self.folder).and_then(|process| {
            self.process = process;
            self.ready()?;
            if self.peers.is_some() { cluster::wait_until_served(self) } else { Ok(()) }
        });
        if let Err(why) = restarted {
            panic!("{why}");
        }
    }

    #[track_caller]
    fn signalled(&self, outcome: std::io::Result<()>) {
        if let Err(error) = outcome {
            panic!("no signal to the server at {}: {error}\n{}", self.url(), self.shown_log());
        }
    }

    /// Waits until our own process answers. Who answers is asked, because a port can belong to somebody else.
    fn ready(&mut self) -> Result<(), String> {
        let deadline = Deadline::after(READY_WITHIN);
        loop {
            if let Some(how) = self.process.ended() {
                return Err(format!("the server at {} ended while it started ({how})\n{}", self.url(), self.shown_log()));
            }
            if answering_pid(&self.address) == Some(self.pid()) {
                return Ok(());
            }
            if deadline.passed() {
                return Err(format!("the server at {} did not answer within {READY_WITHIN:?}\n{}", self.url(), self.shown_log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn shown_log(&self) -> String {
        format!("--- its log ends with:\n{}---", self.log())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(program: &Path, address: &Address, port: Option<u16>, builder: &ServerBuilder, folder: &Folder) -> Result<Owned, String> {
    let mut arguments: Vec<String> = Vec::new();
    let mut set = |name: &str, value: &str| arguments.extend([format!("--{name}"), value.to_owned()]);
    match address {
        Address::Unix(path) => {
            set("port", "0");
            set("unixsocket", &path.to_string_lossy());
        }
        Address::Tcp(port) => {
            set("port", &port.to_string());
        }
    }
    if let Some(port) = port {
        set("bind", "127.0.0.1");
        if builder.over.is_tls() {
            set("tls-port", &port.to_string());
        }
    }
    let options = builder.over.prepare(&folder.0, builder.identity.as_ref());
    for (name, value) in options.map_err(|error| format!("{} cannot be written: {error}", folder.0.display()))? {
        set(name, &value);
    }
    set("dir", &folder.0.to_string_lossy());
    set("logfile", &folder.log().to_string_lossy());
    set("save", "");
    set("appendonly", "no");
    set("daemonize", "no");
    set("enable-debug-command", "local");
    for (name, value) in &builder.config {
        set(name, value);
    }
    let environment =
        builder.faketime.as_deref().map(|library| faketime::environment(library, &folder.clock())).unwrap_or_default();
    Owned::spawn_in(environment, program, arguments, &folder.0)
        .map_err(|error| format!("{} does not start: {error}", program.display()))
}

/// The process id of the server that answers there, once it has loaded.
fn answering_pid(address: &Address) -> Option<u32> {
    let mut client = Client::connect(address).ok()?;
    if client.command(&["PING"]).ok()? != Reply::Status("PONG".to_owned()) {
        return None;
    }
    let info = client.command(&["INFO", "server"]).ok()?.text()?;
    info.lines().find_map(|line| line.strip_prefix("process_id:"))?.trim().parse().ok()
}

pub(crate) fn free_port() -> Result<u16, String> {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(|error| format!("no free port: {error}"))
}

/// `REDIS_SERVER`, then `PATH`, then the copy that `cargo xtask` has fetched beside what cargo builds.
pub(crate) fn program() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("REDIS_SERVER").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return if named.is_file() { Ok(named) } else { Err(format!("REDIS_SERVER names {}: no such file", named.display())) };
    }
    let fetched = || {
        let this = std::env::current_exe().ok()?;
        this.ancestors().map(|folder| folder.join("redis").join("redis-server")).find(|file| file.is_file())
    };
    in_path("redis-server")
        .or_else(fetched)
        .ok_or_else(|| "no redis-server found: run `cargo xtask test`, which fetches one, or set REDIS_SERVER".to_owned())
}

/// A folder of one server, removed with it. Its path is short: a unix socket's has at most 107 bytes.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let base = std::env::temp_dir();
        loop {
            let name = format!("cachetier-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = base.join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left by a process that was killed and had our id.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("no folder at {}: {error}", path.display())),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn log(&self) -> PathBuf {
        self.0.join("redis.log")
    }

    /// By how much the clock is stepped.
    fn clock(&self) -> PathBuf {
        self.0.join("clock")
    }

    fn saved(&self) -> PathBuf {
        self.0.join("dump.rdb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
