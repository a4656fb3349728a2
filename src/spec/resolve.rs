//! Resolves a whole configuration into a [`Plan`], field by field.

use super::config::{Config, Linux};
use super::plan::{Namespaces, NsKind, Plan, Propagation};
use super::{
    annotations, cgroup_exposure, devices, exec_defaults, hooks, mount_idmap, mounts, namespaces,
    net_devices, process,
};
use super::{rdt, resources, seccomp, sysctl, unsupported};
use crate::error::{Error, Result};
use std::path::{Component, Path, PathBuf};

/// Resolves `config`, which the caller found in the absolute directory `bundle`. Adds a
/// warning for each questionable value, even if the function then refuses another value.
pub fn resolve(config: &Config, bundle: &Path, warnings: &mut Vec<String>) -> Result<Plan> {
    check_version(&config.oci_version)?;
    unsupported::refuse(config)?;
    let none = Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&none);
    let namespaces = namespaces::namespaces(linux)?;
    let maps = namespaces::id_maps(linux, &namespaces)?;
    let root = config.root.as_ref().ok_or_else(|| Error::config("/root", "is missing"))?;
    if root.path.as_os_str().is_empty() {
        return Err(Error::config("/root/path", "must not be empty"));
    }
    super::c_string(&root.path.to_string_lossy(), "/root/path")?;
    annotations::check(&config.annotations, warnings)?;
    let resources = resources::resolve(&linux.resources, "/linux/resources")?;
    let process = config.process.as_ref().ok_or_else(|| Error::config("/process", "is missing"))?;
    let mut process = process::resolve(process, "/process", warnings)?;
    exec_defaults::apply_linux_fields(config, &mut process)?;
    process.keep_groups = process::keeps_original_groups(&config.annotations);
    if let Some(maps) = &maps {
        check_mapped(&process, maps)?;
    }
    let (id_maps, joined_maps) = match namespaces.is_new(NsKind::User) {
        true => (maps, None),
        false => (None, maps),
    };
    let users = mount_idmap::Users::new(&namespaces, id_maps.as_ref());
    Ok(Plan {
        bundle: bundle.into(),
        rootfs: bundle.join(&root.path),
        root_readonly: root.readonly,
        root_propagation: propagation(linux)?,
        time_offsets: namespaces::time_offsets(linux, &namespaces)?,
        hostname: uts_name(&config.hostname, "/hostname", &namespaces)?,
        domainname: uts_name(&config.domainname, "/domainname", &namespaces)?,
        sysctl: sysctl::sysctl(&linux.sysctl, &namespaces)?,
        mounts: {
            let mounts = mounts::mounts(&config.mounts, bundle, &users, warnings)?;
            cgroup_exposure::warn_of_exposed_cgroups(&mounts, linux, warnings);
            mounts
        },
        mount_label: mounts::label(&linux.mount_label, &config.annotations)?,
        devices: devices::devices(&linux.devices)?,
        net_devices: net_devices::net_devices(&linux.net_devices, &namespaces)?,
        masked: masked(&linux.masked_paths)?,
        readonly: absolute_paths(&linux.readonly_paths, "/linux/readonlyPaths")?,
        process,
        exec_defaults: exec_defaults::container_fields(config),
        hooks: hooks::hooks(&config.hooks)?,
        cgroups_path: cgroups_path(linux)?,
        device_rules: devices::rules(&linux.resources.devices)?,
        resources,
        rdt: linux.intel_rdt.as_ref().map(rdt::rdt).transpose()?,
        seccomp: seccomp::seccomp(config)?,
        annotations: config.annotations.clone(),
        namespaces,
        id_maps,
        joined_maps,
    })
}

/// Resolves `linux.maskedPaths`. Refuses the root. Init refuses a link that leads to the
/// root.
fn masked(paths: &[String]) -> Result<Vec<PathBuf>> {
    let paths = absolute_paths(paths, "/linux/maskedPaths")?;
    let is_root = |path: &PathBuf| path.components().all(|part| part == Component::RootDir);
    match paths.iter().position(is_root) {
        Some(i) => {
            Err(Error::config(format!("/linux/maskedPaths/{i}"), "the container's root can't be masked")
                .on(paths[i].display().to_string()))
        }
        None => Ok(paths),
    }
}

/// Accepts any version 1.x, with any suffix (config.md "Specification version"). Engines
/// send `1.0.2-dev`.
fn check_version(version: &str) -> Result<()> {
    let at = "/ociVersion";
    if version.is_empty() {
        return Err(Error::config(at, "is missing"));
    }
    // SemVer 2.0.0: three numbers, then identifiers.
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let is_suffix = |c: char| c.is_ascii_alphanumeric() || "-+.".contains(c);
    let parse_number = |part: &str| {
        let plain = part == "0" || part.starts_with(|c: char| ('1'..='9').contains(&c));
        part.parse::<u32>().ok().filter(|_| plain)
    };
    let numbers: Vec<_> = core.split('.').map(parse_number).collect();
    match numbers[..] {
        _ if !version[core.len()..].chars().all(is_suffix) => {
            Err(Error::config(at, "is not a version").on(version))
        }
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => {
            Err(Error::config(at, "only versions 1.x of the specification are supported").on(version))
        }
        _ => Err(Error::config(at, "is not a version").on(version)),
    }
}

fn check_mapped(process: &super::plan::Process, maps: &super::plan::IdMaps) -> Result<()> {
    let missing = |field: &str, id: u32, list: &str| {
        Error::config(format!("/process/user/{field}"), format!("{id} is not in /linux/{list}"))
    };
    if !namespaces::is_mapped(&maps.uid, process.uid) {
        return Err(missing("uid", process.uid, "uidMappings"));
    }
    if !namespaces::is_mapped(&maps.gid, process.gid) {
        return Err(missing("gid", process.gid, "gidMappings"));
    }
    if process.keep_groups {
        return Ok(());
    }
    match process.additional_gids.iter().find(|gid| !namespaces::is_mapped(&maps.gid, **gid)) {
        Some(gid) => Err(missing("additionalGids", *gid, "gidMappings")),
        None => Ok(()),
    }
}

fn propagation(linux: &Linux) -> Result<Option<(Propagation, bool)>> {
    let name = linux.rootfs_propagation.as_str();
    if name.is_empty() {
        return Ok(None);
    }
    let base = name.strip_prefix('r');
    let kind = match base.unwrap_or(name) {
        "private" => Propagation::Private,
        "slave" => Propagation::Slave,
        "shared" => Propagation::Shared,
        "unbindable" => Propagation::Unbindable,
        _ => {
            let text = "must be private, slave, shared or unbindable, or one of these with an r before it";
            return Err(Error::config("/linux/rootfsPropagation", text).on(name));
        }
    };
    Ok(Some((kind, base.is_some())))
}

/// The kernel's __NEW_UTS_LEN.
const UTS_NAME_MAX: usize = 64;

fn uts_name(name: &str, at: &str, namespaces: &Namespaces) -> Result<Option<String>> {
    if name.is_empty() {
        return Ok(None);
    }
    super::c_string(name, at)?;
    if name.len() > UTS_NAME_MAX {
        return Err(Error::config(at, format!("is longer than {UTS_NAME_MAX} bytes")).on(name));
    }
    if !namespaces.is_not_inherited(NsKind::Uts) {
        return Err(Error::config(at, "needs a uts namespace of the container's own")
            .on(name)
            .hint("add {\"type\": \"uts\"} to /linux/namespaces"));
    }
    Ok(Some(name.into()))
}

fn absolute_paths(paths: &[String], at: &str) -> Result<Vec<PathBuf>> {
    let check = |(i, path): (usize, &String)| {
        super::c_string(path, &format!("{at}/{i}"))?;
        let path = PathBuf::from(path);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(Error::config(format!("{at}/{i}"), "must be an absolute path").on(path.display().to_string()))
        }
    };
    paths.iter().enumerate().map(check).collect()
}

fn cgroups_path(linux: &Linux) -> Result<Option<String>> {
    let path = linux.cgroups_path.as_str();
    if path.is_empty() {
        return Ok(None);
    }
    super::c_string(path, "/linux/cgroupsPath")?;
    if path.split('/').any(|part| part == "..") {
        return resolve_dotdot(path).map(Some);
    }
    Ok(Some(path.into()))
}

/// Resolves `..` in a `cgroupsPath`. As in runc, `..` leads at most to the beginning of
/// the path. So the cgroup stays below the root of the hierarchy, or below the caller's
/// cgroup.
fn resolve_dotdot(path: &str) -> Result<String> {
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        return Err(Error::config("/linux/cgroupsPath", "does not name a cgroup below the root").on(path));
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    Ok(format!("{root}{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.2.1+dev", "1.0.0-rc.1+dev"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in
            ["", "2.0.0", "0.9.0", "1", "1.0", "one", "1.0.x", "+1.0.0", "01.0.0", "1.0.0.0", "1.0.0-a b"]
        {
            assert_eq!(check_version(bad).map_err(|e| e.at), Err("/ociVersion".into()), "{bad}");
        }
    }
}
