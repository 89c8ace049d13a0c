use cachetier::cached;

struct Filter {
    name: String,
}

#[cached(key = "users:{filter}", ttl = "5m")]
async fn load(filter: Filter) -> String {
    filter.name
}

fn main() {}
