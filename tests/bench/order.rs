//! `make order`: finds the functions that the verbs execute, by single steps, and writes the
//! linker script that puts them next to each other (src/hot.ld). README.md explains why.

use crate::guard::{self, Guard};
use crate::options::Options;
use crate::place::{self, Job, Layout, Place};
use crate::runtimes::Runtime;
use crate::tracer::{self, Command, Ended};
use crate::{container, instructions, registers};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The limit for one command.
const LIMIT: Duration = Duration::from_secs(180);

/// The commands in the order of their code in the program: the small ones first, so that they
/// touch the fewest pages.
const COMMANDS: [&str; 9] =
    ["--version", "state", "kill", "delete", "start", "exec", "create", "run", "list"];

const HEAD: &str = "\
/* The functions that the verbs execute, next to each other: each page fault on code maps 64 KiB. Made by `make order`,
   not by hand. A name that no longer exists does no harm. See tests/bench/README.md, \"The order of the code\". */
SECTIONS
{
  .text.hot :
  {
    *crt1.o(.text)
";
const TAIL: &str = "  }\n}\nINSERT BEFORE .text;\n";

pub fn outside(
    options: &Options,
    script: &Path,
    programs: container::Programs,
    runtimes: Vec<Runtime>,
) -> Result<()> {
    let runtimes: Vec<Runtime> = runtimes.into_iter().filter(|r| r.name == "corten").collect();
    let corten = runtimes.first().context("CORTEN is none")?.clone();
    ensure!(instructions::ARE_COUNTED, "a program can't be executed step by step on this architecture");
    let functions = Functions::read_symbols(&corten.path)?;
    let executed = place::run_inside(Layout::V2, &Job { options: options.clone(), programs, runtimes })?;
    let executed: BTreeMap<String, Vec<u64>> = serde_json::from_value(executed)?;
    let mut patterns = Vec::new();
    let mut known = HashSet::new();
    for command in COMMANDS {
        let functions = executed[command].iter().filter_map(|address| functions.find(*address));
        patterns.extend(functions.map(pattern).filter(|pattern| known.insert(pattern.clone())));
    }
    let mut text = HEAD.to_owned();
    for pattern in &patterns {
        if pattern.starts_with("_ZN") || pattern.starts_with("_R") {
            // Or `.text.unlikely.NAME`.
            writeln!(text, "    *(.text.*{pattern})")?;
        } else {
            // musl's assembly has one function in each file, and no name for its section.
            writeln!(text, "    *(.text.{pattern}) *libc.a:{pattern}.*(.text)")?;
        }
    }
    text += TAIL;
    fs::write(script, text).with_context(|| format!("writing {}", script.display()))?;
    println!("{}: {} functions", script.display(), patterns.len());
    Ok(())
}

/// Returns, for each command, the addresses of its instructions, in the order of their first
/// execution.
pub fn inside(place: &Place, job: &Job) -> Result<Value> {
    guard::prepare()?;
    instructions::stay_on_one_cpu()?;
    let corten = job.runtimes.first().context("no corten")?;
    let entry = entry_of(&fs::read(&corten.path)?)?;
    let guard = Guard::new(place, job)?;
    let mut bases = HashMap::new();
    let executed = guard.run_lifecycle(|name, _| {
        let (ended, addresses) = trace(&Command::new(guard.words(name)), entry, &mut bases)?;
        guard::succeeded(&ended)?;
        Ok(addresses)
    })?;
    Ok(serde_json::to_value(executed)?)
}

/// The functions of a program, ascending by address.
struct Functions(Vec<(u64, u64, String)>);

impl Functions {
    fn read_symbols(program: &Path) -> Result<Self> {
        let nm = std::process::Command::new("nm").args(["-n", "-S", "--defined-only"]).arg(program).output();
        let nm = nm.context("nm (package binutils)")?;
        ensure!(nm.status.success(), "nm: {}", String::from_utf8_lossy(&nm.stderr));
        let text = String::from_utf8_lossy(&nm.stdout);
        let parse_hex = |word: &str| u64::from_str_radix(word, 16).ok();
        let functions: Vec<_> = text
            .lines()
            .filter_map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                let (address, size, kind, name) = match words[..] {
                    [address, size, kind, name] => (address, parse_hex(size)?, kind, name),
                    // Assembly gives no size. Such a function ends at the next symbol.
                    [address, kind, name] => (address, u64::MAX, kind, name),
                    _ => return None,
                };
                let is_code = matches!(kind, "t" | "T" | "w" | "W");
                is_code.then_some((parse_hex(address)?, size, name.to_owned()))
            })
            .collect();
        ensure!(!functions.is_empty(), "{} has no symbols: run `make order`", program.display());
        Ok(Self(functions))
    }

    fn find(&self, address: u64) -> Option<&str> {
        let after = self.0.partition_point(|(start, ..)| *start <= address);
        let (start, size, name) = self.0.get(after.checked_sub(1)?)?;
        (address - start < *size).then_some(name.as_str())
    }
}

/// Returns the pattern of a function's section. Hashes depend on the compiler, so they become
/// `*`: `17h0123456789abcdefE` at the end of a name, the `CsHASH_` of each crate in a name of
/// the newer kind (`_R`), and the number of a clone after the name.
fn pattern(name: &str) -> String {
    const HASH: usize = "17h0123456789abcdefE".len();
    if let Some(at) = name.rfind("17h").filter(|_| name.starts_with("_ZN")) {
        let clone = if name.len() > at + HASH { ".*" } else { "" };
        return format!("{}17h*E{clone}", &name[..at]);
    }
    let (name, clone) = name.split_once('.').map_or((name, ""), |(name, _)| (name, ".*"));
    if name.starts_with("_R") { without_crate_hashes(name) + clone } else { name.to_owned() + clone }
}

fn without_crate_hashes(name: &str) -> String {
    let mut parts = name.split("Cs");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += "Cs";
        match part.split_once('_') {
            Some((hash, rest))
                if rest.starts_with(|c: char| c.is_ascii_digit())
                    && hash.chars().all(|c| c.is_ascii_alphanumeric()) =>
            {
                out += "*_";
                out += rest;
            }
            _ => out += part,
        }
    }
    out
}

/// Returns the address of the entry point in a 64-bit ELF file.
fn entry_of(elf: &[u8]) -> Result<u64> {
    Ok(u64::from_ne_bytes(elf.get(24..32).context("no ELF file")?.try_into()?))
}

/// Returns the load address of the program with the entry point `entry` in the process. `None`:
/// the process executes another program.
fn base_of(pid: i32, entry: u64) -> Option<u64> {
    let words = fs::read(format!("/proc/{pid}/auxv")).ok()?;
    let words: Vec<u64> =
        words.chunks_exact(8).filter_map(|word| word.try_into().ok().map(u64::from_ne_bytes)).collect();
    let at = words.chunks_exact(2).find(|pair| pair[0] == libc::AT_ENTRY)?[1];
    at.checked_sub(entry).filter(|base| base % 4096 == 0)
}

/// Executes the command step by step, with its children, until it ends or they execute another
/// program.
fn trace(command: &Command, entry: u64, bases: &mut HashMap<i32, u64>) -> Result<(Ended, Vec<u64>)> {
    let (out, err) = (tracer::memory_file(), tracer::memory_file());
    let (gate, opener) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let first = command.fork(gate.as_raw_fd(), out.as_raw_fd(), err.as_raw_fd());
    let options = libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_EXITKILL;
    let seized = tracer::ptrace(libc::PTRACE_SEIZE, first, 0, options as usize);
    ensure!(seized == 0, "PTRACE_SEIZE: {}", std::io::Error::last_os_error());
    nix::unistd::write(&opener, &[0])?;
    let mut steps =
        Steps { entry, bases, early: HashSet::new(), seen: HashSet::new(), addresses: Vec::new() };
    let status = steps.follow(first)?;
    let (stdout, stderr) = (tracer::content(&out), tracer::content(&err));
    Ok((Ended { code: tracer::code(status), stdout, stderr, ..Ended::default() }, steps.addresses))
}

struct Steps<'a> {
    entry: u64,
    /// The load address of the program in each traced process. Init is traced from `create`
    /// until it executes the payload.
    bases: &'a mut HashMap<i32, u64>,
    /// Children that stopped before the event of their parent.
    early: HashSet<i32>,
    seen: HashSet<u64>,
    addresses: Vec<u64>,
}

impl Steps<'_> {
    /// Returns the wait status of the process `first`.
    fn follow(&mut self, first: i32) -> Result<i32> {
        let until = Instant::now() + LIMIT;
        loop {
            match tracer::next_status() {
                Some((pid, status)) if !tracer::has_ended(status) => self.stopped(pid, status),
                Some((pid, status)) if pid == first => return Ok(status),
                Some((pid, _)) => drop(self.bases.remove(&pid)),
                None => drop(tracer::wait_for_child(until)),
            }
            ensure!(Instant::now() < until, "still running after {} s", LIMIT.as_secs());
        }
    }

    fn stopped(&mut self, pid: i32, status: i32) {
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let mut passed_on = 0;
        match event {
            0 if signal == libc::SIGTRAP => self.record(pid),
            0 => passed_on = signal.unsigned_abs() as usize,
            libc::PTRACE_EVENT_EXEC => match base_of(pid, self.entry) {
                Some(base) => drop(self.bases.insert(pid, base)),
                None => {
                    self.bases.remove(&pid);
                    tracer::ptrace(libc::PTRACE_DETACH, pid, 0, 0);
                    return;
                }
            },
            libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => self.forked(pid),
            // A child that begins.
            libc::PTRACE_EVENT_STOP if !self.bases.contains_key(&pid) => {
                self.early.insert(pid);
                return;
            }
            _ => {}
        }
        let request = if self.bases.contains_key(&pid) { libc::PTRACE_SINGLESTEP } else { libc::PTRACE_CONT };
        tracer::ptrace(request, pid, 0, passed_on);
    }

    /// Follows the child of `pid` from its first instruction on.
    fn forked(&mut self, pid: i32) {
        let mut child: libc::c_ulong = 0;
        tracer::ptrace(libc::PTRACE_GETEVENTMSG, pid, 0, (&raw mut child).expose_provenance());
        let (Some(base), Ok(child)) = (self.bases.get(&pid).copied(), i32::try_from(child)) else { return };
        self.bases.insert(child, base);
        if self.early.remove(&child) {
            tracer::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0);
        }
    }

    fn record(&mut self, pid: i32) {
        let at = registers::instruction_pointer(pid);
        if let (Some(at), Some(base)) = (at, self.bases.get(&pid)) {
            let address = at.wrapping_sub(*base);
            if self.seen.insert(address) {
                self.addresses.push(address);
            }
        }
    }
}
