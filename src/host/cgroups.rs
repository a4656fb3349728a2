//! Reports the cgroup hierarchies, their controllers, and whether the caller may create
//! cgroups.

use super::{enabled_if, read_text, verdict};
use crate::cgroup::{self, Driver, Host, V1Mount};
use crate::error::{Context, Error, Result};
use crate::sys::bpf::{self, Insn};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use serde_json::{Value, json};
use std::path::Path;

pub fn report() -> Value {
    let host = match Host::detect(Driver::Cgroupfs, None) {
        Ok(host) => host,
        Err(error) => return verdict(Err(error)),
    };
    let systemd = enabled_if(Path::new("/run/systemd/system").is_dir(), "systemd does not run here");
    match host {
        Host::None => json!({ "version": null, "why": "no cgroups in /sys/fs/cgroup", "systemd": systemd }),
        Host::V2 { mount, own } => {
            let dir = cgroup::dir_of(&mount, &own);
            json!({
                "version": "v2",
                "controllers": read_controllers(&dir),
                "mayMake": verdict(check_may_create(&dir)),
                "deviceRules": verdict(load_device_program()),
                "systemd": systemd,
            })
        }
        Host::V1 { mounts, unified } => json!({
            "version": if unified.is_some() { "hybrid" } else { "v1" },
            "controllers": controller_names(&mounts),
            "unified": unified.map(|place| read_controllers(&place.own)),
            "mayMake": verdict(mounts.iter().try_for_each(|mount| check_may_create(&mount.place.own))),
            "systemd": systemd,
        }),
    }
}

/// Returns the controllers that a v2 cgroup offers to the cgroups below it.
fn read_controllers(dir: &Path) -> Vec<String> {
    let file = dir.join("cgroup.controllers");
    read_text(&file.to_string_lossy()).split_whitespace().map(str::to_owned).collect()
}

fn controller_names(mounts: &[V1Mount]) -> Vec<&str> {
    let mut names: Vec<_> = mounts
        .iter()
        .filter(|mount| !mount.named)
        .flat_map(|mount| &mount.controllers)
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}

fn check_may_create(dir: &Path) -> Result<()> {
    faccessat(AT_FDCWD, dir, AccessFlags::W_OK, AtFlags::AT_EACCESS)
        .op_on("create a cgroup below", dir.display())
}

/// Loads a program that allows every access, and attaches it to nothing.
fn load_device_program() -> Result<()> {
    let insn = |code, imm| Insn { code, regs: 0, off: 0, imm };
    // r0 = 1; exit
    bpf::load_device_program(&[insn(0xb4, 1), insn(0x95, 0)])
        .map(drop)
        .map_err(|errno| Error::os("bpf: load a device program", errno))
}
