//! What an attack must not change: a decoy, the mounts and the devices of the jail, which
//! plays the host.

use crate::harness::{Decoy, files, mountinfo};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// In the path of each decoy.
pub const DECOY: &str = "corten-decoy";
/// A file in each decoy, which is nowhere else.
pub const MARKER: &str = ".the-hosts";

/// Names that the runtime looks for behind a link.
const NAMES: [&str; 16] = [
    MARKER, "null", "zero", "console", "ptmx", "file", "version", "secret", "group", "passwd", "probe", "sh",
    "busybox", "mem", "new", "copy",
];

pub struct Host {
    dir: PathBuf,
    decoy: RefCell<Decoy>,
    mounts: Vec<String>,
    devices: BTreeSet<String>,
    /// The mounts of the host, for the hook that compares them with those of init.
    pub baseline: PathBuf,
}

impl Host {
    pub fn new() -> Host {
        let dir = std::env::temp_dir().join(format!("{DECOY}.{}", std::process::id()));
        fs::create_dir(&dir).expect("a directory for decoys");
        let baseline = dir.with_extension("mounts");
        let mounts = mountinfo(" - ");
        fs::write(&baseline, mounts.join("\n")).expect("write the mounts");
        Host { decoy: RefCell::new(decoy(&dir, 0)), dir, mounts, devices: devices(), baseline }
    }

    /// Returns the decoy's directory.
    pub fn decoy(&self) -> PathBuf {
        self.decoy.borrow().path.clone()
    }

    /// Returns what has changed since the last call.
    pub fn changes(&self) -> Vec<String> {
        let mut found = self.decoy.borrow().changes();
        if !found.is_empty() {
            // The next try has a new one.
            let next = fs::read_dir(&self.dir).expect("list the decoys").count();
            *self.decoy.borrow_mut() = decoy(&self.dir, next);
        }
        let base = arena();
        let is_outside = |line: &&String| !self.mounts.contains(line) && !fields(line).0.starts_with(&base);
        found.extend(
            mountinfo(" - ").iter().filter(is_outside).map(|line| format!("a mount on the host: {line}")),
        );
        let devices = devices();
        let new = devices.difference(&self.devices);
        found.extend(new.map(|line| format!("a device of the host: {line}")));
        found
    }
}

fn decoy(dir: &Path, number: usize) -> Decoy {
    let dir = dir.join(number.to_string());
    fs::create_dir(&dir).expect("a decoy");
    for name in ["dir", "made", "cwd", "inner", "deep"] {
        fs::create_dir(dir.join(name)).expect("a decoy");
        fs::write(dir.join(name).join(MARKER), "").expect("a marker");
    }
    for name in NAMES {
        fs::write(dir.join(name), "untouched").expect("a decoy");
    }
    fs::create_dir(dir.join("pts")).expect("a decoy");
    Decoy::take(&dir)
}

fn devices() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    files(Path::new("/dev"), &mut all);
    all
}

/// How the path of everything that belongs to a container begins.
pub fn arena() -> String {
    format!("{}/corten-suite.", std::env::temp_dir().display())
}

/// Whether a mount shows a decoy, which lies at the top of the jail's filesystem. A link to
/// the decoy may also lead to a place of the same name in the container.
pub fn is_decoys(line: &str) -> bool {
    fields(line).1.starts_with(&format!("/{DECOY}."))
}

/// Returns the mount point, and the mount's root in its filesystem.
fn fields(line: &str) -> (&str, &str) {
    let mut fields = line.split(' ').skip(3);
    let root = fields.next().unwrap_or_default();
    (fields.next().unwrap_or_default(), root)
}

/// A hook that runs in init's mount namespace before init leaves the host's root. Compares
/// the mounts with those in the file `args[0]`, and appends each mount outside of the
/// containers to the file `args[1]`.
pub fn mounts_outside(args: &[String]) -> ExitCode {
    let known = fs::read_to_string(&args[0]).unwrap_or_default();
    let known: Vec<_> = known.lines().map(fields).collect();
    let arena = args[2].as_str();
    let now = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let new = now.lines().filter(|line| {
        let (at, root) = fields(line);
        is_decoys(line) || (!known.contains(&(at, root)) && !at.starts_with(arena))
    });
    let found: String = new.map(|line| format!("a mount outside of the rootfs: {line}\n")).collect();
    if !found.is_empty() {
        let _ = fs::write(&args[1], found);
    }
    ExitCode::SUCCESS
}
