//! Tests that hold `tests/FIELDS.md` and `tests/RESOURCES.md` against the code. FIELDS.md
//! names a test for each field. RESOURCES.md names the tests that look for a limit on
//! each cgroup layout.

use super::config::{Config, Shape};
use super::known_options;
use std::collections::BTreeSet;
use std::path::Path;

fn tests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

fn read_fields_page() -> String {
    read("FIELDS.md")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(tests().join(name)).unwrap_or_else(|e| panic!("tests/{name}: {e}"))
}

/// Returns the texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns the rows of the tables below the headline `## name`. A row has the quoted
/// texts of its first cell, and the text of the other cells.
fn rows<'a>(page: &'a str, name: &str) -> Vec<(Vec<&'a str>, &'a str)> {
    let (_, below) = page.split_once(&format!("\n## {name}\n")).expect("the headline");
    let section = below.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('|'));
    lines.map(|(about, rest)| (quoted_from_inside(about), rest)).collect()
}

/// Returns the same as [`quoted`] for a text that lacks the first backtick.
fn quoted_from_inside(text: &str) -> Vec<&str> {
    text.split('`').step_by(2).filter(|word| !word.trim().is_empty()).collect()
}

/// Returns the pointers of all fields that have a value. An object does not count; a list
/// of strings counts as one field.
fn fields() -> BTreeSet<String> {
    let mut places = Vec::new();
    Config::places("", &mut |place| places.push(place.to_owned()));
    let is_leaf = |place: &&String| {
        !places
            .iter()
            .any(|other| other.strip_prefix(place.as_str()).is_some_and(|rest| rest.starts_with('/')))
    };
    places.iter().filter(is_leaf).map(|leaf| leaf.trim_end_matches("/*").to_owned()).collect()
}

/// Returns whether `pattern` stands for `field`. A `*` stands for one segment.
fn matches(pattern: &str, field: &str) -> bool {
    let (pattern, field): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), field.split('/').collect());
    pattern.len() == field.len() && pattern.iter().zip(&field).all(|(a, b)| *a == "*" || a == b)
}

#[test]
fn every_field_has_a_row_and_every_row_its_field() {
    let fields = fields();
    assert!(fields.len() > 150, "{} fields were found", fields.len());
    hold_against_each_other(&rows(&read_fields_page(), "Fields"), &fields);
}

#[test]
fn every_resource_has_a_row_and_a_test_on_every_layout() {
    let page = read("RESOURCES.md");
    let mut fields = fields();
    fields.retain(|field| field.starts_with("/linux/resources/"));
    assert!(fields.len() > 40, "{} resources were found", fields.len());
    hold_against_each_other(&rows(&page, "Resources"), &fields);
    for line in page.lines().filter(|line| line.starts_with("| ") && line.contains("::")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').skip(1).collect();
        assert_eq!(cells.len(), 4, "layouts in {line}");
        assert!(cells.iter().all(|cell| cell.contains("::")), "a cell without a test in {line}");
    }
}

fn hold_against_each_other(rows: &[(Vec<&str>, &str)], fields: &BTreeSet<String>) {
    let patterns: Vec<&str> = rows.iter().flat_map(|(about, _)| about).copied().collect();
    let without_row = fields.iter().filter(|field| !patterns.iter().any(|pattern| matches(pattern, field)));
    assert_eq!(without_row.collect::<Vec<_>>(), [""; 0], "have no row");
    let without_field = patterns.iter().filter(|pattern| !fields.iter().any(|field| matches(pattern, field)));
    assert_eq!(without_field.collect::<Vec<_>>(), [&""; 0], "are no fields");
}

#[test]
fn every_mount_option_has_a_row_and_every_row_its_option() {
    let page = read_fields_page();
    let mut named: Vec<&str> =
        rows(&page, "Mount options").into_iter().flat_map(|(about, _)| about).collect();
    named.sort_unstable();
    assert_eq!(named, known_options());
}

#[test]
fn every_row_names_a_test() {
    let page = read_fields_page();
    for section in ["Fields", "Mount options", "What the specification demands"] {
        for (about, rest) in rows(&page, section) {
            assert!(rest.contains("::") || rest.contains("below"), "{about:?} has no test");
        }
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let pages = read_fields_page() + &read("RESOURCES.md");
    let named: BTreeSet<_> = quoted(&pages).filter_map(|word| word.split_once("::")).collect();
    assert!(named.len() > 150, "{} tests are named", named.len());
    for (module, name) in named {
        let file = tests().join(format!("{module}.rs"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        // The compiler makes sure that the function is among the module's cases.
        assert!(text.contains(&format!("fn {name}(")), "there is no test {module}::{name}");
    }
}
