//! Control groups: locates, creates, limits, watches and removes the cgroups of a
//! container.
//!
//! The kinds of cgroup are a closed set, so [`Cgroup`] is an enum. Pure tables
//! (`v1_table`, `v2_table`, `device_program`) make the decisions; their tests need no
//! kernel. The other files open, write and remove files of cgroups. Each file of this
//! folder adds the methods of [`Cgroup`] for one subject.

mod common_table;
mod create;
mod device_program;
mod entry_fds;
mod follow;
mod freezer;
#[cfg(fuzzing)]
pub mod fuzz;
mod host;
mod hybrid;
mod limits;
mod locate;
mod members;
mod oom;
mod owner;
mod pids;
mod processes;
mod rollback;
mod setting;
mod stats;
mod sub_cgroups;
mod sub_path;
mod systemd;
mod tree;
pub mod unkillable;
mod usage;
mod v1;
mod v1_stats;
mod v1_table;
mod v2;
mod v2_stats;
mod v2_table;

pub use entry_fds::EntryFds;
pub use host::{Host, V1Mount};
pub use limits::Limits;
pub use oom::Watch as OomWatch;
pub use stats::Stats;
pub use sub_cgroups::explain_sub_cgroup_error;
pub use sub_path::SubCgroups;
pub use systemd::Name as UnitName;
pub use systemd::{Unit, UnitStart, move_into_unit, traffic as bus_traffic};
pub use v2::{dir_of, place};

use crate::spec::plan::DeviceRule;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use systemd::Version;

/// A cgroup driver: selects who creates the cgroups of a new container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Driver {
    /// The runtime creates the cgroups, by files of the cgroup filesystem.
    #[default]
    Cgroupfs,
    /// systemd creates the cgroups, as units.
    Systemd,
    /// No cgroups are created: the container stays in the cgroup of its caller.
    Disabled,
}

/// A container's cgroups. The cgroups are stored as names, not as descriptors, so that
/// the state record can hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cgroup {
    /// The container has no cgroup of its own: the driver is [`Driver::Disabled`], the
    /// host mounts no cgroup filesystem, or the caller may not create a cgroup.
    None,
    V2 {
        path: PathBuf,
    },
    V1 {
        hierarchies: Vec<Hierarchy>,
        /// The cgroup in the v2 hierarchy beside them. `None` if the host has no such
        /// hierarchy, or if the caller may not create a cgroup in it.
        unified: Option<PathBuf>,
    },
    /// The cgroups of a systemd unit. `place` is `V1` or `V2`.
    Systemd {
        unit: Unit,
        place: Box<Cgroup>,
    },
}

/// A container's cgroup in one hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// The controllers of the hierarchy: one controller (`cpu`), all controllers of a
    /// co-mounted set, or the name of a named hierarchy.
    pub controllers: Vec<String>,
    /// The cgroup's directory: an absolute path on the host.
    pub path: PathBuf,
}

impl Cgroup {
    /// Returns the cgroups to remove if `create` fails. With systemd that is `None`: the
    /// unit may belong to another container, and systemd removes a new unit when its
    /// processes end.
    pub fn intent(&self) -> Cgroup {
        if let Cgroup::Systemd { .. } = self { Cgroup::None } else { self.clone() }
    }

    fn version(&self) -> Version {
        if let Cgroup::V1 { .. } = self { Version::V1 } else { Version::V2 }
    }
}

/// Returns whether the caller is root in the initial user namespace. Under rootless
/// engines the runtime is root only in a user namespace of its own; the result is false
/// there.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root() && !crate::sys::process::in_user_namespace()
}

/// Rules for the device controller, in order: a later rule wins over an earlier one.
type Rules<'a> = &'a [DeviceRule];
