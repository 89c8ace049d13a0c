//! A server behind TLS: a cache does everything over it, and whatever TLS fails by is told in one line that says what helps.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

mod away;
mod everything;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cachetier::{Delivery, Origin, Policy, TieredCache};
use cachetier_tests::{Authority, Log, RedisServer, Reply, ServerBuilder, eventually_async};

use away::{LIMIT, is_away, told_once};
use everything::everything;

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const HERE: [&str; 2] = ["127.0.0.1", "localhost"];

fn ok() -> Reply {
    Reply::Status("OK".to_owned())
}

fn tls() -> ServerBuilder {
    RedisServer::builder().tls()
}

fn file(server: &RedisServer, name: &str) -> String {
    server.folder().join(name).display().to_string()
}

/// An address of the server with secrets in it, and these parameters.
fn address(server: &RedisServer, query: &str) -> String {
    format!("rediss://user:hidden@127.0.0.1:{}/?{query}", server.port().expect("a port"))
}

async fn cache(url: &str) -> TieredCache {
    let builder = TieredCache::builder("tls").redis(url).connect_limit(LONG).command_limit(LONG).read_limit(LONG);
    builder.build().await.expect("built")
}

/// A value goes from one cache to the other through the server. Tried again until it does, for connections that are being made.
async fn share(a: &TieredCache, b: &TieredCache, name: &str) {
    let mut key = 0;
    eventually_async(LONG, "one finds what the other has stored", async || {
        key += 1;
        let key = format!("{name}:{key}");
        a.get_or_compute(&key, POLICY, async || 1_u8).await.expect("loaded");
        let found = b.get_or_load_traced(&key, POLICY, async || Ok::<_, &str>(2_u8)).await.expect("loaded");
        found.origin == Origin::L2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_with_its_own_authority_and_certificate_does_everything() {
    let server = RedisServer::builder().tls_with_client_certificate().start();
    assert_eq!(server.command(&["ACL", "SETUSER", "shop", "on", ">shop", "~*", "&*", "+@all"]), ok());
    everything(&server.url_as("shop", "shop", 3)).await;
    assert!(server.command(&["INFO", "keyspace"]).text().expect("text").contains("db3:"));
    let port = Reply::Array(vec![Reply::Bulk(b"port".to_vec()), Reply::Bulk(b"0".to_vec())]);
    assert_eq!(server.command(&["CONFIG", "GET", "port"]), port, "there is no way past TLS");
}

#[tokio::test]
async fn the_other_name_of_the_scheme_and_a_name_of_the_host_lead_there_as_well() {
    let server = tls().start();
    let ca = file(&server, "ca.pem");
    let url = format!("valkeys://localhost:{}?ca={ca}&protocol=resp3", server.port().expect("a port"));
    let (a, b) = (cache(&url).await, cache(&server.url()).await);
    share(&a, &b, "k").await;
}

#[tokio::test]
async fn a_value_of_several_megabytes_goes_there_and_back() {
    let server = tls().start();
    let (a, b) = (cache(&server.url()).await, cache(&server.url()).await);
    let large = "0123456789abcdef".repeat(400_000);
    // Twice: what is known to be large goes over a connection of its own.
    for round in 0..2 {
        let token = a.invalidate("large").await.expect("told").confirmed().expect("applied");
        b.wait_for(token, LONG).await.expect("heard");
        assert_eq!(a.get_or_compute("large", POLICY, async || large.clone()).await.expect("loaded"), large);
        let found = b.get_or_load_traced("large", POLICY, async || Ok::<_, &str>(String::new())).await.expect("loaded");
        assert_eq!((found.origin, found.value == large), (Origin::L2, true), "{round}");
    }
    for cache in [a, b] {
        assert_eq!(cache.stats().l2_faults, 0, "{}", cache.stats());
    }
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_is_used_again() {
    let mut server = RedisServer::builder().tls_with_client_certificate().start();
    let (a, b) = (cache(&server.url()).await, cache(&server.url()).await);
    share(&a, &b, "before").await;
    server.kill();
    assert_eq!(a.get_or_compute("meanwhile", POLICY, async || 3_u8).await.expect("loaded"), 3);
    server.restart();
    share(&a, &b, "after").await;
    eventually_async(LONG, "it is told again", async || matches!(a.invalidate("k").await, Ok(Delivery::Applied(_)))).await;
}

#[tokio::test]
async fn a_certificate_whose_issuer_nobody_trusts() {
    let server = tls().start();
    std::fs::write(server.folder().join("other.pem"), Authority::new().pem()).expect("written");
    let ca = file(&server, "other.pem");
    is_away(&address(&server, &format!("ca={ca}")), "TLS: nobody who is trusted", "as `ca` in the address").await;
}

/// As a new authority is by the name of the one before.
#[tokio::test]
async fn a_certificate_whose_issuer_has_the_name_of_one_that_is_trusted() {
    let [ours, theirs] = [(); 2].map(|()| Authority::named("authority"));
    let server = tls().certificate(ours.pem(), theirs.issue(&HERE)).start();
    let ca = file(&server, "ca.pem");
    is_away(&address(&server, &format!("ca={ca}")), "TLS: nobody who is trusted", "as `ca` in the address").await;
}

/// A server with this certificate, which the client trusts the issuer of.
async fn is_unusable(issue: impl FnOnce(&Authority) -> cachetier_tests::Issued, reason: &str, mend: &str) {
    let authority = Authority::new();
    let server = tls().certificate(authority.pem(), issue(&authority)).start();
    is_away(&address(&server, &format!("ca={}", file(&server, "ca.pem"))), reason, mend).await;
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    is_unusable(|by| by.issue(&["other.example"]), "TLS: the server's certificate is for another name", "write a host").await;
}

#[tokio::test]
async fn a_certificate_that_has_expired() {
    is_unusable(|by| by.issue_expired(&HERE), "TLS: the server's certificate has expired", "have it renewed").await;
}

#[tokio::test]
async fn a_certificate_for_later() {
    is_unusable(|by| by.issue_for_later(&HERE), "TLS: the server's certificate is not valid yet", "clock is wrong").await;
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_its_client() {
    let server = RedisServer::builder().tls_with_client_certificate().start();
    let url = address(&server, &format!("ca={}", file(&server, "ca.pem")));
    is_away(&url, "TLS: the server wants a certificate", "as `cert` and `key` in the address").await;
}

#[tokio::test]
async fn a_server_that_wants_one_and_knows_no_word_for_it() {
    let server = RedisServer::builder().tls_with_client_certificate().config("tls-protocols", "TLSv1.2").start();
    let url = address(&server, &format!("ca={}", file(&server, "ca.pem")));
    is_away(&url, "TLS: the server has broken off the handshake", "does it want a certificate of its client").await;
}

#[tokio::test]
async fn a_server_that_trusts_others_than_the_clients_issuer() {
    let server = RedisServer::builder().tls_with_client_certificate().start();
    let (cert, key) = Authority::new().issue(&["client"]).write(server.folder(), "other");
    let query = format!("ca={}&cert={}&key={}", file(&server, "ca.pem"), cert.display(), key.display());
    is_away(&address(&server, &query), "TLS: the server does not take the client's certificate", "tls-ca-cert-file").await;
}

#[tokio::test]
async fn a_server_of_old_versions_alone() {
    let old = [("tls-protocols", "TLSv1.1"), ("tls-ciphers", "DEFAULT:@SECLEVEL=0")];
    let server = old.iter().fold(tls(), |builder, (name, value)| builder.config(name, value)).start();
    let url = address(&server, &format!("ca={}", file(&server, "ca.pem")));
    is_away(&url, "TLS: the server has no version or cipher that is known here", "expected TLS 1.2 or 1.3").await;
}

#[tokio::test]
async fn a_server_without_tls_behind_an_address_with_it() {
    let server = RedisServer::builder().tcp().start();
    std::fs::write(server.folder().join("ca.pem"), Authority::new().pem()).expect("written");
    let url = address(&server, &format!("ca={}", file(&server, "ca.pem")));
    is_away(&url, "TLS: the server did not answer the handshake", "Use `redis://` if it does not").await;
}

#[tokio::test]
async fn what_is_no_server_of_either_kind_behind_an_address_with_tls() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // Ends with its runtime's process at the latest; it serves a bounded number of connections.
    std::thread::spawn(move || {
        for connection in listener.incoming().take(1_000) {
            let Ok(mut connection) = connection else { return };
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            // Until the other end has closed: its words would else be lost with the connection.
            let _ = connection.set_read_timeout(Some(LIMIT));
            let _ = connection.read_to_end(&mut Vec::new());
        }
    });
    let server = tls().start();
    let url = format!("rediss://user:hidden@127.0.0.1:{port}/?ca={}", file(&server, "ca.pem"));
    is_away(&url, "TLS: what the server sent is no TLS", "something without TLS answers").await;
}

#[tokio::test]
async fn a_server_with_tls_behind_an_address_without() {
    let server = tls().start();
    let url = format!("redis://user:hidden@127.0.0.1:{}", server.port().expect("a port"));
    is_away(&url, "the server closed the connection before its first answer", "Then use `rediss://`").await;
}

/// Breaks the connections of everybody who is connected by TLS.
fn disconnect(server: &RedisServer) {
    for kind in ["normal", "pubsub"] {
        server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    }
}

/// Both ends have other certificates by now, from an issuer of which nobody had heard when the caches were built.
#[tokio::test]
async fn certificates_that_are_renewed_are_taken_up_by_the_next_connection() {
    let server = RedisServer::builder().tls_with_client_certificate().start();
    let log = Log::default();
    let _listening = log.listen();
    let (a, b) = (cache(&server.url()).await, cache(&server.url()).await);
    share(&a, &b, "before").await;
    let authority = Authority::new();
    std::fs::write(server.folder().join("ca.pem"), authority.pem()).expect("written");
    std::fs::write(server.folder().join("clients.pem"), authority.pem()).expect("written");
    authority.issue(&HERE).write(server.folder(), "server");
    authority.issue(&["client"]).write(server.folder(), "client");
    let [cert, key, clients] = ["server.pem", "server.key", "clients.pem"].map(|name| file(&server, name));
    let change = ["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key, "tls-ca-cert-file", &clients];
    assert_eq!(server.command(&change), ok());
    disconnect(&server);
    share(&a, &b, "after").await;
    assert!(log.with("TLS").is_empty(), "{:?}", log.with(""));
}

#[tokio::test]
async fn a_renewed_certificate_that_cannot_be_used_is_told_once_and_leaves_the_one_before() {
    let server = RedisServer::builder().tls_with_client_certificate().start();
    let log = Log::default();
    let _listening = log.listen();
    let (a, b) = (cache(&server.url()).await, cache(&server.url()).await);
    share(&a, &b, "before").await;
    std::fs::write(server.folder().join("client.pem"), "hidden").expect("written");
    for round in 0..3 {
        disconnect(&server);
        share(&a, &b, &format!("after:{round}")).await;
    }
    // Of each cache one.
    let told = log.with("renewed certificates cannot be used");
    assert!(told.len() == 2 && told.iter().all(|line| line.contains("in whose `cert` is no certificate")), "{told:?}");
    assert!(log.with("hidden").is_empty());
}

/// Without `ca` the system's certificates are trusted, or those of the file that this variable names.
#[tokio::test]
async fn the_system_is_trusted_where_the_address_names_nobody() {
    let server = tls().start();
    let url = format!("rediss://127.0.0.1:{}", server.port().expect("a port"));
    let run = |trusted: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_second_process"));
        command.args([&*url, "tls", "7"]).env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR").output().expect("it starts")
    };
    let output = run(&file(&server, "ca.pem"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "invalidated org:7\n", "{output:?}");
    let output = run("/nonexistent");
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && why.contains("no certificates that it trusts"), "{why}");
}

/// What is wrong with an address is said when the cache is built, by the parameter's name, and without what may be a secret.
#[tokio::test]
async fn an_address_that_cannot_be_used_is_an_error_of_the_setting() {
    let server = tls().start();
    let folder = server.folder();
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| file(&server, name));
    let (_, other_key) = Authority::new().issue(&["other"]).write(folder, "hidden-other");
    let empty = folder.join("hidden-empty");
    std::fs::write(&empty, "no PEM").expect("written");
    let broken = folder.join("hidden-broken");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\naGlkZGVu\n-----END CERTIFICATE-----\n").expect("written");
    let path = |path: &Path| path.display().to_string();
    let (empty, broken, other_key) = (path(&empty), path(&broken), path(&other_key));
    for (query, said) in [
        (format!("ca={ca}-hidden"), "`ca` cannot be read (No such file"),
        (format!("ca={empty}"), "in whose `ca` is no certificate"),
        (format!("ca={broken}"), "in whose `ca` is a certificate that cannot be read"),
        ("ca=".to_owned(), "`ca` names no file"),
        (format!("ca={ca}&ca={ca}"), "`ca` twice"),
        (format!("ca={ca}&cert={cert}"), "`cert` and without `key`"),
        (format!("ca={ca}&key={key}"), "`key` and without `cert`"),
        (format!("ca={ca}&cert={cert}-hidden&key={key}"), "`cert` cannot be read"),
        (format!("ca={ca}&cert={cert}&key={key}-hidden"), "`key` cannot be read"),
        (format!("ca={ca}&cert={empty}&key={key}"), "in whose `cert` is no certificate"),
        (format!("ca={ca}&cert={cert}&key={empty}"), "in whose `key` is no private key"),
        (format!("ca={ca}&cert={cert}&key={other_key}"), "`key` is not that of its `cert`"),
        (format!("ca={ca}&hidden=hidden"), "a parameter other than `ca`, `cert` and `key`"),
        (format!("ca={ca}#insecure"), "verification cannot be switched off"),
    ] {
        let error = TieredCache::builder("tls").redis(address(&server, &query)).build().await.expect_err(&query);
        let text = error.to_string();
        assert!(error.field() == "redis" && text.contains(said) && !text.contains("hidden"), "{query}: {text}");
    }
}

/// A plus in a path is a plus.
#[tokio::test]
async fn a_path_may_hold_what_an_address_gives_a_meaning() {
    let server = tls().start();
    std::fs::copy(server.folder().join("ca.pem"), server.folder().join("a+b c&d.pem")).expect("copied");
    let query = format!("ca={}", file(&server, "a+b%20c%26d.pem"));
    let url = format!("rediss://127.0.0.1:{}/?{query}", server.port().expect("a port"));
    share(&cache(&url).await, &cache(&server.url()).await, "k").await;
}

/// One that takes connections and says nothing: the limit of a connection holds for the handshake of TLS too.
#[tokio::test]
async fn a_handshake_that_nobody_answers_ends_with_the_limit() {
    let log = Log::default();
    let _listening = log.listen();
    let (server, silent) = (tls().start(), std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = silent.local_addr().expect("an address").port();
    let url = format!("rediss://127.0.0.1:{port}/?ca={}", file(&server, "ca.pem"));
    let begun = tokio::time::Instant::now();
    let cache = away::cache(url).await;
    assert!(begun.elapsed() < LIMIT * 2, "{:?}", begun.elapsed());
    away::loads(&cache).await;
    told_once(&log, "TLS: the server did not answer the handshake within 500ms", "does it speak TLS");
}
