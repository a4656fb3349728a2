//! The command-line options of the verbs that create a container.

use super::root::Root;
use crate::cgroup::Driver;
use crate::log::Log;
use crate::signals::Signals;
use std::path::Path;
use std::rc::Rc;

/// The options of `create`, `run` and `restore`.
pub struct Options<'a> {
    pub root: &'a Root,
    pub log: &'a Log,
    pub id: &'a str,
    pub bundle: &'a Path,
    /// The file to read instead of the bundle's config.json. `None`: the bundle's.
    pub config: Option<&'a Path>,
    pub pid_file: Option<&'a Path>,
    pub console_socket: Option<&'a Path>,
    /// The socket that gets a pidfd of init.
    pub pidfd_socket: Option<&'a Path>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub preserve_fds: i32,
    /// How many of the preserved descriptors are sockets of a service manager (LISTEN_FDS).
    pub listen_fds: u32,
    pub driver: Driver,
    /// Whether to run without a cgroup if the caller may not create one. `None`: true for
    /// every caller but the host's root.
    pub rootless: Option<bool>,
    /// Whether a service manager waits for the payload to be ready (NOTIFY_SOCKET).
    pub notify: bool,
    pub mode: Mode,
    /// The signals of [`Mode::RunForeground`]. They are blocked before the fork, so that
    /// the runtime notices the end of a payload that ends at once.
    pub signals: Option<Rc<Signals>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Init waits at the start gate.
    Create,
    RunDetached,
    /// The runtime process waits for the payload's end.
    RunForeground,
}
