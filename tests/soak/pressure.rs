//! The runtime in a cgroup of its own whose limit is near what it needs: of memory, or of
//! processes. At each limit it works, or says in one line what failed, or is killed by the
//! kernel. It never hangs, and `delete --force` leaves nothing.

use crate::machine;
use crate::place::Place;
use crate::worker::{self, Out, Result, call};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// Something that a cgroup limits.
#[derive(Clone, Copy)]
pub struct Limit {
    pub what: &'static str,
    controller: &'static str,
    /// The file of the limit on version 1 and on version 2.
    files: [&'static str; 2],
    /// The limits to try, as a range; in per cent of the peak for memory.
    from: u64,
    to: u64,
}

pub const LIMITS: [Limit; 2] = [
    Limit {
        what: "memory",
        controller: "memory",
        files: ["memory.limit_in_bytes", "memory.max"],
        from: 20,
        to: 200,
    },
    Limit { what: "processes", controller: "pids", files: ["pids.max", "pids.max"], from: 1, to: 6 },
];

/// Returns why this machine has no such limit.
pub fn unavailable(limit: Limit) -> Option<String> {
    let dir = machine::hierarchy(limit.controller);
    if !machine::is_v2() {
        return (!dir.is_dir()).then(|| format!("no hierarchy has the controller {}", limit.controller));
    }
    let enabled = fs::write(dir.join("cgroup.subtree_control"), format!("+{}", limit.controller));
    enabled.err().map(|e| format!("the controller {} can't be enabled: {e}", limit.controller))
}

/// How many attempts ended in which way.
#[derive(Default)]
struct Tally {
    done: u64,
    refused: u64,
    killed: u64,
}

/// Makes `rounds` attempts by `workers` threads, each at another limit.
pub fn sweep(place: &Place, limit: Limit, workers: u64, rounds: u64) -> Result<()> {
    let peak = if limit.controller == "memory" { peak(place)? } else { 100 };
    println!("    {}: limits from {} to {}", limit.what, peak * limit.from / 100, peak * limit.to / 100);
    let share = rounds.div_ceil(workers);
    let tallies: Vec<Result<Tally>> = thread::scope(|scope| {
        let attempts = |worker: u64| move || worker_loop(place, limit, peak, worker, share);
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(attempts(worker))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    worker::reap();
    let mut sum = Tally::default();
    for tally in tallies {
        let tally = tally?;
        sum.done += tally.done;
        sum.refused += tally.refused;
        sum.killed += tally.killed;
    }
    println!("    {} worked, {} were refused, {} were killed", sum.done, sum.refused, sum.killed);
    // Limits that were never felt, or never met, show nothing.
    if sum.done == 0 || sum.refused + sum.killed == 0 {
        return Err("the limits are not near what the runtime needs".into());
    }
    Ok(())
}

fn worker_loop(place: &Place, limit: Limit, peak: u64, worker: u64, share: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    for n in 0..share {
        // The workers' limits differ, and all of them cover the whole range.
        let step = if share < 2 { 0 } else { (limit.to - limit.from) * n / (share - 1) };
        let most = peak * (limit.from + step) / 100;
        let id = format!("{}p{worker}n{n}", place.token);
        attempt(
            place,
            limit,
            &id,
            most.max(1) + worker * 4096 * u64::from(limit.controller == "memory"),
            &mut tally,
        )
        .map_err(|e| format!("{} limited to {most}: {e}", limit.what))?;
    }
    Ok(tally)
}

/// The runtime's cgroup for one attempt.
struct Confined(PathBuf);

impl Confined {
    fn create(place: &Place, controller: &str, id: &str) -> Result<Confined> {
        let dir = machine::hierarchy(controller).join(format!("{}r{id}", place.token));
        fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Confined(dir))
    }

    /// Returns a command that enters the cgroup and executes `command`.
    fn command(&self, command: &Command) -> Command {
        let mut shell = Command::new("/bin/busybox");
        shell.args(["sh", "-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        shell.arg(command.get_program()).args(command.get_args());
        shell
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        // Whatever stays in it is found by the count.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Returns the most memory that the runtime needs for a container, in bytes.
fn peak(place: &Place) -> Result<u64> {
    let confined = Confined::create(place, "memory", "peak")?;
    let id = format!("{}peak", place.token);
    let bundle = place.bundle("peak", &["/bin/true"], Some(&format!("/{id}c")));
    let run = place.verb(&place.root(), &["run", "--bundle", path(&bundle), &id]);
    call(confined.command(&run), &place.log("peak"))?.ok("run")?;
    let file = if machine::is_v2() { "memory.peak" } else { "memory.max_usage_in_bytes" };
    let text = fs::read_to_string(confined.0.join(file)).map_err(|e| format!("{file}: {e}"))?;
    text.trim().parse().map_err(|e| format!("{file}: {e}"))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn attempt(place: &Place, limit: Limit, id: &str, most: u64, tally: &mut Tally) -> Result<()> {
    let confined = Confined::create(place, limit.controller, id)?;
    let file = confined.0.join(limit.files[usize::from(machine::is_v2())]);
    fs::write(&file, most.to_string()).map_err(|e| format!("{}: {e}", file.display()))?;
    // The container's cgroup is not below the runtime's.
    let bundle = place.bundle(id, &["/bin/true"], Some(&format!("/{id}c")));
    let log = place.log(id);
    let run = place.verb(&place.root(), &["run", "--bundle", path(&bundle), id]);
    let out = call(confined.command(&run), &log)?;
    classify(&out, tally)?;
    call(place.verb(&place.root(), &["delete", "--force", id]), &log)?.ok("delete --force")?;
    if place.root().join(id).exists() {
        return Err("its state is left".into());
    }
    let _ = fs::remove_file(&log);
    fs::remove_dir_all(&bundle).map_err(|e| format!("{}: {e}", bundle.display()))
}

fn classify(out: &Out, tally: &mut Tally) -> Result<()> {
    let lines = out.stderr.lines().count();
    match (out.status.code(), out.status.signal()) {
        (Some(0), _) if lines == 0 => tally.done += 1,
        (_, Some(libc::SIGKILL)) => tally.killed += 1,
        // The payload, or the shell before the runtime, was killed.
        (Some(137), _) if lines == 0 => tally.killed += 1,
        (Some(code), _) if code != 0 && lines == 1 => tally.refused += 1,
        _ => return Err(out.describe("neither success nor one clear line")),
    }
    Ok(())
}
