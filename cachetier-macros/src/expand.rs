//! What a function becomes. The code is thin: what it does stands in `cachetier::attribute`, as ordinary generic functions.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Block, Error, ItemFn, parse_quote};

use crate::companions::{cache, companions, handle};
use crate::detached;
use crate::function::Function;
use crate::key::{Key, Site, texts};
use crate::options::{ByValue, Cached, Invalidates, Life, Text, Time};

/// `#[cached(..)]` on a function.
pub(crate) fn cached(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    expanded(item, |function| {
        let function = Function::of(function, "cached")?;
        let options = Cached::read(arguments)?;
        for value in options.tags.iter().flat_map(Text::values).chain(options.place.cache.as_deref()) {
            function.check_value(value)?;
        }
        let values = options.key.values().chain(options.tags.iter().flat_map(Text::values)).chain(options.place.cache.as_deref());
        let function = function.with_values(values);
        if options.detached.is_some() {
            detached::check(&function)?;
        }
        let key = Key::of(&function, &options)?;
        let companions = companions(&function, &options, &key);
        let block = Box::new(cached_body(&function, &options, &key));
        let mut function = ItemFn { block, ..function.item };
        if options.detached.is_some() {
            detached::sign(&mut function.sig);
        }
        Ok(quote! { #function #companions })
    })
}

/// `#[invalidates(..)]` on a function.
pub(crate) fn invalidates(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    expanded(item, |function| {
        let function = Function::of(function, "invalidates")?;
        let options = Invalidates::read(arguments)?;
        let named = [&options.keys, &options.tags, &options.prefixes];
        for value in named.into_iter().flatten().flat_map(Text::values).chain(options.place.cache.as_deref()) {
            function.check_value(value)?;
        }
        let block = Box::new(invalidates_body(&function, &options));
        let function = ItemFn { block, ..function.item };
        Ok(quote! { #function })
    })
}

/// The expansion; or the error, and the function as it was, so that one mistake is told once and not at each call.
fn expanded(item: &TokenStream, expand: impl FnOnce(ItemFn) -> Result<TokenStream, Error>) -> TokenStream {
    let function = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = Error::new(error.span(), format!("expected a function with a body: {error}")).into_compile_error();
            return quote! { #error #item };
        }
    };
    expand(function).unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote! { #error #item }
    })
}

fn cached_body(function: &Function, options: &Cached, key: &Key<'_>) -> Block {
    let krate = &options.place.krate;
    let (statements, cache) = (key.statements(Site::Function), cache(options.place.cache.as_deref(), krate));
    let returned = function.returned();
    // At the return type: an error about a value that cannot be cached stands there.
    let shape = quote_spanned! { returned.span() =>
        (&&(&&&&#krate::attribute::Probe::<#returned>::new()).shape()).checked()
    };
    let rules = rules(function, options);
    let sharing = if let Some(path) = &options.share_error {
        quote_spanned! { path.span() => #krate::attribute::share_by(#path) }
    } else {
        quote! { (&&&#krate::attribute::ErrorProbe::of(&__shape)).sharing() }
    };
    let load = if let Some(detached) = options.detached {
        let body = detached::body(function, krate, body);
        quote_spanned! { detached => __shape.refresh(__cache, __key, __rules, __sharing, #body) }
    } else {
        let body = body(function);
        quote! { __shape.load(__cache, __key, __rules, __sharing, #body) }
    };
    parse_quote! {{
        #[allow(unused_imports)]
        use #krate::attribute::probes::*;
        #[allow(clippy::all, clippy::pedantic)]
        let __shape = #shape;
        #[allow(clippy::all, clippy::pedantic)]
        let (__cache, __key) = {
            // On the stack: it does not outlive a hit, and so is no part of the future.
            #cache
            #statements
            if let ::std::option::Option::Some(__hit) = __shape.hit(&__cache, &__key) {
                return __hit;
            }
            (__cache.into_owned(), ::std::string::String::from(__key))
        };
        #[allow(clippy::all, clippy::pedantic)]
        let __rules = #rules;
        #[allow(clippy::all, clippy::pedantic)]
        let __sharing = #sharing;
        #load.await
    }}
}

fn invalidates_body(function: &Function, options: &Invalidates) -> Block {
    let krate = &options.place.krate;
    let handle = handle(options.place.cache.as_deref(), krate);
    let [keys, tags, prefixes] = [&options.keys, &options.tags, &options.prefixes].map(|all| texts(all, function, krate));
    let (returned, body) = (function.returned(), body(function));
    parse_quote! {{
        #[allow(unused_imports)]
        use #krate::attribute::probes::*;
        // Before the body, which the arguments belong to.
        #[allow(clippy::all, clippy::pedantic)]
        let __targets = #krate::attribute::Targets { keys: #keys, tags: #tags, prefixes: #prefixes };
        #[allow(clippy::all, clippy::pedantic)]
        let __cache = #handle;
        #[allow(clippy::all, clippy::pedantic)]
        let __done = {
            let __returned: #returned = #body.await;
            match (&&&#krate::attribute::DoneProbe::of(&__returned)).done(__returned) {
                ::std::result::Result::Ok(__done) => __done,
                ::std::result::Result::Err(__returned) => return __returned,
            }
        };
        #krate::attribute::invalidate_after(__cache, __targets).await;
        __done.returned()
    }}
}

/// The function's body as a future that returns what the function returns, `return` and `?` included.
fn body(function: &Function) -> TokenStream {
    let (returned, block) = (function.returned(), &function.item.block);
    quote! {
        async move {
            // Never so: it says what `return` returns.
            if let ::std::option::Option::Some(__returned) = ::std::option::Option::None::<#returned> {
                return __returned;
            }
            #[allow(clippy::let_unit_value, clippy::diverging_sub_expression)]
            let __returned: #returned = #block;
            #[allow(unreachable_code)]
            return __returned;
        }
    }
}

/// The policy, the tags, and what is asked about the value: whether it is stored first.
fn rules(function: &Function, options: &Cached) -> TokenStream {
    let krate = &options.place.krate;
    let (policy, tags) = (policy(options), texts(&options.tags, function, krate));
    let ByValue { cache_if, ttl_with, tags_with } = &options.by_value;
    let asked = [(cache_if, quote! { cache_if }), (ttl_with, quote! { ttl_with }), (tags_with, quote! { tags_with })];
    asked.into_iter().fold(quote! { #krate::attribute::rules(#policy, #tags) }, |rules, (asked, name)| {
        let Some(asked) = asked else { return rules };
        let name = quote_spanned! { asked.span() => #krate::attribute::#name };
        // The shape says what the value is: a closure need not.
        quote! { #name(&__shape, #rules, #asked) }
    })
}

fn policy(options: &Cached) -> TokenStream {
    let krate = &options.place.krate;
    match &options.life {
        Life::Policy(policy) => quote_spanned! { policy.span() => #policy },
        Life::Times { ttl, local, negative, stale, retry } => {
            let ttl = duration(ttl, krate);
            let others = [
                (local, quote! { l1_ttl }),
                (negative, quote! { negative_ttl }),
                (stale, quote! { stale_for }),
                (retry, quote! { stale_if_error }),
            ];
            let others = others.into_iter().filter_map(|(time, name)| {
                let time = duration(time.as_ref()?, krate);
                Some(quote! { .#name(#time) })
            });
            quote! { #krate::Policy::ttl(#ttl) #(#others)* }
        }
    }
}

fn duration(time: &Time, krate: &syn::Path) -> TokenStream {
    match time {
        Time::Known(time) => {
            let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
            quote! { ::std::time::Duration::new(#seconds, #nanos) }
        }
        Time::Told(time) => quote_spanned! { time.span() => #krate::attribute::duration(#time) },
    }
}
