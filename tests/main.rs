//! Black-box tests of an OCI runtime: they know nothing but its command line.
//!
//! The same binary is also the probe, the payload that reports what it sees
//! inside a container: started under the name `probe` it is that and nothing
//! else. One static file does both, so a probe can never be missing or stale.
//!
//! There is no Rust `main`: the standard library's start-up code ignores
//! SIGPIPE, and the probe must see the dispositions that the runtime left.
#![no_main]
#![allow(unsafe_code, reason = "the probe and the harness make raw system calls")]
#![allow(clippy::disallowed_methods, reason = "the bans protect the runtime, not a test's own files")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    reason = "what goes wrong fails a test"
)]

#[macro_use]
mod harness;
mod probe;

mod annotations;
mod before_start;
mod bus;
mod cgroup_mounts;
mod cgroups;
mod checkpoint;
mod checkpoint_flags;
mod configs;
mod delegated_v1;
mod devices;
mod engines;
mod errors;
mod events;
mod exec;
mod flags;
mod hangs;
mod harness_itself;
mod hooks;
mod identity;
mod idmap;
mod invocations;
mod joins;
mod labels;
mod late_sources;
mod live_mounts;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod pause;
mod peer_groups;
mod phrases;
mod process;
mod profiles;
mod propagation;
mod ps;
mod rdt;
mod readonly_mounts;
mod rootfs;
mod rootless;
mod scheduling;
mod schema;
mod sd_notify;
mod seccomp;
mod security;
mod state;
mod steps;
mod storm;
mod stress;
mod systemd;
mod terminal;
mod update;
mod userns;
mod verbs;
mod wait;

use std::ffi::c_int;

// SAFETY: the only `main` in the program; the C library calls it once.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const u8) -> c_int {
    if probe::is_called() {
        return probe::main();
    }
    harness::run(vec![
        ("annotations", annotations::cases()),
        ("cgroup_mounts", cgroup_mounts::cases()),
        ("before_start", before_start::cases()),
        ("bus", bus::cases()),
        ("cgroups", cgroups::cases()),
        ("checkpoint", checkpoint::cases()),
        ("checkpoint_flags", checkpoint_flags::cases()),
        ("configs", configs::cases()),
        ("delegated_v1", delegated_v1::cases()),
        ("devices", devices::cases()),
        ("engines", engines::cases()),
        ("errors", errors::cases()),
        ("events", events::cases()),
        ("exec", exec::cases()),
        ("flags", flags::cases()),
        ("hangs", hangs::cases()),
        ("harness_itself", harness_itself::cases()),
        ("hooks", hooks::cases()),
        ("identity", identity::cases()),
        ("idmap", idmap::cases()),
        ("invocations", invocations::cases()),
        ("joins", joins::cases()),
        ("labels", labels::cases()),
        ("late_sources", late_sources::cases()),
        ("live_mounts", live_mounts::cases()),
        ("mount_options", mount_options::cases()),
        ("mounts", mounts::cases()),
        ("namespaces", namespaces::cases()),
        ("net_devices", net_devices::cases()),
        ("pause", pause::cases()),
        ("peer_groups", peer_groups::cases()),
        ("process", process::cases()),
        ("propagation", propagation::cases()),
        ("phrases", phrases::cases()),
        ("ps", ps::cases()),
        ("readonly_mounts", readonly_mounts::cases()),
        ("rootfs", rootfs::cases()),
        ("rootless", rootless::cases()),
        ("sd_notify", sd_notify::cases()),
        ("seccomp", seccomp::cases()),
        ("schema", schema::cases()),
        ("rdt", rdt::cases()),
        ("scheduling", scheduling::cases()),
        ("security", security::cases()),
        ("state", state::cases()),
        ("steps", steps::cases()),
        ("storm", storm::cases()),
        ("stress", stress::cases()),
        ("systemd", systemd::cases()),
        ("terminal", terminal::cases()),
        ("update", update::cases()),
        ("userns", userns::cases()),
        ("verbs", verbs::cases()),
        ("wait", wait::cases()),
    ])
}
