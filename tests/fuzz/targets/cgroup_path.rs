//! `linux.cgroupsPath`: refused, or a place below the hierarchy's mount.
#![no_main]

use corten::cgroup::{UnitName, place};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::path::{Component, Path};

fuzz_target!(|path: &str| {
    let config = json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs" },
        "process": { "cwd": "/", "args": ["sh"] },
        "linux": { "namespaces": [{ "type": "mount" }], "cgroupsPath": path },
    });
    let config = corten::spec::parse_config(config.to_string().as_bytes(), &mut Vec::new());
    let config = config.unwrap_or_else(|e| panic!("a string is a string: {e}"));
    let Ok(plan) = corten::spec::resolve(&config, Path::new("/bundle"), &mut Vec::new()) else { return };
    let Some(path) = &plan.cgroups_path else { return };
    let mount = Path::new("/sys/fs/cgroup");
    for own in ["/", "/user.slice/session.scope"] {
        let place = place(mount, Path::new(own), path);
        assert!(place.starts_with(mount), "{place:?}");
        assert!(place.components().all(|part| part != Component::ParentDir), "{place:?}");
    }
    for user in [false, true] {
        if let Ok(Ok(cgroup)) = UnitName::of(Some(path), "id", user).map(|name| name.cgroup()) {
            assert!(Path::new(&cgroup).components().all(|part| part != Component::ParentDir), "{cgroup}");
        }
    }
});
