//! `linux.memoryPolicy`: on which NUMA nodes the kernel allocates memory (config-linux.md
//! "Memory policy").

use super::bit_list;
use super::config;
use super::plan::MemoryPolicy;
use crate::error::{Error, Result};

/// The names and numbers of the modes. `features` shows the names.
pub const MODES: [(&str, i32); 7] = [
    ("MPOL_DEFAULT", DEFAULT),
    ("MPOL_BIND", BIND),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
    ("MPOL_PREFERRED", PREFERRED),
    ("MPOL_PREFERRED_MANY", PREFERRED_MANY),
    ("MPOL_LOCAL", LOCAL),
];
const DEFAULT: i32 = 0;
const PREFERRED: i32 = 1;
const BIND: i32 = 2;
const LOCAL: i32 = 4;
const PREFERRED_MANY: i32 = 5;

/// The names and bits of the flags. `features` shows the names.
pub const FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_NUMA_BALANCING", NUMA_BALANCING),
    ("MPOL_F_RELATIVE_NODES", RELATIVE_NODES),
    ("MPOL_F_STATIC_NODES", STATIC_NODES),
];
const NUMA_BALANCING: i32 = 1 << 13;
const RELATIVE_NODES: i32 = 1 << 14;
const STATIC_NODES: i32 = 1 << 15;

const AT: &str = "/linux/memoryPolicy";

/// Resolves `linux.memoryPolicy`. Refuses what set_mempolicy(2) would refuse with EINVAL
/// and no reason.
pub fn memory_policy(given: &config::MemoryPolicy) -> Result<MemoryPolicy> {
    let mode = find_number(&MODES, &given.mode, "mode", "mode")?;
    let mut flags = 0;
    for (i, flag) in given.flags.iter().enumerate() {
        flags |= find_number(&FLAGS, flag, &format!("flags/{i}"), "flag")?;
    }
    let nodes = bit_list::parse_bits(&given.nodes, &format!("{AT}/nodes"))
        .map_err(|e| Error { op: format!("invalid memory policy nodes: {}", e.op), ..e })?;
    match (mode, nodes.is_empty()) {
        (DEFAULT | LOCAL, false) => {
            return Err(invalid("nodes", &format!("{} takes no nodes", given.mode)).on(given.nodes.clone()));
        }
        (DEFAULT | LOCAL | PREFERRED, true) | (_, false) => {}
        (_, true) => {
            return Err(invalid("nodes", &format!("{} needs nodes", given.mode)));
        }
    }
    check_flags(mode, flags, nodes.is_empty(), &given.mode)?;
    Ok(MemoryPolicy { mode: mode | flags, nodes })
}

fn check_flags(mode: i32, flags: i32, no_nodes: bool, name: &str) -> Result<()> {
    let wrong = |why: String| Err(invalid("flags", &why));
    if flags & STATIC_NODES != 0 && flags & RELATIVE_NODES != 0 {
        return wrong("MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other".into());
    }
    if flags & (STATIC_NODES | RELATIVE_NODES) != 0 && no_nodes {
        return wrong("MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES need nodes".into());
    }
    if flags & NUMA_BALANCING != 0 && !matches!(mode, BIND | PREFERRED_MANY) {
        return wrong(format!("MPOL_F_NUMA_BALANCING doesn't go with {name}"));
    }
    Ok(())
}

/// Returns the error for a combination that the kernel would refuse without a reason.
fn invalid(field: &str, why: &str) -> Error {
    let what = "invalid memory policy: for set_mempolicy it is an invalid argument";
    Error::config(format!("{AT}/{field}"), format!("{what}: {why}"))
}

fn find_number(table: &[(&str, i32)], name: &str, field: &str, what: &str) -> Result<i32> {
    let found = table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    found.ok_or_else(|| {
        Error::config(format!("{AT}/{field}"), format!("invalid memory policy {what}")).on(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<MemoryPolicy, String> {
        memory_policy(&serde_json::from_str(json).expect("JSON")).map_err(|e| e.at)
    }

    #[test]
    fn mode_flags_and_nodes() {
        let policy = parsed(r#"{"mode":"MPOL_BIND","nodes":"0,2","flags":["MPOL_F_STATIC_NODES"]}"#);
        assert_eq!(policy, Ok(MemoryPolicy { mode: 2 | 1 << 15, nodes: vec![5] }));
        assert_eq!(parsed(r#"{"mode":"MPOL_PREFERRED"}"#), Ok(MemoryPolicy { mode: 1, nodes: vec![] }));
    }

    #[test]
    fn what_the_kernel_would_refuse() {
        for (json, at) in [
            (r#"{}"#, "mode"),
            (r#"{"mode":"MPOL_NOPE"}"#, "mode"),
            (r#"{"mode":"MPOL_BIND"}"#, "nodes"),
            (r#"{"mode":"MPOL_LOCAL","nodes":"0"}"#, "nodes"),
            (r#"{"mode":"MPOL_BIND","nodes":"x"}"#, "nodes"),
            (r#"{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_NOPE"]}"#, "flags/0"),
            (r#"{"mode":"MPOL_LOCAL","flags":["MPOL_F_NUMA_BALANCING"]}"#, "flags"),
            (r#"{"mode":"MPOL_PREFERRED","flags":["MPOL_F_STATIC_NODES"]}"#, "flags"),
            (
                r#"{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]}"#,
                "flags",
            ),
        ] {
            assert_eq!(parsed(json), Err(format!("{AT}/{at}")), "{json}");
        }
    }
}
