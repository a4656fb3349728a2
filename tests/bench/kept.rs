//! The kept figures: tests/bench/kept.json.

use crate::guard::COMMANDS;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// By how many percent page faults and instructions may grow.
const TOLERANCE: u64 = 2;

/// What one command did.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// The system calls of the runtime and of the processes that it created, by name.
    #[serde(rename = "system calls")]
    pub calls: BTreeMap<String, u64>,
    #[serde(rename = "page faults")]
    pub faults: u64,
    pub instructions: u64,
}

impl Figures {
    /// Takes over what is smaller in `other`. 0 and no calls: not counted.
    pub fn take_smaller(&mut self, other: Self) {
        let smaller = |a: u64, b: u64| if a == 0 || (b > 0 && b < a) { b } else { a };
        self.faults = smaller(self.faults, other.faults);
        self.instructions = smaller(self.instructions, other.instructions);
        if smaller(self.total_calls(), other.total_calls()) != self.total_calls() {
            self.calls = other.calls;
        }
    }

    fn total_calls(&self) -> u64 {
        self.calls.values().sum()
    }
}

/// The figures of one kind of machine.
#[derive(Serialize, Deserialize)]
struct Kept {
    compiler: String,
    commands: BTreeMap<String, Figures>,
}

type File = BTreeMap<String, Kept>;

/// Decides which figures can be compared.
pub struct Build {
    /// The C library, the kernel and the cgroup layout. All counts depend on them.
    machine: String,
    /// Page faults and instructions depend on it, too.
    compiler: String,
}

impl Build {
    pub fn of(binary: &Path) -> Result<Self> {
        let bytes = fs::read(binary).with_context(|| binary.display().to_string())?;
        let find = |text: &str| bytes.windows(text.len()).position(|window| window == text.as_bytes());
        let libc = if find("GLIBC_").is_some() { "gnu" } else { "musl" };
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let kernel = release.split('.').take(2).collect::<Vec<_>>().join(".");
        // The linker's comment: `rustc version 1.95.0 (59807616e 2026-04-14)`.
        const COMMENT: &str = "rustc version ";
        let version = find(COMMENT).map(|at| {
            let version = bytes[at + COMMENT.len()..].split(|byte| [b' ', 0].contains(byte)).next();
            String::from_utf8_lossy(version.unwrap_or_default()).into_owned()
        });
        Ok(Self {
            machine: format!("{} {libc}, Linux {kernel}, cgroup v2", std::env::consts::ARCH),
            compiler: format!("rustc {}", version.context("the binary does not name its compiler")?),
        })
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/kept.json")
}

fn read() -> Result<File> {
    let text = match fs::read_to_string(path()) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::new()),
        Err(error) => return Err(error).context("tests/bench/kept.json"),
    };
    serde_json::from_str(&text).context("tests/bench/kept.json")
}

/// Writes the figures of this machine. Leaves those of other machines as they are.
pub fn keep(build: &Build, commands: BTreeMap<String, Figures>) -> Result<()> {
    let mut file = read()?;
    print(&commands, file.get(&build.machine));
    file.insert(build.machine.clone(), Kept { compiler: build.compiler.clone(), commands });
    fs::write(path(), serde_json::to_string_pretty(&file)? + "\n")?;
    println!("kept as {} ({}): {}", build.machine, build.compiler, path().display());
    Ok(())
}

#[derive(Default)]
struct Sum {
    passed: usize,
    failed: usize,
    skipped: usize,
    less: bool,
}

/// Prints what differs from the kept figures, and the sum. Returns whether nothing grew.
pub fn compare(build: &Build, counted: &BTreeMap<String, Figures>) -> Result<bool> {
    let file = read()?;
    let mut sum = Sum::default();
    let kept = file.get(&build.machine);
    print(counted, kept);
    match kept {
        Some(kept) => compare_with(kept, build, counted, &mut sum)?,
        None => {
            println!("skipped: no kept figures for {}", build.machine);
            println!("(there are some for {})", file.keys().cloned().collect::<Vec<_>>().join("; "));
            sum.skipped = 3 * COMMANDS.len();
        }
    }
    if sum.failed > 0 || sum.less {
        println!("`make bench-check ARGS=--keep` keeps the new figures");
    }
    println!("bench-check: {} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    Ok(sum.failed == 0)
}

fn compare_with(
    kept: &Kept,
    build: &Build,
    counted: &BTreeMap<String, Figures>,
    sum: &mut Sum,
) -> Result<()> {
    let same_compiler = kept.compiler == build.compiler;
    if !same_compiler {
        println!(
            "skipped: page faults and instructions, which are kept for {}; this is {}",
            kept.compiler, build.compiler
        );
    }
    for name in COMMANDS {
        let (Some(now), Some(before)) = (counted.get(name), kept.commands.get(name)) else {
            println!("skipped: {name}: no kept figures");
            sum.skipped += 3;
            continue;
        };
        if !sum.add(name, "system calls", now.total_calls(), before.total_calls(), 0) {
            println!("  by name: {}", differences(&now.calls, &before.calls));
        }
        for (what, now, before) in [
            ("page faults", now.faults, before.faults),
            ("instructions", now.instructions, before.instructions),
        ] {
            if same_compiler && now > 0 && before > 0 {
                sum.add(name, what, now, before, TOLERANCE);
            } else {
                sum.skipped += 1;
            }
        }
    }
    if counted.values().all(|figures| figures.instructions == 0) {
        println!("skipped: instructions were not counted");
    }
    Ok(())
}

impl Sum {
    /// Returns false if the figure grew by more than `percent`.
    fn add(&mut self, name: &str, what: &str, now: u64, before: u64, percent: u64) -> bool {
        self.less |= now * 100 < before * (100 - percent);
        if now * 100 <= before * (100 + percent) {
            self.passed += 1;
            return true;
        }
        self.failed += 1;
        println!("FAILED: {name}: {now} {what}, kept {before}");
        false
    }
}

/// `getppid +1, openat -2`
fn differences(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> String {
    let of = |calls: &BTreeMap<String, u64>, name: &str| calls.get(name).copied().unwrap_or(0).cast_signed();
    let names: BTreeSet<&String> = now.keys().chain(before.keys()).collect();
    let differences = names.into_iter().map(|name| (name, of(now, name) - of(before, name)));
    let shown = differences.filter(|(_, by)| *by != 0).map(|(name, by)| format!("{name} {by:+}"));
    shown.collect::<Vec<_>>().join(", ")
}

/// A table of all figures, each with the kept one in parentheses.
fn print(counted: &BTreeMap<String, Figures>, kept: Option<&Kept>) {
    println!("  {:<10}{:>16}{:>16}{:>24}", "", "system calls", "page faults", "instructions");
    for name in COMMANDS {
        let Some(now) = counted.get(name) else { continue };
        let before = kept.and_then(|kept| kept.commands.get(name));
        let cell = |value: fn(&Figures) -> u64| match before {
            Some(before) => format!("{} ({})", value(now), value(before)),
            None => value(now).to_string(),
        };
        let (calls, faults) = (cell(Figures::total_calls), cell(|figures| figures.faults));
        println!("  {name:<10}{calls:>16}{faults:>16}{:>24}", cell(|figures| figures.instructions));
    }
}
