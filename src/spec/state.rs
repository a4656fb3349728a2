//! The state of a container, as hooks, the seccomp agent and `state` get it (runtime.md
//! "State").

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The status of a container (runtime.md "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// Returns the name of the status in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// The parts of a state that do not change during the life of a container.
#[derive(Debug, Clone)]
pub struct Container {
    pub id: String,
    pub bundle: PathBuf,
    pub annotations: BTreeMap<String, String>,
}

impl Container {
    /// Returns the state in JSON. The state of a stopped container has no pid, so `pid`
    /// does not count then.
    pub fn state(&self, status: Status, pid: i32) -> serde_json::Value {
        let mut state = serde_json::json!({
            "ociVersion": crate::OCI_VERSION,
            "id": self.id,
            "status": status,
            "bundle": self.bundle.to_string_lossy(),
            "annotations": self.annotations,
        });
        if status != Status::Stopped {
            state["pid"] = pid.into();
        }
        state
    }
}
