//! Where the primary is, as Sentinels say: asked before each connection, and listened to between them, so that a connection to one that was replaced is
//! left without waiting for it to break.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, ProtocolVersion, PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::RedisUrl;
use super::answer::{bounded, late, text_of};
use super::dial::{Connection, ask_over};
use super::known::{Answers, Known, Said, Spot};

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
                timeout(limit, ask(url, &name, limit)).await.unwrap_or_else(|_| Err(late(limit)))
            });
        }
        let Answers { said, most, why } = Answers::to(&mut questions).await;
        self.known.with(&said, most).ok_or_else(|| {
            let why = why.unwrap_or_else(|| "none is named".into());
            bounded(&format!("{why}; no Sentinel says where {:?} is", self.name))
        })
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
                    let mut connection = ask_over(url, ProtocolVersion::RESP3, limit, Some(sender)).await?;
                    connection.subscribe("+switch-master").await.map_err(|error| url.reason(&error))?;
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

/// What one Sentinel says. First of which configuration it knows, then where the primary is: in its report of the primary stands the new configuration
/// with the old place as long as the fail-over goes on that it leads, which may be minutes.
async fn ask(url: &RedisUrl, name: &str, limit: Duration) -> Result<Said, Arc<str>> {
    let connection = ask_over(url, ProtocolVersion::RESP2, limit, None).await?;
    let question = |what: &'static str| {
        let mut question = Cmd::new();
        question.arg("SENTINEL").arg(what).arg(name);
        let mut connection = connection.clone();
        async move {
            match connection.send_packed_command(&question).await {
                Ok(Value::ServerError(error)) => Err(url.reason(&error.into())),
                Ok(answer) => Ok(answer),
                Err(error) => Err(url.reason(&error)),
            }
        }
    };
    let report = question("MASTER").await?;
    let place = question("GET-MASTER-ADDR-BY-NAME").await?;
    let said = || Some(Said { epoch: epoch(&report)?, spot: spot(&place)? });
    said().ok_or_else(|| bounded(&format!("{url} does not answer like a Sentinel")))
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
