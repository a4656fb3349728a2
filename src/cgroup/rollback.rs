//! Restores the content that files had before an update.

use super::setting::{self, Otherwise, Setting, Target};
use super::tree;
use crate::error::{Error, Result};
use nix::errno::Errno;
use std::os::fd::BorrowedFd;

/// The content of all files that an update is about to write.
pub struct Before<'a>(Vec<Image<'a>>);

struct Image<'a> {
    dir: BorrowedFd<'a>,
    setting: &'a Setting,
    file: &'a str,
    text: String,
}

impl<'a> Before<'a> {
    /// Reads the files. Skips a file that can't be read: it holds no state, so there is
    /// nothing to restore.
    pub fn read(targets: &[Target<'a>]) -> Result<Before<'a>> {
        let mut images = Vec::new();
        for (dir, setting) in targets {
            images.extend(read_image(*dir, setting)?);
        }
        Ok(Before(images))
    }

    /// Restores the files that have changed, the last one first.
    pub fn restore(&self) -> Result<()> {
        let mut lines = Vec::new();
        for image in self.0.iter().rev() {
            if tree::read_at(image.dir, image.file)? == image.text {
                continue;
            }
            for line in lines_to_restore(image.file, &image.text, &image.setting.value) {
                let setting = image.setting;
                lines.push((image.dir, Setting::new(setting.controller, image.file, line, &*setting.at)));
            }
        }
        let targets: Vec<Target> = lines.iter().map(|(dir, setting)| (*dir, setting)).collect();
        setting::apply_all(&targets)
    }
}

/// Applies all settings, then calls `commit`. If either fails, restores the old values.
pub fn update_all(targets: &[Target], commit: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let before = Before::read(targets)?;
    setting::apply_all(targets).and_then(|()| commit()).map_err(|error| match before.restore() {
        Ok(()) => error,
        Err(left) => Error { hint: String::new(), ..error }.hint(format!(
            "set the old values by hand, because the runtime could not restore all of them: {left}"
        )),
    })
}

/// Returns the content of the file that the setting will be written to. `None` if there
/// is no such file, or it can't be read.
fn read_image<'a>(dir: BorrowedFd<'a>, setting: &'a Setting) -> Result<Option<Image<'a>>> {
    for file in &setting.files {
        match tree::read_at(dir, file) {
            Ok(text) => return Ok(Some(Image { dir, setting, file, text })),
            Err(e) if e.is(Errno::ENOENT) => {}
            Err(e) if e.is(Errno::EINVAL) || e.is(Errno::EACCES) => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    match &setting.otherwise {
        Otherwise::Try(other) => read_image(dir, other),
        Otherwise::Fail | Otherwise::Skip => Ok(None),
    }
}

/// Returns the lines to write so that `file` contains `before` again after `value` was
/// written.
fn lines_to_restore(file: &str, before: &str, value: &str) -> Vec<String> {
    if file == "memory.oom_control" {
        let disabled = before.lines().find_map(|line| line.strip_prefix("oom_kill_disable "));
        return disabled.map(str::to_owned).into_iter().collect();
    }
    match unset_value(file) {
        Some(unset) => value.lines().map(|line| line_to_restore(line, before, unset)).collect(),
        // The kernel ignores a write of nothing, but an empty line empties a cpuset.
        None if before.is_empty() => vec!["\n".into()],
        None => before.lines().map(str::to_owned).collect(),
    }
}

/// Returns the line that restores one entry of a file. The file has an entry for each
/// device or interface. The line is the old entry, or removes the entry that `line`
/// added.
fn line_to_restore(line: &str, before: &str, unset: &str) -> String {
    let key = match line.split_once(' ') {
        Some((key, _)) => key,
        // The weight of all devices without an entry of their own.
        None => "default",
    };
    let old = before.lines().find(|old| old.split(' ').next() == Some(key));
    old.map_or_else(|| format!("{key} {unset}"), str::to_owned)
}

/// Returns the value that means "not set" in a file with an entry for each device or
/// interface. `None` for other files.
fn unset_value(file: &str) -> Option<&'static str> {
    match file {
        "io.max" => Some("rbps=max wbps=max riops=max wiops=max"),
        "io.weight" | "io.bfq.weight" | "blkio.weight_device" | "blkio.bfq.weight_device" => Some("default"),
        "rdma.max" => Some("hca_handle=max hca_object=max"),
        "misc.max" | "dmem.max" => Some("max"),
        "dmem.min" | "dmem.low" | "net_prio.ifpriomap" => Some("0"),
        "io.latency" => Some("target=max"),
        _ if file.starts_with("blkio.") && file.ends_with("_device") => Some("0"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::lines_to_restore;

    #[test]
    fn every_kind_of_file() {
        for (file, before, value, expected) in [
            ("memory.max", "max", "5", &["max"][..]),
            ("cpu.max", "max 100000", "5 10", &["max 100000"]),
            ("cpuset.cpus", "", "0", &["\n"]),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0", "1", &["0"]),
            (
                "io.max",
                "8:0 rbps=5 wbps=max riops=max wiops=max",
                "8:0 rbps=7",
                &["8:0 rbps=5 wbps=max riops=max wiops=max"],
            ),
            ("io.max", "", "8:0 rbps=7", &["8:0 rbps=max wbps=max riops=max wiops=max"]),
            ("io.weight", "default 100\n8:0 7", "200", &["default 100"]),
            ("io.weight", "default 100\n8:0 7", "8:0 200", &["8:0 7"]),
            ("io.bfq.weight", "default 100", "8:0 200", &["8:0 default"]),
            ("blkio.throttle.read_bps_device", "8:0 5\n8:16 6", "8:16 7", &["8:16 6"]),
            ("blkio.throttle.read_bps_device", "", "8:16 7", &["8:16 0"]),
            ("net_prio.ifpriomap", "lo 0\neth0 5", "eth0 7", &["eth0 5"]),
            (
                "io.max",
                "",
                "8:0 rbps=7\n8:16 rbps=7",
                &["8:0 rbps=max wbps=max riops=max wiops=max", "8:16 rbps=max wbps=max riops=max wiops=max"],
            ),
        ] {
            assert_eq!(lines_to_restore(file, before, value), expected, "{file}: {before:?}, then {value:?}");
        }
    }
}
