use cachetier::cached;

struct Users;

impl Users {
    #[cached(key = "user:{id}", ttl = "5m")]
    async fn load(id: u64) -> u64 {
        id
    }
}

fn main() {}
