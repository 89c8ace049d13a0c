//! `#[derive(KeyPart)]`: a struct as the tuple of its fields, an enum as its variant and the tuple of that one's fields.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, Path, parse_quote};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream, Error> {
    let cachetier = path(&input.attrs)?;
    let body = match &input.data {
        Data::Struct(data) => {
            let (fields, write) = parts(&data.fields, matches!(&data.fields, Fields::Unnamed(fields) if fields.unnamed.len() == 1));
            let write = if data.fields.is_empty() {
                quote! { __key.literal("()"); }
            } else {
                write
            };
            quote! { let Self #fields = self; #write }
        }
        Data::Enum(data) if data.variants.is_empty() => quote! { match *self {} },
        Data::Enum(data) => {
            let arms = data.variants.iter().map(|variant| {
                let (name, text) = (&variant.ident, variant.ident.unraw().to_string());
                let (fields, write) = parts(&variant.fields, false);
                quote! { Self::#name #fields => { __key.literal(#text); #write } }
            });
            quote! { match self { #(#arms)* } }
        }
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "a union has no key form: which of its fields is the value is not known",
            ));
        }
    };
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#cachetier::KeyPart));
    }
    let (parameters, arguments, conditions) = generics.split_for_impl();
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl #parameters #cachetier::KeyPart for #name #arguments #conditions {
            fn write(&self, __key: &mut #cachetier::KeyText) { #body }
        }
    })
}

/// The pattern that takes the fields apart, and what writes them: each as it is, or all in parentheses.
fn parts(fields: &Fields, bare: bool) -> (TokenStream, TokenStream) {
    // At the field's type: an error about a field that has no form stands there.
    let name = |(index, field): (usize, &Field)| format_ident!("__part_{index}", span = field.ty.span());
    let names: Vec<_> = fields.iter().enumerate().map(name).collect();
    let pattern = match fields {
        Fields::Named(fields) => {
            let idents = fields.named.iter().map(|field| &field.ident);
            quote! { { #(#idents: #names),* } }
        }
        Fields::Unnamed(_) => quote! { ( #(#names),* ) },
        Fields::Unit => quote! {},
    };
    let writes = fields.iter().zip(&names).map(|(field, name)| {
        quote_spanned! { field.ty.span() => __key.part(#name); }
    });
    let write = if bare || names.is_empty() {
        quote! { #(#writes)* }
    } else {
        let mut delimiters = std::iter::once("(").chain(std::iter::repeat(","));
        let writes = writes.map(|write| {
            let before = delimiters.next();
            quote! { __key.literal(#before); #write }
        });
        let writes: Vec<_> = writes.collect();
        quote! { #(#writes)* __key.literal(")"); }
    };
    (pattern, write)
}

/// Where the crate is found: `#[key_part(crate = "path")]`, or under its own name.
fn path(attributes: &[Attribute]) -> Result<Path, Error> {
    let mut path = parse_quote!(::cachetier);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("key_part")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("unknown option: the only one is `crate = \"path::to::cachetier\"`"));
            }
            path = meta.value()?.parse::<syn::LitStr>()?.parse()?;
            Ok(())
        })?;
    }
    Ok(path)
}
