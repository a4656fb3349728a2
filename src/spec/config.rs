//! `config.json` as it is written (config.md, config-linux.md).
//!
//! Own types, not oci-spec's, for three reasons that were measured or hit: its
//! types refuse what runc takes and engines send (unknown capabilities, which
//! the specification wants warned about; `null`; empty device types), they
//! parse half as fast, and they bring the regex crate along, which is more
//! than all the rest of the binary (4.4 MB with it against 1.9 MB). oci-spec
//! is the oracle of the tests instead.
//!
//! Names are kept as strings and numbers as wide as JSON has them: what they
//! mean is for the resolver to say, with a pointer. Absent, `null` and empty
//! are the same, as in the Go types that engines write these files with.
//!
//! A key that is not here is an error to these types, which costs nothing to
//! find; `parse.rs` then takes the key out, with a warning, as the
//! specification has unknown keys ignored. [`Shape`] tells it what is here.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// `null` for a list or a map is Go's way to write an empty one.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// Present or not; the content is for a version that applies it.
pub type Unread = Option<IgnoredAny>;

/// What a configuration may hold, for those who have to know its keys.
pub trait Shape {
    /// Calls `found` with the place of everything below `at`. It is a JSON
    /// pointer with `*` for any element of a list and any key of a map.
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

fn any_of<T: Shape>(at: &str, found: &mut dyn FnMut(&str)) {
    let any = format!("{at}/*");
    found(&any);
    T::places(&any, found);
}

impl<T: Shape> Shape for Vec<T> {
    fn places(at: &str, found: &mut dyn FnMut(&str)) {
        any_of::<T>(at, found);
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn places(at: &str, found: &mut dyn FnMut(&str)) {
        any_of::<T>(at, found);
    }
}

/// The keys of a derived type, in the order of its fields. Nothing is read:
/// all it asks a format for is a struct with these keys.
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

/// Fields may be absent, but for those that stand in `required {}`: nobody who
/// leaves them out means 0 (the host's root, for a `hostID`), and every engine
/// writes them.
///
/// serde's derive takes a list for a struct, too: `"linux": []` would be one
/// without any fields. The visitor that asks for an object alone is the whole
/// of the difference; `remote` leaves the derived function to it.
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
        /// Until version 1.2, as the next.
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
        /// Empty is not the same as absent, which has a default.
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
        disable_oom_killer: bool,
        use_hierarchy: Option<bool>,
        check_before_update: bool,
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
