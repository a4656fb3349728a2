//! The annotations that the runtime acts upon (config.md "Annotations").
//!
//! All annotations go into the state. The specification wants unknown annotations
//! ignored. An unknown annotation with one of crun's prefixes gets a warning, because the
//! runtime does not do what this annotation asks for.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Path of a file. The runtime appends the standard output of hooks to the file.
pub const HOOKS_STDOUT: &str = "run.oci.hooks.stdout";
/// Path of a file. The runtime appends the standard error of hooks to the file.
pub const HOOKS_STDERR: &str = "run.oci.hooks.stderr";
/// Path of a Unix socket that receives a pidfd of the container's init.
pub const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";

/// Path of CRIU's settings for this container. With an empty value, CRIU does not use the
/// host's settings either.
pub const CRIU_CONFIG: &str = "org.criu.config";

/// The annotations whose values are paths on the host.
const PATHS: [&str; 3] = [HOOKS_STDOUT, HOOKS_STDERR, PIDFD_RECEIVER];

/// Every annotation that the runtime acts upon, for `features`. A name that ends in a dot
/// stands for all annotations with this prefix.
pub const KNOWN: [&str; 9] = [
    CRIU_CONFIG,
    "org.systemd.property.",
    HOOKS_STDERR,
    HOOKS_STDOUT,
    "run.oci.keep_original_groups",
    "run.oci.mount_context_type",
    PIDFD_RECEIVER,
    "run.oci.seccomp.receiver",
    "run.oci.seccomp_fail_unknown_syscall",
];

/// The prefixes of crun's annotations, which ask for more than the specification has.
const CRUNS: [&str; 2] = ["run.oci.", "krun."];

/// Refuses an empty key, and a relative path where the value has to be an absolute one.
/// Adds a warning for each annotation of crun's that the runtime does not act upon.
pub fn check(annotations: &BTreeMap<String, String>, warnings: &mut Vec<String>) -> Result<()> {
    for (key, value) in annotations {
        if key.is_empty() {
            return Err(Error::config("/annotations/", "the key of an annotation must not be empty"));
        }
        if PATHS.contains(&key.as_str()) && !Path::new(value).is_absolute() {
            return Err(Error::config(at(key), "must be an absolute path").on(format!("{value:?}")));
        }
        if CRUNS.iter().any(|prefix| key.starts_with(prefix)) && !is_known(key) {
            warnings.push(format!("{}: corten does not act on this annotation", at(key)));
        }
    }
    Ok(())
}

/// Returns the JSON pointer of an annotation.
pub fn at(key: &str) -> String {
    format!("/annotations/{}", crate::error::escape(key))
}

fn is_known(key: &str) -> bool {
    KNOWN.iter().any(|known| *known == key || (known.ends_with('.') && key.starts_with(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(key: &str, value: &str) -> (Result<()>, Vec<String>) {
        let mut warnings = Vec::new();
        let annotations = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        (check(&annotations, &mut warnings), warnings)
    }

    #[test]
    fn paths_are_absolute() {
        assert_eq!(checked(HOOKS_STDOUT, "/log"), (Ok(()), Vec::new()));
        for value in ["", "log", "./log"] {
            let (outcome, _) = checked(HOOKS_STDERR, value);
            assert_eq!(outcome.map_err(|e| e.at), Err("/annotations/run.oci.hooks.stderr".into()), "{value}");
        }
    }

    #[test]
    fn what_is_not_acted_upon_is_told() {
        let (outcome, warnings) = checked("run.oci.handler", "krun");
        assert!(outcome.is_ok() && warnings[0].starts_with("/annotations/run.oci.handler: "), "{warnings:?}");
        for key in ["org.example", "run.oci.seccomp.receiver", "runner"] {
            assert_eq!(checked(key, ""), (Ok(()), Vec::new()), "{key}");
        }
    }
}
