//! `corten ps`: the output of ps(1) for the processes of a container, or their pids.

use super::{Context, print};
use crate::error::{Context as _, Error, Result};
use crate::steps;
use crate::sys::command::output;
use clap::{Parser, ValueEnum};
use std::ffi::OsString;
use std::process::Command;

/// Show the processes of a container
#[derive(Parser)]
pub struct Args {
    /// Format of the list
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    /// Name of the container
    id: String,
    /// Options for ps(1); its output must have a column PID [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    options: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    let pids = context.root.find(&args.id)?.created_state()?.cgroup.pids()?;
    steps::done_with(|| format!("found {} processes in the cgroup", pids.len()));
    match args.format {
        Format::Json => {
            let text = serde_json::to_string(&pids).map_err(|e| Error::msg(format!("JSON: {e}")))?;
            print(format!("{text}\n"))?;
        }
        Format::Table => {
            let rows = rows(&table(args.options)?, &pids)?;
            steps::done("ran ps");
            print(rows)?;
        }
    }
    Ok(0)
}

/// Returns the output of ps(1) for the whole host.
fn table(mut options: Vec<OsString>) -> Result<Vec<u8>> {
    if options.is_empty() {
        options.push("-ef".into());
    }
    let out = output(Command::new("ps").args(options)).op("execute ps")?;
    if out.status.success() {
        return Ok(out.stdout);
    }
    let said = [out.stdout, out.stderr].concat();
    Err(Error::msg(format!("{}: {}", out.status, String::from_utf8_lossy(&said).trim())).on("ps"))
}

/// Returns the heading, and the lines of the processes `pids`. Lines are bytes, because a
/// command may have any name.
fn rows(table: &[u8], pids: &[i32]) -> Result<Vec<u8>> {
    let mut lines = table.split_inclusive(|byte| *byte == b'\n');
    let heading = lines.next().unwrap_or_default();
    let column = words(heading).position(|word| word == b"PID");
    let column = column.ok_or_else(|| Error::msg("couldn't find PID field in ps output"))?;
    let mut out = heading.to_vec();
    for line in lines {
        let pid = words(line).nth(column).and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
        let unclear = || {
            Error::msg("unable to parse pid in ps output")
                .on(String::from_utf8_lossy(line).trim().to_owned())
                .hint("put every column that may contain blanks after PID")
        };
        if pids.contains(&pid.ok_or_else(unclear)?) {
            out.extend_from_slice(line);
        }
    }
    Ok(out)
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_the_column_pid() {
        let table = b"  PPID   PID CMD\n     7     8 a\xff b\n     8     9 c\n     9   789 7\n";
        assert_eq!(rows(table, &[8, 7]), Ok(b"  PPID   PID CMD\n     7     8 a\xff b\n".to_vec()));
        assert!(rows(b"UID CMD\n0 init\n", &[1]).is_err());
        assert!(rows(b"CMD PID\na b 1\n", &[1]).is_err());
    }
}
