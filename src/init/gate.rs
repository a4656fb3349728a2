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
    pub fn report(&self, failure: &Failure) {
        // Nobody may be reading any more; then nobody is left to tell.
        let _ = write(&self.result, &failure.encoded());
    }
}

/// Why the payload did not start.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// A startContainer hook failed: the container is to be destroyed (runtime.md
    /// "Lifecycle", step 9).
    OfHook(Error),
    /// Anything else: a stopped container is left.
    OfPayload(Error),
}

/// Where the errors of these hooks point, and no others. It tells the two failures apart
/// in what is written, whose form older versions know.
const START_CONTAINER: &str = "/hooks/startContainer/";

impl Failure {
    pub fn error(&self) -> &Error {
        let (Failure::OfHook(error) | Failure::OfPayload(error)) = self;
        error
    }

    fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.error().encode(&mut bytes);
        if bytes.len() > PIPE_BUF {
            bytes.clear();
            let text: String = self.error().to_string().chars().take(1000).collect();
            let at = if matches!(self, Failure::OfHook(_)) { START_CONTAINER } else { "" };
            Error::msg(text).at(at).encode(&mut bytes);
        }
        bytes
    }

    /// Reads what [`GateEnds::report`] wrote.
    pub fn decode(bytes: &[u8]) -> Failure {
        match Error::decode(bytes) {
            Some(error) if error.at.starts_with(START_CONTAINER) => Failure::OfHook(error),
            Some(error) => Failure::OfPayload(error),
            None => Failure::OfPayload(Error::msg("init reported an unreadable error")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_kind() {
        for length in [1, PIPE_BUF] {
            let error = Error::msg("x".repeat(length));
            let of_hook = Failure::OfHook(error.clone().at("/hooks/startContainer/0"));
            assert!(matches!(Failure::decode(&of_hook.encoded()), Failure::OfHook(_)), "{length}");
            let of_payload = Failure::OfPayload(error.at("/process/args"));
            assert!(matches!(Failure::decode(&of_payload.encoded()), Failure::OfPayload(_)), "{length}");
        }
    }
}
