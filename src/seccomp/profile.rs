//! A seccomp profile, resolved: it has numbers instead of names, and lacks what this
//! machine cannot use.

use super::arch::Arch;
use super::calls::Call;
use std::path::PathBuf;

/// A resolved profile (config-linux.md "Seccomp").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The action for a call without a rule.
    pub default: Action,
    /// The architectures that this machine's kernel can run, the native one first.
    pub archs: Vec<Arch>,
    pub rules: Vec<Rule>,
    /// SECCOMP_FILTER_FLAG_… bits, as configured.
    pub flags: u32,
    /// The agent that decides about calls with `SCMP_ACT_NOTIFY`. `Some` if any rule has
    /// this action.
    pub listener: Option<Listener>,
    /// The names in `syscalls` that no architecture has.
    pub unknown: Vec<String>,
}

/// The seccomp agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Absolute path of the agent's AF_UNIX socket.
    pub path: PathBuf,
    /// `listenerMetadata`, which the runtime passes to the agent.
    pub metadata: String,
}

/// An entry of `syscalls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Index of the entry in `syscalls`.
    pub index: usize,
    pub calls: Vec<Call>,
    pub action: Action,
    /// The rule applies if one of these lists of conditions holds. If there is none, the
    /// rule applies to any arguments.
    pub any_of: Vec<Conditions>,
}

/// Conditions that must all hold, sorted by argument, at most one for an argument.
pub type Conditions = Vec<Condition>;

/// The condition `(argument & mask) op value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Index of the argument, from 0 to 5.
    pub arg: u8,
    pub op: Op,
    /// All bits, except for [`Op::MaskedEq`].
    pub mask: u64,
    pub value: u64,
}

/// The operator of a condition.
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

/// The return value of a filter: SECCOMP_RET_… with its data (linux/seccomp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action(pub u32);

impl Action {
    pub const KILL_PROCESS: Action = Action(0x8000_0000);
    pub const KILL_THREAD: Action = Action(0);
    pub const TRAP: Action = Action(0x0003_0000);
    pub const NOTIFY: Action = Action(0x7fc0_0000);
    pub const LOG: Action = Action(0x7ffc_0000);
    pub const ALLOW: Action = Action(0x7fff_0000);

    /// Returns the action that makes the call fail with this errno.
    pub const fn errno(errno: u16) -> Action {
        Action(0x0005_0000 | errno as u32)
    }

    /// Returns the action that notifies a tracer, with this message.
    pub const fn trace(message: u16) -> Action {
        Action(0x7ff0_0000 | message as u32)
    }

    /// Returns whether this action lets a call through that corten does not know, to the
    /// kernel or to a tracer. The kernel can then answer ENOSYS itself.
    pub fn lets_unknown_calls_through(self) -> bool {
        matches!(self.0 & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000)
    }
}

/// SECCOMP_FILTER_FLAG_TSYNC (linux/seccomp.h).
pub const TSYNC: u32 = 1;
/// SECCOMP_FILTER_FLAG_LOG (linux/seccomp.h).
pub const LOG: u32 = 1 << 1;
/// SECCOMP_FILTER_FLAG_SPEC_ALLOW (linux/seccomp.h).
pub const SPEC_ALLOW: u32 = 1 << 2;
/// SECCOMP_FILTER_FLAG_NEW_LISTENER (linux/seccomp.h).
pub const NEW_LISTENER: u32 = 1 << 3;
/// SECCOMP_FILTER_FLAG_TSYNC_ESRCH (linux/seccomp.h).
pub const TSYNC_ESRCH: u32 = 1 << 4;
/// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (linux/seccomp.h).
pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// The names in `flags`, sorted.
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_TSYNC", TSYNC),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", WAIT_KILLABLE_RECV),
];
