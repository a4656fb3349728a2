//! `mounts`: what is attached where, in their order.

use super::c_string;
use super::config::Mount as ConfigMount;
use super::mount_options::{self, Options};
use super::plan::{Mount, MountKind};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Resolves the entries; relative sources of bind mounts are the bundle's.
pub fn mounts(entries: &[ConfigMount], bundle: &Path, warnings: &mut Vec<String>) -> Result<Vec<Mount>> {
    entries.iter().enumerate().map(|(i, entry)| mount(entry, i, bundle, warnings)).collect()
}

fn mount(entry: &ConfigMount, i: usize, bundle: &Path, warnings: &mut Vec<String>) -> Result<Mount> {
    let at = format!("/mounts/{i}");
    if !entry.uid_mappings.is_empty() || !entry.gid_mappings.is_empty() {
        return Err(Error::config(
            format!("{at}/uidMappings"),
            "this version of corten does not support idmapped mounts",
        ));
    }
    let target = target(&entry.destination, &at, warnings)?;
    let options = mount_options::parse(&entry.options, &format!("{at}/options"))?;
    let (attr, recursive_attr, propagation) = (options.attr, options.recursive_attr, options.propagation);
    let kind = kind(entry, options, bundle, &at)?;
    Ok(Mount { at, target, kind, attr, recursive_attr, propagation })
}

fn target(destination: &Path, at: &str, warnings: &mut Vec<String>) -> Result<PathBuf> {
    let at = format!("{at}/destination");
    c_string(&destination.to_string_lossy(), &at)?;
    if destination.as_os_str().is_empty() {
        return Err(Error::config(at, "must not be empty"));
    }
    if destination.is_absolute() {
        return Ok(destination.into());
    }
    warnings.push(format!("{at}: relative path {} is taken from the root", destination.display()));
    Ok(Path::new("/").join(destination))
}

fn kind(entry: &ConfigMount, options: Options, bundle: &Path, at: &str) -> Result<MountKind> {
    let fs = entry.kind.as_str();
    let source = entry.source.as_deref();
    if options.bind.is_some() || fs == "bind" {
        if let Some((name, _)) = options.data.first() {
            return Err(Error::config(format!("{at}/options"), "is not an option of a bind mount").on(name));
        }
        let source = source
            .filter(|source| !source.as_os_str().is_empty())
            .ok_or_else(|| Error::config(format!("{at}/source"), "a bind mount needs a source"))?;
        return Ok(MountKind::Bind { source: bundle.join(source), recursive: options.bind.unwrap_or(false) });
    }
    match fs {
        "" => Err(Error::config(format!("{at}/type"), "is needed for a mount that is not a bind mount")),
        "cgroup" | "cgroup2" => {
            Ok(MountKind::Cgroup { readonly: options.attr.set & crate::sys::mount::MOUNT_ATTR_RDONLY != 0 })
        }
        _ => {
            let source = source.map_or_else(|| fs.into(), |source| source.to_string_lossy());
            let option = |(key, value): (String, Option<String>)| {
                let at = format!("{at}/options");
                Ok((c_string(&key, &at)?, value.map(|v| c_string(&v, &at)).transpose()?))
            };
            Ok(MountKind::Filesystem {
                fs: c_string(fs, &format!("{at}/type"))?,
                source: c_string(&source, &format!("{at}/source"))?,
                options: options.data.into_iter().map(option).collect::<Result<_>>()?,
            })
        }
    }
}
