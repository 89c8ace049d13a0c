use cachetier::cached;

#[cached(key = "users", ttl = "5m")]
async fn load() -> Vec<impl Copy> {
    vec![1]
}

fn main() {}
