//! The runtimes that are measured, and the command line of each verb.

use crate::container::Programs;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::env;
use std::path::{Path, PathBuf};

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Floor,
    Oci,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Runtime {
    pub name: String,
    pub path: PathBuf,
    pub kind: Kind,
}

/// Floor, corten, runc, crun, and the runtimes of PEERS. Leaves out a runtime that is set
/// to `none`, or that is not installed.
pub fn find(programs: &Programs) -> Result<Vec<Runtime>> {
    let mut found = vec![Runtime { name: "floor".into(), path: programs.floor.clone(), kind: Kind::Floor }];
    let mut add = |name: &str, path: &str, needed: bool| -> Result<()> {
        if path == "none" {
            return Ok(());
        }
        let Ok(path) = Path::new(path).canonicalize() else {
            ensure!(!needed, "{name}: there is no {path}");
            eprintln!("{name} is left out: there is no {path}");
            return Ok(());
        };
        found.push(Runtime { name: name.into(), path, kind: Kind::Oci });
        Ok(())
    };
    for (name, variable, default) in [
        ("corten", "CORTEN", env!("CARGO_BIN_EXE_corten")),
        ("runc", "RUNC", "/usr/sbin/runc"),
        ("crun", "CRUN", "/usr/bin/crun"),
    ] {
        match env::var(variable).ok().filter(|v| !v.is_empty()) {
            Some(path) => add(name, &path, true)?,
            None => add(name, default, false)?,
        }
    }
    for peer in env::var("PEERS").unwrap_or_default().split(',').filter(|p| !p.is_empty()) {
        let (name, path) = peer.split_once('=').context("PEERS is name=path,...")?;
        add(name, path, true)?;
    }
    let mut names: Vec<&str> = found.iter().map(|r| r.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    ensure!(names.len() == found.len(), "two runtimes have the same name");
    Ok(found)
}
