//! Running hooks (runtime.md "Lifecycle", config.md "POSIX-platform Hooks").
//!
//! A hook gets the container's state on stdin and is waited for by its pidfd.
//! It may ignore its stdin, close it, leave a daemon behind, or run for longer
//! than its timeout, when it is killed with its process group. What it prints
//! goes into the error if it fails, unless an annotation names files for it.
//!
//! Where the configuration gives a hook no environment, it gets the runtime's
//! own; a startContainer hook gets the payload's (`init/hooks.rs`). runc gives
//! that to createContainer hooks, too: programs of the host that the image then
//! tells what to load (CVE-2025-23266).

use crate::error::{Context, Error, Result};
use crate::signals::Signals;
use crate::spec::plan::Hook;
use crate::spec::state::{Container, Status};
use crate::steps;
use crate::sys::clone::{self, Forked};
use crate::sys::pidfd::{self, Exit};
use crate::sys::{fd, process as sys};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, pipe2, read, setpgid, write};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How much of a hook's output is kept for its error.
const OUTPUT_LIMIT: usize = 2048;

/// What a hook is run for.
#[derive(Debug, Clone)]
pub struct Subject {
    pub container: Container,
    pub output: Output,
    /// The signals of a foreground verb: they end the hook, and the wait for it.
    pub signals: Option<Rc<Signals>>,
}

/// Files that take what hooks print; without them it is kept for an error.
#[derive(Debug, Clone, Default)]
pub struct Output {
    pub stdout: Option<Rc<OwnedFd>>,
    pub stderr: Option<Rc<OwnedFd>>,
}

/// Runs hooks in their order; the first failure ends it.
pub fn run_all(hooks: &[Hook], subject: &Subject, status: Status, pid: i32) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = subject.container.state(status, pid).to_string();
    hooks.iter().try_for_each(|hook| run(hook, &state, subject, &|| Ok(())))
}

/// Runs hooks that are programs of the container's image. `confine` is called in
/// the process of each hook, right before its execve.
pub fn run_in_container(
    hooks: &[Hook],
    subject: &Subject,
    pid: i32,
    confine: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let state = subject.container.state(Status::Created, pid).to_string();
    hooks.iter().try_for_each(|hook| run(hook, &state, subject, confine))
}

/// Runs all hooks whatever becomes of them and returns what failed: what
/// comes after the container is stopped can't be called off.
pub fn run_each(hooks: &[Hook], subject: &Subject, status: Status, pid: i32) -> Vec<Error> {
    if hooks.is_empty() {
        return Vec::new();
    }
    let state = subject.container.state(status, pid).to_string();
    hooks.iter().filter_map(|hook| run(hook, &state, subject, &|| Ok(())).err()).collect()
}

fn run(hook: &Hook, state: &str, subject: &Subject, confine: &dyn Fn() -> Result<()>) -> Result<()> {
    let name = |e: Error| named(e, hook);
    let deadline = hook.timeout.map(|s| Instant::now() + Duration::from_secs(u64::from(s.unsigned_abs())));
    let (stdin_theirs, stdin) = pipe2(OFlag::O_CLOEXEC).op("pipe").map_err(name)?;
    let (output, output_theirs) = pipe2(OFlag::O_CLOEXEC).op("pipe").map_err(name)?;
    let (pid, pidfd) = match clone::fork_under_filter().op("clone for the hook").map_err(name)? {
        Forked::Child => become_hook(hook, &stdin_theirs, &output_theirs, subject, confine),
        Forked::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((stdin_theirs, output_theirs));
    let mut talk = Talk {
        stdin: Some(stdin),
        state: state.as_bytes(),
        output: Some(output),
        said: Vec::new(),
        signals: subject.signals.as_deref(),
    };
    let outcome = talk.until_exit(&pidfd, deadline).map_err(name);
    steps::done_with(|| format!("ran the hook {} ({})", hook.at, hook.path.to_string_lossy()));
    match outcome {
        Ok(true) => {}
        stopped => {
            // Not waited for yet, so the number is still its own.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            pidfd::kill_and_reap(&pidfd);
            stopped?;
            let limit = hook.timeout.unwrap_or_default();
            return Err(name(talk.failure(&format!("it did not end within its timeout of {limit} s"))));
        }
    }
    match pidfd::wait(&pidfd).op("wait for the hook").map_err(name)? {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => Err(name(talk.failure(&format!("exit status {code}")))),
        Exit::Signal(signal) => {
            Err(name(talk.failure(&format!("killed by signal {signal}: {}", sys::signal_text(signal)))))
        }
    }
}

/// Says which hook failed, in the words that runc has for it.
fn named(error: Error, hook: &Hook) -> Error {
    let mut place = hook.at.rsplit('/');
    let (index, kind) = (place.next().unwrap_or_default(), place.next().unwrap_or_default());
    let op = format!("error running {kind} hook #{index}: {}", error.op);
    Error { op, ..error }.at(hook.at.clone()).on(hook.path.to_string_lossy())
}

/// The child: stdio, signals, what confines it, execve.
fn become_hook(
    hook: &Hook,
    stdin: &OwnedFd,
    output: &OwnedFd,
    subject: &Subject,
    confine: &dyn Fn() -> Result<()>,
) -> ! {
    let prepare = || -> nix::Result<()> {
        let Output { stdout, stderr } = &subject.output;
        fd::dup_onto(stdin, 0)?;
        fd::dup_onto(stdout.as_deref().unwrap_or(output), 1)?;
        fd::dup_onto(stderr.as_deref().unwrap_or(output), 2)?;
        // Descriptors that are passed on to the payload are not the hook's.
        fd::cloexec_from(3)?;
        // A group of its own, to be killed as one. Without a timeout it stays
        // within reach of the terminal's interrupt key, unless we hear of that.
        if hook.timeout.is_some() || subject.signals.is_some() {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        }
        sys::default_signals();
        let none = nix::sys::signal::SigSet::empty();
        none.thread_set_mask()
    };
    let execute = || -> Result<Infallible> {
        prepare().op("prepare the hook")?;
        // Where the bundle is in sight it is the working directory, as in runc.
        let _ = nix::unistd::chdir(&subject.container.bundle);
        let env = hook.env.clone().unwrap_or_else(sys::environment);
        let execve = sys::Execve::new(&hook.path, &hook.args, &env);
        confine()?;
        Err(Error::os("execve", execve.call()))
    };
    let error = match execute() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let _ = write(std::io::stderr(), error.to_string().as_bytes());
    clone::exit(127)
}

/// The conversation with a running hook.
struct Talk<'a> {
    stdin: Option<OwnedFd>,
    state: &'a [u8],
    /// `None` once all its writers are gone.
    output: Option<OwnedFd>,
    said: Vec<u8>,
    signals: Option<&'a Signals>,
}

impl Talk<'_> {
    /// Feeds and listens until the hook ends (true) or its time is up (false).
    ///
    /// # Errors
    /// A signal came that stops the verb.
    fn until_exit(&mut self, pidfd: &OwnedFd, deadline: Option<Instant>) -> Result<bool> {
        for end in [&self.stdin, &self.output].into_iter().flatten() {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).op("fcntl O_NONBLOCK")?;
        }
        loop {
            self.feed();
            let timeout = deadline.map_or(PollTimeout::NONE, crate::sys::timeout_until);
            let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.output.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
            fds.extend(self.stdin.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLOUT)));
            fds.extend(self.signals.map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).op("poll the hook"),
            }
            let ended = fds[0].any() == Some(true);
            self.listen();
            if ended {
                return Ok(true);
            }
            self.signals.map_or(Ok(()), Signals::check)?;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
        }
    }

    /// Writes what the pipe takes. A hook that closed its stdin (EPIPE) has
    /// chosen not to know.
    fn feed(&mut self) {
        while let Some(stdin) = &self.stdin {
            match write(stdin, self.state) {
                Ok(len) => self.state = &self.state[len..],
                Err(Errno::EAGAIN) => return,
                Err(_) => self.state = &[],
            }
            if self.state.is_empty() {
                self.stdin = None;
            }
        }
    }

    /// Reads what is there.
    fn listen(&mut self) {
        let mut buf = [0u8; 512];
        while let Some(output) = &self.output {
            match read(output, &mut buf) {
                Ok(0) => self.output = None,
                Ok(len) if self.said.len() < OUTPUT_LIMIT => self.said.extend_from_slice(&buf[..len]),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn failure(&self, how: &str) -> Error {
        let said = String::from_utf8_lossy(&self.said);
        match said.trim() {
            "" => Error::msg(how),
            said => Error::msg(format!("{how}: {said}")),
        }
    }
}
