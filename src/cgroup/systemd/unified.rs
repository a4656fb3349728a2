//! Translates the keys of `unified` to properties of a unit. Pure: does no I/O.

use super::property::Property;
use super::quota::add_quota;
use super::values::{idle_weight, io_weight, limit_property, set_property};
use super::wire::Value;
use crate::cgroup::v2_table::DEFAULT_PERIOD;
use crate::error::Result;
use crate::spec::plan::Limit;
use std::collections::BTreeMap;
use std::num::NonZero;

/// Adds the keys of `unified` that systemd has properties for. Leaves out a limit that it
/// can't parse: the kernel reports what is wrong with it.
///
/// # Errors
/// A cpuset is not a list like `0-2,7`.
pub fn add_unified(map: &BTreeMap<String, String>, out: &mut Vec<Property>) -> Result<()> {
    let is_idle = map.get("cpu.idle").is_some_and(|value| value.trim() == "1");
    for (key, value) in map {
        let value = value.trim();
        match key.as_str() {
            "cpu.idle" if is_idle => out.push(idle_weight()),
            "cpu.weight" if !is_idle => {
                out.extend(value.parse().ok().map(|n| Property::number("CPUWeight", n)))
            }
            "cpu.max" => add_cpu_max(value, out),
            "cpuset.cpus" | "cpuset.mems" => {
                let name = if key == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
                out.push(set_property(name, value, &format!("unified/{key}"))?);
            }
            "memory.oom.group" => {
                let policy = if value == "1" { "kill" } else { "continue" };
                out.push(Property::optional("OOMPolicy", Value::text(policy)));
            }
            "io.weight" => add_weights(value, |weight| weight, out),
            "io.bfq.weight" => add_weights(value, io_weight, out),
            _ => {
                let name = property_of_file(key);
                out.extend(name.zip(parse_limit(value)).map(|(name, limit)| limit_property(name, limit)));
            }
        }
    }
    Ok(())
}

fn property_of_file(key: &str) -> Option<&'static str> {
    Some(match key {
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.max" => "MemoryMax",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        "memory.zswap.max" => "MemoryZSwapMax",
        "pids.max" => "TasksMax",
        _ => return None,
    })
}

fn parse_limit(value: &str) -> Option<Limit> {
    if value == "max" { Some(Limit::Unlimited) } else { value.parse().ok().map(Limit::Max) }
}

/// Adds cpu.max, whose form is `quota [period]`.
fn add_cpu_max(value: &str, out: &mut Vec<Property>) {
    let mut words = value.split_ascii_whitespace();
    let quota = words.next().and_then(parse_limit);
    let period = words.next().map_or(NonZero::new(DEFAULT_PERIOD), |word| word.parse().ok());
    if quota.is_some() && period.is_some() {
        add_quota(quota, period, out);
    }
}

/// Adds weights, from lines of `[default] WEIGHT` or `MAJOR:MINOR WEIGHT`.
fn add_weights(value: &str, scale: fn(u64) -> u64, out: &mut Vec<Property>) {
    for line in value.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let weight = words.last().and_then(|word| word.parse().ok()).map(scale);
        let device = match words[..] {
            [device, _] => device.split_once(':').map(|(major, minor)| (major.parse(), minor.parse())),
            _ => None,
        };
        match (weight, device) {
            (Some(weight), Some((Ok(major), Ok(minor)))) => {
                out.push(Property::of_device("IODeviceWeight", major, minor, weight))
            }
            (Some(weight), None) => out.push(Property::number("IOWeight", weight)),
            _ => {}
        }
    }
}
