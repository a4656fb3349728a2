//! The runtime process's part of a container's life, one verb per file.
//!
//! Read [`create`] from top to bottom to see how the runtime creates a container. Then
//! read `init::run_init`, the part of the new process.

mod bundle;
pub mod checkpoint;
pub mod console;
pub mod create;
mod create_guard;
pub mod delete;
mod dir;
pub mod ending;
pub mod events;
pub mod exec;
mod executed;
pub mod exit;
mod hook_output;
pub mod id;
pub mod identity;
mod init_setup;
pub mod kill;
mod lock;
pub mod mounts;
mod namespace_entry;
pub mod options;
pub mod path_text;
pub mod pause;
mod pid_file;
mod pidfd_receiver;
mod root;
pub mod run;
pub mod sd_notify;
mod seccomp_agent;
pub mod start;
pub mod state;
pub mod stdio;
pub mod update;
pub mod wait;

pub use dir::Dir;
pub use root::{Root, Survey};
pub use state::State;
