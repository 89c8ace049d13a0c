//! The forms of std's types.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;

use super::{KeyPart, KeyText};

/// `00` to `99`: two digits at a time take half as many divisions.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        #[expect(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "below a hundred, in a constant")]
        {
            pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        }
        number += 1;
    }
    pairs
};

/// Writes a number's digits.
macro_rules! digits {
    ($name:ident, $number:ty, $pairs:literal) => {
        #[inline]
        fn $name(mut number: $number, key: &mut KeyText) {
            let mut digits = [[b'0'; 2]; $pairs];
            let mut first = $pairs;
            for (place, digits) in digits.iter_mut().enumerate().rev() {
                // Below a hundred.
                *digits = usize::try_from(number % 100).ok().and_then(|pair| PAIRS.get(pair)).copied().unwrap_or_default();
                number /= 100;
                first = place;
                if number == 0 {
                    break;
                }
            }
            let digits = digits.as_flattened().get(2 * first..).unwrap_or_default();
            // The first pair may be one digit.
            key.ascii(digits.strip_prefix(b"0").filter(|rest| !rest.is_empty()).unwrap_or(digits));
        }
    };
}

digits!(digits, u64, 10);
digits!(many_digits, u128, 20);

macro_rules! unsigned {
    ($($integer:ty => $digits:ident),*) => {$(
        impl KeyPart for $integer {
            #[inline]
            fn write(&self, key: &mut KeyText) {
                $digits((*self).into(), key);
            }
        }
    )*};
}

macro_rules! signed {
    ($($integer:ty),*) => {$(
        impl KeyPart for $integer {
            #[inline]
            fn write(&self, key: &mut KeyText) {
                if *self < 0 {
                    key.literal("-");
                }
                self.unsigned_abs().write(key);
            }
        }
    )*};
}

macro_rules! non_zero {
    ($($integer:ty),*) => {$(
        impl KeyPart for NonZero<$integer> {
            #[inline]
            fn write(&self, key: &mut KeyText) {
                self.get().write(key);
            }
        }
    )*};
}

unsigned!(u8 => digits, u16 => digits, u32 => digits, u64 => digits, u128 => many_digits);
signed!(i8, i16, i32, i64, i128, isize);
non_zero!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl KeyPart for usize {
    #[inline]
    fn write(&self, key: &mut KeyText) {
        // As wide, or narrower.
        digits(u64::try_from(*self).unwrap_or(u64::MAX), key);
    }
}

impl KeyPart for bool {
    fn write(&self, key: &mut KeyText) {
        key.literal(if *self { "true" } else { "false" });
    }
}

impl KeyPart for f32 {
    fn write(&self, key: &mut KeyText) {
        hex(self.to_bits().into(), 8, key);
    }
}

impl KeyPart for f64 {
    fn write(&self, key: &mut KeyText) {
        hex(self.to_bits(), 16, key);
    }
}

fn hex(bits: u64, digits: usize, key: &mut KeyText) {
    // Nothing that is written to fails.
    let _ = write!(Escaping(key), "{bits:0digits$x}");
}

impl KeyPart for str {
    #[inline]
    fn write(&self, key: &mut KeyText) {
        key.escaped(self);
    }
}

impl KeyPart for String {
    #[inline]
    fn write(&self, key: &mut KeyText) {
        key.escaped(self);
    }
}

impl KeyPart for char {
    fn write(&self, key: &mut KeyText) {
        key.escaped(self.encode_utf8(&mut [0; 4]));
    }
}

impl KeyPart for () {
    fn write(&self, key: &mut KeyText) {
        key.literal("()");
    }
}

impl<P: KeyPart> KeyPart for Option<P> {
    fn write(&self, key: &mut KeyText) {
        self.as_slice().write(key);
    }
}

impl<P: KeyPart> KeyPart for [P] {
    fn write(&self, key: &mut KeyText) {
        let mut before = "(";
        for part in self {
            key.literal(before).part(part);
            before = ",";
        }
        key.literal(if self.is_empty() { "()" } else { ")" });
    }
}

impl<P: KeyPart, const N: usize> KeyPart for [P; N] {
    fn write(&self, key: &mut KeyText) {
        self.as_slice().write(key);
    }
}

impl<P: KeyPart> KeyPart for Vec<P> {
    fn write(&self, key: &mut KeyText) {
        self.as_slice().write(key);
    }
}

macro_rules! tuples {
    ($(($first:ident $(, $rest:ident)*))*) => {$(
        impl<$first: KeyPart $(, $rest: KeyPart)*> KeyPart for ($first, $($rest,)*) {
            fn write(&self, key: &mut KeyText) {
                #[expect(non_snake_case, reason = "each part is called as its type")]
                let ($first, $($rest,)*) = self;
                key.literal("(").part($first);
                $(key.literal(",").part($rest);)*
                key.literal(")");
            }
        }
    )*};
}

tuples! {
    (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) (A, B, C, D, E, F, G) (A, B, C, D, E, F, G, H)
    (A, B, C, D, E, F, G, H, I) (A, B, C, D, E, F, G, H, I, J) (A, B, C, D, E, F, G, H, I, J, K) (A, B, C, D, E, F, G, H, I, J, K, L)
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<P: KeyPart + ?Sized> KeyPart for $pointer {
            #[inline]
            fn write(&self, key: &mut KeyText) {
                (**self).write(key);
            }
        }
    )*};
}

pointers!(&P, Box<P>, Arc<P>, Rc<P>);

impl<P: KeyPart + ToOwned + ?Sized> KeyPart for Cow<'_, P> {
    fn write(&self, key: &mut KeyText) {
        (**self).write(key);
    }
}

macro_rules! addresses {
    ($($address:ty),*) => {$(
        impl KeyPart for $address {
            fn write(&self, key: &mut KeyText) {
                let _ = write!(Escaping(key), "{self}");
            }
        }
    )*};
}

addresses!(IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6);

#[cfg(feature = "uuid")]
impl KeyPart for uuid::Uuid {
    fn write(&self, key: &mut KeyText) {
        key.literal(self.hyphenated().encode_lower(&mut [0; uuid::fmt::Hyphenated::LENGTH]));
    }
}

/// Escapes what is formatted into it; for what is never empty.
struct Escaping<'a>(&'a mut KeyText);

impl std::fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.escaped_slowly(text);
        Ok(())
    }
}
