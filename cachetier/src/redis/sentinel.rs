//! Where the primary is, as Sentinels say: asked before each connection, and listened to between them, so that a connection to one that was replaced is
//! left without waiting for it to break.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ::redis::{AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::RedisUrl;
use super::answer::{bounded, text};
use super::dial::{Connection, reach};
use super::guide::{Known, Said, Spot};

/// How long nobody has to say anything before it is asked again where the primary is: what was said meanwhile may have been lost.
const LOOK: Duration = Duration::from_secs(5);

/// The Sentinels of one primary.
#[derive(Clone, Debug)]
pub(super) struct Sentinels {
    urls: Arc<[RedisUrl]>,
    name: Arc<str>,
    /// How long one may take to answer.
    limit: Duration,
    pub(super) known: Known,
}

/// What is heard between two questions.
pub(super) struct Ears {
    /// End with it.
    _connections: Vec<Connection>,
    pushes: mpsc::UnboundedReceiver<PushInfo>,
}

impl Sentinels {
    pub(super) fn new(urls: Vec<RedisUrl>, name: &str, connect_limit: Duration) -> Self {
        // Asked within the limit of the connection that the answer is for.
        Self { urls: urls.into(), name: name.into(), limit: connect_limit / 2, known: Known::default() }
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
        let best = best.ok_or_else(|| bounded(&format!("{}; no Sentinel says where {:?} is", why(), self.name)))?;
        Ok(self.known.with(best))
    }

    /// Listens to all of them that answer: who leads a fail-over tells of it last, and who is cut off not at all.
    pub(super) async fn listen(&self) -> Result<Ears, Arc<str>> {
        let (sender, pushes) = mpsc::unbounded_channel();
        let mut begun = JoinSet::new();
        for nth in 0..self.urls.len() {
            let (urls, sender, limit) = (Arc::clone(&self.urls), sender.clone(), self.limit);
            begun.spawn(async move {
                let Some(url) = urls.get(nth) else { return Err("none is named".into()) };
                let listen = async {
                    let mut connection = connect(url, ProtocolVersion::RESP3, Some(sender)).await?;
                    connection.subscribe("+switch-master").await.map_err(|error| reason(url, &error))?;
                    Ok(connection)
                };
                timeout(limit, listen).await.unwrap_or_else(|_| Err(late(limit)))
            });
        }
        let (mut connections, mut why) = (Vec::new(), None);
        while let Some(begun) = begun.join_next().await {
            match begun {
                Ok(Ok(connection)) => connections.push(connection),
                Ok(Err(reason)) => why = Some(reason),
                Err(_) => {}
            }
        }
        if connections.is_empty() {
            return Err(why.unwrap_or_else(|| "none is named".into()));
        }
        Ok(Ears { _connections: connections, pushes })
    }
}

impl Ears {
    /// Returns when there may be something new, at the latest after a while; `false`: one of them is not heard any more.
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
    let mut question = ::redis::cmd("INFO");
    question.arg("replication");
    let Ok(told) = primary.send_packed_command(&question).await else { return false };
    let replicas = text_of(&told).and_then(|told| {
        let line = told.lines().find_map(|line| line.strip_prefix("connected_slaves:").map(str::to_owned))?;
        line.trim().parse::<u32>().ok()
    });
    if replicas.unwrap_or_default() == 0 {
        return false;
    }
    let mut question = ::redis::cmd("CONFIG");
    question.arg("GET").arg("min-replicas-to-write");
    let least = match primary.send_packed_command(&question).await {
        Ok(Value::Map(pairs)) => pairs.first().and_then(|(_, value)| text_of(value)),
        Ok(Value::Array(words)) => words.get(1).and_then(text_of),
        _ => None,
    };
    least.as_deref() == Some("0")
}

pub(super) async fn connect(
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

/// What one Sentinel says. First of which configuration it knows, then where the primary is: in its report of the primary stands the new configuration
/// with the old place as long as the fail-over goes on that it leads, which may be minutes.
async fn ask(url: &RedisUrl, name: &str) -> Result<Said, Arc<str>> {
    let connection = connect(url, ProtocolVersion::RESP2, None).await?;
    let question = |what: &'static str| {
        let mut question = Cmd::new();
        question.arg("SENTINEL").arg(what).arg(name);
        let mut connection = connection.clone();
        async move {
            match connection.send_packed_command(&question).await {
                Ok(Value::ServerError(error)) => Err(reason(url, &error.into())),
                Ok(answer) => Ok(answer),
                Err(error) => Err(reason(url, &error)),
            }
        }
    };
    let report = question("MASTER").await?;
    let place = question("GET-MASTER-ADDR-BY-NAME").await?;
    let said = || Some(Said { epoch: epoch(&report)?, spot: spot(&place)? });
    said().ok_or_else(|| bounded(&format!("{url} does not answer like a Sentinel")))
}

pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

/// Reads the configuration out of a list of names and values, one behind the other.
fn epoch(report: &Value) -> Option<u64> {
    let Value::Array(words) = report else { return None };
    let at = words.iter().step_by(2).position(|word| text_of(word).as_deref() == Some("config-epoch"))?;
    text_of(words.get(at * 2 + 1)?)?.parse().ok()
}

/// Reads a host and a port.
fn spot(place: &Value) -> Option<Spot> {
    let Value::Array(words) = place else { return None };
    Some((text_of(words.first()?)?, text_of(words.get(1)?)?.parse().ok()?))
}

pub(super) fn reason(url: &RedisUrl, error: &::redis::RedisError) -> Arc<str> {
    // What it says stands first: by that it is known.
    bounded(&format!("{} (at {url})", url.censor(&text(error))))
}

pub(super) fn late(limit: Duration) -> Arc<str> {
    bounded(&format!("no answer within {limit:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn the_configuration_is_read_by_its_name_and_a_place_by_its_order() {
        let report = |words: &[&str]| epoch(&Value::Array(words.iter().map(|word| bulk(word)).collect()));
        assert_eq!(report(&["name", "shop", "flags", "master", "config-epoch", "12"]), Some(12));
        // A value of that name is no name.
        for wrong in [&[][..], &["config-epoch"], &["config-epoch", "x"], &["name", "config-epoch", "12"]] {
            assert_eq!(report(wrong), None);
        }
        let place = |words: &[&str]| spot(&Value::Array(words.iter().map(|word| bulk(word)).collect()));
        assert_eq!(place(&["10.0.0.7", "6380"]), Some(("10.0.0.7".to_owned(), 6380)));
        assert!(place(&["10.0.0.7"]).is_none() && place(&["10.0.0.7", "x"]).is_none() && spot(&Value::Nil).is_none());
    }
}
