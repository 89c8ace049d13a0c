//! The servers the other tests stand on: they start, fail with their log, stop, come back, and are gone with their owner.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use cachetier_tests::{Over, RedisServer, Reply};

const LONG: Duration = Duration::from_secs(20);

fn pong() -> Reply {
    Reply::Status("PONG".to_owned())
}

fn ok() -> Reply {
    Reply::Status("OK".to_owned())
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

/// Whether a process of this id exists, one that has ended and was not waited for included.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::test_kill_process(pid).is_ok()
}

/// The text of the panic that `run` ends in.
fn panic_of(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("it went well");
    payload.downcast_ref::<String>().expect("a panic with a text").clone()
}

#[test]
fn a_server_starts_on_a_unix_socket_alone() {
    if !Over::is_none_of(
        &[Over::Tcp, Over::Tls, Over::Acl, Over::Sentinel, Over::Cluster],
        "it is about the address without any of them",
    ) {
        return;
    }
    let server = RedisServer::start();
    assert_eq!(server.command(&["PING"]), pong());
    assert!(server.url().starts_with("redis+unix:///"), "{}", server.url());
    assert!(server.url().ends_with(&server.socket().expect("a socket").display().to_string()));
    assert_eq!(server.port(), None);
    assert_eq!(server.command(&["CONFIG", "GET", "port"]), Reply::Array(vec![bulk("port"), bulk("0")]));
}

#[test]
fn a_server_starts_on_a_port() {
    let server = RedisServer::builder().tcp().start();
    assert_eq!(server.command(&["PING"]), pong());
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}/", server.port().expect("a port")));
    assert_eq!(server.socket(), None);
}

#[test]
fn two_servers_at_once_share_nothing() {
    let (one, two) = (RedisServer::start(), RedisServer::start());
    assert_ne!(one.url(), two.url());
    assert_ne!(one.pid(), two.pid());
    assert_eq!(one.command(&["SET", "k", "v"]), ok());
    assert_eq!(one.command(&["GET", "k"]), bulk("v"));
    assert_eq!(two.command(&["GET", "k"]), Reply::Nil);
}

#[test]
fn options_reach_the_server() {
    let server = RedisServer::builder().config("maxmemory", "8mb").config("maxmemory-policy", "noeviction").start();
    assert_eq!(server.command(&["CONFIG", "GET", "maxmemory"]), Reply::Array(vec![bulk("maxmemory"), bulk("8388608")]));
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "0"]), ok());
    assert_eq!(server.command(&["DEBUG", "SLEEP", "0"]), ok());
}

#[test]
fn a_refusal_is_an_answer() {
    let server = RedisServer::start();
    assert!(matches!(server.command(&["NOSUCH"]), Reply::Error(why) if why.contains("unknown command")));
}

#[test]
fn one_connection_carries_several_answers_and_pushed_messages() {
    let server = RedisServer::start();
    let mut subscriber = server.client();
    let confirmed = subscriber.command(&["SUBSCRIBE", "c"]).expect("an answer");
    assert_eq!(confirmed, Reply::Array(vec![bulk("subscribe"), bulk("c"), Reply::Int(1)]));
    assert_eq!(server.command(&["PUBLISH", "c", "one\r\ntwo"]), Reply::Int(1));
    let message = subscriber.receive().expect("a message");
    assert_eq!(message, Reply::Array(vec![bulk("message"), bulk("c"), bulk("one\r\ntwo")]));
}

#[test]
fn a_server_that_does_not_start_fails_with_its_log() {
    // Found only after the log file is open, so the reason stands in the log and nowhere else.
    let why = panic_of(|| drop(RedisServer::builder().config("unixsocket", "/nonexistent/redis.sock").start()));
    assert!(why.contains("ended while it started"), "{why}");
    assert!(why.contains("--- its log ends with:"), "{why}");
    assert!(why.contains("No such file or directory"), "{why}");
}

#[test]
fn a_command_to_a_dead_server_fails_with_its_log() {
    let mut server = RedisServer::start();
    server.kill();
    let why = panic_of(|| drop(server.command(&["PING"])));
    assert!(why.contains("no connection"), "{why}");
    assert!(why.contains("eady to accept connections"), "{why}");
}

#[test]
fn a_dropped_server_is_gone_with_its_folder() {
    let server = RedisServer::start();
    let (pid, folder) = (server.pid(), server.folder().to_owned());
    assert!(exists(pid) && folder.exists());
    drop(server);
    assert!(!exists(pid));
    assert!(!folder.exists());
}

#[test]
fn a_server_dropped_while_it_is_stopped_is_gone_too() {
    let mut server = RedisServer::start();
    let pid = server.pid();
    server.stop();
    drop(server);
    assert!(!exists(pid));
}

#[test]
fn a_killed_server_comes_back_empty_at_its_address() {
    for builder in [RedisServer::builder(), RedisServer::builder().tcp()] {
        let mut server = builder.config("maxmemory", "8mb").start();
        let (url, pid) = (server.url(), server.pid());
        assert_eq!(server.command(&["SET", "k", "v"]), ok());
        let mut old = server.client();
        server.kill();
        assert!(!exists(pid));
        assert!(old.command(&["PING"]).is_err());
        server.restart();
        assert_ne!(server.pid(), pid);
        assert_eq!(server.url(), url);
        assert_eq!(server.command(&["GET", "k"]), Reply::Nil);
        assert_eq!(server.command(&["CONFIG", "GET", "maxmemory"]), Reply::Array(vec![bulk("maxmemory"), bulk("8388608")]));
    }
}

#[test]
fn a_running_server_is_restarted_in_one_step() {
    let mut server = RedisServer::start();
    let pid = server.pid();
    server.restart();
    assert!(!exists(pid));
    assert_eq!(server.command(&["PING"]), pong());
}

#[test]
fn a_stopped_server_answers_only_after_it_is_resumed() {
    let mut server = RedisServer::start();
    server.stop();
    // The kernel still accepts for it, as with any hanging server.
    let mut client = server.client();
    let (answered, answer) = std::sync::mpsc::channel();
    let asking = std::thread::spawn(move || {
        client.send(&["PING"]).expect("sent");
        answered.send(client.receive()).expect("somebody listens");
    });
    assert!(answer.recv_timeout(Duration::from_millis(300)).is_err());
    server.resume();
    assert_eq!(answer.recv_timeout(LONG).expect("an answer in time").expect("an answer"), pong());
    asking.join().expect("no panic");
}

#[test]
fn a_signal_to_a_dead_server_is_a_failure() {
    let mut server = RedisServer::start();
    server.kill();
    let why = panic_of(|| server.stop());
    assert!(why.contains("no signal to the server"), "{why}");
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let server = std::thread::spawn(RedisServer::start).join().expect("a server");
    // The death signal of a thread arrives with its end: long past after this many answers.
    for _ in 0..100 {
        assert_eq!(server.command(&["PING"]), pong());
    }
}

#[cfg(target_os = "linux")]
mod death {
    use std::io::{BufRead as _, BufReader, ErrorKind};
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use cachetier_tests::eventually;

    use super::{LONG, Over};

    #[test]
    fn a_server_dies_with_a_process_that_is_killed() {
        if !Over::is_none_of(&[Over::Tcp, Over::Sentinel, Over::Cluster], "whether the server lives is seen by its socket") {
            return;
        }
        let mut owner = Command::new(env!("CARGO_BIN_EXE_server_owner"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the owner starts");
        let mut line = String::new();
        BufReader::new(owner.stdout.take().expect("its output")).read_line(&mut line).expect("its line");
        let (pid, folder) = line.trim().split_once(' ').expect("a pid and a folder");
        let left = Left { pid: pid.parse().expect("a pid"), folder: Path::new(folder) };
        assert!(left.listens());

        owner.kill().expect("killed");
        owner.wait().expect("waited for");
        eventually(LONG, "the server is gone", || !left.listens());
    }

    /// What a killed owner leaves behind: its server's folder, and the server itself if it does not die with it.
    struct Left<'a> {
        pid: i32,
        folder: &'a Path,
    }

    impl Left<'_> {
        fn listens(&self) -> bool {
            match UnixStream::connect(self.folder.join("redis.sock")) {
                Ok(_) => true,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound), "{error}");
                    false
                }
            }
        }
    }

    impl Drop for Left<'_> {
        fn drop(&mut self) {
            if self.listens() {
                let pid = rustix::process::Pid::from_raw(self.pid).expect("a pid");
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
            }
            std::fs::remove_dir_all(self.folder).expect("the folder is removed");
        }
    }
}

#[test]
fn a_server_comes_back_empty_or_with_what_was_saved() {
    let mut server = RedisServer::start();
    assert_eq!(server.command(&["SET", "k", "old"]), ok());
    server.save();
    assert_eq!(server.command(&["SET", "k", "new"]), ok());
    server.restart_from_saved();
    assert_eq!(server.command(&["GET", "k"]), bulk("old"));
    server.restart();
    assert_eq!(server.command(&["GET", "k"]), Reply::Nil);
}
