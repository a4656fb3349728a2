//! Rows of attacks that are tests of the suite: `tests/security.rs`.

use crate::harness::{Case, Failure, attempt, tally};
use crate::table::Row;
use libtest_mimic::Completion;

/// Returns the row's name: `cve_2019_5736_by_a_hook` is `CVE-2019-5736 by a hook`.
pub fn name(test: &str) -> String {
    let parts: Vec<&str> = test.splitn(4, '_').collect();
    match parts.as_slice() {
        ["cve", year, number, rest] => format!("CVE-{year}-{number} {}", rest.replace('_', " ")),
        _ => test.replace('_', " "),
    }
}

/// Whether a test is an attack: one looks only at the order of the runtime's own calls.
pub fn is_attack(case: &Case) -> bool {
    case.name != "the_seal_comes_before_libc"
}

pub fn row(case: &Case) -> Row {
    tally::take();
    let result = attempt(case);
    let mut row = Row { tally: tally::take(), ..Row::default() };
    match result {
        Ok(Completion::Ignored { reason }) => row.skipped = Some(reason.unwrap_or_default()),
        Ok(_) => {}
        Err((failure, text)) => {
            let shown = without_place(&text);
            if row.tally.escapes > 0 {
                row.notes.push(shown);
            } else {
                let kind =
                    if failure == Failure::Expectation { String::new() } else { format!("{failure:?}: ") };
                row.fault = Some(format!("{kind}{shown}"));
            }
            if std::env::var_os("VERBOSE").is_some() {
                row.notes.extend(text.lines().map(str::to_owned));
            }
        }
    }
    row
}

/// Returns the first lines of a panic's text, without its place in the source.
pub fn without_place(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("---"));
    let lines: Vec<&str> = lines.skip_while(|line| line.starts_with("panicked at")).take(2).collect();
    lines.join(" ").chars().take(300).collect()
}
