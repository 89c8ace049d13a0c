use cachetier::KeyPart;

struct Pool;

#[derive(KeyPart)]
struct Filter {
    name: String,
    pool: Pool,
}

fn main() {}
