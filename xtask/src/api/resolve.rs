//! From a path as it is written in a module to the place where the thing is defined.

use syn::Item;

use super::krate::{Crate, Place};

/// Where something is defined: the module, and its name there.
pub(super) type Definition = (Place, String);

/// More steps than any path here takes: one that takes more goes in a circle.
const STEPS: usize = 16;

impl Crate {
    /// Where the path leads, as written in `module`; none if it leads out of the crate.
    pub(super) fn resolve(&self, module: &[String], path: &[String]) -> Option<Definition> {
        self.follow(module, path, STEPS)
    }

    fn follow(&self, module: &[String], path: &[String], steps: usize) -> Option<Definition> {
        let steps = steps.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.follow(&[], rest, steps),
            "self" => self.follow(module, rest, steps),
            "super" => self.follow(module.split_last()?.1, rest, steps),
            name => {
                let here = self.modules.get(module)?;
                if rest.is_empty() && here.items.iter().any(|item| defines(item, name)) {
                    return Some((module.to_vec(), name.to_owned()));
                }
                let below: Place = module.iter().cloned().chain([name.to_owned()]).collect();
                if !rest.is_empty() && self.modules.contains_key(&below) {
                    return self.follow(&below, rest, steps);
                }
                let brought = here.uses.iter().filter(|(brought, path)| brought == name && path.first() != Some(first));
                let mut brought = brought.chain(here.uses.iter().filter(|(brought, path)| brought == name && path.len() > 1));
                brought.find_map(|(_, from)| {
                    let whole: Vec<String> = from.iter().chain(rest).cloned().collect();
                    self.follow(module, &whole, steps)
                })
            }
        }
    }

    /// The items of this name: more than one where a condition chooses between them.
    pub(super) fn defined(&self, (module, name): &Definition) -> impl Iterator<Item = &Item> {
        self.modules.get(module).into_iter().flat_map(|module| &module.items).filter(move |item| defines(item, name))
    }
}

fn defines(item: &Item, name: &str) -> bool {
    match item {
        Item::Const(item) => item.ident == name,
        Item::Enum(item) => item.ident == name,
        Item::Fn(item) => item.sig.ident == name,
        Item::Static(item) => item.ident == name,
        Item::Struct(item) => item.ident == name,
        Item::Trait(item) => item.ident == name,
        Item::Type(item) => item.ident == name,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_followed_through_every_use_on_its_way() {
        let krate = Crate::parse(
            "pub use a::B as C; mod a { pub use self::deep::B; pub(crate) use super::d::*; mod deep { pub struct B; } }
             mod d { use crate::a::B; use other::E; struct F; }",
        );
        let find = |module: &[&str], path: &str| {
            let module: Place = module.iter().map(|name| (*name).to_owned()).collect();
            let path: Vec<String> = path.split("::").map(str::to_owned).collect();
            krate.resolve(&module, &path).map(|(module, name)| format!("{}::{name}", module.join("::")))
        };
        assert_eq!(find(&[], "C").as_deref(), Some("a::deep::B"));
        assert_eq!(find(&["d"], "B").as_deref(), Some("a::deep::B"));
        assert_eq!(find(&["d"], "super::a::B").as_deref(), Some("a::deep::B"));
        assert_eq!(find(&["d"], "F").as_deref(), Some("d::F"));
        assert_eq!(find(&["d"], "E"), None);
        assert_eq!(find(&[], "F"), None);
    }
}
