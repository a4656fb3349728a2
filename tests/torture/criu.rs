//! A CRIU for `checkpoint` and `restore`: $CRIU, or the one in $PATH.

use super::tracer::Command;
use super::world::BOUND;
use std::path::PathBuf;

fn named() -> Option<PathBuf> {
    std::env::var_os("CRIU").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The directory of $CRIU, for the runtime's $PATH.
pub fn dir() -> Option<PathBuf> {
    Some(named()?.parent()?.to_owned())
}

/// Why there can be no checkpoints.
pub fn missing() -> Option<String> {
    let installed = ["/usr/local/sbin/criu", "/usr/sbin/criu"].map(PathBuf::from);
    let Some(criu) = named().into_iter().chain(installed).find(|path| path.is_file()) else {
        return Some("criu is not installed: see integration/criu.sh".to_owned());
    };
    let (ended, _) = Command::new([criu.to_str().expect("UTF-8"), "check"]).run(BOUND);
    (ended.code != 0)
        .then(|| format!("criu does not work here: {}", ended.stderr.lines().next().unwrap_or_default()))
}
