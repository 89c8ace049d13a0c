//! Reading fields off the front of bytes; all integers on the wire are big-endian.
//! What the fields mean is the business of the envelope and of the lane's messages.

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// Takes a field whose length the layout fixes; `None` if the bytes end before it does.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    /// Takes a field whose length the bytes told.
    pub(super) fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u48(&mut self) -> Option<u64> {
        self.array().map(|[a, b, c, d, e, f]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// The lower 48 bits of a number, as they stand on the wire.
pub(super) fn u48(number: u64) -> [u8; 6] {
    let [_, _, lower @ ..] = number.to_be_bytes();
    lower
}
