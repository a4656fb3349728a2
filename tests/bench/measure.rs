//! One command: its wall time, the CPU time of all its processes, its peak memory, its
//! system calls.

use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Milliseconds.
#[derive(Clone, Copy)]
pub struct Sample {
    pub wall: f64,
    pub cpu: f64,
}

/// What the kernel counted of a command and of its descendants that were waited for.
pub struct Usage {
    /// The peak resident set of the largest process.
    pub peak_kib: u64,
    /// The page faults of all, without those that read a disk.
    pub faults: u64,
}

pub struct Runner {
    work: PathBuf,
}

impl Runner {
    pub fn new(work: &Path) -> Self {
        Self { work: work.to_owned() }
    }

    /// Output goes to files, because the init that `create` leaves behind would hold a pipe
    /// open.
    fn prepare(&self, argv: &[String]) -> Result<Command> {
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(File::create(self.work.join("stdout"))?)
            .stderr(File::create(self.work.join("stderr"))?);
        Ok(command)
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(self.work.join("stdout")).unwrap_or_default()
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.work.join("stderr")).unwrap_or_default()
    }

    fn fail(&self, argv: &[String], what: &str) -> Result<()> {
        bail!("{what}: {}\n{}{}", argv.join(" "), self.stdout(), self.stderr())
    }

    /// Wall: from before the spawn (vfork and execve, no copy of this process) to the return of wait4.
    ///
    /// CPU: user and system time of the command and of all its descendants that have ended and been waited for, by it or
    /// (orphans) by us; what `init` used meanwhile is added, as it lives on. Not in it: work the kernel does later in
    /// its own threads (a network namespace is taken apart there), and a process that nobody waits for.
    pub fn timed(&self, argv: &[String], init: Init) -> Result<Sample> {
        let mut command = self.prepare(argv)?;
        reap_orphans(&init);
        let init_before = match init {
            Init::Lives(pid) => cpu_of(pid).unwrap_or(0.0),
            Init::None => 0.0,
        };
        let cpu = cpu_of_children()?;
        let begin = Instant::now();
        let child = command.spawn().with_context(|| argv[0].clone())?;
        let status = wait(child.id())?;
        let wall = begin.elapsed().as_secs_f64() * 1e3;
        reap_orphans(&init);
        let cpu = cpu_of_children()? - cpu;
        if status != 0 {
            self.fail(argv, &format!("wait status {status:#x} (expected 0)"))?;
        }
        let init_after = match init {
            Init::Lives(pid) => cpu_of(pid).unwrap_or(init_before),
            Init::None => 0.0,
        };
        Ok(Sample { wall, cpu: cpu + init_after - init_before })
    }

    /// Executes the commands, `at_once` at a time, and returns the wall time of all. The caller
    /// of the bench is the parent of what they leave behind.
    pub fn all(&self, commands: &[Vec<String>], at_once: usize) -> Result<f64> {
        let mut waiting = commands.iter();
        let mut running = HashMap::new();
        let begin = Instant::now();
        loop {
            while running.len() < at_once
                && let Some(argv) = waiting.next()
            {
                let child = self.prepare(argv)?.spawn().with_context(|| argv[0].clone())?;
                running.insert(child.id().cast_signed(), argv);
            }
            if running.is_empty() {
                return Ok(begin.elapsed().as_secs_f64() * 1e3);
            }
            let (pid, status) = wait_for(-1)?;
            if let Some(argv) = running.remove(&pid)
                && status != 0
            {
                self.fail(argv, &format!("wait status {status:#x} (expected 0)"))?;
            }
        }
    }

    /// A tiny parent starts the command, because the kernel also counts the memory and the page
    /// faults that a process had before its execve, and those are its parent's.
    pub fn usage(&self, floor: &Path, argv: &[String], init: Init) -> Result<Usage> {
        let mut wrapped = vec![floor.display().to_string(), "usage".to_owned()];
        wrapped.extend_from_slice(argv);
        self.timed(&wrapped, init)?;
        let stderr = self.stderr();
        let figure = |name: &str| -> Result<u64> {
            let text = stderr.lines().find_map(|line| line.strip_prefix(name));
            Ok(text.context("no figure from `floor usage`")?.parse()?)
        };
        Ok(Usage { peak_kib: figure("rss ")?, faults: figure("faults ")? })
    }

    /// The number of system calls of the command and its descendants, up to its end. `then`
    /// is called when the command itself has ended. It must end what the command left
    /// behind, because strace follows these processes, too.
    pub fn syscalls(
        &self,
        strace: &Path,
        argv: &[String],
        then: impl FnOnce() -> Result<()>,
    ) -> Result<usize> {
        let trace = self.work.join("trace");
        let _ = fs::remove_file(&trace);
        let mut wrapped = vec![strace.display().to_string()];
        wrapped.extend(["-f", "-e", "signal=none", "-o"].map(String::from));
        wrapped.push(trace.display().to_string());
        wrapped.extend_from_slice(argv);
        let mut child = self.prepare(&wrapped)?.spawn()?;
        let begin = Instant::now();
        let count = loop {
            let text = fs::read_to_string(&trace).unwrap_or_default();
            if let Some(count) = calls_until_exit(&text) {
                break count;
            }
            if begin.elapsed() > Duration::from_secs(20) {
                let _ = child.kill();
                self.fail(argv, "no end in sight under strace")?;
            }
            sleep(Duration::from_millis(5));
        };
        then()?;
        let status = wait(child.id())?;
        if status != 0 {
            self.fail(argv, &format!("wait status {status:#x} under strace"))?;
        }
        Ok(count)
    }
}

pub enum Init {
    None,
    Lives(i32),
}

/// Lines that begin a call, up to the exit of the first process of the trace.
fn calls_until_exit(trace: &str) -> Option<usize> {
    let first = trace.split_whitespace().next()?;
    let mut calls = 0;
    for line in trace.lines() {
        let (pid, what) = line.split_once(' ')?;
        let what = what.trim_start();
        if what.starts_with("+++") {
            if pid == first {
                return Some(calls);
            }
        } else if !what.starts_with("---") && !what.starts_with("<...") {
            calls += 1;
        }
    }
    None
}

/// Waits for a child and returns its wait status.
pub fn wait(pid: u32) -> Result<i32> {
    wait_for(pid.cast_signed()).map(|(_, status)| status)
}

/// Waits for a child, or for any if `pid` is -1. Returns its pid and its wait status.
fn wait_for(pid: i32) -> Result<(i32, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: status is a valid place for the result; the pid is our child's, or any.
        let got = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if got > 0 {
            return Ok((got, status));
        }
        let error = std::io::Error::last_os_error();
        ensure!(error.raw_os_error() == Some(libc::EINTR), "waiting for {pid}: {error}");
    }
}

/// Reaps all ended children, except the init whose end the caller checks.
fn reap_orphans(init: &Init) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Some(pid) = waitid(Id::All, look).ok().and_then(|status| status.pid()) {
        if matches!(init, Init::Lives(init) if *init == pid.as_raw()) || waitpid(pid, None).is_err() {
            break;
        }
    }
}

fn cpu_of_children() -> Result<f64> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = used.user_time().num_microseconds() + used.system_time().num_microseconds();
    #[expect(clippy::cast_precision_loss)]
    Ok(micros as f64 / 1e3)
}

/// The CPU time of a living process, in milliseconds.
pub fn cpu_of(pid: i32) -> Option<f64> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both are valid places for the results.
    let ok = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut time) == 0
    };
    #[expect(clippy::cast_precision_loss)]
    ok.then_some(time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6)
}

/// Checks every 100 µs until it is true.
pub fn until(what: &str, mut so: impl FnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !so() {
        ensure!(begin.elapsed() < Duration::from_secs(5), "after 5 s still not so: {what}");
        sleep(Duration::from_micros(100));
    }
    Ok(())
}
