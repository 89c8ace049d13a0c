//! The code that writes a key, a tag or a prefix.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, Expr, GenericParam, Path};

use crate::function::{Argument, Function};
use crate::options::{Cached, Companions, KeyForm, Text};
use crate::template::{Piece, Template};

/// Where the code of a key stands: from there the function's name is found by the path of what stands beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Site {
    /// In the function itself, or in a function beside it.
    Function,
    /// In a function of the module of companions.
    Module,
}

/// What the key of a function is made of.
#[derive(Clone)]
pub(crate) struct Key<'a> {
    function: &'a Function,
    options: &'a Cached,
    /// In the form without a template: the arguments that are parts.
    parts: Vec<Argument>,
}

impl<'a> Key<'a> {
    /// Checks what the key is to be made of.
    pub(crate) fn of(function: &'a Function, options: &'a Cached) -> Result<Self, Error> {
        let mut parts = Vec::new();
        match &options.key {
            KeyForm::Template(template) => template.values().try_for_each(|value| function.check_value(value))?,
            KeyForm::Arguments { skip } => {
                function.check_skipped(skip)?;
                for argument in &function.arguments {
                    let Some(name) = &argument.name else {
                        let why = "this argument has no name, and is to be a part of the key; give it one and take it apart in the body, or \
                                   say what the key is: `key = \"..\"`";
                        return Err(Error::new(argument.declared.span(), why));
                    };
                    if !skip.contains(name) {
                        parts.push(argument.clone());
                    }
                }
            }
        }
        Ok(Self { function, options, parts })
    }

    /// The arguments that are parts because none is named.
    pub(crate) fn parts(&self) -> &[Argument] {
        &self.parts
    }

    /// The expressions of its template.
    pub(crate) fn values(&self) -> impl Iterator<Item = &'a Expr> + use<'a> {
        self.options.key.values()
    }

    /// The expression that is the key's text.
    pub(crate) fn code(&self, site: Site) -> TokenStream {
        let statements = self.statements(site);
        quote! {{ #statements __key }}
    }

    /// The statements that make `__key` the key's text: in its place, for moving it would cost more than writing it.
    pub(crate) fn statements(&self, site: Site) -> TokenStream {
        let krate = &self.options.place.krate;
        let group = self.options.group.as_ref();
        let mut items = TokenStream::new();
        let mut writes = TokenStream::new();
        match &self.options.key {
            KeyForm::Template(template) => {
                if let Some(group) = group {
                    let begin = format!("{group}:");
                    writes.extend(quote! { __key.literal(#begin); });
                }
                writes.extend(pieces(template, self.function));
            }
            KeyForm::Arguments { .. } => {
                if let Some(group) = group {
                    writes.extend(quote! { __key.literal(#group); });
                    if self.function.is_of_type {
                        writes.extend(quote! { #krate::attribute::self_of_group::<Self, _>(&mut __key, &|| ()); });
                    } else if self.may_be_of_type() {
                        items = quote! { fn __here() {} };
                        writes.extend(quote! { #krate::attribute::place_of_group(&mut __key, &__here, &|| ()); });
                    }
                } else {
                    let name = syn::ext::IdentExt::unraw(&self.function.item.sig.ident).to_string();
                    let above = match site {
                        Site::Function => 0_usize,
                        Site::Module => 1,
                    };
                    items = quote! {
                        fn __here() {}
                        static __NAME: ::std::sync::LazyLock<#krate::attribute::Name> =
                            ::std::sync::LazyLock::new(|| #krate::attribute::Name::of(&__here, #above, #name));
                    };
                    writes.extend(quote! { __key.literal(__NAME.text()); });
                    if self.may_be_of_type() {
                        writes.extend(quote! { __NAME.of_place(&mut __key, &|| ()); });
                    }
                }
                writes.extend(self.generics());
                for part in &self.parts {
                    let Some(name) = &part.name else { continue };
                    let span = here(part.declared.span());
                    let write = quote_spanned! { span => __key.part(&#name); };
                    writes.extend(part.if_there(quote! { __key.literal(":"); #write }));
                }
            }
        }
        if let Some(version) = &self.options.version {
            let end = format!("#{version}");
            writes.extend(quote! { __key.literal(#end); });
        }
        quote! {
            #items
            let mut __key = #krate::KeyText::new();
            #writes
        }
    }

    /// The type parameters, those without a name included: calls that differ in them differ in what they load.
    fn generics(&self) -> TokenStream {
        let krate = &self.options.place.krate;
        let parameters = self.function.item.sig.generics.params.iter();
        let writes = parameters.filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => {
                let name = &parameter.ident;
                Some(quote! { __key.literal(":").part(#krate::attribute::type_name::<#name>()); })
            }
            GenericParam::Const(parameter) => {
                let name = &parameter.ident;
                Some(quote! { __key.literal(":").part(&#name); })
            }
            GenericParam::Lifetime(_) => None,
        });
        let nameless = self.function.arguments.iter().filter(|argument| argument.is_nameless()).map(|argument| {
            let name = &argument.name;
            argument.if_there(quote! { __key.literal(":").part(#krate::attribute::type_name_of(&#name)); })
        });
        quote! { #(#writes)* #(#nameless)* }
    }

    /// Whether the function may be one of a type: a free function alone has a module of companions.
    fn may_be_of_type(&self) -> bool {
        self.function.is_of_type || matches!(self.options.companions, Companions::None)
    }
}

impl Argument {
    /// Code that is there if the argument is.
    fn if_there(&self, code: TokenStream) -> TokenStream {
        let conditions = self.conditions();
        if conditions.is_empty() {
            code
        } else {
            quote! { #(#conditions)* { #code } }
        }
    }
}

/// A list of texts, each as a `String`.
pub(crate) fn texts(texts: &[Text], function: &Function, krate: &Path) -> TokenStream {
    let texts = texts.iter().map(|text| match text {
        Text::Template(template) => {
            if let [Piece::Literal(text)] = template.pieces.as_slice() {
                return quote! { ::std::string::String::from(#text) };
            }
            let writes = pieces(template, function);
            quote! {{
                let mut __key = #krate::KeyText::new();
                #writes
                ::std::string::String::from(__key)
            }}
        }
        Text::Told(value) => quote_spanned! { here(value.span()) => #krate::attribute::text(&(#value)) },
    });
    quote! { ::std::vec![#(#texts),*] }
}

fn pieces(template: &Template, function: &Function) -> TokenStream {
    let writes = template.pieces.iter().map(|piece| match piece {
        Piece::Literal(text) => quote! { __key.literal(#text); },
        // At the value's own place: an error about its type stands there.
        Piece::Value(value) => {
            let meant = function.meant(value.to_token_stream());
            quote_spanned! { here(value.span()) => __key.part(&(#meant)); }
        }
    });
    quote! { #(#writes)* }
}

/// The place, with our own names: those in a span that a macro has brought along would be others.
fn here(span: Span) -> Span {
    span.resolved_at(Span::call_site())
}
