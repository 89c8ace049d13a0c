//! A server's address as users write it, read once. Whatever is shown of it holds neither user nor password.

use ::redis::{ConnectionAddr, ConnectionInfo};

/// Why a text is not the address of a server, as an error says what it found. A fixed text: it cannot repeat a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadUrl(&'static str);

impl std::fmt::Display for BadUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadUrl {}

/// What an address looks like.
pub(crate) const EXPECTED: &str = "redis://[user:password@]host[:port][/database] or redis+unix:///path[?db=..&user=..&pass=..]";

const OTHER: BadUrl = BadUrl("no address of a server");

/// The address of a standalone server.
#[derive(Clone)]
pub(crate) struct RedisUrl(ConnectionInfo);

impl RedisUrl {
    /// Reads `redis://[user:password@]host[:port][/database]`, `redis+unix:///path[?db=..&user=..&pass=..]` or the same as
    /// `unix://`. A `protocol` in the query is left aside: it is always RESP3.
    pub(crate) fn parse(url: &str) -> Result<Self, BadUrl> {
        let (scheme, _) = url.split_once("://").ok_or(OTHER)?;
        match scheme {
            "redis" | "redis+unix" | "unix" | "valkey" | "valkey+unix" => {}
            "rediss" | "valkeys" => return Err(BadUrl("an address for TLS, which is not built in yet")),
            _ => return Err(OTHER),
        }
        let info: ConnectionInfo = url.parse().map_err(|error| explain(&error))?;
        if info.redis_settings().db() < 0 {
            return Err(BadUrl("an address whose database is negative"));
        }
        Ok(Self(info))
    }

    pub(super) fn info(&self) -> &ConnectionInfo {
        &self.0
    }

    /// The same, at another place.
    pub(super) fn at(&self, (host, port): (String, u16)) -> Self {
        let addr = match self.0.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Self(self.0.clone().set_addr(addr))
    }

    /// What stands in the place of its host.
    pub(crate) fn host(&self) -> Option<&str> {
        match self.0.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Some(host),
            _ => None,
        }
    }

    pub(super) fn database(&self) -> i64 {
        self.0.redis_settings().db()
    }

    /// `text` without the password, should a server have repeated it.
    pub(super) fn censor(&self, text: &str) -> String {
        match self.0.redis_settings().password() {
            Some(password) if !password.is_empty() => text.replace(password, "***"),
            _ => text.to_owned(),
        }
    }
}

/// The client library's own texts may repeat parts of the address: only which one it was is taken from them.
fn explain(error: &::redis::RedisError) -> BadUrl {
    let text = error.to_string();
    let reasons = [
        ("Invalid database number", "an address whose database is no number"),
        ("Missing hostname", "an address without a host"),
        ("Missing path", "an address without the path of a socket"),
        ("wildcard", "an address whose host is a wildcard, to which nobody can connect"),
        ("not valid UTF-8", "an address whose user or password is not UTF-8 after percent-decoding"),
    ];
    reasons.iter().find(|(theirs, _)| text.contains(theirs)).map_or(OTHER, |(_, ours)| BadUrl(ours))
}

impl std::fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.addr() {
            ConnectionAddr::Tcp(host, port) if host.contains(':') => write!(f, "redis://[{host}]:{port}/{}", self.database()),
            ConnectionAddr::Unix(path) => write!(f, "redis+unix://{}?db={}", path.display(), self.database()),
            other => write!(f, "redis://{other}/{}", self.database()),
        }
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}
