//! A crate's modules as items: macros expanded, and what users never compile left out. Which of it is public is the caller's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token, UseTree};

use super::expand::Macro;
use crate::run::Outcome;

/// A module's names from the crate's root down.
pub(super) type Place = Vec<String>;

/// All modules of a crate, those left out that no user compiles.
pub(super) struct Crate {
    pub(super) modules: BTreeMap<Place, Module>,
}

/// One module.
pub(super) struct Module {
    pub(super) items: Vec<Item>,
    pub(super) docs: String,
    /// Whether it, or one around it, is kept out of the documentation.
    pub(super) hidden: bool,
    /// The conditions it stands behind.
    pub(super) cfgs: Vec<String>,
    /// What its `use` lines bring: the name here, and where it comes from.
    pub(super) uses: Vec<(String, Vec<String>)>,
    /// The folder of its file: what `include_str!` counts from.
    pub(super) folder: PathBuf,
}

impl Crate {
    pub(super) fn load(src: &Path) -> Outcome<Self> {
        let file = src.join("lib.rs");
        let mut loading = Loading { src: src.to_owned(), modules: BTreeMap::new() };
        loading.file(Vec::new(), &file, &Around::default())?;
        Ok(Self { modules: loading.modules })
    }

    #[cfg(test)]
    pub(super) fn parse(text: &str) -> Self {
        let mut loading = Loading { src: PathBuf::new(), modules: BTreeMap::new() };
        let file = syn::parse_file(text).unwrap();
        loading.module(Vec::new(), &file.attrs, file.items, Path::new("lib.rs"), &Around::default()).unwrap();
        Self { modules: loading.modules }
    }
}

/// What holds for a module because of those around it.
#[derive(Clone, Debug, Default)]
struct Around {
    hidden: bool,
    cfgs: Vec<String>,
}

struct Loading {
    src: PathBuf,
    modules: BTreeMap<Place, Module>,
}

impl Loading {
    fn file(&mut self, place: Place, file: &Path, around: &Around) -> Outcome {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let parsed = syn::parse_file(&text).map_err(|error| format!("{} is not understood: {error}", file.display()))?;
        self.module(place, &parsed.attrs, parsed.items, file, around)
    }

    fn module(&mut self, place: Place, attrs: &[Attribute], items: Vec<Item>, file: &Path, around: &Around) -> Outcome {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let items = expanded(items, &mut BTreeMap::new()).map_err(|error| format!("{}: {error}", file.display()))?;
        let (mut kept, mut uses, docs) = (Vec::new(), Vec::new(), documentation(attrs, &folder)?);
        for item in items {
            let Some(mut cfgs) = conditions(attributes(&item)) else { continue };
            match item {
                Item::Mod(inner) => {
                    let mut place = place.clone();
                    place.push(inner.ident.to_string());
                    cfgs.splice(0..0, around.cfgs.iter().cloned());
                    let below = Around { hidden: around.hidden || is_hidden(&inner.attrs), cfgs };
                    match &inner.content {
                        Some((_, items)) => self.module(place, &inner.attrs, items.clone(), file, &below)?,
                        None => self.file(place.clone(), &self.file_of(&place)?, &below)?,
                    }
                    kept.push(Item::Mod(inner));
                }
                Item::Use(import) => {
                    leaves(&import.tree, &mut Vec::new(), &mut uses);
                    kept.push(Item::Use(import));
                }
                item => kept.push(item),
            }
        }
        let Around { hidden, cfgs } = around.clone();
        self.modules.insert(place, Module { items: kept, docs, hidden, cfgs, uses, folder });
        Ok(())
    }

    fn file_of(&self, place: &[String]) -> Outcome<PathBuf> {
        let path = self.src.join(place.iter().collect::<PathBuf>());
        let candidates = [path.with_extension("rs"), path.join("mod.rs")];
        let found = candidates.iter().find(|file| file.is_file()).cloned();
        found.ok_or_else(|| format!("expected a file of the module {}, found none", place.join("::")))
    }
}

/// The items, with those that the file's own macros make.
fn expanded(items: Vec<Item>, macros: &mut BTreeMap<String, Macro>) -> syn::Result<Vec<Item>> {
    let mut all = Vec::new();
    for item in items {
        let Item::Macro(found) = &item else {
            all.push(item);
            continue;
        };
        if conditions(&found.attrs).is_none() {
            continue;
        }
        let called = found.mac.path.get_ident().map(ToString::to_string).unwrap_or_default();
        if let Some(name) = &found.ident {
            macros.insert(name.to_string(), Macro::parse(found.mac.tokens.clone())?);
            if found.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export")) {
                all.push(item);
            }
        } else if let Some(known) = macros.get(&called) {
            let made = syn::parse2::<syn::File>(known.expand(&found.mac.tokens)?)?;
            all.extend(expanded(made.items, macros)?);
        }
        // Other crates' macros make no public items here.
    }
    Ok(all)
}

/// The names that a `use` brings, and their paths.
pub(super) fn leaves(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            leaves(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found.extend(before.last().map(|last| (last.clone(), before.clone())));
        }
        UseTree::Name(name) => found.push((name.ident.to_string(), with(before, &name.ident))),
        UseTree::Rename(renamed) => found.push((renamed.rename.to_string(), with(before, &renamed.ident))),
        UseTree::Glob(_) => found.push(("*".to_owned(), before.clone())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
    }
}

fn with(before: &[String], last: &syn::Ident) -> Vec<String> {
    before.iter().cloned().chain([last.to_string()]).collect()
}

/// An item's attributes.
pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// What an item's text says, `include_str!` included.
pub(super) fn documentation(attrs: &[Attribute], folder: &Path) -> Outcome<String> {
    let mut text = String::new();
    for attribute in attrs.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let Meta::NameValue(said) = &attribute.meta else { continue };
        match &said.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) => text.push_str(&line.value()),
            syn::Expr::Macro(included) => {
                let name: syn::LitStr = included.mac.parse_body().map_err(|error| format!("documentation: {error}"))?;
                let file = folder.join(name.value());
                text.push_str(&std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?);
            }
            _ => {}
        }
        text.push('\n');
    }
    Ok(text)
}

pub(super) fn is_hidden(attrs: &[Attribute]) -> bool {
    attrs
        .iter()
        .any(|attribute| attribute.path().is_ident("doc") && attribute.meta.to_token_stream().to_string().contains("hidden"))
}

/// The conditions under which users compile something, in words; none if they never do.
pub(super) fn conditions(attrs: &[Attribute]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for attribute in attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")) {
        let Ok(condition) = attribute.parse_args::<Meta>() else { continue };
        if !may_hold(&condition) {
            return None;
        }
        found.push(
            condition.to_token_stream().to_string().replace(" (", "(").replace("( ", "(").replace(" )", ")").replace(" ,", ","),
        );
    }
    Some(found)
}

/// Whether a user's build can meet the condition: with any feature but `chaos`, and no cfg of this repository's own.
fn may_hold(condition: &Meta) -> bool {
    const NEVER: [&str; 5] = ["test", "doctest", "docsrs", "fuzzing", "cachetier_shuttle"];
    match condition {
        Meta::Path(name) => !NEVER.iter().any(|never| name.is_ident(never)),
        Meta::NameValue(value) => value.value.to_token_stream().to_string() != "\"chaos\"",
        Meta::List(list) => {
            let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else { return true };
            if list.path.is_ident("all") {
                parts.iter().all(may_hold)
            } else if list.path.is_ident("any") {
                parts.iter().any(may_hold)
            } else {
                // `not(..)` of what never holds always does; of anything else it may.
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attribute: &str, expected: Option<&str>) {
        let item: Item = syn::parse_str(&format!("#[cfg({attribute})] fn f() {{}}")).unwrap();
        let found = conditions(attributes(&item)).map(|all| all.join(", "));
        assert_eq!(found.as_deref(), expected, "{attribute}");
    }

    #[test]
    fn what_no_user_compiles_is_told_from_what_some_do() {
        check("test", None);
        check("all(test, feature = \"redis\")", None);
        check("fuzzing", None);
        check("feature = \"chaos\"", None);
        check("feature = \"redis\"", Some("feature = \"redis\""));
        check("not(test)", Some("not(test)"));
        check("any(feature = \"a\", feature = \"b\")", Some("any(feature = \"a\", feature = \"b\")"));
    }

    #[test]
    fn every_name_of_a_use_is_found_with_its_path() {
        let import: syn::ItemUse = syn::parse_str("use a::{self, b::C as D, e::*};").unwrap();
        let mut found = Vec::new();
        leaves(&import.tree, &mut Vec::new(), &mut found);
        let found: Vec<String> = found.into_iter().map(|(name, path)| format!("{name} {}", path.join("::"))).collect();
        assert_eq!(found, ["a a", "D a::b::C", "* a::e"]);
    }
}
