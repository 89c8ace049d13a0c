//! Owns a server until it is killed, so that a test can see what becomes of the server. It says where the server is, nothing else.
#![forbid(unsafe_code)]

use cachetier_tests::RedisServer;

fn main() {
    let server = RedisServer::start();
    println!("{} {}", server.pid(), server.folder().display());
    // Nothing is ever sent: this waits until the owner of the other end is gone.
    let _ = std::io::stdin().read_line(&mut String::new());
}
