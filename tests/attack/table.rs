//! The table, and the sum at its end.

use crate::harness::tally::Tally;
use crate::harness::{catch, is_corten};
use crate::known::without_place;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// What came of one attack.
#[derive(Default)]
pub struct Row {
    pub tally: Tally,
    /// Why the row fails if corten is attacked, though nothing escaped.
    pub fault: Option<String>,
    /// Why the attack could not be made on this machine.
    pub skipped: Option<String>,
    /// More lines to print.
    pub notes: Vec<String>,
}

pub struct Table<'a> {
    wanted: &'a [String],
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Table<'_> {
    pub fn new(wanted: &[String], seed: u64) -> Table<'_> {
        let says = crate::harness::version();
        println!("runtime: {}   seed: {seed}\n", says.lines().next().unwrap_or("unknown"));
        println!("{:<75} {:>6} {:>10} {:>7}", "attack", "tries", "took place", "escapes");
        Table { wanted, passed: 0, failed: 0, skipped: 0 }
    }

    /// Runs an attack and prints its row, if the caller wants it.
    pub fn row(&mut self, name: &str, attack: impl FnOnce() -> Row) {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|text| name.contains(text)) {
            return;
        }
        let row = catch(attack)
            .unwrap_or_else(|panic| Row { fault: Some(without_place(&panic)), ..Row::default() });
        let Tally { tries, took_place, escapes } = row.tally;
        let verdict = match (&row.skipped, &row.fault) {
            (Some(reason), _) => {
                self.skipped += 1;
                format!("skipped: {reason}")
            }
            _ if escapes > 0 => {
                self.failed += 1;
                "FAILED".to_owned()
            }
            (None, fault) if fault.is_some() || took_place == 0 => {
                let fault = fault.as_deref().unwrap_or("the attack did not take place");
                // Another runtime may refuse what corten accepts, or say it in other words.
                let (count, verdict) =
                    if is_corten() { (&mut self.failed, "FAILED") } else { (&mut self.skipped, "unclear") };
                *count += 1;
                format!("{verdict}: {fault}")
            }
            (None, _) => {
                self.passed += 1;
                String::new()
            }
        };
        println!("{}", format!("{name:<75} {tries:>6} {took_place:>10} {escapes:>7}  {verdict}").trim_end());
        for note in row.notes {
            println!("    {note}");
        }
        let _ = std::io::stdout().flush();
    }

    /// Prints the sum.
    pub fn end(self, took: Duration) -> ExitCode {
        let Table { passed, failed, skipped, wanted } = self;
        if passed + failed + skipped == 0 {
            println!("no attack has in its name: {}", wanted.join(", "));
        }
        println!("\nattack: {passed} passed, {failed} failed, {skipped} skipped ({} s)", took.as_secs());
        ExitCode::from(u8::from(failed > 0 || passed + skipped == 0))
    }
}
