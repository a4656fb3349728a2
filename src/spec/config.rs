//! The types of `config.json` as it is written (config.md, config-linux.md).
//!
//! corten has its own types instead of oci-spec's for three reasons, each measured or met
//! in practice:
//! - oci-spec refuses what runc takes and engines send: `null`, empty device types, and
//!   unknown capabilities, for which the specification wants a warning.
//! - oci-spec parses half as fast.
//! - oci-spec needs the regex crate, which is larger than all the rest of the binary (4.4
//!   MB with it, 1.9 MB without).
//!
//! The tests use oci-spec as their oracle.
//!
//! Names stay strings, and numbers are as wide as in JSON. The resolver decides what they
//! mean, and its errors have a JSON pointer. An absent value, `null` and an empty value
//! are the same, as in the Go types with which engines write these files.
//!
//! A key that these types lack is an error of the parser, and finding it costs nothing.
//! `parse.rs` then removes the key and adds a warning, because the specification wants
//! unknown keys ignored. [`Shape`] lists the known keys for `parse.rs`.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Reads `null` as the default value. Go writes an empty list or map as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// A field whose content the runtime does not read. Only its presence counts.
pub type Unread = Option<IgnoredAny>;

/// The places that a configuration may have, for code that needs to know the keys.
pub trait Shape {
    /// Calls `found` with each place below `at`. A place is a JSON pointer in which `*`
    /// stands for any element of a list and for any key of a map.
    fn places(at: &str, found: &mut dyn FnMut(&str));
}

macro_rules! leaves {
    ($($leaf:ty),*) => {$(
        impl Shape for $leaf {
            fn places(_: &str, _: &mut dyn FnMut(&str)) {}
        }
    )*};
}

leaves!(bool, u8, u16, u32, u64, i8, i16, i32, i64, String, PathBuf, IgnoredAny);

impl<T: Shape> Shape for Option<T> {
    fn places(at: &str, found: &mut dyn FnMut(&str)) {
        T::places(at, found);
    }
}

/// Calls `found` with the place of the elements of a list or map, and with each place
/// below.
fn report_elements<T: Shape>(at: &str, found: &mut dyn FnMut(&str)) {
    let any = format!("{at}/*");
    found(&any);
    T::places(&any, found);
}

impl<T: Shape> Shape for Vec<T> {
    fn places(at: &str, found: &mut dyn FnMut(&str)) {
        report_elements::<T>(at, found);
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn places(at: &str, found: &mut dyn FnMut(&str)) {
        report_elements::<T>(at, found);
    }
}

/// A deserializer that keeps the keys of a derived type, in the order of its fields. A
/// derived type asks for a struct with these keys. The deserializer takes the keys and
/// reads nothing.
struct Keys(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut Keys {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = keys;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("there is nothing to read"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Defines the types. A field may be absent, unless it stands in `required {}`. Whoever
/// leaves out a required field does not mean 0: a `hostID` of 0 is the host's root. Every
/// engine writes these fields.
///
/// serde's derive also accepts a list instead of an object: `"linux": []` would be a
/// `Linux` without any fields. The visitor here accepts only an object. With `remote`,
/// serde derives an inherent function, which the visitor calls.
macro_rules! config {
    ($(
        $(#[$doc:meta])* $name:ident
        $(required { $($(#[$needed_attr:meta])* $needed:ident: $needed_kind:ty,)* })?
        { $($(#[$attr:meta])* $field:ident: $kind:ty,)* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, remote = "Self")]
        pub struct $name {
            $($($(#[$needed_attr])* pub $needed: $needed_kind,)*)?
            $($(#[$attr])* #[serde(default, deserialize_with = "or_default")] pub $field: $kind,)*
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Object;
                impl<'de> Visitor<'de> for Object {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$name, A::Error> {
                        <$name>::deserialize(MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }

        impl Shape for $name {
            fn places(at: &str, found: &mut dyn FnMut(&str)) {
                let mut keys = Keys(&[]);
                let _ = <$name>::deserialize(&mut keys);
                let mut keys = keys.0.iter();
                let mut field = |below: fn(&str, &mut dyn FnMut(&str))| {
                    if let Some(key) = keys.next() {
                        let at = format!("{at}/{key}");
                        found(&at);
                        below(&at, found);
                    }
                };
                $($(field(<$needed_kind>::places);)*)?
                $(field(<$kind>::places);)*
            }
        }
    )*};
}

config! {
    /// The whole file.
    Config {
        oci_version: String,
        process: Option<Process>,
        root: Option<Root>,
        hostname: String,
        domainname: String,
        mounts: Vec<Mount>,
        hooks: Hooks,
        annotations: BTreeMap<String, String>,
        linux: Option<Linux>,
        solaris: Unread,
        windows: Unread,
        vm: Unread,
        zos: Unread,
        freebsd: Unread,
    }

    Root {
        path: PathBuf,
        readonly: bool,
    }

    Mount {
        destination: PathBuf,
        #[serde(rename = "type")]
        kind: String,
        source: Option<PathBuf>,
        options: Vec<String>,
        uid_mappings: Vec<IdMapping>,
        gid_mappings: Vec<IdMapping>,
    }

    Process {
        terminal: bool,
        console_size: Option<ConsoleSize>,
        user: User,
        args: Vec<String>,
        env: Vec<String>,
        cwd: String,
        capabilities: Option<Capabilities>,
        rlimits: Vec<Rlimit>,
        no_new_privileges: bool,
        oom_score_adj: Option<i64>,
        apparmor_profile: String,
        selinux_label: String,
        io_priority: Option<IoPriority>,
        scheduler: Option<Scheduler>,
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: Option<CpuAffinity>,
    }

    IoPriority {
        class: String,
        priority: i64,
    }

    Scheduler {
        policy: String,
        nice: i32,
        priority: i32,
        flags: Vec<String>,
        runtime: u64,
        deadline: u64,
        period: u64,
    }

    CpuAffinity {
        initial: String,
        #[serde(rename = "final")]
        last: String,
    }

    ConsoleSize {
        height: u64,
        width: u64,
    }

    User {
        uid: u32,
        gid: u32,
        umask: Option<u32>,
        additional_gids: Vec<u32>,
        username: String,
    }

    Capabilities {
        bounding: Vec<String>,
        effective: Vec<String>,
        inheritable: Vec<String>,
        permitted: Vec<String>,
        ambient: Vec<String>,
    }

    Rlimit required {
        soft: u64,
        hard: u64,
    } {
        #[serde(rename = "type")]
        kind: String,
    }

    Hooks {
        prestart: Vec<Hook>,
        create_runtime: Vec<Hook>,
        create_container: Vec<Hook>,
        start_container: Vec<Hook>,
        poststart: Vec<Hook>,
        poststop: Vec<Hook>,
    }

    Hook {
        path: String,
        args: Vec<String>,
        env: Option<Vec<String>>,
        timeout: Option<i64>,
    }

    Linux {
        namespaces: Vec<Namespace>,
        uid_mappings: Vec<IdMapping>,
        gid_mappings: Vec<IdMapping>,
        time_offsets: BTreeMap<String, TimeOffset>,
        devices: Vec<Device>,
        cgroups_path: String,
        resources: Resources,
        sysctl: BTreeMap<String, String>,
        rootfs_propagation: String,
        masked_paths: Vec<String>,
        readonly_paths: Vec<String>,
        mount_label: String,
        seccomp: Option<Seccomp>,
        intel_rdt: Option<IntelRdt>,
        memory_policy: Option<MemoryPolicy>,
        personality: Option<Personality>,
        net_devices: BTreeMap<String, NetDevice>,
    }

    IntelRdt {
        #[serde(rename = "closID")]
        clos_id: String,
        schemata: Vec<String>,
        l3_cache_schema: String,
        mem_bw_schema: String,
        enable_monitoring: bool,
        /// `enableCMT` and `enableMBM` are in the specification until version 1.2.
        #[serde(rename = "enableCMT")]
        enable_cmt: bool,
        #[serde(rename = "enableMBM")]
        enable_mbm: bool,
    }

    MemoryPolicy {
        mode: String,
        nodes: String,
        flags: Vec<String>,
    }

    Personality {
        domain: String,
        flags: Vec<String>,
    }

    Seccomp {
        default_action: String,
        default_errno_ret: Option<u64>,
        architectures: Vec<String>,
        /// An empty list has no flags. An absent list stands for a default.
        flags: Option<Vec<String>>,
        listener_path: String,
        listener_metadata: String,
        syscalls: Vec<SeccompCalls>,
    }

    /// One entry of `linux.seccomp.syscalls`.
    SeccompCalls {
        names: Vec<String>,
        action: String,
        errno_ret: Option<u64>,
        args: Vec<SeccompArg>,
    }

    SeccompArg {
        index: u64,
        value: u64,
        value_two: u64,
        op: String,
    }

    Namespace {
        #[serde(rename = "type")]
        kind: String,
        path: String,
    }

    IdMapping required {
        #[serde(rename = "containerID")]
        container_id: u32,
        #[serde(rename = "hostID")]
        host_id: u32,
        size: u32,
    } {}

    TimeOffset {
        secs: i64,
        nanosecs: u32,
    }

    NetDevice {
        name: String,
    }

    Device {
        path: PathBuf,
        #[serde(rename = "type")]
        kind: String,
        major: Option<i64>,
        minor: Option<i64>,
        file_mode: Option<u32>,
        uid: u32,
        gid: u32,
    }

    /// `linux.resources`.
    Resources {
        devices: Vec<DeviceRule>,
        memory: Memory,
        cpu: Cpu,
        pids: Pids,
        #[serde(rename = "blockIO")]
        block_io: BlockIo,
        hugepage_limits: Vec<HugepageLimit>,
        network: Network,
        rdma: BTreeMap<String, Rdma>,
        unified: BTreeMap<String, String>,
    }

    DeviceRule required {
        allow: bool,
    } {
        #[serde(rename = "type")]
        kind: String,
        major: Option<i64>,
        minor: Option<i64>,
        access: Option<String>,
    }

    Memory {
        limit: Option<i64>,
        reservation: Option<i64>,
        swap: Option<i64>,
        kernel: Option<i64>,
        #[serde(rename = "kernelTCP")]
        kernel_tcp: Option<i64>,
        swappiness: Option<u64>,
        #[serde(rename = "disableOOMKiller")]
        disable_oom_killer: Option<bool>,
        use_hierarchy: Option<bool>,
        check_before_update: Option<bool>,
    }

    Cpu {
        shares: Option<u64>,
        quota: Option<i64>,
        burst: Option<u64>,
        period: Option<u64>,
        realtime_runtime: Option<i64>,
        realtime_period: Option<u64>,
        cpus: String,
        mems: String,
        idle: Option<i64>,
    }

    Pids {
        limit: Option<i64>,
    }

    BlockIo {
        weight: Option<u16>,
        leaf_weight: Option<u16>,
        weight_device: Vec<WeightDevice>,
        throttle_read_bps_device: Vec<ThrottleDevice>,
        throttle_write_bps_device: Vec<ThrottleDevice>,
        #[serde(rename = "throttleReadIOPSDevice")]
        throttle_read_iops_device: Vec<ThrottleDevice>,
        #[serde(rename = "throttleWriteIOPSDevice")]
        throttle_write_iops_device: Vec<ThrottleDevice>,
    }

    WeightDevice required {
        major: i64,
        minor: i64,
    } {
        weight: Option<u16>,
        leaf_weight: Option<u16>,
    }

    ThrottleDevice required {
        major: i64,
        minor: i64,
        rate: u64,
    } {}

    HugepageLimit required {
        limit: u64,
    } {
        page_size: String,
    }

    Rdma {
        hca_handles: Option<u32>,
        hca_objects: Option<u32>,
    }

    Network {
        #[serde(rename = "classID")]
        class_id: Option<u32>,
        priorities: Vec<InterfacePriority>,
    }

    InterfacePriority required {
        priority: u32,
    } {
        name: String,
    }
}
