use cachetier::cached;

#[derive(Debug)]
struct DbError;

fn message(error: &DbError) -> String {
    format!("{error:?}")
}

#[cached(key = "user:{id}", ttl = "5m", share_error = message, companions = none)]
async fn load(id: u64) -> Result<u64, DbError> {
    Ok(id)
}

fn main() {}
