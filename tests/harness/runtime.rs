//! Which binary is under test, and what is known of it.

use std::path::PathBuf;
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
            let path =
                std::env::var_os("RUNTIME").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_corten")), find);
            let name = path.file_name().expect("RUNTIME names a file");
            let flags = std::env::var("RUNTIME_FLAGS").unwrap_or_default();
            let flags = flags.split_whitespace().map(str::to_owned).collect();
            Runtime { name: name.to_string_lossy().into_owned(), path, flags }
        })
    }

    pub fn is_corten(&self) -> bool {
        self.name.starts_with("corten")
    }

    /// Tests this runtime is known to fail, with the reason: `tests/gaps/NAME.txt`.
    pub fn gaps(&self) -> Vec<(String, String)> {
        let file = format!("{}/tests/gaps/{}.txt", env!("CARGO_MANIFEST_DIR"), self.name);
        let text = std::fs::read_to_string(file).unwrap_or_default();
        reasons(&text)
    }
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

/// A bare name is looked for in $PATH, as a shell would.
fn find(given: std::ffi::OsString) -> PathBuf {
    let given = PathBuf::from(given);
    if given.components().count() > 1 {
        return given.canonicalize().expect("RUNTIME exists");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(&given))
        .find(|file| file.is_file())
        .expect("RUNTIME is in $PATH")
}
