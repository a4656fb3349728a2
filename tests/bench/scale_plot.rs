//! The plot of `--scale`: for each verb, the time of each runtime against the number of
//! containers that are alive. Both axes are logarithmic.

use crate::plot::{self, Point};
use crate::report::columns;
use crate::scale;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const COLUMNS: usize = 3;
const PANEL: Point = Point { x: 250.0, y: 170.0 };
/// The axes of a panel, from its upper left corner.
const ORIGIN: Point = Point { x: 45.0, y: 140.0 };
const AXES: Point = Point { x: 190.0, y: 110.0 };
const TOP: f64 = 50.0;

pub fn write(file: &Path, layout: &str, result: &Value, stat: &str) -> Result<()> {
    fs::write(file, draw(layout, result, stat)?).with_context(|| file.display().to_string())
}

fn draw(layout: &str, result: &Value, stat: &str) -> Result<String> {
    let names = columns(result);
    let sizes = scale::sizes(result);
    let title = format!("{stat} in ms, while so many containers are alive, cgroup {layout}");
    let mut body = plot::head(&title, &names)?;
    let time = |name: &str, verb: &str, size: &String| result[name][size]["wall_ms"][verb][stat].as_f64();
    let verbs: Vec<&str> = scale::verbs()
        .filter(|verb| names.iter().any(|name| sizes.iter().any(|size| time(name, verb, size).is_some())))
        .collect();
    for (i, verb) in verbs.iter().enumerate() {
        let [column, row] = [i % COLUMNS, i / COLUMNS].map(|n| f64::from(u32::try_from(n).unwrap_or(0)));
        let corner = Point { x: column * PANEL.x, y: TOP + row * PANEL.y };
        let lines: Vec<Vec<Option<f64>>> =
            names.iter().map(|name| sizes.iter().map(|size| time(name, verb, size)).collect()).collect();
        panel(&mut body, corner, verb, &sizes, &lines)?;
    }
    let rows = f64::from(u32::try_from(verbs.len().div_ceil(COLUMNS))?);
    Ok(plot::page(PANEL.x * f64::from(u32::try_from(COLUMNS)?), TOP + rows * PANEL.y, &body))
}

/// Draws the times `lines` of one verb, a line for each runtime.
fn panel(
    body: &mut String,
    corner: Point,
    verb: &str,
    sizes: &[String],
    lines: &[Vec<Option<f64>>],
) -> Result<()> {
    let times: Vec<f64> = lines.iter().flatten().flatten().copied().filter(|ms| *ms > 0.0).collect();
    // Whole powers of ten, so that the labels are short.
    let low = times.iter().copied().fold(f64::MAX, f64::min).log10().floor();
    let high = times.iter().copied().fold(f64::MIN_POSITIVE, f64::max).log10().ceil().max(low + 1.0);
    let (left, bottom) = (corner.x + ORIGIN.x, corner.y + ORIGIN.y);
    let y = |ms: f64| bottom - (ms.log10() - low) / (high - low) * AXES.y;
    let logs: Vec<f64> = sizes.iter().map(|size| size.parse().map_or(0.0, f64::log10)).collect();
    let (first, last) = (logs[0], logs[logs.len() - 1]);
    let x = |i: usize| left + (logs[i] - first) / (last - first).max(f64::MIN_POSITIVE) * AXES.x;
    writeln!(
        body,
        "<text class=\"title\" x=\"{left}\" y=\"{}\">{verb}</text>",
        corner.y + ORIGIN.y - AXES.y - 8.0
    )?;
    let mut power = low;
    while power <= high {
        let (at, label) = (y(10_f64.powf(power)), 10_f64.powf(power));
        writeln!(
            body,
            "<path class=\"grid\" d=\"M{left} {at:.1}h{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            AXES.x,
            left - 5.0,
            at + 4.0
        )?;
        power += 1.0;
    }
    for (i, size) in sizes.iter().enumerate() {
        let at = bottom + 15.0;
        writeln!(body, "<text x=\"{:.1}\" y=\"{at}\" text-anchor=\"middle\">{size}</text>", x(i))?;
    }
    for (class, line) in lines.iter().enumerate() {
        let points: Vec<String> = line
            .iter()
            .enumerate()
            .filter_map(|(i, ms)| Some(format!("{:.1},{:.1}", x(i), y(ms.filter(|ms| *ms > 0.0)?))))
            .collect();
        if !points.is_empty() {
            writeln!(body, "<polyline class=\"l{}\" points=\"{}\"/>", class.min(5), points.join(" "))?;
        }
    }
    Ok(())
}
