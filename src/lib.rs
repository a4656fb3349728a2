//! corten: an OCI container runtime.
//!
//! ```text
//! config.json ─parse▶ Config ─resolve▶ Plan ─▶ runtime ─clone3▶ init ─▶ execve
//!                                                          │                │
//!                              seccomp, cgroup, state, hooks, id maps    mounts, pivot, creds
//! ```
//!
//! - **Parse, don't validate.** The runtime finds a wrong value while the
//!   [`spec::config`] becomes a [`spec::Plan`], before any side effect. The error carries
//!   the JSON pointer of the value. Every later failure comes from the host.
//! - **Two processes, one fork, one socket.** The runtime has no threads. It executes
//!   itself anew only to seal its binary ([`launch::seal`]).
//! - **Two functions to read first.** [`container::create`] and [`init`], read from top to
//!   bottom, tell the life of a container.
//! - **Only [`sys`] has `unsafe`**, and `main.rs` for the symbol of C's main.
//! - **File descriptors, not paths.** No path string that crosses a rootfs reaches a file.
//!
//! Dependencies point one way. src/README.md lists which room may use which, and a test
//! holds the list against the code. Init never sees state files or cgroup settings, only
//! the [`launch::cgroup_view::CgroupView`] that it mounts. `spec` does no I/O.
//!
//! # Which crates, and why not others
//!
//! Where this list gives a size, it is that of the stripped release binary.
//!
//! - **oci-spec** is a dependency of the tests, which compare it with our own types for
//!   config.json. Its types refuse configs that runc accepts, and they make the binary
//!   larger (`spec/config.rs`).
//! - **nix** and **libc** make most system calls. `sys` has those that neither crate has
//!   in a form that serves: clone3, mount_setattr, seccomp, bpf, keyrings, capability sets,
//!   and the signals by pidfd, where nix and rustix know no real-time signals.
//!   `sys/openat2.rs` sets the resolve flags that every openat2 must have.
//! - **rustix** makes the calls of the mount API, statx, flock, and those for extended
//!   attributes and pidfds. Instead of our own wrappers it saves 53 lines and 17 of 99
//!   `unsafe` blocks, and the binary is 10 KiB smaller.
//! - **caps** gives the names of capabilities. Its setters make one call per set and
//!   capability; one capset sets all of them at once (`sys/caps.rs`).
//! - **clap** parses the command line, unless it has the plain form that engines write
//!   (`cli/plain.rs`): clap took four fifths of the instructions of `state`. Only the parser of the given verb is built, because
//!   the parsers of all verbs take four times as long.
//! - **procfs** is not used. Its parsers fail on a command name that is not UTF-8, and any
//!   container can have one. `container/identity.rs` reads the two fields as bytes.
//! - **seccompiler** is not used. It can't express a profile of the specification: a filter
//!   of it has one action and one architecture, and no notification. The tests compare the
//!   compiler in [`seccomp`] with libseccomp.
//! - **anyhow** is a dependency of the tests. The runtime has one error type, because an
//!   error crosses the socket ([`error::Error`]).
//! - **serde_path_to_error** and **serde_ignored** are not used. They name the place of an
//!   error and the unknown keys, but each wraps the deserializer, and a second copy of the
//!   parser of every type makes the binary 205 KiB and 267 KiB larger. `spec/parse.rs` finds
//!   the place by the line of the error in 35 lines. `spec/unknown.rs` also says which key
//!   was meant.
//! - **netlink-packet-route** is not used. It would replace the 191 lines of
//!   `net/netlink.rs`, and the binary would be 497 KiB larger. [`net`] gives addresses and
//!   routes back with the attributes as the kernel sent them, also those that no library
//!   knows.

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
