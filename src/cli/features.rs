//! `corten features` (features.md): what corten supports and, with --host, what this
//! machine allows the caller to use.

use super::{Context, print_json};
use crate::error::Result;
use crate::seccomp::arch::Arch;
use crate::seccomp::{profile, supported_flags};
use crate::spec::plan::NsKind;
use crate::spec::{annotations, known_options, memory_policy};
use clap::Parser;
use serde_json::json;

/// Show the supported features
#[derive(Parser)]
pub struct Args {
    /// Add the field `host`: what this machine lets the caller do, and why it refuses the rest
    #[arg(long)]
    host: bool,
}

pub fn run(args: Args, _: &Context) -> Result<i32> {
    let mut features = features();
    if args.host {
        features["host"] = crate::host::report();
        crate::steps::done("tried what the host lets the caller do");
    }
    print_json(&features)?;
    Ok(0)
}

/// Returns what corten supports, whatever the host.
fn features() -> serde_json::Value {
    let mut namespaces: Vec<_> = NsKind::ALL.iter().map(|kind| kind.name()).collect();
    namespaces.sort_unstable();
    let mut capabilities: Vec<_> =
        caps::all().into_iter().map(|cap| (cap.index(), cap.to_string())).collect();
    capabilities.sort_unstable();
    let capabilities: Vec<_> = capabilities.into_iter().map(|(_, name)| name).collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": crate::OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": known_options(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": seccomp(),
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": {
                "modes": memory_policy::MODES.map(|(name, _)| name),
                "flags": memory_policy::FLAGS.map(|(name, _)| name)
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true }
        },
        "potentiallyUnsafeConfigAnnotations": annotations::KNOWN,
        "annotations": {
            "org.opencontainers.runc.checkpoint.enabled": "true",
            "org.opencontainers.runc.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.runc.commit": env!("CORTEN_COMMIT")
        }
    })
}

/// Returns what corten supports of seccomp. The supported flags are those that this
/// kernel takes.
fn seccomp() -> serde_json::Value {
    let mut archs: Vec<_> = Arch::ALL.into_iter().map(Arch::name).collect();
    archs.sort_unstable();
    json!({
        "enabled": Arch::NATIVE.is_some(),
        "actions": crate::spec::SECCOMP_ACTIONS,
        "operators": profile::Op::NAMES.map(|(name, _)| name),
        "archs": archs,
        "knownFlags": profile::FLAGS.map(|(name, _)| name),
        "supportedFlags": supported_flags(),
    })
}
