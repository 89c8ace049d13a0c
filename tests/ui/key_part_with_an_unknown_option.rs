use cachetier::KeyPart;

#[derive(KeyPart)]
#[key_part(skip)]
struct Filter {
    name: String,
}

fn main() {}
