//! How an item is written down: its signature on one line, without body, documentation and what its caller cannot see.

use quote::{ToTokens, quote};
use syn::{Attribute, Fields, FnArg, Generics, Item, Pat, Signature, Visibility};

/// Attributes that a user notices.
const SHOWN: [&str; 4] = ["must_use", "non_exhaustive", "deprecated", "default"];

/// The conditions and attributes that stand before an item.
pub(super) fn before(cfgs: &[String], attrs: &[Attribute]) -> String {
    let cfgs = cfgs.iter().map(|cfg| format!("#[cfg({cfg})] "));
    let shown = attrs.iter().filter_map(|attribute| SHOWN.iter().find(|shown| attribute.path().is_ident(shown)));
    cfgs.chain(shown.map(|shown| format!("#[{shown}] "))).collect()
}

/// A function as its callers see it.
pub(super) fn function(visibility: &Visibility, signature: &Signature) -> String {
    let mut signature = signature.clone();
    for argument in &mut signature.inputs {
        match argument {
            FnArg::Receiver(receiver) if receiver.reference.is_none() => receiver.mutability = None,
            FnArg::Typed(typed) => {
                if let Pat::Ident(name) = &mut *typed.pat {
                    name.mutability = None;
                }
            }
            FnArg::Receiver(_) => {}
        }
    }
    without_end(&line(&quote!(#visibility #signature {})))
}

/// The head of a struct or an enum: what it holds has lines of its own, but for fields without a name and for whether there are any that
/// cannot be named.
pub(super) fn head(item: &Item) -> String {
    match item {
        Item::Struct(item) => {
            let (ident, generics, clause) = (&item.ident, &item.generics, &item.generics.where_clause);
            let shown = without_end(&line(&quote!(pub struct #ident #generics #clause {})));
            let hidden = item.fields.iter().any(|field| !is_public(&field.vis));
            match &item.fields {
                Fields::Unit => shown + ";",
                Fields::Unnamed(_) if hidden => shown + "(..)",
                Fields::Named(_) if hidden => shown + " { .. }",
                Fields::Unnamed(_) => shown + "()",
                Fields::Named(_) => shown + " {}",
            }
        }
        Item::Enum(item) => {
            let (ident, generics, clause) = (&item.ident, &item.generics, &item.generics.where_clause);
            without_end(&line(&quote!(pub enum #ident #generics #clause {})))
        }
        Item::Trait(item) => {
            let (ident, generics, clause, above) = (&item.ident, &item.generics, &item.generics.where_clause, &item.supertraits);
            let colon = (!above.is_empty()).then(|| quote!(:));
            without_end(&line(&quote!(pub trait #ident #generics #colon #above #clause {})))
        }
        Item::Const(item) => format!("pub const {}: {}", item.ident, tokens(&item.ty)),
        Item::Static(item) => format!("pub static {}: {}", item.ident, tokens(&item.ty)),
        Item::Type(item) => {
            let (ident, generics, kind) = (&item.ident, &item.generics, &item.ty);
            line(&quote!(pub type #ident #generics = #kind;))
        }
        Item::Fn(item) => function(&item.vis, &item.sig),
        _ => String::new(),
    }
}

/// A variant with what it carries.
pub(super) fn variant(variant: &syn::Variant) -> String {
    let mut bare = variant.clone();
    bare.attrs.clear();
    bare.fields.iter_mut().for_each(|field| field.attrs.clear());
    let shown = line(&quote!(enum E { #bare }));
    let inner = shown.split_once('{').map(|(_, rest)| rest.trim_end_matches([' ', '}', ',']).trim().to_owned()).unwrap_or_default();
    // The end of the variant's own braces went with the enum's.
    if matches!(bare.fields, Fields::Named(_)) { inner + " }" } else { inner }
}

/// The head of an `impl`, with its associated types.
pub(super) fn implementation(item: &syn::ItemImpl) -> String {
    let (generics, kind, clause) = (&item.generics, &item.self_ty, &item.generics.where_clause);
    // By its last name alone: through which path it was imported is no user's business.
    let named = item.trait_.as_ref().map(|(not, path, _)| {
        let last = path.segments.last();
        quote!(#not #last for)
    });
    let shown = without_end(&line(&quote!(impl #generics #named #kind #clause {})));
    let types = item.items.iter().filter_map(|inner| match inner {
        syn::ImplItem::Type(given) => Some(format!("{} = {}", given.ident, tokens(&given.ty))),
        _ => None,
    });
    let types: Vec<String> = types.collect();
    if types.is_empty() { shown } else { format!("{shown} {{ {} }}", types.join(", ")) }
}

/// What a derive writes, as one would by hand.
pub(super) fn derived(name: &syn::Path, ident: &syn::Ident, generics: &Generics) -> String {
    let mut bounded = generics.clone();
    for parameter in bounded.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!(#name));
    }
    let (head, _, clause) = bounded.split_for_impl();
    let (_, arguments, _) = generics.split_for_impl();
    without_end(&line(&quote!(impl #head #name for #ident #arguments #clause {})))
}

/// A type, or any other tokens that are no whole item.
pub(super) fn tokens(part: &impl ToTokens) -> String {
    let part = part.to_token_stream();
    let shown = line(&quote!(type T = #part;));
    match shown.strip_prefix("type T = ").and_then(|shown| shown.strip_suffix(';')) {
        Some(shown) => shown.to_owned(),
        None => part.to_string(),
    }
}

pub(super) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// An item on one line.
fn line(item: &proc_macro2::TokenStream) -> String {
    let Ok(file) = syn::parse2::<syn::File>(item.clone()) else { return item.to_string() };
    let shown = prettyplease::unparse(&file);
    let shown: Vec<&str> = shown.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut shown = shown.join(" ");
    for (broken, whole) in [("( ", "("), (", )", ")"), (" )", ")"), ("< ", "<"), (", >", ">"), (", {", " {")] {
        shown = shown.replace(broken, whole);
    }
    shown
}

/// Without the empty body that made it an item.
fn without_end(shown: &str) -> String {
    shown.trim_end_matches('}').trim_end().trim_end_matches('{').trim_end().trim_end_matches(',').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(item: &str, expected: &str) {
        assert_eq!(head(&syn::parse_str(item).unwrap()), expected);
    }

    #[test]
    fn a_head_is_one_line_and_tells_what_is_hidden() {
        check("pub struct A<'a> { pub b: &'a u8 }", "pub struct A<'a> {}");
        check("pub struct A { pub b: u8, c: u8 }", "pub struct A { .. }");
        check("pub struct A(pub(crate) u8);", "pub struct A(..)");
        check("pub struct A;", "pub struct A;");
        check("pub enum E<T> { A(T) }", "pub enum E<T>");
        check("pub trait T: A + B { fn f(&self); }", "pub trait T: A + B");
        check("pub const A: &'static [u8] = b\"\";", "pub const A: &'static [u8]");
        check("/// Says.\n#[rustfmt::skip]\npub type A<T> = Vec<T>;", "pub type A<T> = Vec<T>;");
        check(
            "pub async fn f<V: A, F>(mut self, mut load: F, another_argument_with_a_long_name: std::collections::BTreeMap<V, F>) -> R<V> where F: B { x }",
            "pub async fn f<V: A, F>(self, load: F, another_argument_with_a_long_name: std::collections::BTreeMap<V, F>) -> R<V> where F: B",
        );
    }

    #[test]
    fn a_variant_has_what_it_carries() {
        for shown in ["A", "A(u8, Vec<B>)", "A { b: u8, c: Vec<u8> }"] {
            assert_eq!(variant(&syn::parse_str(shown).unwrap()), shown);
        }
        let long = "A { a_long_name_of_a_field: BTreeMap<String, String>, another_long_name_of_a_field: BTreeMap<String, String> }";
        assert_eq!(variant(&syn::parse_str(long).unwrap()), long);
    }

    #[test]
    fn a_derive_is_written_as_by_hand() {
        let item: syn::ItemStruct = syn::parse_str("struct A<T>(T);").unwrap();
        assert_eq!(derived(&syn::parse_quote!(Clone), &item.ident, &item.generics), "impl<T: Clone> Clone for A<T>");
        let item: syn::ItemImpl = syn::parse_str("impl<T> FromStr for A<T> { type Err = E; }").unwrap();
        assert_eq!(implementation(&item), "impl<T> FromStr for A<T> { Err = E }");
    }
}
