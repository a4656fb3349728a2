//! Runs the phases, prints their counts, and adds up.

use crate::census::Census;
use crate::place::Place;
use crate::worker::{self, Result};
use std::time::{Duration, Instant};

/// How often the count is taken again while something is left: once a second. The kernel
/// frees namespaces and cgroups later, and tells nobody when.
const LOOKS: u32 = 60;

#[derive(Default)]
pub struct Verdict {
    passed: u32,
    failed: u32,
    skipped: u32,
    /// The containers of all phases.
    containers: u64,
}

impl Verdict {
    /// Runs a phase that makes no containers.
    pub fn phase(&mut self, name: &str, body: impl FnOnce() -> Result<()>) {
        let result = body();
        self.add(name, result);
    }

    /// Runs a phase with `containers` containers, and requires that nothing has grown.
    pub fn soaked(&mut self, place: &Place, name: &str, containers: u64, body: impl FnOnce() -> Result<()>) {
        let before = Census::take(place);
        let started = Instant::now();
        let result = body();
        let seconds = started.elapsed().as_secs_f64();
        self.containers += containers;
        let grown = grown(place, &before, containers);
        self.add(&format!("{name}: {containers} in {seconds:.1} s"), result.and(grown));
    }

    /// Compares with the count before all phases, and prints both.
    pub fn whole(&mut self, place: &Place, before: &Census) {
        let grown = grown(place, before, self.containers);
        if grown.is_ok() {
            Census::take(place).print_since(before);
        }
        self.add(&format!("the whole soak: {} containers", self.containers), grown);
    }

    pub fn skip(&mut self, name: &str, reason: &str) {
        println!("{name} ... skipped: {reason}");
        self.skipped += 1;
    }

    fn add(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                println!("{name} ... ok");
                self.passed += 1;
            }
            Err(error) => {
                println!("{name} ... FAILED\n    {error}");
                self.failed += 1;
            }
        }
    }

    /// Prints the sum. Returns whether nothing failed.
    pub fn finish(&self, took: Duration) -> bool {
        let Verdict { passed, failed, skipped, .. } = self;
        println!("soak: {passed} passed, {failed} failed, {skipped} skipped ({} s)", took.as_secs());
        *failed == 0
    }
}

/// Counts until nothing has grown beyond its bound, or time is up.
///
/// # Errors
/// What has grown. The counts are printed then.
fn grown(place: &Place, before: &Census, containers: u64) -> Result<()> {
    let mut after = Census::take(place);
    for _ in 0..LOOKS {
        worker::reap();
        if after.growth(before, containers).is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
        after = Census::take(place);
    }
    let grown = after.growth(before, containers);
    if grown.is_empty() {
        return Ok(());
    }
    after.print_since(before);
    Err(grown.join("\n    "))
}
