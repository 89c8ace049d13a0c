//! What a server can be asked, by the version that it says it has. Asking is `connect`'s.

use ::redis::{Cmd, Value};

/// The oldest server that will do. What cannot be done without is RESP3, of 6.0, and that a primary which has lost its replicas and is told to
/// refuse writes then refuses those of scripts, too.
pub(super) const OLDEST: &str = "Redis 6.2.7 or newer";

/// The oldest Cluster that will do: what is published to the nodes of one slot alone is of 7.0.
pub(super) const OLDEST_CLUSTER: &str = "Redis 7.0 or newer for a Cluster";

/// In which form a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As 7.0 can be: `SET .. NX GET`, and scripts whose first line says whether a full server runs them.
    Newer,
    /// As 6.2 can be: a script in the place of that command, and a write that needs no memory in the place of that line.
    Older,
}

/// Below the oldest version that will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooOld;

impl Form {
    /// The form for a server of this version. One that cannot be read is another program's: it is taken for a new one, which at worst
    /// refuses what it is sent.
    pub(super) fn of(version: &str) -> Result<Self, TooOld> {
        let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
        let Some(major) = numbers.next() else { return Ok(Self::Newer) };
        match (major, numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) {
            (7.., ..) => Ok(Self::Newer),
            (6, 3.., _) | (6, 2, 7..) => Ok(Self::Older),
            _ => Err(TooOld),
        }
    }
}

/// The question for it. Unlike `INFO` no user can be forbidden to ask it, and the handshake has asked it already: it changes nothing.
pub(super) fn question() -> Cmd {
    let mut hello = Cmd::new();
    hello.arg("HELLO").arg(3);
    hello
}

/// The question for the life of the server's process.
pub(super) fn question_of_run() -> Cmd {
    let mut info = Cmd::new();
    info.arg("INFO").arg("server");
    info
}

/// That life, as a number, as `scripts/lane.lua` makes it; 0 where it is not told.
pub(super) fn run(answer: &Value) -> u64 {
    let text = match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::VerbatimString { text, .. } => text.clone(),
        _ => return 0,
    };
    let id = text.lines().find_map(|line| line.trim_end().strip_prefix("run_id:"));
    id.and_then(|id| u64::from_str_radix(id.get(..12)?, 16).ok()).unwrap_or_default()
}

/// The version that the answer names.
pub(super) fn told(answer: &Value) -> Option<String> {
    let Value::Map(pairs) = answer else { return None };
    let (_, version) = pairs.iter().find(|(name, _)| text(name).as_deref() == Some("version"))?;
    text(version)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_goes_by_major_and_minor() {
        for (version, expected) in [
            ("7.0.15", Ok(Form::Newer)),
            ("7.0", Ok(Form::Newer)),
            ("8.0.1", Ok(Form::Newer)),
            ("10.0.0", Ok(Form::Newer)),
            ("255.255.255", Ok(Form::Newer)),
            ("6.2.14", Ok(Form::Older)),
            ("6.2.7", Ok(Form::Older)),
            ("6.2.6", Err(TooOld)),
            ("6.2.0-rc1", Err(TooOld)),
            ("6.3.4", Ok(Form::Older)),
            ("6.0.20", Err(TooOld)),
            ("6", Err(TooOld)),
            ("5.0.7", Err(TooOld)),
            ("", Ok(Form::Newer)),
            ("unstable", Ok(Form::Newer)),
        ] {
            assert_eq!(Form::of(version), expected, "{version}");
        }
    }

    #[test]
    fn the_life_of_a_process_is_the_begin_of_its_name() {
        let told = "# Server\r\nredis_version:7.0.15\r\nrun_id:654b8f8902d493bc22d486e0255a1d6c4dccc7b4\r\ntcp_port:0\r\n";
        assert_eq!(run(&Value::BulkString(told.into())), 0x654b_8f89_02d4);
        assert_eq!(run(&Value::BulkString("run_id:short".into())), 0);
        assert_eq!(run(&Value::Nil), 0);
    }

    #[test]
    fn a_version_is_found_where_the_answer_names_it() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let named = Value::Map(vec![(bulk("server"), bulk("redis")), (bulk("version"), bulk("6.2.14"))]);
        assert_eq!(told(&named).as_deref(), Some("6.2.14"));
        assert_eq!(told(&Value::Map(vec![(bulk("proto"), Value::Int(3))])), None);
        assert_eq!(told(&Value::Nil), None);
    }
}
