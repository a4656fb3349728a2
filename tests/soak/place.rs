//! Where the containers are: a tmpfs with a rootfs, bundles and the state root.

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

pub struct Place {
    pub runtime: PathBuf,
    pub work: PathBuf,
    /// In the id of every container and the name of every cgroup.
    pub token: String,
}

impl Place {
    /// Mounts the tmpfs on `work`, and fills it.
    pub fn create(work: &Path, runtime: &Path) -> Place {
        mount(Some("tmpfs"), work, Some("tmpfs"), MsFlags::empty(), Some("size=256m,mode=755"))
            .expect("mount a tmpfs");
        let place = Place::of(work, runtime);
        let rootfs = work.join("rootfs");
        for dir in ["bin", "proc", "dev", "sys"] {
            fs::create_dir_all(rootfs.join(dir)).expect("a directory of the rootfs");
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("/bin/busybox (busybox-static)");
        for name in ["true", "sleep"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).expect("a symbolic link");
        }
        fs::create_dir(place.root()).expect("the state root");
        place.bundle("short", &["/bin/true"], None);
        place.bundle("long", &["/bin/sleep", "1000000"], None);
        place
    }

    /// Returns the place that another process has created.
    pub fn of(work: &Path, runtime: &Path) -> Place {
        let token = work.file_name().expect("a name").to_string_lossy().into_owned();
        Place { runtime: runtime.into(), work: work.into(), token }
    }

    pub fn root(&self) -> PathBuf {
        self.work.join("state")
    }

    /// Writes a bundle, and returns its directory. All bundles share one rootfs.
    pub fn bundle(&self, name: &str, args: &[&str], cgroups_path: Option<&str>) -> PathBuf {
        let mut config: Value =
            serde_json::from_str(include_str!("../harness/config.json")).expect("the harness's config.json");
        config["process"]["args"] = json!(args);
        config["root"]["path"] = json!(self.work.join("rootfs"));
        if let Some(path) = cgroups_path {
            config["linux"]["cgroupsPath"] = json!(path);
        }
        let dir = self.bundle_dir(name);
        fs::create_dir_all(&dir).expect("a bundle");
        fs::write(dir.join("config.json"), config.to_string()).expect("config.json");
        dir
    }

    pub fn bundle_dir(&self, name: &str) -> PathBuf {
        self.work.join(format!("bundle-{name}"))
    }
}
