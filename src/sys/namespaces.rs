//! Sets of namespaces, as clone3(2), unshare(2) and setns(2) take them.

use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};
use std::ops::BitOr;

/// A set of namespaces, as CLONE_NEW… bits (namespaces(7)). clone3 takes the bits as an
/// unsigned 64-bit number. unshare and setns take them as an int.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NsFlags(u32);

impl NsFlags {
    pub const NONE: NsFlags = NsFlags(0);
    /// CLONE_NEWTIME, which libc lacks.
    pub const TIME: NsFlags = NsFlags(0x80);

    /// Returns the set with one of libc's CLONE_NEW… bits.
    pub const fn new(flag: libc::c_int) -> NsFlags {
        NsFlags(flag.cast_unsigned())
    }

    pub fn is_none(self) -> bool {
        self == NsFlags::NONE
    }

    /// Whether all of `others` are in this set.
    pub fn has(self, others: NsFlags) -> bool {
        self.0 & others.0 == others.0
    }

    pub fn without(self, others: NsFlags) -> NsFlags {
        NsFlags(self.0 & !others.0)
    }

    /// Returns this set if `is` is true, or the empty set.
    pub fn only_if(self, is: bool) -> NsFlags {
        if is { self } else { NsFlags::NONE }
    }

    /// Returns the bits for clone3.
    pub fn for_clone(self) -> u64 {
        self.0.into()
    }

    /// Returns the bits for unshare and setns.
    pub fn for_setns(self) -> CloneFlags {
        CloneFlags::from_bits_retain(self.0.cast_signed())
    }
}

impl BitOr for NsFlags {
    type Output = NsFlags;

    fn bitor(self, other: NsFlags) -> NsFlags {
        NsFlags(self.0 | other.0)
    }
}

impl FromIterator<NsFlags> for NsFlags {
    fn from_iter<I: IntoIterator<Item = NsFlags>>(flags: I) -> NsFlags {
        flags.into_iter().fold(NsFlags::NONE, NsFlags::bitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_have_the_same_bits() {
        let flags = NsFlags::new(libc::CLONE_NEWUSER) | NsFlags::TIME;
        assert_eq!(flags.for_clone(), 0x1000_0080);
        assert_eq!(flags.for_setns().bits(), 0x1000_0080);
        assert!(flags.has(NsFlags::TIME) && !flags.without(NsFlags::TIME).has(NsFlags::TIME));
    }
}
