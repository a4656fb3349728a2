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

/// The sockets for the terminal's master: init sends to `theirs`, and in the foreground the
/// runtime process receives from `ours`.
pub struct Console {
    pub theirs: Option<OwnedFd>,
    pub ours: Option<OwnedFd>,
}

/// Connects to the console socket, or creates a pair of sockets. Refuses combinations that
/// make no sense in runc's words, which engines match. In the foreground, gives the process's
/// terminal the size of the caller's from the start.
pub fn prepare(process: &mut Process, socket: Option<&Path>, mode: Mode) -> Result<Console> {
    let detached = mode != Mode::RunForeground;
    match (process.terminal, socket) {
        (false, None) => Ok(Console { theirs: None, ours: None }),
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
            let (ours, theirs) =
                socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                    .op("socketpair")?;
            let known = |size: &Size| *size != Size::default();
            process.console_size = pty::size(std::io::stdin()).ok().filter(known).or(process.console_size);
            process.bare_newlines = !shows_on_a_terminal();
            Ok(Console { theirs: Some(theirs), ours: Some(ours) })
        }
        (true, Some(path)) => {
            let fd = scm::connect(path).op_on("connect to the console socket", path.display())?;
            Ok(Console { theirs: Some(fd), ours: None })
        }
    }
}

/// Whether the payload's output goes to a terminal of the caller. That terminal is in raw mode
/// meanwhile and needs \r\n. A pipe or a file gets lines that end with \n, as from runc, which
/// clears ONLCR in the foreground.
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
