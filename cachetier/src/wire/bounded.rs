//! Decoding within bounds: a guard around a codec's deserializer, so that bytes written in malice or by a fault cost no more
//! than honest ones. What the bytes mean stays the codec's.
//!
//! A length in the bytes is a claim. The guard
//! - borrows text and bytes from the input, so that a codec cannot allocate what is claimed before it looks whether it is there;
//! - lets no more elements be reserved, in all of a value, than the input has bytes;
//! - lets no more elements be read than the input has bytes, but for a few that take none (an honest one takes one or more);
//! - refuses nesting that could exhaust the stack.
//!
//! What is left is the type's own ratio: an element can take more bytes in memory than on the wire.
//!
//! What runs once an element is marked inline: without it, sequences of small numbers take three times as long with bincode.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};

use crate::wire::codec::CodecError;

/// How deep a value may nest; each option, newtype, tuple, sequence, map, struct and enum is one level. As deep as `serde_json`
/// goes, which is known to fit the stack of a runtime's worker.
pub(super) const MAX_DEPTH: u32 = 128;
/// How many elements that take no byte (such as `()`) one value may hold.
pub(super) const FREE_ELEMENTS: usize = 4_096;

/// Reads a value that takes all of `bytes`. `decode` runs the seed on a codec and says how many bytes it left.
pub(super) fn read<V, E>(
    bytes: &[u8],
    decode: impl FnOnce(Guard<'_, PhantomData<V>>) -> Result<(V, usize), E>,
) -> Result<V, CodecError>
where
    V: DeserializeOwned,
    E: fmt::Display,
{
    let budget = Budget {
        elements: Cell::new(bytes.len().saturating_add(FREE_ELEMENTS)),
        reserve: Cell::new(bytes.len()),
        exceeded: Cell::new(None),
    };
    match decode(Guard { inner: PhantomData, budget: &budget, depth: 0, length: Length::OfType }) {
        Ok((value, 0)) => Ok(value),
        Ok((_, left)) => Err(CodecError::new(format_args!("{left} bytes are left behind the value"))),
        // The guard's own reason first: some codecs keep no message but their own.
        Err(error) => Err(budget.exceeded.get().map_or_else(|| CodecError::new(error), CodecError::new)),
    }
}

/// What one value may still take.
#[derive(Debug)]
struct Budget {
    elements: Cell<usize>,
    reserve: Cell<usize>,
    exceeded: Cell<Option<&'static str>>,
}

impl Budget {
    fn refuse<E: Error>(&self, why: &'static str) -> E {
        self.exceeded.set(Some(why));
        E::custom(why)
    }

    #[inline]
    fn take_element<E: Error>(&self) -> Result<(), E> {
        let left = self.elements.get().checked_sub(1);
        self.elements.set(left.ok_or_else(|| self.refuse("the value claims more elements than its bytes can hold"))?);
        Ok(())
    }

    fn take_reserve(&self, hint: usize) -> usize {
        let granted = hint.min(self.reserve.get());
        self.reserve.set(self.reserve.get() - granted);
        granted
    }
}

/// Who says how many elements there are.
#[derive(Clone, Copy, Debug)]
enum Length {
    /// The type, as with tuples and structs: nothing to distrust.
    OfType,
    /// The bytes.
    Claimed,
}

/// Stands around each thing that serde hands from one side to the other, and hands itself on.
#[derive(Debug)]
pub(super) struct Guard<'b, T> {
    inner: T,
    budget: &'b Budget,
    depth: u32,
    length: Length,
}

impl<'b, T> Guard<'b, T> {
    /// The same guard around something else.
    #[inline]
    fn around<U>(&self, inner: U) -> Guard<'b, U> {
        Guard { inner, budget: self.budget, depth: self.depth, length: self.length }
    }

    /// The guard of `visitor` one level down, and what it is to visit.
    fn enter<V, E: Error>(self, visitor: V, length: Length) -> Result<(T, Guard<'b, V>), E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.budget.refuse("the value nests too deep"));
        }
        let visitor = Guard { inner: visitor, budget: self.budget, depth: self.depth + 1, length };
        Ok((self.inner, visitor))
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Guard<'_, T> {
    type Value = T::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<T::Value, D::Error> {
        let source = self.around(source);
        self.inner.deserialize(source)
    }
}

/// What holds nothing further needs no guard.
macro_rules! leaves {
    ($($method:ident => $inner:ident)*) => { $(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$inner(visitor)
        }
    )* };
}

/// What may hold as many further values as the bytes say.
macro_rules! nests {
    ($($method:ident => $inner:ident)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            let (source, visitor) = self.enter(visitor, Length::Claimed)?;
            source.$inner(visitor)
        }
    )* };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guard<'_, D> {
    type Error = D::Error;

    leaves! {
        deserialize_bool => deserialize_bool
        deserialize_i8 => deserialize_i8
        deserialize_i16 => deserialize_i16
        deserialize_i32 => deserialize_i32
        deserialize_i64 => deserialize_i64
        deserialize_i128 => deserialize_i128
        deserialize_u8 => deserialize_u8
        deserialize_u16 => deserialize_u16
        deserialize_u32 => deserialize_u32
        deserialize_u64 => deserialize_u64
        deserialize_u128 => deserialize_u128
        deserialize_f32 => deserialize_f32
        deserialize_f64 => deserialize_f64
        deserialize_char => deserialize_char
        deserialize_str => deserialize_str
        // Written the same way; borrowed, because an owned one may be allocated before its length is checked.
        deserialize_string => deserialize_str
        deserialize_unit => deserialize_unit
        deserialize_identifier => deserialize_identifier
    }

    nests! {
        // JSON has no bytes: it reads them as a sequence.
        deserialize_bytes => deserialize_bytes
        deserialize_byte_buf => deserialize_bytes
        deserialize_seq => deserialize_seq
        deserialize_map => deserialize_map
        // Only codecs that describe themselves answer these; what they find may be anything.
        deserialize_any => deserialize_any
        deserialize_ignored_any => deserialize_ignored_any
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let (source, visitor) = self.enter(visitor, Length::OfType)?;
        source.deserialize_option(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        let (source, visitor) = self.enter(visitor, Length::OfType)?;
        source.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        let (source, visitor) = self.enter(visitor, Length::OfType)?;
        source.deserialize_tuple(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, name: &'static str, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        let (source, visitor) = self.enter(visitor, Length::OfType)?;
        source.deserialize_tuple_struct(name, len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let (source, visitor) = self.enter(visitor, Length::OfType)?;
        source.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let (source, visitor) = self.enter(visitor, Length::OfType)?;
        source.deserialize_enum(name, variants, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// What was asked for as anything, and holds nothing further.
macro_rules! plain {
    ($($method:ident: $kind:ty)*) => { $(
        fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )* };
}

/// Guards what holds further values, and passes on what does not.
impl<'de, V: Visitor<'de>> Visitor<'de> for Guard<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    plain! {
        visit_bool: bool
        visit_i8: i8
        visit_i16: i16
        visit_i32: i32
        visit_i64: i64
        visit_i128: i128
        visit_u8: u8
        visit_u16: u16
        visit_u32: u32
        visit_u64: u64
        visit_u128: u128
        visit_f32: f32
        visit_f64: f64
        visit_char: char
        visit_str: &str
        visit_borrowed_str: &'de str
        visit_string: String
        visit_bytes: &[u8]
        visit_borrowed_bytes: &'de [u8]
        visit_byte_buf: Vec<u8>
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<V::Value, D::Error> {
        let source = self.around(source);
        self.inner.visit_some(source)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, source: D) -> Result<V::Value, D::Error> {
        let source = self.around(source);
        self.inner.visit_newtype_struct(source)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let elements = Elements::of(access.size_hint(), self.around(access));
        self.inner.visit_seq(elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let elements = Elements::of(access.size_hint(), self.around(access));
        self.inner.visit_map(elements)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.around(access);
        self.inner.visit_enum(access)
    }
}

/// Hands out elements, and counts those whose number the bytes claim.
struct Elements<'b, A> {
    access: Guard<'b, A>,
    hint: Option<usize>,
}

impl<'b, A> Elements<'b, A> {
    fn of(hint: Option<usize>, access: Guard<'b, A>) -> Self {
        let hint = match access.length {
            Length::OfType => hint,
            Length::Claimed => hint.map(|hint| access.budget.take_reserve(hint)),
        };
        Self { access, hint }
    }

    /// Counts an element that was read; the end of them is none.
    #[inline]
    fn counted<T, E: Error>(&self, element: Option<T>) -> Result<Option<T>, E> {
        if element.is_some() && matches!(self.access.length, Length::Claimed) {
            self.access.budget.take_element()?;
        }
        Ok(element)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let seed = self.access.around(seed);
        let element = self.access.inner.next_element_seed(seed)?;
        self.counted(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let seed = self.access.around(seed);
        let key = self.access.inner.next_key_seed(seed)?;
        self.counted(key)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.access.around(seed);
        self.access.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Guard<'b, A> {
    type Error = A::Error;
    type Variant = Guard<'b, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), A::Error> {
        let Self { inner, budget, depth, length } = self;
        let (value, variant) = inner.variant_seed(seed)?;
        Ok((value, Guard { inner: variant, budget, depth, length }))
    }
}

/// A variant's fields are of the enum's own level, and as many as its type says.
impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.around(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
