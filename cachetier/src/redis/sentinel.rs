//! Where the primary is, as Sentinels say: asked before each connection, and listened to between them, so that a connection to one that was replaced is
//! left without waiting for it to break.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::{AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::sync::{Mutex, lock};

use super::RedisUrl;
use super::answer::{bounded, text};
use super::dial::{Connection, reach};

/// How long nobody has to say anything before it is asked again where the primary is: what was said meanwhile may have been lost.
const LOOK: Duration = Duration::from_secs(5);

/// The Sentinels of one primary.
#[derive(Clone, Debug)]
pub(super) struct Sentinels {
    urls: Arc<[RedisUrl]>,
    name: Arc<str>,
    /// How long one may take to answer.
    limit: Duration,
    /// Which of them is listened to.
    turn: Arc<AtomicUsize>,
    /// The best that was said so far.
    known: Arc<Mutex<Option<Said>>>,
}

/// Where a primary is: host and port.
pub(super) type Spot = (String, u16);

/// What one of them says of the primary, and of which configuration.
#[derive(Clone, Debug)]
struct Said {
    spot: Spot,
    /// Grows with each fail-over: who knows of the last one has the highest.
    epoch: u64,
}

/// What is heard between two questions.
pub(super) struct Ears {
    /// Ends with it.
    _connection: Connection,
    pushes: mpsc::UnboundedReceiver<PushInfo>,
}

impl Sentinels {
    pub(super) fn new(urls: Vec<RedisUrl>, name: &str, connect_limit: Duration) -> Self {
        // Asked within the limit of the connection that the answer is for.
        Self { urls: urls.into(), name: name.into(), limit: connect_limit / 2, turn: Arc::default(), known: Arc::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where the primary is, as who knows best says; an error says why nobody does. All are asked at once, and more than half are waited for: the one that
    /// was cut off from the others may answer first, with what was.
    ///
    /// Cancel safety: dropped, it leaves no task and no connection.
    pub(super) async fn primary(&self) -> Result<Spot, Arc<str>> {
        let mut questions = JoinSet::new();
        for nth in 0..self.urls.len() {
            let (urls, name, limit) = (Arc::clone(&self.urls), Arc::clone(&self.name), self.limit);
            questions.spawn(async move {
                let Some(url) = urls.get(nth) else { return Err("none is named".into()) };
                timeout(limit, ask(url, &name)).await.unwrap_or_else(|_| Err(late(limit)))
            });
        }
        let (mut best, mut answers, mut why) = (None::<Said>, 0, None);
        while let Some(answer) = questions.join_next().await {
            match answer {
                Ok(Ok(said)) => {
                    answers += 1;
                    if best.as_ref().is_none_or(|best| best.epoch < said.epoch) {
                        best = Some(said);
                    }
                }
                Ok(Err(reason)) => why = Some(reason),
                Err(_) => {}
            }
            if answers > self.urls.len() / 2 {
                break;
            }
        }
        let why = || why.unwrap_or_else(|| "none is named".into());
        let best = best.ok_or_else(|| bounded(&format!("no Sentinel says where {:?} is: {}", self.name, why())))?;
        let mut known = lock(&self.known);
        // What was known by then is not forgotten for one that has not heard of it.
        Ok(match &*known {
            Some(known) if known.epoch > best.epoch => known.spot.clone(),
            _ => known.insert(best).spot.clone(),
        })
    }

    /// Whether nobody has said by now that the primary is elsewhere.
    pub(super) fn stand_by(&self, spot: &Spot) -> bool {
        lock(&self.known).as_ref().is_none_or(|known| known.spot == *spot)
    }

    /// Listens to one of them, another one each time.
    pub(super) async fn listen(&self) -> Result<Ears, Arc<str>> {
        let nth = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.urls.len()).unwrap_or_default();
        let Some(url) = self.urls.get(nth) else { return Err("none is named".into()) };
        let listen = async {
            let (sender, pushes) = mpsc::unbounded_channel();
            let mut connection = connect(url, ProtocolVersion::RESP3, Some(sender)).await?;
            connection.subscribe("+switch-master").await.map_err(|error| reason(url, &error))?;
            Ok(Ears { _connection: connection, pushes })
        };
        timeout(self.limit, listen).await.unwrap_or_else(|_| Err(late(self.limit)))
    }
}

impl Ears {
    /// Returns when there may be something new, at the latest after a while; `false`: nothing is heard over it any more.
    pub(super) async fn news(&mut self) -> bool {
        loop {
            match timeout(LOOK, self.pushes.recv()).await {
                Err(_) => return true,
                Ok(Some(push)) if push.kind == PushKind::Message => return true,
                Ok(Some(push)) if push.kind != PushKind::Disconnection => {}
                Ok(_) => return false,
            }
        }
    }
}

/// Whether a primary has replicas, and none of them must confirm what it takes. Not if it may not be asked.
pub(super) async fn takes_writes_alone(mut primary: Connection) -> bool {
    let text = |answer: &Value| match answer {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let mut question = ::redis::cmd("INFO");
    question.arg("replication");
    let Ok(told) = primary.send_packed_command(&question).await else { return false };
    let replicas = text(&told).and_then(|told| {
        let line = told.lines().find_map(|line| line.strip_prefix("connected_slaves:").map(str::to_owned))?;
        line.trim().parse::<u32>().ok()
    });
    if replicas.unwrap_or_default() == 0 {
        return false;
    }
    let mut question = ::redis::cmd("CONFIG");
    question.arg("GET").arg("min-replicas-to-write");
    let least = match primary.send_packed_command(&question).await {
        Ok(Value::Map(pairs)) => pairs.first().and_then(|(_, value)| text(value)),
        Ok(Value::Array(words)) => words.get(1).and_then(text),
        _ => None,
    };
    least.as_deref() == Some("0")
}

async fn connect(
    url: &RedisUrl,
    protocol: ProtocolVersion,
    pushes: Option<mpsc::UnboundedSender<PushInfo>>,
) -> Result<Connection, Arc<str>> {
    let info = url.info().clone();
    let login = info.redis_settings().clone().set_protocol(protocol);
    let info = info.set_redis_settings(login);
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let config = match pushes {
        Some(pushes) => config.set_push_sender(pushes),
        None => config,
    };
    reach(url, info, config, &AtomicBool::new(false)).await.map_err(|error| reason(url, &error))
}

/// What one Sentinel says.
async fn ask(url: &RedisUrl, name: &str) -> Result<Said, Arc<str>> {
    let mut connection = connect(url, ProtocolVersion::RESP2, None).await?;
    let mut question = Cmd::new();
    question.arg("SENTINEL").arg("MASTER").arg(name);
    let answer = connection.send_packed_command(&question).await.map_err(|error| reason(url, &error))?;
    if let Value::ServerError(error) = answer {
        return Err(reason(url, &error.into()));
    }
    said(&answer).ok_or_else(|| bounded(&format!("{url} does not answer like a Sentinel")))
}

/// Reads a list of names and values, one behind the other.
fn said(answer: &Value) -> Option<Said> {
    let Value::Array(words) = answer else { return None };
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let field = |name: &str| {
        let at = words.iter().step_by(2).position(|word| text(word).as_deref() == Some(name))?;
        text(words.get(at * 2 + 1)?)
    };
    let spot = (field("ip")?, field("port")?.parse().ok()?);
    Some(Said { spot, epoch: field("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default() })
}

fn reason(url: &RedisUrl, error: &::redis::RedisError) -> Arc<str> {
    bounded(&format!("{url}: {}", url.censor(&text(error))))
}

fn late(limit: Duration) -> Arc<str> {
    bounded(&format!("no answer within {limit:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn an_answer_is_read_by_the_names_in_it_and_one_without_a_place_is_none() {
        let words = ["name", "shop", "ip", "10.0.0.7", "port", "6380", "flags", "master", "config-epoch", "12"].map(bulk);
        let read = said(&Value::Array(words.to_vec())).map(|said| (said.spot, said.epoch));
        assert_eq!(read, Some((("10.0.0.7".to_owned(), 6380), 12)));
        for wrong in [vec![], vec![bulk("ip")], ["ip", "h", "port", "x"].map(bulk).to_vec(), ["port", "1"].map(bulk).to_vec()] {
            assert!(said(&Value::Array(wrong)).is_none());
        }
        assert!(said(&Value::Nil).is_none());
        // A value of that name is no name.
        assert!(said(&Value::Array(["name", "ip", "port", "1"].map(bulk).to_vec())).is_none());
    }
}
