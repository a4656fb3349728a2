//! corten: an OCI container runtime.
//!
//! ```text
//! config.json ─parse▶ Config ─resolve▶ Plan ─▶ host side ─clone3▶ init ─▶ execve
//!                                                          │                │
//!                                 seccomp, cgroup, state, hooks, id maps    mounts, pivot, creds
//! ```
//!
//! - **Parse, don't validate.** What can be known to be wrong before a side
//!   effect is found while the [`spec::config`] becomes a [`spec::Plan`], and carries a
//!   JSON pointer. After that, all failures are the environment's.
//! - **Two processes, one fork, one socket.** No threads; no re-exec but the
//!   seal ([`launch::seal`]).
//! - **A straight spine.** [`container::create`] and [`init`], read from top to
//!   bottom, tell the life of a container.
//! - **Only [`sys`] has `unsafe`** (and `main.rs`, for the symbol of C's main).
//! - **File descriptors, not paths.** Nothing in a rootfs is reached by a path
//!   string that crosses it.
//!
//! Dependencies point one way: which room may use which is listed in src/README.md, and
//! a test holds the list against the code. Init never sees state files or cgroup
//! settings, only the [`launch::cgroup_view::View`] that it is to mount; `spec` does no I/O.
//!
//! # Where the crates end
//!
//! - **oci-spec** is the oracle of the tests; config.json is read by types of
//!   our own, for reasons of fidelity and size (`spec/config.rs`).
//! - **nix** and **libc** are the system calls; the new mount API, clone3,
//!   pidfds, keyrings and capability sets are in neither in a form that serves,
//!   so `sys` has them. `sys/openat2.rs` gives nix's openat2 the resolve flags
//!   that every call has to have.
//! - **caps** names capabilities; its setters make a call per set and
//!   capability, where one atomic capset does (`sys/caps.rs`).
//! - **clap** parses the command line, but only the parser of the verb that
//!   was given is built: all of them cost four times as much.
//! - **procfs** is not used: its parsers fail on a command name that is not
//!   UTF-8, and any container can make one; the two fields that are needed are
//!   read as bytes (`container/identity.rs`).
//! - **seccompiler** can't express a profile of the specification: it has one
//!   action and one architecture a filter and no notification. So [`seccomp`]
//!   has a compiler of its own, which the tests hold against libseccomp.
//! - **anyhow**: not needed; errors are one type that crosses a socket
//!   ([`error::Error`]).

#![cfg_attr(
    test,
    allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")
)]

#[cfg(test)]
mod arrows;
pub mod cgroup;
pub mod cli;
pub mod container;
pub mod criu;
pub mod error;
pub mod hooks;
pub mod host;
pub mod init;
pub mod launch;
pub mod log;
pub mod net;
pub mod rdt;
pub mod seccomp;
pub mod signals;
pub mod spec;
pub mod steps;
pub mod sys;

/// The version of the runtime specification that is implemented.
pub const OCI_VERSION: &str = "1.3.0";
