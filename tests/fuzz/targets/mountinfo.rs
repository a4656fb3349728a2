//! /proc/PID/mountinfo, which a container's mounts and paths fill: a path comes back as the
//! kernel escaped it, and a cgroup is below its hierarchy's mount.
#![no_main]

use corten::cgroup::fuzz::v1_mounts;
use corten::sys::mountinfo::{MountInfo, parse_mounts};
use libfuzzer_sys::fuzz_target;
use std::os::unix::ffi::OsStrExt;
use std::path::Component;

fuzz_target!(|bytes: &[u8]| {
    let nul = bytes.iter().position(|byte| *byte == 0);
    let (own, info) = nul.map_or((&[][..], bytes), |nul| (&bytes[..nul], &bytes[nul + 1..]));
    let (mounts, unified) = v1_mounts(&parse_mounts(info), &String::from_utf8_lossy(own));
    for mount in mounts.iter().map(|mount| &mount.place).chain(&unified) {
        assert!(mount.mount.starts_with("/sys/fs/cgroup"), "{mount:?}");
        assert!(mount.own.starts_with(&mount.mount), "{mount:?}");
        let below = mount.own.strip_prefix(&mount.mount).expect("below the mount");
        assert!(below.components().all(|part| matches!(part, Component::Normal(_))), "{mount:?}");
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
        assert_eq!(read.super_options, options.as_bytes());
        let is_unified = fs == "cgroup2" && read.path.starts_with("/sys/fs/cgroup");
        let unified = v1_mounts(&parse_mounts(&line), "0::/").1.map(|place| place.mount);
        assert_eq!(unified, is_unified.then_some(read.path));
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
