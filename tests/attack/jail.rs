//! The jail: namespaces and cgroups of its own, by `integration/conformance/jail`, with the
//! machine's files read-only and a /dev that is the jail's. So an attack that succeeds
//! reaches decoys, and nothing of the machine.

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const INSIDE: &str = "CORTEN_ATTACK_INSIDE";

pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Executes this program again in the jail. Some attacks on corten need cgroups of version 2
/// on a machine that has both versions, too.
pub fn enter(args: &[String]) -> ! {
    let jail = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/conformance/jail");
    let mut call = Command::new(jail);
    if crate::harness::is_corten() {
        call.env("JAIL_HYBRID", "1");
    }
    let own = std::env::current_exe().expect("the path of this program");
    let error = call.arg(own).args(args).env(INSIDE, "1").exec();
    panic!("{jail}: {error}");
}

/// Makes the machine's files read-only, and gives the jail its own /dev and /tmp.
pub fn furnish() {
    let none = None::<&str>;
    for line in crate::harness::mountinfo(" - ") {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
        let is_kernels =
            ["proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "mqueue"].contains(&kind);
        let is_jails = ["/run", "/var/tmp", "/sys/fs/cgroup"].contains(&fields[4]);
        if !is_kernels && !is_jails {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            // A mount that another one covers can't be reached, by nobody in the jail.
            let _ = mount(none, fields[4], none, flags, none);
        }
    }
    let root = fs::File::create("/corten-attack-test");
    assert!(root.is_err(), "the machine's files are read-only in the jail");
    own_dev();
    // CRIU works there.
    let given = ["RUNTIME", "WEAKENED", "CRIU"].map(|name| std::env::var_os(name).map(PathBuf::from));
    let needed = given.into_iter().chain([std::env::current_exe().ok()]);
    if !needed.flatten().any(|path| path.starts_with("/tmp")) {
        mount(Some("tmp"), "/tmp", Some("tmpfs"), MsFlags::empty(), Some("mode=1777")).expect("mount /tmp");
    }
}

fn own_dev() {
    let dev = Path::new("/dev");
    let none = None::<&str>;
    mount(Some("dev"), dev, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755")).expect("mount /dev");
    let mode = Mode::from_bits_truncate(0o666);
    for (name, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        mknod(&dev.join(name), SFlag::S_IFCHR, mode, makedev(major, minor)).expect("mknod");
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dev.join(name), fs::Permissions::from_mode(0o666)).expect("chmod");
    }
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir(dev.join(name)).expect("mkdir");
    }
    let options = Some("newinstance,ptmxmode=666,mode=620,gid=5");
    mount(Some("devpts"), &dev.join("pts"), Some("devpts"), MsFlags::empty(), options).expect("mount devpts");
    mount(Some("shm"), &dev.join("shm"), Some("tmpfs"), MsFlags::empty(), Some("mode=1777"))
        .expect("mount shm");
    mount(Some("mqueue"), &dev.join("mqueue"), Some("mqueue"), MsFlags::empty(), none).expect("mount mqueue");
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name)).expect("symlink");
    }
}
