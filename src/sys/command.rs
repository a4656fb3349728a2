//! The output of a program of the host (`ps`, `newuidmap`).

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{Read, Result};
use std::os::fd::AsFd;
use std::process::{Command, Output, Stdio};

/// Runs a program with an empty stdin, and returns what it printed and how it ended. Unlike
/// [`Command::output`], this returns an error if poll or read fails; the former panics.
pub fn output(command: &mut Command) -> Result<Output> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let read = read_both(child.stdout.take(), child.stderr.take());
    // The pipes are closed now. A program that still writes gets SIGPIPE, and ends.
    let status = child.wait()?;
    let (stdout, stderr) = read?;
    Ok(Output { status, stdout, stderr })
}

/// Reads two pipes to their ends, whichever has something.
fn read_both<A: Read + AsFd, B: Read + AsFd>(
    mut one: Option<A>,
    mut two: Option<B>,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    while let (Some(a), Some(b)) = (&mut one, &mut two) {
        let mut fds = [PollFd::new(a.as_fd(), PollFlags::POLLIN), PollFd::new(b.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let [is_first, is_second] = fds.map(|fd| fd.any().unwrap_or(true));
        if is_first && read_some(a, &mut first)? == 0 {
            one = None;
        }
        if is_second && read_some(b, &mut second)? == 0 {
            two = None;
        }
    }
    one.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut first))?;
    two.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut second))?;
    Ok((first, second))
}

/// Reads what is there, at most one buffer. Returns the number of bytes; 0 is the end.
fn read_some(pipe: &mut impl Read, all: &mut Vec<u8>) -> Result<usize> {
    let mut buffer = [0; 8192];
    loop {
        match pipe.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(count) => {
                all.extend_from_slice(buffer.get(..count).unwrap_or_default());
                return Ok(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_arrive_whole_and_apart() {
        let script = "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero | tr '\\0' x; exit 3";
        let out = output(Command::new("sh").args(["-c", script])).expect("sh");
        assert_eq!((out.status.code(), out.stdout.len(), out.stderr.len()), (Some(3), 300_000, 300_000));
        assert!(out.stdout.iter().all(|byte| *byte == b'x') && out.stderr.iter().all(|byte| *byte == 0));
        let out = output(Command::new("sh").args(["-c", "exec >&-; echo late >&2"])).expect("sh");
        assert_eq!((out.stdout.as_slice(), out.stderr.as_slice()), (&b""[..], &b"late\n"[..]));
        assert!(output(&mut Command::new("/nothing")).is_err());
    }
}
