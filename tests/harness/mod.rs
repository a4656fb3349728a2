//! What every test stands on: the runtime under test, bundles, containers, and
//! the proof that nothing is left behind. No test of the runtime lives here.

mod bundle;
mod bus;
mod call;
mod census;
mod container;
mod decoy;
mod held;
mod host;
mod image;
mod program;
mod runner;
mod runtime;
pub mod schema;
mod sys;
pub mod tally;
mod test;

pub use bundle::{Bundle, is_root};
pub use bus::{Bus, Fault};
pub use call::{Call, Out, Running};
pub use census::{added_keys, differences, files};
pub use container::Container;
#[allow(unused_imports, reason = "for the table of attacks")]
pub use decoy::Decoy;
pub use held::HeldCreate;
pub use host::{
    MOUNT_V2, cgroup_dir, cgroup_file, cgroup_v2, cgroups_named, copy_cpuset, delegated, has_controller,
    linux, mountinfo, remove_cgroup, remove_tree,
};
pub use runner::{Case, Failure, attempt, run};
#[allow(unused_imports, reason = "for the table of attacks")]
pub use runner::{catch, catch_panics};
pub use runtime::is_gap_of;
pub use sys::{
    PATIENCE, PidFd, accept, is_readable, pipe, read_fifo, read_line, read_signal, receive, receive_pidfd,
};
pub use test::Test;

/// Lists the tests of a module. A function that is not listed is dead code, and
/// the compiler says so: nothing can be forgotten.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub fn cases() -> Vec<$crate::harness::Case> {
            vec![$($crate::harness::Case { name: stringify!($name), body: $name }),*]
        }
    };
}

/// Is corten under test? Its words may then be asked for, too.
pub fn is_corten() -> bool {
    runtime::Runtime::get().is_corten()
}

/// The path of the runtime under test.
#[allow(dead_code, reason = "for the table of attacks")]
pub fn runtime_path() -> &'static std::path::Path {
    &runtime::Runtime::get().path
}

/// Ends this program with one line if $RUNTIME is no runtime.
#[allow(dead_code, reason = "for the tools")]
pub fn check_runtime() {
    runtime::Runtime::get().check();
}

/// What the runtime under test prints for `--version`.
#[allow(dead_code, reason = "for the table of attacks")]
pub fn version() -> String {
    runtime::Runtime::get().says_version()
}

/// In the order of their numbers (linux/capability.h).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The mask that /proc/PID/status shows for these capabilities.
pub fn cap_mask(names: &[&str]) -> String {
    let bit = |name: &&str| {
        let known = CAPABILITIES.iter().position(|known| name.strip_prefix("CAP_") == Some(known));
        known.unwrap_or_else(|| panic!("cap_mask does not know {name}"))
    };
    format!("{:016x}", names.iter().map(bit).fold(0u64, |mask, n| mask | 1 << n))
}
