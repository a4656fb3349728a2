//! How a container ended: the record that stays in its state until `delete`.

use crate::error::Error;
use serde::{Deserialize, Serialize};

/// The end of a container's init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// What a shell would say: the exit code, or 128 and the signal's number.
    pub status: i32,
    /// The signal that killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// It was killed, and the kernel had killed in this cgroup for want of memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// Why the payload was never executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// RFC 3339; when it was heard of.
    pub at: String,
}

impl Ending {
    /// Of a payload that could not be executed.
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
