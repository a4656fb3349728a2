//! What every test stands on: the runtime under test, bundles, containers, and
//! the proof that nothing is left behind. No test of the runtime lives here.

mod bundle;
mod bus;
mod call;
mod container;
mod host;
mod image;
mod runner;
mod runtime;
pub mod schema;
mod sys;
mod test;

pub use bundle::Bundle;
pub use bus::{Bus, Fault};
pub use call::{Call, Out, Running};
pub use container::Container;
pub use host::{cgroup_dir, cgroup_file, cgroup_v2, cgroups_named, has_controller, remove_tree};
pub use runner::{Case, run};
pub use sys::{PidFd, pipe, read_line, read_signal};
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

/// The mask that /proc/PID/status shows for these capabilities.
pub fn cap_mask(names: &[&str]) -> String {
    let bit = |name: &&str| match *name {
        "CAP_CHOWN" => 0,
        "CAP_DAC_OVERRIDE" => 1,
        "CAP_KILL" => 5,
        "CAP_SETUID" => 7,
        "CAP_NET_BIND_SERVICE" => 10,
        "CAP_NET_RAW" => 13,
        "CAP_SYS_CHROOT" => 18,
        "CAP_SYS_PTRACE" => 19,
        "CAP_SYS_ADMIN" => 21,
        "CAP_MKNOD" => 27,
        "CAP_AUDIT_WRITE" => 29,
        other => panic!("cap_mask does not know {other}"),
    };
    format!("{:016x}", names.iter().map(bit).fold(0u64, |mask, n| mask | 1 << n))
}
