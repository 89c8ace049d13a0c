//! The bare cache that the benches stand beside: moka, redis-rs and a channel, as one writes it by hand.
//! It has none of what the crate is about: no fence, no order, no proof, no tags, no word of what was missed.
//! Its commands have the time-out that the client library gives each by itself, as the crate's have one: without any, a caller waits for ever
//! on a server that is silent, which nobody means to write.

use std::sync::Arc;

use moka::sync::Cache;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, PushInfo, PushKind, SetExpiry, SetOptions, Value, pipe};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::{Ground, Outcome, Page};

/// More than any bench puts into one.
const ROOM: u64 = 1_000_000;

/// One instance of it, with one connection for commands and one for messages.
#[derive(Clone, Debug)]
pub struct ByHand {
    local: Cache<String, Arc<Page>>,
    commands: MultiplexedConnection,
    namespace: String,
    _subscriber: Arc<Subscriber>,
}

impl ByHand {
    /// Connects, subscribes, and waits for the confirmation.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn connect(ground: &Ground, namespace: &str) -> Outcome<Self> {
        let local = Cache::new(ROOM);
        let (sender, messages) = mpsc::unbounded_channel();
        let mut connection = ground.raw_with(sender).await?;
        connection.subscribe(channel(namespace)).await?;
        let task = tokio::spawn(hear(local.clone(), messages)).abort_handle();
        let subscriber = Arc::new(Subscriber { _connection: connection, task });
        Ok(Self { local, commands: ground.raw_with_a_limit().await?, namespace: namespace.to_owned(), _subscriber: subscriber })
    }

    /// Reads a key: from moka, else from the server.
    ///
    /// # Errors
    ///
    /// What the server or the codec says.
    pub async fn get(&self, key: &str) -> Outcome<Option<Arc<Page>>> {
        if let Some(value) = self.local.get(key) {
            return Ok(Some(value));
        }
        let bytes: Option<Vec<u8>> = self.commands.clone().get(self.stored(key)).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        let value: Arc<Page> = postcard::from_bytes(&bytes)?;
        self.local.insert(key.to_owned(), Arc::clone(&value));
        Ok(Some(value))
    }

    /// Stores a value in both tiers.
    ///
    /// # Errors
    ///
    /// What the server or the codec says.
    pub async fn set(&self, key: &str, value: &Arc<Page>) -> Outcome {
        let life = SetOptions::default().with_expiration(SetExpiry::PX(3_600_000));
        let () = self.commands.clone().set_options(self.stored(key), postcard::to_stdvec(value)?, life).await?;
        self.local.insert(key.to_owned(), Arc::clone(value));
        Ok(())
    }

    /// Drops a key here and on the server, and tells the others, in one round trip.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn invalidate(&self, key: &str) -> Result<(), redis::RedisError> {
        self.local.invalidate(key);
        let mut both = pipe();
        both.del(self.stored(key)).ignore().publish(channel(&self.namespace), key).ignore();
        both.query_async(&mut self.commands.clone()).await
    }

    fn stored(&self, key: &str) -> String {
        format!("hand:{}:{key}", self.namespace)
    }
}

fn channel(namespace: &str) -> String {
    format!("hand:{namespace}:bus")
}

/// What hears the messages, for as long as an instance is there.
#[derive(Debug)]
struct Subscriber {
    _connection: MultiplexedConnection,
    task: AbortHandle,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn hear(local: Cache<String, Arc<Page>>, mut messages: mpsc::UnboundedReceiver<PushInfo>) {
    while let Some(push) = messages.recv().await {
        if let (PushKind::Message, Some(Value::BulkString(key))) = (&push.kind, push.data.get(1))
            && let Ok(key) = std::str::from_utf8(key)
        {
            local.invalidate(key);
        }
    }
}
