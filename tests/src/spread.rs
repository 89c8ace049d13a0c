//! Where a namespace is in a Cluster, computed as `docs/wire.md` says and not by the code under test.

use crate::Over;

/// How many parts a namespace has where this run has its servers.
#[must_use]
pub fn parts() -> usize {
    if Over::chosen() == Over::Cluster { PARTS } else { 1 }
}

/// Keys that begin like this and belong to the part of the key `k`.
pub fn beside_k(start: &str) -> impl Iterator<Item = String> {
    (0..).map(move |n| format!("{start}{n}")).filter(|key| parts() == 1 || part_of(key) == part_of("k"))
}

/// A key of each part.
#[must_use]
pub fn one_of_each_part() -> Vec<String> {
    let key = |part| (0..1_000).map(|n| format!("part:{n}")).find(|key| parts() == 1 || part_of(key) == part);
    (0..parts()).filter_map(key).collect()
}

/// How many parts a namespace has in a Cluster.
pub const PARTS: usize = 6;

/// Which part a key belongs to.
#[must_use]
pub fn part_of(key: &str) -> usize {
    let mut hash = 0_u64;
    for chunk in key.as_bytes().chunks(8) {
        let number = chunk.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        hash = (hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    usize::try_from((hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 6).unwrap_or_default()
}

/// What stands between the braces of all names of a part.
#[must_use]
pub fn name_of_part(namespace: &str, part: usize) -> String {
    let name = |number: usize| format!("{namespace}.{number}");
    (0..10_000).map(name).find(|name| slot(name.as_bytes()) * 6 / 16_384 == part).unwrap_or_default()
}

/// The name of a value.
#[must_use]
pub fn name_in_cluster(namespace: &str, key: &str) -> String {
    format!("ct:{{{}}}:v:{key}", name_of_part(namespace, part_of(key)))
}

/// The names of the lanes.
pub fn lanes_in_cluster(namespace: &str) -> impl Iterator<Item = String> {
    (0..PARTS).map(move |part| format!("ct:{{{}}}:lane", name_of_part(namespace, part)))
}

fn slot(bytes: &[u8]) -> usize {
    let mut crc = 0_u16;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    usize::from(crc) % 16_384
}
