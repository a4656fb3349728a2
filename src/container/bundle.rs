//! Reads and resolves a bundle's configuration (bundle.md). Adds the mount and the
//! environment variables for the sockets of a service manager.

use super::options::Options;
use super::sd_notify;
use crate::error::{Context, Error, Result};
use crate::init;
use crate::spec::{self, Plan};
use std::ffi::CString;
use std::path::Path;

/// Reads and resolves the bundle's configuration. `notify`: whether the payload gets a
/// socket on which it reports that it is ready.
pub(super) fn load(options: &Options, notify: bool) -> Result<(Vec<u8>, Plan)> {
    super::id::check(options.id)?;
    let path = options.config.map_or_else(|| options.bundle.join("config.json"), Path::to_path_buf);
    let text = crate::sys::process::read_file(&path)
        .op_on("read the configuration", path.display())
        .map_err(|e| {
            e.hint(
                "give a directory with a config.json and a rootfs as the bundle; `corten spec` writes a \
                 config.json",
            )
        })?;
    let named = |e: Error| if e.at.is_empty() { e.on(path.display().to_string()) } else { e };
    let mut plan = options.log.warnings_of(|warnings| {
        let mut config = spec::parse_config(&text, warnings).map_err(named)?;
        if notify {
            sd_notify::configure(&mut config, &options.root.0.join(options.id));
        }
        spec::resolve(&config, options.bundle, warnings)
    })?;
    // As in runc, mounts get no label if SELinux is off on the host.
    plan.mount_label = plan.mount_label.filter(|_| init::selinux_is_enabled());
    if options.listen_fds > 0 {
        // As in runc, assume that the payload is process 1 of its pid namespace.
        plan.process.env.push(c_env("LISTEN_FDS", options.listen_fds)?);
        plan.process.env.push(c_env("LISTEN_PID", 1)?);
    }
    Ok((text, plan))
}

fn c_env(name: &str, value: u32) -> Result<CString> {
    CString::new(format!("{name}={value}")).map_err(|_| Error::msg("NUL in the environment"))
}
