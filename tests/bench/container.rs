//! The measured container: the rootfs, the one config.json for every runtime, and the
//! command line of every verb. `floor.c` creates the same container by hand: change both
//! together.

use crate::place::{Job, Layout, Place};
use crate::runtimes::{Kind, Runtime};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const PIDS_LIMIT: i64 = 1024;
const TRUE: &str = "/true";
const PAUSE: &str = "/pause";

/// Static programs, compiled from the C files next to this one.
#[derive(Clone, Serialize, Deserialize)]
pub struct Programs {
    pub floor: PathBuf,
    ok: PathBuf,
    pause: PathBuf,
}

pub fn compile() -> Result<Programs> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-programs");
    fs::create_dir_all(&dir)?;
    let compiler = ["musl-gcc", "gcc", "cc"]
        .into_iter()
        .find(|cc| Command::new(cc).arg("--version").output().is_ok_and(|o| o.status.success()))
        .context("a C compiler is needed: musl-gcc (musl-tools) or gcc")?;
    let build = |name: &str| -> Result<PathBuf> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench").join(name).with_extension("c");
        let program = dir.join(name);
        let done = Command::new(compiler)
            .args(["-static", "-O2", "-Wall", "-Wextra", "-Wno-parentheses", "-Werror", "-s", "-o"])
            .args([&program, &source])
            .status()?;
        ensure!(done.success(), "{compiler} could not compile {}", source.display());
        Ok(program)
    };
    Ok(Programs { floor: build("floor")?, ok: build("true")?, pause: build("pause")? })
}

/// The programs that a container can run. Each has its own bundle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Returns 0 at once.
    Ok,
    /// Waits for a signal.
    Pause,
    /// Prints a report of what it sees.
    Probe,
}

impl Payload {
    const ALL: [Self; 3] = [Self::Ok, Self::Pause, Self::Probe];

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "true",
            Self::Pause => "pause",
            Self::Probe => "probe",
        }
    }

    pub fn argv(self) -> &'static [&'static str] {
        match self {
            Self::Ok => &[TRUE],
            Self::Pause => &[PAUSE],
            Self::Probe => &["/bin/busybox", "sh", "-c", PROBE],
        }
    }
}

/// Everything that must be the same under every runtime.
const PROBE: &str = "\
echo [mounts]; busybox cut -d' ' -f4- /proc/self/mountinfo
echo [cgroup]; busybox cat /proc/self/cgroup /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>&-
busybox sort /sys/fs/cgroup/devices/devices.list 2>&-
echo [status]; busybox grep -E 'Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:' /proc/self/status; ulimit -n; umask
echo [names]; busybox hostname; busybox ip addr
echo [devices]; busybox stat -c '%n %A %t:%T %u:%g' /dev/* /dev; busybox ls -l /dev/fd /dev/ptmx | busybox sed 's/.* //'
echo [fds]; busybox ls /proc/1/fd
";

pub struct Bench {
    pub runtimes: Vec<Runtime>,
    pub floor: PathBuf,
    pub work: PathBuf,
    pub notes: Vec<String>,
    cgroup: String,
    pub floor_layout: String,
}

impl Bench {
    pub fn new(place: &Place, job: &Job) -> Result<Self> {
        let wanted = |r: &&Runtime| {
            job.options.only.is_empty() || r.kind == Kind::Floor || job.options.only.contains(&r.name)
        };
        let mut bench = Self {
            runtimes: job.runtimes.iter().filter(wanted).cloned().collect(),
            floor: job.programs.floor.clone(),
            work: place.work.clone(),
            notes: Vec::new(),
            cgroup: place.cgroup.clone(),
            floor_layout: place.floor_layout(),
        };
        if !place.pids {
            bench.notes.push("no pids limit: its controller is not available on this layout".into());
        }
        make_rootfs(&bench.rootfs(), &job.programs)?;
        for runtime in bench.runtimes.clone() {
            if runtime.kind == Kind::Floor {
                continue;
            }
            let devices = bench.device_rules(place, &runtime);
            for payload in Payload::ALL {
                let dir = bench.bundle(&runtime, payload);
                fs::create_dir_all(&dir)?;
                let config = bench.config(&runtime, payload, place.pids, devices);
                fs::write(dir.join("config.json"), serde_json::to_string_pretty(&config)?)?;
            }
            fs::create_dir(bench.root(&runtime))?;
        }
        Ok(bench)
    }

    /// crun before 1.9 sets RLIMIT_MEMLOCK to unlimited to load a device program. Not every
    /// root may do that.
    fn device_rules(&mut self, place: &Place, runtime: &Runtime) -> bool {
        use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or_default();
        let may = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok();
        if may {
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, limit.0, limit.1);
        }
        let rules = place.layout == Layout::V1 || may || runtime.name != "crun";
        if !rules {
            self.notes.push(
                "crun runs without device rules, all others with a device program: it wants CAP_SYS_RESOURCE to load one"
                    .into(),
            );
        }
        rules
    }

    pub fn rootfs(&self) -> PathBuf {
        self.work.join("rootfs")
    }

    pub fn bundle(&self, runtime: &Runtime, payload: Payload) -> PathBuf {
        self.work.join("bundles").join(&runtime.name).join(payload.name())
    }

    pub fn root(&self, runtime: &Runtime) -> PathBuf {
        self.work.join(format!("state-{}", runtime.name))
    }

    fn state(&self, runtime: &Runtime) -> PathBuf {
        self.work.join(&runtime.name)
    }

    pub fn pid_file(&self, runtime: &Runtime) -> PathBuf {
        self.state(runtime).with_extension("pid")
    }

    pub fn cgroup(&self, runtime: &Runtime, payload: Payload) -> String {
        format!("{}/{}-{}", self.cgroup, runtime.name, payload.name())
    }

    fn config(&self, runtime: &Runtime, payload: Payload, pids: bool, devices: bool) -> Value {
        let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
        let nosuid = ["nosuid", "noexec", "nodev"];
        let mut resources = json!({});
        if devices {
            resources["devices"] = json!([{ "allow": false, "access": "rwm" }]);
        }
        if pids {
            resources["pids"] = json!({ "limit": PIDS_LIMIT });
        }
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": { "uid": 0, "gid": 0 },
                "args": payload.argv(),
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
                "cwd": "/",
                "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
                "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
                "noNewPrivileges": true
            },
            "root": { "path": self.rootfs(), "readonly": true },
            "hostname": "runc",
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                  "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                  "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
                { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                  "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
                { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": nosuid },
                { "destination": "/sys", "type": "sysfs", "source": "sysfs",
                  "options": ["nosuid", "noexec", "nodev", "ro"] },
                { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                  "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
            ],
            "linux": {
                "cgroupsPath": format!("/{}", self.cgroup(runtime, payload)),
                "resources": resources,
                "namespaces": [
                    { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                    { "type": "mount" }, { "type": "cgroup" }
                ],
                "maskedPaths": [
                    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
                ],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
            }
        })
    }

    /// The command of a verb. `init` is the container's first process, if it has one.
    pub fn command(&self, runtime: &Runtime, verb: &str, payload: Payload, init: i32) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let mut argv = vec![text(&runtime.path)];
        let mut add = |words: &[&str]| argv.extend(words.iter().map(|&w| w.to_owned()));
        let id = format!("bench-{}", payload.name());
        let (layout, cgroup, pid) = (&self.floor_layout, self.cgroup(runtime, payload), init.to_string());
        let (rootfs, state, root) =
            (text(&self.rootfs()), text(&self.state(runtime)), text(&self.root(runtime)));
        let (bundle, pid_file) = (text(&self.bundle(runtime, payload)), text(&self.pid_file(runtime)));
        if runtime.kind == Kind::Floor {
            match verb {
                "run" | "create" => {
                    add(&[verb, layout, &rootfs, &cgroup, &state]);
                    add(payload.argv());
                }
                "start" => add(&[verb, &state]),
                "exec" => add(&[verb, layout, &cgroup, &pid, TRUE]),
                "kill" => add(&[verb, &pid]),
                _ => add(&[verb, layout, &cgroup, &state]),
            }
            return argv;
        }
        add(&["--root", &root, verb]);
        match verb {
            "run" => add(&["--bundle", &bundle, &id]),
            "create" => add(&["--bundle", &bundle, "--pid-file", &pid_file, &id]),
            "exec" => add(&[&id, TRUE]),
            "kill" => add(&[&id, "9"]),
            _ => add(&[&id]),
        }
        argv
    }
}

fn make_rootfs(rootfs: &Path, programs: &Programs) -> Result<()> {
    for dir in ["bin", "dev", "proc", "sys"] {
        fs::create_dir_all(rootfs.join(dir))?;
    }
    fs::copy(&programs.ok, rootfs.join("true"))?;
    fs::copy(&programs.pause, rootfs.join("pause"))?;
    // Only the probe needs it.
    for busybox in ["/usr/bin/busybox", "/bin/busybox"] {
        if fs::copy(busybox, rootfs.join("bin/busybox")).is_ok() {
            symlink("busybox", rootfs.join("bin/sh"))?;
            break;
        }
    }
    Ok(())
}
