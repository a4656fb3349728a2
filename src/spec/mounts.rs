//! `mounts`: the mounts that init attaches (config.md "Mounts").

use super::c_string;
use super::config::Mount as ConfigMount;
use super::mount_idmap::{self, Users};
use super::mount_options::{self, Options};
use super::plan::{Filesystem, FsOption, Idmap, Mount, MountKind, Plan, SourceLink, Unmount};
use super::proc_paths;
use crate::error::{Error, Result};
use crate::sys::mount::{MOUNT_ATTR_RDONLY, MS_I_VERSION};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Resolves the entries, in their order. A relative source of a bind mount is relative to
/// the bundle.
pub fn mounts(
    entries: &[ConfigMount],
    bundle: &Path,
    users: &Users,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>> {
    let resolve_entry =
        |(i, entry)| Entry { entry, bundle, at: format!("/mounts/{i}") }.resolve(users, warnings);
    entries.iter().enumerate().map(resolve_entry).collect()
}

/// Resolves mounts for a running container with the plan `plan`. The entries are a list
/// by itself, so the JSON pointers begin with `/0`. Refuses mounts that a running
/// container cannot get, and mounts that `mounts remove` could not remove again.
pub fn resolve_live_mounts(
    entries: &[ConfigMount],
    plan: &Plan,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>> {
    let users = Users::new(&plan.namespaces, plan.id_maps.as_ref());
    let resolve_entry = |(i, entry)| {
        let mount = Entry { entry, bundle: &plan.bundle, at: format!("/{i}") }.resolve(&users, warnings)?;
        refuse_for_running(&mount)?;
        Ok(mount)
    };
    entries.iter().enumerate().map(resolve_entry).collect()
}

/// Refuses mounts that only a new container can get.
fn refuse_for_running(mount: &Mount) -> Result<()> {
    let refuse = |field: &str, text: &str| Err(Error::config(format!("{}/{field}", mount.at), text));
    match mount.kind {
        MountKind::Remount { .. } => refuse("options", "a running container can't get a remount"),
        MountKind::Cgroup { .. } => refuse("type", "a running container can't get a cgroup filesystem"),
        MountKind::Bind { link: SourceLink::Copy, .. } => {
            refuse("options", "a running container can't get copy-symlink, which creates a link and no mount")
        }
        MountKind::Bind { .. } | MountKind::Filesystem(_) => Ok(()),
    }
}

/// Resolves the places of a list of mounts that are to be removed.
pub fn resolve_unmounts(entries: &[ConfigMount], warnings: &mut Vec<String>) -> Result<Vec<Unmount>> {
    let resolve_place = |(i, entry): (usize, &ConfigMount)| {
        let entry = Entry { entry, bundle: Path::new("/"), at: format!("/{i}") };
        let options = mount_options::parse(&entry.entry.options, &entry.pointer("options"))?;
        let path = entry.target(warnings)?;
        Ok(Unmount { at: entry.at, path, nofollow: options.target_nofollow })
    };
    entries.iter().enumerate().map(resolve_place).collect()
}

/// An entry that is being resolved.
struct Entry<'a> {
    entry: &'a ConfigMount,
    bundle: &'a Path,
    at: String,
}

impl Entry<'_> {
    fn resolve(self, users: &Users, warnings: &mut Vec<String>) -> Result<Mount> {
        let target = self.target(warnings)?;
        let mut options = mount_options::parse(&self.entry.options, &self.pointer("options"))?;
        if self.entry.kind == "bind" && options.bind.is_none() {
            options.bind = Some(false);
        }
        self.check(&options)?;
        let idmap = mount_idmap::idmap(self.entry, options.idmap.as_ref(), users, &self.at)?;
        self.warn(&options, warnings);
        let kind = self.kind(&options, idmap.as_ref())?;
        check_target(&target, &kind, options.remount).map_err(|e| e.at(self.pointer("destination")))?;
        // As in runc, a mount in a user namespace keeps the flags of the source.
        let alone = matches!(kind, MountKind::Bind { .. }) && matches!(users, Users::Hosts);
        Ok(Mount {
            flags_to_clear: if alone { mount_options::flags_to_clear(options.attr) } else { 0 },
            at: self.at,
            target,
            target_nofollow: options.target_nofollow,
            kind,
            attr: options.attr,
            recursive_attr: options.recursive_attr,
            propagation: options.propagation,
            idmap,
        })
    }

    fn pointer(&self, field: &str) -> String {
        format!("{}/{field}", self.at)
    }

    fn target(&self, warnings: &mut Vec<String>) -> Result<PathBuf> {
        let (destination, at) = (&self.entry.destination, self.pointer("destination"));
        c_string(&destination.to_string_lossy(), &at)?;
        if destination.as_os_str().is_empty() {
            return Err(Error::config(at, "must not be empty"));
        }
        if destination.is_absolute() {
            return Ok(destination.into());
        }
        warnings
            .push(format!("{at}: relative path {} counts from the container's root", destination.display()));
        Ok(Path::new("/").join(destination))
    }

    /// Refuses options that would have no effect on a mount of this kind.
    fn check(&self, options: &Options) -> Result<()> {
        let (bind, remount) = (options.bind.is_some(), options.remount);
        let refuse = |name: &str, why: &str| Err(Error::config(self.pointer("options"), why).on(name));
        if options.copy_up && (bind || remount || self.entry.kind != "tmpfs") {
            return refuse("tmpcopyup", "is only for a new tmpfs");
        }
        if options.source_link != SourceLink::Follow && (!bind || remount) {
            return refuse("src-nofollow, copy-symlink", "are only for bind mounts");
        }
        if options.target_nofollow && (!bind || remount) {
            return refuse("dest-nofollow", "is only for bind mounts");
        }
        // A word that is no option at all may be a protection that is spelled wrong.
        if bind && let Some((name, _)) = options.data.iter().find(|(_, value)| value.is_none()) {
            return refuse(name, "is not an option of a bind mount");
        }
        if remount && options.mount2_flags & MS_I_VERSION != 0 {
            return refuse("iversion", "is only for a new mount");
        }
        Ok(())
    }

    /// Warns about options of the superblock on a bind mount, and about options of a
    /// filesystem that have a value (`mode=755`). runc and crun accept them, too, but the
    /// kernel has no way to apply them to a bind mount.
    fn warn(&self, options: &Options, warnings: &mut Vec<String>) {
        if options.bind.is_none() {
            return;
        }
        let changes = |name: &&&str| !matches!(**name, "async" | "nolazytime" | "nomand");
        let iversion = (options.mount2_flags & MS_I_VERSION != 0).then_some(&"iversion");
        let data = options.data.first().map(|(name, _)| name.as_str());
        if let Some(name) = options.superblock.iter().find(changes).or(iversion).copied().or(data) {
            let at = self.pointer("options");
            warnings.push(format!(
                "{at}: {name} is ignored: it is an option of the filesystem, which a bind mount can't change"
            ));
        }
    }

    fn kind(&self, options: &Options, idmap: Option<&Idmap>) -> Result<MountKind> {
        if idmap.is_some() && options.remount {
            return Err(Error::config(self.at.as_str(), "a remount can't map ids"));
        }
        if options.remount {
            return Ok(MountKind::Remount { options: self.remount_options(options)? });
        }
        if let Some(recursive) = options.bind {
            let source = self.bind_source()?;
            return Ok(MountKind::Bind { source, recursive, link: options.source_link });
        }
        match self.entry.kind.as_str() {
            "" => Err(Error::config(self.pointer("type"), "is missing: only a bind mount needs no type")),
            "none" => Err(Error::config(self.pointer("type"), "is not a filesystem")
                .on("none")
                .hint("add the option bind or rbind for a bind mount")),
            "cgroup" | "cgroup2" if idmap.is_some() => {
                Err(Error::config(self.at.as_str(), "a cgroup filesystem can't be idmapped"))
            }
            "cgroup" | "cgroup2" => Ok(MountKind::Cgroup {
                readonly: options.attr.set & MOUNT_ATTR_RDONLY != 0,
                options: self.fs_options(options)?,
            }),
            fs => Ok(MountKind::Filesystem(self.filesystem(fs, options)?)),
        }
    }

    fn bind_source(&self) -> Result<PathBuf> {
        let source = self.entry.source.as_deref().filter(|source| !source.as_os_str().is_empty());
        let source =
            source.ok_or_else(|| Error::config(self.pointer("source"), "a bind mount needs a source"))?;
        c_string(&source.to_string_lossy(), &self.pointer("source"))?;
        Ok(self.bundle.join(source))
    }

    fn filesystem(&self, fs: &str, options: &Options) -> Result<Filesystem> {
        let source = self.entry.source.as_deref().map_or_else(|| fs.into(), Path::to_string_lossy);
        Ok(Filesystem {
            fs: c_string(fs, &self.pointer("type"))?,
            source: c_string(&source, &self.pointer("source"))?,
            options: self.options_with_access(options)?,
            mount2_flags: options.mount2_flags,
            copy_up: options.copy_up,
        })
    }

    /// Returns the options that a remount passes to the filesystem. The remount of a bind
    /// mount passes none.
    fn remount_options(&self, options: &Options) -> Result<Vec<FsOption>> {
        if options.bind.is_some() { Ok(Vec::new()) } else { self.options_with_access(options) }
    }

    /// Returns the options for the filesystem. If the source is a device, they contain
    /// `ro`, or `rw` in a remount. For everything else a read-only mount is enough, and
    /// the host may share the superblock. The source of a tmpfs is only a name.
    fn options_with_access(&self, options: &Options) -> Result<Vec<FsOption>> {
        let mut out = Vec::new();
        let named = self.entry.source.as_ref().is_some_and(|source| source.is_absolute());
        if named && self.entry.kind != "tmpfs" {
            let (set, clear) = (options.attr.set, options.attr.clear);
            out.extend((set & MOUNT_ATTR_RDONLY != 0).then(|| (c"ro".into(), None)));
            out.extend((options.remount && clear & MOUNT_ATTR_RDONLY != 0).then(|| (c"rw".into(), None)));
        }
        out.append(&mut self.fs_options(options)?);
        Ok(out)
    }

    /// Returns the flags of the superblock, then the options of the filesystem itself.
    fn fs_options(&self, options: &Options) -> Result<Vec<FsOption>> {
        let at = self.pointer("options");
        let mut out = Vec::new();
        for name in &options.superblock {
            out.push((c_string(name, &at)?, None));
        }
        for (key, value) in &options.data {
            let value = value.as_deref().map(|value| c_string(value, &at)).transpose()?;
            out.push((c_string(key, &at)?, value));
        }
        Ok(out)
    }
}

/// crun's annotation that selects the mount option for the label.
const CONTEXT_TYPE: &str = "run.oci.mount_context_type";

/// Resolves `linux.mountLabel` to the mount option that gives a filesystem this label
/// (config-linux.md "Mount Label"). Returns `None` if there is no label.
pub fn label(label: &str, annotations: &BTreeMap<String, String>) -> Result<Option<FsOption>> {
    let key = match annotations.get(CONTEXT_TYPE).map(String::as_str) {
        None | Some("context") => c"context",
        Some("fscontext") => c"fscontext",
        Some("defcontext") => c"defcontext",
        Some("rootcontext") => c"rootcontext",
        Some(other) => {
            let text = "must be context, fscontext, defcontext or rootcontext";
            return Err(Error::config(format!("/annotations/{CONTEXT_TYPE}"), text).on(other));
        }
    };
    if label.is_empty() {
        return Ok(None);
    }
    Ok(Some((key.into(), Some(c_string(label, "/linux/mountLabel")?))))
}

/// Refuses a target that is wrong whatever the rootfs contains. Init checks again where
/// links are involved.
fn check_target(target: &Path, kind: &MountKind, remount: bool) -> Result<()> {
    if remount || !proc_paths::has_no_dotdot(target) {
        return Ok(());
    }
    proc_paths::refuse_mount(proc_paths::classify_path(target), kind)
        .map_err(|e| e.on(target.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(destination: &str, kind: &str, source: &str, options: &[&str]) -> ConfigMount {
        ConfigMount {
            destination: destination.into(),
            kind: kind.into(),
            source: Some(source.into()),
            options: options.iter().map(|option| (*option).into()).collect(),
            ..ConfigMount::default()
        }
    }

    fn resolved(entry: ConfigMount) -> Result<(Mount, Vec<String>)> {
        let mut warnings = Vec::new();
        let mut mounts = mounts(&[entry], Path::new("/bundle"), &Users::Hosts, &mut warnings)?;
        Ok((mounts.remove(0), warnings))
    }

    fn refused(entry: ConfigMount) -> String {
        resolved(entry).map(|(mount, _)| mount).expect_err("refused").at
    }

    #[test]
    fn options_that_would_not_act_are_refused() {
        for (kind, option) in [
            ("proc", "tmpcopyup"),
            ("tmpfs", "src-nofollow"),
            ("tmpfs", "copy-symlink"),
            ("tmpfs", "dest-nofollow"),
            ("bind", "newinstance"),
            ("bind", "tmpcopyup"),
        ] {
            assert_eq!(refused(entry("/x", kind, "/y", &[option])), "/mounts/0/options", "{kind} {option}");
        }
        assert_eq!(refused(entry("/x", "tmpfs", "t", &["remount", "iversion"])), "/mounts/0/options");
        assert_eq!(refused(entry("/x", "none", "none", &["ro"])), "/mounts/0/type");
    }

    #[test]
    fn a_bind_mount_warns_of_flags_of_the_superblock() {
        let (_, warnings) = resolved(entry("/x", "bind", "/y", &["sync"])).expect("accepted");
        assert!(warnings[0].contains("sync"), "{warnings:?}");
        let (_, warnings) = resolved(entry("/x", "bind", "/y", &["size=1m"])).expect("accepted");
        assert!(warnings[0].contains("size"), "{warnings:?}");
        let (_, warnings) =
            resolved(entry("/x", "bind", "/y", &["async", "silent", "loud"])).expect("accepted");
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn only_devices_are_told_to_be_readonly() {
        let options = |source| match resolved(entry("/x", "ext4", source, &["ro"])).expect("accepted").0.kind
        {
            MountKind::Filesystem(new) => new.options,
            other => panic!("{other:?}"),
        };
        assert_eq!(options("/dev/sda1"), [(c"ro".into(), None)]);
        assert_eq!(options("tmpfs"), []);
    }

    #[test]
    fn places_that_are_refused() {
        for place in ["/", "//", "/proc", "/proc/sys", "proc/1"] {
            assert_eq!(refused(entry(place, "tmpfs", "t", &[])), "/mounts/0/destination", "{place}");
        }
        assert_eq!(refused(entry("/proc/sys", "bind", "/y", &[])), "/mounts/0/destination");
        for (place, kind) in
            [("/proc", "proc"), ("/proc", "bind"), ("/proc/uptime", "bind"), ("/a/../b", "tmpfs")]
        {
            assert!(resolved(entry(place, kind, "/y", &[])).is_ok(), "{place} {kind}");
        }
        assert!(resolved(entry("/", "bind", "", &["remount", "nosuid"])).is_ok());
    }

    #[test]
    fn labels() {
        let with = |kind: &str| BTreeMap::from([(CONTEXT_TYPE.to_owned(), kind.to_owned())]);
        let plain = label("a:b", &BTreeMap::new()).expect("accepted");
        assert_eq!(plain, Some((c"context".into(), Some(c"a:b".into()))));
        let root = label("a:b", &with("rootcontext")).expect("accepted");
        assert_eq!(root.map(|(key, _)| key), Some(c"rootcontext".into()));
        assert_eq!(label("", &with("fscontext")).expect("accepted"), None);
        let error = label("", &with("sidecontext")).expect_err("refused");
        assert_eq!(error.at, "/annotations/run.oci.mount_context_type");
    }

    #[test]
    fn mappings_come_together() {
        use super::super::config::IdMapping;
        let mut entry_with_maps = entry("/x", "bind", "/y", &[]);
        entry_with_maps.uid_mappings = vec![IdMapping { container_id: 0, host_id: 7, size: 1 }];
        assert_eq!(refused(entry_with_maps.clone()), "/mounts/0/uidMappings");
        entry_with_maps.gid_mappings = entry_with_maps.uid_mappings.clone();
        assert!(
            resolved(entry_with_maps.clone()).expect("accepted").0.idmap.is_some_and(|map| !map.recursive)
        );
        entry_with_maps.options = vec!["ridmap=uids=0-0-1;gids=0-0-1".into()];
        assert_eq!(refused(entry_with_maps), "/mounts/0/options");
        assert_eq!(refused(entry("/x", "bind", "/y", &["idmap"])), "/mounts/0/options");
    }
}
