//! Values that flags and files have in common.

use clap::ValueEnum;
use serde::Deserialize;

use super::Size;
use crate::arch::layout::{MAX_VCPUS, MIN_RAM, RamLayout};
use crate::memory::PAGE_SIZE;

/// How a guest's hypercalls shall travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TransportChoice {
    /// The Xen-style hypercall where this KVM can intercept it, else the port.
    #[default]
    Auto,
    /// The Xen-style hypercall (`vmcall`, `vmmcall`).
    Xen,
    /// The I/O port.
    Port,
}

/// How the store keeps pages once they are no longer young.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CodecChoice {
    /// As they are.
    Raw,
    /// LZ4, in the background.
    #[default]
    Lz4,
    /// Zstandard, in the background.
    Zstd,
    /// LZ4, and Zstandard for the coldest pages when room is short.
    Auto,
}

impl From<CodecChoice> for tmem_core::Codec {
    fn from(choice: CodecChoice) -> Self {
        match choice {
            CodecChoice::Raw => Self::Raw,
            CodecChoice::Lz4 => Self::Lz4,
            CodecChoice::Zstd => Self::Zstd,
            CodecChoice::Auto => Self::Auto,
        }
    }
}

/// What guests may fill with pages that others are owed room for and do not use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LendingChoice {
    /// Ephemeral pages, which go when the room is wanted; persistent ones of a guest end at its share.
    #[default]
    Ephemeral,
    /// Persistent pages as well, but for what is reserved: for guests that take turns.
    Persistent,
}

impl From<LendingChoice> for tmem_core::Lending {
    fn from(choice: LendingChoice) -> Self {
        match choice {
            LendingChoice::Ephemeral => Self::Ephemeral,
            LendingChoice::Persistent => Self::Persistent,
        }
    }
}

/// Kinds of pools that a guest may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PoolKind {
    /// Pages stay until flushed: for swap.
    Persistent,
    /// Pages may be evicted: for clean page cache.
    Ephemeral,
}

/// Looks whether a guest can have so many vCPUs.
///
/// # Errors
/// When there is no such guest.
pub fn check_vcpus(vcpus: u32) -> Result<(), String> {
    match vcpus {
        1..=MAX_VCPUS => Ok(()),
        _ => Err(format!("a guest has 1 to {MAX_VCPUS} vCPUs")),
    }
}

/// Looks whether a guest of `memory` can be asked to put `target` bytes into its balloon.
///
/// # Errors
/// When they are no whole pages, or leave less than the least memory a guest may have.
pub fn check_balloon(target: u64, memory: &RamLayout) -> Result<(), String> {
    if !target.is_multiple_of(PAGE_SIZE as u64) {
        return Err("a balloon holds whole pages of 4 KiB: give its size in MiB, such as 16M".into());
    }
    let most = memory.size() - MIN_RAM;
    if target > most {
        let (least, most) = (Size(MIN_RAM), Size(most));
        return Err(format!(
            "a guest keeps at least {least} for itself: here its balloon holds at most {most}"
        ));
    }
    Ok(())
}

/// Reads a 128-bit uuid: 32 hexadecimal digits, with or without dashes. The first half is the ABI's first word.
///
/// # Errors
/// When it is anything else.
pub fn parse_uuid(text: &str) -> Result<[u64; 2], String> {
    let bad = || format!("`{text}` is not a uuid of 32 hexadecimal digits");
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let value = u128::from_str_radix(&digits, 16).map_err(|_| bad())?;
    Ok([(value >> 64) as u64, value as u64])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_when_well_formed_are_two_words() {
        let words = [0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff];
        assert_eq!(parse_uuid("00112233-4455-6677-8899-aabbccddeeff"), Ok(words));
        assert!(parse_uuid("00112233").is_err());
        assert!(parse_uuid("+0112233-4455-6677-8899-aabbccddeeff").is_err());
    }
}
