//! What a process executes, and as whom (config.md "Process").

use crate::sys::pty::Size;
use crate::sys::sched::Attr;
use std::ffi::CString;

/// What to execute, and as whom. Describes init's payload and an `exec` process alike
/// (config.md "Process").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub terminal: bool,
    /// The size of the terminal. `None` if the configuration has no size.
    pub console_size: Option<Size>,
    /// Whether the terminal ends lines of output with \n instead of \r\n. The command
    /// line decides this, not the configuration, so the resolver sets `false`.
    pub bare_newlines: bool,
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// Whether the process keeps the caller's supplementary groups instead of
    /// `additional_gids` (crun's annotation `run.oci.keep_original_groups`).
    pub keep_groups: bool,
    /// From 0 to 0777; 0022 if the configuration has none.
    pub umask: u32,
    /// The arguments, at least one. The first names the executable and is not empty.
    pub args: Vec<CString>,
    /// `NAME=VALUE` strings, each name once.
    pub env: Vec<CString>,
    /// Absolute path in the container.
    pub cwd: CString,
    pub capabilities: Capabilities,
    pub rlimits: Vec<Rlimit>,
    pub no_new_privileges: bool,
    /// From -1000 to 1000. `None` leaves the score as it is.
    pub oom_score_adj: Option<i32>,
    /// `None` leaves the scheduling policy as it is.
    pub scheduler: Option<Attr>,
    /// Class and level as ioprio_set(2) takes them. `None` leaves the I/O priority as it
    /// is.
    pub io_priority: Option<u16>,
    /// For `exec` processes only.
    pub cpu_affinity: CpuAffinity,
    /// The AppArmor profile. `None` if the configuration has none.
    pub apparmor: Option<String>,
    /// The SELinux label. `None` if the configuration has none.
    pub selinux: Option<String>,
    /// From `linux.personality`. Applies to every process in the container. `None` leaves
    /// the execution domain as it is.
    pub personality: Option<u32>,
    /// From `linux.memoryPolicy`. Applies to every process in the container. `None`
    /// leaves the policy as it is.
    pub memory_policy: Option<MemoryPolicy>,
}

/// The CPUs that an `exec` process may use. CPU n is bit n % 64 of word n / 64. An empty
/// list: the configuration has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuAffinity {
    /// The CPUs before the process moves into the container's cgroup.
    pub before_move: Vec<u64>,
    /// The CPUs after the move.
    pub after_move: Vec<u64>,
}

/// The arguments of set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// The mode (MPOL_…) and its flags (MPOL_F_…).
    pub mode: i32,
    /// Node n is bit n % 64 of word n / 64. Empty if the policy has no nodes.
    pub nodes: Vec<u64>,
}

/// The capability sets of a process. Bit n is the capability with the number n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// The arguments of setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// The kernel's RLIMIT_… number.
    pub resource: u32,
    /// At most `hard`.
    pub soft: u64,
    pub hard: u64,
}
