//! A bundle: a rootfs and a config.json that starts as `runc spec` writes it.

use super::decoy::Decoys;
use super::image;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The ids that /etc/subuid or /etc/subgid gives to the user who runs the tests.
struct SubIds {
    first: u32,
    count: u32,
}

impl SubIds {
    fn of(file: &str) -> SubIds {
        let text = fs::read_to_string(file).expect("subordinate ids");
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().expect("a user's name");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{}:", user.name)));
        let (first, count) = line.and_then(|line| line.split_once(':')).expect("a line for the user");
        SubIds { first: first.parse().expect("an id"), count: count.parse().expect("a number") }
    }
}

/// Are the tests run by root? Then a container needs no user namespace.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[derive(Clone)]
pub struct Bundle {
    pub dir: PathBuf,
    pub config: Value,
    decoys: Decoys,
}

impl Bundle {
    pub fn new(dir: PathBuf, decoys: Decoys) -> Bundle {
        image::make_dir(&dir);
        image::lay(&dir.join("rootfs"));
        let config = serde_json::from_str(include_str!("config.json")).expect("config.json");
        let bundle = Bundle { dir, config, decoys };
        if is_root() { bundle } else { bundle.rootless() }
    }

    /// What a user's engine changes: a user namespace in which the user is root
    /// and the subordinate ids are all others.
    fn rootless(self) -> Self {
        let map = |own: u32, ids: SubIds| {
            json!([
                { "containerID": 0, "hostID": own, "size": 1 },
                { "containerID": 1, "hostID": ids.first, "size": ids.count },
            ])
        };
        let uids = map(nix::unistd::geteuid().as_raw(), SubIds::of("/etc/subuid"));
        let gids = map(nix::unistd::getegid().as_raw(), SubIds::of("/etc/subgid"));
        self.namespace("user").set("/linux/uidMappings", uids).set("/linux/gidMappings", gids)
    }

    /// A path inside the container, as the host sees it.
    pub fn inside(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path.trim_start_matches('/'))
    }

    /// Sets the value at a JSON pointer; objects on the way are made.
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        *self.at(pointer) = value;
        self
    }

    /// Appends to the array at a JSON pointer, made if it isn't there.
    pub fn push(mut self, pointer: &str, value: Value) -> Self {
        let place = self.at(pointer);
        if place.is_null() {
            *place = json!([]);
        }
        place.as_array_mut().expect("an array").push(value);
        self
    }

    /// Takes a key away.
    pub fn drop(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = self.at(parent).as_object_mut().expect("an object");
        parent.remove(key);
        self
    }

    fn at(&mut self, pointer: &str) -> &mut Value {
        pointer.split('/').skip(1).fold(&mut self.config, |value, key| match key.parse::<usize>() {
            Ok(index) if value.is_array() => &mut value[index],
            _ => &mut value[key],
        })
    }

    pub fn args<'a>(self, args: impl IntoIterator<Item = &'a str>) -> Self {
        let args: Vec<&str> = args.into_iter().collect();
        self.set("/process/args", json!(args))
    }

    /// Executes the probe, which stays until a signal ends it.
    pub fn pausing(self) -> Self {
        self.args(["/probe", "--pause"])
    }

    pub fn shell(self, script: &str) -> Self {
        self.args(["sh", "-c", script])
    }

    pub fn mount(self, destination: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        let mount = json!({
            "destination": destination, "type": kind, "source": source, "options": options,
        });
        self.push("/mounts", mount)
    }

    /// A recursive bind mount of something of the host.
    pub fn bind(self, source: &Path, destination: &str, options: &[&str]) -> Self {
        let source = source.to_str().expect("UTF-8");
        let options = [&["rbind"], options].concat();
        self.mount(destination, "bind", source, &options)
    }

    /// Replaces the options of the mount at `destination`.
    pub fn remount(mut self, destination: &str, options: &[&str]) -> Self {
        self.mount_at(destination)["options"] = json!(options);
        self
    }

    /// Replaces the source of the mount at `destination`.
    pub fn source(mut self, destination: &str, source: &Path) -> Self {
        self.mount_at(destination)["source"] = json!(source);
        self
    }

    fn mount_at(&mut self, destination: &str) -> &mut Value {
        let mounts = self.config["mounts"].as_array_mut().expect("mounts");
        let mount = mounts.iter_mut().find(|m| m["destination"] == destination);
        mount.expect("a mount with this destination")
    }

    pub fn without_mount(mut self, destination: &str) -> Self {
        let mounts = self.config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount| mount["destination"] != destination);
        self
    }

    pub fn without_namespace(self, kind: &str) -> Self {
        let bundle = self.without_entry(kind);
        // Whoever doesn't own the namespace may not mount the filesystem that shows it.
        let shown = match kind {
            "pid" => "/proc",
            "network" => "/sys",
            "ipc" => "/dev/mqueue",
            _ => return bundle,
        };
        if is_root() { bundle } else { bundle.instead_bind(shown) }
    }

    /// The host's own mount in place of a new one.
    fn instead_bind(mut self, place: &str) -> Self {
        let mounts = self.config["mounts"].as_array_mut().expect("mounts");
        if let Some(mount) = mounts.iter_mut().find(|mount| mount["destination"] == place) {
            *mount = json!({
                "destination": place, "type": "bind", "source": place,
                "options": ["rbind", "nosuid", "noexec", "nodev"],
            });
        }
        self
    }

    fn without_entry(mut self, kind: &str) -> Self {
        let list = self.config["linux"]["namespaces"].as_array_mut();
        list.expect("namespaces").retain(|ns| ns["type"] != kind);
        self
    }

    pub fn namespace(self, kind: &str) -> Self {
        let bundle = self.without_entry(kind);
        bundle.push("/linux/namespaces", json!({ "type": kind }))
    }

    pub fn join(self, kind: &str, path: &str) -> Self {
        let bundle = self.without_namespace(kind);
        bundle.push("/linux/namespaces", json!({ "type": kind, "path": path }))
    }

    /// A user namespace in which ids 0..65536 are the host's 100000 and up.
    pub fn user_namespace(self) -> Self {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        self.namespace("user").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// The same capabilities in the bounding, effective and permitted sets.
    pub fn capabilities(self, caps: &[&str]) -> Self {
        let sets = json!({ "bounding": caps, "effective": caps, "permitted": caps });
        self.set("/process/capabilities", sets)
    }

    /// Writes config.json and tells where the bundle is. The sources of read-only bind mounts
    /// become decoys.
    pub fn lay(&self) -> &Path {
        self.decoys.declare_sources(&self.dir, &self.config);
        let text = serde_json::to_vec_pretty(&self.config).expect("JSON");
        fs::write(self.dir.join("config.json"), text).expect("write config.json");
        &self.dir
    }

    /// Puts an executable script into the rootfs.
    pub fn script(&self, path: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.inside(path);
        fs::write(&file, text).expect("write a script");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
}
