//! The plot of `--plot`: the wall time of each verb and runtime, as an SVG that is readable on
//! a light and on a dark page. `scale_plot.rs` draws the plot of `--scale`.

use crate::options::VERBS;
use crate::place::Layout;
use crate::report::columns;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const LEFT: f64 = 70.0;
const WIDTH: f64 = 760.0;
/// The space for the figure behind the longest bar.
const RIGHT: f64 = 130.0;
const BAR: f64 = 14.0;
const GAP: f64 = 14.0;
const TOP: f64 = 60.0;

/// Where something is drawn, in pixels from the upper left corner, or how large it is.
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// The text has the colour of the page's text, as far as the viewer knows it. The bars and lines
/// have enough contrast with white and with black.
const STYLE: &str = "\
text{font:12px sans-serif;fill:#24292f}.title{font-weight:bold}\
.b0{fill:#8c959f}.b1{fill:#d9480f}.b2{fill:#1c7ed6}.b3{fill:#2b8a3e}.b4{fill:#9c36b5}.b5{fill:#b08800}\
polyline,path{fill:none;stroke-width:2}.grid{stroke:#8c959f;stroke-width:.3}\
.l0{stroke:#8c959f}.l1{stroke:#d9480f}.l2{stroke:#1c7ed6}.l3{stroke:#2b8a3e}.l4{stroke:#9c36b5}.l5{stroke:#b08800}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}}";

/// Writes one file with the medians of a layout, taken back to back.
pub fn write(file: &Path, layout: Layout, result: &Value, stat: &str) -> Result<()> {
    fs::write(file, plot(layout, &result["back_to_back"], stat)?).with_context(|| file.display().to_string())
}

fn plot(layout: Layout, verbs: &Value, stat: &str) -> Result<String> {
    let time = |verb: &str, name: &str| verbs[verb][name]["wall_ms"][stat].as_f64().unwrap_or(0.0);
    let shown: Vec<&str> = VERBS.into_iter().filter(|verb| verbs[*verb].is_object()).collect();
    let names = columns(&verbs[*shown.first().context("no verb was measured")?]);
    let times = shown.iter().flat_map(|verb| names.iter().map(|name| time(verb, name)));
    let longest = times.fold(f64::MIN_POSITIVE, f64::max);
    let title = format!("{stat} in ms (× floor), back to back, cgroup {layout}");
    let mut body = head(&title, &names)?;
    let mut y = TOP;
    for verb in shown {
        writeln!(body, "<text class=\"title\" x=\"8\" y=\"{}\">{verb}</text>", y + BAR - 3.0)?;
        for (i, name) in names.iter().enumerate() {
            let (class, ms) = (i.min(5), time(verb, name));
            let width = (ms / longest * (WIDTH - LEFT - RIGHT)).max(1.0);
            let ratio = ms / time(verb, "floor");
            writeln!(
                body,
                "<rect class=\"b{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{ms:.2} ({ratio:.2})</text>",
                BAR - 2.0,
                LEFT + width + 6.0,
                y + BAR - 3.0
            )?;
            y += BAR;
        }
        y += GAP;
    }
    Ok(page(WIDTH, y, &body))
}

/// Draws the title, and the colour of each runtime.
pub fn head(title: &str, names: &[impl AsRef<str>]) -> Result<String> {
    let mut head = format!("<text class=\"title\" x=\"{LEFT}\" y=\"20\">{title}</text>\n");
    for (i, (name, x)) in names.iter().zip((0..).map(|i| LEFT + f64::from(i) * 100.0)).enumerate() {
        let class = i.min(5);
        writeln!(head, "<rect class=\"b{class}\" x=\"{x}\" y=\"32\" width=\"10\" height=\"10\"/>")?;
        writeln!(head, "<text x=\"{}\" y=\"41\">{}</text>", x + 15.0, name.as_ref())?;
    }
    Ok(head)
}

/// Puts the drawing `body` on a page of this size, in pixels.
pub fn page(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <style>{STYLE}</style>\n{body}</svg>\n"
    )
}
