//! Scripts by their digest, sent whole only to a server that does not know them. What they do stands in `scripts/`.

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, RedisResult, RedisWrite as _, ServerErrorKind, Value};

/// A script and the digest under which a server knows it.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, digest: ::redis::Script::new(text).get_hash().to_owned() }
    }

    /// Runs the script once: a server that answers that it does not know the digest has run nothing.
    pub(super) async fn run(&self, line: &mut MultiplexedConnection, keys: &[&[u8]], args: &[&[u8]]) -> RedisResult<Value> {
        let reply = line.send_packed_command(&command("EVALSHA", &self.digest, keys, args)).await?;
        match &reply {
            Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript) => {
                line.send_packed_command(&command("EVAL", self.text, keys, args)).await
            }
            _ => Ok(reply),
        }
    }
}

fn command(verb: &str, script: &str, keys: &[&[u8]], args: &[&[u8]]) -> Cmd {
    let rest = || keys.iter().chain(args);
    let size = verb.len() + script.len() + 20 + rest().map(|arg| arg.len()).sum::<usize>();
    let mut command = Cmd::with_capacity(3 + keys.len() + args.len(), size);
    command.arg(verb).arg(script).arg(keys.len());
    for arg in rest() {
        command.write_arg(arg);
    }
    command
}
