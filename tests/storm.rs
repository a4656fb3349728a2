//! Random verbs on a few ids, by many processes at once: none hangs, none says
//! anything that is not in the list here, and in the end nothing is left.
//!
//! The storm is a process of its own, which reaps what the verbs leave it: an init
//! whose pid namespace has a zombie doesn't end. It is the probe under another name, as
//! is each of its workers.

use crate::harness::{PidFd, Test, cgroups_named};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

cases![random_verbs_at_once];

/// Rounds, processes, operations of each, and ids: `STORM=50,16,150,3` is the long form.
fn size() -> String {
    let size = std::env::var("STORM").unwrap_or_else(|_| "2,8,15".into());
    // Without the number of ids, three: the processes meet on each.
    if size.split(',').count() < 4 { size + ",3" } else { size }
}

/// What a verb may print about a container that other processes use at the same time.
const DOCUMENTED: [&str; 22] = [
    "container does not exist",
    "container with given ID already exists",
    "the container is still being created",
    "container not running",
    "container not paused",
    "container process already exited",
    "cannot start a container that has stopped",
    "cannot start an already running container",
    "cannot start a container in the paused state",
    "that is not stopped: running",
    "that is not stopped: paused",
    "cannot exec in a stopped container",
    "cannot exec in a paused container",
    "is not running",
    // The process of an exec is killed with its container, or finds that the container has
    // ended.
    "the process ended",
    // The container was deleted with its cgroup after the verb read the record.
    "open the cgroup: ENOENT",
    "clone3: ENODEV",
    // The previous container of this id was paused, and is being removed.
    "container's cgroup unexpectedly frozen",
    "container's cgroup is not empty",
    "init was killed while it set up the container",
    "init was killed by signal 9",
    "the exec process was killed by signal 9",
];

fn random_verbs_at_once(t: &Test) {
    if !crate::harness::is_corten() {
        t.skip("the list of texts is corten's");
    }
    t.cgroupfs_only();
    let (pausing, short) = (t.bundle().pausing(), t.bundle().args(["/probe", "--exit", "0"]));
    let log = t.path("storm");
    let mut storm = Command::new(pausing.inside("/probe"));
    storm.arg("--storm").arg(&*t.runtime.borrow()).arg(t.root()).arg(pausing.lay()).arg(short.lay());
    storm.arg(&t.token).arg(size()).stdin(Stdio::null());
    let begun = begun(&t.root());
    storm.stdout(File::create(&log).unwrap()).stderr(Stdio::inherit());
    // The storm ends by itself, because each of its verbs has a time limit.
    let status = storm.status().expect("the storm");
    let said = fs::read_to_string(&log).unwrap();
    assert!(status.success(), "{said}");
    // Only documented errors would pass, too. So some verbs must succeed.
    let begun = fs::metadata(begun).expect("containers began").len();
    assert!(begun > 0, "no container was ever made: {said}");
    if std::env::var_os("STORM").is_some() {
        eprintln!("{said}");
    }
}

/// Receives a byte for every container that was created.
fn begun(root: &Path) -> PathBuf {
    root.with_file_name("begun")
}

/// The parameters of a storm and of its workers.
struct Place<'a> {
    runtime: &'a str,
    root: &'a Path,
    pausing: &'a str,
    short: &'a str,
    token: &'a str,
    ids: u64,
}

impl<'a> Place<'a> {
    /// The last argument has numbers; the last of these is the number of ids.
    fn of(args: &'a [String]) -> (Place<'a>, Vec<u64>) {
        let mut numbers: Vec<u64> =
            args[5].split(',').map(|number| number.parse().expect("a number")).collect();
        let place = Place {
            runtime: &args[0],
            root: Path::new(&args[1]),
            pausing: &args[2],
            short: &args[3],
            token: &args[4],
            ids: numbers.pop().filter(|ids| *ids > 0).expect("a number of ids"),
        };
        (place, numbers)
    }

    fn id(&self, n: u64) -> String {
        format!("{}storm{n}x", self.token)
    }

    fn call(&self, args: &[&str], output: &Path) -> Child {
        let file = || File::create(output).expect("an output file");
        let mut call = Command::new(self.runtime);
        call.arg("--root").arg(self.root).args(args).stdin(Stdio::null());
        call.stdout(Stdio::null()).stderr(file()).spawn().expect("spawn the runtime")
    }
}

/// The storm: rounds of workers, and a check of what they leave.
#[expect(clippy::zombie_processes, reason = "they are reaped by their numbers, among all others")]
pub fn main(args: &[String]) -> i32 {
    nix::sys::prctl::set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER");
    let (place, size) = Place::of(args);
    let me = std::env::current_exe().expect("this program");
    let mut failures = 0;
    for round in 0..size[0] {
        let workers: Vec<i32> = (0..size[1])
            .map(|worker| {
                let seed = round * 1000 + worker + 1;
                let mut command = Command::new(&me);
                command
                    .arg("--storm-worker")
                    .args(&args[..5])
                    .arg(format!("{seed},{},{}", size[2], place.ids));
                command.spawn().expect("a worker").id() as i32
            })
            .collect();
        failures += reap(workers);
        for id in (0..place.ids).map(|n| place.id(n)) {
            let output = place.root.with_file_name("delete.err");
            let delete = place.call(&["delete", "--force", &id], &output);
            let failed = reap(vec![delete.id() as i32]);
            let said = fs::read_to_string(&output).unwrap_or_default();
            if failed > 0 || !said.is_empty() {
                println!("round {round}: delete --force {id}: {said}");
                failures += 1;
            }
        }
        let left: Vec<_> =
            fs::read_dir(place.root).into_iter().flatten().flatten().map(|e| e.path()).collect();
        let cgroups = cgroups_named(place.token);
        if !left.is_empty() || !cgroups.is_empty() {
            println!("round {round}: left behind: {left:?} {cgroups:?}");
            failures += 1;
        }
    }
    println!(
        "{} rounds, {} processes, {} operations each, {} ids: {failures} failures",
        size[0], size[1], size[2], place.ids
    );
    i32::from(failures > 0)
}

/// Reaps every child until all of `awaited` have ended. Returns how many of those failed.
fn reap(mut awaited: Vec<i32>) -> u64 {
    let mut failed = 0;
    while !awaited.is_empty() {
        let (pid, is_good) = match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code == 0),
            Ok(WaitStatus::Signaled(pid, ..)) => (pid.as_raw(), false),
            _ => continue,
        };
        if awaited.contains(&pid) {
            awaited.retain(|other| *other != pid);
            failed += u64::from(!is_good);
        }
    }
    failed
}

/// A worker. Reports output that is not documented.
pub fn worker(args: &[String]) -> i32 {
    let (place, numbers) = Place::of(args);
    let mut random = numbers[0] | 1;
    let mut next = |below: usize| {
        // Marsaglia's xorshift.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let output = place.root.with_file_name(format!("worker{}.err", std::process::id()));
    let mut wrong: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..numbers[1] {
        let id = place.id(next(place.ids as usize) as u64);
        let id = id.as_str();
        let bundle = [place.pausing, place.short][next(2)];
        let verbs: [&[&str]; 24] = [
            &["create", "--bundle", bundle, id],
            &["create", "--bundle", bundle, id],
            &["run", "--detach", "--bundle", bundle, id],
            &["run", "--bundle", place.short, id],
            &["start", id],
            &["start", id],
            &["exec", id, "/probe", "--exit", "0"],
            &["exec", "--detach", id, "/probe", "--pause"],
            &["kill", id, "TERM"],
            &["kill", id, "KILL"],
            &["kill", id, "0"],
            &["kill", "--all", id, "KILL"],
            &["pause", id],
            &["resume", id],
            &["resume", id],
            &["update", "--pids-limit", "50", id],
            &["ps", "--format", "json", id],
            &["state", id],
            &["list", "--format", "json"],
            &["events", "--stats", id],
            &["delete", id],
            &["delete", id],
            &["delete", "--force", id],
            &["delete", "--force", id],
        ];
        let verb = verbs[next(verbs.len())];
        let mut call = place.call(verb, &output);
        if !until_it_ends(&place, verb, id, &call) {
            *wrong.entry(format!("{verb:?} hangs")).or_default() += 1;
            let _ = call.kill();
        }
        let is_good = call.wait().is_ok_and(|status| status.success());
        if is_good && matches!(verb[0], "create" | "run") {
            let mut begun = File::options().create(true).append(true).open(begun(place.root)).unwrap();
            begun.write_all(b".").unwrap();
        }
        let said = fs::read_to_string(&output).unwrap_or_default();
        for line in said.lines().filter(|line| !DOCUMENTED.iter().any(|text| line.contains(text))) {
            *wrong.entry(format!("{}: {}", verb[0], line.replace(place.token, ""))).or_default() += 1;
        }
    }
    let _ = fs::remove_file(&output);
    wrong.iter().for_each(|(text, count)| println!("{count} times: {text}"));
    i32::from(!wrong.is_empty())
}

/// A `run` of a paused container waits until another process resumes or deletes it. The
/// other workers may have ended, so this process does it.
fn until_it_ends(place: &Place, verb: &[&str], id: &str, call: &Child) -> bool {
    let process = PidFd::open(call.id() as i32);
    if !matches!(verb[0], "run" | "exec" | "start") {
        return process.ended();
    }
    let null = Path::new("/dev/null");
    while !process.ends_within(std::time::Duration::from_secs(2)) {
        let mut delete = place.call(&["delete", "--force", id], null);
        let ended = PidFd::open(delete.id() as i32).ended();
        let _ = delete.kill();
        let _ = delete.wait();
        if !ended {
            return false;
        }
    }
    true
}
