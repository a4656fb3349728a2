//! Unknown keys in a configuration. The specification wants them ignored. corten also
//! warns about them, because most are misspelt: `maskedPath` masks nothing.

use super::config::Shape;
use serde_json::Value;
use std::collections::BTreeSet;

/// The largest number of warnings. More would help nobody.
const MAX: usize = 20;

/// Removes the keys that `T` lacks from `tree`, and returns a warning for each. After
/// [`MAX`] warnings, the last one gives the number of the other keys.
pub fn remove_keys<T: Shape>(tree: &mut Value) -> Vec<String> {
    let mut places = BTreeSet::new();
    T::places("", &mut |place| {
        places.insert(place.to_owned());
    });
    let mut search = Search { places, warnings: Vec::new(), found: 0 };
    search.check_value(tree, "", "");
    if search.found > MAX {
        search.warnings.push(format!("{} more unknown keys are ignored", search.found - MAX));
    }
    search.warnings
}

struct Search {
    /// The places that `T` has; see [`Shape::places`].
    places: BTreeSet<String>,
    warnings: Vec<String>,
    found: usize,
}

impl Search {
    /// Checks `value`, which has the JSON pointer `at` and the shape of `place`.
    fn check_value(&mut self, value: &mut Value, place: &str, at: &str) {
        let any = format!("{place}/*");
        match value {
            Value::Array(list) => {
                for (i, value) in list.iter_mut().enumerate() {
                    self.check_value(value, &any, &format!("{at}/{i}"));
                }
            }
            Value::Object(object) if self.places.contains(&any) => {
                for (key, value) in object {
                    self.check_value(value, &any, &format!("{at}/{}", crate::error::escape(key)));
                }
            }
            // The runtime reads no key of an object without known keys, so no key there
            // is wrong.
            Value::Object(object) if self.keys(place).next().is_some() => object.retain(|key, value| {
                let (place, at) = (format!("{place}/{key}"), format!("{at}/{}", crate::error::escape(key)));
                // `/` and `*` have a meaning in a place, and none in a key.
                let known = !key.contains(['/', '*']) && self.places.contains(&place);
                if known {
                    self.check_value(value, &place, &at);
                } else {
                    self.warn(key, &place, &at);
                }
                known
            }),
            _ => {}
        }
    }

    /// Returns the keys of the object at `place`.
    fn keys(&self, place: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{place}/");
        let below = self.places.range(prefix.clone()..).map_while(move |at| at.strip_prefix(&prefix));
        below.filter(|rest| !rest.contains('/'))
    }

    fn warn(&mut self, key: &str, place: &str, at: &str) {
        self.found += 1;
        if self.found > MAX {
            return;
        }
        let meant = match (self.find_similar(key, place), self.find_elsewhere(key)) {
            (Some(near), _) => format!("; did you mean {near}?"),
            (None, Some(other)) => format!("; does it belong to {other}?"),
            (None, None) => String::new(),
        };
        self.warnings.push(format!("{at}: unknown key is ignored{meant}"));
    }

    /// Returns the known key of the same object that is most similar to `key`. `None` if
    /// even this key differs too much.
    fn find_similar(&self, key: &str, place: &str) -> Option<&str> {
        let parent = place.strip_suffix(key)?.strip_suffix('/')?;
        let distance =
            |known: &str| strsim::damerau_levenshtein(&key.to_ascii_lowercase(), &known.to_ascii_lowercase());
        let near = self.keys(parent).map(|known| (distance(known), known)).min()?;
        (near.0 <= key.chars().count() / 3).then_some(near.1)
    }

    /// Returns the object that has exactly this key.
    fn find_elsewhere(&self, key: &str) -> Option<&str> {
        if key.contains(['/', '*']) {
            return None;
        }
        let suffix = format!("/{key}");
        let parents = self.places.iter().filter_map(|place| place.strip_suffix(&suffix));
        parents
            .filter(|parent| !parent.contains('*'))
            .min_by_key(|parent| parent.len())
            .map(|parent| if parent.is_empty() { "/" } else { parent })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse_config, parse_process};
    use super::*;

    fn warnings(text: &str) -> Vec<String> {
        let mut warnings = Vec::new();
        parse_config(text.as_bytes(), &mut warnings).expect("accepted");
        warnings
    }

    #[test]
    fn names_the_key_that_was_meant() {
        let cases = [
            (r#"{"hostnam":"a"}"#, "/hostnam: unknown key is ignored; did you mean hostname?"),
            (
                r#"{"linux":{"maskedPath":["/a"]}}"#,
                "/linux/maskedPath: unknown key is ignored; did you mean maskedPaths?",
            ),
            (
                r#"{"linux":{"readOnlyPaths":[]}}"#,
                "/linux/readOnlyPaths: unknown key is ignored; did you mean readonlyPaths?",
            ),
            (
                r#"{"mounts":[{},{"destnation":"/"}]}"#,
                "/mounts/1/destnation: unknown key is ignored; did you mean destination?",
            ),
            (
                r#"{"hooks":{"createruntime":[]}}"#,
                "/hooks/createruntime: unknown key is ignored; did you mean createRuntime?",
            ),
            (
                r#"{"linux":{"timeOffsets":{"boottime":{"sec":1}}}}"#,
                "/linux/timeOffsets/boottime/sec: unknown key is ignored; did you mean secs?",
            ),
            (r#"{"maskedPaths":[]}"#, "/maskedPaths: unknown key is ignored; does it belong to /linux?"),
            (
                r#"{"linux":{"oomScoreAdj":1}}"#,
                "/linux/oomScoreAdj: unknown key is ignored; does it belong to /process?",
            ),
            (r#"{"x-vendor/a":{"b":[]}}"#, "/x-vendor~1a: unknown key is ignored"),
            (r#"{"linux":{"*":1}}"#, "/linux/*: unknown key is ignored"),
            (r#"{"linux":{"a/b":1}}"#, "/linux/a~1b: unknown key is ignored"),
            (r#"{"process/args":1}"#, "/process~1args: unknown key is ignored"),
        ];
        for (text, warning) in cases {
            assert_eq!(warnings(text), [warning]);
        }
    }

    #[test]
    fn what_is_not_unknown_is_kept() {
        let text =
            br#"{"hostname":"a","linux":{"nope":1,"maskedPaths":["/b"]},"annotations":{"any":"thing"}}"#;
        let config = parse_config(text, &mut Vec::new()).expect("accepted");
        assert_eq!(config.hostname, "a");
        assert_eq!(config.linux.map(|linux| linux.masked_paths), Some(vec!["/b".to_owned()]));
        assert_eq!(config.annotations["any"], "thing");
    }

    #[test]
    fn maps_take_any_key() {
        assert_eq!(warnings(r#"{"annotations":{"b":"c"},"linux":{"sysctl":{"net.x":"1"}}}"#), [""; 0]);
    }

    #[test]
    fn a_process_file_is_looked_at_too() {
        let mut warnings = Vec::new();
        parse_process(br#"{"cwd":"/","capabilties":{}}"#, &mut warnings).expect("accepted");
        assert_eq!(warnings, ["/capabilties: unknown key is ignored; did you mean capabilities?"]);
    }

    #[test]
    fn a_flood_is_dammed() {
        let keys: Vec<String> = (0..1000).map(|i| format!("\"k{i}\":0")).collect();
        let said = warnings(&format!("{{{}}}", keys.join(",")));
        assert_eq!(said.len(), MAX + 1);
        assert_eq!(said[MAX], format!("{} more unknown keys are ignored", 1000 - MAX));
    }

    /// Checks that the keys from serde and the fields have the same order.
    #[test]
    fn every_place_is_known() {
        let mut places = Vec::new();
        super::super::config::Config::places("", &mut |place| places.push(place.to_owned()));
        for place in [
            "/ociVersion",
            "/process/execCPUAffinity",
            "/mounts/*/type",
            "/mounts/*/uidMappings/*/containerID",
            "/annotations/*",
            "/linux/resources/blockIO/throttleReadIOPSDevice/*/rate",
            "/linux/resources/memory/disableOOMKiller",
            "/linux/timeOffsets/*/nanosecs",
            "/hooks/poststop/*/timeout",
        ] {
            assert!(places.iter().any(|known| known == place), "{place}");
        }
    }
}
