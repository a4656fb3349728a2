//! The runtime process in the foreground: it relays the payload's terminal, forwards signals
//! and waits for the payload's end.

use super::sd_notify::Relay;
use crate::error::{Context, Result};
use crate::signals::Signals;
use crate::sys::pidfd::{self, Exit};
use crate::sys::pty;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlowArg, SetArg, Termios, cfmakeraw, tcflow, tcgetattr, tcsetattr};
use nix::unistd::{read, write};
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The socket on which the payload may report that it is ready.
pub struct ReadyWatch<'a> {
    pub relay: &'a Relay,
    /// Reads one message. True: no further message matters.
    pub heard: &'a mut dyn FnMut(&Relay) -> bool,
}

/// Waits for the payload's end. Meanwhile forwards signals, and relays the terminal if there
/// is one.
pub fn attend(
    payload: &OwnedFd,
    signals: &Signals,
    terminal: Option<OwnedFd>,
    ready_watch: Option<ReadyWatch>,
) -> Result<Exit> {
    signals.forward_kept(payload)?;
    match terminal {
        None => attend_plain(payload, signals, ready_watch),
        Some(master) => Session::begin(master)?.attend(payload, signals, ready_watch),
    }
}

fn attend_plain(payload: &OwnedFd, signals: &Signals, mut ready_watch: Option<ReadyWatch>) -> Result<Exit> {
    loop {
        let watched = ready_watch.as_ref().map(|ready_watch| ready_watch.relay.as_fd());
        let fds = [Some(payload.as_fd()), Some(signals.as_fd()), watched].into_iter().flatten();
        let mut fds: Vec<PollFd> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        wait(&mut fds)?;
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        if ready.get(2) == Some(&true) {
            hear(&mut ready_watch);
        }
        if ready[0] {
            return pidfd::wait(payload).op("wait for the payload");
        }
        if ready[1] {
            signals.forward(payload, |_| {})?;
        }
    }
}

fn hear(ready_watch: &mut Option<ReadyWatch>) {
    if let Some(ReadyWatch { relay, heard }) = ready_watch
        && heard(relay)
    {
        *ready_watch = None;
    }
}

fn wait(fds: &mut [PollFd]) -> Result<()> {
    match poll(fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).op("poll"),
    }
}

/// The caller's terminal in raw mode, and the master side of the payload's terminal.
struct Session {
    master: OwnedFd,
    /// The former settings of the caller's terminal. `None`: the caller has none.
    before: Option<Termios>,
    stdin_open: bool,
}

impl Session {
    fn begin(master: OwnedFd) -> Result<Session> {
        let stdin = std::io::stdin();
        // In the background the kernel stops this process here (SIGTTOU) until the shell
        // gives it the terminal. Read the settings only after that: until then the
        // terminal has the shell's line-editing settings.
        let _ = tcflow(&stdin, FlowArg::TCOON);
        let before = tcgetattr(&stdin).ok();
        let session = Session { master, before, stdin_open: true };
        session.make_raw().op("set the terminal to raw mode")?;
        if let Some(before) = session.before.clone() {
            restore_at_panic(before);
        }
        fcntl(&session.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).op("fcntl O_NONBLOCK")?;
        session.resize();
        Ok(session)
    }

    fn make_raw(&self) -> nix::Result<()> {
        let Some(before) = &self.before else { return Ok(()) };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        if !std::io::stdout().is_terminal() {
            // Stdout is a pipe or a file. Other programs may write to the terminal, for
            // example the reader of the pipe. They need the terminal's output processing.
            raw.output_flags = before.output_flags;
        }
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)
    }

    /// Sets raw mode again after SIGCONT: the shell has changed the terminal meanwhile.
    fn heard(&self, signal: i32) {
        if signal == libc::SIGCONT {
            let _ = self.make_raw();
        }
        if matches!(signal, libc::SIGCONT | libc::SIGWINCH) {
            self.resize();
        }
    }

    /// Gives the payload's terminal the size of the caller's.
    fn resize(&self) {
        if let Ok(size) = pty::size(std::io::stdin()) {
            let _ = pty::set_size(&self.master, size);
        }
    }

    fn attend(
        mut self,
        payload: &OwnedFd,
        signals: &Signals,
        mut ready_watch: Option<ReadyWatch>,
    ) -> Result<Exit> {
        loop {
            let stdin = std::io::stdin();
            let mut fds = vec![
                PollFd::new(payload.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.master.as_fd(), PollFlags::POLLIN),
            ];
            let typing = self.stdin_open.then_some(fds.len());
            if self.stdin_open {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            let hearing = ready_watch.as_ref().map(|_| fds.len());
            if let Some(ready_watch) = &ready_watch {
                fds.push(PollFd::new(ready_watch.relay.as_fd(), PollFlags::POLLIN));
            }
            wait(&mut fds)?;
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
            let is_ready = |at: Option<usize>| at.is_some_and(|at| ready[at]);
            if ready[2] {
                self.show();
            }
            if is_ready(hearing) {
                hear(&mut ready_watch);
            }
            if ready[0] {
                self.show();
                return pidfd::wait(payload).op("wait for the payload");
            }
            if ready[1] {
                signals.forward(payload, |signal| self.heard(signal))?;
            }
            if is_ready(typing) {
                self.type_in();
            }
        }
    }

    /// Shows what the payload has written so far.
    fn show(&self) {
        let mut buf = [0u8; 8192];
        while let Ok(len @ 1..) = read(&self.master, &mut buf) {
            if write_all(std::io::stdout().as_fd(), &buf[..len]).is_err() {
                return;
            }
        }
    }

    fn type_in(&mut self) {
        let mut buf = [0u8; 4096];
        match read(std::io::stdin(), &mut buf) {
            Ok(len @ 1..) => {
                let _ = self.pass_on(&buf[..len]);
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ok(_) | Err(_) => self.stdin_open = false,
        }
    }
}

impl Session {
    /// Writes input to the payload. If the payload does not read, relays its output
    /// meanwhile: the payload may be blocked in a write.
    fn pass_on(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match write(&self.master, bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let both = PollFlags::POLLIN | PollFlags::POLLOUT;
                    let mut fds = [PollFd::new(self.master.as_fd(), both)];
                    wait(&mut fds)?;
                    let ready = fds[0].revents().unwrap_or(PollFlags::empty());
                    if ready.contains(PollFlags::POLLIN) {
                        self.show();
                    } else if ready.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                        return Ok(());
                    }
                }
                Err(errno) => return Err(errno).op("write to the payload's terminal"),
            }
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

/// Restores the terminal in a panic, which ends the process without destructors.
fn restore_at_panic(before: Termios) {
    let before = libc::termios::from(before);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &before.into());
        report(panic);
    }));
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::EINTR) => {}
            // The reader is slow.
            Err(Errno::EAGAIN) => wait(&mut [PollFd::new(to, PollFlags::POLLOUT)])?,
            Err(errno) => return Err(errno).op("write"),
        }
    }
    Ok(())
}
