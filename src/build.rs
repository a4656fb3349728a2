//! Tells the linker the entry point in `sys/early.rs` and the order of the code, and the
//! program the commit that it is built from.

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
    // The order of the code. Only for the program that is shipped: a script wants a linker that
    // knows GNU's.
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
