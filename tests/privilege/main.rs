//! Finds what each verb needs by taking one thing away at a time: a capability, a directory
//! of the host, a system call of the kernel. README.md describes the checks.
#![allow(unsafe_code, reason = "the tracer's ptrace(2) and waitpid(2), which are not used here")]
#![allow(clippy::disallowed_methods, reason = "the bans protect the runtime, not a test's own files")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    reason = "what goes wrong fails a test"
)]

#[allow(dead_code, unused_imports, unused_macros, reason = "the suite uses the rest")]
#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the suite uses the rest")]
#[path = "../profiles.rs"]
mod profiles;

#[allow(dead_code, reason = "`make torture` uses the rest")]
#[path = "../torture/calls.rs"]
mod calls;
#[allow(dead_code, reason = "`make torture` uses the rest")]
#[path = "../torture/cases.rs"]
mod cases;
#[allow(dead_code, reason = "`make torture` uses the rest")]
#[path = "../torture/criu.rs"]
mod criu;
#[allow(dead_code, reason = "`make torture` uses the rest")]
#[path = "../torture/jail.rs"]
mod jail;
#[allow(dead_code, reason = "`make torture` uses the rest")]
#[path = "../torture/registers.rs"]
mod registers;
#[allow(dead_code, reason = "`make torture` uses the rest")]
#[path = "../torture/tracer.rs"]
mod tracer;
#[allow(dead_code, reason = "`make torture` uses the rest")]
#[path = "../torture/world.rs"]
mod world;

mod needs;
mod removal;
mod trial;

use cases::Verb;
use needs::Needs;
use removal::{Kind, Removal};
use std::process::ExitCode;
use std::time::Instant;
use trial::{Outcome, Trial};
use world::{Variant, World};

const USAGE: &str = "usage: privilege [--verbose] [NAME...]

Runs the verbs of $RUNTIME, or of corten as just built, without one capability, directory or
system call, and compares what they need with tests/privilege/needs.txt. NAME is a part of
KIND VARIANT/VERB, for example `capability plain/create`.

  --verbose  print what the verb said without each thing";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, call, command @ ..] = args.as_slice()
        && flag == removal::WITHOUT_CALL
    {
        removal::exec_without_call(call, command);
    }
    if args.iter().any(|arg| ["--help", "-h"].contains(&arg.as_str())) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let is_option = |arg: &&String| arg.starts_with('-');
    // cargo passes the others on.
    let is_unknown = |arg: &&String| !["--verbose", "--bench", "--quiet", "-q"].contains(&arg.as_str());
    if let Some(option) = args.iter().filter(is_option).find(is_unknown) {
        eprintln!("privilege: no such option: {option}; see --help");
        return ExitCode::from(2);
    }
    if let Some(why) = jail::missing() {
        println!("privilege: 0 passed, 0 failed, 1 skipped (0 s): {why}");
        return ExitCode::SUCCESS;
    }
    jail::enter();
    let is_verbose = args.iter().any(|arg| arg == "--verbose");
    let names: Vec<&String> = args.iter().filter(|arg| !is_option(arg)).collect();
    measure(&names, is_verbose)
}

/// The variants, in the order in which they are measured.
const VARIANTS: [Variant; 5] =
    [Variant::Plain, Variant::Engine, Variant::UserNamespace, Variant::NetDevices, Variant::Terminal];

fn measure(names: &[&String], is_verbose: bool) -> ExitCode {
    let began = Instant::now();
    let mut report = Report { expected: Needs::read(), is_verbose, passed: 0, findings: Vec::new() };
    let mut skipped = 0_usize;
    for variant in VARIANTS {
        let is_wanted = |kind: Kind, verb: &Verb| {
            let row = row(kind, variant, verb);
            names.is_empty() || names.iter().any(|part| row.contains(part.as_str()))
        };
        let verbs: Vec<Verb> = cases::all().into_iter().filter(|verb| has(variant, verb)).collect();
        let rows: Vec<(Kind, &Verb)> = verbs
            .iter()
            .flat_map(|verb| Kind::ALL.map(|kind| (kind, verb)))
            .filter(|(kind, verb)| is_wanted(*kind, verb))
            .collect();
        if rows.is_empty() {
            continue;
        }
        let world = match World::new(variant) {
            Ok(world) => world,
            Err(why) => {
                println!("{}: skipped: {why}", variant.name());
                skipped += 1;
                continue;
            }
        };
        for (kind, verb) in rows {
            report.add(kind, &Trial { world: &world, verb });
        }
        let left = world.end();
        if !left.is_empty() {
            report.findings.push(format!("{}: left at the end: {left:?}", variant.name()));
        }
    }
    for finding in &report.findings {
        println!("FAILED {finding}");
    }
    let (passed, failed) = (report.passed, report.findings.len());
    if passed + failed + skipped == 0 {
        println!(
            "no KIND VARIANT/VERB has in its name: {}",
            names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
        );
    }
    println!(
        "privilege: {passed} passed, {failed} failed, {skipped} skipped ({} s)",
        began.elapsed().as_secs()
    );
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether the verb is measured with this kind of container.
fn has(variant: Variant, verb: &Verb) -> bool {
    match variant {
        Variant::Engine => verb.variants.contains(&Variant::Plain),
        _ => verb.variants.contains(&variant),
    }
}

fn row(kind: Kind, variant: Variant, verb: &Verb) -> String {
    format!("{} {}/{}", kind.name(), variant.name(), verb.name)
}

struct Report {
    expected: Needs,
    is_verbose: bool,
    /// The rows without a finding.
    passed: usize,
    findings: Vec<String>,
}

impl Report {
    /// Measures one row.
    fn add(&mut self, kind: Kind, trial: &Trial) {
        let row = row(kind, trial.world.variant, trial.verb);
        let mut findings = Vec::new();
        match trial.without(&[]) {
            Outcome::Works => self.remove_each(kind, trial, &row, &mut findings),
            other => findings.push(format!("with everything: {other:?}")),
        }
        self.passed += usize::from(findings.is_empty());
        self.findings.extend(findings.into_iter().map(|finding| format!("{row}: {finding}")));
    }

    fn remove_each(&self, kind: Kind, trial: &Trial, row: &str, findings: &mut Vec<String>) {
        let mut needed: Vec<String> = Vec::new();
        for removal in kind.removals() {
            let name = removal.name();
            let outcome = trial.without(&removal.before());
            if self.is_verbose {
                println!("{row}: without {name}: {outcome:?}");
            }
            match outcome {
                Outcome::Works => {}
                Outcome::Warns(_) => needed.push(format!("({name})")),
                Outcome::Fails(said) => {
                    if kind == Kind::Capability && !said.contains(name) {
                        findings.push(format!("without {name}, the error does not name it: {said}"));
                    }
                    needed.push(name.to_owned());
                }
                Outcome::Unclear(why) => {
                    findings.push(format!("without {name}: {why}"));
                    needed.push(name.to_owned());
                }
            }
        }
        println!("{row}: {}", needed.join(" "));
        let missing = self.expected.missing(row, &needed);
        findings.extend(missing.map(|name| format!("needs {name}, which needs.txt does not list")));
        // Things that are needed one by one may not be enough: one capability may stand in for
        // another.
        if kind == Kind::Capability {
            let listed = self.expected.of(row);
            match trial.without(&Removal::all_capabilities_but(&listed)) {
                Outcome::Works => {}
                other => findings.push(format!("with {listed:?} alone: {other:?}")),
            }
        }
    }
}
