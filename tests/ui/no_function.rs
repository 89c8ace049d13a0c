use cachetier::cached;

#[cached(key = "users", ttl = "5m")]
struct Users;

fn main() {}
