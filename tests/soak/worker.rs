//! Processes that call the runtime, many at the same time. Each worker is a process of its
//! own, because it reaps what the verbs leave it: the inits of detached containers.

use crate::place::Place;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

/// The longest that a verb may take, in milliseconds: everything beyond counts as a hang.
const PATIENCE: u16 = 60_000;

pub type Result<T> = std::result::Result<T, String>;

/// How a call ended.
pub struct Out {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Out {
    /// Requires success and no output.
    pub fn ok(self, what: &str) -> Result<()> {
        if self.status.success() && self.stderr.is_empty() { Ok(()) } else { Err(self.describe(what)) }
    }

    pub fn describe(&self, what: &str) -> String {
        format!("{what}: {}: {}", self.status, self.stderr.trim_end())
    }
}

/// Runs a command to its end. Its errors go to `log`: a pipe would stay open in an init.
///
/// # Errors
/// It hangs. It is killed then.
pub fn call(mut command: Command, log: &Path) -> Result<Out> {
    let stderr = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut child = command.spawn().map_err(|e| format!("{shown}: {e}"))?;
    if !ends(&child) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("hangs: {shown}"));
    }
    let status = child.wait().map_err(|e| format!("{shown}: {e}"))?;
    Ok(Out { status, stderr: fs::read_to_string(log).unwrap_or_default() })
}

fn ends(child: &Child) -> bool {
    let pid = rustix::process::Pid::from_child(child);
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("pidfd_open");
    let mut fds = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::from(PATIENCE)) {
            Err(Errno::EINTR) => {}
            ready => return ready.is_ok_and(|count| count > 0),
        }
    }
}

/// Reaps every child that has ended. Returns whether children are left that have not.
pub fn reap() -> bool {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Err(Errno::ECHILD) => return false,
            _ => {}
        }
    }
}

impl Place {
    /// `runtime --root ROOT ARGS...`
    pub fn verb(&self, root: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(root).args(args);
        command
    }

    /// Runs a verb to its end, from a worker with this name.
    pub fn run(&self, worker: &str, args: &[&str]) -> Result<Out> {
        call(self.verb(&self.root(), args), &self.log(worker))
    }

    pub fn log(&self, worker: &str) -> PathBuf {
        self.work.join(format!("{worker}.err"))
    }
}

/// Runs `count` containers of a kind by `workers` processes.
pub fn many(place: &Place, kind: &str, workers: u64, count: u64) -> Result<()> {
    let share = |worker: u64| count / workers + u64::from(worker < count % workers);
    let mut children = Vec::new();
    for worker in 0..workers {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--worker", kind]).arg(&place.work).arg(&place.runtime);
        command.args([worker.to_string(), share(worker).to_string()]);
        children.push(command.spawn().map_err(|e| format!("a worker: {e}"))?);
    }
    let failed = children.iter_mut().filter_map(|child| child.wait().ok()).filter(|s| !s.success()).count();
    reap();
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {workers} workers failed")) }
}

/// Creates `count` containers that stay, uses each while all are alive, and deletes them.
pub fn alive(place: &Place, workers: u64, count: u64) -> Result<()> {
    many(place, "start", workers, count)?;
    let listed =
        place.verb(&place.root(), &["list", "--format", "json"]).output().map_err(|e| e.to_string())?;
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).unwrap_or_default();
    let running = listed.iter().filter(|one| one["status"] == "running").count();
    if running as u64 != count {
        return Err(format!("{running} of {count} are running"));
    }
    many(place, "use", workers, count)?;
    many(place, "delete", workers, count)
}

/// A worker: KIND WORK RUNTIME NUMBER COUNT.
pub fn main(args: &[String]) -> ExitCode {
    nix::sys::prctl::set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER");
    let [kind, work, runtime, number, count] = args else { return ExitCode::from(2) };
    let place = Place::of(work.as_ref(), runtime.as_ref());
    let name = format!("worker{number}");
    for n in 0..count.parse().unwrap_or(0u64) {
        let id = match kind.as_str() {
            "start" | "use" | "delete" => format!("{}alive{number}n{n}", place.token),
            kind => format!("{}{kind}{number}n{n}", place.token),
        };
        if let Err(error) = container(&place, kind, &name, &id) {
            eprintln!("{kind} {id}: {error}");
            return ExitCode::FAILURE;
        }
        reap();
    }
    ExitCode::SUCCESS
}

fn container(place: &Place, kind: &str, worker: &str, id: &str) -> Result<()> {
    let (short, long) = (place.bundle_dir("short"), place.bundle_dir("long"));
    let [short, long] = [&short, &long].map(|dir| dir.to_str().expect("UTF-8"));
    let ok = |args: &[&str]| place.run(worker, args)?.ok(args[0]);
    match kind {
        "run" => ok(&["run", "--bundle", short, id]),
        "life" => {
            ok(&["create", "--bundle", short, id])?;
            ok(&["start", id])?;
            // The container has ended by itself, or it is killed: both must work at any moment.
            ok(&["delete", "--force", id])
        }
        "start" => {
            ok(&["create", "--bundle", long, id])?;
            ok(&["start", id])
        }
        "use" => {
            ok(&["exec", id, "/bin/true"])?;
            ok(&["pause", id])?;
            ok(&["resume", id])
        }
        "delete" => ok(&["delete", "--force", id]),
        other => Err(format!("no such kind: {other}")),
    }
}
