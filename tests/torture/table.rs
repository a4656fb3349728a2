//! The figures: a row for each verb as soon as it ends, then their sum and the findings.

use super::points::{Finding, Flaw, Tally};
use std::collections::BTreeMap;

pub fn print_head() {
    println!(
        "{:9} {:15} {:>5} {:>6} {:>6} {:>6} {:>7} {:>7} {:>8} {:>7} {:>8} {:>7} {:>6} {:>6} {:>6}",
        "variant",
        "verb",
        "calls",
        "kills",
        "errnos",
        "missed",
        "damages",
        "refused",
        "tolerate",
        "residue",
        "unusable",
        "unclear",
        "broken",
        "hangs",
        "max ms"
    );
}

pub fn print_end(tallies: &[Tally], findings: &[Finding]) {
    let mut sum = Tally { variant: "all", ..Tally::default() };
    tallies.iter().for_each(|tally| sum.add(tally));
    print_row(&sum);
    if findings.is_empty() {
        return;
    }
    println!("\nfindings:");
    let mut by_what: BTreeMap<(&str, &str), Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        by_what.entry((finding.flaw.name(), &finding.detail)).or_default().push(finding);
    }
    for ((flaw, detail), of) in by_what {
        println!("  {flaw}: {detail}");
        of.iter().take(6).for_each(|finding| println!("      {}", finding.point));
        if of.len() > 6 {
            println!("      and {} more", of.len() - 6);
        }
    }
}

pub fn print_row(tally: &Tally) {
    let flaw = |flaw: Flaw| tally.flaws.get(&flaw).copied().unwrap_or(0);
    println!(
        "{:9} {:15} {:5} {:6} {:6} {:6} {:7} {:7} {:8} {:7} {:8} {:7} {:6} {:6} {:6}",
        tally.variant,
        tally.verb,
        tally.calls,
        tally.kills,
        tally.errnos,
        tally.missed,
        tally.damages,
        tally.refused,
        tally.tolerated,
        flaw(Flaw::Residue),
        flaw(Flaw::Unusable),
        flaw(Flaw::Unclear),
        flaw(Flaw::Broken),
        flaw(Flaw::Hang),
        tally.longest.as_millis()
    );
}
