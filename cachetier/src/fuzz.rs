//! What the fuzzers drive: each function takes any bytes and fails when a law of the wire does. Built for fuzzing alone.

use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::wire::codec::Codec;
use crate::wire::compress::{Compression, Packed, Payload};
use crate::wire::envelope::{self, Writer, open};
use crate::wire::message;

/// What is accepted as a value is written again as it was; also with its checksum mended, which chance does not find.
pub fn envelope(bytes: &[u8]) {
    check_envelope(bytes);
    let mut mended = bytes.to_vec();
    envelope::seal(&mut mended);
    check_envelope(&mended);
}

fn check_envelope(bytes: &[u8]) {
    let Ok(envelope) = open(bytes) else { return };
    let tags: Vec<_> = envelope.tags.clone().collect();
    let again = Writer::begin(envelope.stamp, &envelope.head, &tags, envelope.validator).map(|mut writer| {
        writer.payload().extend_from_slice(envelope.payload);
        writer.finish()
    });
    assert_eq!(again.as_deref(), Ok(bytes));
    let Some(codec) = Codec::of_id(envelope.head.codec) else { return };
    let Ok(payload) = Payload::of(&envelope) else { return };
    let Ok(plain) = payload.plain() else { return };
    assert_eq!(plain.len(), payload.len());
    check_codec::<Value>(codec, &plain);
}

/// What is accepted as a message is written again as it was, but for what was skipped; also behind a good head.
pub fn message(bytes: &[u8]) {
    check_message(bytes);
    let mut whole = b"ct\x01".to_vec();
    whole.extend_from_slice(bytes);
    check_message(&whole);
}

fn check_message(bytes: &[u8]) {
    let Ok(read) = message::read(bytes) else { return };
    let mut again = message::head(read.era, read.previous, read.seq).to_vec();
    again.extend_from_slice(&message::body(&read.targets, read.coming));
    assert_eq!(Some(again), message::without_skipped(bytes));
}

/// What is taken apart has the length that it claims, which is one that it may have; what is compressed is smaller, and taken apart as
/// it was.
pub fn compressed(bytes: &[u8]) {
    for id in [1, 2] {
        // Any bytes behind a good head: the length is their first two, times eight.
        let (length, rest) = bytes.split_at_checked(2).unwrap_or_default();
        let length = length.iter().fold(0_u32, |length, byte| length << 8 | u32::from(*byte)) << 3;
        let payload = [&[id][..], &length.to_be_bytes(), rest].concat();
        for payload in [bytes, &payload] {
            let Ok(packed) = Packed::open(payload) else { continue };
            let Ok(plain) = packed.unpack() else { continue };
            assert!(plain.len() <= (8 << 20).max(1_000 * payload.len()));
        }
    }
    for how in [Compression::Zstd, Compression::Lz4] {
        let Some(payload) = how.pack(bytes) else { continue };
        assert!(payload.len() < bytes.len());
        assert_eq!(Packed::open(&payload).and_then(|packed| packed.unpack()).as_deref(), Ok(bytes));
    }
}

/// What is decoded is encoded, and then decodes to the same. The first byte chooses codec and type.
pub fn codec(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let Some(codec) = Codec::of_id(1 + choice % 4) else { return };
    match choice / 4 % 9 {
        0 => check_codec::<Value>(codec, bytes),
        1 => check_codec::<String>(codec, bytes),
        2 => check_codec::<Vec<u8>>(codec, bytes),
        3 => check_codec::<Vec<Vec<(u16, Option<char>)>>>(codec, bytes),
        4 => check_codec::<BTreeMap<String, Vec<()>>>(codec, bytes),
        5 => check_codec::<HashMap<(), [u64; 32]>>(codec, bytes),
        6 => check_codec::<(i128, f64, Result<bool, Box<str>>)>(codec, bytes),
        7 => check_codec::<Untagged>(codec, bytes),
        _ => check_codec::<Vec<Vec<Vec<Vec<()>>>>>(codec, bytes),
    }
}

fn check_codec<V: Serialize + DeserializeOwned>(codec: Codec, bytes: &[u8]) {
    let Ok(value) = codec.decode::<V>(bytes) else { return };
    let mut first = Vec::new();
    assert_eq!(codec.encode(&value, &mut first), Ok(()));
    assert_eq!(codec.measure(&value), Ok(first.len()));
    // Compared as bytes: a float that is not a number is not equal to itself.
    let mut second = Vec::new();
    let value = codec.decode::<V>(&first);
    assert_eq!(value.and_then(|value| codec.encode(&value, &mut second)), Ok(()));
    assert_eq!(first, second);
}

/// Asks the bytes what they are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Untagged>),
    Map(BTreeMap<String, Untagged>),
}

/// One of each kind of type, nested at will.
#[derive(Debug, Serialize, Deserialize)]
enum Value {
    Unit,
    Number(f32, i64, u128),
    Text(String),
    List(Vec<Value>),
    Map { entries: BTreeMap<String, Value>, rest: Option<Box<Value>> },
}
