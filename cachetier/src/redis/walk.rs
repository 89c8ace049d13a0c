//! A walk over the keys of a Redis server, on a connection of its own: so that the answers to reads do not stand behind its own, and so
//! that it ends when the server does. A cursor says nothing to another server, nor to the same one once it was restarted.

use std::time::Duration;

use ::redis::{Cmd, Pipeline, Value};
use async_trait::async_trait;

use crate::error::Fault;
use crate::l2::walk::{Doomed, Found, Selection, Swept, Walk};
use crate::rule::stamp::Stamp;
use crate::wire::slot::{PREFIX, Slot};

use super::answer::{judged, misread, text_of};
use super::cluster::own_since;
use super::dial::{Connection, Dial, Made, Pushes};
use super::guide::Guide;
use super::place::numbers;
use super::script::Script;
use super::store::ending;
use super::version::Form;

/// One walk.
pub(super) struct RedisWalk {
    connection: Connection,
    form: Form,
    /// Kept for as long as the connection: it reports there.
    _pushes: Pushes,
    limit: Duration,
    pattern: Vec<u8>,
    /// Where the server goes on, as it said.
    cursor: Vec<u8>,
    purge: Script,
    /// In a Cluster: the slot that is walked, and since which configuration its owner has had it.
    holds: Option<(u16, u64)>,
}

impl RedisWalk {
    /// Cancel safety: until it is returned, the connection belongs to this call and ends with it.
    pub(super) async fn begin(dial: &Dial, selection: &Selection) -> Result<Self, Fault> {
        let Made { connection, form, pushes, .. } = dial.connect().await.map_err(|refusal| Fault::Away(refusal.why))?;
        let mut walk = Self {
            connection,
            form,
            _pushes: pushes,
            limit: dial.settings.limits.command,
            pattern: selection.keys.written_behind(&selection.head),
            cursor: b"0".to_vec(),
            purge: Script::of_entry(include_str!("scripts/purge.lua")),
            holds: None,
        };
        if let Some(slot) = dial.guide.as_ref().and_then(Guide::slot) {
            walk.holds = Some((slot, walk.has_since(slot).await?));
        }
        Ok(walk)
    }

    /// Since which configuration the node that is walked has the slot. What moves away while it is walked is found neither here nor there.
    async fn has_since(&mut self, slot: u16) -> Result<u64, Fault> {
        let mut question = Cmd::new();
        question.arg("CLUSTER").arg("NODES");
        let reply = tokio::time::timeout(self.limit, self.connection.send_packed_command(&question)).await;
        let told = text_of(&judged(reply, self.limit)?).ok_or_else(|| misread("the nodes of a Cluster"))?;
        own_since(&told, slot).ok_or_else(|| Fault::Refused("its slot is on its way to another node, or gone".into()))
    }

    /// Leaves out the names under which a value waits for its key to be given it: they are nobody's keys. A name alone says nothing, for a
    /// key may end like that; the stamp in it does, if it is the value's own.
    async fn without_values_on_their_way(&mut self, mut names: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Fault> {
        let mut question = Pipeline::new();
        for name in names.iter().filter(|name| stamp_named(name).is_some()) {
            question.cmd("GETRANGE").arg(name).arg(0).arg(PREFIX - 1);
        }
        if question.is_empty() {
            return Ok(names);
        }
        let answers = self.connection.send_packed_commands(&question, 0, question.len());
        let reply = tokio::time::timeout(self.limit, answers).await.map(|reply| reply.map(Value::Array));
        let Value::Array(heads) = judged(reply, self.limit)? else { return Err(misread("what stands under names")) };
        let mut heads = heads.into_iter();
        names.retain(|name| {
            let Some(suffix) = stamp_named(name) else { return true };
            // Gone, or of another type: then there is no such value.
            let Some(Value::BulkString(head)) = heads.next() else { return true };
            !matches!(Slot::of(&head), Slot::Value { stamp, .. } if ending(stamp).as_bytes() == suffix)
        });
        Ok(names)
    }
}

/// What stands behind the `#` of a name that may be one of a value on its way: a stamp as `store` writes it there.
fn stamp_named(name: &[u8]) -> Option<&[u8]> {
    let (_, end) = name.split_last_chunk::<{ 1 + 2 * Stamp::LEN }>()?;
    let stamp = end.strip_prefix(b"#")?;
    stamp.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(stamp)
}

#[async_trait]
impl Walk for RedisWalk {
    async fn next(&mut self, batch: usize) -> Result<Found, Fault> {
        let mut command = Cmd::with_capacity(6, self.pattern.len() + 48);
        command.arg("SCAN").arg(&self.cursor).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(batch);
        let reply = tokio::time::timeout(self.limit, self.connection.send_packed_command(&command)).await;
        let (cursor, names) = page(judged(reply, self.limit)?)?;
        let names = self.without_values_on_their_way(names).await?;
        let last = cursor == b"0";
        if let Some((slot, since)) = self.holds.filter(|_| last)
            && self.has_since(slot).await? != since
        {
            return Err(Fault::Refused("its slot may have moved meanwhile".into()));
        }
        // Cancel safety: not before, or what a dropped call has found would be found by none.
        self.cursor = cursor;
        Ok(Found { names, last })
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
