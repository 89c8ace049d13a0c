//! What of a crate is public: a line for each item, and what its documentation says.

use std::collections::{BTreeMap, BTreeSet};

use syn::punctuated::Punctuated;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, Token, TraitItem, Type};

use super::krate::{Crate, Module, attributes, conditions, documentation, is_hidden, leaves};
use super::resolve::Definition;
use super::show;
use crate::run::Outcome;

/// What users can name.
#[derive(Debug, Default)]
pub(super) struct Surface {
    /// Each begins with the item's path, so that sorting keeps together what belongs together.
    pub(super) lines: BTreeSet<String>,
    pub(super) documented: Vec<Documented>,
    /// What the crate's root says of it.
    pub(super) front_page: String,
}

/// An item, and what is said of it.
#[derive(Debug)]
pub(super) struct Documented {
    pub(super) path: String,
    pub(super) docs: String,
    /// What is said of the type or trait that it belongs to.
    pub(super) owner: Option<String>,
    pub(super) is_async: bool,
}

/// Where something that is exported stands.
#[derive(Clone, Debug)]
struct Export {
    path: String,
    cfgs: Vec<String>,
}

struct Reader<'a> {
    krate: &'a Crate,
    exports: BTreeMap<Definition, Export>,
    surface: Surface,
}

impl Surface {
    pub(super) fn of(krate: &Crate) -> Outcome<Self> {
        let mut reader = Reader { krate, exports: BTreeMap::new(), surface: Self::default() };
        reader.exports(&[], "")?;
        for (definition, export) in reader.exports.clone() {
            reader.definition(&definition, &export)?;
        }
        for module in krate.modules.values() {
            reader.macros(module)?;
        }
        for (place, module) in krate.modules.iter().filter(|(_, module)| !module.hidden) {
            for item in &module.items {
                if let Item::Impl(item) = item {
                    reader.implementation(place, module, item)?;
                }
            }
        }
        reader.surface.front_page = krate.modules.get([].as_slice()).map(|root| root.docs.clone()).unwrap_or_default();
        Ok(reader.surface)
    }
}

impl Reader<'_> {
    /// Finds what a public module gives out, and the modules in it.
    fn exports(&mut self, place: &[String], prefix: &str) -> Outcome {
        let krate = self.krate;
        let Some(module) = krate.modules.get(place) else { return Ok(()) };
        for item in &module.items {
            let attrs = attributes(item);
            let mut cfgs = module.cfgs.clone();
            cfgs.extend(conditions(attrs).unwrap_or_default());
            match item {
                Item::Mod(inner) if show::is_public(&inner.vis) && !is_hidden(attrs) => {
                    let below: Vec<String> = place.iter().cloned().chain([inner.ident.to_string()]).collect();
                    let path = format!("{prefix}{}", inner.ident);
                    let docs = documentation(attrs, &module.folder)? + krate.modules.get(&below).map_or("", |below| &below.docs);
                    self.line(&path, &cfgs, attrs, &format!("pub mod {}", inner.ident));
                    self.say(path.clone(), docs, None, false);
                    self.exports(&below, &format!("{path}::"))?;
                }
                Item::Use(import) if show::is_public(&import.vis) && !is_hidden(attrs) => {
                    let mut names = Vec::new();
                    leaves(&import.tree, &mut Vec::new(), &mut names);
                    for (name, from) in names {
                        let path = format!("{prefix}{name}");
                        if name == "*" {
                            return Err(format!("a public `use` of everything in {} hides what is public", from.join("::")));
                        }
                        if let Some(definition) = krate.resolve(place, &from) {
                            self.export_as(definition, Export { path, cfgs: cfgs.clone() });
                        } else {
                            // Another crate's: the macros.
                            self.line(&path, &cfgs, attrs, &format!("pub use {}", from.join("::")));
                            self.say(path, documentation(attrs, &module.folder)?, None, false);
                        }
                    }
                }
                item => {
                    if let Some(name) = public_name(item) {
                        let export = Export { path: format!("{prefix}{name}"), cfgs: conditions(attrs).unwrap_or_default() };
                        self.export_as((place.to_vec(), name), export);
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes where an item is given out. Where that is in several places, it is written down at the shortest path, and the others lead there.
    fn export_as(&mut self, definition: Definition, export: Export) {
        let depth = |export: &Export| (export.path.matches("::").count(), export.path.clone());
        let before = self.exports.get(&definition).cloned();
        let (first, other) = match before.filter(|before| before.path != export.path) {
            Some(before) if depth(&before) <= depth(&export) => (before, Some(export)),
            before => (export, before),
        };
        if let Some(other) = other {
            self.line(&other.path, &other.cfgs, &[], &format!("pub use {}", first.path));
        }
        self.exports.insert(definition, first);
    }

    /// Writes down the macros that stand at the crate's root wherever they are written.
    fn macros(&mut self, module: &Module) -> Outcome {
        for item in &module.items {
            let Item::Macro(item) = item else { continue };
            let (Some(name), false) = (&item.ident, is_hidden(&item.attrs)) else { continue };
            let mut cfgs = module.cfgs.clone();
            merge(&mut cfgs, &conditions(&item.attrs).unwrap_or_default());
            self.line(&name.to_string(), &cfgs, &item.attrs, &format!("macro_rules! {name}"));
            self.say(name.to_string(), documentation(&item.attrs, &module.folder)?, None, false);
        }
        Ok(())
    }

    /// Writes down an item that is given out, and what it holds.
    fn definition(&mut self, definition: &Definition, export: &Export) -> Outcome {
        let krate = self.krate;
        let Some(module) = krate.modules.get(&definition.0) else { return Ok(()) };
        for item in krate.defined(definition) {
            let attrs = attributes(item);
            let mut cfgs = export.cfgs.clone();
            merge(&mut cfgs, &module.cfgs);
            merge(&mut cfgs, &conditions(attrs).unwrap_or_default());
            let docs = documentation(attrs, &module.folder)?;
            self.line(&export.path, &cfgs, attrs, &show::head(item));
            let is_async = matches!(item, Item::Fn(function) if function.sig.asyncness.is_some());
            self.say(export.path.clone(), docs.clone(), None, is_async);
            match item {
                Item::Struct(item) => {
                    self.fields(&export.path, &item.fields);
                    self.derives(&export.path, &cfgs, attrs, &item.ident, &item.generics);
                }
                Item::Enum(item) => {
                    for variant in &item.variants {
                        let Some(inner) = conditions(&variant.attrs) else { continue };
                        self.line(&format!("{}::{}", export.path, variant.ident), &inner, &variant.attrs, &show::variant(variant));
                    }
                    self.derives(&export.path, &cfgs, attrs, &item.ident, &item.generics);
                }
                Item::Trait(item) => self.trait_items(&export.path, item, &docs, module)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn fields(&mut self, path: &str, fields: &Fields) {
        for (at, field) in fields.iter().enumerate() {
            let (Some(cfgs), true) = (conditions(&field.attrs), show::is_public(&field.vis)) else { continue };
            let name = field.ident.as_ref().map_or_else(|| at.to_string(), ToString::to_string);
            self.line(&format!("{path}::{name}"), &cfgs, &field.attrs, &format!("pub {name}: {}", show::tokens(&field.ty)));
        }
    }

    fn derives(&mut self, path: &str, cfgs: &[String], attrs: &[Attribute], ident: &syn::Ident, generics: &syn::Generics) {
        for attribute in attrs.iter().filter(|attribute| attribute.path().is_ident("derive")) {
            let Ok(names) = attribute.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated) else { continue };
            for name in names {
                self.line(path, cfgs, &[], &show::derived(&name, ident, generics));
            }
        }
    }

    fn trait_items(&mut self, path: &str, item: &syn::ItemTrait, owner: &str, module: &Module) -> Outcome {
        for inner in &item.items {
            let (attrs, name, shown) = match inner {
                TraitItem::Fn(function) => {
                    let shown = show::function(&syn::Visibility::Inherited, &function.sig);
                    let provided = if function.default.is_some() { " { .. }" } else { "" };
                    (&function.attrs, function.sig.ident.to_string(), shown + provided)
                }
                TraitItem::Type(inner) => (&inner.attrs, inner.ident.to_string(), format!("type {}", inner.ident)),
                TraitItem::Const(inner) => {
                    (&inner.attrs, inner.ident.to_string(), format!("const {}: {}", inner.ident, show::tokens(&inner.ty)))
                }
                _ => return Err(format!("the trait {path} has an item of a kind that is not known here")),
            };
            let path = format!("{path}::{name}");
            self.line(&path, &conditions(attrs).unwrap_or_default(), attrs, &shown);
            self.say(path, documentation(attrs, &module.folder)?, Some(owner.to_owned()), false);
        }
        Ok(())
    }

    /// Writes down what an `impl` gives to users: its public items, or that there is one of a trait.
    fn implementation(&mut self, place: &[String], module: &Module, item: &ItemImpl) -> Outcome {
        let own = type_path(&item.self_ty).and_then(|path| self.export(place, path));
        let mut cfgs = module.cfgs.clone();
        merge(&mut cfgs, &conditions(&item.attrs).unwrap_or_default());
        let Some((_, named, _)) = &item.trait_ else {
            return own.map_or(Ok(()), |(definition, export)| self.inherent(&definition, &export, module, item, &cfgs));
        };
        let of = self.export(place, named);
        let is_private = of.is_none() && self.krate.resolve(place, &names(named)).is_some();
        // `From<..> for String` belongs to what it is from.
        let argument = || named.segments.last().and_then(|last| self.first_argument(place, last));
        if let Some((_, export)) = own.filter(|_| !is_private).or(of).or_else(|| argument().filter(|_| !is_private)) {
            merge(&mut cfgs, &export.cfgs);
            self.line(&export.path, &cfgs, &[], &show::implementation(item));
        }
        Ok(())
    }

    fn inherent(&mut self, definition: &Definition, export: &Export, module: &Module, item: &ItemImpl, cfgs: &[String]) -> Outcome {
        let mut owner = String::new();
        if let Some(above) = self.krate.modules.get(&definition.0) {
            for found in self.krate.defined(definition) {
                owner += &documentation(attributes(found), &above.folder)?;
            }
        }
        for inner in &item.items {
            let (attrs, visibility, name, shown, is_async) = match inner {
                ImplItem::Fn(function) => {
                    let shown = show::function(&function.vis, &function.sig);
                    (&function.attrs, &function.vis, &function.sig.ident, shown, function.sig.asyncness.is_some())
                }
                ImplItem::Const(constant) => {
                    let shown = format!("pub const {}: {}", constant.ident, show::tokens(&constant.ty));
                    (&constant.attrs, &constant.vis, &constant.ident, shown, false)
                }
                _ => continue,
            };
            let (Some(own), true, false) = (conditions(attrs), show::is_public(visibility), is_hidden(attrs)) else { continue };
            let mut all = cfgs.to_vec();
            merge(&mut all, &own);
            let path = format!("{}::{name}", export.path);
            self.line(&path, &all, attrs, &shown);
            self.say(path, documentation(attrs, &module.folder)?, Some(owner.clone()), is_async);
            if !item.generics.params.is_empty() {
                self.line(&export.path, cfgs, &[], &show::implementation(item));
            }
        }
        Ok(())
    }

    fn export(&self, place: &[String], path: &syn::Path) -> Option<(Definition, Export)> {
        let definition = self.krate.resolve(place, &names(path))?;
        let export = self.exports.get(&definition)?.clone();
        Some((definition, export))
    }

    fn first_argument(&self, place: &[String], segment: &syn::PathSegment) -> Option<(Definition, Export)> {
        let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
        arguments.args.iter().find_map(|argument| match argument {
            syn::GenericArgument::Type(kind) => self.export(place, type_path(kind)?),
            _ => None,
        })
    }

    fn line(&mut self, path: &str, cfgs: &[String], attrs: &[Attribute], shown: &str) {
        self.surface.lines.insert(format!("{path}: {}{shown}", show::before(cfgs, attrs)));
    }

    fn say(&mut self, path: String, docs: String, owner: Option<String>, is_async: bool) {
        self.surface.documented.push(Documented { path, docs, owner, is_async });
    }
}

fn merge(all: &mut Vec<String>, more: &[String]) {
    for cfg in more {
        if !all.contains(cfg) {
            all.push(cfg.clone());
        }
    }
}

fn public_name(item: &Item) -> Option<String> {
    let (visibility, name) = match item {
        Item::Const(item) => (&item.vis, &item.ident),
        Item::Enum(item) => (&item.vis, &item.ident),
        Item::Fn(item) => (&item.vis, &item.sig.ident),
        Item::Static(item) => (&item.vis, &item.ident),
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Trait(item) => (&item.vis, &item.ident),
        Item::Type(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    (show::is_public(visibility) && !is_hidden(attributes(item))).then(|| name.to_string())
}

fn type_path(kind: &Type) -> Option<&syn::Path> {
    match kind {
        Type::Path(path) => Some(&path.path),
        Type::Reference(reference) => type_path(&reference.elem),
        Type::Group(group) => type_path(&group.elem),
        _ => None,
    }
}

fn names(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let surface = Surface::of(&Crate::parse(text)).unwrap();
        assert_eq!(surface.lines.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn what_is_exported_is_public_and_nothing_else() {
        check(
            "pub use a::{A, f}; mod a { pub struct A; pub struct B; pub fn f() {} pub(crate) fn g() {} impl A { pub fn h(mut self) {} fn i() {} } }",
            &["A: pub struct A;", "A::h: pub fn h(self)", "f: pub fn f()"],
        );
        check("#[doc(hidden)] pub mod a { pub struct A; } mod b { pub struct B; }", &[]);
        check("pub mod a { pub use self::b::C; mod b { pub struct C; } }", &["a: pub mod a", "a::C: pub struct C;"]);
    }

    #[test]
    fn two_of_one_name_are_told_apart() {
        check(
            "pub use a::A; mod a { pub struct A; } mod b { struct A; impl A { pub fn f() {} } impl Clone for A {} }",
            &["A: pub struct A;"],
        );
    }

    #[test]
    fn fields_variants_derives_and_traits_have_their_lines() {
        check(
            "#[derive(Clone)] #[non_exhaustive] pub struct A { pub a: u8, b: u8 } pub enum E { #[default] A, B(u8), #[cfg(test)] C }",
            &[
                "A: #[non_exhaustive] pub struct A { .. }",
                "A: impl Clone for A",
                "A::a: pub a: u8",
                "E: pub enum E",
                "E::A: #[default] A",
                "E::B: B(u8)",
            ],
        );
        check(
            "pub trait T { fn f(&self); fn g(&self) {} } impl T for u8 {} pub struct A; impl From<A> for String {} trait P {} impl P for A {}",
            &[
                "A: impl From<A> for String",
                "A: pub struct A;",
                "T: impl T for u8",
                "T: pub trait T",
                "T::f: fn f(&self)",
                "T::g: fn g(&self) { .. }",
            ],
        );
    }

    #[test]
    fn conditions_of_an_item_and_its_export_are_told_and_what_users_never_compile_is_not() {
        check(
            "#[cfg(feature = \"a\")] pub use b::B; #[cfg(feature = \"chaos\")] pub mod c { pub fn f() {} } mod b { pub struct B; impl B { #[cfg(feature = \"d\")] pub fn f() {} #[cfg(test)] pub fn g() {} } }",
            &["B: #[cfg(feature = \"a\")] pub struct B;", "B::f: #[cfg(feature = \"d\")] pub fn f()"],
        );
    }

    #[test]
    fn what_a_macro_makes_is_public_too() {
        check(
            "macro_rules! m { ($($n:ident),*) => { pub struct S { $(pub $n: u8,)* } }; } m!(a, b);",
            &["S: pub struct S {}", "S::a: pub a: u8", "S::b: pub b: u8"],
        );
    }

    #[test]
    fn an_item_with_two_paths_is_written_down_at_the_shorter_one() {
        let expected = ["A: pub struct A;", "b: pub mod b", "b::A: pub use A"];
        check("pub mod b { pub use crate::a::A; } pub use a::A; mod a { pub struct A; }", &expected);
        check("pub use a::A; pub mod b { pub use crate::a::A; } mod a { pub struct A; }", &expected);
    }

    #[test]
    fn an_exported_macro_stands_at_the_root() {
        check("mod a { #[macro_export] macro_rules! m { () => {} } macro_rules! n { () => {} } }", &["m: macro_rules! m"]);
    }

    #[test]
    fn a_public_use_of_everything_is_refused() {
        assert!(Surface::of(&Crate::parse("pub use a::*; mod a {}")).unwrap_err().contains("hides"));
    }
}
