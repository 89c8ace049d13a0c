//! A small blocking client, so that a test can act as somebody else on the server: a plain `DEL`, `CONFIG SET`, `INFO`.
//! It shares no code with the client under test.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::over::Login;
use crate::spread::name_in_cluster;

/// Longer than any command of a test takes; a server that is stopped on purpose is noticed by it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(u16),
}

impl Address {
    /// As clients take it.
    pub(crate) fn url(&self, login: &Login<'_>) -> String {
        match self {
            Self::Unix(path) => format!("redis+unix://{}{}", path.display(), login.query()),
            Self::Tcp(port) => format!("redis://{}127.0.0.1:{port}/{}", login.authority(), login.path()),
        }
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing: an absent key, an aborted transaction.
    Nil,
    /// A word of the protocol, such as `OK`.
    Status(String),
    /// The server's refusal.
    Error(String),
    /// A number.
    Int(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// Several replies.
    Array(Vec<Reply>),
}

impl Reply {
    /// Returns the text of a status, of bytes or of an error, lossily; nothing for the others.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Status(text) | Self::Error(text) => Some(text.clone()),
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Nil | Self::Int(_) | Self::Array(_) => None,
        }
    }
}

/// One connection to a server.
pub struct Client {
    stream: BufReader<Box<dyn Stream>>,
    /// Names are given to it as outside of a Cluster, and given back so.
    in_cluster: bool,
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client(..)")
    }
}

impl Client {
    pub(crate) fn connect(address: &Address) -> io::Result<Self> {
        Self::connect_within(address, ANSWER_WITHIN)
    }

    /// One that waits no longer for each answer.
    pub(crate) fn connect_within(address: &Address, limit: Duration) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                Box::new(stream)
            }
            Address::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                Box::new(stream)
            }
        };
        Ok(Self { stream: BufReader::new(stream), in_cluster: false })
    }

    /// The same for a node of a Cluster, where names have braces that they have nowhere else.
    pub(crate) fn in_cluster(self) -> Self {
        Self { in_cluster: true, ..self }
    }

    /// Sends one command and returns the answer; a refusal is a [`Reply::Error`], not an `Err`.
    pub fn command<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<Reply> {
        self.send(words)?;
        self.receive()
    }

    /// Sends one command and does not wait for its answer: [`Client::receive`] does.
    pub fn send<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<()> {
        self.send_all(&[words])
    }

    /// Sends commands, all at once; each has an answer of its own.
    pub fn send_all<C: AsRef<[A]>, A: AsRef<[u8]>>(&mut self, commands: &[C]) -> io::Result<()> {
        let mut request = Vec::new();
        for words in commands {
            request.extend_from_slice(format!("*{}\r\n", words.as_ref().len()).as_bytes());
            // Whoever asks for names gives a pattern of them.
            let asks = words.as_ref().first().is_some_and(|word| matches!(word.as_ref(), b"KEYS" | b"SCAN"));
            for word in words.as_ref() {
                let braced = if self.in_cluster { braced(word.as_ref(), asks) } else { None };
                let word = braced.as_deref().unwrap_or(word.as_ref());
                request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                request.extend_from_slice(word);
                request.extend_from_slice(b"\r\n");
            }
        }
        self.stream.get_mut().write_all(&request)
    }

    /// Returns the next answer, or the next message of a subscription.
    pub fn receive(&mut self) -> io::Result<Reply> {
        let reply = self.receive_as_told()?;
        Ok(if self.in_cluster { unbraced(reply) } else { reply })
    }

    fn receive_as_told(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| strange(&line))?;
        match kind {
            "+" => Ok(Reply::Status(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => rest.parse().map(Reply::Int).map_err(|_| strange(&line)),
            "$" => match length(rest).map_err(|()| strange(&line))? {
                None => Ok(Reply::Nil),
                Some(length) => self.bytes(length).map(Reply::Bulk),
            },
            "*" => match length(rest).map_err(|()| strange(&line))? {
                None => Ok(Reply::Nil),
                Some(length) => (0..length).map(|_| self.receive_as_told()).collect::<io::Result<_>>().map(Reply::Array),
            },
            _ => Err(strange(&line)),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(whole) => Ok(whole.to_owned()),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
        }
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A length of the protocol, where -1 means "nothing".
fn length(text: &str) -> Result<Option<usize>, ()> {
    if text == "-1" { Ok(None) } else { text.parse().map(Some).map_err(|_| ()) }
}

fn strange(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("expected an answer of the protocol, found {line:?}"))
}

/// The name of a value as it is in a Cluster, if this is one as it is elsewhere: `ct:{shop.3}:v:k` for `ct:shop:v:k`. So of a pattern of them: those of
/// any part.
fn braced(word: &[u8], pattern: bool) -> Option<Vec<u8>> {
    let rest = str::from_utf8(word).ok()?.strip_prefix("ct:").filter(|rest| !rest.starts_with('{'))?;
    let (namespace, rest) = rest.split_once(':')?;
    let name = match rest.strip_prefix("v:") {
        Some(key) if !pattern => name_in_cluster(namespace, key),
        _ => format!("ct:{{{namespace}.*}}:{rest}"),
    };
    Some(name.into_bytes())
}

/// The way back.
fn unbraced(reply: Reply) -> Reply {
    let plain = |name: &[u8]| {
        let rest = name.strip_prefix(b"ct:{")?;
        let end = rest.windows(4).position(|bytes| bytes == b"}:v:")?;
        let (part, rest) = rest.split_at_checked(end)?;
        let dot = part.iter().rposition(|byte| *byte == b'.')?;
        Some([b"ct:", part.get(..dot)?, rest.get(1..)?].concat())
    };
    match reply {
        Reply::Bulk(name) => Reply::Bulk(plain(&name).unwrap_or(name)),
        Reply::Array(all) => Reply::Array(all.into_iter().map(unbraced).collect()),
        other => other,
    }
}
