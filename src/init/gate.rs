//! The gate between `create` and `start`: two FIFOs in the state directory.
//!
//! Init holds `gate` open and blocks in a read there; `start` opens it for
//! writing, which a dead init answers with ENXIO, and writes one byte. Init
//! holds it for reading *and* writing, so a `start` that is killed between the
//! two leaves no hang-up behind that would wake it. Init also holds `result`
//! open until its execve closes it: what `start` reads there is an error, or
//! the end of the stream for success.
//!
//! One other request comes through the gate: [`REQUEST`], by which a caller without
//! CAP_SYS_PTRACE asks for the container's namespaces (`launch/entry.rs`).

use super::proc::Proc;
use crate::error::{Context, Error, Result};
use crate::launch::entry::{Handout, REQUEST, Request};
use nix::errno::Errno;
use nix::unistd::{read, write};
use std::os::fd::OwnedFd;

/// The most that a FIFO takes in one piece.
const PIPE_BUF: usize = 4096;

pub struct GateEnds {
    pub gate: OwnedFd,
    pub result: OwnedFd,
    /// `None`: whoever may enter the container needs no help.
    pub handout: Option<Handout>,
}

impl GateEnds {
    /// Blocks until `start` comes, and answers who asks for the namespaces meanwhile.
    pub fn wait(&self, proc: Option<&Proc>) -> Result<()> {
        loop {
            let mut byte = [0u8; 1];
            self.read(&mut byte)?;
            if byte != [REQUEST] {
                return Ok(());
            }
            // It was written as one, so the rest is there.
            let mut request = Request::default();
            self.read(&mut request)?;
            if let (Some(handout), Some(proc)) = (&self.handout, proc) {
                handout.answer(&request, |file| proc.namespace(file));
            }
        }
    }

    fn read(&self, buf: &mut [u8]) -> Result<()> {
        loop {
            match read(&self.gate, buf) {
                Err(Errno::EINTR) => {}
                other => return other.op("read the gate").map(drop),
            }
        }
    }

    /// Tells `start` why the payload did not start.
    pub fn report(&self, error: &Error) {
        let mut bytes = Vec::new();
        error.encode(&mut bytes);
        if bytes.len() > PIPE_BUF {
            bytes.clear();
            Error::msg(error.to_string().chars().take(1000).collect::<String>()).encode(&mut bytes);
        }
        // Nobody may be reading any more; then nobody is left to tell.
        let _ = write(&self.result, &bytes);
    }
}
