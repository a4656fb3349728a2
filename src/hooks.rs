//! Runs hooks (runtime.md "Lifecycle", config.md "POSIX-platform Hooks").
//!
//! A hook gets the container's state on stdin. The runtime waits for the hook by a pidfd.
//! A hook may ignore its stdin, close it, or leave a daemon behind. If a hook runs longer
//! than its timeout, the runtime kills it with its process group. The output of a failed
//! hook becomes part of the error, unless an annotation names files for the output.
//!
//! A hook without `env` in the configuration gets the runtime's own environment. A
//! startContainer hook gets the payload's (`init/hooks.rs`). runc gives the payload's
//! environment to createContainer hooks, too. But these hooks are programs of the host,
//! and with this environment the image tells them what to load (CVE-2025-23266).

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

/// How much of a hook's output the runtime keeps for the error, in bytes. The last read
/// may exceed this by 511 bytes.
const OUTPUT_LIMIT: usize = 2048;

/// The container for which hooks run.
#[derive(Debug, Clone)]
pub struct Subject {
    pub container: Container,
    pub output: Output,
    /// The signals of a verb in the foreground. They end a hook, and the wait for it.
    /// `None` if the verb does not stay in the foreground.
    pub signals: Option<Rc<Signals>>,
}

/// The files for the output of hooks. Without a file, the runtime keeps the output for an
/// error.
#[derive(Debug, Clone, Default)]
pub struct Output {
    pub stdout: Option<Rc<OwnedFd>>,
    pub stderr: Option<Rc<OwnedFd>>,
}

/// Runs hooks in their order, up to the first failure.
pub fn run_until_failure(hooks: &[Hook], subject: &Subject, status: Status, pid: i32) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = subject.container.state(status, pid).to_string();
    hooks.iter().try_for_each(|hook| run_hook(hook, &state, subject, &|| Ok(())))
}

/// Runs hooks that are programs of the container's image. Each hook calls `confine` in
/// its own process, right before execve.
pub fn run_in_container(
    hooks: &[Hook],
    subject: &Subject,
    pid: i32,
    confine: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let state = subject.container.state(Status::Created, pid).to_string();
    hooks.iter().try_for_each(|hook| run_hook(hook, &state, subject, confine))
}

/// Runs all hooks, even after a failure, and returns the failures. The container has
/// already stopped, so a failure cannot prevent anything.
pub fn run_despite_failures(hooks: &[Hook], subject: &Subject, status: Status, pid: i32) -> Vec<Error> {
    if hooks.is_empty() {
        return Vec::new();
    }
    let state = subject.container.state(status, pid).to_string();
    hooks.iter().filter_map(|hook| run_hook(hook, &state, subject, &|| Ok(())).err()).collect()
}

fn run_hook(hook: &Hook, state: &str, subject: &Subject, confine: &dyn Fn() -> Result<()>) -> Result<()> {
    let name_hook = |e: Error| add_hook_name(e, hook);
    let deadline = hook.timeout.map(|s| Instant::now() + Duration::from_secs(u64::from(s.unsigned_abs())));
    let (hook_stdin, stdin) = pipe2(OFlag::O_CLOEXEC).op("pipe").map_err(name_hook)?;
    let (output, hook_output) = pipe2(OFlag::O_CLOEXEC).op("pipe").map_err(name_hook)?;
    let (pid, pidfd) = match clone::fork_under_filter().op("clone for the hook").map_err(name_hook)? {
        Forked::Child => become_hook(hook, &hook_stdin, &hook_output, subject, confine),
        Forked::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((hook_stdin, hook_output));
    let mut talk = Talk {
        stdin: Some(stdin),
        state: state.as_bytes(),
        output: Some(output),
        said: Vec::new(),
        signals: subject.signals.as_deref(),
    };
    let outcome = talk.exchange_until_exit(&pidfd, deadline).map_err(name_hook);
    steps::done_with(|| format!("ran the hook {} ({})", hook.at, hook.path.to_string_lossy()));
    match outcome {
        Ok(true) => {}
        stopped => {
            // The runtime has not waited for the hook yet, so no other process can have
            // its pid.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            pidfd::kill_and_reap(&pidfd);
            stopped?;
            let limit = hook.timeout.unwrap_or_default();
            return Err(name_hook(talk.failure(&format!("it did not end within its timeout of {limit} s"))));
        }
    }
    match pidfd::wait(&pidfd).op("wait for the hook").map_err(name_hook)? {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => Err(name_hook(talk.failure(&format!("exit status {code}")))),
        Exit::Signal(signal) => {
            Err(name_hook(talk.failure(&format!("killed by signal {signal}: {}", sys::signal_text(signal)))))
        }
    }
}

/// Adds to an error which hook failed, in the words of runc.
fn add_hook_name(error: Error, hook: &Hook) -> Error {
    let mut place = hook.at.rsplit('/');
    let (index, kind) = (place.next().unwrap_or_default(), place.next().unwrap_or_default());
    let op = format!("error running {kind} hook #{index}: {}", error.op);
    Error { op, ..error }.at(hook.at.clone()).on(hook.path.to_string_lossy())
}

/// Turns the child into the hook: sets its stdio and signals, confines it, and calls
/// execve.
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
        // The descriptors that the payload inherits are not for the hook.
        fd::cloexec_from(3)?;
        // The hook gets a process group of its own, so that the runtime can kill the
        // whole group. A hook without a timeout stays in the runtime's group, where the
        // terminal's interrupt key reaches it. A verb in the foreground gets the signal
        // of the key itself, and then kills the group.
        if hook.timeout.is_some() || subject.signals.is_some() {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        }
        sys::default_signals();
        let none = nix::sys::signal::SigSet::empty();
        none.thread_set_mask()
    };
    let execute = || -> Result<Infallible> {
        prepare().op("prepare the hook")?;
        // The bundle is the working directory if the hook can see it, as in runc.
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

/// The exchange with a running hook: the state goes in, the output comes out.
struct Talk<'a> {
    /// `None` once the hook has the whole state, or has closed its stdin.
    stdin: Option<OwnedFd>,
    /// The part of the state that the hook has not got yet.
    state: &'a [u8],
    /// `None` once all writers of the pipe are gone.
    output: Option<OwnedFd>,
    /// The beginning of the output.
    said: Vec<u8>,
    signals: Option<&'a Signals>,
}

impl Talk<'_> {
    /// Writes the state and reads the output until the hook ends (true) or its time is
    /// over (false).
    ///
    /// # Errors
    /// A signal came that stops the verb, or a system call failed.
    fn exchange_until_exit(&mut self, pidfd: &OwnedFd, deadline: Option<Instant>) -> Result<bool> {
        for end in [&self.stdin, &self.output].into_iter().flatten() {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).op("fcntl O_NONBLOCK")?;
        }
        loop {
            self.write_state();
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
            self.read_output();
            if ended {
                return Ok(true);
            }
            self.signals.map_or(Ok(()), Signals::check)?;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
        }
    }

    /// Writes as much of the state as the pipe takes. A hook that closed its stdin
    /// (EPIPE) does not want the rest.
    fn write_state(&mut self) {
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

    /// Reads the output that is there, and keeps its beginning.
    fn read_output(&mut self) {
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

    /// Returns the error for a hook that failed as `how` says, with the output.
    fn failure(&self, how: &str) -> Error {
        let said = String::from_utf8_lossy(&self.said);
        match said.trim() {
            "" => Error::msg(how),
            said => Error::msg(format!("{how}: {said}")),
        }
    }
}
