//! The attributes and the derive of `cachetier`, which exports them: depend on that crate, not on this one.
#![forbid(unsafe_code)]

use proc_macro::TokenStream;

mod companions;
mod detached;
mod duration;
mod expand;
mod function;
mod key;
mod key_part;
mod names;
mod options;
mod template;
#[cfg(test)]
mod tests;

// Documented where it is exported, so that the examples there are run.
#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn cached(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::cached(arguments.into(), &function.into()).into()
}

// As above.
#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn invalidates(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::invalidates(arguments.into(), &function.into()).into()
}

/// Makes a struct or an enum a part of keys: see the trait of this name.
///
/// All fields must be parts themselves. A crate that knows `cachetier` under another name says so:
/// `#[key_part(crate = "path::to::cachetier")]`.
#[proc_macro_derive(KeyPart, attributes(key_part))]
pub fn derive_key_part(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    key_part::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
