//! The systemd driver: a container's cgroup is that of a transient scope.
//!
//! A scope begins with a process, so it is asked for once init is there. The
//! request leaves as soon as init's pid is known, init works on its mounts in
//! the meantime, and is told when it has been moved ([`Starting`]).
//!
//! Where the processes are and how limits are written is cgroupfs's, with this
//! driver, too: what is here is the unit around it.

mod annotations;
mod bus;
mod names;
mod session;
mod table;
mod wire;

pub use bus::traffic;
pub use names::Name;
pub use table::rounded;

use crate::error::{Error, Result, without_engines_words};
use crate::launch::Arrival;
use crate::spec::Plan;
use crate::spec::config::Resources;
use bus::{Bus, Refusal, Which};
use serde::{Deserialize, Serialize};
use table::Property;
use wire::Value;

/// The unit of a container, as the state has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub name: String,
    which: Which,
    /// systemd forgets it when it ends, even if it failed. Not so if the bundle
    /// has a wish of its own: then the failed unit is to be reset.
    collected: bool,
}

/// Where a unit and its cgroup are going to be.
pub struct Located {
    pub unit: Unit,
    /// Path below the mount of the hierarchy.
    pub cgroup: String,
}

/// The version of the hierarchies in which limits are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// Finds the names; nothing is asked of systemd.
pub fn locate(plan: &Plan, id: &str) -> Result<Located> {
    let which = session::which()?;
    let is_user = which != Which::System;
    let name = names::Name::of(plan.cgroups_path.as_deref(), id, is_user)?;
    let below = if is_user { session::manager_cgroup(&which) } else { String::new() };
    let cgroup = below + &name.cgroup()?;
    let collected = annotations::properties(&plan.annotations)?.iter().all(|p| p.name != COLLECT_MODE);
    Ok(Located { unit: Unit { name: name.unit, which, collected }, cgroup })
}

impl Unit {
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

/// A unit that is being started, with init in it.
pub struct Starting {
    bus: Bus,
    name: String,
    is_users: bool,
    version: Version,
    properties: Vec<Property>,
    pid: u32,
    /// The call that has not been answered yet.
    call: u32,
}

impl Starting {
    /// Connects. What is wrong with the properties is found here, before init
    /// is there.
    pub fn prepare(unit: &Unit, plan: &Plan, id: &str, version: Version) -> Result<Starting> {
        let name = names::Name::of(plan.cgroups_path.as_deref(), id, unit.is_users())?;
        let mut properties = fixed(&name.slice, id, version);
        properties.extend(annotations::properties(&plan.annotations)?);
        // A user's systemd may load no device program.
        if !unit.is_users() {
            properties.extend(table::devices(&plan.device_rules));
        }
        properties.extend(limits(&plan.resources, version)?);
        let mut bus = Bus::open(&unit.which)?;
        bus.check_pids()?;
        bus.watch_jobs(&unit.name);
        Ok(Starting {
            bus,
            name: unit.name.clone(),
            is_users: unit.is_users(),
            version,
            properties,
            pid: 0,
            call: 0,
        })
    }

    /// When init may go on. On version 1 the device rules are written one by
    /// one, and init makes device nodes.
    pub fn arrival(&self) -> Arrival {
        if self.version == Version::V1 { Arrival::ToldFirst } else { Arrival::ToldLater }
    }

    /// Is it a user's systemd?
    pub fn is_users(&self) -> bool {
        self.is_users
    }

    /// Asks for the unit; doesn't wait.
    pub fn start(&mut self, pid: i32) -> Result<()> {
        self.pid = pid.unsigned_abs();
        self.ask()
    }

    fn ask(&mut self) -> Result<()> {
        let pids = Property::needed("PIDs", Value::Array("u".into(), vec![Value::Uint32(self.pid)]));
        let properties = self.properties.iter().chain([&pids]).map(pair).collect();
        self.call = self.bus.call(
            START,
            &[
                Value::text(&self.name),
                Value::text("fail"),
                Value::Array("(sv)".into(), properties),
                // Auxiliary units: none.
                Value::Array("(sa(sv))".into(), Vec::new()),
            ],
        )?;
        Ok(())
    }

    /// Waits until systemd has moved init. Returns the names of properties that
    /// this systemd doesn't have.
    pub fn finish(mut self) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        let mut is_reset = false;
        let job = loop {
            let refusal = match self.bus.answer(self.call, START)? {
                Ok(texts) => break texts.into_iter().next().unwrap_or_default(),
                Err(refusal) => refusal,
            };
            if let Some(at) = self.properties.iter().position(|p| p.optional && refusal.is_about(&p.name)) {
                missing.push(self.properties.remove(at).name);
            } else if refusal.is("UnitExists") && !is_reset {
                // What is left of an earlier one that failed. A unit that is
                // still at work stays, and is an error the next time.
                is_reset = true;
                reset(&mut self.bus, &self.name)?;
            } else {
                return Err(self.explain(&refusal));
            }
            self.ask()?;
        };
        match self.bus.job(&job, START)?.as_str() {
            "done" => Ok(missing),
            result => {
                // What the bundle asked for may keep it as a failed one.
                let _ = reset(&mut self.bus, &self.name);
                Err(Error::msg(format!("systemd could not start the unit: {result}"))
                    .on(self.name.clone())
                    .hint(format!("see journalctl --unit {}", self.name)))
            }
        }
    }

    fn explain(&self, refusal: &Refusal) -> Error {
        let error = Error::msg(format!(
            "systemd refused to start the unit: {}",
            without_engines_words(&refusal.text)
        ))
        .on(self.name.clone());
        match refusal.name.as_str() {
            name if name.ends_with(".UnitExists") => {
                error.hint("another container has this unit: see its cgroupsPath, and systemctl status")
            }
            name if name.ends_with(".PropertyReadOnly") => {
                error.hint("is a property of an org.systemd.property annotation unknown to this systemd?")
            }
            _ => error,
        }
    }
}

/// What every container's unit has.
fn fixed(slice: &str, id: &str, version: Version) -> Vec<Property> {
    let on = |name: &str| Property::optional(name, Value::Bool(true));
    let io = if version == Version::V2 { "IOAccounting" } else { "BlockIOAccounting" };
    vec![
        Property::needed("Description", Value::text(format!("corten container {id}"))),
        Property::needed("Slice", Value::text(slice)),
        // What is below is the payload's.
        Property::needed("Delegate", Value::Bool(true)),
        on("MemoryAccounting"),
        on("CPUAccounting"),
        on(io),
        on("TasksAccounting"),
        // A shutdown doesn't end it: that is for its engine to do.
        Property::needed("DefaultDependencies", Value::Bool(false)),
        // If it fails, by an OOM kill, it is not to stay.
        Property::optional(COLLECT_MODE, Value::text("inactive-or-failed")),
    ]
}

fn limits(resources: &Resources, version: Version) -> Result<Vec<Property>> {
    match version {
        Version::V1 => Ok(table::v1(resources)),
        Version::V2 => table::v2(resources),
    }
}

fn pair(property: &Property) -> Value {
    let variant = Value::Variant(Box::new(property.value.clone()));
    Value::Tuple(vec![Value::text(&property.name), variant])
}

impl Refusal {
    /// Is the error systemd's own of this name?
    fn is(&self, name: &str) -> bool {
        self.name.rsplit('.').next() == Some(name)
    }

    /// Did it refuse the call because of this property?
    fn is_about(&self, property: &str) -> bool {
        let words = self.text.split(|c: char| !c.is_ascii_alphanumeric());
        (self.is("PropertyReadOnly") || self.is("UnknownProperty") || self.is("InvalidArgs"))
            && words.into_iter().any(|word| word == property)
    }
}

/// Finds what systemd would refuse, before anything is made.
pub fn check(resources: &Resources, version: Version) -> Result<()> {
    limits(resources, version).map(drop)
}

/// Sets other limits of a unit that runs, until it ends. Returns the names of
/// properties that this systemd doesn't have.
pub fn update(unit: &Unit, resources: &Resources, version: Version) -> Result<Vec<String>> {
    let mut properties = limits(resources, version)?;
    let mut missing = Vec::new();
    if properties.is_empty() {
        return Ok(missing);
    }
    let mut bus = Bus::open(&unit.which)?;
    loop {
        let pairs = properties.iter().map(pair).collect();
        let args = [Value::text(&unit.name), Value::Bool(true), Value::Array("(sv)".into(), pairs)];
        let call = bus.call(SET, &args)?;
        let refusal = match bus.answer(call, SET)? {
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
    // It answers first, then writes to the kernel's files, then looks for the
    // next message.
    let call = bus.call(GET, &[Value::text(&unit.name)])?;
    bus.answer(call, GET)?.map(|_| missing).map_err(|refusal| {
        let text = format!("systemd does not know the unit: {}", refusal.text);
        Error::msg(text).on(unit.name.clone())
    })
}

/// Stops the unit, whose processes have ended, and returns when systemd has
/// done with it. One that is gone already is no error.
pub fn stop(unit: &Unit) -> Result<()> {
    let mut bus = Bus::open(&unit.which)?;
    bus.watch_jobs(&unit.name);
    let call = bus.call(STOP, &[Value::text(&unit.name), Value::text("replace")])?;
    match bus.answer(call, STOP)? {
        Ok(texts) => {
            // Whatever the result: what counts is whether the cgroup is gone.
            bus.job(&texts.into_iter().next().unwrap_or_default(), STOP)?;
        }
        Err(refusal) if refusal.is("NoSuchUnit") => {}
        Err(refusal) => {
            let text = format!("systemd refused to stop the unit: {}", refusal.text);
            return Err(Error::msg(text).on(unit.name.clone()));
        }
    }
    if unit.collected { Ok(()) } else { reset(&mut bus, &unit.name) }
}

/// Is there something to stop although the cgroup is gone?
pub fn outlives_its_cgroup(unit: &Unit) -> bool {
    !unit.collected
}

/// Lets systemd forget a unit that failed; that there is none is as good.
fn reset(bus: &mut Bus, unit: &str) -> Result<()> {
    let call = bus.call(RESET, &[Value::text(unit)])?;
    bus.answer(call, RESET).map(drop)
}

/// Has systemd move a process into the unit: a user may not move one there from
/// outside of what the user was given, but may ask.
pub fn attach(unit: &Unit, pid: i32) -> Result<()> {
    let mut bus = Bus::open(&unit.which)?;
    bus.check_pids()?;
    let pids = Value::Array("u".into(), vec![Value::Uint32(pid.unsigned_abs())]);
    let call = bus.call(ATTACH, &[Value::text(&unit.name), Value::text(""), pids])?;
    bus.answer(call, ATTACH)?.map(drop).map_err(|refusal| {
        let text = format!("systemd refused to move the process into the unit: {}", refusal.text);
        Error::msg(text).on(unit.name.clone())
    })
}
