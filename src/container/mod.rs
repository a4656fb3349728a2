//! The host side of a container's life: one verb a file.
//!
//! Read [`create`] from top to bottom for how a container comes to be, then
//! `init::run` for the other half.

mod beside_init;
mod bundle;
pub mod checkpoint;
pub mod console;
pub mod create;
pub mod delete;
mod dir;
mod entry;
pub mod events;
pub mod exec;
pub mod exit;
mod external;
mod half_made;
mod hook_output;
pub mod id;
pub mod identity;
mod inherited;
pub mod kill;
mod lock;
pub mod mounts;
pub mod path_text;
pub mod pause;
mod pidfd_receiver;
pub mod restore;
pub mod run;
pub mod sd_notify;
mod seccomp_agent;
pub mod start;
pub mod state;
pub mod stdio;
pub mod update;
pub mod wait;

pub use dir::{Dir, Root};
pub use state::State;
