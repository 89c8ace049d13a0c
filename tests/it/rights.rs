//! What a cache asks of its server: a user who may do that and nothing else runs one.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

mod everything;

use cachetier_tests::{Over, RedisServer, Reply};

use everything::everything;

/// The commands, those of scripts among them. `HELLO` and `AUTH` need no right. A server before 7.0 is asked `PERSIST` as well.
const COMMANDS: [&str; 20] = [
    "del",
    "eval",
    "evalsha",
    "get",
    "getrange",
    "info",
    "mget",
    "pexpire",
    "ping",
    "pttl",
    "publish",
    "rename",
    "scan",
    "select",
    "set",
    "setrange",
    "strlen",
    "subscribe",
    "time",
    "unlink",
];

/// The same in a Cluster, which has one database and channels of single slots.
fn commands() -> Vec<&'static str> {
    if Over::chosen() != Over::Cluster {
        return COMMANDS.to_vec();
    }
    let elsewhere = ["publish", "subscribe", "select"];
    COMMANDS.into_iter().filter(|command| !elsewhere.contains(command)).chain(["cluster|nodes", "spublish", "ssubscribe"]).collect()
}

/// A server with such a user, whose name and password are `shop`.
fn server() -> RedisServer {
    let server = RedisServer::start();
    let commands: Vec<String> = commands().iter().map(|command| format!("+{command}")).collect();
    let names = if Over::chosen() == Over::Cluster {
        ["~ct:{shop.*}:*", "&ct:{shop.*}:bus", "&ct:{shop.*}:w:*"].as_slice()
    } else {
        &["~ct:shop:v:*", "~ct:{shop}:*", "&ct:{shop}:bus*", "&ct:{shop}:w:*"]
    };
    let user =
        ["ACL", "SETUSER", "shop", "on", ">shop", "resetkeys", "resetchannels", "-@all"].into_iter().chain(names.iter().copied());
    let words: Vec<&str> = user.chain(commands.iter().map(String::as_str)).collect();
    assert_eq!(server.command(&words), Reply::Status("OK".to_owned()));
    server.command(&["CONFIG", "RESETSTAT"]);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_these_rights_and_no_others_runs_a_cache() {
    let server = server();
    // Another database than the first, so that it must be chosen.
    let database = if Over::chosen() == Over::Cluster { 0 } else { 3 };
    everything(&server.url_as("shop", "shop", database)).await;
    let stats = server.command(&["INFO", "commandstats"]).text().expect("text");
    let unused: Vec<&str> = commands().into_iter().filter(|command| !stats.contains(&format!("cmdstat_{command}:"))).collect();
    assert!(unused.is_empty(), "nobody has asked for {unused:?}");
    let Reply::Array(refused) = server.command(&["ACL", "LOG"]) else { panic!("expected a list") };
    // A server that knows `CLIENT SETINFO` refuses it, which does no harm: it only shows who is connected. Nor does it that a primary with replicas
    // cannot be asked whether they must confirm anything.
    let words = |entry: &Reply| match entry {
        Reply::Array(fields) => fields.iter().filter_map(Reply::text).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    };
    let harmless = |entry: &String| entry.contains("object client|setinfo") || entry.contains("object config|get");
    let harmful: Vec<String> = refused.iter().map(words).filter(|entry| !harmless(entry)).collect();
    assert!(harmful.is_empty(), "{harmful:#?}");
}
