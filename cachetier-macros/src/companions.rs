//! The functions beside a cached function: its key, and the invalidation of that. A free function has them in a module of its own name, a
//! method beside itself.

use std::collections::HashSet;

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::visit_mut::{VisitMut, visit_expr_path_mut, visit_path_mut};
use syn::{
    Attribute, Expr, ExprPath, FnArg, GenericParam, Generics, Macro, Meta, Pat, Path, Visibility, WherePredicate, parse_quote,
};

use crate::function::{Argument, Function};
use crate::key::{Key, Site};
use crate::names::{arguments as arguments_of, bound, words as words_of};
use crate::options::{Cached, Companions, KeyForm, Text};

/// The functions, or nothing where none are wanted.
pub(crate) fn companions(function: &Function, options: &Cached, key: &Key<'_>) -> TokenStream {
    let own = &function.item.sig.ident;
    let name = match &options.companions {
        Companions::None => return TokenStream::new(),
        Companions::AsFunction => own.clone(),
        Companions::Named(name) => name.clone(),
    };
    let arguments = arguments(function, options, key);
    if function.is_of_type {
        beside(function, options, key, &name, &arguments)
    } else {
        module(function, options, key, &name, &arguments)
    }
}

/// The arguments that a companion takes: those which the key, the tags and the cache are told by, in the order of the function's.
/// Where types are parts of the key, also those whose types have no name.
fn arguments(function: &Function, options: &Cached, key: &Key<'_>) -> Vec<Argument> {
    let cache = options.place.cache.iter().map(|cache| &**cache);
    let values: Vec<&Expr> = key.values().chain(options.tags.iter().flat_map(Text::values)).chain(cache).collect();
    let nameless =
        function.arguments.iter().filter(|argument| matches!(options.key, KeyForm::Arguments { .. }) && argument.is_nameless());
    let named: HashSet<String> = function
        .named_in(values.into_iter())
        .iter()
        .chain(key.parts())
        .chain(nameless)
        .filter_map(|argument| Some(argument.name.as_ref()?.to_string()))
        .collect();
    let taken = |argument: &&Argument| argument.name.as_ref().is_some_and(|name| named.contains(&name.to_string()));
    function.arguments.iter().filter(taken).cloned().collect()
}

/// As functions beside a method.
fn beside(function: &Function, options: &Cached, key: &Key<'_>, name: &Ident, arguments: &[Argument]) -> TokenStream {
    // Always by reference: whatever the method does with itself, its key is only looked at.
    let typed = arguments.iter().filter(|argument| !argument.is_receiver()).filter_map(|argument| plain(&argument.declared));
    let own = &function.item.sig.ident;
    let attributes = attributes(function);
    let receiver = function.is_method().then(|| quote! { &self, });
    let pair = Pair {
        krate: &options.place.krate,
        link: format!("`{own}`"),
        visibility: function.item.vis.clone(),
        names: ["key", "invalidate"].map(|what| format_ident!("{name}_{what}", span = name.span())),
        inputs: quote! { #receiver #(#typed),* },
        generics: generics(function, options, key, arguments),
        key: key.code(Site::Function),
        handle: handle(options.place.cache.as_deref(), &options.place.krate),
    };
    let functions = pair.code().map(|function| quote! { #(#attributes)* #function });
    quote! { #(#functions)* }
}

/// As functions of a module.
fn module(function: &Function, options: &Cached, key: &Key<'_>, name: &Ident, arguments: &[Argument]) -> TokenStream {
    let mut deeper = Deeper::default();
    let mut krate = options.place.krate.clone();
    deeper.visit_path_mut(&mut krate);
    let typed: Vec<_> = arguments
        .iter()
        .filter_map(|argument| plain(&argument.declared))
        .map(|mut typed| {
            deeper.visit_pat_type_mut(&mut typed);
            typed
        })
        .collect();
    let mut generics = generics(function, options, key, arguments);
    deeper.visit_generics_mut(&mut generics);
    // A function's own words come before what a companion is called.
    deeper.companions = ["key", "invalidate"]
        .into_iter()
        .filter(|name| arguments.iter().all(|argument| argument.name.as_ref().is_none_or(|own| own != name)))
        .collect();
    let (own, visibility) = (&function.item.sig.ident, &function.item.vis);
    let pair = Pair {
        krate: &krate,
        link: format!("[`{own}`](fn@super::{own})"),
        visibility: within(visibility),
        names: ["key", "invalidate"].map(|what| format_ident!("{what}", span = name.span())),
        inputs: quote! { #(#typed),* },
        generics,
        key: deeper.code(key.code(Site::Module)),
        handle: deeper.code(handle(options.place.cache.as_deref(), &options.place.krate)),
    };
    let (functions, attributes) = (pair.code(), attributes(function));
    let doc = format!("What belongs to [`{own}`](fn@{own}): its keys.");
    quote! {
        #(#attributes)*
        #[doc = #doc]
        #visibility mod #name {
            #[allow(unused_imports)]
            use super::*;
            #(#functions)*
        }
    }
}

/// The attributes that say of the companions what they say of the function: whether it is there, whether it is shown, what is allowed.
fn attributes(function: &Function) -> Vec<&Attribute> {
    let told = |attribute: &&Attribute| {
        let path = attribute.path();
        ["cfg", "deprecated", "allow"].iter().any(|name| path.is_ident(name))
            || path.is_ident("doc") && matches!(attribute.meta, Meta::List(_))
    };
    function.item.attrs.iter().filter(told).collect()
}

/// The two functions to be.
struct Pair<'a> {
    krate: &'a Path,
    /// The function that they belong to, for the documentation.
    link: String,
    visibility: Visibility,
    names: [Ident; 2],
    inputs: TokenStream,
    generics: Generics,
    key: TokenStream,
    handle: TokenStream,
}

impl Pair<'_> {
    fn code(&self) -> [TokenStream; 2] {
        let Self { krate, link, visibility, names: [of_key, of_invalidate], inputs, generics, key, handle } = self;
        let (parameters, _, conditions) = generics.split_for_impl();
        let of_key_doc = format!("Returns the key under which a call of {link} with these arguments is cached.");
        let of_invalidate_doc = format!("Invalidates what a call of {link} with these arguments has cached, in every instance.");
        let of_key = quote! {
            #[doc = #of_key_doc]
            #[must_use]
            #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
            #visibility fn #of_key #parameters (#inputs) -> ::std::string::String #conditions {
                ::std::string::String::from(#key)
            }
        };
        let of_invalidate = quote! {
            #[doc = #of_invalidate_doc]
            ///
            /// # Errors
            ///
            /// Those of an invalidation of the key; and that there is no cache.
            #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
            #visibility async fn #of_invalidate #parameters (#inputs) -> ::std::result::Result<#krate::Delivery, #krate::CacheError> #conditions {
                let __key = #key;
                let __cache = #handle;
                #krate::attribute::invalidate(&__cache, &__key).await
            }
        };
        [of_key, of_invalidate]
    }
}

/// The statements that make `__cache` the handle of the cache. What it borrows may be made just for it, and lives as long as their block.
pub(crate) fn cache(cache: Option<&Expr>, krate: &Path) -> TokenStream {
    if let Some(cache) = cache {
        let span = syn::spanned::Spanned::span(cache);
        let given = Ident::new("__given", span);
        let handle = quote_spanned! { span => #krate::attribute::given(#given) };
        quote! {
            let #given = &(#cache);
            let __cache = #handle;
        }
    } else {
        quote! { let __cache = #krate::attribute::installed(); }
    }
}

/// The expression that is a handle which borrows nothing.
pub(crate) fn handle(given: Option<&Expr>, krate: &Path) -> TokenStream {
    if given.is_none() {
        return quote! { #krate::attribute::installed() };
    }
    let cache = cache(given, krate);
    quote! {{ #cache __cache.into_owned() }}
}

/// An argument as a companion has it: without attributes but those that it depends on, and not `mut`.
fn plain(declared: &FnArg) -> Option<syn::PatType> {
    let FnArg::Typed(typed) = declared else { return None };
    let mut typed = typed.clone();
    typed.attrs.retain(|attribute| attribute.path().is_ident("cfg"));
    if let Pat::Ident(pattern) = &mut *typed.pat {
        pattern.mutability = None;
        pattern.by_ref = None;
    }
    Some(typed)
}

/// The generic parameters that the arguments, the key and the cache need; all types and constants where they are parts of the key.
fn generics(function: &Function, options: &Cached, key: &Key<'_>, arguments: &[Argument]) -> Generics {
    let mut words = HashSet::new();
    for argument in arguments.iter().filter_map(|argument| plain(&argument.declared)) {
        words_of(argument.ty.to_token_stream(), &mut words);
    }
    for value in key.values().chain(options.place.cache.as_deref()) {
        words_of(value.to_token_stream(), &mut words);
    }
    let all = &function.item.sig.generics;
    if matches!(options.key, KeyForm::Arguments { .. }) {
        words.extend(all.type_params().map(|parameter| parameter.ident.to_string()));
        words.extend(all.const_params().map(|parameter| parameter.ident.to_string()));
    }
    // What a needed parameter is bound by is needed, too.
    let predicates = || all.where_clause.iter().flat_map(|clause| &clause.predicates);
    loop {
        let before = words.len();
        for parameter in all.params.iter().filter(|parameter| words.contains(&parameter_name(parameter))).collect::<Vec<_>>() {
            words_of(parameter.to_token_stream(), &mut words);
        }
        for predicate in predicates().filter(|predicate| binds(predicate, all, &words)).collect::<Vec<_>>() {
            words_of(predicate.to_token_stream(), &mut words);
        }
        if words.len() == before {
            break;
        }
    }
    let mut kept = all.clone();
    kept.params = all.params.iter().filter(|parameter| words.contains(&parameter_name(parameter))).cloned().collect();
    if let Some(clause) = &mut kept.where_clause {
        // Those of a method's type bind no parameter of its own.
        clause.predicates = predicates().filter(|predicate| !names_another(predicate, all, &words)).cloned().collect();
    }
    kept
}

/// Whether a condition is one of a parameter among `words`.
fn binds(predicate: &WherePredicate, all: &Generics, words: &HashSet<String>) -> bool {
    let mut bound = HashSet::new();
    match predicate {
        WherePredicate::Type(predicate) => words_of(predicate.bounded_ty.to_token_stream(), &mut bound),
        other => words_of(other.to_token_stream(), &mut bound),
    }
    all.params.iter().map(parameter_name).any(|name| bound.contains(&name) && words.contains(&name))
}

/// Whether a condition names a parameter that is not among `words`.
fn names_another(predicate: &WherePredicate, all: &Generics, words: &HashSet<String>) -> bool {
    let mut named = HashSet::new();
    words_of(predicate.to_token_stream(), &mut named);
    all.params.iter().map(parameter_name).any(|name| named.contains(&name) && !words.contains(&name))
}

fn parameter_name(parameter: &GenericParam) -> String {
    match parameter {
        GenericParam::Lifetime(lifetime) => lifetime.lifetime.ident.to_string(),
        GenericParam::Type(parameter) => parameter.ident.to_string(),
        GenericParam::Const(parameter) => parameter.ident.to_string(),
    }
}

/// The visibility that is, inside of a module, what `visibility` is outside of it.
fn within(visibility: &Visibility) -> Visibility {
    match visibility {
        Visibility::Inherited => parse_quote!(pub(super)),
        Visibility::Restricted(restricted) if restricted.path.is_ident("self") => parse_quote!(pub(super)),
        Visibility::Restricted(restricted) if restricted.path.segments.first().is_some_and(|first| first.ident == "super") => {
            let path = &restricted.path;
            parse_quote!(pub(in super::#path))
        }
        other => other.clone(),
    }
}

/// Makes what stands in the function mean the same one module deeper.
#[derive(Default)]
struct Deeper {
    /// The companions, whose names are others' outside.
    companions: Vec<&'static str>,
}

impl Deeper {
    /// Makes code mean the same.
    fn code(&self, code: TokenStream) -> TokenStream {
        let Ok(mut expression) = syn::parse2::<Expr>(code.clone()) else { return code };
        let bound = bound(&expression);
        let companions = self.companions.iter().copied().filter(|name| !bound.contains(*name)).collect();
        Self { companions }.visit_expr_mut(&mut expression);
        expression.to_token_stream()
    }
}

impl VisitMut for Deeper {
    fn visit_expr_path_mut(&mut self, path: &mut ExprPath) {
        if let Some(name) = path.path.get_ident()
            && self.companions.iter().any(|companion| name == companion)
        {
            path.path = parse_quote!(super::#name);
        } else {
            visit_expr_path_mut(self, path);
        }
    }

    fn visit_path_mut(&mut self, path: &mut Path) {
        visit_path_mut(self, path);
        let first = path.segments.first().map(|first| first.ident.to_string());
        match first.as_deref() {
            Some("super") => *path = parse_quote!(super::#path),
            // The variable `self` is a path, too, but of one word.
            Some("self") if path.segments.len() > 1 => {
                let rest = path.segments.iter().skip(1);
                *path = parse_quote!(super #(::#rest)*);
            }
            _ => {}
        }
    }

    fn visit_macro_mut(&mut self, called: &mut Macro) {
        self.visit_path_mut(&mut called.path);
        if let Some(mut given) = arguments_of(called) {
            given.iter_mut().for_each(|given| self.visit_expr_mut(given));
            called.tokens = given.to_token_stream();
        }
    }
}
