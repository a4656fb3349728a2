//! A census of the host: what the runtime could change outside of rootfs, state and cgroup.
//!
//! One is taken before the first test, one after each, and one after the last. What differs
//! between the first and the last fails the run. Tests run side by side, so a difference is
//! reported with the tests that ran when it was first seen.

use super::sys::{PATIENCE, reap_orphans};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The directories whose entries are counted.
const DIRECTORIES: [&str; 9] =
    ["/", "/etc", "/root", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/var", "/var/lib"];

/// Parts of `/proc/sys` that change by themselves.
const RESTLESS: [&str; 16] = [
    "fs/aio-nr",
    // systemd mounts it when somebody looks into it.
    "fs/binfmt_misc",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/quota/",
    "kernel/ns_last_pid",
    "kernel/perf_",
    "kernel/pty/nr",
    "kernel/random/",
    "kernel/sched_domain",
    "kernel/tainted",
    "net/netfilter/nf_conntrack_count",
    "net/ipv4/route/",
    "vm/stat",
];

/// What a run of the suite compares, and whom it suspects.
pub struct Census {
    /// The names of this run's containers, cgroups and units begin like this.
    token: String,
    before: BTreeSet<String>,
    rest_before: BTreeSet<String>,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    running: Vec<String>,
    suspects: BTreeMap<String, Vec<String>>,
}

impl Census {
    pub fn take(token: &str) -> Census {
        Census { token: token.to_owned(), before: cheap(), rest_before: rest(token), now: Mutex::default() }
    }

    pub fn begin(&self, test: &str) {
        self.now.lock().expect("the census").running.push(test.to_owned());
    }

    /// Compares after a test, and notes which tests were running.
    pub fn end(&self, test: &str) {
        let differences = self.cheap_differences();
        let mut now = self.now.lock().expect("the census");
        let running = now.running.clone();
        now.suspects.retain(|line, _| differences.contains(line));
        for line in differences {
            now.suspects.entry(line).or_insert_with(|| running.clone());
        }
        let own = now.running.iter().position(|other| other == test);
        now.running.remove(own.expect("a test that began"));
    }

    /// What differs now, except for new devices that the kernel has made itself.
    fn cheap_differences(&self) -> Vec<String> {
        let all = differences(&self.before, &cheap());
        let is_lost = |path: &str| all.iter().any(|line| line.starts_with(&format!("- file {path} ")));
        let is_kernels = |line: &String| {
            let path = line.strip_prefix("+ file ").and_then(|rest| rest.split(' ').next());
            path.is_some_and(|path| is_of_the_kernel(Path::new(path)) && !is_lost(path))
        };
        all.iter().filter(|line| !is_kernels(line)).cloned().collect()
    }

    /// Compares for the last time. Returns how much was compared, and a line for each difference.
    pub fn finish(self) -> (usize, Vec<String>) {
        reap_orphans();
        let rest = rest(&self.token);
        let cheap = self.cheap_differences();
        let suspects = self.now.into_inner().expect("the census").suspects;
        let tell = |line: String| match suspects.get(&line) {
            Some(tests) => format!("{line} (first seen at the end of one of: {})", tests.join(", ")),
            None => line,
        };
        let mut lines: Vec<String> = cheap.into_iter().map(tell).collect();
        lines.extend(differences(&self.rest_before, &rest));
        (self.before.len() + self.rest_before.len(), lines)
    }
}

/// What is in only one of two sets: with `-` what is gone, with `+` what is new.
pub fn differences(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let gone = before.difference(after).map(|line| format!("- {line}"));
    let new = after.difference(before).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

/// What can be counted after each test: mounts with their peer groups, devices and network devices.
fn cheap() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    all.extend(mounts());
    devices(Path::new("/dev"), true, &mut all);
    all.extend(lines("/proc/self/net/dev", "network device", |line| {
        line.split_once(':').map(|(name, _)| name)
    }));
    all
}

/// What is counted only twice: directories, sysctls, IPC objects, keys, RDT groups and units.
fn rest(token: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for dir in DIRECTORIES {
        files(Path::new(dir), &mut all);
    }
    files(Path::new("/sys/fs/resctrl"), &mut all);
    sysctls(Path::new("/proc/sys"), &mut all);
    for kind in ["shm", "sem", "msg"] {
        let file = format!("/proc/sysvipc/{kind}");
        // The key and the id; what follows are times and processes.
        all.extend(lines(&file, kind, |line| line.get(..21)));
    }
    all.extend(keys(token));
    all.extend(added_keys());
    all.extend(units(token));
    all
}

/// A mount without its number and its parent's, which another mount namespace has differently.
fn mounts() -> Vec<String> {
    let all = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let fields = |line: &str| line.splitn(4, ' ').nth(3).map(|rest| format!("mount {rest}"));
    all.lines().filter(|line| !line.contains(" /proc/sys/fs/binfmt_misc ")).filter_map(fields).collect()
}

/// A line for each entry of a directory: what it is, and whose.
pub fn files(dir: &Path, all: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // Others make and remove entries meanwhile.
        all.extend(entry.path().symlink_metadata().map(|meta| describe(&entry.path(), &meta)));
    }
}

/// The same for what is no directory in `/dev`, and for the device nodes in its directories.
/// udev makes directories and links there at any time, and programs open terminals.
fn devices(dir: &Path, is_top: bool, all: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = path.symlink_metadata() else { continue };
        let kind = meta.file_type();
        if kind.is_dir() {
            if path != Path::new("/dev/pts") {
                devices(&path, false, all);
            }
        } else if is_top || kind.is_char_device() || kind.is_block_device() {
            all.insert(describe(&path, &meta));
        }
    }
}

/// Whether the kernel has a device of this name and number. It makes the node itself, for example
/// when the first open of a device loads a module.
fn is_of_the_kernel(path: &Path) -> bool {
    let Ok(meta) = path.symlink_metadata() else { return false };
    let kind = if meta.file_type().is_block_device() { "block" } else { "char" };
    let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
    let known = fs::read_link(format!("/sys/dev/{kind}/{major}:{minor}")).unwrap_or_default();
    known.file_name().is_some() && known.file_name() == path.file_name()
}

fn describe(path: &Path, meta: &fs::Metadata) -> String {
    let kind = meta.file_type();
    let device = if kind.is_char_device() || kind.is_block_device() { meta.rdev() } else { 0 };
    let target = fs::read_link(path).unwrap_or_default();
    let (inode, mode, owner) = (meta.ino(), meta.mode(), (meta.uid(), meta.gid()));
    format!("file {} {inode} {mode:o} {owner:?} {device:x} {}", path.display(), target.display())
}

/// A line for each value below a directory of `/proc/sys` that can be read.
fn sysctls(dir: &Path, all: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.to_string_lossy().into_owned();
        if RESTLESS.iter().any(|restless| name.starts_with(&format!("/proc/sys/{restless}"))) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sysctls(&path, all);
        } else if let Ok(value) = fs::read_to_string(&path) {
            all.insert(format!("sysctl {name} = {}", value.trim()));
        }
    }
}

/// A line for each line of a file in which `part` finds something.
fn lines(file: &str, kind: &str, part: impl Fn(&str) -> Option<&str>) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| Some(format!("{kind} {}", part(line)?.trim()))).collect()
}

/// The keyrings of this run's containers. The kernel removes the keyring of an ended process some
/// time later, and tells nobody.
fn keys(token: &str) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let all = lines("/proc/keys", "key", |line| line.contains(token).then_some(line));
        if all.is_empty() || Instant::now() > end {
            return all;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A line for each key that a program has added, for example to root's user keyring. Keyrings
/// are left out: containers of other programs have theirs.
pub fn added_keys() -> Vec<String> {
    let text = fs::read_to_string("/proc/keys").unwrap_or_default();
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // The owner, the group, the type and the description are at the end.
    let is_added = |words: &Vec<&str>| words.len() > 8 && words[7] != "keyring";
    lines.filter(is_added).map(|words| format!("key {}", words[5..].join(" "))).collect()
}

/// The units of this run's containers that systemd still knows, failed ones included.
fn units(token: &str) -> Vec<String> {
    if !Path::new("/run/systemd/system").exists() {
        return Vec::new();
    }
    let whose = if super::is_root() { "--system" } else { "--user" };
    let pattern = format!("*{token}*");
    let command = ["list-units", whose, "--all", "--plain", "--no-legend", "--no-pager", &pattern];
    let said = Command::new("systemctl").args(command).output().map(|out| out.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().map(|line| format!("unit {}", line.trim())).collect()
}
