//! `corten events`: one JSON document a line.

use super::{Context, print};
use crate::container::events::{self, Event};
use crate::error::{Error, Result};
use clap::Parser;
use std::time::Duration;

/// Display resource usage and out-of-memory events of a container
#[derive(Parser)]
pub struct Args {
    /// Interval between two reports of the resource usage
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration, allow_hyphen_values = true)]
    interval: Duration,
    /// Display the resource usage once, then exit
    #[arg(long)]
    stats: bool,
    /// Name of the container
    id: String,
}

/// A document of `events`, with the fields in runc's order.
#[derive(serde::Serialize)]
struct Line<'a> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<crate::cgroup::Stats>,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    let tell = |event: Event| {
        let (kind, data) = match event {
            Event::OutOfMemory => ("oom", None),
            Event::Stats(stats) => ("stats", Some(*stats)),
        };
        let line = Line { r#type: kind, id: &args.id, data };
        let text = serde_json::to_string(&line).map_err(|e| Error::msg(format!("JSON: {e}")))?;
        print(format!("{text}\n"))
    };
    if args.stats {
        tell(Event::Stats(Box::new(events::stats(&context.root, &args.id)?)))?;
    } else {
        events::watch(&context.root, &args.id, args.interval, &context.log, &mut { tell })?;
    }
    Ok(0)
}

/// Parses a duration as Go writes it: `5s`, `1m30s`, `1.5h`, `250ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration like 5s or 1m30s");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(wrong()),
            };
        rest = &rest[end..];
    }
    match Duration::try_from_secs_f64(total) {
        Ok(Duration::ZERO) => Err("duration interval must be greater than 0".into()),
        other => other.map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_in_go() {
        for (text, milliseconds) in [
            ("5s", 5000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
            ("+2s", 2000),
            (".5s", 500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "5", "s", "abc", "-5s", "5x", "1..5s", "0s", "0", "1s2"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
