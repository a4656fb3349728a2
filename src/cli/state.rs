//! `corten state`.

use super::words::Words;
use super::{Context, print_json};
use crate::container::Dir;
use crate::container::ending::Ending;
use crate::container::state::Shown;
use crate::error::Result;
use crate::spec::state::Status;
use crate::sys::process::read_file;
use clap::Parser;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Show the state of a container
#[derive(Parser)]
#[cfg_attr(test, derive(Debug))]
pub struct Args {
    /// Name of the container
    id: String,
}

impl Args {
    /// Reads the arguments without clap, if they are plain (`plain.rs`).
    pub fn read_plain(words: &mut Words) -> Option<Self> {
        Some(Args { id: words.only_id()? })
    }
}

/// The output of `state`: runc's fields. They are the fields of runtime.md "State" and a
/// few more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateOutput {
    oci_version: &'static str,
    pub id: String,
    pub pid: i32,
    pub status: Status,
    #[serde(serialize_with = "crate::container::path_text::for_others")]
    pub bundle: PathBuf,
    #[serde(serialize_with = "crate::container::path_text::for_others")]
    pub rootfs: PathBuf,
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    /// Name of the user who created the container.
    pub owner: String,
    /// How the container ended. Only corten has this field.
    #[serde(rename = "exit", skip_serializing_if = "Option::is_none")]
    ending: Option<Ending>,
}

impl StateOutput {
    /// Reads the state of the container in `dir`.
    pub fn read(dir: &Dir, users: &mut Users) -> Result<StateOutput> {
        let state = dir.known()?;
        let status = dir.status(state.as_ref())?;
        Ok(match state {
            Some(state) => StateOutput::new(state.into(), status, users),
            // A container without a record has nothing but its name yet.
            None => StateOutput {
                oci_version: crate::OCI_VERSION,
                id: dir.id().into(),
                pid: 0,
                status,
                bundle: PathBuf::new(),
                rootfs: PathBuf::new(),
                created: crate::log::rfc3339(dir.time()),
                annotations: BTreeMap::new(),
                owner: String::new(),
                ending: None,
            },
        })
    }

    pub fn new(shown: Shown, status: Status, users: &mut Users) -> StateOutput {
        StateOutput {
            oci_version: crate::OCI_VERSION,
            pid: match status {
                Status::Stopped | Status::Creating => 0,
                Status::Created | Status::Running | Status::Paused => shown.pid(),
            },
            id: shown.id,
            status,
            bundle: shown.bundle,
            rootfs: shown.rootfs,
            created: shown.created,
            annotations: shown.annotations,
            owner: users.name(shown.owner),
            ending: shown.ending,
        }
    }
}

/// The names of users that were looked up before.
#[derive(Default)]
pub struct Users(BTreeMap<u32, String>);

impl Users {
    fn name(&mut self, uid: u32) -> String {
        self.0.entry(uid).or_insert_with(|| user_name(uid)).clone()
    }
}

/// Returns the name of a user from /etc/passwd, or the uid if it has no name. The
/// function reads the file as text, because a static binary has no name services.
fn user_name(uid: u32) -> String {
    let passwd = read_file("/etc/passwd").unwrap_or_default();
    let name = String::from_utf8_lossy(&passwd).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    print_json(&StateOutput::read(&context.root.find(&args.id)?, &mut Users::default())?)?;
    Ok(0)
}
