use cachetier::cached;

#[cached(key = "user:{id}", ttl = "5m", companions = none)]
async fn load<'a>(id: u64, name: &'a str) -> Result<u64, &'a str> {
    if id == 0 { Err(name) } else { Ok(id) }
}

fn main() {}
