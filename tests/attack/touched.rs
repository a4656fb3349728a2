//! The paths that a verb of the runtime touches in the rootfs and in the volume, found by
//! strace.

use crate::scene::Scene;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Returns the paths in the log of strace that are in the container, with their parents.
pub fn paths(scene: &Scene, log: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in log.lines().flat_map(named) {
        let path = plain(&scene.in_container(&path).unwrap_or(path));
        for path in path.ancestors().filter_map(Path::to_str).filter(|path| path.len() > 1) {
            let on_host = scene.on_host(path);
            let is_there = on_host.symlink_metadata().is_ok();
            // The runtime could create it.
            let is_possible = on_host.parent().is_some_and(Path::is_dir)
                && ["/vol/", "/dev/", "/etc/"].iter().any(|dir| path.starts_with(dir));
            if is_there || is_possible {
                found.insert(path.to_owned());
            }
        }
    }
    found
}

/// Returns the paths that one line of the log names. A call that looks up `"/b"` below the
/// descriptor `7</a>` names /b and /a/b: it depends on the call, and on where the tree of the
/// descriptor is mounted.
fn named(line: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(begin) = rest.find('"') {
        let before = &rest[..begin];
        let text = &rest[begin + 1..];
        let Some(end) = text.find('"') else { break };
        let path = Path::new(&text[..end]);
        rest = &text[end + 1..];
        let dir = before.strip_suffix(">, ").and_then(|before| before.rsplit_once('<')).map(|(_, dir)| dir);
        found.extend(path.is_absolute().then(|| plain(path)));
        if let Some(dir) = dir {
            found.push(plain(&Path::new(dir).join(path.strip_prefix("/").unwrap_or(path))));
        }
    }
    found
}

/// Returns the path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::from("/"), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
        plain
    })
}
