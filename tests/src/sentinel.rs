//! A primary with replicas and the Sentinels that watch it, all of them processes with one owner.

use std::time::Duration;

use crate::client::{Address, Client, Reply};
use crate::eventually::Deadline;
use crate::over::Login;
use crate::process::Owned;
use crate::reach;
use crate::server::{Folder, RedisServer, free_port, program};

/// What the Sentinels call it.
pub(crate) const NAME: &str = "shop";
/// How long a fail-over may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A primary, two replicas and three Sentinels. Dropping it ends them all.
#[derive(Debug)]
pub struct Sentinels {
    /// The servers; which of them is the primary is the Sentinels' to say.
    pub servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    process: Owned,
    port: u16,
    _folder: Folder,
}

impl Sentinels {
    /// Starts them, and returns once each Sentinel knows the others and both replicas. A primary that does not answer for a second is replaced.
    ///
    /// # Panics
    /// When one of them does not start or does not find the others in time.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        match Self::try_start() {
            Ok(started) => started,
            Err(why) => panic!("{why}"),
        }
    }

    /// Starts them as [`Sentinels::start`] does, for callers that can say why they cannot be had.
    ///
    /// # Errors
    /// Where that panics, with the same text.
    pub fn try_start() -> Result<Self, String> {
        let primary = RedisServer::builder().tcp().config("repl-diskless-sync-delay", "0").try_start()?;
        let port = primary.port().ok_or("the primary has no port")?;
        let mut servers = vec![primary];
        servers.extend(replicas(port)?);
        let sentinels = (0..3).map(|_| Sentinel::start(port, SOON)).collect::<Result<Vec<_>, _>>()?;
        let started = Self { servers, sentinels };
        let deadline = Deadline::after(PATIENCE);
        while !started.sentinels.iter().all(Sentinel::knows_all) {
            if deadline.passed() {
                return Err("the Sentinels do not find each other".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(started)
    }

    /// The addresses of the Sentinels.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Sentinel::url).collect()
    }

    /// The address of the primary, for [`Reach`](crate::Reach).
    #[must_use]
    pub fn address(&self) -> String {
        reach::named(&self.urls(), NAME)
    }

    /// What they call the primary.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// Which of the servers is the primary now, as most Sentinels that answer say.
    ///
    /// # Panics
    /// When none answers, or they name another server.
    #[must_use]
    #[track_caller]
    pub fn primary(&self) -> usize {
        let mut named: Vec<u16> = self.sentinels.iter().filter_map(Sentinel::primary).collect();
        named.sort_unstable();
        let port = named.get(named.len() / 2).copied();
        let found = port.and_then(|port| self.servers.iter().position(|server| server.port() == Some(port)));
        match found {
            Some(found) => found,
            None => panic!("no Sentinel names one of the servers: {port:?}"),
        }
    }

    /// Waits until most Sentinels name another server than this one as the primary, and returns which.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait_for_another(&self, than: usize) -> usize {
        let old = self.servers.get(than).and_then(RedisServer::port);
        let deadline = Deadline::after(PATIENCE);
        loop {
            let others = self.sentinels.iter().filter_map(Sentinel::primary).filter(|port| Some(*port) != old).count();
            if others * 2 > self.sentinels.len() {
                return self.primary();
            }
            assert!(!deadline.passed(), "the Sentinels name no other primary");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the primary has both others as replicas that are in step with it, and each Sentinel knows that.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait_for_replicas(&self) {
        let deadline = Deadline::after(PATIENCE);
        let in_step = || {
            let primary = self.servers.get(self.primary());
            let told = primary.and_then(|primary| primary.command(&["INFO", "replication"]).text()).unwrap_or_default();
            told.matches("state=online").count() == 2
        };
        while !(in_step() && self.sentinels.iter().all(Sentinel::sees_replicas)) {
            assert!(!deadline.passed(), "the replicas do not come into step");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Has the primary replaced though nothing is wrong with it.
    ///
    /// # Panics
    /// When the Sentinel will not.
    #[track_caller]
    pub fn fail_over(&self) {
        let replies: Vec<_> = self.sentinels.iter().take(1).map(|one| one.ask(&["SENTINEL", "FAILOVER", NAME])).collect();
        assert_eq!(replies, [Some(Reply::Status("OK".to_owned()))]);
    }

    /// Ends this Sentinel.
    pub fn kill_sentinel(&mut self, which: usize) {
        if let Some(sentinel) = self.sentinels.get_mut(which) {
            sentinel.process.kill();
        }
    }
}

/// A primary that is silent for a second is replaced.
const SOON: u32 = 1_000;
/// Whatever is done to it, it is not.
const NEVER: u32 = 3_600_000;

fn replicas(primary: u16) -> Result<Vec<RedisServer>, String> {
    let replica = |_| {
        let builder = RedisServer::builder().tcp().config("repl-diskless-sync-delay", "0");
        builder.config("replicaof", &format!("127.0.0.1 {primary}")).try_start()
    };
    (0..2).map(replica).collect()
}

/// Two replicas of a server, and three Sentinels that say where it is and never replace it. Dropping it ends them all.
#[derive(Debug)]
pub(crate) struct Watch {
    _replicas: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
}

impl Watch {
    pub(crate) fn start(primary: u16) -> Result<Self, String> {
        let sentinels = (0..3).map(|_| Sentinel::start(primary, NEVER)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { _replicas: replicas(primary)?, sentinels })
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Sentinel::url).collect()
    }
}

/// How many free ports are tried: another process can take one between our look and the Sentinel's bind.
const PORTS_TRIED: u32 = 5;

impl Sentinel {
    /// One that has the primary replaced once that has been silent for so many milliseconds.
    fn start(primary: u16, down_after: u32) -> Result<Self, String> {
        let mut tried = 0;
        loop {
            tried += 1;
            let mut sentinel = Self::launch(primary, down_after)?;
            let deadline = Deadline::after(PATIENCE);
            let how = loop {
                match sentinel.process.ended() {
                    None if sentinel.ask(&["PING"]).is_some() => return Ok(sentinel),
                    None if deadline.passed() => break "it does not answer".to_owned(),
                    None => std::thread::sleep(Duration::from_millis(5)),
                    Some(how) => break how,
                }
            };
            if tried == PORTS_TRIED {
                return Err(format!("no Sentinel starts: {how}"));
            }
        }
    }

    fn launch(primary: u16, down_after: u32) -> Result<Self, String> {
        let (program, folder, port) = (program()?, Folder::new()?, free_port()?);
        let path = folder.path().join("sentinel.conf");
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile {folder}/redis.log\nsentinel monitor {NAME} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {NAME} {down_after}\nsentinel failover-timeout {NAME} 5000\n",
            folder = folder.path().display()
        );
        std::fs::write(&path, config).map_err(|error| format!("no file at {}: {error}", path.display()))?;
        let arguments = vec![path.display().to_string(), "--sentinel".to_owned()];
        let process = Owned::spawn(&program, arguments, folder.path()).map_err(|error| format!("no Sentinel starts: {error}"))?;
        Ok(Self { process, port, _folder: folder })
    }

    fn url(&self) -> String {
        Address::Tcp(self.port).url(&Login::default())
    }

    fn ask(&self, words: &[&str]) -> Option<Reply> {
        Client::connect(&Address::Tcp(self.port)).ok()?.command(words).ok()
    }

    fn master(&self) -> Option<Vec<String>> {
        let Some(Reply::Array(words)) = self.ask(&["SENTINEL", "MASTER", NAME]) else { return None };
        Some(words.iter().map(|word| word.text().unwrap_or_default()).collect())
    }

    fn field(&self, name: &str) -> Option<String> {
        let words = self.master()?;
        let at = words.iter().step_by(2).position(|word| word == name)?;
        words.get(at * 2 + 1).cloned()
    }

    fn knows_all(&self) -> bool {
        self.field("num-other-sentinels").as_deref() == Some("2") && self.field("num-slaves").as_deref() == Some("2")
    }

    /// Whether both replicas can take the place of the primary, as far as it knows.
    fn sees_replicas(&self) -> bool {
        let Some(Reply::Array(replicas)) = self.ask(&["SENTINEL", "REPLICAS", NAME]) else { return false };
        let fit = |replica: &Reply| {
            let Reply::Array(words) = replica else { return false };
            let words: Vec<String> = words.iter().map(|word| word.text().unwrap_or_default()).collect();
            let of = |name: &str| words.iter().step_by(2).position(|word| word == name).and_then(|at| words.get(at * 2 + 1));
            of("flags").is_some_and(|flags| flags == "slave") && of("master-link-status").is_some_and(|status| status == "ok")
        };
        replicas.iter().filter(|replica| fit(replica)).count() == 2
    }

    fn primary(&self) -> Option<u16> {
        self.field("port")?.parse().ok()
    }
}
