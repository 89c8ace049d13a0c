//! The proxy that the chaos stands on: what it delays, holds, loses and cuts, seen from a client's end.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use cachetier_tests::{Flow, Flows, Over, Proxy, RedisServer, Reply, Which, eventually};

const LONG: Duration = Duration::from_secs(10);
/// Long enough for a server beside us to answer, had it been asked.
const SILENCE: Duration = Duration::from_millis(100);

struct Through {
    server: RedisServer,
    proxy: Proxy,
}

fn through() -> Through {
    let server = RedisServer::start();
    let proxy = Proxy::on_port(&server);
    Through { server, proxy }
}

impl Through {
    fn dial(&self) -> TcpStream {
        let url = self.proxy.url();
        let port = url.trim_end_matches('/').rsplit(':').next().expect("a port").parse().expect("a number");
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(LONG)).expect("a limit");
        stream
    }

    fn subscribed(&self) -> TcpStream {
        let mut stream = self.dial();
        stream.write_all(b"*2\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n").expect("sent");
        assert_eq!(read(&mut stream, 34), b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"[..].to_vec());
        stream
    }
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(b"PING\r\n").expect("sent");
}

fn read(stream: &mut TcpStream, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let n = stream.read(&mut bytes).expect("bytes or an end");
    bytes.truncate(n);
    bytes
}

fn pong(stream: &mut TcpStream) {
    ask(stream);
    assert_eq!(read(stream, 7), b"+PONG\r\n");
}

#[track_caller]
fn silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SILENCE)).expect("a limit");
    let error = stream.read(&mut [0]).expect_err("something came");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    stream.set_read_timeout(Some(LONG)).expect("a limit");
}

#[track_caller]
fn broken(stream: &mut TcpStream) {
    // An end or a reset, whichever the system says; a silence is neither.
    match stream.read(&mut [0]) {
        Ok(read) => assert_eq!(read, 0, "something came"),
        Err(error) => assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "it is still there"),
    }
}

#[test]
fn bytes_pass_in_both_directions_over_ports_and_sockets() {
    if !Over::is_none_of(&[Over::Cluster], "its nodes have ports") {
        return;
    }
    let through = through();
    pong(&mut through.dial());
    let socket = Proxy::on_socket(&through.server);
    assert!(socket.url().starts_with("redis+unix:///"), "{}", socket.url());
    let url = socket.url();
    let path = url.trim_start_matches("redis+unix://").split('?').next().expect("a path").to_owned();
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("a connection");
    stream.write_all(b"PING\r\n").expect("sent");
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"+PONG\r\n");
    drop(socket);
    assert!(!std::path::Path::new(&path).exists());
}

#[test]
fn what_is_held_arrives_late_also_when_its_sender_is_gone() {
    let through = through();
    let mut stream = through.dial();
    pong(&mut stream);
    through.proxy.order(Which::All, Flows { up: Flow::Hold, down: Flow::Pass });
    stream.write_all(b"SET k v\r\n").expect("sent");
    silent(&mut stream);
    drop(stream);
    assert_eq!(through.server.command(&["EXISTS", "k"]), Reply::Int(0));
    through.proxy.restore();
    eventually(LONG, "the late command", || through.server.command(&["EXISTS", "k"]) == Reply::Int(1));
}

#[test]
fn what_is_swallowed_never_arrives_and_nothing_comes_behind_it() {
    let through = through();
    let mut stream = through.dial();
    pong(&mut stream);
    through.proxy.order(Which::All, Flows::both(Flow::Swallow));
    stream.write_all(b"SET k v\r\n").expect("sent");
    silent(&mut stream);
    through.proxy.restore();
    broken(&mut stream);
    pong(&mut through.dial());
    assert_eq!(through.server.command(&["EXISTS", "k"]), Reply::Int(0));
}

#[test]
fn a_reply_is_cut_in_its_middle() {
    let through = through();
    let mut stream = through.dial();
    pong(&mut stream);
    through.proxy.now(Which::All, Flows { up: Flow::Pass, down: Flow::CutAfter(3) });
    ask(&mut stream);
    assert_eq!(read(&mut stream, 7), b"+PO");
    broken(&mut stream);
    pong(&mut through.dial());
}

#[test]
fn a_half_open_connection_is_lost_to_the_server_and_not_to_the_client() {
    let through = through();
    let mut stream = through.subscribed();
    let subscribers = || through.server.command(&["PUBLISH", "c", "m"]);
    assert_eq!(subscribers(), Reply::Int(1));
    assert!(!read(&mut stream, 64).is_empty());
    through.proxy.order(Which::All, Flows::half_open());
    eventually(LONG, "the server's end closed", || subscribers() == Reply::Int(0));
    silent(&mut stream);
}

#[test]
fn delayed_bytes_arrive() {
    let through = through();
    let mut stream = through.dial();
    through.proxy.order(Which::All, Flows { up: Flow::Delay(2 * SILENCE), down: Flow::Pass });
    ask(&mut stream);
    silent(&mut stream);
    assert_eq!(read(&mut stream, 7), b"+PONG\r\n");
}

#[test]
fn single_messages_are_lost_and_what_is_asked_beside_them_is_answered() {
    let through = through();
    let mut stream = through.subscribed();
    through.proxy.order(Which::Subscribed, Flows { up: Flow::Pass, down: Flow::LoseMessages { every: 2 } });
    for text in ["1", "2", "3"] {
        assert_eq!(through.server.command(&["PUBLISH", "c", text]), Reply::Int(1));
    }
    let message = |text| format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n{text}\r\n");
    let mut heard = vec![0; 2 * message("1").len()];
    stream.read_exact(&mut heard).expect("two messages");
    assert_eq!(String::from_utf8_lossy(&heard), message("1") + &message("3"));
    assert_eq!(through.proxy.touched(), 1);
}

#[test]
fn subscriptions_are_told_from_the_others() {
    let through = through();
    let (mut plain, mut subscribed) = (through.dial(), through.subscribed());
    pong(&mut plain);
    let counts = || [Which::All, Which::Subscribed, Which::Plain].map(|which| through.proxy.count(which));
    assert_eq!(counts(), [2, 1, 1]);
    through.proxy.cut(Which::Subscribed);
    broken(&mut subscribed);
    pong(&mut plain);
    eventually(LONG, "it is gone", || counts() == [1, 0, 1]);

    // Those that come later are told from each other as well, before the server hears of it.
    through.proxy.order(Which::Subscribed, Flows::both(Flow::Swallow));
    pong(&mut through.dial());
    let mut late = through.dial();
    late.write_all(b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n").expect("sent");
    silent(&mut late);
    assert_eq!(through.server.command(&["PUBLISH", "c", "m"]), Reply::Int(0));
}

#[test]
fn a_proxy_that_refuses_takes_nobody_and_a_server_that_is_away_neither() {
    let mut through = through();
    through.proxy.refuse(true);
    broken(&mut through.dial());
    through.proxy.restore();
    pong(&mut through.dial());
    through.server.kill();
    broken(&mut through.dial());
    through.server.restart();
    pong(&mut through.dial());
    assert_eq!(through.proxy.taken(), 3);
}
