//! System calls by name, and their numbers on every architecture.
//!
//! Only the compiler uses the table in `table.rs`. The tables in the binary have no
//! pointers, which the loader would have to relocate at every start. They are: all names
//! in one string, the ends of the names, a hash table over the names, and a column of
//! numbers for each architecture.

use super::arch::Arch;
use super::table::{COLUMNS, NONE, PRIVATE, ROWS};

const CALLS: usize = ROWS.len();

/// A system call: its index in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call(u16);

impl Call {
    /// Returns the call with this name. `None`: no architecture has such a call.
    pub fn find(name: &str) -> Option<Call> {
        let mut slot = hash(name.as_bytes()) & MASK;
        loop {
            let call = SLOTS[slot];
            if call == EMPTY {
                return None;
            }
            if Call(call).name() == name {
                return Some(Call(call));
            }
            slot = (slot + 1) & MASK;
        }
    }

    /// Returns the name of the call.
    pub fn name(self) -> &'static str {
        let at = usize::from(self.0);
        let start = if at == 0 { 0 } else { ENDS[at - 1] };
        std::str::from_utf8(&NAMES[usize::from(start)..usize::from(ENDS[at])]).unwrap_or_default()
    }

    /// Returns the number as the kernel sees it. `None`: `arch` does not have the call.
    pub fn number(self, arch: Arch) -> Option<u32> {
        let facts = arch.facts();
        match NUMBERS[facts.column as usize][usize::from(self.0)] {
            NONE => None,
            private if private >= PRIVATE => Some(0xf_0000 + u32::from(private - PRIVATE)),
            number => Some(facts.base + u32::from(number)),
        }
    }

    /// Returns socketcall(2) or ipc(2) if the kernel multiplexes this call through it,
    /// with the first argument that stands for this call (linux/net.h, linux/ipc.h). Only
    /// some architectures have these two calls ([`Arch::has_multiplexed_calls`]).
    pub fn multiplexed(self) -> Option<(Call, u64)> {
        match MULTIPLEXED_BY[usize::from(self.0)] {
            0 => None,
            ipc if ipc >= IPC => Some((Call::find("ipc")?, u64::from(ipc - IPC))),
            socket => Some((Call::find("socketcall")?, u64::from(socket))),
        }
    }

    /// Returns every call of the table.
    pub fn all() -> impl Iterator<Item = Call> {
        (0..CALLS).filter_map(|at| u16::try_from(at).ok()).map(Call)
    }
}

/// The calls of socketcall(2). The first one has the number 1.
const SOCKET_CALLS: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// The calls of ipc(2). The rows have the numbers from 1, 11 and 21 on.
const IPC_CALLS: [[&str; 4]; 3] = [
    ["semop", "semget", "semctl", "semtimedop"],
    ["msgsnd", "msgrcv", "msgget", "msgctl"],
    ["shmat", "shmdt", "shmget", "shmctl"],
];

/// The offset of the numbers of ipc(2) in [`MULTIPLEXED_BY`].
const IPC: u8 = 100;

const NAMES_LEN: usize = names_len();
static NAMES: [u8; NAMES_LEN] = names();
static ENDS: [u16; CALLS] = ends();
static NUMBERS: [[u16; CALLS]; COLUMNS] = numbers();

/// The number that stands for each call in socketcall(2) or ipc(2), and 0 for all other
/// calls.
static MULTIPLEXED_BY: [u8; CALLS] = multiplexed_by();

/// The hash table has at least twice as many slots as calls, so that a search ends soon.
const MASK: usize = CALLS.next_power_of_two() * 2 - 1;
const EMPTY: u16 = u16::MAX;
static SLOTS: [u16; MASK + 1] = slots();

const fn names_len() -> usize {
    let (mut len, mut at) = (0, 0);
    while at < CALLS {
        len += ROWS[at].0.len();
        at += 1;
    }
    len
}

const fn names() -> [u8; NAMES_LEN] {
    let mut out = [0; NAMES_LEN];
    let (mut len, mut at) = (0, 0);
    while at < CALLS {
        let name = ROWS[at].0.as_bytes();
        let mut byte = 0;
        while byte < name.len() {
            out[len] = name[byte];
            len += 1;
            byte += 1;
        }
        at += 1;
    }
    out
}

#[expect(clippy::cast_possible_truncation, reason = "evaluated by the compiler; all names are 6 kB")]
const fn ends() -> [u16; CALLS] {
    let mut out = [0; CALLS];
    let (mut len, mut at) = (0, 0);
    while at < CALLS {
        len += ROWS[at].0.len();
        out[at] = len as u16;
        at += 1;
    }
    out
}

const fn numbers() -> [[u16; CALLS]; COLUMNS] {
    let mut out = [[NONE; CALLS]; COLUMNS];
    let mut at = 0;
    while at < CALLS {
        let mut column = 0;
        while column < COLUMNS {
            out[column][at] = ROWS[at].1[column];
            column += 1;
        }
        at += 1;
    }
    out
}

#[expect(clippy::cast_possible_truncation, reason = "evaluated by the compiler; there are 508 calls")]
const fn slots() -> [u16; MASK + 1] {
    let mut out = [EMPTY; MASK + 1];
    let mut at = 0;
    while at < CALLS {
        let mut slot = hash(ROWS[at].0.as_bytes()) & MASK;
        while out[slot] != EMPTY {
            slot = (slot + 1) & MASK;
        }
        out[slot] = at as u16;
        at += 1;
    }
    out
}

#[expect(clippy::cast_possible_truncation, reason = "evaluated by the compiler; all are below 200")]
const fn multiplexed_by() -> [u8; CALLS] {
    let mut out = [0; CALLS];
    let mut at = 0;
    while at < SOCKET_CALLS.len() {
        out[find_row(SOCKET_CALLS[at])] = at as u8 + 1;
        at += 1;
    }
    let mut at = 0;
    while at < 12 {
        out[find_row(IPC_CALLS[at / 4][at % 4])] = IPC + (at / 4 * 10 + at % 4) as u8 + 1;
        at += 1;
    }
    out
}

/// Returns the index of a name in the table.
const fn find_row(name: &str) -> usize {
    let mut at = 0;
    while !is_equal(name.as_bytes(), ROWS[at].0.as_bytes()) {
        at += 1;
    }
    at
}

const fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// FNV-1a.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut byte = 0;
    while byte < name.len() {
        hash = (hash ^ name[byte] as u32).wrapping_mul(0x0100_0193);
        byte += 1;
    }
    (hash ^ (hash >> 15)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str, arch: Arch) -> Option<u32> {
        Call::find(name).expect("a known call").number(arch)
    }

    #[test]
    fn every_name_finds_itself() {
        for call in Call::all() {
            assert_eq!(Call::find(call.name()), Some(call));
        }
        for unknown in ["", "reads", "READ", "no_such_call"] {
            assert_eq!(Call::find(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(number("read", Arch::X86_64), Some(0));
        assert_eq!(number("clone3", Arch::X86), Some(435));
        assert_eq!(number("ioctl", Arch::X32), Some(0x4000_0000 + 514));
        assert_eq!(number("read", Arch::Mips), Some(4003));
        assert_eq!(number("read", Arch::Mipsel64N32), Some(6000));
        assert_eq!(number("set_tls", Arch::Arm), Some(0xf_0005));
        assert_eq!(number("open", Arch::Aarch64), None);
    }

    /// Compares with the numbers that libc has for this machine.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_are_libcs() {
        for (name, libcs_number) in [
            ("openat2", libc::SYS_openat2),
            ("seccomp", libc::SYS_seccomp),
            ("futex", libc::SYS_futex),
            ("process_madvise", libc::SYS_process_madvise),
        ] {
            assert_eq!(number(name, Arch::X86_64).map(i64::from), Some(libcs_number), "{name}");
        }
    }

    #[test]
    fn multiplexed_calls_have_their_number() {
        let multiplexed =
            |name| Call::find(name).and_then(Call::multiplexed).map(|(call, n)| (call.name(), n));
        assert_eq!(multiplexed("socket"), Some(("socketcall", 1)));
        assert_eq!(multiplexed("sendmmsg"), Some(("socketcall", 20)));
        assert_eq!(multiplexed("shmctl"), Some(("ipc", 24)));
        assert_eq!(multiplexed("read"), None);
    }
}
