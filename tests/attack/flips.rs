//! Exchanges a path of the container for something else, again and again.

use crate::random::Random;
use crate::scene::Scene;
use crate::security::attacker::{Flipper, exchange};
use crate::security::make_device;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What stands in the path's place at every second moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    AbsoluteLink,
    RelativeLink,
    /// A link through a magic link of procfs.
    MagicLink,
    /// A link to procfs itself.
    ProcLink,
    Directory,
    File,
    Fifo,
    Device,
    MountPoint,
}

/// Links come more often, because they lead out.
const KINDS: [Kind; 14] = [
    Kind::AbsoluteLink,
    Kind::AbsoluteLink,
    Kind::AbsoluteLink,
    Kind::AbsoluteLink,
    Kind::RelativeLink,
    Kind::RelativeLink,
    Kind::MagicLink,
    Kind::MagicLink,
    Kind::ProcLink,
    Kind::Directory,
    Kind::File,
    Kind::Fifo,
    Kind::Device,
    Kind::MountPoint,
];

/// A path that is being exchanged.
pub struct Flips {
    pub kind: Kind,
    /// The path in the container.
    pub name: String,
    flipper: Option<Flipper>,
    path: PathBuf,
    trap: PathBuf,
    /// The path's inode before; `None` if there was no file.
    inode: Option<u64>,
    before: u64,
}

impl Flips {
    /// Starts to exchange `path`. `None` if nothing can be put there.
    pub fn start(scene: &Scene, decoy: &Path, path: &str, random: &mut Random) -> Option<Flips> {
        let kind = random.pick(&KINDS);
        let on_host = scene.on_host(path);
        let meta = on_host.symlink_metadata().ok();
        if !on_host.parent()?.is_dir() || (kind == Kind::MountPoint && !meta.as_ref()?.is_dir()) {
            return None;
        }
        let is_dir = meta.as_ref().is_some_and(fs::Metadata::is_dir) || (meta.is_none() && random.one_in(2));
        let trap = scene.trap(path, random.next());
        make_trap(kind, &trap, &target(kind, decoy, &on_host, is_dir, random), is_dir);
        // Some races are won by many exchanges, some by a single one.
        let pace = Duration::from_micros(random.pick(&[0, 0, 0, 20, 200, 2000]));
        let (one, two, mut pauses) = (on_host.clone(), trap.clone(), Random(random.next() | 1));
        let is_there = meta.is_some();
        let flipper = Flipper::start(move || {
            let result = match kind {
                Kind::MountPoint => mount_over(&one),
                _ if is_there => exchange(&one, &two),
                _ => appear(&one, &two),
            };
            pause(pace.mul_f64(pauses.below(1000) as f64 / 500.0));
            match result {
                Ok(()) => Ok(true),
                // The runtime has created or removed the file, or it is using the mount.
                Err(Errno::ENOENT | Errno::EBUSY | Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {
                    Ok(false)
                }
                Err(errno) => Err(errno),
            }
        });
        Some(Flips {
            kind,
            name: path.to_owned(),
            before: 0,
            flipper: Some(flipper),
            path: on_host,
            trap,
            inode: meta.map(|m| m.ino()),
        })
    }

    /// Notes that the runtime starts now.
    pub fn begin(&mut self) {
        self.before = self.flipper.as_ref().map_or(0, Flipper::count);
    }

    /// Returns how often the path was exchanged since `begin`.
    pub fn since_begin(&self) -> u64 {
        self.flipper.as_ref().map_or(0, Flipper::count) - self.before
    }

    /// Stops, and puts back what was there.
    pub fn end(&mut self) {
        drop(self.flipper.take());
        while self.kind == Kind::MountPoint
            && umount2(&self.path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok()
        {}
        let now = self.path.symlink_metadata().ok().map(|meta| meta.ino());
        if now != self.inode {
            let _ = match self.inode {
                Some(_) => exchange(&self.path, &self.trap),
                None => appear(&self.path, &self.trap),
            };
        }
    }
}

impl Drop for Flips {
    fn drop(&mut self) {
        self.end();
    }
}

fn pause(time: Duration) {
    if time > Duration::from_micros(100) {
        return std::thread::sleep(time);
    }
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// Lets `path` appear, or takes it away again.
fn appear(path: &Path, trap: &Path) -> nix::Result<()> {
    let rename =
        |from: &Path, to: &Path| renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE);
    rename(trap, path).or_else(|_| rename(path, trap))
}

/// Lets `path` be a mount point for a moment.
fn mount_over(path: &Path) -> nix::Result<()> {
    mount(Some("trap"), path, Some("tmpfs"), MsFlags::empty(), Some("size=16k"))?;
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
}

/// Returns where a link leads.
fn target(kind: Kind, decoy: &Path, path: &Path, is_dir: bool, random: &mut Random) -> PathBuf {
    let name = path.file_name().expect("a name");
    // The decoy itself, a file of the same name in there, or nothing yet.
    let victim = match random.below(3) {
        0 => decoy.join("absent"),
        _ if is_dir => decoy.to_path_buf(),
        _ => decoy.join(name),
    };
    let below = victim.strip_prefix("/").expect("an absolute path");
    match kind {
        Kind::RelativeLink => PathBuf::from("../".repeat(20)).join(below),
        Kind::MagicLink => {
            let number = 3 + random.below(20);
            match random.below(4) {
                0 => Path::new("/proc/self/root").join(below),
                1 => Path::new("/proc/1/root").join(below),
                2 => Path::new("/proc/self/cwd").join("../".repeat(20)).join(below),
                _ => PathBuf::from(format!("/proc/self/fd/{number}")),
            }
        }
        Kind::ProcLink => {
            let names: &[&str] =
                if is_dir { &["/proc", "/proc/self", "/proc/sys"] } else { &["/proc/version"] };
            PathBuf::from(random.pick(names))
        }
        _ => victim,
    }
}

fn make_trap(kind: Kind, trap: &Path, target: &Path, is_dir: bool) {
    match kind {
        Kind::AbsoluteLink | Kind::RelativeLink | Kind::MagicLink | Kind::ProcLink => {
            symlink(target, trap).expect("symlink");
        }
        Kind::Directory => fs::create_dir(trap).expect("mkdir"),
        // An exchange of like for like would show the runtime nothing.
        Kind::File if !is_dir => fs::create_dir(trap).expect("mkdir"),
        Kind::File => fs::write(trap, "a trap").expect("write"),
        Kind::Fifo => nix::unistd::mkfifo(trap, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo"),
        Kind::Device => make_device(trap, 5),
        Kind::MountPoint => {}
    }
}
