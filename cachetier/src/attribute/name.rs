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
    /// Finds the name by the path of `here`, an item within the function or `above` levels below the function's place.
    #[must_use]
    pub fn of<F>(here: &F, above: usize, name: &str) -> Self {
        let path = type_name_of_val(here);
        // `here` itself, and the bodies of async functions, which are closures.
        let mut place = path.rsplit_once("::").map_or("", |(place, _)| place);
        while let Some(outer) = place.strip_suffix("::{{closure}}") {
            place = outer;
        }
        for _ in 0..above {
            place = place.rsplit_once("::").map_or("", |(place, _)| place);
        }
        Self { place, text: format!("{place}::{name}").replace("::", ".") }
    }

    /// The name.
    #[must_use]
    #[inline]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes the type that a method belongs to, unless the name has said it: where the type is generic, or the method stands in a trait
    /// or in an implementation for many types, calls that differ in it differ in what they load.
    #[inline]
    pub fn of_self<S: ?Sized>(&self, key: &mut KeyText) {
        if name_of::<S>() != self.place {
            key.literal(":").part(name_of::<S>());
        }
    }
}

/// The same for a method whose group is told, which then names it: only what the type is generic over is added.
pub fn self_of_group<S: ?Sized>(key: &mut KeyText) {
    if name_of::<S>().contains('<') {
        key.literal(":").part(name_of::<S>());
    }
}

/// The name of a type parameter, as a part of a key.
#[must_use]
pub fn type_name<T: ?Sized>() -> &'static str {
    name_of::<T>()
}
