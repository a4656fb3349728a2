//! The limits of `linux.resources`, without the device rules (config-linux.md "Control
//! groups").
//!
//! `None` and an empty list or map stand for a field that is not set. No number has a
//! second meaning: "no limit" is [`Limit::Unlimited`], and a field in which `config.json`
//! has 0 for "not set" can't hold 0.
//!
//! The types serialize to the form of `linux.resources`, in which the record of a
//! container keeps them.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::num::NonZero;

/// A limit that a container may be without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// No limit: -1 in `config.json`.
    Unlimited,
    /// The largest value that is allowed. The unit is that of the field.
    Max(u64),
}

/// `linux.resources`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Memory,
    #[serde(skip_serializing_if = "is_default")]
    pub cpu: Cpu,
    #[serde(skip_serializing_if = "is_default")]
    pub pids: Pids,
    #[serde(rename = "blockIO", skip_serializing_if = "is_default")]
    pub block_io: BlockIo,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hugepage_limits: Vec<HugepageLimit>,
    #[serde(skip_serializing_if = "is_default")]
    pub network: Network,
    /// By the name of the device, which is not empty and has no white space. Each device
    /// has at least one limit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, Rdma>,
    /// By the name of the file of version 2, which has no slash.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unified: BTreeMap<String, String>,
}

impl Resources {
    /// Returns whether no field asks for anything. A switch that is off asks for nothing.
    pub fn is_empty(&self) -> bool {
        let mut all = self.clone();
        all.memory.disable_oom_killer.take_if(|on| !*on);
        all.memory.check_before_update.take_if(|on| !*on);
        is_default(&all)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `memory`. The sizes are in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Limit>,
    /// Memory and swap together: at least 1, and not below `limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Limit>,
    /// Linux no longer has this limit. The field only causes a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Limit>,
    /// 0 allows no memory at all.
    #[serde(rename = "kernelTCP", skip_serializing_if = "Option::is_none")]
    pub kernel_tcp: Option<Limit>,
    /// From 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u8>,
    #[serde(rename = "disableOOMKiller", skip_serializing_if = "Option::is_none")]
    pub disable_oom_killer: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_hierarchy: Option<bool>,
    /// Whether a limit that is not above the usage is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_before_update: Option<bool>,
}

/// `cpu`. Times are in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<NonZero<u64>>,
    /// In each period, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Limit>,
    /// At most `quota`. 0 allows no burst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<NonZero<u64>>,
    /// In each real-time period, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_runtime: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_period: Option<NonZero<u64>>,
    /// A list of CPUs such as `0-2,7`, not empty. The kernel checks the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    /// A list of memory nodes, as `cpus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems: Option<String>,
    /// Whether the processes get only CPU time that no other cgroup wants: 1 or 0 in
    /// `config.json`.
    #[serde(serialize_with = "number_of_switch", skip_serializing_if = "Option::is_none")]
    pub idle: Option<bool>,
}

/// `pids`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    /// At least 1: init counts, so 0 in `config.json` has the effect of 1. systemd refuses
    /// 0, and runc writes 1 since version 1.4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// `blockIO`. Weights are on BFQ's scale, from 10 to 1000. The kernel checks the range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<NonZero<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<NonZero<u16>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<WeightDevice>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_bps_device: Vec<ThrottleDevice>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_bps_device: Vec<ThrottleDevice>,
    #[serde(rename = "throttleReadIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_iops_device: Vec<ThrottleDevice>,
    #[serde(rename = "throttleWriteIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_iops_device: Vec<ThrottleDevice>,
}

/// The weights of a block device. The form of `linux.resources` wants at least one of
/// them in each entry, so that `weight` is written as 0 if it is not set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightDevice {
    pub major: u32,
    pub minor: u32,
    #[serde(serialize_with = "number_or_zero")]
    pub weight: Option<NonZero<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<NonZero<u16>>,
}

/// The largest rate of a block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThrottleDevice {
    pub major: u32,
    pub minor: u32,
    /// In bytes or operations for each second. 0 is passed on: version 1 of the kernel's
    /// interface removes the device's limit then, and version 2 refuses it.
    pub rate: u64,
}

/// The limit for huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HugepageLimit {
    /// As in the names of the kernel's files: `64KB`, `2MB`, `1GB`.
    pub page_size: String,
    /// In bytes. 0 allows no huge page.
    pub limit: u64,
}

/// `network`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    #[serde(rename = "classID", skip_serializing_if = "Option::is_none")]
    pub class_id: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<InterfacePriority>,
}

/// The priority of a network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterfacePriority {
    /// A name without white space and slashes, at least one character long.
    pub name: String,
    pub priority: u32,
}

/// The limits of an RDMA device. 0 allows none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rdma {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_handles: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_objects: Option<u32>,
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Limit::Unlimited => serializer.serialize_i64(-1),
            Limit::Max(value) => serializer.serialize_u64(*value),
        }
    }
}

#[allow(clippy::ref_option, reason = "serde passes a field by reference")]
fn number_of_switch<S: Serializer>(switch: &Option<bool>, serializer: S) -> Result<S::Ok, S::Error> {
    switch.map(u8::from).serialize(serializer)
}

#[allow(clippy::ref_option, reason = "serde passes a field by reference")]
fn number_or_zero<S: Serializer>(value: &Option<NonZero<u16>>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map_or(0, NonZero::get).serialize(serializer)
}
