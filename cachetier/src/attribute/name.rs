//! What a key begins with that is told neither a key nor a group: the function's path, and the types that it depends on.

use std::any::{type_name as name_of, type_name_of_val};

use crate::key_part::KeyText;

/// The name of a function, found once.
#[derive(Debug)]
pub struct Name {
    /// What the function is in: a module, a type, another function.
    place: &'static str,
    /// Its path with dots, for a `:` divides the parts of a key.
    text: String,
}

impl Name {
    /// Finds the name by the path of `here`, an item within the function or `above` modules below the one that the function is in.
    #[must_use]
    pub fn of<F>(here: &F, above: usize, name: &str) -> Self {
        let mut place = place_of_item(here);
        for _ in 0..above {
            place = without_last(place);
        }
        Self { place, text: format!("{place}::{name}").replace("::", ".") }
    }

    /// The name.
    #[must_use]
    #[inline]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes what the function is of, unless the name has said it: in a block that is generic, and in a trait, calls that differ in the
    /// types there differ in what they load.
    #[inline]
    pub fn of_place<M>(&self, key: &mut KeyText, marker: &M) {
        write_unless(self.place, key, marker);
    }
}

/// The same for a function whose group is told, which then names it. `here` is as for [`Name::of`].
pub fn place_of_group<H, M>(key: &mut KeyText, here: &H, marker: &M) {
    write_unless(place_of_item(here), key, marker);
}

/// The same for a method, which always tells its type: a group may have methods of several.
pub fn self_of_group<S: ?Sized, M>(key: &mut KeyText, marker: &M) {
    let place = place_of_closure(marker);
    // A trait's parameters are known to the place alone; the type's own name stays when its block moves.
    key.literal(":").part(if place.starts_with('<') { place } else { name_of::<S>() });
}

fn write_unless(known: &str, key: &mut KeyText, marker: &impl Sized) {
    let place = place_of_closure(marker);
    if place != known {
        key.literal(":").part(place);
    }
}

/// What the function is in that an item stands in: in the words of its source, with parameters for types.
fn place_of_item<H>(here: &H) -> &'static str {
    without_last(without_bodies(without_last(type_name_of_val(here))))
}

/// What the function is in that a closure stands in: unlike an item it is known by the types that stand for parameters.
fn place_of_closure<M>(marker: &M) -> &'static str {
    without_last(without_bodies(type_name_of_val(marker)))
}

/// Without closures, which the bodies of async functions are, too.
fn without_bodies(mut path: &str) -> &str {
    while let Some(outer) = path.strip_suffix("::{{closure}}") {
        path = outer;
    }
    path
}

/// Without the last segment and the types that it is generic over.
fn without_last(path: &str) -> &str {
    let (mut open, mut behind) = (0_usize, ' ');
    for (at, char) in path.char_indices().rev() {
        match (char, behind) {
            ('>', _) => open += 1,
            // The end of `->` has closed nothing.
            ('<', _) | ('-', '>') => open = open.saturating_sub(1),
            (':', ':') if open == 0 => return path.get(..at).unwrap_or_default(),
            _ => {}
        }
        behind = char;
    }
    ""
}

/// The name of a type parameter, as a part of a key.
#[must_use]
pub fn type_name<T: ?Sized>() -> &'static str {
    name_of::<T>()
}

/// The name of an argument's type, where `impl ..` has given it none.
#[must_use]
pub fn type_name_of<T: ?Sized>(value: &T) -> &'static str {
    type_name_of_val(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_function_is_its_path_without_its_name_and_types() {
        let cases = [
            ("shop::users::load", "shop::users"),
            ("shop::load<shop::User, 3>", "shop"),
            ("shop::load<fn(u8) -> shop::User>", "shop"),
            (
                "<shop::Db as shop::Load<shop::Row<u8>>>::load<&str>::{{closure}}::{{closure}}",
                "<shop::Db as shop::Load<shop::Row<u8>>>",
            ),
            ("shop::Table<fn() -> [u8; 3]>::load::{{closure}}", "shop::Table<fn() -> [u8; 3]>"),
            ("shop::rows::<impl shop::Table<u8>>::load", "shop::rows::<impl shop::Table<u8>>"),
            ("load", ""),
        ];
        for (path, place) in cases {
            assert_eq!(without_last(without_bodies(path)), place, "{path}");
        }
    }
}
