//! A body that may outlive its call: it is given its own of what the function borrows.

use proc_macro2::{Group, Ident, Literal, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::visit_mut::{VisitMut, visit_expr_path_mut};
use syn::{Error, ExprPath, FnArg, Item, LitStr, Macro, Pat, Path, Signature, Type, TypeReference};

use crate::function::{Argument, Function};

/// What a borrowed `self` is called in such a body, where `self` cannot be given a value.
const SELF: &str = "__self";

/// Fails if the function borrows something that nobody else may have meanwhile.
pub(crate) fn check(function: &Function) -> Result<(), Error> {
    for argument in &function.arguments {
        if let Some(TypeReference { mutability: Some(exclusive), .. }) = borrowed(argument) {
            let why = "what is `detached` may go on when the call is over, and cannot have this for so long; take it by value";
            return Err(Error::new(exclusive.span, why));
        }
        if argument.name.is_none() && borrowed(argument).is_some() {
            let why = "what is `detached` is given its own of what it borrows, by name; take this apart in the body";
            return Err(Error::new(argument.declared.span(), why));
        }
    }
    Ok(())
}

/// Leaves it to the body to put something else in the place of a borrowed argument: it is the body's own by then.
pub(crate) fn sign(signature: &mut Signature) {
    for declared in &mut signature.inputs {
        if let FnArg::Typed(typed) = declared
            && reference(&typed.ty).is_some()
            && let Pat::Ident(pattern) = &mut *typed.pat
        {
            pattern.mutability = None;
        }
    }
}

/// What makes such a body: a closure, so that nothing is cloned for a body that is not needed.
pub(crate) fn body(function: &Function, krate: &Path, body: impl FnOnce(&Function) -> TokenStream) -> TokenStream {
    let mut function = function.clone();
    let (mut kept, mut lent) = (TokenStream::new(), TokenStream::new());
    for argument in function.arguments.iter().filter(|argument| borrowed(argument).is_some()) {
        let (Some(name), conditions) = (&argument.name, argument.conditions()) else { continue };
        let own = if argument.is_receiver() { Ident::new(SELF, name.span()) } else { name.clone() };
        let (span, changed) = (argument.declared.span(), changed(argument));
        kept.extend(quote_spanned! { span => #(#conditions)* let #own = #krate::attribute::kept(#name); });
        // Some are there for the key alone.
        lent.extend(quote! { #(#conditions)* #[allow(unused_variables, unused_mut)] let #changed #own = #own.lent(); });
        if argument.is_receiver() {
            Renamed.visit_block_mut(&mut function.item.block);
        }
    }
    let body = body(&function);
    quote! { move || { #kept async move { #lent #body.await } } }
}

/// `mut`, where the body may put something else in the place of an argument.
fn changed(argument: &Argument) -> Option<syn::Token![mut]> {
    match &argument.declared {
        FnArg::Typed(typed) => match &*typed.pat {
            Pat::Ident(pattern) => pattern.mutability,
            _ => None,
        },
        FnArg::Receiver(_) => None,
    }
}

/// The type of an argument that is a reference, and not one that lasts for ever.
fn borrowed(argument: &Argument) -> Option<TypeReference> {
    reference(match &argument.declared {
        FnArg::Receiver(receiver) => &receiver.ty,
        FnArg::Typed(typed) => &typed.ty,
    })
}

fn reference(mut of: &Type) -> Option<TypeReference> {
    loop {
        match of {
            Type::Reference(reference) => {
                let lasts = reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static");
                return (!lasts).then(|| reference.clone());
            }
            Type::Group(inner) => of = &inner.elem,
            Type::Paren(inner) => of = &inner.elem,
            _ => return None,
        }
    }
}

/// Calls `self` by its other name, but not in items, which may have one of their own.
struct Renamed;

impl VisitMut for Renamed {
    fn visit_expr_path_mut(&mut self, path: &mut ExprPath) {
        if path.qself.is_none()
            && let Some(name) = path.path.get_ident()
            && name == "self"
        {
            path.path = Path::from(Ident::new(SELF, name.span()));
        }
        visit_expr_path_mut(self, path);
    }

    fn visit_macro_mut(&mut self, called: &mut Macro) {
        called.tokens = renamed(std::mem::take(&mut called.tokens));
    }

    fn visit_item_mut(&mut self, _: &mut Item) {}
}

/// The same in what a macro is given: there `self` may also begin a path.
fn renamed(tokens: TokenStream) -> TokenStream {
    let mut tokens = tokens.into_iter().peekable();
    std::iter::from_fn(|| {
        Some(match tokens.next()? {
            TokenTree::Ident(name) if name == "self" && !tokens.peek().is_some_and(is_colon) => {
                Ident::new(SELF, name.span()).into()
            }
            TokenTree::Group(group) => {
                let mut inside = Group::new(group.delimiter(), renamed(group.stream()));
                inside.set_span(group.span());
                inside.into()
            }
            TokenTree::Literal(literal) => formatted(literal),
            other => other,
        })
    })
    .collect()
}

/// The same in the braces of text that a macro formats.
fn formatted(literal: Literal) -> TokenTree {
    let Ok(text) = syn::parse2::<LitStr>(TokenTree::from(literal.clone()).into()) else { return literal.into() };
    let (before, named) = (text.value(), [("{self}", "{__self}"), ("{self:", "{__self:")]);
    let after = named.iter().fold(before.clone(), |text, (own, other)| text.replace(own, other));
    if after == before {
        return literal.into();
    }
    let mut after = Literal::string(&after);
    after.set_span(literal.span());
    after.into()
}

fn is_colon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':')
}
