//! The namespaces and cgroups in which everything happens, so that a runtime that goes wrong
//! can't reach the machine: those of integration/conformance/jail, and a /dev of our own.

use super::registers;
use crate::harness;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Set in the jail.
const INSIDE: &str = "CORTEN_TORTURE_INSIDE";

/// Why the tests can't run here.
pub fn missing() -> Option<String> {
    if !registers::ARE_KNOWN {
        return Some(format!("the tracer does not know the registers of {}", std::env::consts::ARCH));
    }
    if !harness::is_root() {
        return Some("needs root".to_owned());
    }
    if !Path::new("/bin/busybox").exists() {
        return Some("needs busybox-static".to_owned());
    }
    None
}

/// Whether this program has the processes and the cgroups that it sees for itself.
pub fn is_entered() -> bool {
    std::env::var_os(INSIDE).is_some_and(|value| value == "1")
}

/// Without the jail: executes this program again in mounts of its own, unless it is there.
/// systemd is out of reach in the jail, and knows no pids of it.
pub fn enter_mounts_only() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]);
    enter_by(unshare, "mounts");
}

/// Executes this program again in the jail, unless it is there.
pub fn enter() {
    enter_by(Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/integration/conformance/jail")), "1");
}

fn enter_by(mut wrapper: Command, inside: &str) {
    if std::env::var_os(INSIDE).is_none() {
        // An error in RUNTIME is one of the caller's.
        harness::check_runtime();
        let own = std::env::current_exe().expect("the path of this program");
        let error = wrapper.arg(own).args(std::env::args_os().skip(1)).env(INSIDE, inside).exec();
        panic!("{}: {error}", wrapper.get_program().display());
    }
    prepare();
}

fn prepare() {
    make_dev();
    nix::sys::prctl::set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER");
    let mut set = nix::sys::signal::SigSet::empty();
    set.add(nix::sys::signal::Signal::SIGCHLD);
    // The tracer waits for it with a limit.
    set.thread_block().expect("block SIGCHLD");
}

/// The machine's /dev must not be within reach of a runtime whose calls fail.
fn make_dev() {
    let script = "mkdir /run/dev
        mount -t tmpfs -o mode=755 dev /run/dev
        cd /run/dev
        for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 ${device%:*} c 1 ${device#*:}; done
        mknod -m 666 tty c 5 0
        mkdir pts shm mqueue
        mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts pts
        ln -s pts/ptmx ptmx
        ln -s /proc/self/fd fd
        mount --move /run/dev /dev";
    let status = Command::new("/bin/sh").args(["-e", "-c", script]).status().expect("a shell");
    assert!(status.success(), "no /dev of our own");
}
