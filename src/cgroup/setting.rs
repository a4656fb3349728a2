//! One limit as a write to a file, and a list of such writes in whatever order the kernel
//! accepts.
//!
//! Files depend on each other. The memory limit may not exceed the limit for memory and
//! swap. The burst may not exceed the quota. The kernel checks a period against the quota
//! that is in force. So the right order depends on the old values. The runtime does not
//! read these: it repeats the writes that the kernel refused, after the others.

use super::{Version, tree};
use crate::error::{Error, Result};
use nix::errno::Errno;
use serde_json::Value;
use std::os::fd::BorrowedFd;

/// One write to one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The controller. On version 1 it selects the hierarchy.
    pub controller: &'static str,
    /// Names of files that can take the value. The runtime writes the first one that
    /// exists.
    pub files: Vec<String>,
    /// The text to write. Each of its lines takes a write of its own.
    pub value: String,
    /// JSON pointer to the field, relative to /linux/resources and without a leading
    /// slash.
    pub at: String,
    /// Fields, as in `at`: an update of one of them makes this write necessary, too.
    pub follows: &'static [&'static str],
    /// What to do if none of the files exists.
    pub otherwise: Otherwise,
}

/// A setting, and the version whose file it is for.
pub type Write = (Version, Setting);

/// What to do with a setting if none of its files exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Otherwise {
    Fail,
    /// Skip the setting: another setting has its whole effect, or the kernel has nothing
    /// more to set.
    Skip,
    /// Apply this setting instead, which writes another value to another file.
    Try(Box<Setting>),
}

impl Setting {
    /// Returns a setting for one file, which must exist.
    pub fn new(
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
        at: impl Into<String>,
    ) -> Self {
        Setting {
            controller,
            files: vec![file.into()],
            value: value.to_string(),
            at: at.into(),
            follows: &[],
            otherwise: Otherwise::Fail,
        }
    }

    /// Returns the JSON pointer to the field.
    pub fn pointer(&self) -> String {
        format!("/linux/resources/{}", self.at)
    }

    /// Skips the setting if its files do not exist.
    pub fn skip_if_missing(mut self) -> Self {
        self.otherwise = Otherwise::Skip;
        self
    }

    /// Applies `setting` instead if the files do not exist.
    pub fn or_setting(mut self, setting: Setting) -> Self {
        self.otherwise = Otherwise::Try(Box::new(setting));
        self
    }

    /// Adds the name of another file that can take the value.
    pub fn or_file(mut self, file: impl Into<String>) -> Self {
        self.files.push(file.into());
        self
    }

    /// Adds the fields whose update makes this write necessary.
    pub fn follows(mut self, fields: &'static [&'static str]) -> Self {
        self.follows = fields;
        self
    }

    /// Returns whether an update writes this setting. `asked` is the JSON value of the
    /// update's `linux.resources`.
    pub fn is_asked(&self, asked: &Value) -> bool {
        let has = |field: &str| asked.pointer(&format!("/{field}")).is_some_and(|value| !value.is_null());
        has(&self.at) || self.follows.iter().any(|field| has(field))
    }

    /// Writes the value below `dir`, with a write for each of its lines.
    fn apply(&self, dir: BorrowedFd) -> Result<()> {
        let mut missing = Error::msg("no file");
        for file in &self.files {
            let mut lines = self.value.split_inclusive('\n');
            match lines.try_for_each(|line| tree::write(dir, file, line)) {
                Err(e) if e.is(Errno::ENOENT) => missing = e,
                other => return other.map_err(|e| self.explain_refusal(dir, file, e)),
            }
        }
        match &self.otherwise {
            Otherwise::Fail => {}
            Otherwise::Skip => return Ok(()),
            Otherwise::Try(setting) => return setting.apply(dir),
        }
        Err(self.add_field(Error { op: self.explain_missing(dir), errno: None, ..missing }))
    }

    /// Returns why the file does not exist. On version 2 the controller may only be
    /// disabled in this cgroup.
    fn explain_missing(&self, dir: BorrowedFd) -> String {
        let files = self.files.join(" or ");
        match tree::read_at(dir, "cgroup.controllers") {
            Ok(on) if !on.split(' ').any(|name| name == self.controller) => {
                format!(
                    "{files} is missing: the {} controller is not enabled in this cgroup (cgroup.subtree_control above it)",
                    self.controller
                )
            }
            _ => format!("the kernel has no {files}"),
        }
    }

    /// Adds the JSON pointer and the value to an error.
    fn add_field(&self, error: Error) -> Error {
        error.at(self.pointer()).on(self.value.clone())
    }

    /// Adds the meaning of some of the kernel's errors.
    fn explain_refusal(&self, dir: BorrowedFd, file: &str, mut error: Error) -> Error {
        let hint = match file {
            "memory.limit_in_bytes" if error.is(Errno::EBUSY) => {
                let [usage, peak] = ["memory.usage_in_bytes", "memory.max_usage_in_bytes"]
                    .map(|file| tree::read_at(dir, file).unwrap_or_default());
                error.op = format!(
                    "unable to set memory limit to {} (current usage: {usage}, peak usage: {peak})",
                    self.value
                );
                "set a higher limit: the kernel could not reclaim enough memory"
            }
            _ if !error.is(Errno::EINVAL) => "",
            "memory.limit_in_bytes" => {
                "set memory/swap to at least memory/limit: it is for memory and swap together"
            }
            "memory.memsw.limit_in_bytes" => {
                "set memory/swap to at least memory/limit: it is for memory and swap together"
            }
            "cpu.shares" | "cpu.weight" => "set cpu/idle to 0, or remove cpu/shares: an idle cgroup has none",
            "cpu.cfs_burst_us" | "cpu.max.burst" => "lower cpu/burst: it must not be above cpu/quota",
            "cpu.cfs_quota_us" | "cpu.cfs_period_us" | "cpu.max" => {
                "lower cpu/quota, or raise cpu/period: the cgroup above may have a lower bandwidth. \
                 Also keep cpu/burst at or below cpu/quota"
            }
            _ => "",
        };
        self.add_field(error).hint(hint)
    }
}

/// An open cgroup directory, and a setting for it.
pub type Target<'a> = (BorrowedFd<'a>, &'a Setting);

/// Applies all settings. Repeats those that the kernel refuses with EINVAL or EBUSY,
/// until every write of a round fails.
///
/// # Errors
/// A write fails with another errno, or every write of a round fails. In the second case
/// the error is the first of that round.
pub fn apply_all(targets: &[Target]) -> Result<()> {
    let mut pending = targets.to_vec();
    while !pending.is_empty() {
        let mut first = None;
        let mut refused = Vec::new();
        for (dir, setting) in &pending {
            match setting.apply(*dir) {
                Ok(()) => {}
                Err(e) if e.is(Errno::EINVAL) || e.is(Errno::EBUSY) => {
                    refused.push((*dir, *setting));
                    first.get_or_insert(e);
                }
                Err(e) => return Err(e),
            }
        }
        match first {
            Some(error) if refused.len() == pending.len() => return Err(error),
            _ => pending = refused,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_asked_for_is_written_and_what_follows_from_it() {
        let asked = json!({ "memory": { "limit": 5, "swap": null }, "hugepageLimits": [{}] });
        let setting = |at: &str| Setting::new("memory", "file", 1, at);
        assert!(setting("memory/limit").is_asked(&asked));
        assert!(setting("hugepageLimits/0").is_asked(&asked));
        assert!(!setting("hugepageLimits/1").is_asked(&asked));
        assert!(!setting("memory/swap").is_asked(&asked));
        assert!(setting("memory/swap").follows(&["memory/limit"]).is_asked(&asked));
        assert!(!setting("cpu/shares").follows(&["cpu/idle"]).is_asked(&asked));
    }
}
