//! Which binary is under test, and what is known of it.

use super::program::find;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub struct Runtime {
    pub path: PathBuf,
    /// The binary's name: it chooses the list of known gaps.
    pub name: String,
    /// What comes before every verb, from $RUNTIME_FLAGS: `--systemd-cgroup`.
    pub flags: Vec<String>,
}

impl Runtime {
    pub fn get() -> &'static Runtime {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        RUNTIME.get_or_init(|| {
            let path = match std::env::var_os("RUNTIME") {
                None => PathBuf::from(env!("CARGO_BIN_EXE_corten")),
                Some(given) => find(&given).unwrap_or_else(|why| refuse(given.as_ref(), &why)),
            };
            let name = path.file_name().expect("RUNTIME names a file");
            let flags = std::env::var("RUNTIME_FLAGS").unwrap_or_default();
            let flags = flags.split_whitespace().map(str::to_owned).collect();
            Runtime { name: name.to_string_lossy().into_owned(), path, flags }
        })
    }

    pub fn is_corten(&self) -> bool {
        self.name.starts_with("corten")
    }

    /// Every line of the runtime's list of gaps, `tests/gaps/NAME.txt`, for all versions.
    /// NAME is the binary's name up to a hyphen: `runc-1.3` has the gaps of `runc`.
    pub fn gaps(&self) -> Vec<(String, String)> {
        let name = self.name.split('-').next().unwrap_or_default();
        let file = format!("{}/tests/gaps/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        reasons(&text)
    }

    /// What the runtime says of its version: `runc version 1.3.6` and more. Empty if it
    /// doesn't run.
    pub fn says_version(&self) -> String {
        let out = std::process::Command::new(&self.path).arg("--version").output();
        out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default()
    }

    /// Requires a version, as every runtime prints one.
    pub fn check(&self) {
        if self.says_version().is_empty() {
            refuse(&self.path, "prints no version");
        }
    }
}

/// Whether a gap with this reason is one of the version `says`, which is what the runtime
/// prints for `--version`. A reason that ends with `before 1.2` is none from 1.2 on.
pub fn is_gap_of(says: &str, reason: &str) -> bool {
    let closed = reason.rsplit_once("before ").and_then(|(_, version)| numbers(version));
    let version = says.split_once("version ").and_then(|(_, rest)| numbers(rest.split_whitespace().next()?));
    closed.zip(version).is_none_or(|(closed, version)| version < closed)
}

/// The numbers of a version, without what Debian adds to the last: `1.3.6+ds1` is 1, 3, 6.
/// `None` if this is no version.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let upstream = version.split(['+', '-', '~']).next()?;
    upstream.split('.').map(|number| number.parse().ok()).collect()
}

/// Lines of the form `name: reason`; empty ones and those with a # are none.
pub fn reasons(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, reason) = line.split_once(": ").expect("`name: reason`");
            (name.to_owned(), reason.to_owned())
        })
        .collect()
}

/// Nothing can be tested. Ends this program with one line.
fn refuse(given: &Path, why: &str) -> ! {
    eprintln!("RUNTIME={}: {why}", given.display());
    std::process::exit(2);
}
