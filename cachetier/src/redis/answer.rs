//! What an answer says, or its absence: the one place where the texts of servers are read.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{ErrorKind, RedisError, RedisResult, Value};
use tokio::time::error::Elapsed;

use crate::error::Fault;

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
        (None, ErrorKind::Parse) => "what the server sent is no Redis reply".to_owned(),
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
