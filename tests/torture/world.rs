//! What a case works with: the bundles of a variant, the runtime, and a census of all that
//! a container could leave behind.

use super::criu;
use super::jail;
use super::tracer::{self, Command, Ended, Output};
use crate::harness::{self, Bundle, Test};
use crate::profiles;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a verb may take. corten itself waits for ten seconds at most.
pub const BOUND: Duration = Duration::from_secs(30);

/// How long what was killed may take to end.
const DYING: Duration = Duration::from_secs(5);

/// Kinds of containers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Variant {
    Plain,
    UserNamespace,
    Hooks,
    Seccomp,
    NetDevices,
    Terminal,
    /// Groups of a resctrl filesystem that is none: [`Resctrl`].
    Rdt,
    /// What Docker asks for by default, for a user other than root. Only for `make privilege`.
    Engine,
}

impl Variant {
    pub const ALL: [Variant; 7] = [
        Variant::Plain,
        Variant::UserNamespace,
        Variant::Hooks,
        Variant::Seccomp,
        Variant::NetDevices,
        Variant::Terminal,
        Variant::Rdt,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Variant::Plain => "plain",
            Variant::UserNamespace => "userns",
            Variant::Hooks => "hooks",
            Variant::Seccomp => "seccomp",
            Variant::NetDevices => "netdev",
            Variant::Terminal => "terminal",
            Variant::Rdt => "rdt",
            Variant::Engine => "engine",
        }
    }
}

/// The network device that a container of `netdev` gets.
const DEVICE: &str = "torture0";

/// Everything outside the containers that a test could change.
#[derive(Clone, Default, PartialEq)]
pub struct Census {
    processes: BTreeSet<i32>,
    things: BTreeSet<String>,
}

pub struct World {
    pub variant: Variant,
    test: Test,
    /// The payload says "ok" and exits with 7.
    pub brief: PathBuf,
    /// The payload stays.
    pub pausing: PathBuf,
    pub id: String,
    pub root: PathBuf,
    pub pid_file: PathBuf,
    pub console: Option<Console>,
    /// The list of `mounts`.
    mounts_file: PathBuf,
    resctrl: Option<Resctrl>,
    /// The directory of the images that `checkpoint` writes.
    pub images: PathBuf,
    /// The directory of the images from which `restore` restores.
    restorable: PathBuf,
    base: Census,
}

/// A directory of the v1 hierarchy of the block controller that a runtime takes for resctrl:
/// a directory there has a `tasks` file, too. The runtime's mountinfo says so, and does not
/// have that hierarchy.
struct Resctrl {
    dir: PathBuf,
    mountinfo: PathBuf,
}

impl Resctrl {
    fn new(test: &Test) -> Result<Resctrl, String> {
        let hierarchy = Path::new("/sys/fs/cgroup/blkio");
        if !hierarchy.join("tasks").exists() {
            return Err("needs a v1 hierarchy of the block controller".to_owned());
        }
        let dir = hierarchy.join(format!("{}resctrl", test.token));
        fs::create_dir_all(dir.join("gold/mon_groups")).map_err(|error| error.to_string())?;
        let is_hidden = |line: &String| line.contains(" - cgroup ") && line.contains("blkio");
        let mut lines: Vec<_> = harness::mountinfo("").into_iter().filter(|line| !is_hidden(line)).collect();
        lines.push(format!("9999 1 0:999 / {} rw - resctrl resctrl rw\n", dir.display()));
        Ok(Resctrl { mountinfo: test.make_file("mountinfo", &lines.join("\n")), dir })
    }

    /// Looks whether a process is in the group of the container.
    fn check(&self, pid: i32, id: &str) -> Result<(), String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|error| error.to_string())?;
        let line = text.lines().find(|line| line.contains(":blkio:")).unwrap_or_default();
        let name = self.dir.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        if line.contains(name) && line.ends_with(&format!("/{id}")) {
            return Ok(());
        }
        Err(format!("not in a group of resctrl: {line}"))
    }
}

impl Drop for Resctrl {
    fn drop(&mut self) {
        for dir in ["gold/mon_groups", "gold", ""] {
            let _ = fs::remove_dir(self.dir.join(dir));
        }
    }
}

/// The socket that gets the container's terminal.
pub struct Console {
    pub path: String,
    listener: UnixListener,
}

pub const PAYLOAD: &str = "echo ok; exit 7";

impl World {
    /// Makes the bundles. `Err`: this machine lacks something.
    pub fn new(variant: Variant) -> Result<World, String> {
        let test = Test::new();
        let mut brief = furnish(&test, variant, test.bundle().shell(PAYLOAD));
        let mut pausing = furnish(&test, variant, test.bundle().args(["sleep", "100000"]));
        let resctrl = (variant == Variant::Rdt).then(|| Resctrl::new(&test)).transpose()?;
        if resctrl.is_some() {
            // A group of its own, and a monitoring group in a class that is there.
            brief = brief.set("/linux/intelRdt", json!({}));
            pausing = pausing.set("/linux/intelRdt", json!({ "closID": "gold", "enableMonitoring": true }));
        }
        let listener = |path: &Path| {
            let listener = UnixListener::bind(path).expect("a socket");
            listener.set_nonblocking(true).expect("non-blocking");
            Console { path: path.to_str().expect("UTF-8").to_owned(), listener }
        };
        let console = (variant == Variant::Terminal).then(|| listener(&test.path("console")));
        let mut world = World {
            variant,
            brief: brief.lay().to_owned(),
            pausing: pausing.lay().to_owned(),
            id: test.id(),
            root: test.root(),
            pid_file: test.path("pid"),
            console,
            resctrl,
            images: test.path("images"),
            restorable: test.path("images"),
            mounts_file: test.make_file("mounts.json", &list_of_mounts(&test, variant)),
            test,
            base: Census::default(),
        };
        world.supply_device()?;
        // The runtime creates its state root once, and some mount points in the rootfs.
        world.live()?;
        world.base = world.census();
        Ok(world)
    }

    /// A device that is in a network namespace which ends is gone: the kernel removes it.
    pub fn supply_device(&self) -> Result<(), String> {
        if self.variant != Variant::NetDevices || self.has_device() {
            return Ok(());
        }
        let ip = ["/sbin/ip", "/usr/sbin/ip", "/bin/ip"].into_iter().find(|ip| Path::new(ip).exists());
        let ip = ip.ok_or("there is no ip(8)")?;
        // Each is a device without hardware; not every kernel has them.
        let is_added =
            |kind: &&str| Command::new([ip, "link", "add", DEVICE, "type", kind]).run(BOUND).0.code == 0;
        match ["dummy", "ifb"].iter().find(|kind| is_added(kind)) {
            Some(_) => Ok(()),
            None => Err("the kernel has neither dummy nor ifb devices".to_owned()),
        }
    }

    pub fn has_device(&self) -> bool {
        fs::read_to_string("/proc/self/net/dev").is_ok_and(|text| text.contains(DEVICE))
    }

    /// `runtime --root ROOT WORDS…`
    pub fn verb(&self, words: &[&str]) -> Command {
        self.verb_after(&[], words)
    }

    /// `BEFORE… runtime --root ROOT WORDS…`
    pub fn verb_after(&self, before: &[&str], words: &[&str]) -> Command {
        let runtime = self.test.runtime.borrow();
        let globals = self.test.globals();
        let first = [runtime.to_str().expect("UTF-8"), "--root", self.root.to_str().expect("UTF-8")];
        let globals = globals.iter().map(String::as_str);
        let words = first.into_iter().chain(globals).chain(words.iter().copied());
        let command = Command::new(before.iter().copied().chain(words));
        let command = match criu::dir() {
            Some(dir) => command.with_dir_in_path(&dir),
            None => command,
        };
        match &self.resctrl {
            Some(resctrl) => command.with_mountinfo(&resctrl.mountinfo),
            None => command,
        }
    }

    /// Runs a verb that has to succeed.
    pub fn ok(&self, words: &[&str]) -> Result<(Ended, Output), String> {
        let (ended, output) = self.verb(words).run(BOUND);
        if !ended.hang.is_empty() {
            return Err(format!("{} hangs: {:?}", words[0], ended.hang));
        }
        if ended.code != 0 {
            return Err(format!("{}: exit status {}, {:?}", words[0], ended.code, ended.stderr));
        }
        Ok((ended, output))
    }

    /// The words of `create` or `run` for a bundle, without the id.
    pub fn creating<'a>(&'a self, verb: &[&'a str], bundle: &'a Path) -> Vec<&'a str> {
        let mut words = verb.to_vec();
        words.extend(["--bundle", bundle.to_str().expect("UTF-8")]);
        words.extend(["--pid-file", self.pid_file.to_str().expect("UTF-8")]);
        if let Some(console) = &self.console {
            words.extend(["--console-socket", &console.path]);
        }
        words.push(&self.id);
        words
    }

    /// Makes the images of a checkpoint, unless they are there. `restore` does not change them.
    pub fn have_images(&self) -> Result<(), String> {
        let images = &self.restorable;
        if !images.exists() {
            let (pid, _) = self.create(&self.pausing)?;
            self.ok(&["start", &self.id])?;
            self.ok(&["checkpoint", "--image-path", images.to_str().expect("UTF-8"), &self.id])?;
            tracer::exit_code(pid, BOUND).ok_or("criu does not end the container")?;
            self.fresh()?;
        }
        Ok(())
    }

    /// The words of `restore`.
    pub fn restoring(&self) -> Vec<String> {
        let images = &self.restorable;
        let mut words = vec!["restore", "--detach", "--image-path", images.to_str().expect("UTF-8")];
        words.extend(["--bundle", self.pausing.to_str().expect("UTF-8")]);
        words.extend(["--pid-file", self.pid_file.to_str().expect("UTF-8"), &self.id]);
        words.into_iter().map(str::to_owned).collect()
    }

    /// The words of `mounts add` and `mounts remove`.
    pub fn mounts<'a>(&'a self, action: &'a str) -> Vec<&'a str> {
        vec!["mounts", action, &self.id, self.mounts_file.to_str().expect("UTF-8")]
    }

    /// The destinations of the list of mounts.
    pub fn added(&self) -> &'static [&'static str] {
        added(self.variant)
    }

    /// The mount points that `mounts add` has created in the root filesystem.
    pub fn new_mount_points(&self) -> Vec<PathBuf> {
        let created = self.pausing.join("rootfs").join(CREATED.trim_start_matches('/'));
        [created].into_iter().filter(|path| path.exists()).collect()
    }

    /// Creates a container; returns the pid of init and its output.
    pub fn create(&self, bundle: &Path) -> Result<(i32, Output), String> {
        let (_, output) = self.ok(&self.creating(&["create"], bundle))?;
        Ok((self.pid()?, output))
    }

    pub fn pid(&self) -> Result<i32, String> {
        let text = fs::read_to_string(&self.pid_file).map_err(|error| format!("pid file: {error}"))?;
        text.parse().map_err(|_| format!("pid file: {text:?}"))
    }

    /// Starts a created container of the bundle `brief`, and looks whether it works.
    pub fn finish(&self, pid: i32, output: &Output) -> Result<(), String> {
        if let Some(resctrl) = &self.resctrl {
            resctrl.check(pid, &self.id)?;
        }
        self.ok(&["start", &self.id])?;
        self.has_worked(pid, output)
    }

    /// Waits for the end of the payload of `brief`, and looks whether it has worked.
    pub fn has_worked(&self, pid: i32, output: &Output) -> Result<(), String> {
        let code = tracer::exit_code(pid, BOUND).ok_or("the payload does not end")?;
        let said = match &self.console {
            Some(console) => console.last_words(),
            None => output.text(),
        };
        if code == 7 && said.trim_end() == "ok" {
            return Ok(());
        }
        Err(format!("the payload exits with {code} and says {said:?}"))
    }

    /// A whole life of a container with the id.
    pub fn live(&self) -> Result<(), String> {
        let (pid, output) = self.create(&self.brief)?;
        self.finish(pid, &output)?;
        self.ok(&["delete", &self.id]).map(|_| ())
    }

    pub fn delete(&self) -> Result<(), String> {
        self.ok(&["delete", "--force", &self.id]).map(|_| ())
    }

    fn census(&self) -> Census {
        let mut things = BTreeSet::new();
        let state = fs::read_dir(&self.root).into_iter().flatten().flatten();
        things.extend(state.map(|entry| format!("state {}", entry.path().display())));
        collect_cgroups(Path::new("/sys/fs/cgroup"), &mut things);
        if !jail::is_entered() {
            things.retain(|thing| !thing.starts_with("cgroup ") || thing.contains(&self.test.token));
        }
        things.extend(harness::mountinfo("").into_iter().map(|line| format!("mount {line}")));
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let processes = processes.filter(|pid| jail::is_entered() || is_descendant(*pid)).collect();
        Census { processes, things }
    }

    /// Waits until no process is left in this pid namespace but those of the start, the
    /// children of this one, and containers. False: some remain.
    pub fn helpers_end(&self, init: i32) -> bool {
        let until = Instant::now() + BOUND;
        let own = fs::read_link("/proc/self/ns/pid").ok();
        loop {
            while tracer::next_status().is_some() {}
            let now = self.census();
            let mut new = now.processes.difference(&self.base.processes).filter(|pid| **pid != init);
            if !new.any(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).ok() == own) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            tracer::wait_for_child(until.min(Instant::now() + Duration::from_millis(20)));
        }
    }

    /// What is there now and was not there before the first container. Processes that were
    /// killed get some time to end.
    pub fn left(&self) -> Vec<String> {
        let until = Instant::now() + DYING;
        loop {
            while tracer::next_status().is_some() {}
            let now = self.census();
            let alive: Vec<_> = now.processes.difference(&self.base.processes).copied().collect();
            if !alive.is_empty() && Instant::now() < until {
                tracer::wait_for_child(until.min(Instant::now() + Duration::from_millis(20)));
                continue;
            }
            let mut left: Vec<_> = now.things.difference(&self.base.things).cloned().collect();
            // systemd removes a unit's cgroup when it gets to it.
            if !jail::is_entered() && !left.is_empty() && Instant::now() < until {
                tracer::wait_for_child(until.min(Instant::now() + Duration::from_millis(20)));
                continue;
            }
            left.extend(alive.into_iter().map(|pid| {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                format!("process {pid} {}", comm.trim())
            }));
            return left;
        }
    }

    /// Removes what a runtime has left, so that the next point starts afresh.
    pub fn clean_up(&self) {
        for _ in 0..3 {
            let now = self.census();
            for pid in now.processes.difference(&self.base.processes) {
                // SAFETY: integers only. All processes of this pid namespace are ours.
                unsafe { libc::kill(*pid, libc::SIGKILL) };
            }
            for thing in now.things.difference(&self.base.things) {
                match thing.split_once(' ') {
                    Some(("cgroup", dir)) => harness::remove_cgroup(Path::new(dir)),
                    Some(("state", dir)) => drop(harness::remove_tree(Path::new(dir))),
                    _ => {}
                }
            }
            if self.left().is_empty() {
                return;
            }
        }
        panic!("can't remove what is left: {:?}", self.left());
    }

    /// Forgets the last point.
    pub fn fresh(&self) -> Result<(), String> {
        tracer::forget_reaped();
        let _ = fs::remove_file(&self.pid_file);
        let _ = fs::remove_dir_all(&self.images);
        // `mounts add` creates it, and no verb removes it.
        self.new_mount_points().iter().for_each(|path| fs::remove_dir(path).expect("an empty mount point"));
        if let Some(console) = &self.console {
            while console.listener.accept().is_ok() {}
        }
        self.supply_device()
    }

    /// The value of a file of the container's cgroup.
    pub fn cgroup_file(&self, pid: i32, controller: &str, file: &str) -> Option<String> {
        harness::cgroup_file(pid, controller, file)
    }

    pub fn end(mut self) -> Vec<String> {
        // Its directories are named after the test, whose clean-up looks for such.
        self.resctrl = None;
        self.test.clean_up()
    }
}

impl Console {
    /// Receives the terminals that were sent, and reads what was written to the last one.
    fn last_words(&self) -> String {
        let mut said = String::new();
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).expect("non-blocking");
            let Ok((_, mut fds)) = harness::receive(&stream) else { continue };
            let Some(fd) = fds.pop() else { continue };
            let mut terminal = fs::File::from(fd);
            let mut text = [0; 4096];
            said.clear();
            // The payload has ended: what it wrote is there.
            while harness::is_readable(&terminal)
                && let Ok(length @ 1..) = std::io::Read::read(&mut terminal, &mut text)
            {
                said.push_str(&String::from_utf8_lossy(&text[..length]));
            }
        }
        said
    }
}

/// Whether the process is a child of this one, or a child's child. This process is a
/// subreaper, so orphans become its children.
fn is_descendant(pid: i32) -> bool {
    let parent = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
    };
    let own = std::process::id().cast_signed();
    std::iter::successors(parent(pid), |pid| parent(*pid)).any(|ancestor| ancestor == own)
}

fn collect_cgroups(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_cgroups(&entry.path(), found);
            found.insert(format!("cgroup {}", entry.path().display()));
        }
    }
}

/// A mount point that `mounts add` has to create in the root filesystem.
const CREATED: &str = "/created";

/// The destinations of the list of mounts. /added is in the root filesystem, because root of a
/// user namespace may not create a directory there.
fn added(variant: Variant) -> &'static [&'static str] {
    match variant {
        Variant::UserNamespace => &["/added", "/added/volume"],
        _ => &["/added", "/added/volume", CREATED],
    }
}

/// A tmpfs, a bind mount in it, and perhaps another tmpfs.
fn list_of_mounts(test: &Test, variant: Variant) -> String {
    let volume = test.make_dir("volume");
    let entry = |destination: &&str| match destination.ends_with("volume") {
        true => {
            json!({ "destination": destination, "type": "bind", "source": volume, "options": ["bind", "ro"] })
        }
        false => {
            json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"] })
        }
    };
    json!(added(variant).iter().map(entry).collect::<Vec<_>>()).to_string()
}

fn furnish(test: &Test, variant: Variant, bundle: Bundle) -> Bundle {
    let volume = test.make_dir("volume");
    // Root of a user namespace may not create them.
    for mount_point in ["/volume", "/added"] {
        fs::create_dir(bundle.inside(mount_point)).expect("a mount point");
    }
    let bundle = bundle
        .bind(&volume, "/volume", &["ro"])
        .set("/linux/resources/pids", json!({ "limit": 100 }))
        .set("/linux/resources/memory", json!({ "limit": 256 << 20 }))
        .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "0" }))
        .set("/process/oomScoreAdj", json!(100));
    match variant {
        Variant::Plain | Variant::Rdt => bundle,
        Variant::UserNamespace => bundle.user_namespace(),
        Variant::Hooks => {
            let kinds =
                ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
            kinds.into_iter().fold(bundle, |bundle, kind| {
                bundle.push(&format!("/hooks/{kind}"), json!({ "path": "/bin/true", "args": ["true"] }))
            })
        }
        Variant::Seccomp => bundle.set("/linux/seccomp", profiles::docker()),
        Variant::NetDevices => bundle.set("/linux/netDevices", json!({ DEVICE: { "name": "eth0" } })),
        Variant::Terminal => bundle.set("/process/terminal", json!(true)),
        Variant::Engine => bundle
            .capabilities(profiles::DOCKER_CAPS)
            .set("/process/noNewPrivileges", json!(false))
            .set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [5] }))
            .set("/process/oomScoreAdj", json!(500))
            .set("/linux/seccomp", profiles::docker())
            .push(
                "/linux/devices",
                json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "uid": 1000, "gid": 1000 }),
            ),
    }
}
