//! The verbs that are raced: what each needs before, its command line, and what follows.

use crate::checkpoint::{pipes, works};
use crate::harness::{Call, Container, Out, PidFd};
use crate::random::Random;
use crate::scene::{Scene, Wishes};
use crate::view::SAW_THE_HOST;
use nix::sys::wait::WaitStatus;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Run,
    Exec,
    Mounts,
    Checkpoint,
    Restore,
}

pub const ALL: [Verb; 6] =
    [Verb::Create, Verb::Run, Verb::Exec, Verb::Mounts, Verb::Checkpoint, Verb::Restore];

/// How long a verb may take before it counts as a hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

impl Verb {
    pub fn row(self) -> &'static str {
        match self {
            Verb::Create => "race: create, start",
            Verb::Run => "race: run",
            Verb::Exec => "race: exec",
            Verb::Mounts => "race: mounts add",
            Verb::Checkpoint => "race: checkpoint",
            Verb::Restore => "race: restore",
        }
    }

    /// Whether the verb needs a CRIU.
    pub fn needs_criu(self) -> bool {
        matches!(self, Verb::Checkpoint | Verb::Restore)
    }

    /// Returns what is traced in its place. CRIU can't restore under a tracer.
    pub fn traced(self) -> Verb {
        match self {
            Verb::Create | Verb::Checkpoint | Verb::Restore => Verb::Run,
            other => other,
        }
    }
}

/// A verb that is ready to run.
pub struct Ready<'s, 't> {
    verb: Verb,
    scene: &'s Scene<'t>,
    id: String,
    pid_file: PathBuf,
    log: PathBuf,
    /// Where the payload of a created container writes.
    stdout: PathBuf,
    console: Option<UnixListener>,
    args: Vec<OsString>,
    /// The payload's ends of its streams, for a container that is restored.
    streams: Option<(OwnedFd, OwnedFd)>,
    /// The other ends, which must stay open.
    _ends: Option<(File, File)>,
    /// The container in which the verb acts.
    container: Option<Container<'t>>,
}

/// Where the payload looks for the host.
const PLACES: [&str; 8] = [
    "/vol",
    "/vol/place",
    "/vol/place/made",
    "/vol/place/new",
    "/vol/place/copy",
    "/inner",
    "/srv",
    "/etc/place",
];

/// Returns the command of a payload that looks for the host, unless the scene wants none.
fn viewer(scene: &Scene) -> Vec<&'static str> {
    if scene.is_idle { vec!["/probe", "--exit", "0"] } else { [&["/probe", "--view"], &PLACES[..]].concat() }
}

/// Prepares the verb. Nothing attacks the container yet.
pub fn prepare<'s, 't>(verb: Verb, scene: &'s Scene<'t>) -> Ready<'s, 't> {
    let t = scene.t;
    let mut ready = Ready {
        verb,
        scene,
        id: t.id(),
        pid_file: t.path("pid"),
        log: t.path("log"),
        stdout: PathBuf::new(),
        console: None,
        args: Vec::new(),
        streams: None,
        _ends: None,
        container: None,
    };
    let (id, pid_file) = (OsString::from(&ready.id), OsString::from(&ready.pid_file));
    let viewing = || scene.bundle.clone().args(viewer(scene)).lay().as_os_str().to_owned();
    match verb {
        Verb::Create => {
            ready.add(&["create", "--bundle"], viewing());
            ready.add(&["--pid-file"], pid_file);
            if scene.bundle.config["process"]["terminal"] == true {
                let path = t.path("console");
                ready.console = Some(UnixListener::bind(&path).expect("a console socket"));
                ready.add(&["--console-socket"], path);
            }
            ready.add(&[], id);
        }
        Verb::Run => {
            ready.add(&["run", "--bundle"], viewing());
            ready.add(&[], id);
        }
        Verb::Exec => {
            let id = ready.enter(|_| {});
            ready.add(&["exec", "--cwd", "/vol/place/cwd"], id);
            ready.args.extend(viewer(scene).iter().map(OsString::from));
        }
        Verb::Mounts => {
            let id = ready.enter(|_| {});
            ready.add(&["mounts", "add"], id);
            ready.add(&[], scene.live_mounts());
        }
        Verb::Checkpoint | Verb::Restore => ready.prepare_images(),
    }
    t.will_delete(&ready.id);
    ready
}

impl<'t> Ready<'_, 't> {
    fn add(&mut self, words: &[&str], last: impl Into<OsString>) {
        self.args.extend(words.iter().map(OsString::from).chain([last.into()]));
    }

    /// Starts the container in which the verb acts. Returns its id.
    fn enter(&mut self, change: impl Fn(&mut Call)) -> String {
        let bundle = self.scene.bundle.clone().pausing();
        let streams = self.streams.take();
        let container = Container::create(self.scene.t, &bundle, |mut call| {
            change(&mut call);
            match streams {
                Some((stdin, stdout)) => call.stdin(stdin).stdout(stdout),
                None => call,
            }
        });
        container.start();
        self.id.clone_from(&container.id);
        self.container = Some(container);
        self.id.clone()
    }

    fn prepare_images(&mut self) {
        let t = self.scene.t;
        let images = t.path("images");
        let ((stdin, stdout), ends) = pipes();
        (self.streams, self._ends) = (Some((stdin, stdout)), Some(ends));
        crate::checkpoint::needs_criu(t);
        let id = self.enter(|call| {
            call.command.stderr(Stdio::null());
        });
        if self.verb == Verb::Checkpoint {
            self.add(&["checkpoint", "--image-path"], images);
            return self.add(&[], id);
        }
        t.verb(["checkpoint", "--image-path"]).arg(&images).arg(&id).ok();
        self.container.take().expect("a container").wait();
        let ((stdin, stdout), ends) = pipes();
        (self.streams, self._ends) = (Some((stdin, stdout)), Some(ends));
        self.id = t.id();
        let (id, pid_file) = (self.id.clone(), self.pid_file.clone());
        self.add(&["restore", "--detach", "--bundle"], &self.scene.bundle.dir);
        self.add(&["--image-path"], images);
        self.add(&["--pid-file"], pid_file);
        self.add(&[], id);
    }

    /// Returns the call of the runtime.
    pub fn call(&mut self) -> Call<'t> {
        let mut call = self.scene.t.runtime();
        if self.verb == Verb::Restore {
            // The payload's stderr was the null device, and has to be one again.
            call = call.arg("--log").arg(&self.log);
            call.command.stderr(Stdio::null());
        }
        let call = call.args(&self.args);
        self.stdout.clone_from(&call.stdout);
        match self.streams.take() {
            Some((stdin, stdout)) => call.stdin(stdin).stdout(stdout),
            None => call,
        }
    }

    /// Lets `out` have the error, if it went to a log.
    pub fn read_log(&self, out: &mut Out) {
        if self.verb == Verb::Restore {
            out.stderr = std::fs::read_to_string(&self.log).unwrap_or_default();
        }
    }

    /// Returns the same call under strace, which writes what it sees to `log`.
    pub fn traced_call(&self, log: &std::path::Path) -> Call<'t> {
        let t = self.scene.t;
        // A traced container that doesn't end would hold strace up.
        let call =
            t.call("/usr/bin/timeout").args(["-s", "KILL", "60", "/usr/bin/strace", "-f", "-y", "-qq"]);
        let call = call.args(["-s", "4096", "-e", "trace=%file", "-o"]).arg(log);
        call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(&self.args)
    }

    /// What follows after the verb has ended with `out`, still under attack. Returns whether
    /// the payload has seen the host.
    pub fn follow(&self, out: &Out) -> Option<String> {
        let t = self.scene.t;
        let saw = |code: i32, text: &str| (code == i32::from(SAW_THE_HOST)).then(|| text.trim().to_owned());
        match self.verb {
            Verb::Create if out.code == 0 => {
                let init = PidFd::from_file(&self.pid_file);
                t.verb(["start", &self.id]).quietly();
                if !init.ends_within(PATIENCE) {
                    return None;
                }
                match init.reap() {
                    WaitStatus::Exited(_, code) => {
                        saw(code, &std::fs::read_to_string(&self.stdout).unwrap_or_default())
                    }
                    _ => None,
                }
            }
            _ => saw(out.code, &out.stdout),
        }
    }

    /// Looks at what the verb has made, after the attack.
    pub fn look(&self, out: &Out) -> Option<String> {
        if self.verb != Verb::Mounts || out.code != 0 {
            return None;
        }
        let out = self.container.as_ref()?.exec([], ["/probe", "--view", "/vol/place", "/inner"]).out();
        (out.code == i32::from(SAW_THE_HOST)).then_some(out.stdout)
    }

    /// Deletes the container.
    pub fn delete(self) {
        let t = self.scene.t;
        if t.root().join(&self.id).exists() {
            t.verb(["delete", "--force", &self.id]).quietly();
        }
    }
}

/// What the configuration of a try has.
pub fn wishes(verb: Verb, random: &mut Random) -> Wishes {
    if verb.needs_criu() { Wishes::few(random) } else { Wishes::some(random) }
}

/// Why the verb can't be raced on this machine.
pub fn unusable(verb: Verb) -> Option<String> {
    if verb.needs_criu() { works().as_ref().err().cloned() } else { None }
}
