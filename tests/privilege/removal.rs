//! What is taken away from a verb, and how.

use caps::{CapSet, Capability};
use corten::seccomp::arch::Arch;
use corten::seccomp::compile_filter;
use corten::spec::{parse_config, resolve_seccomp};
use corten::sys::seccomp::set_filter;
use serde_json::{Value, json};
use std::os::unix::process::CommandExt;
use std::process::Command;

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Capability,
    Path,
    Call,
}

/// Directories of the host. A tmpfs covers each. The bundles and the state root of the tests are
/// in none of them.
const PATHS: &[&str] = &[
    "/dev",
    "/etc",
    "/proc",
    "/proc/self/ns",
    "/proc/sys",
    "/run",
    "/sys",
    "/sys/fs/cgroup",
    "/sys/kernel",
    "/usr",
];

/// System calls that not every kernel has: each came with a version, or is there only with an
/// option (CONFIG_BPF_SYSCALL, CONFIG_KEYS, CONFIG_SECCOMP…).
const CALLS: &[&str] = &[
    "bpf",
    "clone3",
    "close_range",
    "execveat",
    "faccessat2",
    "fchmodat2",
    "fsconfig",
    "fsmount",
    "fsopen",
    "getrandom",
    "keyctl",
    "listmount",
    "memfd_create",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "pivot_root",
    "renameat2",
    "seccomp",
    "setns",
    "statmount",
    "statx",
    "unshare",
    "waitid",
];

/// The argument with which this program installs a filter, and executes a command.
pub const WITHOUT_CALL: &str = "--without-call";

pub struct Removal {
    kind: Kind,
    name: String,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Capability, Kind::Path, Kind::Call];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Capability => "capability",
            Kind::Path => "path",
            Kind::Call => "call",
        }
    }

    /// Everything of this kind that this process has.
    pub fn removals(self) -> Vec<Removal> {
        let names: Vec<String> = match self {
            Kind::Capability => own_capabilities(),
            Kind::Path => PATHS.iter().map(|path| (*path).to_owned()).collect(),
            Kind::Call => CALLS.iter().map(|call| (*call).to_owned()).collect(),
        };
        names.into_iter().map(|name| Removal { kind: self, name }).collect()
    }
}

impl Removal {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The words before the command that has to do without it.
    pub fn before(&self) -> Vec<String> {
        let name = self.name.as_str();
        match self.kind {
            Kind::Capability => own(&["/usr/bin/setpriv", "--bounding-set", &format!("-{}", short(name))]),
            Kind::Path => {
                let script = "mount -t tmpfs -o mode=755 none \"$0\" && exec \"$@\"";
                let unshare = ["/usr/bin/unshare", "--mount", "--propagation", "private"];
                own(&[&unshare[..], &["/bin/sh", "-c", script, name]].concat())
            }
            Kind::Call => {
                let program = std::env::current_exe().expect("the path of this program");
                own(&[program.to_str().expect("UTF-8"), WITHOUT_CALL, name])
            }
        }
    }

    /// The words before a command that has no other capabilities.
    pub fn all_capabilities_but(names: &[&str]) -> Vec<String> {
        let kept: Vec<_> =
            own_capabilities().into_iter().filter(|cap| names.contains(&cap.as_str())).collect();
        let set = kept.iter().fold("-all".to_owned(), |set, cap| format!("{set},+{}", short(cap)));
        own(&["/usr/bin/setpriv", "--bounding-set", &set])
    }
}

fn own(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Returns the name that setpriv(1) knows.
fn short(capability: &str) -> String {
    capability.trim_start_matches("CAP_").to_lowercase()
}

fn own_capabilities() -> Vec<String> {
    let mut has: Vec<Capability> = caps::all().into_iter().collect();
    has.retain(|cap| caps::has_cap(None, CapSet::Permitted, *cap).unwrap_or(false));
    let mut names: Vec<String> = has.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

/// Executes a command for which the call fails with ENOSYS, as on a kernel without it. `call` may
/// be several, with commas between.
pub fn exec_without_call(call: &str, command: &[String]) -> ! {
    let arch = Arch::NATIVE.expect("an architecture with a table").name();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [arch],
        "syscalls": [{ "names": call.split(',').collect::<Vec<_>>(), "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }],
    });
    exec_under(&profile, command)
}

/// Executes a command under a profile of seccomp.
fn exec_under(profile: &Value, command: &[String]) -> ! {
    let text = json!({ "linux": { "seccomp": profile } }).to_string();
    let config = parse_config(text.as_bytes(), &mut Vec::new()).expect("JSON");
    let resolved = resolve_seccomp(&config).expect("a valid profile");
    let filter = compile_filter(resolved.as_ref()).expect("compile").expect("a filter");
    set_filter(filter.flags, &filter.program).expect("install the filter");
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    panic!("{}: {error}", command[0]);
}
