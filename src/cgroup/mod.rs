//! Control groups: where a container's are, made, limited, watched and removed.
//!
//! The set of kinds is closed, so it is an enum. What is clever here stands in
//! pure tables (`v1_table`, `v2_table`, `device_program`), which are tested
//! without a kernel; the rest opens, writes and removes. What can be done to a [`Cgroup`] stands by its
//! subject in the files of this folder.

mod common_table;
mod device_program;
mod entry;
mod follow;
mod freezer;
mod host;
mod hybrid;
mod limits;
mod locate;
mod members;
mod oom;
mod owner;
mod setting;
mod stats;
pub mod stuck;
mod sub;
mod systemd;
mod tree;
mod undo;
mod v1;
mod v1_stats;
mod v1_table;
mod v2;
mod v2_stats;
mod v2_table;

pub use entry::Entrance;
pub use host::{Host, V1Mount};
pub use oom::Watch as OomWatch;
pub use stats::Stats;
pub use sub::{SubCgroups, explain_sub};
pub use systemd::Name as UnitName;
pub use systemd::{Starting, Unit, attach, traffic as bus_traffic};
pub use v2::{dir_of, place};

use crate::spec::plan::DeviceRule;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use systemd::Version;

/// Who makes the cgroups of a new container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Driver {
    /// The runtime, by files.
    #[default]
    Cgroupfs,
    /// systemd, as units.
    Systemd,
    /// Nobody: the container stays in the cgroup of its caller.
    Disabled,
}

/// A container's cgroups: names, not handles, so that it can be written to the
/// state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cgroup {
    /// The caller may not make cgroups, and nothing was asked of them.
    None,
    V2 {
        path: PathBuf,
    },
    V1 {
        hierarchies: Vec<Hierarchy>,
        /// The one in the v2 hierarchy beside them, where the host has one.
        unified: Option<PathBuf>,
    },
    /// Those of a unit of systemd; `place` is either of the two above.
    Systemd {
        unit: Unit,
        place: Box<Cgroup>,
    },
}

/// A container's cgroup in one hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// `cpu`, or all of a co-mounted set, or the name of a named hierarchy.
    pub controllers: Vec<String>,
    pub path: PathBuf,
}

impl Cgroup {
    /// What is to be undone if it comes to nothing: with systemd, nothing. The
    /// unit may be another container's, and a new one ends with its processes.
    pub fn intent(&self) -> Cgroup {
        if let Cgroup::Systemd { .. } = self { Cgroup::None } else { self.clone() }
    }

    fn version(&self) -> Version {
        if let Cgroup::V1 { .. } = self { Version::V1 } else { Version::V2 }
    }
}

/// Is the caller the host's root, or only that of a user namespace, as the
/// runtime is under rootless engines?
fn is_root() -> bool {
    nix::unistd::geteuid().is_root() && !crate::sys::process::in_user_namespace()
}

/// Rules for the device controller, or none where all is allowed.
type Rules<'a> = &'a [DeviceRule];
