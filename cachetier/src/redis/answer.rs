//! What an answer says, or its absence: the one place where the texts of servers are read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::redis::{ErrorKind, RedisError, RedisResult, Value};
use tokio::time::error::Elapsed;

use crate::clock::Millis;
use crate::error::Fault;
use crate::sync::lock;

use super::known::Spot;

/// How much of a server's text is passed on.
const TEXT: usize = 200;

/// What an answer, or its absence, says.
pub(super) fn judged(reply: Result<RedisResult<Value>, Elapsed>, limit: Duration) -> Result<Value, Fault> {
    match reply {
        Ok(Ok(Value::ServerError(error))) => Err(failed(&error.into())),
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Fault::Unanswered(late(limit))),
    }
}

/// An error is either the server's or means that the connection broke: as the command may have been sent by then, it is taken
/// for sent.
pub(super) fn failed(error: &RedisError) -> Fault {
    let text = bounded(&text(error));
    match error.code() {
        Some(_) if text.starts_with("WRONGTYPE") => Fault::Foreign,
        Some(_) => Fault::Refused(text),
        None => Fault::Unanswered(text),
    }
}

/// An answer of another shape than the command has: it was run, and what it came to is not known.
pub(super) fn misread(expected: &str) -> Fault {
    Fault::Unanswered(bounded(&format!("the answer was not understood, expected {expected}")))
}

/// What an error says, as the server wrote it. One that does not know a command repeats its arguments (keys, values, or the
/// password of the handshake): these are cut off.
pub(super) fn text(error: &RedisError) -> String {
    let mut text = match (error.code(), error.kind()) {
        (Some(code), _) => format!("{code} {}", error.detail().unwrap_or_default()),
        // The parser's own text quotes the bytes it stumbled over, and these may be a value's.
        (None, ErrorKind::Parse) => NO_REDIS.to_owned(),
        (None, _) => error.to_string(),
    };
    if let Some(at) = text.find(", with args beginning with") {
        text.truncate(at);
    }
    match within_script(&text) {
        Some(own) => own.to_owned(),
        None => text,
    }
}

/// What a command within a script was told. Before 7.0 that stands behind where it happened, once or twice:
/// `ERR Error running script (call to f_..): @user_script:1: @user_script: 1: -OOM command not allowed ..`.
pub(super) fn within_script(text: &str) -> Option<&str> {
    let (_, place) = text.rsplit_once("@user_script:")?;
    let (line, own) = place.split_once(": ")?;
    line.trim().parse::<u32>().ok()?;
    Some(own.strip_prefix('-').unwrap_or(own))
}

pub(super) fn bounded(text: &str) -> Arc<str> {
    let end = (0..=TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text.get(..end).unwrap_or_default().into()
}

/// What is said of who has not answered.
pub(super) fn late(limit: Duration) -> Arc<str> {
    bounded(&format!("no answer within {limit:?}"))
}

/// The text that an answer is.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

/// A class of failures: what the server's text begins with, and what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) code: &'static str,
    pub(super) mend: &'static str,
}

/// Those that an operator can do something about.
const CLASSES: &[Class] = &[
    Class {
        code: "OOM",
        mend: "the server is full, and nothing new is stored: give it more memory, or a policy that evicts, such as `maxmemory-policy allkeys-lru`",
    },
    Class { code: "READONLY", mend: "it is a replica: name the primary's address" },
    Class { code: "LOADING", mend: "it is loading its data and will answer when it has" },
    Class { code: "MASTERDOWN", mend: "it is a replica that has lost its primary: name the primary's address" },
    Class { code: "NOREPLICAS", mend: "it wants replicas that it does not have: see its `min-replicas-to-write`" },
    Class { code: "MISCONF", mend: "it cannot save its data and takes no writes until it can: see its log" },
    Class { code: "NOAUTH", mend: "it wants a password: write user and password into the address" },
    Class { code: "WRONGPASS", mend: "it does not know this user with this password: mend the address" },
    Class { code: "NOPERM", mend: "its user may not do that: docs/redis.md lists what it must be allowed" },
    Class { code: "CLUSTERDOWN", mend: "its cluster does not serve: see `CLUSTER INFO`" },
    Class {
        code: "MOVED",
        mend: "it is a node of a Redis Cluster: use `redis_cluster`; where that is used, its nodes do not agree: see `CLUSTER NODES` of each",
    },
    Class { code: "CROSSSLOT", mend: "it is a node of a Redis Cluster, or a proxy before one: use `redis_cluster`" },
    Class { code: "ASK", mend: ON_ITS_WAY },
    Class { code: "TRYAGAIN", mend: ON_ITS_WAY },
    Class { code: NO_NODE, mend: "does one of them answer at its address, and do they know each other?" },
    Class { code: "ERR This instance has cluster support disabled", mend: "it is no node of a Redis Cluster: use `redis`" },
    Class {
        code: "NOSCRIPT",
        mend: "it forgets scripts as soon as they are loaded, as some proxies do: connect to the server itself",
    },
    Class { code: "BUSY", mend: "it is busy with somebody's script: see `SCRIPT KILL`" },
    Class {
        code: "ERR unknown command",
        mend: "it, or a proxy before it, lacks a command: expected Redis 6.2.7 or newer, or Valkey, all commands in place",
    },
    Class { code: NO_SENTINEL, mend: "is the name of the primary right, and does one of them answer at its address?" },
    Class { code: NO_REDIS, mend: "something else answers at that address: mend it, or use `rediss://` if it expects TLS" },
    Class {
        code: CLOSED,
        mend: "if it goes on: does the server expect TLS? Then use `rediss://`; or a proxy before it has no server",
    },
    Class { code: UNKNOWN_ISSUER, mend: "name a file with the issuer's certificate as `ca` in the address" },
    Class { code: OTHER_NAME, mend: "write a host into the address that the certificate names, or have it issued for this one" },
    Class { code: EXPIRED, mend: "have it renewed; or this machine's clock is wrong" },
    Class { code: NOT_YET, mend: "this machine's clock is wrong, or the server's was when it was issued" },
    Class { code: WANTS_CERTIFICATE, mend: "name one and its key as `cert` and `key` in the address" },
    Class {
        code: DECLINED,
        mend: "see `cert` in the address: has it expired, and does the server trust its issuer (`tls-ca-cert-file`)?",
    },
    Class { code: NOTHING_IN_COMMON, mend: "expected TLS 1.2 or 1.3: see its `tls-protocols` and `tls-ciphers`" },
    Class {
        code: BROKEN_OFF,
        mend: "does it want a certificate of its client (`cert` and `key` in the address), or other versions or ciphers? See its log",
    },
    Class { code: NO_HANDSHAKE, mend: "if it goes on: does it speak TLS at that port? Use `redis://` if it does not" },
    Class {
        code: NO_TLS,
        mend: "something without TLS answers at that address: mend its port, or use `redis://` if that is meant",
    },
];

/// What is said of a slot that is on its way.
const ON_ITS_WAY: &str = "its slot is on its way to another node: until it is there its keys are loaded, and not stored";

/// What is said where nobody says where the server is.
const NO_SENTINEL: &str = "no Sentinel says where";
const NO_NODE: &str = "no node of the Cluster says";

/// What is said of a server that is none.
const NO_REDIS: &str = "what the server sent is no Redis reply";

/// What is said of one that takes a connection and says nothing.
pub(super) const CLOSED: &str = "the server closed the connection before its first answer";

/// What is said where TLS fails and somebody can do something about it.
pub(super) const UNKNOWN_ISSUER: &str = "TLS: nobody who is trusted has issued the server's certificate";
pub(super) const OTHER_NAME: &str = "TLS: the server's certificate is for another name";
pub(super) const EXPIRED: &str = "TLS: the server's certificate has expired";
pub(super) const NOT_YET: &str = "TLS: the server's certificate is not valid yet";
pub(super) const WANTS_CERTIFICATE: &str = "TLS: the server wants a certificate of its client";
pub(super) const DECLINED: &str = "TLS: the server does not take the client's certificate";
pub(super) const NOTHING_IN_COMMON: &str = "TLS: the server has no version or cipher that is known here";
pub(super) const BROKEN_OFF: &str = "TLS: the server has broken off the handshake";
pub(super) const NO_HANDSHAKE: &str = "TLS: the server did not answer the handshake";
pub(super) const NO_TLS: &str = "TLS: what the server sent is no TLS";

/// The class of a text, if it has one.
pub(super) fn class(text: &str) -> Option<Class> {
    let begins = |class: &&Class| text.starts_with(class.code);
    // What nobody says is said behind why nobody does.
    let ends = |class: &&Class| [NO_SENTINEL, NO_NODE].contains(&class.code) && text.contains(class.code);
    CLASSES.iter().find(begins).or_else(|| CLASSES.iter().find(ends)).copied()
}

/// What is said of a primary that was left because there is another.
pub(super) const REPLACED: &str = "another server is the primary now";

/// Whether it says that the server is no primary, or no longer.
pub(super) fn is_no_primary(text: &str) -> bool {
    text.starts_with("READONLY") || text.starts_with("MASTERDOWN")
}

/// How long nothing of a class must have been refused for the next refusal to be told.
const QUIET: Duration = Duration::from_secs(60);

/// What was told of the server, or of those of all parts of a namespace: once for each of them, for as long as it goes on.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What was refused where, and when last.
    refused: Mutex<Vec<(Where, Box<str>, Millis)>>,
    away: Mutex<HashMap<Where, Away>>,
}

/// Which server, where several are known by their places.
pub(super) type Where = Option<Spot>;

/// Of how many parts a server is away, and with what reasons that was told.
#[derive(Debug, Default)]
struct Away {
    parts: usize,
    classes: Vec<Class>,
}

/// Whether that a server is away is to be told.
#[derive(Clone, Copy, Debug)]
pub(super) enum News {
    /// With what helps, if that is known.
    Away(Option<Class>),
    /// It was.
    Known,
}

impl Told {
    /// A server is away of a part; `again` if that part was told of before. It is told of the first, and again for each reason that comes to light, if
    /// somebody can do something about it.
    pub(super) fn is_away(&self, server: &Where, reason: &str, again: bool) -> News {
        let mut away = lock(&self.away);
        let first = !away.contains_key(server);
        let away = away.entry(server.clone()).or_default();
        away.parts += usize::from(!again);
        let found = class(reason);
        let new = found.filter(|found| !away.classes.contains(found));
        away.classes.extend(new);
        if first || new.is_some() { News::Away(found) } else { News::Known }
    }

    /// It is back for a part. Says whether for all.
    pub(super) fn is_back(&self, server: &Where) -> bool {
        let mut away = lock(&self.away);
        let Some(parts) = away.get_mut(server) else { return false };
        parts.parts = parts.parts.saturating_sub(1);
        let all = parts.parts == 0;
        if all {
            away.remove(server);
        }
        all
    }

    /// Whether it is time to tell of a refusal with this text.
    pub(super) fn is_news(&self, server: &Where, text: &str, now: Millis) -> bool {
        let code = class(text).map_or_else(|| text.split(' ').next().unwrap_or_default(), |class| class.code);
        let mut told = lock(&self.refused);
        if let Some((.., last)) = told.iter_mut().find(|(of, known, _)| of == server && **known == *code) {
            return std::mem::replace(last, now).until(now) >= QUIET;
        }
        told.retain(|(.., last)| last.until(now) < QUIET);
        // More than a server has: of one that makes them up no more is told.
        let room = told.len() < 64;
        if room {
            told.push((server.clone(), code.into(), now));
        }
        room
    }
}
