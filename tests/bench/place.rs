//! Where the containers run: a private mount namespace with the requested cgroup layout, a
//! tmpfs to work in, and one cgroup as the parent of all. The host's mounts do not change.

use crate::container::Programs;
use crate::options::Options;
use crate::runtimes::Runtime;
use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Exists on every machine, and is covered by a tmpfs in the private mount namespace.
const FIXED_WORK_DIR: &str = "/mnt";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The machine's v1 hierarchies, without the `unified` one of a hybrid machine, because
    /// crun refuses to run with it.
    V1,
    V2,
}

impl Layout {
    pub fn of_machine() -> Result<Self> {
        let found = nix::sys::statfs::statfs(CGROUPS).context(CGROUPS)?;
        Ok(if found.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC { Self::V2 } else { Self::V1 })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::V1 { "v1" } else { "v2" })
    }
}

impl FromStr for Layout {
    type Err = anyhow::Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => bail!("no such layout: {s}"),
        }
    }
}

/// The parameters of the process inside.
#[derive(Serialize, Deserialize)]
pub struct Job {
    pub options: Options,
    pub programs: Programs,
    pub runtimes: Vec<Runtime>,
}

static INSIDE: AtomicI32 = AtomicI32::new(0);

extern "C" fn end_inside(_: libc::c_int) {
    let pid = INSIDE.load(Ordering::Relaxed);
    if pid > 0 {
        // SAFETY: kill is async-signal-safe; the process is our child and not yet waited for.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// Runs this program again with `--inside`. Cleans up after it, whatever its end.
pub fn run_inside(layout: Layout, job: &Job) -> Result<Value> {
    let name = cgroup_name(std::process::id());
    nix::sys::prctl::set_child_subreaper(true)?;
    let stdout = if job.options.check { Stdio::inherit() } else { Stdio::piped() };
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--inside", &layout.to_string(), &serde_json::to_string(job)?])
        .stdout(stdout)
        .spawn()?;
    INSIDE.store(child.id().cast_signed(), Ordering::Relaxed);
    let action = SigAction::new(SigHandler::Handler(end_inside), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only loads an atomic and calls kill.
        unsafe { sigaction(signal, &action) }?;
    }
    let mut text = String::new();
    let read = child.stdout.take().map_or(Ok(0), |mut out| out.read_to_string(&mut text));
    let status = child.wait()?;
    INSIDE.store(0, Ordering::Relaxed);
    let cleaned = remove_cgroups(&name);
    let _ = fs::remove_dir(work_dir(std::process::id()));
    ensure!(status.success(), "the measurement on cgroup {layout} failed ({status})");
    read?;
    cleaned?;
    if job.options.check {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).context("the result of the measurement")
}

fn cgroup_name(owner: u32) -> String {
    // A name of the same length in each run: no count depends on it.
    format!("corten-bench-{owner:07}")
}

fn work_dir(owner: u32) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{owner}"))
}

/// The place, seen from inside.
pub struct Place {
    pub layout: Layout,
    /// A tmpfs, as /run usually is. It vanishes with the mount namespace.
    pub work: PathBuf,
    /// The parent of every cgroup of the run, below the root of each hierarchy.
    pub cgroup: String,
    /// v1: the directories below /sys/fs/cgroup.
    pub hierarchies: Vec<String>,
    /// Whether the pids controller can set limits below the parent.
    pub pids: bool,
}

impl Place {
    /// `fixed`: the directory is the same on every machine, and no controller is enabled.
    pub fn enter(layout: Layout, fixed: bool) -> Result<Self> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // Containers outlive `create`, so this process reaps their init.
        nix::sys::prctl::set_child_subreaper(true)?;
        let owner = u32::try_from(nix::unistd::getppid().as_raw())?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        if layout == Layout::V2 && Layout::of_machine()? == Layout::V1 {
            mount(Some("cgroup2"), CGROUPS, Some("cgroup2"), MsFlags::empty(), none)?;
        } else if layout == Layout::V1 {
            for mounted in mounts()?.iter().filter(|m| m.kind == "cgroup2") {
                umount2(&mounted.at, MntFlags::MNT_DETACH)?;
            }
        }
        let work = if fixed { PathBuf::from(FIXED_WORK_DIR) } else { work_dir(owner) };
        fs::create_dir_all(&work)?;
        mount(Some("tmpfs"), &work, Some("tmpfs"), MsFlags::empty(), Some("mode=700"))?;
        let mut place =
            Self { layout, work, cgroup: cgroup_name(owner), hierarchies: Vec::new(), pids: false };
        place.make_parents(!fixed)?;
        Ok(place)
    }

    /// Creates the parent before the measurement, so that no runtime has to. Enables every
    /// controller for its children, on v2 only if `enable`.
    fn make_parents(&mut self, enable: bool) -> Result<()> {
        if self.layout == Layout::V2 {
            let dir = Path::new(CGROUPS).join(&self.cgroup);
            fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
            for at in [Path::new(CGROUPS), &dir].into_iter().filter(|_| enable) {
                for controller in fs::read_to_string(at.join("cgroup.controllers"))?.split_whitespace() {
                    let on = fs::write(at.join("cgroup.subtree_control"), format!("+{controller}"));
                    self.pids |= on.is_ok() && controller == "pids" && at == dir;
                }
            }
            return Ok(());
        }
        for mounted in mounts()?.iter().filter(|m| m.kind == "cgroup") {
            let Ok(name) = mounted.at.strip_prefix(CGROUPS) else {
                continue;
            };
            let name = name.to_str().context("a hierarchy with a strange name")?.to_owned();
            let dir = mounted.at.join(&self.cgroup);
            fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
            let controllers: Vec<&str> = name.split(',').collect();
            if controllers.contains(&"cpuset") {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(dir.join(file), fs::read(mounted.at.join(file))?)?;
                }
            }
            self.pids |= controllers.contains(&"pids");
            self.hierarchies.push(name);
        }
        ensure!(!self.hierarchies.is_empty(), "no cgroup hierarchy is mounted below {CGROUPS}");
        Ok(())
    }

    /// The layout for the floor, which does not look for it itself.
    pub fn floor_layout(&self) -> String {
        match (self.layout, self.pids) {
            (Layout::V2, true) => "v2+pids".to_owned(),
            (Layout::V2, false) => "v2".to_owned(),
            (Layout::V1, _) => self.hierarchies.join(":"),
        }
    }
}

struct Mounted {
    at: PathBuf,
    kind: String,
}

fn mounts() -> Result<Vec<Mounted>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        Some(Mounted { at: left.split(' ').nth(4)?.into(), kind: right.split(' ').next()?.to_owned() })
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// Kills every process in the cgroups of this run, and removes the cgroups in every
/// hierarchy. Only these cgroups have its name.
fn remove_cgroups(name: &str) -> Result<()> {
    for mounted in mounts()?.iter().filter(|m| m.kind == "cgroup" || m.kind == "cgroup2") {
        let dir = mounted.at.join(name);
        if dir.is_dir() {
            remove_cgroup(&dir).with_context(|| format!("removing {}", dir.display()))?;
        }
    }
    Ok(())
}

fn remove_cgroup(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    for attempt in 0..200 {
        for pid in fs::read_to_string(dir.join("cgroup.procs"))?.lines() {
            let _ = kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL);
        }
        while let Ok(status) = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG)) {
            if status.pid().is_none() {
                break;
            }
        }
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if attempt == 199 => return Err(e.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    Ok(())
}
