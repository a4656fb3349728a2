//! The payload's terminal (config.md "Process", `terminal`).

use crate::error::{Context, Error, Result};
use crate::launch::sources;
use crate::launch::target;
use crate::spec::Plan;
use crate::spec::plan::{Process, Propagation};
use crate::sys::{fd, mount, openat2, pty, scm};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{Gid, Uid, fchown};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// `FsType` has the integer type that the C library gives to these numbers.
const DEVPTS: FsType = FsType(0x1cd1);

/// The slave of the pty. `None` if the process has no terminal.
pub struct Terminal(Option<OwnedFd>);

/// Opens a pty of the container's own devpts, mounts its slave at /dev/console and sends
/// its master to `console`.
pub fn open(plan: &Plan, root: &OwnedFd, console: Option<OwnedFd>) -> Result<Terminal> {
    if !plan.process.terminal {
        return Ok(Terminal(None));
    }
    let console = console.ok_or_else(|| Error::msg("no console socket"))?;
    let slave = open_pty(&plan.process, root, console.as_fd()).map_err(|e| e.at("/process/terminal"))?;
    show_at_console(root, &slave).map_err(|e| e.at("/process/terminal").on("/dev/console"))?;
    Ok(Terminal(Some(slave)))
}

/// Opens a pty for an exec process, like [`open`], but leaves /dev/console as it is.
pub fn open_for_exec(process: &Process, root: &OwnedFd, console: BorrowedFd<'_>) -> Result<Terminal> {
    open_pty(process, root, console).map(|slave| Terminal(Some(slave)))
}

/// Returns no terminal. The process then keeps the stdio that the caller passed.
pub fn none() -> Terminal {
    Terminal(None)
}

fn open_pty(process: &Process, root: &OwnedFd, console: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let master = openat2::open_in_root(root, c"/dev/pts/ptmx", flags)
        .op_on("open", "/dev/pts/ptmx")
        .map_err(|e| e.hint("mount devpts at /dev/pts: a terminal needs it"))?;
    // An image can put anything at that path. Only a devpts creates ptys.
    if fstatfs(&master).op("fstatfs")?.filesystem_type() != DEVPTS {
        return Err(Error::msg("/dev/pts is not a devpts"));
    }
    pty::unlock(&master).op("ioctl TIOCSPTLCK")?;
    let slave = pty::open_peer(&master).op("ioctl TIOCGPTPEER")?;
    if let Some(size) = process.console_size {
        pty::set_size(&master, size).op("ioctl TIOCSWINSZ")?;
    }
    if process.bare_newlines {
        pty::clear_onlcr(&slave).op("tcsetattr")?;
    }
    let name = format!("/dev/pts/{}", pty::slave_number(&master).op("ioctl TIOCGPTN")?);
    scm::send_fd(console, name.as_bytes(), master.as_fd()).op("send the terminal to the console socket")?;
    Ok(slave)
}

/// Mounts the slave at /dev/console. Never follows a link that the image has there
/// (CVE-2025-52565, CVE-2026-88264).
fn show_at_console(root: &OwnedFd, slave: &OwnedFd) -> Result<()> {
    let target = target::open_or_create_file(root, Path::new("/dev/console"))?;
    let tree = mount::clone_tree(slave, c"", false, false).op("open_tree the terminal")?;
    // /dev/pts may be the host's, bound. Leave its peer group.
    sources::set_propagation(&tree, Propagation::Private, false)?;
    mount::attach(&tree, &target).op("move_mount the terminal")
}

impl Terminal {
    /// Makes the slave stdin, stdout, stderr and the controlling terminal. Without a
    /// terminal, gives the caller's stdio to the payload's user.
    pub fn install(self, process: &Process) -> Result<()> {
        let Some(slave) = self.0 else { return own_stdio(process) };
        pty::make_controlling(&slave).op("ioctl TIOCSCTTY")?;
        for target in 0..=2 {
            fd::dup_onto(&slave, target).op("dup2 the terminal")?;
        }
        if process.uid != 0 {
            fchown(&slave, Some(Uid::from_raw(process.uid)), None::<Gid>).op("chown the terminal")?;
        }
        Ok(())
    }
}

/// Gives stdio to the payload's user, because an unprivileged user must be able to reopen
/// /dev/stdout. The null device belongs to everybody and stays root's (CVE-2026-88265).
fn own_stdio(process: &Process) -> Result<()> {
    if process.uid == 0 {
        return Ok(());
    }
    let null = nix::sys::stat::makedev(1, 3);
    for stdio in [std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()] {
        let stat = fstat(stdio).op("fstat stdio")?;
        if stat.st_rdev == null || stat.st_uid == process.uid {
            continue;
        }
        match fchown(stdio, Some(Uid::from_raw(process.uid)), None::<Gid>) {
            // The id isn't mapped, the file is read-only, or it is another user's file.
            Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => {}
            Err(errno) => return Err(errno).op("chown stdio"),
        }
    }
    Ok(())
}
