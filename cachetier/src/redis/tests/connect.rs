//! The connection: made in the background, found dead, replaced, ended; and addresses that keep their secrets.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::lane::keys;
use super::server::{PATIENCE, SETTINGS, Server, eventually, names, open, open_with, stamp};
use crate::error::Fault;
use crate::l2::lane::Lane as _;
use crate::l2::{Limits, NotReady, Store as _};
use crate::redis::connect::{Retry, ceiling};
use crate::redis::{RedisStore, RedisUrl, Settings};
use crate::rule::seq::Point;

const LIMIT: Duration = Duration::from_millis(400);
const SHORT: Settings = Settings { limits: Limits { read: LIMIT, command: LIMIT }, ..SETTINGS };

/// Why the store's calls are not sent, once an attempt to connect has failed.
async fn why_away(store: &RedisStore) -> Arc<str> {
    let mut found = None;
    eventually("a failed attempt", async || {
        let Err(Fault::Away(why)) = store.read("k").await else { return false };
        let failed = !why.contains("not connected yet");
        found = failed.then_some(why);
        failed
    })
    .await;
    found.unwrap()
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let mut server = Server::later(&[]);
    let (store, lane) = open_with(&server.url(), SETTINGS);
    assert!(matches!(store.read("k").await, Err(Fault::Away(_))), "at once, without a server");
    assert!(matches!(lane.bump(&keys(&["k"]), Point::default()).await, Err(Fault::Away(_))));
    assert!(matches!(lane.subscribe().await.map(|_| ()), Err(Fault::Away(_))));
    let why = why_away(&store).await;
    assert!(why.contains("No such file"), "{why}");
    assert_eq!(store.ready(Duration::ZERO).await, Err(NotReady::Yet(Fault::Away(why))));
    server.again().await;
    assert_eq!(store.ready(PATIENCE).await, Ok(()));
    assert_eq!(store.read("k").await, Ok(None));
}

#[tokio::test]
async fn an_attempt_to_connect_ends_with_the_last_handle() {
    let server = Server::start().await;
    server.signal("STOP");
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (before, patient) = (tasks(), Settings { connect_limit: PATIENCE * 2, ..SETTINGS });
    let handles = open_with(&server.url(), patient);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(tasks() > before);
    drop(handles);
    eventually("its task ends", async || tasks() == before).await;
}

#[test]
fn pauses_between_attempts_double_up_to_the_longest() {
    let ceilings: Vec<u128> = [0, 1, 2, 6, 7, 31, 32, u32::MAX].map(|tries| ceiling(tries).as_millis()).to_vec();
    assert_eq!(ceilings, [50, 100, 200, 3_200, 5_000, 5_000, 5_000, 5_000]);
}

#[tokio::test(start_paused = true)]
async fn who_reaches_the_server_ends_the_pause_and_makes_the_next_a_short_one() {
    let retry = Retry::default();
    let now = tokio::time::Instant::now;
    for _ in 0..100 {
        retry.pause().await;
        let before = now();
        tokio::join!(retry.pause(), async { retry.at_once() });
        assert_eq!(now() - before, Duration::ZERO);
        let before = now();
        retry.pause().await;
        assert!(now() - before <= Duration::from_millis(51), "{:?}", now() - before);
        // As after a long outage.
        for _ in 0..10 {
            retry.pause().await;
        }
    }
}

#[test]
fn without_a_runtime_opening_is_an_error() {
    let url = RedisUrl::parse("redis://127.0.0.1/").unwrap();
    assert!(matches!(open(url, SETTINGS, &names()).map(|_| ()), Err(Fault::Away(_))));
}

#[tokio::test]
async fn the_connection_ends_with_its_last_handle() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (store, lane) = server.open().await;
    assert_eq!(plain.others().await.len(), 1);
    drop(store);
    lane.bump(&keys(&["k"]), Point::default()).await.unwrap();
    drop(lane);
    eventually("the connection ends", async || plain.others().await.is_empty()).await;
}

#[tokio::test]
async fn a_lost_connection_is_replaced_without_a_command() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (store, _lane) = server.open().await;
    let before = plain.others().await;
    plain.say::<()>("CLIENT KILL TYPE normal SKIPME yes").await;
    eventually("another connection", async || plain.others().await.first().is_some_and(|id| !before.contains(id))).await;
    store.ready(PATIENCE).await.unwrap();
    assert_eq!(store.read("k").await, Ok(None));
}

#[tokio::test]
async fn while_a_subscription_is_answered_a_lost_connection_is_replaced_soon_however_often() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (_store, lane) = server.open().await;
    let mut subscription = lane.subscribe().await.unwrap();
    for _ in 0..16 {
        subscription.check(Point::default()).await.unwrap();
        let (before, killed) = (plain.others().await, tokio::time::Instant::now());
        plain.say::<()>("CLIENT KILL TYPE normal SKIPME yes").await;
        eventually("another connection", async || plain.others().await.iter().any(|id| !before.contains(id))).await;
        // Left to themselves the pauses grow to five seconds.
        assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    }
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let mut server = Server::start().await;
    let (store, _lane) = server.open().await;
    server.kill();
    eventually("the loss is known", async || matches!(store.read("k").await, Err(Fault::Away(_)))).await;
    server.again().await;
    store.ready(PATIENCE).await.unwrap();
    assert_eq!(store.read("k").await, Ok(None));
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_command_leaves_it_unanswered() {
    let mut server = Server::start().await;
    let (store, _lane) = server.open().await;
    server.signal("STOP");
    // A task of its own: it goes on before the one that keeps the connection, and must not send into what it found broken.
    let reads = tokio::spawn(async move { (store.read("k").await, store.read("k").await) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.kill();
    let (first, second) = reads.await.unwrap();
    assert!(matches!(first, Err(Fault::Unanswered(_))), "{first:?}");
    assert!(matches!(second, Err(Fault::Away(_))), "{second:?}");
}

#[tokio::test]
async fn a_black_hole_is_given_up_after_three_silent_commands_and_left_behind() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (store, _lane) = open_with(&server.url(), SHORT);
    store.ready(PATIENCE).await.unwrap();
    let before = plain.others().await;
    server.signal("STOP");
    for _ in 0..3 {
        let read = tokio::time::timeout(LIMIT * 10, store.read("k")).await.expect("an end");
        assert!(matches!(read, Err(Fault::Unanswered(_))), "{read:?}");
    }
    let read = tokio::time::timeout(LIMIT / 2, store.read("k")).await.expect("an answer at once");
    assert!(matches!(read, Err(Fault::Away(_))), "{read:?}");
    server.signal("CONT");
    store.ready(PATIENCE).await.unwrap();
    assert_eq!(store.read("k").await, Ok(None));
    eventually("the old connection is gone", async || !plain.others().await.contains(&before[0])).await;
}

#[tokio::test]
async fn a_pause_that_is_long_for_reads_but_not_for_commands_keeps_the_connection() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let limits = Limits { read: Duration::from_millis(20), ..SETTINGS.limits };
    let (store, lane) = open_with(&server.url(), Settings { limits, ..SETTINGS });
    store.ready(PATIENCE).await.unwrap();
    let before = plain.others().await;
    server.signal("STOP");
    for _ in 0..10 {
        assert!(matches!(store.read("k").await, Err(Fault::Unanswered(_))));
    }
    server.signal("CONT");
    assert!(lane.bump(&keys(&["k"]), Point::default()).await.is_ok());
    assert_eq!(plain.others().await, before, "the same connection throughout");
}

#[tokio::test]
async fn silence_counts_only_in_a_row() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (store, _lane) = open_with(&server.url(), SHORT);
    store.ready(PATIENCE).await.unwrap();
    let before = plain.others().await;
    for _ in 0..2 {
        server.signal("STOP");
        for _ in 0..2 {
            assert!(matches!(store.read("k").await, Err(Fault::Unanswered(_))));
        }
        server.signal("CONT");
        eventually("an answer", async || store.read("k").await == Ok(None)).await;
    }
    assert_eq!(plain.others().await, before, "the same connection throughout");
}

#[tokio::test]
async fn a_dropped_call_does_not_disturb_the_next() {
    let server = Server::start().await;
    let (store, _lane) = server.open().await;
    for number in 0..50 {
        let key = format!("k{number}");
        let _ = tokio::time::timeout(Duration::ZERO, store.probe(&key, stamp(number), SETTINGS.max_staleness)).await;
        assert_eq!(store.read("absent").await, Ok(None));
    }
}

#[tokio::test]
async fn the_adapter_works_over_tcp() {
    let server = Server::start().await;
    let (store, lane) = open_with(&format!("redis://{}/3", server.over_tcp()), SETTINGS);
    store.ready(PATIENCE).await.unwrap();
    assert_eq!(store.probe("k", stamp(1), SETTINGS.max_staleness).await, Ok(None));
    let mut subscription = lane.subscribe().await.unwrap();
    let bumped = lane.bump(&keys(&["k"]), Point::default()).await.unwrap();
    assert_eq!(subscription.check(Point::default()).await.unwrap().point, bumped.point);
    let keyspace: String = server.plain().await.say("INFO keyspace").await;
    assert!(keyspace.contains("db3:"), "{keyspace}");
}

#[tokio::test]
async fn the_longest_limit_that_can_be_set_does_not_keep_a_connection_from_being_made() {
    let server = Server::start().await;
    let longest = Duration::from_millis(u32::MAX.into());
    let settings = Settings { limits: Limits { read: longest, command: longest }, ..SETTINGS };
    let (store, _lane) = open_with(&format!("redis://{}", server.over_tcp()), settings);
    assert_eq!(store.ready(Duration::from_secs(5)).await, Ok(()));
}

#[tokio::test]
async fn a_wrong_password_is_the_reason_and_is_not_repeated() {
    let server = Server::start_with(&["--requirepass", "s3cret"]).await;
    let (store, _lane) = open_with(&format!("{}?pass=hunter2", server.url()), SETTINGS);
    let why = why_away(&store).await;
    assert!(why.contains("WRONGPASS") && !why.contains("hunter2"), "{why}");
    let (store, _lane) = open_with(&format!("{}?pass=s3cret", server.url()), SETTINGS);
    assert_eq!(store.ready(PATIENCE).await, Ok(()));
}

#[tokio::test]
async fn a_server_that_repeats_the_handshake_does_not_make_us_repeat_the_password() {
    let wordy = format!("ERR {}", "\u{e9}".repeat(300));
    let cut = "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'me' 's3cr";
    for echo in [cut, "ERR what is s3cret s3cret?", &wordy] {
        let echo = echo.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut client, _)) = listener.accept() {
                let _ = client.read(&mut [0; 1_024]);
                let _ = client.write_all(format!("-{echo}\r\n").repeat(4).as_bytes());
            }
        });
        let log = Log::default();
        let _listening = log.listen();
        let url = RedisUrl::parse(&format!("redis://me:s3cret@{address}/")).unwrap();
        let (store, _lane) = open(url, SETTINGS, &names()).unwrap();
        let why = why_away(&store).await;
        assert!(why.starts_with("ERR ") && why.len() <= 200, "{why}");
        eventually("it is logged", async || log.count("redis is away") == 1).await;
        let said = format!("{why} {:?}", log.0.lock().unwrap());
        assert!(said.contains("redis is away") && !said.contains("s3cr") && !said.contains("me:"), "{said}");
    }
}

#[tokio::test]
async fn what_is_no_reply_is_not_quoted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let _ = client.read(&mut [0; 1_024]);
            let _ = client.write_all(b"HTTP/1.1 200 s3cret\r\n\r\n");
        }
    });
    let (store, _lane) = open_with(&url, SETTINGS);
    let why = why_away(&store).await;
    assert!(why.contains("no Redis reply") && !why.contains("s3cret"), "{why}");
}

#[tokio::test]
async fn an_outage_is_logged_once_when_it_begins_and_once_when_it_ends() {
    let log = Log::default();
    let _listening = log.listen();
    let mut server = Server::start().await;
    let (store, _lane) = open_with(&server.url(), SETTINGS);
    store.ready(PATIENCE).await.unwrap();
    for outage in 1..=2 {
        server.kill();
        eventually("the loss is logged", async || log.count("redis is away") == outage).await;
        // Long enough for several attempts.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(log.count("redis is away"), outage);
        assert_eq!(log.count("redis is back"), outage - 1);
        server.again().await;
        store.ready(PATIENCE).await.unwrap();
        assert_eq!(log.count("redis is back"), outage);
    }
    assert_eq!(log.count("redis is away"), 2);
}

#[tokio::test]
async fn coming_back_into_step_is_logged_once_for_each_loss_with_how_long_it_took() {
    let log = Log::default();
    let _listening = log.listen();
    let mut server = Server::start().await;
    let cache = crate::TieredCache::builder("shop").redis(server.url()).build().await.unwrap();
    assert_eq!((log.count("in step with the lane"), log.count("back in step")), (1, 0));
    for loss in 1..=2 {
        server.kill();
        eventually("the loss is logged", async || log.count("lost the lane") == loss).await;
        // Long enough for several attempts.
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.again().await;
        eventually("the return is logged", async || log.count("back in step with the lane") == loss).await;
        assert_eq!(log.count("lost the lane"), loss);
    }
    let out: Vec<u64> = log.lines("back in step with the lane").iter().filter_map(|line| millis_out(line)).collect();
    assert!(out.len() == 2 && out.iter().all(|out| (300..20_000).contains(out)), "{out:?}");
    drop(cache);
}

/// `out=1.25s` or `out=340ms`, in milliseconds.
fn millis_out(line: &str) -> Option<u64> {
    let out = line.split("out=").nth(1)?.split(' ').next()?;
    let seconds = out.strip_suffix("ms").map(|millis| millis.parse::<f64>().map(|millis| millis / 1_000.0));
    let seconds = seconds.or_else(|| out.strip_suffix('s').map(str::parse::<f64>))?.ok()?;
    Some(crate::clock::millis(Duration::from_secs_f64(seconds)))
}

#[test]
fn addresses_show_where_but_not_who() {
    #[track_caller]
    fn check(url: &str, shown: &str) {
        let url = RedisUrl::parse(url).unwrap();
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), format!("RedisUrl({shown})"));
    }
    check("redis://127.0.0.1", "redis://127.0.0.1:6379/0");
    check("redis://me:s3cret@cache.example:7000/2?protocol=resp2", "redis://cache.example:7000/2");
    check("redis://:p%40ss@[::1]:7000/", "redis://[::1]:7000/0");
    check("redis+unix:///run/redis.sock?db=4&user=me&pass=s3cret", "redis+unix:///run/redis.sock?db=4");
    check("unix:///run/redis.sock", "redis+unix:///run/redis.sock?db=0");
}

/// Trusts what the system does, which is not to be on every machine: so the address names somebody, in a file.
#[cfg(feature = "tls")]
#[test]
fn addresses_with_tls_show_where_and_no_files_and_choose_nothing_for_the_process() {
    #[track_caller]
    fn check(url: &str, shown: &str) {
        let url = RedisUrl::parse(url).unwrap();
        assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), format!("RedisUrl({shown})")));
    }
    let ca = std::env::temp_dir().join(format!("cachetier-{}-s3cret.pem", std::process::id()));
    std::fs::write(&ca, AUTHORITY).unwrap();
    let query = format!("ca={}&protocol=resp2", ca.display());
    check(&format!("rediss://me:s3cret@cache.example:7000/2?{query}"), "rediss://cache.example:7000/2");
    check(&format!("valkeys://:p%40ss@[::1]?{query}"), "rediss://[::1]:6379/0");
    check(&format!("rediss://10.0.0.1?{query}"), "rediss://10.0.0.1:6379/0");
    std::fs::remove_file(ca).unwrap();
    // The process may want to, later; and it is an error to do so twice.
    assert!(tokio_rustls::rustls::crypto::CryptoProvider::get_default().is_none());
}

/// A certificate whose key nobody has kept.
#[cfg(feature = "tls")]
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBeDCCAR+gAwIBAgIUSJ2ZBi8KcV4YC10gDmUhxnCHvTgwCgYIKoZIzj0EAwIw\n\
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyMjAyMDQzNFoYDzIxMjYxMDI5MDIw\n\
NDM0WjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
AASfVwiSnLxnmDgyRRy++fmYp7vLceEPaNUG9/pxiuKG11ajOIO6LUk0eV1NKrnT\n\
xV+ojuNA09nh4JQp6SKh4tgPo1MwUTAdBgNVHQ4EFgQUX6v7fg5qiq7px8kCfTER\n\
TRWBrFgwHwYDVR0jBBgwFoAUX6v7fg5qiq7px8kCfTERTRWBrFgwDwYDVR0TAQH/\n\
BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAgWgEwvAYDmzXJfDSf/rZ29X5GzC2a\n\
j2cczTNufLF8kQIgSskwAJlbr1vUtcUndWmpzhwTh5gnMDRPLQZ6u3CLJ40=\n\
-----END CERTIFICATE-----";

#[test]
fn what_is_no_address_is_told_without_its_secrets() {
    #[track_caller]
    fn check(url: &str, said: &str) {
        let reason = RedisUrl::parse(url).map(|url| url.to_string()).unwrap_err().to_string();
        assert!(reason.contains(said), "{reason}");
        assert!(!reason.contains("s3cret") && !reason.contains("hunter"), "{reason}");
    }
    let other = "no address of a server";
    check("redis://me:s3cret@host/?ca=hunter", "which only `rediss://` knows");
    #[cfg(not(feature = "tls"))]
    check("rediss://me:s3cret@host/?ca=hunter", "the feature `tls` of cachetier must be turned on");
    #[cfg(feature = "tls")]
    {
        check("rediss://me:s3cret@host/?ca=hunter", "`ca` cannot be read");
        check("rediss://me:s3cret@host/?key=hunter", "`key` and without `cert`");
        check("rediss://me:s3cret@host/?cert=hunter", "`cert` and without `key`");
        check("valkeys://me:s3cret@host/?pass=hunter", "a parameter other than `ca`, `cert` and `key`");
        check("rediss://me:s3cret@host/#insecure", "verification cannot be switched off");
        check("rediss://me:s3cret@ho%20st/", "neither a name of the DNS nor an IP address");
        check("rediss://me:s3cret@host/hunter", "database is no number");
        check("rediss:///s3cret", "without a host");
    }
    check("http://me:s3cret@host/", other);
    check("me:s3cret@host:6379", other);
    check("", other);
    check("redis://me:s3cret@host:hunter/", other);
    check("redis://me:s3cret@host/hunter", "database is no number");
    check("redis://me:s3cret@host/-1", "database is negative");
    check("redis://me:s3cret@0.0.0.0/", "wildcard");
    check("redis:///s3cret", "without a host");
    check("redis://me:s3cret%ff@host/", "not UTF-8");
    check("redis://me:s3cret@host/?protocol=hunter", other);
    check("redis+unix://hunter/s3cret", "without the path of a socket");
}

/// Collects what is logged at `INFO` and above.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Collects what this thread logs, until the guard is dropped.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        // While there is one subscriber only, a call site first passed by another test's thread is taken for one that nobody
        // listens to, and stays silent here too. So there are always two.
        static ANOTHER: OnceLock<tracing::Dispatch> = OnceLock::new();
        ANOTHER.get_or_init(|| tracing::Dispatch::new(Log::default()));
        tracing::subscriber::set_default(self.clone())
    }

    fn count(&self, text: &str) -> usize {
        self.lines(text).len()
    }

    fn lines(&self, text: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        use std::fmt::Write as _;
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                let _ = write!(self.0, "{field}={value:?} ");
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
