//! Where the master side of a payload's terminal goes: to the engine's console socket, or in
//! the foreground to the runtime process.

use super::options::Mode;
use crate::error::{Context, Error, Result};
use crate::spec::plan::Process;
use crate::sys::pty::{self, Size};
use crate::sys::scm;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::termios::{OutputFlags, tcgetattr};
use std::io::IsTerminal;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The sockets for the terminal's master. Init sends to `init_socket`. In the foreground,
/// the runtime process receives from `runtime_socket`.
pub struct Console {
    pub init_socket: Option<OwnedFd>,
    pub runtime_socket: Option<OwnedFd>,
}

/// Connects to the console socket, or creates a pair of sockets. Refuses useless
/// combinations of options. The error texts are runc's, because engines match them. In
/// the foreground, sets the initial size of the payload's terminal to the size of the
/// caller's terminal.
pub fn prepare(process: &mut Process, socket: Option<&Path>, mode: Mode) -> Result<Console> {
    let detached = mode != Mode::RunForeground;
    match (process.terminal, socket) {
        (false, None) => Ok(Console { init_socket: None, runtime_socket: None }),
        (false, Some(_)) => {
            Err(Error::msg("cannot use console socket if corten will not detach or allocate tty")
                .hint("set /process/terminal to true, or leave out --console-socket"))
        }
        (true, None) if detached => {
            Err(Error::msg("cannot allocate tty if corten will detach without setting console socket")
                .hint("give --console-socket, or set /process/terminal to false"))
        }
        (true, Some(_)) if !detached => {
            Err(Error::msg("cannot use console socket if corten will not detach or allocate tty")
                .hint("give --detach, too, or leave out --console-socket"))
        }
        (true, None) => {
            let (runtime_socket, init_socket) =
                socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                    .op("socketpair")?;
            let known = |size: &Size| *size != Size::default();
            process.console_size = pty::size(std::io::stdin()).ok().filter(known).or(process.console_size);
            process.bare_newlines = !shows_on_a_terminal();
            Ok(Console { init_socket: Some(init_socket), runtime_socket: Some(runtime_socket) })
        }
        (true, Some(path)) => {
            let fd = scm::connect(path).op_on("connect to the console socket", path.display())?;
            Ok(Console { init_socket: Some(fd), runtime_socket: None })
        }
    }
}

/// Whether the payload's output goes to a terminal of the caller. That terminal is in raw
/// mode meanwhile and needs \r\n. If the output does not go to a terminal, the runtime
/// clears ONLCR of the payload's terminal (`bare_newlines`), so that lines end with \n.
/// runc does this always in the foreground.
fn shows_on_a_terminal() -> bool {
    let both = OutputFlags::OPOST | OutputFlags::ONLCR;
    std::io::stdout().is_terminal()
        && tcgetattr(std::io::stdin()).is_ok_and(|flags| flags.output_flags.contains(both))
}

/// Waits for the terminal's master, which init sends.
pub fn receive(socket: &OwnedFd) -> Result<OwnedFd> {
    let mut name = [0u8; 4096];
    let (_, fd) = scm::recv_fd(socket, &mut name).op("receive the terminal")?;
    fd.ok_or_else(|| Error::msg("init sent no terminal"))
}
