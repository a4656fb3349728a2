//! What there is on the machine, counted before and after a phase, and the bounds of growth.

use crate::machine;
use crate::place::Place;
use crate::worker;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::process::Command;

/// Texts of the kernel's log that tell of a fault of the kernel.
const ALARMS: [&str; 7] =
    ["BUG", "WARNING:", "Oops", "blocked for more than", "general protection", "leaked", "stall"];

#[derive(Debug, Clone, Default)]
pub struct Census {
    /// Things of the soak itself. None may be more afterwards than before.
    pub own: BTreeMap<&'static str, u64>,
    /// Counts of the whole machine, on which other programs run, too.
    pub shared: BTreeMap<&'static str, u64>,
    /// Memory in KiB: what /proc/meminfo says.
    pub memory: BTreeMap<&'static str, u64>,
    /// By the name of the slab cache, KiB of its objects in use.
    slabs: BTreeMap<String, u64>,
    alarms: BTreeSet<String>,
}

/// Lines of /proc/meminfo. The kernel gives none of the first three back on demand.
const MEMORY: [&str; 6] =
    ["SUnreclaim", "Percpu", "KernelStack", "SReclaimable", "PageTables", "MemAvailable"];
const UNRECLAIMABLE: [&str; 3] = ["SUnreclaim", "Percpu", "KernelStack"];

impl Census {
    pub fn take(place: &Place) -> Census {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processes = processes();
        let zombies = processes.iter().filter(|(_, state)| *state == 'Z').count();
        let count = |path| fs::read_dir(path).map_or(0, Iterator::count) as u64;
        let own = [
            ("processes", processes.len() as u64),
            ("zombies", zombies as u64),
            ("mounts", read("/proc/self/mountinfo").lines().count() as u64),
            ("descriptors", count("/proc/self/fd".into())),
            ("cgroups of its name", machine::cgroups_named(&place.token).len() as u64),
            ("state directories", count(place.root())),
        ];
        let shared = [
            ("cgroups of the kernel, dying ones too", kernel_cgroups()),
            ("open files", read("/proc/sys/fs/file-nr").split_whitespace().next().map_or(0, number)),
            ("keys of root", root_keys(&read("/proc/key-users"))),
        ];
        let meminfo = read("/proc/meminfo");
        let memory = MEMORY.map(|name| (name, memory_line(&meminfo, name)));
        let log = Command::new("dmesg").output().map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        let log = log.unwrap_or_default();
        let alarms = log.lines().filter(|line| ALARMS.iter().any(|alarm| line.contains(alarm)));
        Census {
            own: own.into(),
            shared: shared.into(),
            memory: memory.into(),
            slabs: slabs(&read("/proc/slabinfo")),
            alarms: alarms.map(str::to_owned).collect(),
        }
    }

    /// Returns what has grown beyond its bound since `before`, while `containers` containers
    /// came and went.
    pub fn growth(&self, before: &Census, containers: u64) -> Vec<String> {
        let mut out = Vec::new();
        let mut compare = |name: &str, was: u64, is: u64, bound: u64, unit: &str| {
            if is > was + bound {
                out.push(format!("{name}: {was} -> {is}{unit}, allowed are {bound} more"));
            }
        };
        for (name, was) in &before.own {
            compare(name, *was, self.own[name], 0, "");
        }
        for (name, was) in &before.shared {
            compare(name, *was, self.shared[name], shared_bound(containers), "");
        }
        let unreclaimable = |census: &Census| UNRECLAIMABLE.iter().map(|name| census.memory[name]).sum();
        let bound = memory_bound(containers);
        compare(
            "memory that the kernel can't reclaim",
            unreclaimable(before),
            unreclaimable(self),
            bound,
            " KiB",
        );
        out.extend(self.alarms.difference(&before.alarms).map(|line| format!("the kernel's log: {line}")));
        out
    }

    /// Returns what of the soak itself is there although no container is.
    pub fn leftovers(&self) -> Vec<String> {
        let expected =
            [("processes", 1), ("zombies", 0), ("cgroups of its name", 0), ("state directories", 0)];
        let more = expected.iter().filter(|(name, most)| self.own[name] > *most);
        more.map(|(name, _)| format!("{name}: {}", self.own[name])).collect()
    }

    /// Prints the counts before and after, and the slab caches that grew most.
    pub fn print_since(&self, before: &Census) {
        let row = |name: &str, was: u64, is: u64| {
            println!("    {name:<38} {was:>12} {is:>12} {:>+10}", is.cast_signed() - was.cast_signed());
        };
        println!("    {:<38} {:>12} {:>12} {:>10}", "", "before", "after", "growth");
        before.own.iter().for_each(|(name, was)| row(name, *was, self.own[name]));
        before.shared.iter().for_each(|(name, was)| row(name, *was, self.shared[name]));
        for name in MEMORY {
            row(&format!("{name} (KiB)"), before.memory[name], self.memory[name]);
        }
        let mut grown: Vec<_> = self
            .slabs
            .iter()
            .map(|(name, is)| {
                (is.cast_signed() - before.slabs.get(name).copied().unwrap_or(0).cast_signed(), name)
            })
            .collect();
        grown.sort();
        let top: Vec<_> = grown.iter().rev().take(5).map(|(by, name)| format!("{name} {by:+}")).collect();
        println!("    slab caches that grew most (KiB): {}", top.join(", "));
        println!("    new alarms in the kernel's log: {}", self.alarms.difference(&before.alarms).count());
    }
}

/// How much a count of the whole machine may grow: what other programs do, and one for a
/// hundred containers. One for each container is far beyond it.
fn shared_bound(containers: u64) -> u64 {
    200 + containers / 100
}

/// How many KiB may be gone: 48 MiB of noise, and 256 bytes for each container. A
/// cgroup, a mount or a namespace that stays takes kilobytes.
fn memory_bound(containers: u64) -> u64 {
    48 * 1024 + containers / 4
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn memory_line(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()).map_or(0, number)
}

/// The largest number of cgroups in a hierarchy. It has those that are removed, and that
/// something still holds.
fn kernel_cgroups() -> u64 {
    let text = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    text.lines().filter_map(|line| line.split_whitespace().nth(2)).map(number).max().unwrap_or(0)
}

/// The keys that exist of uid 0: the second number of `used/instantiated`.
fn root_keys(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("0:"));
    line.and_then(|rest| rest.split_whitespace().nth(1))
        .and_then(|pair| pair.split('/').next())
        .map_or(0, number)
}

/// Lines `name active_objs num_objs objsize ...` below two lines of heading.
fn slabs(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (name, active) = (fields.next()?, number(fields.next()?));
        Some((name.to_owned(), active * number(fields.nth(1)?) / 1024))
    };
    text.lines().skip(2).filter_map(line).collect()
}

/// The processes of the soak's pid namespace, and the state of each.
fn processes() -> Vec<(u32, char)> {
    let stat = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read(entry.path().join("stat")).ok()?;
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        Some((pid, char::from(*stat.get(end + 2)?)))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    // dmesg has ended, and threads have no entry of their own.
    entries.filter_map(stat).collect()
}

/// Leaves one of each thing behind, and requires that the count finds each. Then cleans up.
pub fn finds_leftovers(place: &Place) -> worker::Result<()> {
    let before = Census::take(place);
    let cgroup = machine::hierarchy("pids").join(format!("{}left", place.token));
    let (mounted, state) = (place.work.join("left"), place.root().join("left"));
    fs::create_dir(&cgroup).map_err(|e| format!("{}: {e}", cgroup.display()))?;
    fs::create_dir(&mounted).and_then(|()| fs::create_dir(&state)).map_err(|e| e.to_string())?;
    mount(Some("tmpfs"), &mounted, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .map_err(|e| e.to_string())?;
    let file = File::open("/proc/self/stat").map_err(|e| e.to_string())?;
    let mut sleeper = Command::new("sleep").arg("1000").spawn().map_err(|e| e.to_string())?;
    let mut zombie = Command::new("true").spawn().map_err(|e| e.to_string())?;
    // Waits for its end, and leaves it a zombie.
    let id = nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(zombie.id().cast_signed()));
    let flags = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
    nix::sys::wait::waitid(id, flags).map_err(|e| e.to_string())?;
    let mut found = Census::take(place).growth(&before, 0);
    // What is too large to be left on purpose: one of each for every container.
    let mut more = before.clone();
    more.shared.values_mut().for_each(|count| *count += 1000);
    *more.memory.get_mut("Percpu").expect("counted") += 1000 * 64;
    found.extend(more.growth(&before, 1000));
    drop(file);
    let _ = sleeper.kill();
    let _ = (sleeper.wait(), zombie.wait());
    umount2(&mounted, MntFlags::MNT_DETACH).map_err(|e| e.to_string())?;
    for dir in [cgroup, mounted, state] {
        fs::remove_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    let wanted =
        before.own.keys().chain(before.shared.keys()).chain([&"memory that the kernel can't reclaim"]);
    let missed: Vec<_> = wanted.filter(|name| !found.iter().any(|line| line.starts_with(**name))).collect();
    if missed.is_empty() { Ok(()) } else { Err(format!("not found: {missed:?}; found: {found:?}")) }
}
