//! The record of a container in its state.json.
//!
//! The format is a promise to older and newer versions of corten: see "The format of
//! state.json" in README.md. In short, a new field has a default. A change that would make
//! an older version do something wrong raises [`VERSION`]. This version reads every version
//! that was ever released.

use super::ending::Ending;
use super::identity::Identity;
use crate::cgroup::{Cgroup, Driver, Host};
use crate::error::{Error, Result};
use crate::hooks::Subject;
use crate::launch::namespace_handout::Address;
use crate::rdt::Group;
use crate::spec::plan::Fields;
use crate::spec::plan::{Ns, NsKind, Plan};
use crate::spec::state::Container;
use crate::sys::namespaces::NsFlags;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version of the format that this corten writes.
const VERSION: u32 = 1;

/// The record of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    pub id: String,
    #[serde(with = "super::path_text")]
    pub bundle: PathBuf,
    #[serde(with = "super::path_text")]
    pub rootfs: PathBuf,
    /// When the container was created, in RFC 3339.
    pub created: String,
    /// The uid of the caller of `create`.
    pub owner: u32,
    pub annotations: BTreeMap<String, String>,
    pub cgroup: Cgroup,
    pub rdt: Option<Group>,
    /// The namespaces that are not the host's.
    pub namespaces: NsFlags,
    /// Whether the container has a session keyring, which an exec process joins.
    pub keyring: bool,
    /// Whether the configuration has a seccomp profile, which an exec process gets, too.
    pub seccomp: bool,
    /// `linux.resources` after the last `update`. `None`: as in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<serde_json::Value>,
    /// Fields of `process` that an exec process takes from the configuration.
    #[serde(rename = "inheritable")]
    pub exec_defaults: Fields,
    /// The mount namespace that the container joined. The container's root is mounted there,
    /// and other processes use the namespace, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_namespace: Option<PathBuf>,
    /// The address of the socket by which init hands its namespaces out while it waits at
    /// the start gate (`launch/namespace_handout.rs`). `None`: init hands nothing out.
    /// The init of an older corten would treat a request as `start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handout: Option<Address>,
    /// `None` while `create` is at work.
    pub init: Option<Identity>,
    /// How the container ended, once a verb has noticed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

/// The part of a record that `state` and `list` show.
#[derive(Deserialize)]
pub struct Shown {
    version: u32,
    pub id: String,
    #[serde(with = "super::path_text")]
    pub bundle: PathBuf,
    #[serde(with = "super::path_text")]
    pub rootfs: PathBuf,
    pub created: String,
    pub owner: u32,
    pub annotations: BTreeMap<String, String>,
    pub init: Option<Identity>,
    #[serde(default)]
    pub ending: Option<Ending>,
}

impl From<State> for Shown {
    fn from(state: State) -> Shown {
        Shown {
            version: state.version,
            id: state.id,
            bundle: state.bundle,
            rootfs: state.rootfs,
            created: state.created,
            owner: state.owner,
            annotations: state.annotations,
            init: state.init,
            ending: state.ending,
        }
    }
}

impl Shown {
    /// Reads this part of a record. Skips all other fields: most of the time of [`parse`] goes
    /// into the paths of the cgroups. `None`: [`parse`] tells why.
    pub fn parse(text: &[u8]) -> Option<Shown> {
        serde_json::from_slice(text).ok().filter(|shown: &Shown| (1..=VERSION).contains(&shown.version))
    }

    /// Returns init's pid, or 0 without an init.
    pub fn pid(&self) -> i32 {
        self.init.map_or(0, |init| init.pid)
    }
}

/// Reads only the cgroup of a record.
pub fn cgroup_in(text: &[u8]) -> Option<Cgroup> {
    #[derive(Deserialize)]
    struct Part {
        cgroup: Cgroup,
    }
    serde_json::from_slice(text).ok().map(|part: Part| part.cgroup)
}

impl State {
    /// Returns the record of a container of which nothing exists yet.
    pub fn new(id: &str, plan: &Plan, cgroup: Cgroup, keyring: bool) -> State {
        State {
            version: VERSION,
            id: id.into(),
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.clone(),
            created: crate::log::now(),
            owner: nix::unistd::geteuid().as_raw(),
            annotations: plan.annotations.clone(),
            cgroup,
            rdt: None,
            namespaces: crate::launch::joins::private_flags(&plan.namespaces),
            keyring,
            seccomp: plan.seccomp.is_some(),
            resources: None,
            exec_defaults: plan.exec_defaults,
            mount_namespace: match plan.namespaces.get(NsKind::Mount) {
                Ns::Join { path, .. } => Some(path.clone()),
                Ns::New | Ns::Inherit => None,
            },
            handout: None,
            init: None,
            ending: None,
        }
    }

    /// Returns the record of a container of which only the id is known.
    fn nameless(id: &str) -> State {
        State {
            version: VERSION,
            id: id.into(),
            bundle: PathBuf::new(),
            rootfs: PathBuf::new(),
            created: String::new(),
            owner: nix::unistd::geteuid().as_raw(),
            annotations: BTreeMap::new(),
            cgroup: Cgroup::None,
            rdt: None,
            // The namespaces are unknown. `delete` must therefore not assume that all
            // processes end with init.
            namespaces: NsFlags::NONE,
            keyring: false,
            seccomp: true,
            resources: None,
            exec_defaults: Fields::default(),
            mount_namespace: None,
            handout: None,
            init: None,
            ending: None,
        }
    }

    pub fn subject(&self) -> Subject {
        Subject {
            container: Container {
                id: self.id.clone(),
                bundle: self.bundle.clone(),
                annotations: self.annotations.clone(),
            },
            output: Default::default(),
            signals: None,
        }
    }

    /// Unmounts the container's root in a mount namespace that the container joined. No process
    /// of the container may be left.
    pub fn unmount_joined(&self) -> Result<()> {
        match &self.mount_namespace {
            Some(namespace) => crate::launch::joins::unmount_in(namespace, &self.rootfs),
            None => Ok(()),
        }
    }

    /// Returns init's pid, or 0 without an init.
    pub fn pid(&self) -> i32 {
        self.init.map_or(0, |init| init.pid)
    }
}

/// Reads a record.
///
/// # Errors
/// The text is torn, is no record, or comes from a newer version.
pub fn parse(text: &[u8], id: &str) -> Result<State> {
    // A newer version may have other fields: if the parse fails, the version number tells why.
    match serde_json::from_slice::<State>(text) {
        Ok(state) if (1..=VERSION).contains(&state.version) => Ok(state),
        Ok(state) => Err(unknown_version(state.version.into(), id)),
        Err(error) => Err(match number(text) {
            Some(version) if version > u64::from(VERSION) => unknown_version(version, id),
            _ if text.is_empty() => unreadable("it is empty", id),
            _ => unreadable(&error.to_string(), id),
        }),
    }
}

fn number(text: &[u8]) -> Option<u64> {
    tree(text).get("version")?.as_u64()
}

/// Reads what is JSON in a record that may be damaged. Null if it is no JSON. A byte that is
/// not UTF-8 becomes U+FFFD, so that one damaged text does not hide all other fields.
fn tree(text: &[u8]) -> Value {
    serde_json::from_str(&String::from_utf8_lossy(text)).unwrap_or_default()
}

/// The error of a record that is missing or damaged.
pub(super) fn unreadable(why: &str, id: &str) -> Error {
    Error::msg(format!("state.json can't be read: {why}"))
        .on(id)
        .hint("run delete --force: it kills the container's processes and frees its id")
}

fn unknown_version(version: u64, id: &str) -> Error {
    let text = format!("state.json has version {version}, and this corten knows versions up to {VERSION}");
    Error::msg(text).on(id).hint(
        "use the newer corten that created the container: this one can only show, signal and \
         delete it",
    )
}

/// Reads a record of a newer version, if this version can parse `version`, `created`,
/// `namespaces`, `cgroup` and `init` in it. Takes every other field that it understands.
pub fn of_newer(text: &[u8], id: &str) -> Option<State> {
    let value = tree(text);
    let version = value.get("version")?.as_u64()?;
    if version <= u64::from(VERSION) {
        return None;
    }
    Some(State {
        version: u32::try_from(version).ok()?,
        id: id.into(),
        bundle: field(&value, "bundle").unwrap_or_default(),
        rootfs: field(&value, "rootfs").unwrap_or_default(),
        created: field(&value, "created")?,
        owner: field(&value, "owner").unwrap_or_default(),
        annotations: field(&value, "annotations").unwrap_or_default(),
        cgroup: field(&value, "cgroup").filter(is_undamaged)?,
        rdt: field(&value, "rdt").unwrap_or_default(),
        namespaces: field(&value, "namespaces")?,
        keyring: false,
        seccomp: true,
        resources: None,
        exec_defaults: Fields::default(),
        mount_namespace: field(&value, "mount_namespace").unwrap_or_default(),
        handout: None,
        init: field(&value, "init")?,
        ending: field(&value, "ending").unwrap_or_default(),
    })
}

fn field<T: DeserializeOwned>(value: &Value, name: &str) -> Option<T> {
    T::deserialize(value.get(name)?).ok()
}

/// Whether no path of the cgroup has a character that stands for a damaged byte: such a path
/// would be one that does not exist, and the cgroup's processes would be missed.
fn is_undamaged(cgroup: &Cgroup) -> bool {
    serde_json::to_string(cgroup).is_ok_and(|text| !text.contains('\u{fffd}'))
}

/// The state of a container whose record can't be read. It comes from the readable part of
/// the record and from the saved configuration. For `delete --force`.
pub struct PartialRecord {
    pub state: State,
    /// One warning for each thing that `delete --force` may miss.
    pub unknown: Vec<String>,
}

impl PartialRecord {
    pub fn read(text: &[u8], config: &[u8], id: &str) -> PartialRecord {
        let record = tree(text);
        let mut unknown = Vec::new();
        let bundle: PathBuf = field(&record, "bundle").unwrap_or_default();
        let plan = crate::spec::parse_config(config, &mut Vec::new())
            .and_then(|config| crate::spec::resolve(&config, &bundle, &mut Vec::new()));
        let mut state = match &plan {
            Ok(plan) => State::new(id, plan, Cgroup::None, false),
            Err(error) => {
                unknown.push(format!("its saved config.json can't be read either ({error})"));
                State::nameless(id)
            }
        };
        state.created = field(&record, "created").unwrap_or_default();
        state.init = field(&record, "init").unwrap_or_default();
        state.cgroup = match (field(&record, "cgroup").filter(is_undamaged), &plan) {
            (Some(cgroup), _) => cgroup,
            (None, Ok(plan)) => located(plan, id, &mut unknown),
            (None, Err(_)) => Cgroup::None,
        };
        let rdt = plan.ok().and_then(|plan| plan.rdt);
        state.rdt = field(&record, "rdt").unwrap_or_else(|| rdt.and_then(|rdt| Group::locate(&rdt, id).ok()));
        if state.init.is_none() && state.cgroup == Cgroup::None {
            unknown.push("neither its init nor its cgroup is known: its processes, if any, still run".into());
        }
        PartialRecord { state, unknown }
    }
}

/// Finds the cgroup that the configuration names: as the systemd driver names it, else as
/// the cgroupfs driver does.
fn located(plan: &Plan, id: &str, unknown: &mut Vec<String>) -> Cgroup {
    let found = [Driver::Systemd, Driver::Cgroupfs].into_iter().find_map(|driver| {
        let host = Host::detect(driver, plan.cgroups_path.as_deref()).ok()?;
        Cgroup::locate(plan, id, &host, driver).ok().filter(Cgroup::exists)
    });
    match found {
        // The caller is in this cgroup, so the cgroup does not belong to the container
        // alone.
        Some(cgroup) if cgroup.contains_caller() => {
            unknown.push("the cgroup that its configuration names is not its own".into());
            Cgroup::None
        }
        Some(cgroup) => cgroup,
        None => Cgroup::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: [&str; 6] = [
        include_str!("../../tests/data/state/1-first.json"),
        include_str!("../../tests/data/state/1-cgroup-v1.json"),
        include_str!("../../tests/data/state/1-cgroup-v2.json"),
        include_str!("../../tests/data/state/1-systemd.json"),
        include_str!("../../tests/data/state/1-all-fields.json"),
        include_str!("../../tests/data/state/1-ended.json"),
    ];

    /// Checks that parsing and serializing a record changes no field.
    #[test]
    fn kept_records_are_read_in_whole() {
        for text in KEPT {
            let state = parse(text.as_bytes(), "box").expect("readable");
            let mut kept: Value = serde_json::from_str(text).expect("JSON");
            let fields = kept.as_object_mut().expect("an object");
            // Optional fields without a value are not written, except `rdt`.
            fields.retain(|name, value| name == "rdt" || !value.is_null());
            assert_eq!(serde_json::to_value(&state).expect("JSON"), kept);
        }
    }

    #[test]
    fn of_a_newer_one_only_what_ends_it_is_needed() {
        let newer = include_str!("../../tests/data/state/newer.json").as_bytes();
        let error = parse(newer, "box").expect_err("newer");
        assert!(error.op.contains("version 2"), "{error}");
        let state = of_newer(newer, "box").expect("understood");
        assert_eq!(state.pid(), parse(KEPT[2].as_bytes(), "box").expect("readable").pid());
        for text in [&b""[..], b"{", b"{}", b"[]", br#"{"version": 2}"#, KEPT[0].as_bytes()] {
            assert!(of_newer(text, "box").is_none());
        }
    }

    /// A byte that is not UTF-8 costs `delete --force` only the field that it is in.
    #[test]
    fn a_damaged_byte_hides_no_other_field() {
        let whole = KEPT[2];
        let state = parse(whole.as_bytes(), "box").expect("readable");
        let damage = |name: &str| {
            let at = whole.find(name).expect("a field") + name.len();
            let at = at + whole[at..].find('/').expect("a path") + 1;
            let mut text = whole.as_bytes().to_vec();
            text[at] = 0xff;
            assert!(parse(&text, "box").is_err());
            PartialRecord::read(&text, b"{", "box")
        };
        let partial = damage("\"bundle\"");
        assert_eq!((partial.state.init, partial.state.cgroup), (state.init, state.cgroup));
        // Of a path that is wrong now, nothing is taken.
        let partial = damage("\"cgroup\"");
        assert_eq!((partial.state.init, partial.state.cgroup), (state.init, Cgroup::None));
    }

    #[test]
    fn no_text_is_too_odd_to_be_deleted() {
        for text in [&b""[..], b"{", b"[1]", b"\xff", br#"{"version": "x", "init": 7, "cgroup": []}"#] {
            for config in [&b""[..], b"{", b"{}"] {
                let partial = PartialRecord::read(text, config, "box");
                assert_eq!((partial.state.init, partial.state.cgroup), (None, Cgroup::None));
                assert!(!partial.unknown.is_empty());
            }
        }
    }
}
