//! /proc/PID/mountinfo, which a container's mounts and paths fill: a path comes back as the
//! kernel escaped it, and the four readers of the file agree.
#![no_main]

use corten::cgroup::fuzz::v1_mounts;
use corten::init::superblock_options;
use corten::rdt::parse_mount_point;
use corten::sys::mountinfo::MountInfo;
use libfuzzer_sys::fuzz_target;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    // Any bytes at all: no reader fails.
    bytes.split(|byte| *byte == b'\n').for_each(|line| drop(MountInfo::parse(line)));
    let text = String::from_utf8_lossy(bytes);
    parse_mount_point(&text);
    assert!(superblock_options(bytes).len() <= bytes.len());
    let (own, info) = text.split_once('\0').unwrap_or(("", &text));
    let (mounts, unified) = v1_mounts(info, own);
    for mount in mounts.iter().map(|mount| &mount.place).chain(&unified) {
        assert!(mount.mount.starts_with("/sys/fs/cgroup"), "{mount:?}");
        assert!(mount.own.starts_with(&mount.mount), "{mount:?}");
    }
    // A line as the kernel writes it.
    let path: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    let (root, point) = path.split_at(path.len() / 2);
    let (root, point) = ([b"/", root].concat(), [b"/", point].concat());
    for (fs, options) in [("cgroup2", "rw,nsdelegate"), ("resctrl", "rw"), ("ext4", "rw")] {
        let line = [
            b"83 66 0:6 ",
            escape(&root).as_slice(),
            b" ",
            &escape(&point),
            b" rw,relatime master:1 - ",
            fs.as_bytes(),
            b" none ",
            options.as_bytes(),
            b"\n",
        ]
        .concat();
        let read = MountInfo::parse(&line[..line.len() - 1]).expect("a mount");
        assert_eq!((read.id, read.parent, read.fs.as_slice()), (83, 66, fs.as_bytes()));
        assert_eq!(read.root.as_os_str().as_bytes(), root);
        assert_eq!(read.path.as_os_str().as_bytes(), point);
        let text = String::from_utf8_lossy(&line);
        // Only a path that is text can be compared; the other readers take text.
        if [&root, &point].iter().all(|path| std::str::from_utf8(path).is_ok()) {
            let resctrl = (fs == "resctrl").then(|| read.path.clone());
            assert_eq!(parse_mount_point(&text), resctrl);
            let below = |path: &Path| path.starts_with("/sys/fs/cgroup");
            let unified = v1_mounts(&text, "0::/").1.map(|place| place.mount);
            assert_eq!(unified, (fs == "cgroup2" && below(&read.path)).then(|| read.path.clone()));
        }
        assert_eq!(superblock_options(&line), if fs == "cgroup2" { options.as_bytes() } else { b"" });
    }
});

/// seq_path of the kernel (fs/seq_file.c).
fn escape(path: &[u8]) -> Vec<u8> {
    let escaped = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        other => vec![*other],
    };
    path.iter().flat_map(escaped).collect()
}
