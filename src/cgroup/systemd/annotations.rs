//! `org.systemd.property.NAME` annotations: properties that the bundle sets for its unit,
//! as in runc and crun.
//!
//! A value is GVariant text: `true`, `'text'`, `uint64 5`, `['a', 'b']`. A number without
//! a type is an int32, which systemd hardly ever expects.

use super::property::Property;
use super::wire::Value;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

const PREFIX: &str = "org.systemd.property.";

/// The limit of nesting. No real value nests deeper, and a hostile value must not exhaust
/// the stack.
const DEPTH_LIMIT: u32 = 8;

/// D-Bus's limit for the length of a signature, in bytes. The parser of types recurses,
/// so the length is checked before.
const SIGNATURE_LIMIT: usize = 255;

/// Returns the properties that the annotations set.
///
/// # Errors
/// The name or the value of a property is invalid. The error has the annotation's JSON
/// pointer.
pub fn properties(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let asked = annotations.iter().filter_map(|(key, value)| Some((key, key.strip_prefix(PREFIX)?, value)));
    asked
        .map(|(key, name, value)| {
            property(name, value).map_err(|e| e.at(format!("/annotations/{key}")).on(value.clone()))
        })
        .collect()
}

fn property(name: &str, text: &str) -> Result<Property> {
    if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err(Error::msg("the name of a systemd property has three letters or more, and nothing else"));
    }
    let value = parse(text)?;
    match name.strip_suffix("Sec") {
        // systemd documents the property with Sec, but calls it USec on the bus.
        Some(stem) if stem.ends_with(|c: char| c.is_ascii_lowercase()) => {
            let micros = micros(&value).ok_or_else(|| Error::msg("is not a number of seconds"))?;
            Ok(Property::needed(format!("{stem}USec"), Value::Uint64(micros)))
        }
        _ => Ok(Property::needed(name, value)),
    }
}

fn micros(seconds: &Value) -> Option<u64> {
    const MICROS: u64 = 1_000_000;
    let whole: Option<u64> = match seconds {
        Value::Byte(n) => Some((*n).into()),
        Value::Uint16(n) => Some((*n).into()),
        Value::Uint32(n) => Some((*n).into()),
        Value::Uint64(n) => Some(*n),
        Value::Int16(n) => (*n).try_into().ok(),
        Value::Int32(n) => (*n).try_into().ok(),
        Value::Int64(n) => (*n).try_into().ok(),
        #[allow(clippy::cast_precision_loss, reason = "only compared")]
        Value::Double(n) if *n >= 0.0 && *n < u64::MAX as f64 / 1e6 => {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "in range, as just seen"
            )]
            let micros = (n * 1e6) as u64;
            return Some(micros);
        }
        _ => None,
    };
    whole.and_then(|n| n.checked_mul(MICROS))
}

fn parse(text: &str) -> Result<Value> {
    let mut parser = Parser { rest: text.trim_start(), depth: 0 };
    let value = parser.value(None)?;
    if !parser.rest.is_empty() {
        return Err(syntax(format!("something follows the value: {}", parser.rest)));
    }
    Ok(value)
}

fn syntax(what: impl Into<String>) -> Error {
    Error::msg(what).hint("write the value as GVariant text, like 'text', true, uint64 5 or ['a', 'b']")
}

struct Parser<'a> {
    /// The text that is left, without white space in front.
    rest: &'a str,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    /// Takes a bare word, a number or a keyword.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        word
    }

    /// Parses one value. `wanted` is the signature of its type, if that is known.
    fn value(&mut self, wanted: Option<&str>) -> Result<Value> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(syntax("is nested too deeply"));
        }
        let value = match self.rest.chars().next() {
            None => Err(syntax("a value is missing")),
            Some('\'' | '"') => self.text().and_then(|text| convert_text(text, wanted.unwrap_or("s"))),
            Some('[') => self.array(wanted),
            Some('(') => self.tuple(wanted),
            Some('<') => self.variant(),
            Some('@') => self.annotated(),
            Some(_) => self.scalar(wanted),
        };
        self.depth -= 1;
        // A variant has a signature of its own, so each value is checked.
        match value {
            Ok(value) if value.signature().len() > SIGNATURE_LIMIT => {
                Err(syntax("has too many members: its type is longer than 255 bytes"))
            }
            other => other,
        }
    }

    /// Parses a type and a value of that type: `@as []`.
    fn annotated(&mut self) -> Result<Value> {
        let (signature, rest) = self.rest[1..]
            .split_once(char::is_whitespace)
            .ok_or_else(|| syntax("a value is missing after its type"))?;
        if signature.len() > SIGNATURE_LIMIT || first_type_length(signature) != Some(signature.len()) {
            return Err(syntax(format!("@{signature} is not a type")));
        }
        self.rest = rest.trim_start();
        self.value(Some(signature))
    }

    fn scalar(&mut self, wanted: Option<&str>) -> Result<Value> {
        let word = self.word();
        let typed = match word {
            "boolean" => "b",
            "byte" => "y",
            "int16" => "n",
            "uint16" => "q",
            "int32" | "handle" => "i",
            "uint32" => "u",
            "int64" => "x",
            "uint64" => "t",
            "double" => "d",
            "string" => "s",
            "objectpath" => "o",
            "signature" => "g",
            _ => return convert_word(word, wanted),
        };
        self.value(Some(typed))
    }

    fn text(&mut self) -> Result<String> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let mut out = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if Some(c) == quote => {
                    self.rest = self.rest[at + c.len_utf8()..].trim_start();
                    return Ok(out);
                }
                '\\' => out.push(escaped(&mut chars)?),
                '\0' => return Err(syntax("has a NUL in it")),
                c => out.push(c),
            }
        }
        Err(syntax("a text doesn't end"))
    }

    /// Parses a list. All elements have one type: the declared one, or the type of the
    /// first element.
    fn array(&mut self, wanted: Option<&str>) -> Result<Value> {
        self.eat("[");
        let mut element = wanted.map(|w| w.strip_prefix('a').map(str::to_owned).ok_or(w));
        let mut list = Vec::new();
        while !self.eat("]") {
            if !list.is_empty() && !self.eat(",") {
                return Err(syntax("a list lacks a comma or its end"));
            }
            let known = match &element {
                Some(Ok(known)) => Some(known.as_str()),
                Some(Err(other)) => return Err(syntax(format!("a list is not of type {other}"))),
                None => None,
            };
            let value = self.value(known)?;
            let signature = value.signature();
            match &element {
                Some(Ok(known)) if *known != signature => {
                    return Err(syntax("the elements of a list must be of one type"));
                }
                _ => element = Some(Ok(signature)),
            }
            list.push(value);
        }
        match element {
            Some(Ok(element)) => Ok(Value::Array(element, list)),
            Some(Err(other)) => Err(syntax(format!("a list is not of type {other}"))),
            None => Err(syntax("an empty list needs its type: @as []")),
        }
    }

    fn tuple(&mut self, wanted: Option<&str>) -> Result<Value> {
        self.eat("(");
        let mut types = wanted.and_then(|w| w.strip_prefix('(')).and_then(|w| w.strip_suffix(')'));
        if wanted.is_some() && types.is_none() {
            return Err(syntax("a tuple is not what is wanted here"));
        }
        let mut members = Vec::new();
        while !self.eat(")") {
            if !members.is_empty() && !self.eat(",") {
                return Err(syntax("a tuple lacks a comma or its end"));
            }
            // A comma may stand before the end. GVariant demands one after a single
            // member.
            if self.eat(")") {
                break;
            }
            let known = match types {
                Some(left) => {
                    let end =
                        first_type_length(left).ok_or_else(|| syntax("a tuple has too many members"))?;
                    types = Some(&left[end..]);
                    Some(&left[..end])
                }
                None => None,
            };
            members.push(self.value(known)?);
        }
        if members.is_empty() || types.is_some_and(|left| !left.is_empty()) {
            return Err(syntax("a tuple has too few members"));
        }
        Ok(Value::Tuple(members))
    }

    fn variant(&mut self) -> Result<Value> {
        self.eat("<");
        let value = self.value(None)?;
        if !self.eat(">") {
            return Err(syntax("a variant lacks its >"));
        }
        Ok(Value::Variant(Box::new(value)))
    }
}

fn escaped(chars: &mut std::str::CharIndices) -> Result<char> {
    let bad = || syntax("has a \\ before what can't be escaped");
    let (_, c) = chars.next().ok_or_else(bad)?;
    let digits = match c {
        'a' => return Ok('\x07'),
        'b' => return Ok('\x08'),
        'f' => return Ok('\x0c'),
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        'v' => return Ok('\x0b'),
        'u' => 4,
        'U' => 8,
        other => return Ok(other),
    };
    let code: String = chars.take(digits).map(|(_, c)| c).collect();
    let code = u32::from_str_radix(&code, 16).ok().filter(|code| *code != 0);
    code.and_then(char::from_u32).ok_or_else(bad)
}

fn convert_text(text: String, wanted: &str) -> Result<Value> {
    match wanted {
        "s" => Ok(Value::Str(text)),
        "o" if is_object_path(&text) => Ok(Value::Path(text)),
        "g" if is_signature(&text) => Ok(Value::Signature(text)),
        _ => Err(syntax("a text is not what is wanted here")),
    }
}

fn is_object_path(text: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain))
}

fn is_signature(text: &str) -> bool {
    if text.len() > SIGNATURE_LIMIT {
        return false;
    }
    let mut left = text;
    while let Some(end) = first_type_length(left) {
        left = &left[end..];
    }
    left.is_empty()
}

fn convert_word(word: &str, wanted: Option<&str>) -> Result<Value> {
    let value = match wanted.unwrap_or(if matches!(word, "true" | "false") { "b" } else { "i" }) {
        "b" => word.parse().ok().map(Value::Bool),
        "d" => word.parse().ok().map(Value::Double),
        "y" => integer(word).map(Value::Byte),
        "n" => integer(word).map(Value::Int16),
        "q" => integer(word).map(Value::Uint16),
        "i" => integer(word).map(Value::Int32),
        "u" => integer(word).map(Value::Uint32),
        "x" => integer(word).map(Value::Int64),
        "t" => integer(word).map(Value::Uint64),
        _ => None,
    };
    value.ok_or_else(|| syntax(format!("{word} is not what is wanted here")))
}

/// Parses an integer: decimal, or with C's prefixes for hexadecimal and octal.
fn integer<T: TryFrom<i128>>(word: &str) -> Option<T> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (digits, radix) = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    T::try_from(if negative { -value } else { value }).ok()
}

/// Returns the length of the first complete type in a signature. `None` if there is none.
fn first_type_length(signature: &str) -> Option<usize> {
    match signature.as_bytes().first()? {
        b'a' => Some(1 + first_type_length(&signature[1..])?),
        b'(' => {
            let mut end = 1;
            while !signature[end..].starts_with(')') {
                end += first_type_length(&signature[end..])?;
            }
            (end > 1).then_some(end + 1)
        }
        b if b"bynqiuxtdsogv".contains(b) => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property_of(name: &str, value: &str) -> Result<(String, Value)> {
        let map =
            BTreeMap::from([(format!("{PREFIX}{name}"), value.to_owned()), ("other".into(), "x".into())]);
        properties(&map).map(|mut list| list.remove(0)).map(|property| (property.name, property.value))
    }

    fn texts(list: &[&str]) -> Value {
        Value::Array("s".into(), list.iter().copied().map(Value::text).collect())
    }

    fn parsed(text: &str) -> Value {
        parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn scalars() {
        for (text, value) in [
            ("true", Value::Bool(true)),
            ("boolean false", Value::Bool(false)),
            ("5", Value::Int32(5)),
            ("-5", Value::Int32(-5)),
            ("byte 0x41", Value::Byte(65)),
            ("int16 -7", Value::Int16(-7)),
            ("uint16 7", Value::Uint16(7)),
            ("uint32 010", Value::Uint32(8)),
            ("int64 -9223372036854775808", Value::Int64(i64::MIN)),
            ("uint64 18446744073709551615", Value::Uint64(u64::MAX)),
            ("@t 0", Value::Uint64(0)),
            ("double 1.5", Value::Double(1.5)),
            (" 'a\\'b' ", Value::text("a'b")),
            ("\"it's\\n\"", Value::text("it's\n")),
            ("'\\u00e4'", Value::text("ä")),
            ("objectpath '/a/b'", Value::Path("/a/b".into())),
            ("signature 'a(sv)'", Value::Signature("a(sv)".into())),
        ] {
            assert_eq!(parsed(text), value, "{text}");
        }
    }

    #[test]
    fn containers() {
        assert_eq!(parsed("['a', 'b']"), texts(&["a", "b"]));
        assert_eq!(parsed("@as []"), Value::Array("s".into(), vec![]));
        assert_eq!(parsed("[byte 1, 2]"), Value::bytes(&[1, 2]));
        assert_eq!(parsed("@ay [1,2]"), Value::bytes(&[1, 2]));
        let pair = Value::Tuple(vec![Value::text("/dev/null"), Value::text("rw")]);
        assert_eq!(parsed("[('/dev/null', 'rw')]"), Value::Array("(ss)".into(), vec![pair]));
        let weight = Value::Tuple(vec![Value::text("/dev/sda"), Value::Uint64(7)]);
        assert_eq!(parsed("@a(st) [('/dev/sda', 7)]"), Value::Array("(st)".into(), vec![weight]));
        assert_eq!(parsed("('x',)"), Value::Tuple(vec![Value::text("x")]));
        assert_eq!(parsed("<uint32 4>"), Value::Variant(Box::new(Value::Uint32(4))));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for bad in [
            "",
            "foo",
            "'open",
            "uint64",
            "uint64 -1",
            "uint64 'x'",
            "byte 256",
            "2147483648",
            "5 6",
            "[]",
            "['a' 'b']",
            "['a', 5]",
            "[",
            "()",
            "('a'",
            "@as ['a'",
            "@a 5",
            "@zz 5",
            "@(st) ('a', 5, 6)",
            "@(st) ('a',)",
            "<5",
            "'\\u0000'",
            "'a\0b'",
            "'\\",
            "@s [5]",
            "objectpath 'a'",
            "signature '('",
            "0x",
            "1 sec",
            "[[[[[[[[[[[[5]]]]]]]]]]]]",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds_are_asked_for_in_microseconds() {
        assert_eq!(
            property_of("TimeoutStopSec", "5"),
            Ok(("TimeoutStopUSec".into(), Value::Uint64(5_000_000)))
        );
        assert_eq!(
            property_of("TimeoutStopSec", "double 0.5"),
            Ok(("TimeoutStopUSec".into(), Value::Uint64(500_000)))
        );
        assert_eq!(
            property_of("TimeoutStopUSec", "uint64 5"),
            Ok(("TimeoutStopUSec".into(), Value::Uint64(5)))
        );
        assert_eq!(property_of("FooSEC", "5"), Ok(("FooSEC".into(), Value::Int32(5))));
        for bad in ["'5s'", "-5", "uint64 18446744073709551615", "double -1"] {
            assert!(property_of("TimeoutStopSec", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_annotation_is_named() {
        let at = |name: &str, value: &str| property_of(name, value).map_err(|e| (e.at, e.subject));
        assert_eq!(
            at("CollectMode", "what"),
            Err((format!("/annotations/{PREFIX}CollectMode"), "what".into()))
        );
        for bad in ["", "ab", "A1b", "A_b", "Ä€b"] {
            assert!(at(bad, "true").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_type_fits_into_a_signature() {
        let tuple = |members: usize| format!("({})", "7, ".repeat(members));
        // The brackets count.
        assert!(parse(&tuple(253)).is_ok());
        for text in [tuple(254), format!("<{}>", tuple(254)), format!("[{}]", tuple(253))] {
            let error = parse(&text).expect_err("too long").to_string();
            assert!(error.contains("longer than 255 bytes"), "{error}");
        }
    }
}
