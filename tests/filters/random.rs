//! Random profiles, the same in every run.

use crate::xorshift::Random;
use corten::seccomp::arch::Arch;
use corten::seccomp::calls::Call;
use serde_json::{Value, json};

const ACTIONS: [(&str, Option<u16>); 8] = [
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ERRNO", None),
    ("SCMP_ACT_ERRNO", Some(38)),
    ("SCMP_ACT_KILL_PROCESS", None),
    ("SCMP_ACT_TRAP", None),
    ("SCMP_ACT_LOG", None),
    ("SCMP_ACT_TRACE", Some(7)),
];

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

const VALUES: [u64; 12] = [
    0,
    1,
    2,
    40,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x7e02_0000_0000_0000,
    0xffff_ffff_0000_0000,
    u64::MAX,
];

/// How entries of the same call may overlap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A call has conditions in one entry only.
    Single,
    /// A call may have conditions in several entries, for equality only.
    Equal,
    /// A call may have conditions in several entries, with any operators.
    Wild,
}

pub fn profile(random: &mut Random, kind: Kind, names: &[&str]) -> Value {
    let (default, errno) = random.pick(&ACTIONS);
    let mut profile = json!({ "defaultAction": default });
    if let Some(errno) = errno {
        profile["defaultErrnoRet"] = json!(errno);
    }
    // Only few calls get conditions, so that several entries concern the same call.
    let mut few: Vec<&str> =
        (0..if kind == Kind::Single { 40 } else { 6 }).map(|_| random.pick(names)).collect();
    few.sort_unstable();
    few.dedup();
    let mut entries = Vec::new();
    for _ in 0..5 + random.below(30) {
        let conditions = !random.one_in(3) && !few.is_empty();
        let calls: Vec<&str> = match conditions {
            true if kind == Kind::Single => vec![few.swap_remove(random.below(few.len()))],
            true => (0..1 + random.below(2)).map(|_| random.pick(&few)).collect(),
            false => (0..1 + random.below(25)).map(|_| random.pick(names)).collect(),
        };
        let (action, errno) = random.pick(&ACTIONS);
        let mut entry = json!({ "names": calls, "action": action });
        if let Some(errno) = errno {
            entry["errnoRet"] = json!(errno);
        }
        if conditions {
            let mut args: Vec<Value> = (0..1 + random.below(3)).map(|_| argument(random, kind)).collect();
            if kind == Kind::Single {
                // Two conditions on one argument work like two entries.
                args.sort_by_key(|arg| arg["index"].as_u64());
                args.dedup_by_key(|arg| arg["index"].as_u64());
            }
            entry["args"] = json!(args);
        }
        entries.push(entry);
    }
    profile["syscalls"] = json!(entries);
    profile
}

fn argument(random: &mut Random, kind: Kind) -> Value {
    let op = match kind {
        Kind::Equal => random.pick(&["SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"]),
        _ => random.pick(&OPERATORS),
    };
    let value = |random: &mut Random| {
        if random.one_in(6) { random.next() >> random.below(64) } else { random.pick(&VALUES) }
    };
    json!({ "index": random.below(6), "value": value(random), "valueTwo": value(random), "op": op })
}

/// The architectures that run together, and the names that a profile may list.
pub const FAMILIES: [&[Arch]; 14] = [
    &[Arch::X86_64, Arch::X86, Arch::X32],
    &[Arch::X86_64, Arch::X86],
    &[Arch::X86_64],
    &[Arch::X86_64, Arch::X32],
    &[Arch::Aarch64, Arch::Arm],
    &[Arch::Mips64, Arch::Mips, Arch::Mips64N32],
    &[Arch::Mipsel64, Arch::Mipsel, Arch::Mipsel64N32],
    &[Arch::Ppc64, Arch::Ppc],
    &[Arch::Ppc64Le],
    &[Arch::S390X, Arch::S390],
    &[Arch::Riscv64],
    &[Arch::Parisc64, Arch::Parisc],
    &[Arch::Loongarch64],
    &[Arch::M68k],
];

/// The calls that all these architectures have.
pub fn names(archs: &[Arch]) -> Vec<&'static str> {
    let everywhere = |call: &Call| archs.iter().all(|arch| call.number(*arch).is_some());
    Call::all().filter(everywhere).map(Call::name).collect()
}
