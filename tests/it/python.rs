//! The Python example beside a cache with warm copies: what a stranger writes from docs/wire.md, this cache obeys.
//!
//! It needs `python3` with redis-py: `cargo xtask test` fetches that below `target/` and names its folder in `REDIS_PY`.
//! `UPDATE_PYTHON=1` writes the script into the example anew.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "what fails here is a test that has failed")]

use std::io::Write as _;
use std::process::{Command, Output};
use std::time::Duration;

use cachetier::{Policy, TieredCache, Token};
use cachetier_tests::{Origin, Over, Reach as _, RedisServer, Reply};

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python/invalidate.py");
/// A script, out of its parts.
macro_rules! script {
    ($($part:literal),+) => {
        concat!($(include_str!(concat!("../../cachetier/src/redis/scripts/", $part, ".lua"))),+)
    };
}

/// The script as instances run it for tags.
const SCRIPT: &str = script!("lane", "next", "table", "place", "bump", "begin", "mark", "tell");
/// What stands around it in the program.
const FENCE: [&str; 2] = ["BUMP = r\"\"\"", "\"\"\"\n"];

#[test]
fn the_python_example_runs_the_script_that_instances_run() {
    let program = std::fs::read_to_string(PROGRAM).expect("the example");
    let (before, rest) = program.split_once(FENCE[0]).expect("the script's begin");
    let (script, after) = rest.split_once(FENCE[1]).expect("the script's end");
    if std::env::var_os("UPDATE_PYTHON").is_some() {
        let renewed = [before, FENCE[0], SCRIPT, FENCE[1], after].concat();
        std::fs::write(PROGRAM, renewed).expect("written");
        return;
    }
    assert!(
        script == SCRIPT,
        "examples/python/invalidate.py has another script than instances: look at what has changed in its arguments, then run this test with UPDATE_PYTHON=1"
    );
}

// The list of parts stands here and in the crate.
#[tokio::test]
async fn the_script_that_the_python_example_holds_is_one_that_a_cache_has_run() {
    if !Over::is_none_of(&[Over::Cluster], "it publishes to one slot") {
        return;
    }
    let server = RedisServer::start();
    cache(&server.url()).await.invalidate_tag("users").await.expect("told");
    let mut client = server.client();
    let digest =
        client.command(&["EVAL", "return redis.sha1hex(ARGV[1])", "0", SCRIPT]).expect("an answer").text().expect("a digest");
    let known = client.command(&["SCRIPT", "EXISTS", &digest]).expect("an answer");
    assert_eq!(known, Reply::Array(vec![Reply::Int(1)]), "put the parts of the crate's script into `SCRIPT`, then UPDATE_PYTHON=1");
}

/// Python with redis-py at hand, or a line that says what is not tested for want of it; with `CACHETIER_PYTHON` set a test that fails.
fn python() -> Option<Python> {
    let folder = std::env::var_os("REDIS_PY").filter(|folder| !folder.is_empty());
    let python = Python { folder };
    let able = python.run(&["-c", "import redis"]).is_ok_and(|output| output.status.success());
    if able {
        return Some(python);
    }
    assert!(std::env::var_os("CACHETIER_PYTHON").is_none(), "expected python3 with redis-py, found none");
    // Not by a macro, whose lines are shown only when a test fails.
    let _ = writeln!(
        std::io::stderr(),
        "NOT RUN: the test of examples/python/invalidate.py needs python3 and redis-py; `cargo xtask test` fetches the latter"
    );
    None
}

struct Python {
    folder: Option<std::ffi::OsString>,
}

impl Python {
    fn run(&self, arguments: &[&str]) -> std::io::Result<Output> {
        let mut command = Command::new("python3");
        if let Some(folder) = &self.folder {
            command.env("PYTHONPATH", folder);
        }
        command.env("PYTHONDONTWRITEBYTECODE", "1").args(arguments).output()
    }

    /// Runs the example as it stands.
    #[track_caller]
    fn example(&self, url: &str, targets: &[&str]) -> Output {
        self.run(&[&[PROGRAM, url, "shop"], targets].concat()).expect("python3")
    }

    /// Runs the example, and returns the token that it prints.
    #[track_caller]
    fn invalidate(&self, url: &str, targets: &[&str]) -> Token {
        let output = self.example(url, targets);
        let said = String::from_utf8_lossy(&output.stdout);
        said.trim().parse().unwrap_or_else(|error| {
            panic!("{error}: it printed {said:?} and {}", String::from_utf8_lossy(&output.stderr));
        })
    }
}

async fn cache(url: &str) -> TieredCache {
    let builder = TieredCache::builder("shop").reach(url).connect_limit(LONG).command_limit(LONG).read_limit(LONG);
    builder.max_staleness(30 * LONG).build().await.expect("built")
}

async fn read(cache: &TieredCache, key: &str, tag: &str, origin: &Origin) -> u64 {
    cache.get_or_load(key, POLICY.tags([tag]), || origin.load()).await.expect("loaded")
}

/// Invalidates in Python, over and over, what a cache holds copies of: it serves what is named no more, and the rest from memory.
async fn check(python: &Python, url: &str) {
    let (cache, origin) = (cache(url).await, Origin::at(0));
    // Not an ASCII name: what counts is bytes.
    let (named, other) = ("user:7:straße", "order:1");
    let targets: [&[&str]; 6] = [
        &["key=user:7:straße"],
        &["tag=users"],
        &["prefix=user:"],
        &["prefix=user:7:"],
        &["key=nobody", "key=user:7:straße", "tag=nothing"],
        &["everything"],
    ];
    for (version, targets) in (1..).zip(targets) {
        let before = read(&cache, named, "users", &origin).await;
        assert_eq!(before, version - 1);
        let kept = read(&cache, other, "orders", &origin).await;
        origin.commit(version);
        let loads = origin.loads();
        let token = python.invalidate(url, targets);
        assert_eq!(cache.wait_for(token, LONG).await, Ok(()), "{targets:?}");
        assert_eq!(read(&cache, named, "users", &origin).await, version, "{targets:?}");
        assert_eq!(origin.loads(), loads + 1);
        let all = targets == ["everything"];
        assert_eq!(read(&cache, other, "orders", &origin).await, if all { version } else { kept }, "{targets:?}");
    }
    assert_eq!(cache.stats().lane_lost, 0, "its messages continue the line");
}

// What was mistyped chose nothing, and a token was printed all the same.
#[test]
fn a_python_program_that_is_told_nothing_usable_says_so_and_sends_nothing() {
    let Some(python) = python() else { return };
    let server = RedisServer::builder().tcp().start();
    let (longest, too_long) = (format!("key={}", "x".repeat(4_096)), format!("tag={}", "ß".repeat(2_049)));
    let refused: [&[&str]; 10] = [
        &[],
        &["tags=org:7"],
        &["Everything"],
        &["everything=no"],
        &["user:42"],
        &["key=user:42", "tags=org:7"],
        &["prefix=user"],
        &["prefix=a:b:c:d:e:"],
        &["key="],
        &[&too_long],
    ];
    for targets in refused {
        let output = python.example(&server.url(), targets);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{targets:?} is taken");
        assert!(complaint.starts_with("expected ") && complaint.lines().count() == 1, "{targets:?}: {complaint}");
    }
    assert_eq!(server.client().command(&["DBSIZE"]).expect("an answer"), Reply::Int(0));
    python.invalidate(&server.url(), &[&longest, "prefix=a:b:c:d:"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_program_invalidates_what_a_warm_cache_holds() {
    let Some(python) = python() else { return };
    let server = RedisServer::builder().tcp().start();
    check(&python, &server.url()).await;
    check(&python, &format!("{}3", server.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_program_invalidates_what_lies_in_redis_and_who_comes_later_knows() {
    let Some(python) = python() else { return };
    let server = RedisServer::builder().tcp().start();
    // Nobody was here before: it begins the era.
    let begun = python.invalidate(&server.url(), &["tag=users"]);
    let mut origin = Origin::at(1);
    for (version, target) in [(2, "tag=users"), (3, "prefix=user:"), (4, "everything"), (5, "key=user:7")] {
        let first = cache(&server.url()).await;
        read(&first, "user:7", "users", &origin).await;
        assert_eq!(first.stats().fills, 1);
        first.close(LONG).await.expect("closed");
        origin = Origin::at(version);
        let token = python.invalidate(&server.url(), &[target]);
        assert!(token > begun, "the same era");
        // It has heard no message: it goes by the table, and by what is gone.
        let second = cache(&server.url()).await;
        assert_eq!(read(&second, "user:7", "users", &origin).await, version, "{target}");
        assert_eq!(origin.loads(), 1);
        second.clear().await.expect("cleared");
        second.close(LONG).await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_program_finds_the_cells_of_a_table_of_another_size() {
    let Some(python) = python() else { return };
    for cells in [1 << 10, 1 << 20] {
        let server = RedisServer::builder().tcp().start();
        let build = || {
            let builder = TieredCache::builder("shop").reach(server.url()).connect_limit(LONG).command_limit(LONG).read_limit(LONG);
            builder.tag_cells(cells).build()
        };
        let (first, origin) = (build().await.expect("built"), Origin::at(1));
        read(&first, "user:7", "users", &origin).await;
        first.close(LONG).await.expect("closed");
        origin.commit(2);
        python.invalidate(&server.url(), &["tag=users"]);
        // It goes by the table.
        assert_eq!(read(&build().await.expect("built"), "user:7", "users", &origin).await, 2, "of {cells}");
    }
}
