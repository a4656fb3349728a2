//! What the host has: cgroups and mounts, and the ways to clean up after a test
//! without touching what is not its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One line of mountinfo for every mount whose line mentions `what`.
pub fn mountinfo(what: &str) -> Vec<String> {
    let all = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    all.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
}

/// A script that shows version 2 alone at /sys/fs/cgroup. It binds what is mounted, because
/// a new mount would set the options of the host's superblock.
pub const MOUNT_V2: &str = "at=$(grep ' - cgroup2 ' /proc/self/mountinfo | head -n 1 | cut -d ' ' -f 5); \
                  mount --bind \"$at\" /sys/fs/cgroup";

/// The directories of all hierarchies whose name holds `token`.
pub fn cgroups_named(token: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(Path::new("/sys/fs/cgroup"), token, &mut found);
    found
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

fn collect(dir: &Path, token: &str, found: &mut Vec<PathBuf>) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        // Others remove theirs meanwhile, and a user may not look into all of them.
        Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => return,
        Err(error) => panic!("list {}: {error}", dir.display()),
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        collect(&entry.path(), token, found);
        if entry.file_name().to_string_lossy().contains(token) {
            found.push(entry.path());
        }
    }
}

/// The kernel's version, as far as it is compared here.
pub fn linux() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's version");
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Is version 2 the host's only one?
pub fn cgroup_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Where cgroup v2 lets this user make cgroups: where he has a parent's, too.
pub fn delegated() -> Option<PathBuf> {
    let own = cgroup_dir(std::process::id() as i32, "").filter(|_| cgroup_v2())?;
    let parent = own.parent().filter(|parent| parent.starts_with("/sys/fs/cgroup"))?;
    let procs = parent.join("cgroup.procs");
    fs::OpenOptions::new().write(true).open(procs).ok().map(|_| parent.to_path_buf())
}

/// Can a container made from here have this controller? On version 2 it stands
/// beside us, so our parent's controllers count.
pub fn has_controller(name: &str) -> bool {
    let own = std::process::id() as i32;
    if !cgroup_v2() {
        return cgroup_dir(own, name).is_some();
    }
    // These are part of the hierarchy itself, or programs.
    if ["freezer", "devices"].contains(&name) {
        return true;
    }
    let Some(dir) = cgroup_dir(own, name) else { return false };
    if !super::bundle::is_root() && delegated().is_none() {
        return false;
    }
    let parent = if dir == Path::new("/sys/fs/cgroup") { &dir } else { dir.parent().expect("a parent") };
    let offered = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
    offered.split_whitespace().any(|offered| offered == name)
}

/// Where a process stands in a v1 controller's hierarchy; on version 2 there is
/// one for all.
pub fn cgroup_dir(pid: i32, controller: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup file");
    if cgroup_v2() {
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        return Some(Path::new("/sys/fs/cgroup").join(path));
    }
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let names = parts.next()?;
        let path = parts.next()?;
        let mine = names.split(',').any(|name| name == controller);
        mine.then(|| Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/')))
    })
}

/// A file of a process's cgroup; None where this machine has no such file.
pub fn cgroup_file(pid: i32, controller: &str, file: &str) -> Option<String> {
    let text = fs::read_to_string(cgroup_dir(pid, controller)?.join(file)).ok()?;
    Some(text.trim().to_owned())
}

/// Gives the new cgroup `to` the CPUs and memory nodes of `from`, where that is in version
/// 1's cpuset hierarchy: no process may enter it without.
pub fn copy_cpuset(from: &Path, to: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if !cgroup_v2() && from.join(file).exists() {
            fs::write(to.join(file), fs::read(from.join(file)).unwrap()).expect("a cpuset");
        }
    }
}

/// Ends what still runs in a cgroup that the runtime made for this test, and
/// removes it. Only ever called for names that hold the test's token.
pub fn remove_cgroup(dir: &Path) {
    // Whoever is frozen on version 1 does not die.
    let _ = fs::OpenOptions::new()
        .write(true)
        .open(dir.join("freezer.state"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"THAWED"));
    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in procs.lines().filter_map(|pid| pid.parse().ok()) {
        let process = super::sys::PidFd::open(pid);
        process.kill();
        process.ended();
    }
    let _ = fs::remove_dir(dir);
}

/// Removes a tree, unless something is mounted in it.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    let inside = mountinfo(&format!(" {}", dir.display()));
    if !inside.is_empty() {
        return Err(io::Error::other(format!("{} holds mounts: {inside:?}", dir.display())));
    }
    fs::remove_dir_all(dir)
}

/// Detaches what a runtime left mounted below a test's own directory. Made
/// private first: an unmount must not travel to the peers of a bind mount.
pub fn detach_below(dir: &Path) {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let prefix = format!("{}/", dir.display());
    let points = mountinfo(&prefix);
    for line in points.iter().rev() {
        let Some(point) = line.split(' ').nth(4).filter(|p| p.starts_with(&prefix)) else {
            continue;
        };
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        if mount(None::<&str>, point, None::<&str>, private, None::<&str>).is_ok() {
            let _ = umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        }
    }
}
