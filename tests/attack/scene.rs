//! What a race is about: a container whose configuration makes the runtime touch many paths
//! of the rootfs and of a volume.

use crate::census::{Host, arena};
use crate::harness::{Bundle, Test, is_corten};
use crate::random::Random;
use crate::terminal::on_a_terminal;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the volume is in the container.
const VOLUME: &str = "/vol";

/// What the configuration asks for beside that of `runc spec`.
#[derive(Clone, Copy)]
pub struct Wishes {
    /// A bit for each thing that touches the volume or the rootfs.
    things: u32,
    /// /dev is a directory of the image, and the payload has a terminal.
    pub own_dev: bool,
    pub user_namespace: bool,
    readonly: bool,
}

const THINGS: usize = 10;

const BIND_OF_THE_ROOTFS: u32 = 4;

/// The paths of each thing: see `things`.
const TOUCHED: [&[&str]; THINGS] = [
    &["/vol/place/made/deep"],
    &["/vol/place/file"],
    &["/vol/place/new/file"],
    &["/vol/place/copy"],
    &["/inner", "/srv/inner"],
    &["/etc/place/deep"],
    &["/vol/place/secret", "/etc/group"],
    &["/vol/place/ro", "/srv"],
    &["/vol/place/zero"],
    &["/vol/place/cwd/made"],
];

impl Wishes {
    /// All things at once, as far as one container can have them.
    pub fn all(own_dev: bool) -> Wishes {
        Wishes { things: (1 << THINGS) - 1, own_dev, user_namespace: false, readonly: false }
    }

    /// A few of them: the more a container has, the rarer all survive a race.
    pub fn some(random: &mut Random) -> Wishes {
        let things = (0..4).fold(0, |things, _| things | 1 << random.below(THINGS));
        let own_dev = random.one_in(3);
        let user_namespace = random.one_in(4);
        Wishes { things, own_dev, user_namespace, readonly: random.one_in(4) }
    }

    /// Nothing.
    pub fn none() -> Wishes {
        Wishes { things: 0, ..Wishes::all(false) }
    }

    /// At most one, and one that CRIU can restore: a mount.
    pub fn few(random: &mut Random) -> Wishes {
        Wishes { things: 1 << random.below(6) & 0b10_1011, ..Wishes::none() }
    }

    /// Whether one of the things is above or below this path, or at it.
    pub fn touch(self, path: &str) -> bool {
        let path = Path::new(path);
        let has = (0u32..).zip(TOUCHED).filter(|(number, _)| self.has(*number));
        has.flat_map(|(_, all)| all).any(|own| path.starts_with(own) || Path::new(own).starts_with(path))
    }

    fn has(self, number: u32) -> bool {
        // Other runtimes promise nothing for a bind source below the rootfs: it is a path of
        // the host.
        let is_promised = number != BIND_OF_THE_ROOTFS || is_corten();
        is_promised && self.things & 1 << number != 0
    }
}

pub struct Scene<'t> {
    pub t: &'t Test,
    pub bundle: Bundle,
    pub volume: PathBuf,
    /// What the hook in init's mount namespace has found.
    outside: PathBuf,
    pub wishes: Wishes,
    /// Whether the payload does nothing.
    pub is_idle: bool,
}

impl<'t> Scene<'t> {
    pub fn new(t: &'t Test, host: &Host, wishes: Wishes) -> Scene<'t> {
        let (volume, file) = (volume(t), t.make_file("file", "bound"));
        let outside = t.path("outside");
        let hook = json!({
            "path": std::env::current_exe().expect("this program"),
            "args": ["attack", "--mounts-outside", host.baseline, outside, arena()],
        });
        let bundle = t.bundle().push("/hooks/createContainer", hook).bind(&volume, VOLUME, &[]);
        for dir in ["vol", "srv", "srv/inner", "inner", "etc/place"] {
            fs::create_dir(bundle.inside(dir)).expect("mkdir");
        }
        fs::write(bundle.inside("srv/inner/file"), "").expect("a file");
        let bundle = if wishes.own_dev { own_dev(bundle) } else { bundle };
        let bundle = if wishes.user_namespace { bundle.user_namespace() } else { bundle };
        let bundle = bundle.set("/root/readonly", json!(wishes.readonly));
        let bundle = things(bundle, wishes, &volume, &file);
        if wishes.user_namespace {
            give(&volume);
            ["", "etc", "etc/place", "dev", "srv"].iter().for_each(|dir| own(&bundle.inside(dir)));
        }
        Scene { t, bundle, volume, outside, wishes, is_idle: false }
    }

    /// The same scene for a container with a terminal.
    pub fn on_a_terminal(mut self) -> Self {
        self.bundle = on_a_terminal(self.bundle);
        self
    }

    /// Returns where a path of the container is on the host.
    pub fn on_host(&self, path: &str) -> PathBuf {
        match path.strip_prefix(VOLUME).filter(|rest| rest.starts_with('/')) {
            Some(rest) => self.volume.join(rest.trim_start_matches('/')),
            None => self.bundle.inside(path),
        }
    }

    /// Returns a place for what is exchanged with `path`. It is in the same mount, because an
    /// attacker who owns a volume can't move a file out of it.
    pub fn trap(&self, path: &str, number: u64) -> PathBuf {
        let is_in_volume = path.strip_prefix(VOLUME).is_some_and(|rest| rest.starts_with('/'));
        let root = if is_in_volume { self.volume.clone() } else { self.bundle.inside("") };
        root.join(format!(".trap{number}"))
    }

    /// Returns which path of the container is at this path of the host.
    pub fn in_container(&self, path: &Path) -> Option<PathBuf> {
        let root = self.bundle.inside("");
        let in_volume = path.strip_prefix(&self.volume).map(|rest| Path::new(VOLUME).join(rest));
        in_volume.or_else(|_| path.strip_prefix(root).map(|rest| Path::new("/").join(rest))).ok()
    }

    /// Returns what the hook in init's mount namespace has found.
    pub fn mounts_outside(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.outside).unwrap_or_default();
        let _ = fs::remove_file(&self.outside);
        text.lines().map(str::to_owned).collect()
    }

    /// A list for `mounts add`, of what `things` has.
    pub fn live_mounts(&self) -> PathBuf {
        let bundle = self.bundle.clone().set("/mounts", json!([]));
        let file = self.t.make_file("bound", "bound");
        let bundle = things(bundle, self.wishes, &self.volume, &file);
        self.t.make_file("mounts.json", &bundle.config["mounts"].to_string())
    }
}

fn volume(t: &Test) -> PathBuf {
    let volume = t.make_dir("volume");
    for dir in ["place", "place/copy", "place/copy/deep", "place/cwd", "place/ro"] {
        fs::create_dir(volume.join(dir)).expect("mkdir");
    }
    for file in ["place/file", "place/version", "place/secret", "place/copy/file", "place/copy/deep/file"] {
        fs::write(volume.join(file), "a file of the volume").expect("a file");
    }
    volume
}

/// Gives the volume to root of the container's user namespace.
fn give(dir: &Path) {
    own(dir);
    for entry in fs::read_dir(dir).expect("list the volume").flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => give(&entry.path()),
            _ => own(&entry.path()),
        }
    }
}

fn own(path: &Path) {
    std::os::unix::fs::lchown(path, Some(100_000), Some(100_000)).expect("chown");
}

/// /dev is a directory of the image.
fn own_dev(bundle: Bundle) -> Bundle {
    let bundle = ["", "/shm", "/mqueue"]
        .iter()
        .fold(bundle, |bundle, name| bundle.without_mount(&format!("/dev{name}")));
    fs::create_dir(bundle.inside("/dev/pts")).expect("mkdir");
    fs::write(bundle.inside("/dev/console"), "").expect("a file");
    crate::security::make_device(&bundle.inside("/dev/null"), 3);
    bundle
}

fn things(bundle: Bundle, wishes: Wishes, volume: &Path, file: &Path) -> Bundle {
    let inner = bundle.inside("srv/inner");
    let device = json!({ "path": "/vol/place/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666 });
    let mask = |bundle: Bundle, list: &str, path: &str| bundle.push(&format!("/linux/{list}"), json!(path));
    let add: [&dyn Fn(Bundle) -> Bundle; THINGS] = [
        &|bundle| bundle.mount("/vol/place/made/deep", "tmpfs", "tmpfs", &[]),
        &|bundle| bundle.bind(file, "/vol/place/file", &["ro"]),
        &|bundle| bundle.bind(file, "/vol/place/new/file", &[]),
        &|bundle| bundle.mount("/vol/place/copy", "tmpfs", "tmpfs", &["tmpcopyup"]),
        &|bundle| bundle.bind(&inner, "/inner", &["ro"]),
        &|bundle| bundle.bind(volume, "/etc/place/deep", &[]),
        &|bundle| mask(mask(bundle, "maskedPaths", "/vol/place/secret"), "maskedPaths", "/etc/group"),
        &|bundle| mask(mask(bundle, "readonlyPaths", "/vol/place/ro"), "readonlyPaths", "/srv"),
        &|bundle| bundle.push("/linux/devices", device.clone()),
        &|bundle| bundle.set("/process/cwd", json!("/vol/place/cwd/made")),
    ];
    (0u32..).zip(add).filter(|(number, _)| wishes.has(*number)).fold(bundle, |bundle, (_, add)| add(bundle))
}
