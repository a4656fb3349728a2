//! The image all bundles share: a static busybox, the probe, empty mountpoints.
//! Built once a run; a bundle's rootfs is a tree of hard links to it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const APPLETS: &[&str] = &[
    "cat", "chmod", "cp", "dd", "echo", "env", "false", "grep", "head", "id", "kill", "ln", "ls", "mkdir",
    "mkfifo", "mknod", "mount", "mv", "nc", "ping", "ps", "pwd", "readlink", "rm", "sh", "sleep", "stat",
    "stty", "sync", "tail", "test", "touch", "true", "tty", "umount", "wc",
];

/// Everything of this run lies in here.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let tmp = std::env::temp_dir().canonicalize().expect("a temporary directory");
        let name = format!("corten-suite.{}", std::process::id());
        // A run that was killed has left its own, and its pid is used again.
        let names = std::iter::once(name.clone()).chain((1..).map(|n| format!("{name}.{n}")));
        let dir = names.map(|name| tmp.join(name)).find(|dir| !dir.exists()).expect("a name");
        make_dir(&dir);
        dir
    })
}

pub fn remove() {
    // Only an empty directory goes: a test that left something keeps its tree.
    let image = base().join("image");
    if image.exists() {
        super::host::remove_tree(&image).expect("remove the image");
    }
    let _ = fs::remove_dir(base());
}

fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let dir = base().join("image");
        build(&dir);
        dir
    })
}

fn build(dir: &Path) {
    make_dir(dir);
    for name in ["bin", "etc", "root", "tmp", "proc", "sys", "dev", "var"] {
        make_dir(&dir.join(name));
    }
    fs::copy("/bin/busybox", dir.join("bin/busybox")).expect("busybox-static is installed");
    for applet in APPLETS {
        symlink("busybox", dir.join("bin").join(applet)).expect("applet");
    }
    fs::copy("/proc/self/exe", dir.join("probe")).expect("copy the probe");
    fs::set_permissions(dir.join("probe"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
    fs::write(dir.join("etc/passwd"), passwd).expect("passwd");
    fs::write(dir.join("etc/group"), "root:x:0:\nalice:x:1000:\n").expect("group");
}

pub fn make_dir(dir: &Path) {
    fs::create_dir(dir).unwrap_or_else(|e| panic!("mkdir {}: {e}", dir.display()));
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// A rootfs of hard links: never write to a file of it, replace the file.
pub fn lay(rootfs: &Path) {
    link_tree(image(), rootfs);
}

fn link_tree(from: &Path, to: &Path) {
    make_dir(to);
    for entry in fs::read_dir(from).expect("list the image") {
        let entry = entry.expect("an image's entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().expect("file type").is_dir() {
            link_tree(&source, &target);
        } else {
            // A link to a symlink links the symlink itself.
            fs::hard_link(&source, &target).expect("hard link");
        }
    }
}
