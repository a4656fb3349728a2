//! One running test: its directory, its state root, its names, its clean-up.

use super::bundle::is_root;
use super::call::{Call, Out};
use super::decoy::{self, Decoys};
use super::runner::Skip;
use super::runtime::Runtime;
use super::{Bundle, Container, host, image, tally};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Test {
    /// The test's own directory; everything it makes lies in here.
    pub dir: PathBuf,
    /// In the id of every container of this test, and in nobody else's.
    pub token: String,
    /// The binary to run: a test may put a copy here.
    pub runtime: RefCell<PathBuf>,
    count: Cell<u32>,
    log: RefCell<String>,
    created: RefCell<Vec<String>>,
    globals: RefCell<Vec<String>>,
    vars: RefCell<Vec<(String, String)>>,
    hung: RefCell<Vec<String>>,
    decoys: Decoys,
}

impl Test {
    /// Whom `as_user` makes root of a container.
    pub const USER: u32 = 12345;

    pub fn new() -> Test {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let token = format!("{}{number}x", Test::tokens());
        let dir = image::base().join(&token);
        image::make_dir(&dir);
        Test {
            dir,
            token,
            runtime: RefCell::new(Runtime::get().path.clone()),
            count: Cell::new(0),
            log: RefCell::default(),
            created: RefCell::default(),
            globals: RefCell::new(Runtime::get().flags.clone()),
            vars: RefCell::default(),
            hung: RefCell::default(),
            decoys: Decoys::default(),
        }
    }

    /// What the tokens of all tests of this run begin with.
    pub fn tokens() -> String {
        format!("ct{}n", std::process::id())
    }

    /// Ends a test that can't run on this machine.
    pub fn skip(&self, reason: &str) -> ! {
        std::panic::resume_unwind(Box::new(Skip(reason.to_owned())))
    }

    /// Ends a test that a user can't run, and says what for.
    pub fn needs_root(&self, what: &str) {
        if !is_root() {
            self.skip(&format!("needs root: {what}"));
        }
    }

    /// A `cgroupsPath` from the root of the hierarchies for a cgroup of this
    /// name, which root makes there, and a user beside his own.
    pub fn cgroups_path(&self, name: &str) -> String {
        self.cgroupfs_only();
        if is_root() {
            return format!("/{name}");
        }
        let Some(place) = host::delegated() else {
            self.skip("no cgroup is delegated to the user");
        };
        let place = place.strip_prefix("/sys/fs/cgroup").expect("a place in the hierarchy");
        Path::new("/").join(place).join(name).to_str().expect("UTF-8").to_owned()
    }

    /// A `cgroupsPath` at the root for a cgroup that has this name in its own, as
    /// the driver wants it.
    pub fn cgroup_of_name(&self, name: &str) -> String {
        if self.by_systemd() { format!("-.slice:t:{name}") } else { format!("/{name}") }
    }

    /// Does systemd make the cgroups of this test's containers?
    pub fn by_systemd(&self) -> bool {
        self.globals.borrow().iter().any(|flag| flag == "--systemd-cgroup")
    }

    /// Ends a test whose `cgroupsPath` is that of a directory.
    pub fn cgroupfs_only(&self) {
        if self.by_systemd() {
            self.skip("with --systemd-cgroup the path names a unit");
        }
    }

    fn number(&self) -> u32 {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    /// A name nobody has.
    pub fn id(&self) -> String {
        format!("{}{}", self.token, self.number())
    }

    /// A path in the test's directory that nobody has.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{}.{name}", self.number()))
    }

    /// A new empty directory.
    pub fn make_dir(&self, name: &str) -> PathBuf {
        let dir = self.path(name);
        image::make_dir(&dir);
        dir
    }

    /// A new file with this content.
    pub fn make_file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.path(name);
        std::fs::write(&file, content).expect("write a file");
        file
    }

    /// Declares a file or a directory as a decoy: from now on, nobody may change it or anything
    /// below it. A second declaration replaces the first.
    pub fn decoy(&self, path: &Path) {
        self.decoys.declare(path);
    }

    /// A new directory that is a decoy, with files of several kinds: see `decoy::fill`.
    pub fn make_decoy(&self) -> PathBuf {
        let dir = self.make_dir("decoy");
        decoy::fill(&dir);
        self.decoy(&dir);
        dir
    }

    pub fn root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Any program.
    pub fn call(&self, program: impl AsRef<Path>) -> Call<'_> {
        Call::new(self, program.as_ref())
    }

    /// The runtime, with this test's state directory and nothing else yet.
    pub fn runtime(&self) -> Call<'_> {
        let path = self.runtime.borrow().clone();
        let call = self.call(path).arg("--root").arg(self.root()).args(&*self.globals.borrow());
        self.vars.borrow().iter().fold(call, |call, (name, value)| call.env(name, value))
    }

    /// A global flag for every later call of the runtime, the clean-up's too.
    pub fn global(&self, flag: &str) {
        let mut globals = self.globals.borrow_mut();
        if globals.iter().all(|other| other != flag) {
            globals.push(flag.to_owned());
        }
    }

    /// The global flags that every call of the runtime has beside `--root`.
    pub fn globals(&self) -> Vec<String> {
        self.globals.borrow().clone()
    }

    /// Takes such a flag back.
    pub fn no_global(&self, flag: &str) {
        self.globals.borrow_mut().retain(|other| other != flag);
    }

    /// The same for a variable of the environment.
    pub fn var(&self, name: &str, value: &str) {
        self.vars.borrow_mut().push((name.to_owned(), value.to_owned()));
    }

    /// `runtime VERB ARGS…`
    pub fn verb<const N: usize>(&self, args: [&str; N]) -> Call<'_> {
        self.runtime().args(args)
    }

    pub fn bundle(&self) -> Bundle {
        Bundle::new(self.path("bundle"), self.decoys.clone())
    }

    /// `runtime run`, ready to go.
    pub fn run_call(&self, bundle: &Bundle) -> Call<'_> {
        self.verb(["run", "--bundle"]).arg(bundle.lay()).arg(self.id())
    }

    #[track_caller]
    pub fn run(&self, bundle: &Bundle) -> Out {
        self.run_call(bundle).out()
    }

    /// Runs the probe with these questions (see `probe.rs`) and reads its report.
    #[track_caller]
    pub fn look<const N: usize>(&self, bundle: &Bundle, questions: [&str; N]) -> Value {
        let args = std::iter::once("/probe").chain(questions);
        let bundle = bundle.clone().args(args);
        self.run(&bundle).report()
    }

    /// `create` must fail, and the clean-up must find nothing of it. The caller looks why.
    #[must_use = "any error would do"]
    #[track_caller]
    pub fn refused(&self, bundle: &Bundle) -> Out {
        let call = self.verb(["create", "--bundle"]).arg(bundle.lay());
        let id = self.id();
        let out = call.arg(&id).out();
        if out.code == 0 {
            self.will_delete(&id);
        }
        assert_ne!(out.code, 0, "accepted: {out:?}");
        out
    }

    /// A shell script in a mount namespace of its own, for tests that need
    /// mounts on the host's side. It finds $BUNDLE, $VOLUME, $ID and the command
    /// `runtime`, and starts in the bundle.
    pub fn in_private_mounts(&self, bundle: &Bundle, volume: &Path, script: &str) -> Call<'_> {
        self.unshared(&["--mount", "--propagation", "private"], bundle, script).env("VOLUME", volume)
    }

    /// The same in a network namespace of its own, for tests that need devices
    /// on the host's side.
    pub fn in_private_network(&self, bundle: &Bundle, script: &str) -> Call<'_> {
        self.unshared(&["--net"], bundle, script)
    }

    /// The same in a pid namespace of its own, for tests that choose pids. It has
    /// to mount its own /proc.
    pub fn in_private_pids(&self, bundle: &Bundle, script: &str) -> Call<'_> {
        self.unshared(&["--pid", "--fork", "--mount", "--propagation", "private"], bundle, script)
    }

    fn unshared(&self, flags: &[&str], bundle: &Bundle, script: &str) -> Call<'_> {
        self.needs_root("namespaces on the host's side");
        let script = format!("runtime() {{ \"$RUNTIME\" --root \"$STATE\" $FLAGS \"$@\"; }}; {script}");
        let id = self.id();
        self.will_delete(&id);
        let call = self.call("/usr/bin/unshare");
        let vars = self.vars.borrow();
        vars.iter()
            .fold(call, |call, (name, value)| call.env(name, value))
            .args(flags)
            .args(["sh", "-e", "-c"])
            .arg(script)
            .env("RUNTIME", &*self.runtime.borrow())
            .env("STATE", self.root())
            .env("FLAGS", self.globals.borrow().join(" "))
            .env("BUNDLE", bundle.lay())
            .env("ID", id)
            .cwd(&bundle.dir)
    }

    /// Runs the probe as an ordinary user, in a user namespace where that user is
    /// root: what `runtime spec --rootless` is for.
    #[track_caller]
    pub fn as_user<const N: usize>(&self, bundle: &Bundle, questions: [&str; N]) -> Out {
        self.needs_root("to become another user");
        let map = serde_json::json!([{ "containerID": 0, "hostID": Test::USER, "size": 1 }]);
        let flags = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
        let bundle = bundle.clone().args(std::iter::once("/probe").chain(questions)).namespace("user");
        let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        let bundle = bundle.drop("/linux/resources").remount("/dev/pts", &flags);
        let root = self.make_dir("user");
        std::os::unix::fs::chown(&root, Some(Test::USER), Some(Test::USER)).expect("chown");
        let user = Test::USER.to_string();
        let call = self.call("/usr/bin/setpriv").args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        let call = call.arg(&*self.runtime.borrow()).arg("--root").arg(root.join("state"));
        // This user has no systemd.
        call.args(self.globals.borrow().iter().filter(|flag| *flag != "--systemd-cgroup"))
            .args(["run", "--bundle"])
            .arg(bundle.lay())
            .arg(self.id())
            .cwd("/")
            .out()
    }

    /// A script with a version 2 of cgroups alone, with what controllers this
    /// machine leaves it. $GROUP is the container's cgroup.
    pub fn on_v2(&self, bundle: &Bundle, script: &str) -> Call<'_> {
        self.cgroupfs_only();
        let group = format!("/{}", self.token);
        // Where it is mounted already, another mount would give it other options.
        let mount = if host::cgroup_v2() { "" } else { "mount -t cgroup2 none /sys/fs/cgroup;" };
        let script = format!("{mount} GROUP=/sys/fs/cgroup{group}; {script}");
        let bundle = bundle.clone().set("/linux/cgroupsPath", serde_json::json!(group));
        self.in_private_mounts(&bundle, &self.dir, &script)
    }

    #[track_caller]
    pub fn create(&self, bundle: &Bundle) -> Container<'_> {
        Container::create(self, bundle, |call| call)
    }

    /// As `create`, then `start`.
    #[track_caller]
    pub fn start(&self, bundle: &Bundle) -> Container<'_> {
        let container = self.create(bundle);
        container.start();
        container
    }

    /// Starts a container whose payload stays until a signal ends it.
    #[track_caller]
    pub fn pausing(&self) -> Container<'_> {
        self.start(&self.bundle().pausing())
    }

    /// The same with these resources; the payload reports first.
    #[track_caller]
    pub fn pausing_with(&self, resources: serde_json::Value) -> Container<'_> {
        let mut bundle = self.bundle().args(["/probe", "--report-pause"]);
        for (name, value) in resources.as_object().expect("an object") {
            bundle = bundle.set(&format!("/linux/resources/{name}"), value.clone());
        }
        self.start(&bundle)
    }

    /// A container of this id exists by intention: the clean-up may delete it.
    pub fn will_delete(&self, id: &str) {
        self.created.borrow_mut().push(id.to_owned());
    }

    pub fn note(&self, shown: &str, out: &Out) {
        let mut said = format!("{out:?}");
        if said.len() > 2000 {
            said = said.chars().take(2000).chain("…".chars()).collect();
        }
        let _ = writeln!(self.log.borrow_mut(), "$ {shown}\n  -> {said}");
    }

    /// A call of the clean-up did not end.
    pub fn note_hang(&self, shown: String) {
        self.hung.borrow_mut().push(format!("running: {shown}"));
    }

    pub fn transcript(&self) -> String {
        self.log.borrow().clone()
    }

    /// Deletes the containers that the test left on purpose, then tells what
    /// the runtime left although nobody asked for it, which decoys were changed, and which call
    /// did not end.
    pub fn clean_up(&self) -> Vec<String> {
        for id in self.created.take() {
            if self.root().join(&id).exists() {
                self.verb(["delete", "--force", &id]).quietly();
            }
        }
        let changed = self.decoys.end();
        tally::add_escape(!changed.is_empty());
        let mut left = self.left();
        if !left.is_empty() {
            for entry in std::fs::read_dir(self.root()).into_iter().flatten().flatten() {
                let id = entry.file_name().to_string_lossy().into_owned();
                self.verb(["delete", "--force", &id]).quietly();
            }
            for dir in host::cgroups_named(&self.token) {
                host::remove_cgroup(&dir);
            }
            host::detach_below(&self.dir);
        }
        if let Err(error) = host::remove_tree(&self.dir) {
            left.push(error.to_string());
        }
        left.extend(changed);
        left.extend(self.hung.take());
        left
    }

    fn left(&self) -> Vec<String> {
        let states = self.states_left().into_iter();
        let cgroups = host::cgroups_named(&self.token).into_iter();
        let cgroups = cgroups.map(|dir| format!("cgroup {}", dir.display()));
        let mounts = host::mountinfo(&format!("{}/", self.dir.display())).into_iter();
        let mounts = mounts.map(|line| format!("mount {line}"));
        states.chain(cgroups).chain(mounts).collect()
    }

    /// What can't be read is no empty directory.
    fn states_left(&self) -> Vec<String> {
        let root = self.root();
        let list = std::fs::read_dir(&root).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        match list {
            Ok(entries) => {
                let left = entries.iter().filter(|entry| !is_peers_cache(&entry.file_name()));
                left.map(|entry| format!("state {}", entry.path().display())).collect()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => vec![format!("state {}: {error}", root.display())],
        }
    }
}

/// Whether an entry of the state root is one that crun keeps there for all containers: an empty
/// directory to mask others with, and a cache of seccomp filters.
fn is_peers_cache(entry: &std::ffi::OsStr) -> bool {
    !super::is_corten() && (entry == ".empty-directory" || entry == ".cache")
}
