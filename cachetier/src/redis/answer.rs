//! What an answer says, or its absence: the one place where the texts of servers are read.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::redis::{ErrorKind, RedisError, RedisResult, Value};
use tokio::time::error::Elapsed;

use crate::clock::Millis;
use crate::error::Fault;
use crate::sync::lock;

/// How much of a server's text is passed on.
const TEXT: usize = 200;

/// What an answer, or its absence, says.
pub(super) fn judged(reply: Result<RedisResult<Value>, Elapsed>, limit: Duration) -> Result<Value, Fault> {
    match reply {
        Ok(Ok(Value::ServerError(error))) => Err(failed(&error.into())),
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Fault::Unanswered(bounded(&format!("no answer within {limit:?}")))),
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

/// A class of refusals: what the server's text begins with, and what helps.
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
    Class { code: "MOVED", mend: "it is a node of a Redis Cluster, which is not supported yet: use a standalone server" },
    Class { code: "CROSSSLOT", mend: "it is a node of a Redis Cluster, which is not supported yet: use a standalone server" },
    Class {
        code: "NOSCRIPT",
        mend: "it forgets scripts as soon as they are loaded, as some proxies do: connect to the server itself",
    },
    Class { code: "BUSY", mend: "it is busy with somebody's script: see `SCRIPT KILL`" },
    Class {
        code: "ERR unknown command",
        mend: "it, or a proxy before it, lacks a command: expected Redis 6.2.7 or newer, or Valkey, all commands in place",
    },
    Class { code: "no Sentinel says where", mend: "is the name of the primary right, and does one of them answer at its address?" },
    Class { code: NO_REDIS, mend: "something else answers at that address: mend it, or use `rediss://` if it expects TLS" },
];

/// What is said of a server that is none.
const NO_REDIS: &str = "what the server sent is no Redis reply";

/// The class of a text, if it has one.
pub(super) fn class(text: &str) -> Option<Class> {
    CLASSES.iter().find(|class| text.starts_with(class.code)).copied()
}

/// Whether it says that the server is no primary, or no longer.
pub(super) fn is_no_primary(text: &str) -> bool {
    text.starts_with("READONLY") || text.starts_with("MASTERDOWN")
}

/// How long nothing of a class must have been refused for the next refusal to be told.
const QUIET: Duration = Duration::from_secs(60);

/// What was refused, and was told: once for as long as it goes on.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Vec<(Box<str>, Millis)>>);

impl Told {
    /// Whether it is time to tell of a refusal with this text.
    pub(super) fn is_news(&self, text: &str, now: Millis) -> bool {
        let code = class(text).map_or_else(|| text.split(' ').next().unwrap_or_default(), |class| class.code);
        let mut told = lock(&self.0);
        if let Some((_, last)) = told.iter_mut().find(|(known, _)| **known == *code) {
            return std::mem::replace(last, now).until(now) >= QUIET;
        }
        // More than a server has: one that makes them up is not remembered without bound.
        if told.len() < 64 {
            told.push((code.into(), now));
        }
        true
    }
}
