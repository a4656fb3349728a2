//! Intel RDT, and AMD's equivalent (config-linux.md, "IntelRdt"): a container's group in
//! the resctrl filesystem. A group gives its processes a share of caches and memory
//! bandwidth, or only measures what they use.
//!
//! The runtime removes a group together with its container, if it created the group for
//! the container. The runtime keeps a class of service that existed before. It also keeps
//! a class that other processes use.

mod stats;

pub use stats::Stats;

use crate::error::{Context, Error, Result};
use crate::spec::plan::Rdt;
use crate::sys::fd::open;
use crate::sys::mountinfo::{find_type, read_mounts};
use crate::sys::proc_pid::path_in_proc;
use crate::sys::process::{read_file, stat_fields};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{mkdir, write};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const AT: &str = "/linux/intelRdt";

/// The groups of a container's processes. The groups are stored as names, not as
/// descriptors, so that the state record can hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The mount point of resctrl.
    root: PathBuf,
    /// The directory of the class of service.
    path: PathBuf,
    /// The monitoring group in the class. The group always belongs to the container
    /// alone.
    monitor: Option<PathBuf>,
    origin: Origin,
}

/// The creator of the class's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Origin {
    /// This container; the class has the container's id as its name.
    Private,
    /// This container; other containers may use the class by its name.
    Made,
    /// Somebody else, before this container.
    Found,
}

impl Group {
    /// Returns the groups of the container `id`. Creates nothing.
    ///
    /// # Errors
    /// No resctrl filesystem is mounted, the groups could not be created, or a class that
    /// exists has another schema.
    pub fn locate(rdt: &Rdt, id: &str) -> Result<Group> {
        let root = find().map_err(|e| e.at(AT))?;
        let path = match rdt.clos.as_deref() {
            Some("/") => root.clone(),
            name => root.join(name.unwrap_or(id)),
        };
        let origin = match rdt.clos {
            None => Origin::Private,
            Some(_) if path.is_dir() => Origin::Found,
            Some(_) => Origin::Made,
        };
        let monitor = rdt.monitor.then(|| path.join("mon_groups").join(id));
        let group = Group { root, path, monitor, origin };
        group.check(rdt)?;
        Ok(group)
    }

    fn check(&self, rdt: &Rdt) -> Result<()> {
        if self.origin == Origin::Made && rdt.combined.is_empty() && rdt.schemata.is_empty() {
            return Err(Error::config(format!("{AT}/closID"), "there is no such class of service")
                .on(self.path.display().to_string())
                .hint("set l3CacheSchema, memBwSchema or schemata to create it"));
        }
        self.check_monitoring(rdt)?;
        self.check_found(rdt)
    }

    /// Refuses a class that exists and has another schema than the configuration asks
    /// for.
    fn check_found(&self, rdt: &Rdt) -> Result<()> {
        if self.origin != Origin::Found || rdt.combined.is_empty() {
            return Ok(());
        }
        let path = self.path.join("schemata");
        let has = read_file(&path).op_on("read", path.display()).map_err(|e| e.at(AT))?;
        match first_difference(&rdt.combined, &String::from_utf8_lossy(&has)) {
            Some(line) => Err(Error::config(AT, "the class of service exists and has another schema")
                .on(format!("{line} in {}", path.display()))),
            None => Ok(()),
        }
    }

    /// Refuses monitoring that the kernel does not support. A kernel that supports
    /// monitoring monitors every group, so nothing has to be switched on.
    fn check_monitoring(&self, rdt: &Rdt) -> Result<()> {
        if !rdt.needs_occupancy && !rdt.needs_bandwidth {
            return Ok(());
        }
        let features = read_file(&self.root.join("info/L3_MON/mon_features")).unwrap_or_default();
        let features = String::from_utf8_lossy(&features);
        for (wanted, prefix, field) in
            [(rdt.needs_occupancy, "llc_occupancy", "enableCMT"), (rdt.needs_bandwidth, "mbm_", "enableMBM")]
        {
            if wanted && !features.lines().any(|line| line.starts_with(prefix)) {
                return Err(Error::config(
                    format!("{AT}/{field}"),
                    "this machine does not support this monitoring",
                ));
            }
        }
        Ok(())
    }

    /// Creates the groups that do not exist, and writes the schemas.
    pub fn create(&mut self, rdt: &Rdt) -> Result<()> {
        if self.origin != Origin::Found && !self.make_dir(&self.path)? && self.origin == Origin::Made {
            // Somebody else created it after `locate`.
            self.origin = Origin::Found;
            self.check_found(rdt)?;
        }
        if self.origin != Origin::Found {
            self.write_schemata(&rdt.combined, "l3CacheSchema")?;
        }
        self.write_schemata(&rdt.schemata, "schemata")?;
        match &self.monitor {
            Some(monitor) => self.make_dir(monitor).map(drop),
            None => Ok(()),
        }
    }

    /// Creates a directory. Returns whether it did not exist.
    fn make_dir(&self, path: &Path) -> Result<bool> {
        match mkdir(path, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => {
                Err(self.explain(Error::os("create the resctrl group", errno).on(path.display().to_string())))
            }
        }
    }

    fn write_schemata(&self, lines: &str, field: &str) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.write_file(&self.path.join("schemata"), lines).map_err(|e| e.at(format!("{AT}/{field}")))
    }

    /// Moves a process into the groups. Its later children start in them.
    pub fn add_process(&self, pid: i32) -> Result<()> {
        for group in [Some(&self.path), self.monitor.as_ref()].into_iter().flatten() {
            self.write_file(&group.join("tasks"), &pid.to_string()).map_err(|e| e.at(AT))?;
        }
        Ok(())
    }

    /// Moves all threads of these processes into the groups.
    pub fn add_processes(&self, pids: &[i32]) -> Result<()> {
        for pid in pids {
            let threads = std::fs::read_dir(path_in_proc(*pid, "task"));
            // Skip a process that has ended.
            let threads = threads.into_iter().flatten().flatten();
            for thread in threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
                match self.add_process(thread) {
                    Err(e) if e.is(Errno::ESRCH) => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Writes other schemas, then calls `commit`. If either fails, restores the old
    /// schemas.
    pub fn update(&self, rdt: &Rdt, commit: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let path = self.path.join("schemata");
        let before = read_file(&path).op_on("read", path.display()).map_err(|e| e.at(AT))?;
        self.write_schemata(&rdt.combined, "l3CacheSchema").and_then(|()| commit()).inspect_err(|_| {
            let _ = self.write_file(&path, &String::from_utf8_lossy(&before));
        })
    }

    fn write_file(&self, path: &Path, text: &str) -> Result<()> {
        let file =
            open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path.display())?;
        let written = write(&file, text.as_bytes()).op_on("write", path.display());
        written.map(drop).map_err(|error| self.explain(error))
    }

    /// Adds the kernel's own explanation, from info/last_cmd_status.
    fn explain(&self, error: Error) -> Error {
        let status = read_file(&self.root.join("info/last_cmd_status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status).trim().to_owned();
        error.at(AT).hint(if status.is_empty() { status } else { format!("resctrl says: {status}") })
    }

    /// Returns the group that contains this container's processes and no others. `None`
    /// if there is no such group.
    fn measured_group(&self) -> Option<&Path> {
        let private = (self.origin == Origin::Private).then_some(&self.path);
        self.monitor.as_ref().or(private).map(PathBuf::as_path)
    }

    /// Removes the groups that were created for the container. A group that does not
    /// exist is no error.
    pub fn remove(&self) -> Result<()> {
        if let Some(monitor) = &self.monitor {
            remove_dir(monitor)?;
        }
        match self.origin {
            Origin::Found => Ok(()),
            // If it were removed, the kernel would move the other processes to the
            // default class.
            Origin::Made if self.is_in_use() => Ok(()),
            Origin::Made | Origin::Private => remove_dir(&self.path),
        }
    }

    /// Returns whether the class contains a process that still runs. The container's own
    /// processes have ended, but some may still be zombies.
    fn is_in_use(&self) -> bool {
        let tasks = read_file(&self.path.join("tasks")).unwrap_or_default();
        let tasks = String::from_utf8_lossy(&tasks).into_owned();
        tasks.lines().any(|pid| {
            let stat = read_file(format!("/proc/{pid}/stat").as_str()).unwrap_or_default();
            let state = stat_fields(&stat).and_then(|mut fields| fields.next());
            state.is_some_and(|state| !matches!(state, "Z" | "X"))
        })
    }
}

fn remove_dir(path: &Path) -> Result<()> {
    match std::fs::remove_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.op_on("remove the resctrl group", path.display()),
    }
}

/// Returns the mount point of the resctrl filesystem.
pub fn find() -> Result<PathBuf> {
    let mounts = read_mounts("self").op_on("read", "/proc/self/mountinfo")?;
    find_type(mounts, b"resctrl").map(|mount| mount.path).ok_or_else(|| {
        Error::msg("no resctrl filesystem is mounted").hint(
            "run `mount -t resctrl resctrl /sys/fs/resctrl`, if the processor and the kernel support it",
        )
    })
}

/// Returns the first line of `wanted` that `has` does not confirm. A line has the form
/// `L3:0=ff;1=c0`. A domain that `wanted` does not name may have any value.
fn first_difference<'a>(wanted: &'a str, has: &str) -> Option<&'a str> {
    let has: BTreeMap<_, _> = has.lines().filter_map(parse_schema).collect();
    wanted.lines().find(|line| {
        let Some((resource, domains)) = parse_schema(line) else { return true };
        let Some(present) = has.get(resource) else { return true };
        domains.iter().any(|(domain, value)| present.get(domain) != Some(value))
    })
}

/// Parses a line to the name of a resource and its values by domain, without leading
/// zeros.
fn parse_schema(line: &str) -> Option<(&str, BTreeMap<&str, String>)> {
    let (resource, domains) = line.split_once(':')?;
    let domains = domains.split(';').map(|domain| {
        let (id, value) = domain.split_once('=')?;
        Some((id.trim(), value.trim().trim_start_matches('0').to_ascii_lowercase()))
    });
    Some((resource.trim(), domains.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_compared_by_value() {
        let has = "    MB:0=100;1=70\n    L3:0=0000f;1=fffff\n";
        assert_eq!(first_difference("L3:0=f\nMB:1=70", has), None);
        assert_eq!(first_difference("L3: 0=F ; 1=000fffff", has), None);
        for wanted in ["L3:0=e", "L3:2=f", "L2:0=f", "L3CODE:0=f", "nonsense", "MB:0=10"] {
            assert_eq!(first_difference(wanted, has), Some(wanted));
        }
    }
}
