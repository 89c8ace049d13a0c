use cachetier::cached;

#[derive(Clone)]
struct User;

#[cached(key = "user:{id}", ttl = "5m", companions = none)]
async fn load(id: u64) -> Result<User, ()> {
    let _ = id;
    Ok(User)
}

fn main() {}
