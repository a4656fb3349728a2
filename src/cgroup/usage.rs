//! Reads what a container uses, whatever the version of its cgroups.

use super::{Cgroup, Stats, hybrid, v2_stats};
use crate::error::Result;

impl Cgroup {
    /// Reads the usage of every controller.
    pub fn stats(&self) -> Result<Stats> {
        match self {
            // Zeros instead of an error, as in runc, so that monitoring programs go on.
            Cgroup::None => Ok(Stats::default()),
            Cgroup::V2 { path } => v2_stats::read(path),
            Cgroup::V1 { hierarchies, unified } => hybrid::stats(hierarchies, unified.as_deref()),
            Cgroup::Systemd { place, .. } => place.stats(),
        }
    }
}
