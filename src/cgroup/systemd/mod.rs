//! The systemd driver: a container's cgroup is the cgroup of a transient scope.
//!
//! systemd creates a scope only for a process that exists, so the runtime asks for the
//! unit after the fork. The runtime sends the request as soon as it knows init's pid.
//! Meanwhile init works on its mounts. The runtime tells init when systemd has moved it
//! ([`UnitStart`]).
//!
//! The cgroupfs code finds the processes and writes the limits with this driver, too.
//! This folder handles the unit around the cgroup.

mod annotations;
mod bus;
mod device_list;
mod names;
mod property;
mod quota;
mod session;
mod table;
mod unified;
mod values;
mod wire;

pub use bus::traffic;
pub use names::Name;
pub use property::Property;
pub use quota::round_as_systemd;
#[cfg(fuzzing)]
pub use {
    annotations::properties,
    wire::{Call, Message, Value as BusValue, decode},
};

use crate::error::{Error, Result, without_engines_words};
use crate::launch::CgroupEntry;
use crate::spec::Plan;
use crate::spec::plan::Resources;
use bus::{Bus, Refusal};
use serde::{Deserialize, Serialize};
use session::Which;
use wire::Value;

/// The unit of a container, as in the state record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub name: String,
    which: Which,
    /// Whether systemd forgets the unit when it ends, even after a failure. False if the
    /// bundle sets CollectMode by an annotation: then the runtime has to reset a failed
    /// unit.
    collected: bool,
}

/// The unit and the cgroup that a container is going to have.
pub struct Located {
    pub unit: Unit,
    /// The cgroup's path below the mount point of a hierarchy.
    pub cgroup: String,
}

/// The cgroup version in which limits are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// Computes the names of the unit and its cgroup. Does not ask systemd.
pub fn locate(plan: &Plan, id: &str) -> Result<Located> {
    let which = session::find_systemd()?;
    let is_user = which != Which::System;
    let name = names::Name::of(plan.cgroups_path.as_deref(), id, is_user)?;
    let below = if is_user { session::manager_cgroup(&which) } else { String::new() };
    let cgroup = below + &name.cgroup()?;
    let collected = annotations::properties(&plan.annotations)?.iter().all(|p| p.name != COLLECT_MODE);
    Ok(Located { unit: Unit { name: name.unit, which, collected }, cgroup })
}

impl Unit {
    /// Returns whether a user's systemd manages the unit.
    pub fn is_users(&self) -> bool {
        self.which != Which::System
    }
}

const COLLECT_MODE: &str = "CollectMode";
const START: &str = "StartTransientUnit";
const GET: &str = "GetUnit";
const SET: &str = "SetUnitProperties";
const STOP: &str = "StopUnit";
const RESET: &str = "ResetFailedUnit";
const ATTACH: &str = "AttachProcessesToUnit";

/// A unit that systemd starts around init.
pub struct UnitStart {
    bus: Bus,
    name: String,
    is_users: bool,
    version: Version,
    properties: Vec<Property>,
    pid: u32,
    /// The serial number of the call that systemd has not answered yet.
    call: u32,
}

impl UnitStart {
    /// Connects to systemd and computes the properties, so that errors in these are found
    /// before the fork. `limits` are those of [`translate`].
    pub fn prepare(
        unit: &Unit,
        plan: &Plan,
        id: &str,
        version: Version,
        limits: Vec<Property>,
    ) -> Result<UnitStart> {
        let name = names::Name::of(plan.cgroups_path.as_deref(), id, unit.is_users())?;
        let mut properties = fixed_properties(&name.slice, id, version);
        properties.extend(annotations::properties(&plan.annotations)?);
        // A user's systemd may not load a device program.
        if !unit.is_users() {
            properties.extend(device_list::device_properties(&plan.device_rules));
        }
        properties.extend(limits);
        let mut bus = Bus::open(&unit.which)?;
        bus.check_pids()?;
        bus.watch_jobs(&unit.name);
        Ok(UnitStart {
            bus,
            name: unit.name.clone(),
            is_users: unit.is_users(),
            version,
            properties,
            pid: 0,
            call: 0,
        })
    }

    /// Returns when init may go on. On version 1 init has to wait: the runtime writes the
    /// device rules one by one, and init creates device nodes.
    pub fn cgroup_entry(&self) -> CgroupEntry {
        if self.version == Version::V1 { CgroupEntry::BySystemdFirst } else { CgroupEntry::BySystemdLate }
    }

    /// Returns whether a user's systemd manages the unit.
    pub fn is_users(&self) -> bool {
        self.is_users
    }

    /// Asks systemd for the unit, with the process `pid`. Does not wait for an answer.
    pub fn request(&mut self, pid: i32) -> Result<()> {
        self.pid = pid.unsigned_abs();
        self.send_request()
    }

    fn send_request(&mut self) -> Result<()> {
        let pids = Property::needed("PIDs", Value::Array("u".into(), vec![Value::Uint32(self.pid)]));
        let properties = self.properties.iter().chain([&pids]).map(encode_property).collect();
        self.call = self.bus.call(
            START,
            &[
                Value::text(&self.name),
                Value::text("fail"),
                Value::Array("(sv)".into(), properties),
                // No auxiliary units.
                Value::Array("(sa(sv))".into(), Vec::new()),
            ],
        )?;
        Ok(())
    }

    /// Waits until systemd has moved init. Returns the names of optional properties that
    /// this systemd does not have.
    ///
    /// # Errors
    /// systemd refused or failed to start the unit, or did not answer in time.
    pub fn wait_until_moved(mut self) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        let mut is_reset = false;
        let job = loop {
            let refusal = match self.bus.wait_for_answer(self.call, START)? {
                Ok(texts) => break texts.into_iter().next().unwrap_or_default(),
                Err(refusal) => refusal,
            };
            if let Some(at) = self.properties.iter().position(|p| p.optional && refusal.is_about(&p.name)) {
                missing.push(self.properties.remove(at).name);
            } else if refusal.is("UnitExists") && !is_reset {
                // An earlier unit of this name failed and still exists, so reset it. A
                // unit that runs is not affected, and the next answer is an error.
                is_reset = true;
                reset_failed_unit(&mut self.bus, &self.name)?;
            } else {
                return Err(self.explain_refusal(&refusal));
            }
            self.send_request()?;
        };
        match self.bus.wait_for_job(&job, START)?.as_str() {
            "done" => Ok(missing),
            result => {
                // If the bundle sets CollectMode, systemd may keep the failed unit.
                let _ = reset_failed_unit(&mut self.bus, &self.name);
                Err(Error::msg(format!("systemd could not start the unit: {result}"))
                    .on(self.name.clone())
                    .hint(format!("run journalctl --unit {}", self.name)))
            }
        }
    }

    fn explain_refusal(&self, refusal: &Refusal) -> Error {
        let error = Error::msg(format!(
            "systemd refused to start the unit: {}",
            without_engines_words(&refusal.text)
        ))
        .on(self.name.clone());
        match refusal.name.as_str() {
            name if name.ends_with(".UnitExists") => error.hint(
                "give each container a cgroupsPath of its own; systemctl status shows the unit's processes",
            ),
            name if name.ends_with(".PropertyReadOnly") => error.hint(
                "check the org.systemd.property annotations: this systemd may not know one of the properties",
            ),
            _ => error,
        }
    }
}

/// Returns the properties of every container's unit.
fn fixed_properties(slice: &str, id: &str, version: Version) -> Vec<Property> {
    let on = |name: &str| Property::optional(name, Value::Bool(true));
    let io = if version == Version::V2 { "IOAccounting" } else { "BlockIOAccounting" };
    vec![
        Property::needed("Description", Value::text(format!("corten container {id}"))),
        Property::needed("Slice", Value::text(slice)),
        // The payload manages the cgroups below the unit's cgroup.
        Property::needed("Delegate", Value::Bool(true)),
        on("MemoryAccounting"),
        on("CPUAccounting"),
        on(io),
        on("TasksAccounting"),
        // The shutdown of the host does not stop the unit. The engine stops the
        // container.
        Property::needed("DefaultDependencies", Value::Bool(false)),
        // systemd forgets the unit if it fails, as by an OOM kill.
        Property::optional(COLLECT_MODE, Value::text("inactive-or-failed")),
    ]
}

/// Translates the limits to properties of a unit.
///
/// # Errors
/// systemd would refuse a limit.
pub fn translate(resources: &Resources, version: Version) -> Result<Vec<Property>> {
    match version {
        Version::V1 => Ok(table::v1_properties(resources)),
        Version::V2 => table::v2_properties(resources),
    }
}

fn encode_property(property: &Property) -> Value {
    let variant = Value::Variant(Box::new(property.value.clone()));
    Value::Tuple(vec![Value::text(&property.name), variant])
}

impl Refusal {
    /// Returns whether this is systemd's error `name`, without the prefix of D-Bus.
    fn is(&self, name: &str) -> bool {
        self.name.rsplit('.').next() == Some(name)
    }

    /// Returns whether systemd refused the call because of this property.
    fn is_about(&self, property: &str) -> bool {
        let words = self.text.split(|c: char| !c.is_ascii_alphanumeric());
        (self.is("PropertyReadOnly") || self.is("UnknownProperty") || self.is("InvalidArgs"))
            && words.into_iter().any(|word| word == property)
    }
}

/// Changes the properties of a running unit, until it ends. Returns the names of optional
/// properties that this systemd does not have.
pub fn update(unit: &Unit, mut properties: Vec<Property>) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    if properties.is_empty() {
        return Ok(missing);
    }
    let mut bus = Bus::open(&unit.which)?;
    loop {
        let pairs = properties.iter().map(encode_property).collect();
        let args = [Value::text(&unit.name), Value::Bool(true), Value::Array("(sv)".into(), pairs)];
        let call = bus.call(SET, &args)?;
        let refusal = match bus.wait_for_answer(call, SET)? {
            Ok(_) => break,
            Err(refusal) => refusal,
        };
        match properties.iter().position(|p| p.optional && refusal.is_about(&p.name)) {
            Some(at) => missing.push(properties.remove(at).name),
            None => {
                let text = format!("systemd refused to change the unit: {}", refusal.text);
                return Err(Error::msg(text).on(unit.name.clone()));
            }
        }
    }
    // systemd answers a message, then writes the kernel's files, then reads the next
    // message. So the answer to a second message shows that the files are written.
    let call = bus.call(GET, &[Value::text(&unit.name)])?;
    bus.wait_for_answer(call, GET)?.map(|_| missing).map_err(|refusal| {
        let text = format!("systemd does not know the unit: {}", refusal.text);
        Error::msg(text).on(unit.name.clone())
    })
}

/// Stops a unit whose processes have ended, and waits until systemd has stopped it. A
/// unit that does not exist is no error.
pub fn stop(unit: &Unit) -> Result<()> {
    let mut bus = Bus::open(&unit.which)?;
    bus.watch_jobs(&unit.name);
    let call = bus.call(STOP, &[Value::text(&unit.name), Value::text("replace")])?;
    match bus.wait_for_answer(call, STOP)? {
        Ok(texts) => {
            // Ignore the result of the job: it matters only whether the cgroup is gone.
            bus.wait_for_job(&texts.into_iter().next().unwrap_or_default(), STOP)?;
        }
        Err(refusal) if refusal.is("NoSuchUnit") => {}
        Err(refusal) => {
            let text = format!("systemd refused to stop the unit: {}", refusal.text);
            return Err(Error::msg(text).on(unit.name.clone()));
        }
    }
    if unit.collected { Ok(()) } else { reset_failed_unit(&mut bus, &unit.name) }
}

/// Returns whether systemd may still know the unit when its cgroup is gone. The unit then
/// has to be stopped and reset.
pub fn outlives_its_cgroup(unit: &Unit) -> bool {
    !unit.collected
}

/// Makes systemd forget a failed unit. A unit that does not exist is no error.
fn reset_failed_unit(bus: &mut Bus, unit: &str) -> Result<()> {
    let call = bus.call(RESET, &[Value::text(unit)])?;
    bus.wait_for_answer(call, RESET).map(drop)
}

/// Asks systemd to move a process into the unit. A user may not move a process into it
/// from outside the cgroups that are delegated to the user, but systemd may.
pub fn move_into_unit(unit: &Unit, pid: i32) -> Result<()> {
    let mut bus = Bus::open(&unit.which)?;
    bus.check_pids()?;
    let pids = Value::Array("u".into(), vec![Value::Uint32(pid.unsigned_abs())]);
    let call = bus.call(ATTACH, &[Value::text(&unit.name), Value::text(""), pids])?;
    bus.wait_for_answer(call, ATTACH)?.map(drop).map_err(|refusal| {
        let text = format!("systemd refused to move the process into the unit: {}", refusal.text);
        Error::msg(text).on(unit.name.clone())
    })
}
