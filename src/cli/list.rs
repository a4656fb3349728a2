//! `corten list`.

use super::state::{StateOutput, Users};
use super::{Context, print};
use crate::container::Survey;
use crate::error::{Error, Kind, Result};
use clap::{Parser, ValueEnum};
use std::borrow::Cow;

/// List containers
#[derive(Parser)]
pub struct Args {
    /// Format of the list
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    /// Display only container ids
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    if args.quiet {
        let ids = context.root.ids()?;
        print(ids.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(0);
    }
    let mut rows = Vec::new();
    let mut users = Users::default();
    context.root.survey(|found| {
        let shown = match found {
            Survey::Seen(shown, status) => Ok(StateOutput::new(shown, status, &mut users)),
            Survey::Unclear(dir) => dir.and_then(|dir| StateOutput::read(&dir, &mut users)),
        };
        match shown {
            Ok(shown) => rows.push(shown),
            // Somebody has deleted the container since the runtime read the state root.
            Err(error) if error.kind == Kind::NoContainer => {}
            // A broken state must not hide the other containers.
            Err(error) => context.log.warn(error.to_string()),
        }
    })?;
    match args.format {
        Format::Json => {
            let text = serde_json::to_string(&rows).map_err(|e| Error::msg(format!("JSON: {e}")))?;
            print(format!("{text}\n"))?;
        }
        Format::Table => print(table(&rows))?,
    }
    Ok(0)
}

/// Formats runc's table: columns are at least 12 wide, with three blanks between them.
fn table(rows: &[StateOutput]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(Cow::from);
    let cells = rows.iter().map(|row| {
        [
            row.id.as_str().into(),
            row.pid.to_string().into(),
            row.status.name().into(),
            row.bundle.to_string_lossy(),
            row.created.as_str().into(),
            row.owner.as_str().into(),
        ]
    });
    let lines: Vec<[Cow<str>; 6]> = std::iter::once(header).chain(cells).collect();
    let lengths = |column: usize| lines.iter().map(move |line| line[column].chars().count() + 3);
    let widths: [usize; 5] = std::array::from_fn(|column| lengths(column).max().unwrap_or(0).max(12));
    let mut out = String::with_capacity(lines.len() * (widths.iter().sum::<usize>() + 12));
    for line in &lines {
        for (cell, width) in line.iter().zip(widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        out.push_str(&line[5]);
        out.push('\n');
    }
    out
}
