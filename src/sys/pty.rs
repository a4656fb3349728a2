//! Pseudo-terminals.

use super::{Result, check, owned};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

/// Lets the slave be opened (TIOCSPTLCK).
pub fn unlock(master: impl AsFd) -> Result<()> {
    let zero: libc::c_int = 0;
    // SAFETY: the ioctl reads one int.
    check(unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCSPTLCK, &raw const zero) }.into())
        .map(drop)
}

/// Opens the slave of exactly this master, whatever lies at the slave's path
/// (TIOCGPTPEER, CVE-2025-52565).
pub fn open_peer(master: impl AsFd) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the argument is a plain number; the kernel returns a new descriptor.
    unsafe { owned(libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags).into()) }
}

/// Returns the number N of the slave's /dev/pts/N (TIOCGPTN).
pub fn slave_number(master: impl AsFd) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the ioctl writes one unsigned int.
    check(unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTN, &raw mut number) }.into())?;
    Ok(number)
}

/// Returns the terminal's size (TIOCGWINSZ).
pub fn size(tty: impl AsFd) -> Result<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the ioctl writes one winsize.
    check(unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }.into())?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the terminal's size (TIOCSWINSZ).
pub fn set_size(tty: impl AsFd, size: Size) -> Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the ioctl reads one winsize.
    check(unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into()).map(drop)
}

/// Clears ONLCR: lines of output end with \n, as the process writes them.
pub fn clear_onlcr(tty: impl AsFd) -> Result<()> {
    let mut flags = tcgetattr(&tty)?;
    flags.output_flags.remove(OutputFlags::ONLCR);
    tcsetattr(&tty, SetArg::TCSANOW, &flags)
}

/// Makes `tty` the controlling terminal of this session (TIOCSCTTY).
pub fn make_controlling(tty: impl AsFd) -> Result<()> {
    // SAFETY: the argument is a plain number.
    check(unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}
