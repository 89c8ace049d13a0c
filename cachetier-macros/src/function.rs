//! The function that an attribute stands on: what of it the expansion needs, and what it must not be.

use std::collections::HashSet;

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::visit_mut::{VisitMut, visit_type_mut};
use syn::{Attribute, Error, Expr, FnArg, Item, ItemFn, Macro, Pat, Path, Signature, Type, TypeImplTrait, parse_quote};

use crate::names::{names, words};

/// A function and its arguments.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    pub(crate) arguments: Vec<Argument>,
    /// Whether it is seen to stand in the block of a type or a trait. One that neither takes `self` nor says `Self` cannot be told from
    /// a free function.
    pub(crate) is_of_type: bool,
}

/// An argument.
#[derive(Clone)]
pub(crate) struct Argument {
    /// What it is called; nothing where a pattern takes it apart.
    pub(crate) name: Option<Ident>,
    pub(crate) declared: FnArg,
}

impl Function {
    /// Takes the function apart, if it is one that can have an attribute.
    pub(crate) fn of(item: ItemFn, attribute: &str) -> Result<Self, Error> {
        let Signature { asyncness, constness, unsafety, abi, fn_token, output, variadic, .. } = &item.sig;
        let wrong = |span: Span, why: &str| Err(Error::new(span, why));
        if let Some(constness) = constness {
            return wrong(constness.span, "a `const fn` runs where there is no cache; expected an `async fn`");
        }
        if asyncness.is_none() {
            return wrong(
                fn_token.span,
                &format!("`#[{attribute}]` stands on async functions, as it waits for the cache; write `async fn`"),
            );
        }
        if let Some(unsafety) = unsafety {
            return wrong(
                unsafety.span,
                "the cache does not call an `unsafe fn` for you; put the attribute on a safe function around it",
            );
        }
        if let Some(abi) = abi {
            return wrong(abi.extern_token.span, "an `extern` function cannot be async; put the attribute on a function around it");
        }
        if let Some(variadic) = variadic {
            return wrong(variadic.dots.span(), "a list of arguments of any length has no key");
        }
        if attribute == "cached"
            && let syn::ReturnType::Type(_, returned) = output
            && let Some(opaque) = opaque(returned)
        {
            return wrong(opaque, "a value must be named to be cached; write its type in the place of `impl ..`");
        }
        let arguments =
            item.sig.inputs.iter().map(|declared| Argument { name: name(declared), declared: declared.clone() }).collect();
        let mut own = Own(item.sig.receiver().is_some());
        own.visit_signature_mut(&mut item.sig.clone());
        own.visit_block_mut(&mut item.block.clone());
        Ok(Self { item, arguments, is_of_type: own.0 })
    }

    pub(crate) fn is_method(&self) -> bool {
        self.item.sig.receiver().is_some()
    }

    /// Sees by `values` as well whether it is of a type.
    pub(crate) fn with_values<'a>(self, values: impl Iterator<Item = &'a Expr>) -> Self {
        let mut own = Own(self.is_of_type);
        values.for_each(|value| own.visit_expr_mut(&mut value.clone()));
        Self { is_of_type: own.0, ..self }
    }

    /// The return type; `_` for what has no name in it.
    pub(crate) fn returned(&self) -> TokenStream {
        match &self.item.sig.output {
            syn::ReturnType::Default => quote::quote!(()),
            syn::ReturnType::Type(_, returned) => {
                let mut returned = returned.clone();
                Nameless.visit_type_mut(&mut returned);
                returned.to_token_stream()
            }
        }
    }

    /// The names that the arguments have, for a message.
    fn names(&self) -> String {
        let names: Vec<String> =
            self.arguments.iter().filter_map(|argument| Some(format!("`{}`", argument.name.as_ref()?))).collect();
        if names.is_empty() {
            "it has no arguments with a name".to_owned()
        } else {
            format!("its arguments are {}", names.join(", "))
        }
    }

    /// Fails if the expression begins with a name that no argument has and nothing else is likely to have.
    pub(crate) fn check_value(&self, value: &Expr) -> Result<(), Error> {
        let Some(root) = root(value) else { return Ok(()) };
        let known = self.arguments.iter().any(|argument| argument.name.as_ref().is_some_and(|name| *name == root));
        // What is written in capitals is a constant, or else the compiler says so.
        let constant = root.unraw().to_string().chars().all(|char| !char.is_lowercase());
        if known || constant {
            return Ok(());
        }
        let mend = if root == "self" { "the function has no `self`".to_owned() } else { self.names() };
        Err(Error::new(value.span(), format!("`{root}` is no argument of `{}`: {mend}", self.item.sig.ident)))
    }

    /// Fails if a skipped argument does not exist.
    pub(crate) fn check_skipped(&self, skip: &[Ident]) -> Result<(), Error> {
        for skipped in skip {
            if !self.arguments.iter().any(|argument| argument.name.as_ref() == Some(skipped)) {
                let why = format!("`{skipped}` is no argument of `{}`: {}", self.item.sig.ident, self.names());
                return Err(Error::new(skipped.span(), why));
            }
        }
        Ok(())
    }

    /// The words of a template, each meant as the argument of that name. The template may have been handed to a macro that has written the
    /// function: its words alone would mean what stands where the macro is used.
    pub(crate) fn meant(&self, words: TokenStream) -> TokenStream {
        let meant = |mut token: TokenTree| {
            match &mut token {
                TokenTree::Ident(word) => {
                    let argument = self.arguments.iter().filter_map(|argument| argument.name.as_ref()).find(|name| *name == word);
                    let names = argument.map_or_else(Span::call_site, Ident::span);
                    word.set_span(word.span().resolved_at(names));
                }
                TokenTree::Group(group) => {
                    let span = group.span();
                    *group = Group::new(group.delimiter(), self.meant(group.stream()));
                    group.set_span(span);
                }
                _ => {}
            }
            token
        };
        words.into_iter().map(meant).collect()
    }

    /// The arguments that any of the expressions names, in the order of the signature.
    pub(crate) fn named_in<'a>(&self, values: impl Iterator<Item = &'a Expr>) -> Vec<Argument> {
        let words: HashSet<String> = values.flat_map(names).collect();
        let named = |argument: &&Argument| argument.name.as_ref().is_some_and(|name| words.contains(&name.unraw().to_string()));
        self.arguments.iter().filter(named).cloned().collect()
    }
}

impl Argument {
    pub(crate) fn is_receiver(&self) -> bool {
        matches!(self.declared, FnArg::Receiver(_))
    }

    /// Whether its type is `impl ..` or has one in it: a parameter of the function, but without a name.
    pub(crate) fn is_nameless(&self) -> bool {
        matches!(&self.declared, FnArg::Typed(typed) if opaque(&typed.ty).is_some())
    }

    /// The attributes without which the argument is not there.
    pub(crate) fn conditions(&self) -> Vec<&Attribute> {
        match &self.declared {
            FnArg::Typed(typed) => typed.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect(),
            FnArg::Receiver(_) => Vec::new(),
        }
    }
}

/// What an argument is called, `self` included.
fn name(declared: &FnArg) -> Option<Ident> {
    match declared {
        FnArg::Receiver(receiver) => Some(Ident::from(receiver.self_token)),
        FnArg::Typed(typed) => match &*typed.pat {
            Pat::Ident(pattern) if pattern.subpat.is_none() => Some(pattern.ident.clone()),
            _ => None,
        },
    }
}

/// Where an `impl ..` stands in a type, if there is one.
fn opaque(of: &Type) -> Option<Span> {
    struct Opaque(Option<Span>);
    impl VisitMut for Opaque {
        fn visit_type_impl_trait_mut(&mut self, opaque: &mut TypeImplTrait) {
            self.0 = self.0.or(Some(opaque.span()));
        }
    }
    let mut opaque = Opaque(None);
    opaque.visit_type_mut(&mut of.clone());
    opaque.0
}

/// Leaves to the compiler what has no name.
struct Nameless;

impl VisitMut for Nameless {
    fn visit_type_mut(&mut self, of: &mut Type) {
        if matches!(of, Type::ImplTrait(_)) {
            *of = parse_quote!(_);
        } else {
            visit_type_mut(self, of);
        }
    }
}

/// Looks for `Self`, but not in items, which may have one of their own.
struct Own(bool);

impl VisitMut for Own {
    fn visit_path_mut(&mut self, path: &mut Path) {
        self.0 |= path.segments.first().is_some_and(|first| first.ident == "Self");
        syn::visit_mut::visit_path_mut(self, path);
    }

    fn visit_macro_mut(&mut self, called: &mut Macro) {
        let mut all = HashSet::new();
        words(called.tokens.clone(), &mut all);
        self.0 |= all.contains("Self");
    }

    fn visit_item_mut(&mut self, _: &mut Item) {}
}

/// The variable that a plain value begins with: `user` in `user`, `user.id` and `user.id()`.
fn root(value: &Expr) -> Option<Ident> {
    match value {
        Expr::Path(path) if path.qself.is_none() => path.path.get_ident().cloned(),
        Expr::Field(field) => root(&field.base),
        Expr::MethodCall(call) => root(&call.receiver),
        Expr::Paren(inner) => root(&inner.expr),
        Expr::Group(inner) => root(&inner.expr),
        Expr::Reference(inner) => root(&inner.expr),
        Expr::Unary(inner) => root(&inner.expr),
        Expr::Try(inner) => root(&inner.expr),
        Expr::Index(inner) => root(&inner.expr),
        _ => None,
    }
}
