//! Makes connections, and says why there is none.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use ::redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, ProtocolVersion, PushInfo, RedisError};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::connector::{Connected, Connector, Endpoint, guarded};

use super::answer::{CLOSED, NO_HANDSHAKE, REPLACED, Told, Where, bounded, text};
use super::cluster::Cluster;
use super::guide::Guide;
use super::known::Spot;
use super::sentinel::Sentinels;
use super::version::{self, Form, OLDEST, OLDEST_CLUSTER};
use super::{RedisUrl, Settings, Target};

/// The longest time that the system is asked to wait for an acknowledgement: it takes more than 24 days for an error.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 3_600);

/// Makes connections.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub(super) url: RedisUrl,
    /// Who says where it leads to, where that is not said by the address itself.
    pub(super) guide: Option<Guide>,
    pub(super) settings: Settings,
    /// What the log was told of them: once, and not for each part of a namespace.
    pub(super) told: Arc<Told>,
}

/// A connection, just made.
pub(super) struct Made {
    pub(super) connection: Connection,
    pub(super) form: Form,
    /// The life of the process at its other end, which it does not outlive; 0 where that is not told.
    pub(super) run: u64,
    pub(super) pushes: Pushes,
    /// Where it leads to, where that is said by somebody.
    pub(super) spot: Option<Spot>,
}

/// A connection that ends with its last clone, however it was made.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    line: MultiplexedConnection,
    /// The task behind it, where that is ours: the client library ends its own.
    _task: Option<Arc<Task>>,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Deref for Connection {
    type Target = MultiplexedConnection;

    fn deref(&self) -> &MultiplexedConnection {
        &self.line
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut MultiplexedConnection {
        &mut self.line
    }
}

/// A server that will not do as long as it is there.
#[derive(Clone, Debug)]
pub(super) struct Unfit {
    pub(super) found: Arc<str>,
    pub(super) expected: &'static str,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: Arc<str>,
    pub(super) unfit: Option<Unfit>,
}

/// What the server sends unasked, last of all that the connection is gone.
pub(super) type Pushes = mpsc::UnboundedReceiver<PushInfo>;

impl Dial {
    pub(super) fn new(target: impl Into<Target>, settings: Settings) -> Self {
        let (url, guide) = match target.into() {
            Target::At(url) => (url, None),
            Target::Primary { name, sentinels } => {
                let of = Sentinels::new(sentinels, name.host().unwrap_or_default(), settings.connect_limit);
                (name, Some(Guide::Sentinels(of)))
            }
            Target::Cluster { login, nodes } => {
                let of = Cluster::new(login.clone(), &nodes, settings.connect_limit);
                (login, Some(Guide::Cluster(of)))
            }
        };
        Self { url, guide, settings, told: Arc::default() }
    }

    /// Where it leads to, as far as that is known, where several servers are meant by one name.
    pub(super) fn place(&self) -> Where {
        self.guide.as_ref().and_then(Guide::place)
    }

    /// The same for names in this slot, which counts in a Cluster.
    pub(super) fn to_slot(&self, slot: u16) -> Self {
        let guide = self.guide.as_ref().map(|guide| match guide {
            Guide::Cluster(cluster) => Guide::Cluster(cluster.to_slot(slot)),
            Guide::Sentinels(_) => guide.clone(),
        });
        Self { guide, ..self.clone() }
    }

    /// Makes a connection within the limit.
    /// Cancel safety: a dropped call leaves no connection behind.
    pub(super) async fn connect(&self) -> Result<Made, Refusal> {
        let limit = self.settings.connect_limit;
        if self.guide.is_none() {
            return self.connect_by_and_by().await;
        }
        let late = |_| Err(Refusal { why: bounded(&format!("no connection within {limit:?}")), unfit: None });
        tokio::time::timeout(limit, self.connect_by_and_by()).await.unwrap_or_else(late)
    }

    /// Step by step, each with a limit of its own, so that it is known which one it was.
    async fn connect_by_and_by(&self) -> Result<Made, Refusal> {
        let (url, spot, limit) = match &self.guide {
            None => (self.url.clone(), None, self.settings.connect_limit),
            Some(guide) => {
                let spot = guide.primary().await.map_err(|why| Refusal { why, unfit: None })?;
                // Who says where has half of it.
                (self.url.at(spot.clone()), Some(spot), self.settings.connect_limit / 2)
            }
        };
        let info = url.info().clone();
        // RESP3 is what puts pushes and replies on one ordered stream; and it tells of a lost connection while nothing is sent.
        let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let login = login.set_lib_name("cachetier", env!("CARGO_PKG_VERSION"));
        let info = info.set_redis_settings(login).set_tcp_settings(tcp(self.settings.limits.command));
        let (sender, pushes) = mpsc::unbounded_channel();
        let config = AsyncConnectionConfig::new()
            .set_push_sender(sender)
            // One limit of time each is ours.
            .set_connection_timeout(None)
            .set_response_timeout(None);
        // Asked on each connection: the server behind the address may be another one each time.
        let shaking = AtomicBool::new(false);
        let connect = async {
            let mut connection = reach(&url, info, config, &shaking).await?;
            let version = version::told(&connection.send_packed_command(&version::question()).await?);
            let run = match connection.send_packed_command(&version::question_of_run()).await {
                Ok(answer) => version::run(&answer),
                // It may not be asked for; or cannot say it now, and will.
                Err(error) if error.code().is_some_and(|code| !matches!(code, "BUSY" | "LOADING")) => 0,
                Err(error) => return Err(error),
            };
            Ok::<_, RedisError>((connection, version.unwrap_or_default(), run))
        };
        let in_cluster = self.guide.as_ref().is_some_and(Guide::is_cluster);
        let expected = if in_cluster { OLDEST_CLUSTER } else { OLDEST };
        let unfit = |found: &str| {
            let why = bounded(&format!("{found}, expected {expected}"));
            Refusal { why, unfit: Some(Unfit { found: bounded(found), expected }) }
        };
        match tokio::time::timeout(limit, connect).await {
            // It may have been replaced while it did not answer, and not know it yet.
            Ok(Ok(_)) if !self.still_there(spot.as_ref()).await => Err(Refusal { why: REPLACED.into(), unfit: None }),
            Ok(Ok((connection, version, run))) => match Form::of(&version) {
                Ok(form) if form == Form::Newer || !in_cluster => Ok(Made { connection, form, run, pushes, spot }),
                _ => Err(unfit(&format!("a server of version {version}"))),
            },
            Ok(Err(error)) if error.kind() == ErrorKind::RESP3NotSupported => Err(unfit("a server that does not know HELLO")),
            Ok(Err(error)) => Err(Refusal { why: self.reason(&error), unfit: None }),
            Err(_) => {
                let what = if shaking.into_inner() { NO_HANDSHAKE } else { "no connection" };
                Err(Refusal { why: bounded(&format!("{what} within {limit:?}")), unfit: None })
            }
        }
    }

    /// Whether who says where, asked once more, says the same, or nothing.
    async fn still_there(&self, spot: Option<&Spot>) -> bool {
        match (&self.guide, spot) {
            (Some(guide), Some(spot)) => {
                let _ = guide.primary().await;
                guide.stands_by(spot)
            }
            _ => true,
        }
    }

    fn reason(&self, error: &RedisError) -> Arc<str> {
        bounded(&self.url.censor(&text(error)))
    }
}

/// Makes a connection to the address in this form: by TLS if that says so. `shaking` is set while the handshake of TLS waits for the server.
pub(super) async fn reach(
    url: &RedisUrl,
    info: ConnectionInfo,
    config: AsyncConnectionConfig,
    shaking: &AtomicBool,
) -> Result<Connection, RedisError> {
    if let Some(connector) = url.connector() {
        return through(connector, info, config).await;
    }
    let (Some(tls), ConnectionAddr::Tcp(host, port)) = (url.tls(), info.addr()) else {
        let line = Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await.map_err(closed)?;
        return Ok(Connection { line, _task: None });
    };
    let stream = tls.connect((host, *port), info.tcp_settings(), shaking).await?;
    let (line, task) = MultiplexedConnection::new_with_config(info.redis_settings(), stream, config).await?;
    Ok(Connection { line, _task: Some(Arc::new(Task(tokio::spawn(task).abort_handle()))) })
}

/// Makes a connection over what the user's connector brings.
async fn through(connector: &Connector, info: ConnectionInfo, config: AsyncConnectionConfig) -> Result<Connection, RedisError> {
    let to = match info.addr() {
        ConnectionAddr::Tcp(host, port) => Endpoint::Tcp { host: host.clone(), port: *port },
        ConnectionAddr::Unix(path) => Endpoint::Unix(path.clone()),
        _ => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
    };
    let (connect, as_address) = (connector.connect(to), info.redis_settings().clone());
    // The stream is the caller's code as much as what makes it.
    let made = guarded(async move {
        let Connected { stream, login } = connect.await.map_err(RedisError::from)?;
        let (as_whom, password) = match login {
            // Whose name is empty has the name that the server knows him by.
            Some((user, password)) => {
                let user = if user.is_empty() { "default" } else { &user };
                (as_address.set_username(user).set_password(&password), password)
            }
            None => (as_address, String::new()),
        };
        let made = MultiplexedConnection::new_with_config(&as_whom, stream, config).await;
        let (line, task) = made.map_err(|error| match text(&error) {
            // Should a server have repeated it.
            told if !password.is_empty() && told.contains(&password) => io::Error::other(told.replace(&password, "***")).into(),
            _ => closed(error),
        })?;
        Ok::<_, RedisError>(Connection { line, _task: Some(Arc::new(Task(tokio::spawn(task).abort_handle()))) })
    });
    made.await?
}

/// A connection to who is asked where another one is. `pushes` is told what he says unasked.
pub(super) async fn ask_over(
    url: &RedisUrl,
    protocol: ProtocolVersion,
    limit: Duration,
    pushes: Option<mpsc::UnboundedSender<PushInfo>>,
) -> Result<Connection, Arc<str>> {
    let info = url.info().clone();
    let login = info.redis_settings().clone().set_protocol(protocol);
    let info = info.set_redis_settings(login).set_tcp_settings(tcp(limit));
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let config = match pushes {
        Some(pushes) => config.set_push_sender(pushes),
        None => config,
    };
    reach(url, info, config, &AtomicBool::new(false)).await.map_err(|error| url.reason(&error))
}

/// As the log names it.
impl std::fmt::Display for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.guide {
            None => self.url.fmt(f),
            Some(guide) => guide.fmt(f),
        }
    }
}

/// Says of a connection that was taken and ended without a word that it was.
fn closed(error: RedisError) -> RedisError {
    if error.is_connection_dropped() && !error.is_connection_refusal() {
        io::Error::new(io::ErrorKind::ConnectionReset, CLOSED).into()
    } else {
        error
    }
}

/// For a connection whose other end has not answered when the limit is over.
fn tcp(limit: Duration) -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(5));
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "windows"))]
    let keepalive = keepalive.with_interval(Duration::from_secs(1));
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    // What the other end has not acknowledged by then breaks the connection, so that a cut cable is found without commands.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let tcp = tcp.set_user_timeout(limit.saturating_mul(2).clamp(Duration::from_secs(1), LONGEST_SILENCE));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = limit;
    tcp
}
