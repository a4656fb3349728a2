//! A seccomp profile, resolved: every name is a number or gone.

use super::arch::Arch;
use super::calls::Call;
use std::path::PathBuf;

/// What `linux.seccomp` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What happens to a call that no rule is for.
    pub default: Action,
    /// The native one first, and none that its kernel can't run.
    pub archs: Vec<Arch>,
    pub rules: Vec<Rule>,
    /// SECCOMP_FILTER_FLAG_… bits, as configured.
    pub flags: u32,
    /// Who answers for `SCMP_ACT_NOTIFY`; `Some` if any rule has that action.
    pub listener: Option<Listener>,
    /// Names of `syscalls` that no architecture has.
    pub unknown: Vec<String>,
}

/// The seccomp agent, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// A listening AF_UNIX socket.
    pub path: PathBuf,
    pub metadata: String,
}

/// One entry of `syscalls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its place in `syscalls`.
    pub index: usize,
    pub calls: Vec<Call>,
    pub action: Action,
    /// The rule holds where one of these does; empty: for any arguments.
    pub any_of: Vec<Conditions>,
}

/// Conditions that must hold all together, at most one for an argument, sorted
/// by argument.
pub type Conditions = Vec<Condition>;

/// `(argument & mask) op value`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub arg: u8,
    pub op: Op,
    /// All ones but for [`Op::MaskedEq`].
    pub mask: u64,
    pub value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Ne,
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
    MaskedEq,
}

impl Op {
    /// The names in `args[].op`, sorted.
    pub const NAMES: [(&str, Op); 7] = [
        ("SCMP_CMP_EQ", Op::Eq),
        ("SCMP_CMP_GE", Op::Ge),
        ("SCMP_CMP_GT", Op::Gt),
        ("SCMP_CMP_LE", Op::Le),
        ("SCMP_CMP_LT", Op::Lt),
        ("SCMP_CMP_MASKED_EQ", Op::MaskedEq),
        ("SCMP_CMP_NE", Op::Ne),
    ];
}

/// What a filter returns: SECCOMP_RET_… with its data (linux/seccomp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action(pub u32);

impl Action {
    pub const KILL_PROCESS: Action = Action(0x8000_0000);
    pub const KILL_THREAD: Action = Action(0);
    pub const TRAP: Action = Action(0x0003_0000);
    pub const NOTIFY: Action = Action(0x7fc0_0000);
    pub const LOG: Action = Action(0x7ffc_0000);
    pub const ALLOW: Action = Action(0x7fff_0000);

    /// The call is not made and returns this error.
    pub const fn errno(errno: u16) -> Action {
        Action(0x0005_0000 | errno as u32)
    }

    /// A tracer is told, with this message.
    pub const fn trace(message: u16) -> Action {
        Action(0x7ff0_0000 | message as u32)
    }

    /// Does a call that is unknown here reach the kernel (or a tracer who
    /// stands for it)? Then it is the kernel's to say ENOSYS.
    pub fn lets_unknown_calls_through(self) -> bool {
        matches!(self.0 & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000)
    }
}

/// SECCOMP_FILTER_FLAG_…
pub const TSYNC: u32 = 1;
/// See [`TSYNC`].
pub const LOG: u32 = 1 << 1;
/// See [`TSYNC`].
pub const SPEC_ALLOW: u32 = 1 << 2;
/// See [`TSYNC`].
pub const NEW_LISTENER: u32 = 1 << 3;
/// See [`TSYNC`].
pub const TSYNC_ESRCH: u32 = 1 << 4;
/// See [`TSYNC`].
pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// The names in `flags`, sorted.
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_TSYNC", TSYNC),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", WAIT_KILLABLE_RECV),
];
