//! `corten update`.

use super::{Context, file_or_stdin};
use crate::container::update::{self, Asked};
use crate::error::{Error, Result};
use clap::Parser;
use serde_json::{Value, json};
use std::str::FromStr;

/// Update the resource limits of a container
///
/// Sizes are in bytes, or have a suffix: 64M, 1.5G. -1 means no limit. An empty
/// value changes nothing. 0 changes nothing either, except with --pids-limit,
/// --cpu-burst and --cpu-idle.
#[derive(Parser)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// File with linux.resources in JSON, or - for stdin; excludes the flags for single resources
    #[arg(short, long, value_name = "FILE")]
    resources: Option<String>,
    #[command(flatten)]
    flags: Flags,
    /// Intel RDT schema of the L3 cache
    #[arg(long, value_name = "SCHEMA", default_value = "")]
    l3_cache_schema: String,
    /// Intel RDT schema of the memory bandwidth
    #[arg(long, value_name = "SCHEMA", default_value = "")]
    mem_bw_schema: String,
    /// Name of the container
    id: String,
}

/// All as text, as an empty one is as good as none.
#[derive(clap::Args)]
struct Flags {
    /// Block I/O weight, from 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<String>,
    /// CPU period, in microseconds
    #[arg(long, value_name = "US")]
    cpu_period: Option<String>,
    /// CPU quota: CPU time in a period, in microseconds
    #[arg(long, value_name = "US")]
    cpu_quota: Option<String>,
    /// CPU burst: unused CPU time that later periods may use, in microseconds
    #[arg(long, value_name = "US")]
    cpu_burst: Option<String>,
    /// CPU shares: weight relative to other containers
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<String>,
    /// CPU period for real-time processes, in microseconds
    #[arg(long, value_name = "US")]
    cpu_rt_period: Option<String>,
    /// CPU time of real-time processes in a period, in microseconds
    #[arg(long, value_name = "US")]
    cpu_rt_runtime: Option<String>,
    /// 1: use only CPU time that no other process needs
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<String>,
    /// CPUs to use
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Memory reservation, or soft limit
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Limit of memory and swap together
    #[arg(long, value_name = "SIZE")]
    memory_swap: Option<String>,
    #[arg(long, hide = true)]
    kernel_memory: Option<String>,
    #[arg(long, hide = true)]
    kernel_memory_tcp: Option<String>,
    /// Maximum number of processes and threads
    #[arg(long, value_name = "N")]
    pids_limit: Option<String>,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    for (flag, given) in
        [("kernel-memory", &args.flags.kernel_memory), ("kernel-memory-tcp", &args.flags.kernel_memory_tcp)]
    {
        if given.as_ref().is_some_and(|value| !value.is_empty()) {
            context.log.warn(format!("--{flag} is ignored: Linux no longer has this limit"));
        }
    }
    let flags = from_flags(&args.flags)?;
    let resources = match args.resources.as_deref().filter(|file| !file.is_empty()) {
        None => flags,
        Some(_) if flags != json!({}) => {
            return Err(Error::msg("--resources excludes the flags for single resources"));
        }
        Some(file) => from_file(file)?,
    };
    let asked = Asked { resources, l3_cache_schema: args.l3_cache_schema, mem_bw_schema: args.mem_bw_schema };
    update::update(&context.root, &args.id, asked, &context.log)?;
    Ok(0)
}

fn from_file(file: &str) -> Result<Value> {
    let text = file_or_stdin(file, "read the resources")?;
    let resources: Value =
        serde_json::from_slice(&text).map_err(|e| Error::msg(format!("not valid JSON: {e}")).on(file))?;
    if resources.is_object() { Ok(resources) } else { Err(Error::msg("must be a JSON object").on(file)) }
}

/// Returns the resources that the flags set, in the form of `linux.resources`.
fn from_flags(flags: &Flags) -> Result<Value> {
    let mut out = json!({});
    let mut put = |area: &str, field: &str, value: Option<Value>| {
        if let Some(value) = value {
            out[area][field] = value;
        }
    };
    put("blockIO", "weight", number::<u16>("blkio-weight", &flags.blkio_weight)?);
    put("cpu", "period", number::<u64>("cpu-period", &flags.cpu_period)?);
    put("cpu", "quota", number::<i64>("cpu-quota", &flags.cpu_quota)?);
    put("cpu", "burst", number::<u64>("cpu-burst", &flags.cpu_burst)?);
    put("cpu", "shares", number::<u64>("cpu-share", &flags.cpu_share)?);
    put("cpu", "realtimePeriod", number::<u64>("cpu-rt-period", &flags.cpu_rt_period)?);
    put("cpu", "realtimeRuntime", number::<i64>("cpu-rt-runtime", &flags.cpu_rt_runtime)?);
    put("cpu", "idle", number::<i64>("cpu-idle", &flags.cpu_idle)?);
    put("cpu", "cpus", filled(&flags.cpuset_cpus).map(Value::from));
    put("cpu", "mems", filled(&flags.cpuset_mems).map(Value::from));
    put("memory", "limit", size("memory", &flags.memory)?);
    put("memory", "reservation", size("memory-reservation", &flags.memory_reservation)?);
    put("memory", "swap", size("memory-swap", &flags.memory_swap)?);
    put("pids", "limit", number::<i64>("pids-limit", &flags.pids_limit)?);
    Ok(out)
}

fn filled(given: &Option<String>) -> Option<&str> {
    given.as_deref().filter(|text| !text.is_empty())
}

fn number<N: FromStr + Into<Value>>(flag: &str, given: &Option<String>) -> Result<Option<Value>> {
    let parse = |text: &str| match text.parse::<N>() {
        Ok(number) => Ok(number.into()),
        Err(_) => Err(invalid(flag, text)),
    };
    filled(given).map(parse).transpose()
}

fn size(flag: &str, given: &Option<String>) -> Result<Option<Value>> {
    filled(given).map(|text| bytes(text).map(Value::from).ok_or_else(|| invalid(flag, text))).transpose()
}

fn invalid(flag: &str, text: &str) -> Error {
    Error::msg(format!("invalid value for {flag}")).on(format!("{text:?}"))
}

/// Parses a size in bytes: `1024`, `64M`, `64MB`, `64MiB`, `1.5 g`, with powers of 1024;
/// or -1.
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let mut rest = unit.chars();
    let power = match (rest.next(), rest.as_str()) {
        (None | Some('b'), "") => 0,
        (Some(letter), "" | "b" | "ib") => 1 + "kmgtp".find(letter)?,
        _ => return None,
    };
    let factor = 1i64 << (10 * power);
    match number.parse::<i64>() {
        Ok(whole) => whole.checked_mul(factor),
        // Fractions of a byte are dropped.
        Err(_) => {
            #[allow(clippy::cast_precision_loss, reason = "a power of two is exact")]
            let size = number.parse::<f64>().ok()? * factor as f64;
            #[allow(clippy::cast_possible_truncation, reason = "in range")]
            (size < 9e18).then_some(size as i64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_as_docker_writes_them() {
        for (text, size) in [
            ("-1", -1),
            ("0", 0),
            ("1024", 1024),
            ("1024b", 1024),
            ("64k", 65536),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("64MiB", 64 << 20),
            ("64 m", 64 << 20),
            ("1.5G", 3 << 29),
            ("2T", 2 << 40),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for bad in ["", "M", "-2", "64X", "64bb", "64mi", "64mibb", "1.2.3", "64  m", "é", "64é", "99999999P"]
        {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
