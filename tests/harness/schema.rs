//! Just as much of JSON Schema (draft 4) as the specification's schema uses.

use serde_json::Value;
use std::path::{Path, PathBuf};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schema")
}

/// A file of the specification's schema, or one of its examples.
pub fn read(name: &str) -> Value {
    let text = std::fs::read(data().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What of `value` the schema in the file `name` doesn't allow: a pointer and a
/// reason for each.
pub fn violations(value: &Value, name: &str) -> Vec<String> {
    let mut out = Vec::new();
    check(value, &read(name), name, "", &mut out);
    out
}

/// The properties below `schema` of the file `name`, as JSON pointers.
pub fn properties(name: &str) -> Vec<String> {
    let mut out = Vec::new();
    list(&read(name), name, "", &mut out);
    out
}

/// Where a `$ref` of `file` leads: the schema, and the file that it stands in.
fn follow(reference: &str, file: &str) -> (Value, String) {
    let (other, pointer) = reference.split_once('#').expect("a reference");
    let other = if other.is_empty() { file } else { other };
    (read(other).pointer(pointer).expect("a target").clone(), other.to_owned())
}

fn list(schema: &Value, file: &str, at: &str, out: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let (target, file) = follow(reference, file);
        list(&target, &file, at, out);
    }
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}/{key}");
        out.push(at.clone());
        list(value, file, &at, out);
    }
}

fn check(value: &Value, schema: &Value, file: &str, at: &str, out: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema") {
        let mut no = |why: String| out.push(format!("{at}: {why}"));
        match keyword.as_str() {
            "description" | "$schema" | "definitions" => {}
            "$ref" => {
                let (target, file) = follow(rule.as_str().expect("a reference"), file);
                check(value, &target, &file, at, out);
            }
            "type" => {
                if !is_of(value, rule.as_str().expect("a type")) {
                    no(format!("{value} is not of type {rule}"));
                }
            }
            "enum" => {
                if !rule.as_array().expect("values").contains(value) {
                    no(format!("{value} is none of {rule}"));
                }
            }
            "minimum" if value.is_number() && value.as_f64() < rule.as_f64() => no(format!("below {rule}")),
            "maximum" if value.is_number() && value.as_f64() > rule.as_f64() => no(format!("above {rule}")),
            "minItems"
                if value.as_array().is_some_and(|list| (list.len() as u64) < rule.as_u64().unwrap()) =>
            {
                no(format!("less than {rule} items"));
            }
            "minimum" | "maximum" | "minItems" => {}
            "pattern" => {
                if let Some(text) = value.as_str()
                    && !matches(text, rule.as_str().expect("a pattern"))
                {
                    no(format!("{text:?} does not match {rule}"));
                }
            }
            "required" => {
                for key in rule.as_array().expect("keys").iter().filter_map(Value::as_str) {
                    if value.is_object() && value.get(key).is_none() {
                        no(format!("{key} is missing"));
                    }
                }
            }
            "properties" => {
                for (key, schema) in rule.as_object().expect("properties") {
                    if let Some(value) = value.get(key) {
                        check(value, schema, file, &format!("{at}/{key}"), out);
                    }
                }
            }
            "items" => {
                for (i, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(value, rule, file, &format!("{at}/{i}"), out);
                }
            }
            "additionalProperties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    check(value, rule, file, &format!("{at}/{key}"), out);
                }
            }
            "patternProperties" => {
                for (pattern, schema) in rule.as_object().expect("patterns") {
                    for (key, value) in value.as_object().into_iter().flatten() {
                        if matches(key, pattern) {
                            check(value, schema, file, &format!("{at}/{key}"), out);
                        }
                    }
                }
            }
            "allOf" => {
                for schema in rule.as_array().expect("schemas") {
                    check(value, schema, file, at, out);
                }
            }
            "anyOf" => {
                let fits = |schema: &Value| {
                    let mut found = Vec::new();
                    check(value, schema, file, at, &mut found);
                    found.is_empty()
                };
                if !rule.as_array().expect("schemas").iter().any(fits) {
                    no("fits none of the alternatives".into());
                }
            }
            other => panic!("this checker doesn't know {other}"),
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("this checker doesn't know the type {other}"),
    }
}

/// The handful of patterns in the schema.
fn matches(text: &str, pattern: &str) -> bool {
    let all = |rest: &str, f: fn(char) -> bool| !rest.is_empty() && rest.chars().all(f);
    let upper_ = |c: char| c.is_ascii_uppercase() || c == '_';
    match pattern {
        ".{1,}" => !text.is_empty(),
        "^CAP_[A-Z_]+$" => text.strip_prefix("CAP_").is_some_and(|rest| all(rest, upper_)),
        "^RLIMIT_[A-Z]+$" => {
            text.strip_prefix("RLIMIT_").is_some_and(|rest| all(rest, |c| c.is_ascii_uppercase()))
        }
        "^[1-9][0-9]*[KMG]B$" => {
            let digits = text.strip_suffix('B').and_then(|text| text.strip_suffix(['K', 'M', 'G']));
            digits.is_some_and(|d| !d.starts_with('0') && all(d, |c| c.is_ascii_digit()))
        }
        "^[cbup]$" => text.len() == 1 && "cbup".contains(text),
        "^[0-9, -]*$" => text.chars().all(|c| c.is_ascii_digit() || ", -".contains(c)),
        other => panic!("this checker doesn't know the pattern {other}"),
    }
}
