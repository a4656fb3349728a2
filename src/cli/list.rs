//! `corten list`.

use super::state::StateOutput;
use super::{Context, print};
use crate::error::{Error, Kind, Result};
use clap::{Parser, ValueEnum};

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
    let ids = context.root.ids()?;
    if args.quiet {
        print(ids.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(0);
    }
    let mut rows = Vec::new();
    for id in &ids {
        match context.root.find(id).and_then(|dir| StateOutput::read(&dir)) {
            Ok(shown) => rows.push(shown),
            // Somebody has deleted the container since `ids` read the directory.
            Err(error) if error.kind == Kind::NoContainer => {}
            // A broken state must not hide the other containers.
            Err(error) => context.log.warn(error.to_string()),
        }
    }
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
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        [
            row.id.clone(),
            row.pid.to_string(),
            row.status.name().to_owned(),
            row.bundle.display().to_string(),
            row.created.clone(),
            row.owner.clone(),
        ]
    });
    let lines: Vec<[String; 6]> = std::iter::once(header).chain(cells).collect();
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            out.push_str(&format!("{cell:width$}"));
        }
        out.push_str(&line[5]);
        out.push('\n');
    }
    out
}
