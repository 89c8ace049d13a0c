//! A walk over the keys of a Redis server, on a connection of its own: so that the answers to reads do not stand behind its own, and so
//! that it ends when the server does. A cursor says nothing to another server, nor to the same one once it was restarted.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, Value};
use async_trait::async_trait;

use crate::error::Fault;
use crate::l2::walk::{Doomed, Found, Selection, Swept, Walk};

use super::connect::{Dial, Made, Pushes, judged, misread};
use super::lane::numbers;
use super::script::Script;
use super::version::Form;

/// One walk.
pub(super) struct RedisWalk {
    connection: MultiplexedConnection,
    form: Form,
    /// Kept for as long as the connection: it reports there.
    _pushes: Pushes,
    limit: Duration,
    pattern: Vec<u8>,
    /// Where the server goes on, as it said.
    cursor: Vec<u8>,
    purge: Script,
}

impl RedisWalk {
    /// Cancel safety: until it is returned, the connection belongs to this call and ends with it.
    pub(super) async fn begin(dial: &Dial, selection: &Selection) -> Result<Self, Fault> {
        let Made { connection, form, pushes, .. } = dial.connect().await.map_err(|refusal| Fault::Away(refusal.why))?;
        Ok(Self {
            connection,
            form,
            _pushes: pushes,
            limit: dial.settings.limits.command,
            pattern: selection.keys.written_behind(&selection.head),
            cursor: b"0".to_vec(),
            purge: Script::of_entry(include_str!("scripts/purge.lua")),
        })
    }
}

#[async_trait]
impl Walk for RedisWalk {
    async fn next(&mut self, batch: usize) -> Result<Found, Fault> {
        let mut command = Cmd::with_capacity(6, self.pattern.len() + 48);
        command.arg("SCAN").arg(&self.cursor).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(batch);
        let reply = tokio::time::timeout(self.limit, self.connection.send_packed_command(&command)).await;
        let (cursor, names) = page(judged(reply, self.limit)?)?;
        self.cursor = cursor;
        Ok(Found { names, last: self.cursor == b"0" })
    }

    async fn sweep(&mut self, names: &[Vec<u8>], doomed: Doomed) -> Result<Swept, Fault> {
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let (all, point, tag) = match doomed {
            Doomed::All => ("1", None, Vec::new()),
            Doomed::Before(point) => ("0", Some(point), Vec::new()),
            Doomed::Tagged(tag, point) => ("0", Some(point), tag.0.to_be_bytes().to_vec()),
        };
        let point = point.unwrap_or_default();
        let (era, seq) = (point.era.0.to_string(), point.seq.0.to_string());
        let args = [all.as_bytes(), era.as_bytes(), seq.as_bytes(), &tag];
        let reply = tokio::time::timeout(self.limit, self.purge.run(self.form, &mut self.connection, &keys, &args)).await;
        let [gone, bytes, newer, under_way, held, unread, foreign] = numbers(judged(reply, self.limit)?)?;
        Ok(Swept { gone, bytes, newer, under_way, held, unread, foreign })
    }
}

fn page(reply: Value) -> Result<(Vec<u8>, Vec<Vec<u8>>), Fault> {
    let Value::Array(parts) = reply else { return Err(misread("a cursor and names")) };
    let parts: [Value; 2] = parts.try_into().map_err(|_| misread("a cursor and names"))?;
    let [Value::BulkString(cursor), Value::Array(names)] = parts else { return Err(misread("a cursor and names")) };
    let names: Option<Vec<Vec<u8>>> =
        names.into_iter().map(|name| if let Value::BulkString(name) = name { Some(name) } else { None }).collect();
    Ok((cursor, names.ok_or_else(|| misread("names"))?))
}

impl std::fmt::Debug for RedisWalk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisWalk").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}
