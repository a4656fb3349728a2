//! Tells the linker the entry point (`sys/early.rs`) and the order of the functions
//! (`hot.ld`). Passes the commit to the program.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=.git/HEAD");
    let is = |name: &str, value: &str| std::env::var(name).as_deref() == Ok(value);
    // Without optimisation, the entry point would make calls through a table that is not
    // filled in yet.
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") && !is("OPT_LEVEL", "0") {
        println!("cargo:rustc-link-arg-bins=-Wl,-e,corten_entry");
    }
    // The script needs a linker with GNU's `INSERT` (GNU ld, LLD). Only musl builds, which are
    // the shipped ones, get it.
    if is("CARGO_CFG_TARGET_ENV", "musl") && !is("OPT_LEVEL", "0") {
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hot.ld");
        println!("cargo:rustc-link-arg-bins=-T");
        println!("cargo:rustc-link-arg-bins={}", script.display());
    }
    let commit = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let commit = commit.ok().filter(|out| out.status.success());
    let commit =
        commit.map_or_else(|| "unknown".into(), |out| String::from_utf8_lossy(&out.stdout).into_owned());
    println!("cargo:rustc-env=CORTEN_COMMIT={}", commit.trim());
}
