//! A server's address as users write it, read once. Whatever is shown of it holds neither user nor password.

use std::borrow::Cow;
use std::sync::Arc;

use ::redis::{ConnectionAddr, ConnectionInfo};

use crate::connector::Connector;

use super::answer::{bounded, text};
use super::tls::{Files, Tls};

/// Why a text is not the address of a server, as an error says what it found. It repeats nothing of the address, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadUrl(Cow<'static, str>);

impl BadUrl {
    pub(super) const fn new(found: &'static str) -> Self {
        Self(Cow::Borrowed(found))
    }

    #[cfg(feature = "tls")]
    pub(super) fn told(found: String) -> Self {
        Self(Cow::Owned(found))
    }
}

impl std::fmt::Display for BadUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUrl {}

/// What an address looks like.
pub(crate) const EXPECTED: &str = if cfg!(feature = "tls") {
    "redis://[user:password@]host[:port][/database], rediss://[user:password@]host[:port][/database][?ca=PATH&cert=PATH&key=PATH] or \
     redis+unix:///path[?db=..&user=..&pass=..]"
} else {
    "redis://[user:password@]host[:port][/database] or redis+unix:///path[?db=..&user=..&pass=..]"
};

const OTHER: BadUrl = BadUrl::new("no address of a server");

/// The address of a standalone server.
#[derive(Clone)]
pub(crate) struct RedisUrl {
    /// Where and as whom; of a server behind TLS what it would be without.
    info: ConnectionInfo,
    tls: Option<Tls>,
    /// What makes the connections, if not the client library.
    connector: Option<Connector>,
}

impl RedisUrl {
    /// Reads `redis://[user:password@]host[:port][/database]`, `redis+unix:///path[?db=..&user=..&pass=..]` or the same as
    /// `unix://`. A `protocol` in the query is left aside: it is always RESP3.
    ///
    /// Of `rediss://[user:password@]host[:port][/database][?ca=PATH&cert=PATH&key=PATH]` it reads the files as well.
    pub(crate) fn parse(url: &str) -> Result<Self, BadUrl> {
        let (scheme, _) = url.split_once("://").ok_or(OTHER)?;
        let may_be_mistaken = match scheme {
            "redis" | "valkey" => true,
            "redis+unix" | "unix" | "valkey+unix" => false,
            "rediss" | "valkeys" => return Self::parse_with_tls(url),
            _ => return Err(OTHER),
        };
        let parsed = ::redis::parse_redis_url(url).ok_or(OTHER)?;
        if may_be_mistaken && parsed.query_pairs().any(|(name, _)| matches!(&*name, "ca" | "cert" | "key")) {
            return Err(BadUrl::new("an address without TLS that has `ca`, `cert` or `key`, which only `rediss://` knows"));
        }
        Ok(Self { info: info(parsed)?, tls: None, connector: None })
    }

    fn parse_with_tls(url: &str) -> Result<Self, BadUrl> {
        let mut url = ::redis::parse_redis_url(url).ok_or(OTHER)?;
        // In a path a plus is a plus, and no space as in a form.
        let query = url.query().map(|query| query.replace('+', "%2B"));
        url.set_query(query.as_deref());
        let files = Files::named(url.query_pairs())?;
        if url.fragment().is_some() {
            return Err(BadUrl::new("an address for TLS that ends with `#..`: verification cannot be switched off"));
        }
        // The client library reads all of it but TLS, which is made here: what it has of its own depends on what else the process has.
        url.set_query(None);
        url.set_scheme("redis").map_err(|()| OTHER)?;
        let info = info(url)?;
        let ConnectionAddr::Tcp(host, _) = info.addr() else { return Err(OTHER) };
        let tls = Tls::open(host, files)?;
        Ok(Self { info, tls: Some(tls), connector: None })
    }

    pub(super) fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// How the server is reached, if by TLS.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The same, at another place.
    pub(super) fn at(&self, (host, port): (String, u16)) -> Self {
        Self { info: self.info.clone().set_addr(ConnectionAddr::Tcp(host, port)), ..self.clone() }
    }

    /// The same, by connections that somebody else makes.
    pub(crate) fn through(self, connector: Option<&Connector>) -> Result<Self, BadUrl> {
        if self.tls.is_some() && connector.is_some() {
            return Err(BadUrl::new("an address for TLS and a connector, which would have to speak it itself"));
        }
        Ok(Self { connector: connector.cloned(), ..self })
    }

    pub(super) fn connector(&self) -> Option<&Connector> {
        self.connector.as_ref()
    }

    /// Host and port, if it has them.
    pub(super) fn spot(&self) -> Option<(String, u16)> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => Some((host.clone(), *port)),
            _ => None,
        }
    }

    /// What stands in the place of its host.
    pub(crate) fn host(&self) -> Option<&str> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, _) => Some(host),
            _ => None,
        }
    }

    pub(crate) fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// Why who stands there cannot be asked. What it says stands first: by that it is known.
    pub(super) fn reason(&self, error: &::redis::RedisError) -> Arc<str> {
        bounded(&format!("{} (at {self})", self.censor(&text(error))))
    }

    /// `text` without the password, should a server have repeated it.
    pub(super) fn censor(&self, text: &str) -> String {
        match self.info.redis_settings().password() {
            Some(password) if !password.is_empty() => text.replace(password, "***"),
            _ => text.to_owned(),
        }
    }
}

fn info(url: impl ::redis::IntoConnectionInfo) -> Result<ConnectionInfo, BadUrl> {
    let info = url.into_connection_info().map_err(|error| explain(&error))?;
    if info.redis_settings().db() < 0 {
        return Err(BadUrl::new("an address whose database is negative"));
    }
    Ok(info)
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
    reasons.iter().find(|(theirs, _)| text.contains(theirs)).map_or(OTHER, |(_, ours)| BadUrl::new(ours))
}

impl std::fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) if host.contains(':') => write!(f, "{scheme}://[{host}]:{port}/{}", self.database()),
            ConnectionAddr::Unix(path) => write!(f, "redis+unix://{}?db={}", path.display(), self.database()),
            other => write!(f, "{scheme}://{other}/{}", self.database()),
        }
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}
