//! The figures.

use super::points::{Finding, Flaw, Tally};
use std::collections::BTreeMap;

pub fn print(tallies: &[Tally], findings: &[Finding]) {
    println!();
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
    let mut sum = Tally::default();
    for tally in tallies {
        line(tally);
        sum.add(tally);
    }
    sum.variant = "all";
    line(&sum);
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

fn line(tally: &Tally) {
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
