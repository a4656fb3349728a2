//! `linux.intelRdt`: a share of caches and of memory bandwidth (config-linux.md
//! "IntelRdt").

use super::config::IntelRdt;
use super::plan::Rdt;
use crate::error::{Error, Result};

const AT: &str = "/linux/intelRdt";

/// Resolves `linux.intelRdt`.
pub fn rdt(given: &IntelRdt) -> Result<Rdt> {
    Ok(Rdt {
        clos: clos(&given.clos_id)?,
        combined: combined(given)?,
        schemata: schemata(&given.schemata)?,
        monitor: given.enable_monitoring,
        needs_occupancy: given.enable_cmt,
        needs_bandwidth: given.enable_mbm,
    })
}

/// Resolves `closID`. `/` is the root of the resctrl filesystem, the default class. Any
/// other id is the name of a directory there.
fn clos(id: &str) -> Result<Option<String>> {
    let at = format!("{AT}/closID");
    super::c_string(id, &at)?;
    if matches!(id, "." | "..") || (id != "/" && id.contains('/')) {
        return Err(Error::config(at, "must be the name of a directory, or /").on(id));
    }
    Ok((!id.is_empty()).then(|| id.into()))
}

/// Returns the lines of both schemas. `memBwSchema` replaces all `MB:` lines of
/// `l3CacheSchema`.
fn combined(given: &IntelRdt) -> Result<String> {
    let bandwidth = given.mem_bw_schema.as_str();
    if !bandwidth.is_empty() && (!bandwidth.starts_with("MB:") || bandwidth.contains('\n')) {
        return Err(Error::config(format!("{AT}/memBwSchema"), "must be one line that starts with MB:")
            .on(format!("{bandwidth:?}")));
    }
    let replaced = |line: &&str| bandwidth.is_empty() || !line.trim_start().starts_with("MB:");
    let lines = given.l3_cache_schema.lines().filter(|line| !line.trim().is_empty()).filter(replaced);
    Ok(lines.chain((!bandwidth.is_empty()).then_some(bandwidth)).map(|line| format!("{line}\n")).collect())
}

fn schemata(lines: &[String]) -> Result<String> {
    if let Some(i) = lines.iter().position(|line| line.contains('\n') || line.trim().is_empty()) {
        return Err(Error::config(format!("{AT}/schemata/{i}"), "must be one line of a schemata file"));
    }
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Rdt, String> {
        rdt(&serde_json::from_str(json).expect("JSON")).map_err(|e| e.at)
    }

    #[test]
    fn the_bandwidth_schema_replaces_that_line() {
        let json = r#"{"l3CacheSchema":"L3:0=f\nMB:0=10\nL2:0=1","memBwSchema":"MB:0=20","closID":"gold"}"#;
        let rdt = parsed(json).expect("valid");
        assert_eq!(rdt.combined, "L3:0=f\nL2:0=1\nMB:0=20\n");
        assert_eq!(rdt.clos.as_deref(), Some("gold"));
        assert_eq!(parsed(r#"{"l3CacheSchema":"MB:0=10"}"#).map(|rdt| rdt.combined), Ok("MB:0=10\n".into()));
    }

    #[test]
    fn names_and_lines_are_checked() {
        for (json, at) in [
            (r#"{"closID":".."}"#, "closID"),
            (r#"{"closID":"a/b"}"#, "closID"),
            (r#"{"closID":"/a"}"#, "closID"),
            (r#"{"memBwSchema":"L3:0=f"}"#, "memBwSchema"),
            (r#"{"memBwSchema":"MB:0=10\nL3:0=f"}"#, "memBwSchema"),
            (r#"{"schemata":["L3:0=f",""]}"#, "schemata/1"),
        ] {
            assert_eq!(parsed(json), Err(format!("{AT}/{at}")), "{json}");
        }
        assert_eq!(parsed(r#"{"closID":"/"}"#).map(|rdt| rdt.clos), Ok(Some("/".into())));
        assert_eq!(parsed("{}").map(|rdt| rdt.clos), Ok(None));
    }
}
