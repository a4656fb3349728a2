//! One run of the runtime (or of any program), with all that surrounds it.
//!
//! Output goes to files, never to pipes: a container may outlive the command
//! and would hold a pipe open.

use super::Test;
use super::sys::{PATIENCE, PidFd};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Call<'t> {
    test: &'t Test,
    pub command: Command,
    pub stdout: PathBuf,
    pub stderr: PathBuf,
    shown: String,
}

/// How it ended and what it said.
#[derive(Debug)]
pub struct Out {
    /// The exit code, or 128 + the signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl<'t> Call<'t> {
    pub fn new(test: &'t Test, program: impl AsRef<OsStr>) -> Call<'t> {
        let (stdout, stderr) = (test.path("out"), test.path("err"));
        let shown = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).expect("stdout file"))
            .stderr(File::create(&stderr).expect("stderr file"));
        Call { test, command, stdout, stderr, shown }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Call::arg)
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn cwd(mut self, dir: impl AsRef<std::path::Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub fn stdin(mut self, from: impl Into<Stdio>) -> Self {
        self.command.stdin(from);
        self
    }

    /// The payload writes into this pipe instead of a file.
    pub fn stdout(mut self, to: OwnedFd) -> Self {
        self.command.stdout(to);
        self
    }

    /// Hands `fd` down as number `at`.
    pub fn pass(self, fd: OwnedFd, at: RawFd) -> Self {
        self.leak(fd, at..at + 1)
    }

    /// Leaves `fd` open under all these numbers, as a careless caller does.
    pub fn leak(mut self, fd: OwnedFd, numbers: std::ops::Range<RawFd>) -> Self {
        let fd_at = move |at| {
            // SAFETY: dup2 and fcntl take integers and are async-signal-safe.
            let rc = unsafe {
                if fd.as_raw_fd() == at {
                    libc::fcntl(at, libc::F_SETFD, 0)
                } else {
                    libc::dup2(fd.as_raw_fd(), at)
                }
            };
            if rc < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        };
        let give = move || numbers.clone().try_for_each(&fd_at);
        // SAFETY: the closure only makes async-signal-safe calls.
        unsafe { self.command.pre_exec(give) };
        self
    }

    /// Runs on one CPU, and there only while nobody else wants to: what is woken
    /// with an ordinary policy (`/process/scheduler`) is faster.
    pub fn giving_way(mut self) -> Self {
        let give_way = || {
            let allowed = sched_getaffinity(Pid::from_raw(0))?;
            let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
            let mut one = CpuSet::new();
            one.set(first.unwrap_or(0))?;
            sched_setaffinity(Pid::from_raw(0), &one)?;
            let none = libc::sched_param { sched_priority: 0 };
            // SAFETY: the kernel reads one sched_param, and that is what it gets.
            let rc = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) };
            if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: the closure only makes system calls.
        unsafe { self.command.pre_exec(give_way) };
        self
    }

    pub fn spawn(mut self) -> Running<'t> {
        // An attacker who tries to open the runtime for writing is refused, but
        // for the instant of each try the kernel holds the file to be busy (see
        // SECURITY.md): what fails so has not started, and is started again.
        let mut tries = 0..1000;
        let child = loop {
            match self.command.spawn() {
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy && tries.next().is_some() => {}
                other => break other.expect("spawn"),
            }
        };
        // What was handed down is not held here: a reader must see its end.
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = PidFd::open(child.id() as i32);
        Running { call: self, child, process }
    }

    #[track_caller]
    pub fn out(self) -> Out {
        self.spawn().out()
    }

    /// Runs a step of the clean-up, which goes on whatever happens. If the call doesn't end,
    /// the test fails after the clean-up.
    pub fn quietly(self) {
        self.spawn().quietly_within(PATIENCE);
    }

    /// Runs it and insists on success.
    #[track_caller]
    pub fn ok(self) -> Out {
        let shown = self.shown.clone();
        let out = self.out();
        assert_eq!(out.code, 0, "{shown}: {out:?}");
        out
    }
}

/// A call that has not been waited for yet.
pub struct Running<'t> {
    call: Call<'t>,
    child: Child,
    process: PidFd,
}

impl Running<'_> {
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Has it not ended yet?
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// SIGKILL: what a crash or an impatient engine does to it.
    pub fn kill(&self) {
        self.process.kill();
    }

    #[track_caller]
    pub fn out(self) -> Out {
        let shown = self.call.shown.clone();
        let (out, ended) = self.finish(PATIENCE);
        assert!(ended, "hangs: {shown} {out:?}");
        out
    }

    /// Waits for at most `patience`, then kills it and notes for the clean-up that it hangs.
    pub fn quietly_within(self, patience: Duration) {
        let (test, shown) = (self.call.test, self.call.shown.clone());
        let (_, ended) = self.finish(patience);
        if !ended {
            test.note_hang(shown);
        }
    }

    /// Returns what came of it, and whether it ended by itself within `patience`. Kills it if
    /// not.
    pub fn finish(self, patience: Duration) -> (Out, bool) {
        self.finish_or(patience, || ())
    }

    /// Like `finish`. Calls `look` before it kills the process.
    pub fn finish_or(mut self, patience: Duration, look: impl FnOnce()) -> (Out, bool) {
        let ended = self.process.ends_within(patience);
        if !ended {
            look();
            self.child.kill().expect("kill a child of ours");
        }
        let status = self.child.wait().expect("wait for a child");
        let out = Out {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: lossy(&self.call.stdout),
            stderr: lossy(&self.call.stderr),
        };
        self.call.test.note(&self.call.shown, &out);
        (out, ended)
    }
}

pub fn lossy(path: &PathBuf) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("read an output file")).into_owned()
}

impl Out {
    /// The probe's report.
    #[track_caller]
    pub fn report(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "the payload failed: {self:?}");
        // No closure: the panic is to have the caller's place, not one in the harness.
        match serde_json::from_str(&self.stdout) {
            Ok(report) => report,
            Err(error) => panic!("{error}: no report in {self:?}"),
        }
    }

    /// The call failed, and (where it is corten's) said why in one line that
    /// begins `corten: error: ` and holds every one of `needles`.
    #[track_caller]
    pub fn one_clear_line(&self, needles: &[&str]) {
        self.failed_for(needles);
        if !super::runtime::Runtime::get().is_corten() {
            return;
        }
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "one line: {self:?}");
        assert!(self.stderr.starts_with("corten: error: "), "{self:?}");
        self.says(needles);
    }

    /// The call failed, whatever the runtime, and all of `needles` are on stderr.
    #[track_caller]
    pub fn fails(&self, needles: &[&str]) {
        self.failed_for(needles);
        self.says(needles);
    }

    /// Without a text, an error that has nothing to do with the test would pass, too.
    #[track_caller]
    fn failed_for(&self, needles: &[&str]) {
        assert_ne!(self.code, 0, "accepted: {self:?}");
        assert!(needles.iter().any(|needle| !needle.is_empty()), "name the reason: {self:?}");
    }

    /// Whatever the runtime: all of `needles` are on stderr.
    #[track_caller]
    pub fn says(&self, needles: &[&str]) {
        for needle in needles {
            assert!(self.stderr.contains(needle), "{needle:?} is not in {self:?}");
        }
    }
}
