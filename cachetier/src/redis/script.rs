//! Scripts by their digest, sent whole only to a server that does not know them, in the form that it can read. What they do stands in
//! `scripts/`.

use ::redis::aio::MultiplexedConnection;
use ::redis::{Arg, Cmd, Pipeline, RedisResult, RedisWrite as _, ServerErrorKind, Value};

use super::version::Form;

/// A script in both of its forms. They differ in the first line, which says in the newer one that a full server runs it.
#[derive(Debug)]
pub(super) struct Script {
    newer: Text,
    older: Text,
}

/// A script of the lane, out of its parts.
macro_rules! lane_script {
    ($($part:literal),+) => {
        $crate::redis::script::Script::of_lane(concat!(include_str!("scripts/lane.lua"), $(include_str!(concat!("scripts/", $part, ".lua"))),+))
    };
}
pub(super) use lane_script;

/// A script of one entry that ends with telling who waits for its ticket. The first line says what a full server makes of it.
macro_rules! waking_script {
    ($first_line:literal, $part:literal) => {
        $crate::redis::script::Script::of_entry(concat!(
            $first_line,
            "\n",
            include_str!(concat!("scripts/", $part, ".lua")),
            include_str!("scripts/wake.lua")
        ))
    };
}
pub(super) use waking_script;

/// What is run, and the digest under which a server knows it.
#[derive(Debug)]
struct Text {
    whole: String,
    digest: String,
}

impl Text {
    fn new(whole: String) -> Self {
        let digest = ::redis::Script::new(&whole).get_hash().to_owned();
        Self { whole, digest }
    }
}

impl Script {
    /// A script of the lane. What its older form begins with changes nothing, for the state never expires; but it is a write that needs no
    /// memory: a replica refuses it, and a full server then lets the script write on.
    pub(super) fn of_lane(text: &str) -> Self {
        Self::of(text, "redis.call('PERSIST', KEYS[1])")
    }

    /// A script of one entry. On a full server its older form may write what it has deleted something for.
    pub(super) fn of_entry(text: &str) -> Self {
        Self::of(text, "--")
    }

    fn of(text: &str, first_line: &str) -> Self {
        let rest = text.split_once('\n').map_or(text, |(_, rest)| rest);
        Self { newer: Text::new(text.to_owned()), older: Text::new(format!("{first_line}\n{rest}")) }
    }

    /// The same in a Cluster: what it publishes goes to the nodes of its slot, and not to all.
    pub(super) fn sharded(self, sharded: bool) -> Self {
        if !sharded {
            return self;
        }
        let text = |text: &Text| Text::new(text.whole.replace("'PUBLISH'", "'SPUBLISH'"));
        Self { newer: text(&self.newer), older: text(&self.older) }
    }

    fn text(&self, form: Form) -> &Text {
        match form {
            Form::Newer => &self.newer,
            Form::Older => &self.older,
        }
    }

    /// Runs the script once: a server that answers that it does not know the digest has run nothing.
    pub(super) async fn run(
        &self,
        form: Form,
        line: &mut MultiplexedConnection,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> RedisResult<Value> {
        let text = self.text(form);
        let reply = line.send_packed_command(&command("EVALSHA", &text.digest, keys, args)).await?;
        text.unless_known(reply, line, keys, args).await
    }

    /// Sends `first` and runs the script behind it, in one go. Returns the script's answer: if `first` failed, the script finds out.
    pub(super) async fn run_behind(
        &self,
        first: Cmd,
        form: Form,
        line: &mut MultiplexedConnection,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> RedisResult<Value> {
        let text = self.text(form);
        let mut both = Pipeline::with_capacity(2);
        both.add_command(first).add_command(command("EVALSHA", &text.digest, keys, args));
        let reply = line.send_packed_commands(&both, 1, 1).await?.pop().unwrap_or(Value::Nil);
        text.unless_known(reply, line, keys, args).await
    }
}

/// One script to run among many.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// What is sent right before it, if it needs that.
    first: Option<Cmd>,
    text: &'a Text,
    command: Cmd,
}

impl<'a> Run<'a> {
    pub(super) fn new(script: &'a Script, form: Form, keys: &[&[u8]], args: &[&[u8]]) -> Self {
        let text = script.text(form);
        Self { first: None, text, command: command("EVALSHA", &text.digest, keys, args) }
    }

    /// Sends `first` right before it. If that fails, the script finds out.
    pub(super) fn behind(mut self, first: Cmd) -> Self {
        self.first = Some(first);
        self
    }
}

/// Runs each script once, all in one go, and those again that the server did not know: the first of each then goes whole, so that it knows
/// the ones behind it.
pub(super) async fn run_many(line: &mut MultiplexedConnection, runs: Vec<Run<'_>>) -> RedisResult<Vec<Value>> {
    let mut all = Pipeline::with_capacity(runs.len());
    let mut texts = Vec::with_capacity(runs.len());
    for Run { first, text, command } in runs {
        if let Some(first) = first {
            all.add_command(first);
        }
        // Where it stands among the commands, and its answer among theirs.
        texts.push((all.len(), text));
        all.add_command(command);
    }
    let mut replies = line.send_packed_commands(&all, 0, all.len()).await?;
    let is_missing = |at: usize| replies.get(at).is_some_and(is_unknown);
    let unknown: Vec<(usize, &Text)> = texts.iter().copied().filter(|(at, _)| is_missing(*at)).collect();
    if !unknown.is_empty() {
        let sent: Vec<&Cmd> = all.cmd_iter().collect();
        let (mut again, mut told) = (Pipeline::with_capacity(unknown.len()), Vec::new());
        for (sent, text) in unknown.iter().filter_map(|(at, text)| Some((sent.get(*at)?, *text))) {
            if told.contains(&text.digest.as_str()) {
                again.add_command(Cmd::clone(sent));
            } else {
                again.add_command(whole(text, sent));
                told.push(&text.digest);
            }
        }
        let retold = line.send_packed_commands(&again, 0, again.len()).await?;
        for ((at, _), reply) in unknown.into_iter().zip(retold) {
            if let Some(place) = replies.get_mut(at) {
                *place = reply;
            }
        }
    }
    Ok(texts.iter().filter_map(|(at, _)| Some(std::mem::replace(replies.get_mut(*at)?, Value::Nil))).collect())
}

/// The same call with the whole script in the place of its digest.
fn whole(text: &Text, sent: &Cmd) -> Cmd {
    let mut whole = Cmd::new();
    whole.arg("EVAL").arg(&text.whole);
    for arg in sent.args_iter().skip(2) {
        if let Arg::Simple(arg) = arg {
            whole.write_arg(arg);
        }
    }
    whole
}

fn is_unknown(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

impl Text {
    /// The answer to the digest, or to the whole script where the server did not know that.
    async fn unless_known(
        &self,
        reply: Value,
        line: &mut MultiplexedConnection,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> RedisResult<Value> {
        if is_unknown(&reply) {
            return line.send_packed_command(&command("EVAL", &self.whole, keys, args)).await;
        }
        Ok(reply)
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
