//! needs.txt: what each verb is known to need.

use std::collections::BTreeMap;

const SIGNS: [char; 2] = ['(', ')'];

/// From a row, `KIND VARIANT/VERB`, to names. A name in parentheses is not needed: without it,
/// the verb warns.
pub struct Needs(BTreeMap<&'static str, Vec<&'static str>>);

impl Needs {
    pub fn read() -> Needs {
        let lines = include_str!("needs.txt").lines();
        let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rows = rows.map(|line| {
            let (row, names) = line.split_once(':').expect("`KIND VARIANT/VERB: NAME...`");
            (row, names.split_whitespace().collect())
        });
        Needs(rows.collect())
    }

    /// Returns the names of a row, without their signs.
    pub fn of(&self, row: &str) -> Vec<&'static str> {
        let names = self.0.get(row).into_iter().flatten();
        names.map(|name| name.trim_matches(SIGNS)).collect()
    }

    /// Returns the names that the row does not list. A verb may need what it only warns about
    /// elsewhere, and the other way round.
    pub fn missing<'a>(&self, row: &str, found: &'a [String]) -> impl Iterator<Item = &'a String> {
        let listed = self.of(row);
        found.iter().filter(move |name| !listed.contains(&name.trim_matches(SIGNS)))
    }
}
