//! What the command line says of a container that is to be created.

use super::root::Root;
use crate::cgroup::Driver;
use crate::log::Log;
use crate::signals::Signals;
use std::path::Path;
use std::rc::Rc;

/// What the command line says.
pub struct Options<'a> {
    pub root: &'a Root,
    pub log: &'a Log,
    pub id: &'a str,
    pub bundle: &'a Path,
    /// In the place of the bundle's config.json.
    pub config: Option<&'a Path>,
    pub pid_file: Option<&'a Path>,
    pub console_socket: Option<&'a Path>,
    /// Gets a pidfd of init.
    pub pidfd_socket: Option<&'a Path>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub preserve_fds: i32,
    /// How many of them are a service manager's listening sockets.
    pub listen_fds: u32,
    pub driver: Driver,
    /// Whether to run without a cgroup if the caller may not create one. `None`: for every
    /// caller but the host's root.
    pub rootless: Option<bool>,
    /// This process's service manager waits for the payload to be ready.
    pub notify: bool,
    pub mode: Mode,
    /// The signals of [`Mode::RunForeground`], held before the fork, as what ends at once must
    /// still be noticed.
    pub signals: Option<Rc<Signals>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Init waits at the gate for `start`.
    Create,
    RunDetached,
    /// The caller stays and waits.
    RunForeground,
}
