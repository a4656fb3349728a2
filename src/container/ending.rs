//! How a container ended: the record that stays in its state until `delete`.

use crate::error::Error;
use serde::{Deserialize, Serialize};

/// The end of a container's init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// The exit code, or 128 and the signal's number, as a shell reports it.
    pub status: i32,
    /// The signal that killed init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether SIGKILL ended init, and the OOM killer has killed a process of the cgroup.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// Why the payload could not be executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the runtime noticed the end, in RFC 3339.
    pub at: String,
}

impl Ending {
    /// Returns the record for a payload that could not be executed.
    pub fn of_failure(error: &Error) -> Ending {
        Ending {
            status: 1,
            signal: None,
            oom_killed: false,
            error: Some(error.to_string()),
            at: crate::log::now(),
        }
    }
}
