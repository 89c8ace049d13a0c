//! Scripts by their digest, sent whole only to a server that does not know them. What they do stands in `scripts/`.

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, Pipeline, RedisResult, RedisWrite as _, ServerErrorKind, Value};

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

    /// Sends `first` and runs the script behind it, in one go. Returns the script's answer: if `first` failed, the script finds out.
    pub(super) async fn run_behind(
        &self,
        first: Cmd,
        line: &mut MultiplexedConnection,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> RedisResult<Value> {
        let mut both = Pipeline::with_capacity(2);
        both.add_command(first).add_command(command("EVALSHA", &self.digest, keys, args));
        let reply = line.send_packed_commands(&both, 0, 2).await?.pop().unwrap_or(Value::Nil);
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
