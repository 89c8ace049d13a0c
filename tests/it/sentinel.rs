//! A primary that is replaced: its Sentinels are asked where the next one is, and nothing of the old one is believed.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

mod followed;

use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cachetier::{CacheBuilder, Delivery, Invalidator, OnRestart, TieredCache};
use cachetier_tests::{Log, Origin, RedisServer, Reply, Sentinels, eventually_async};

use followed::{Ground, LONG, POLICY, built, in_step, is_followed, read};

fn builder(sentinels: &Sentinels) -> CacheBuilder {
    TieredCache::builder("sentinel").redis_sentinel(sentinels.urls(), sentinels.name()).read_limit(Duration::from_millis(200))
}

impl Ground for Sentinels {
    fn name(key: &str) -> String {
        format!("ct:sentinel:v:{key}")
    }

    fn builder(&self) -> CacheBuilder {
        builder(self)
    }

    fn primary(&self) -> usize {
        Sentinels::primary(self)
    }

    fn another(&self, than: usize) -> usize {
        self.wait_for_another(than)
    }

    fn server(&self, which: usize) -> &RedisServer {
        self.servers.get(which).expect("one of them")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_is_followed_to_the_next_and_comes_back_as_its_replica() {
    is_followed(&mut Sentinels::start(), |all, old| all.servers[old].kill(), |all, old| all.servers[old].restart()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_frozen_is_left_and_not_believed_when_it_goes_on() {
    is_followed(&mut Sentinels::start(), |all, old| all.servers[old].stop(), |all, old| all.servers[old].resume()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_replaced_though_it_is_well_is_left() {
    is_followed(&mut Sentinels::start(), |all, _| all.fail_over(), |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidator_follows_as_well_and_one_sentinel_of_three_is_enough_to_begin() {
    let (mut sentinels, origin) = (Sentinels::start(), Origin::at(1));
    sentinels.kill_sentinel(0);
    sentinels.kill_sentinel(2);
    let cache = built(builder(&sentinels)).await;
    let worker = Invalidator::builder("sentinel").redis_sentinel(sentinels.urls(), sentinels.name()).build().await.expect("built");
    assert_eq!(read(&cache, "k", &origin).await, 1);
    origin.commit(2);
    assert!(matches!(worker.invalidate("k").await, Ok(Delivery::Applied(_))));
    eventually_async(LONG, "it is heard", async || read(&cache, "k", &origin).await == 2).await;
}

/// How often the server was asked for its settings.
fn config_questions(server: &RedisServer) -> u64 {
    let Reply::Bulk(stats) = server.command(&["INFO", "commandstats"]) else { return 0 };
    let stats = String::from_utf8_lossy(&stats).into_owned();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_config|get:calls="));
    calls.and_then(|calls| calls.split(',').next()?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn a_primary_that_takes_writes_without_its_replicas_is_warned_of() {
    let sentinels = Sentinels::start();
    let warned = async |expected: usize| {
        let before = config_questions(&sentinels.servers[sentinels.primary()]);
        let log = Log::default();
        let _listening = log.listen();
        let cache = built(builder(&sentinels)).await;
        let asked = async || config_questions(&sentinels.servers[sentinels.primary()]) > before;
        eventually_async(LONG, "the primary is asked", asked).await;
        if expected > 0 {
            eventually_async(LONG, "it is told", async || log.with("min-replicas-to-write").len() == expected).await;
        }
        cache.close(LONG).await.expect("closed");
        assert_eq!(log.with("min-replicas-to-write").len(), expected, "{:?}", log.with(""));
    };
    warned(1).await;
    sentinels.servers[sentinels.primary()].command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    warned(0).await;
}

#[tokio::test]
async fn what_cannot_be_used_is_an_error_and_what_is_not_there_yet_is_not() {
    let bad = async |urls: &[&str], name: &str| {
        let built = TieredCache::builder("sentinel").redis_sentinel(urls.iter().copied(), name).build().await;
        let error = built.expect_err("it cannot be used");
        assert!(error.field() == "redis_sentinel" && !error.to_string().contains("hidden"), "{error}");
        error.to_string()
    };
    let one = ["redis://127.0.0.1:1"];
    assert!(bad(&[], "shop").await.contains("no address"));
    assert!(bad(&["nonsense"], "shop").await.contains("no address of a server"));
    assert!(bad(&one, "").await.contains("redis_sentinel is"));
    assert!(bad(&one, "redis://user:hidden@/2").await.contains("redis_sentinel is"));
    for name in ["redis+unix:///tmp/x", "shop:6379", "shop/x", "shop?db=3", "user:hidden@shop", "redis://shop:6379/2"] {
        assert!(bad(&one, name).await.contains("a primary without a name"), "{name}");
    }
    let nothing = TieredCache::builder("sentinel").require_redis().build().await.expect_err("there is none to require");
    assert_eq!(nothing.field(), "redis");

    let log = Log::default();
    let _listening = log.listen();
    let away = |name: &str| {
        let limit = Duration::from_millis(300);
        let builder = TieredCache::builder("sentinel").connect_limit(limit).command_limit(limit);
        builder.redis_sentinel(one, name)
    };
    let cache = built(away("redis://user:hidden@shop/2")).await;
    let loaded = cache.get_or_compute("k", POLICY, async || 1_u32).await;
    assert_eq!(loaded.expect("loaded"), 1);
    let told = log.with("no Sentinel says where");
    assert!(told.iter().any(|line| line.contains("does one of them answer")), "{told:?}");
    assert!(log.with("hidden").is_empty(), "{:?}", log.with("hidden"));
    let error = away("shop").require_redis().build().await.expect_err("it is required");
    assert!(error.to_string().contains("no Sentinel says where"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_no_sentinel_knows_is_told() {
    let sentinels = Sentinels::start();
    let error = TieredCache::builder("sentinel").redis_sentinel(sentinels.urls(), "other").require_redis().build().await;
    let error = error.expect_err("nobody knows it").to_string();
    assert!(error.contains("No such master with that name"), "{error}");
}

/// What was acknowledged and never replicated is lost by the fail-over. It hurts nobody: by default nothing from before is used; and where it is
/// trusted, whoever told it tells it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_that_the_fail_over_loses_is_made_up_for() {
    for trust in [false, true] {
        let (mut sentinels, origin) = (Sentinels::start(), Origin::at(1));
        let on_restart = if trust { OnRestart::Trust } else { OnRestart::BeginAnew };
        let settings = |sentinels: &Sentinels| builder(sentinels).on_restart(on_restart);
        let (a, b) = (built(settings(&sentinels)).await, built(settings(&sentinels)).await);
        assert_eq!(read(&a, "k", &origin).await, 1);
        let old = sentinels.primary();
        assert_eq!(sentinels.servers[old].command(&["WAIT", "2", "5000"]), Reply::Int(2));
        let others: Vec<usize> = (0..3).filter(|server| *server != old).collect();

        // Neither replica hears of it.
        for replica in &others {
            sentinels.servers[*replica].stop();
        }
        sentinels.servers[old].command(&["CLIENT", "KILL", "TYPE", "replica"]);
        origin.commit(2);
        assert!(matches!(a.invalidate("k").await, Ok(Delivery::Applied(_))));
        sentinels.servers[old].kill();
        for replica in &others {
            sentinels.servers[*replica].resume();
            let holds = sentinels.servers[*replica].command(&["EXISTS", "ct:sentinel:v:k"]);
            assert_eq!(holds, Reply::Int(1), "the invalidation is lost there");
        }

        sentinels.wait_for_another(old);
        in_step(&a, &b).await;
        eventually_async(LONG, "it is told again", async || a.stats().retold > 0 && a.stats().pending == 0).await;
        println!("{on_restart:?}: told again {}", a.stats().retold);
        let late = built(settings(&sentinels)).await;
        for cache in [&a, &b, &late] {
            assert_eq!(read(cache, "k", &origin).await, 2);
        }
    }
}

/// A Sentinel that says what it is told to: where the primary is, and of which configuration. It serves a bounded number of connections, each for a
/// bounded time.
fn scripted(says: impl Fn() -> (u16, u64) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let says = Arc::new(says);
    std::thread::spawn(move || {
        for stream in listener.incoming().take(500) {
            let (Ok(stream), says) = (stream, Arc::clone(&says)) else { return };
            let _ = stream.set_read_timeout(Some(LONG));
            std::thread::spawn(move || serve(stream, &*says));
        }
    });
    format!("redis://127.0.0.1:{port}")
}

fn serve(mut stream: TcpStream, says: &dyn Fn() -> (u16, u64)) -> Option<()> {
    let list = |words: &[&str]| {
        words.iter().fold(format!("*{}\r\n", words.len()), |all, word| format!("{all}${}\r\n{word}\r\n", word.len()))
    };
    let mut from = BufReader::new(stream.try_clone().ok()?);
    while let Some(words) = asked(&mut from) {
        let (port, epoch) = says();
        let (port, epoch) = (port.to_string(), epoch.to_string());
        let answer = match (words.first()?.to_ascii_uppercase().as_str(), words.get(1).map(String::as_str)) {
            ("HELLO", _) => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
            ("SUBSCRIBE", _) => ">3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n".to_owned(),
            ("SENTINEL", Some("MASTER")) => list(&["name", "shop", "config-epoch", &epoch]),
            ("SENTINEL", _) => list(&["127.0.0.1", &port]),
            _ => "+OK\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).ok()?;
    }
    Some(())
}

/// The words of one command.
fn asked(from: &mut impl BufRead) -> Option<Vec<String>> {
    let mut number = |sign: char| {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        line.trim().strip_prefix(sign)?.parse::<usize>().ok()
    };
    let count = number('*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let mut word = vec![0; line.trim().strip_prefix('$')?.parse::<usize>().ok()? + 2];
        from.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Some(words)
}

/// Without the right to `INFO` nothing tells two servers apart but where they stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_replaced_and_lives_proves_nothing_also_to_who_may_not_ask_for_its_run() {
    let (old, new) = (RedisServer::builder().tcp().start(), RedisServer::builder().tcp().start());
    let (first, second) = (old.port().expect("a port"), new.port().expect("a port"));
    for server in [&old, &new] {
        let told = server.command(&["ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info"]);
        assert_eq!(told, Reply::Status("OK".to_owned()));
    }
    let now = Arc::new(Mutex::new((first, 1)));
    let says = Arc::clone(&now);
    let url = scripted(move || *says.lock().expect("no panic"));
    let a = built(TieredCache::builder("sentinel").redis_sentinel([url], "redis://app:pw@shop")).await;
    assert!(matches!(a.set("a", 1_u32, POLICY).await, Ok(Delivery::Applied(_))));

    *now.lock().expect("no panic") = (second, 2);
    let on_new = async || a.set("b", 1_u32, POLICY).await.is_ok() && new.command(&["EXISTS", "ct:sentinel:v:b"]) == Reply::Int(1);
    eventually_async(LONG, "the old one is left", on_new).await;
    // What was said since is not unsaid by one that is behind.
    *now.lock().expect("no panic") = (first, 1);
    let b = built(TieredCache::builder("sentinel").redis(format!("redis://app:pw@127.0.0.1:{second}"))).await;
    let origin = Origin::at(1);
    assert_eq!(read(&a, "k", &origin).await, 1);
    origin.commit(2);
    assert!(matches!(b.invalidate("k").await, Ok(Delivery::Applied(_))));
    // As old as the bound on staleness, and what a busy machine adds. In half a minute what the Sentinel says would be believed.
    eventually_async(Duration::from_secs(15), "it is heard of", async || read(&a, "k", &origin).await == 2).await;
    assert_eq!(old.command(&["EXISTS", "ct:sentinel:v:k"]), Reply::Int(0));
}
