//! The points of a verb, the checks after each, and what they found.

use super::calls;
use super::cases::{InitRole, Verb};
use super::random::Random;
use super::tracer::{Beside, Ended, Fault, Hit, Kind, Made};
use super::world::{BOUND, Variant, World};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub struct Options {
    /// For how long random points are tried. `None`: all are tried.
    pub seconds: Option<u64>,
    pub seed: u64,
    pub verbose: bool,
    /// Whether to run without the jail.
    pub no_jail: bool,
    pub names: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seed = now.as_secs() ^ u64::from(std::process::id());
        Options { seconds: None, seed, verbose: false, no_jail: false, names: Vec::new() }
    }
}

impl Options {
    pub fn wants(&self, variant: Variant, verb: &str) -> bool {
        let case = format!("{}/{verb}/", variant.name());
        self.names.is_empty() || self.names.iter().any(|name| case.contains(name) || name.starts_with(&case))
    }

    pub fn wants_point(&self, point: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| point.contains(name))
    }
}

/// What went wrong at a point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Flaw {
    /// Something is left after `delete --force`, or after a failed `create` or `run`.
    Residue,
    /// The id can't be used for a new container.
    Unusable,
    /// The error is not one line, or does not name the errno.
    Unclear,
    /// The verb reports success, and the container does not work.
    Broken,
    /// A verb does not end.
    Hang,
}

impl Flaw {
    pub fn name(self) -> &'static str {
        match self {
            Flaw::Residue => "residue",
            Flaw::Unusable => "unusable",
            Flaw::Unclear => "unclear",
            Flaw::Broken => "broken",
            Flaw::Hang => "hang",
        }
    }
}

pub struct Finding {
    /// VARIANT/VERB/PROCESS/INDEX:CALL/ERRNO
    pub point: String,
    pub flaw: Flaw,
    pub detail: String,
}

/// The figures of one verb and variant.
#[derive(Default)]
pub struct Tally {
    pub variant: &'static str,
    pub verb: &'static str,
    /// System calls of all processes in a run without a fault.
    pub calls: usize,
    pub kills: usize,
    pub errnos: usize,
    /// Damaged states and full disks.
    pub damages: usize,
    /// Points at which the process had ended before, or made another call.
    pub missed: usize,
    /// Errnos that the verb reported.
    pub refused: usize,
    /// Errnos with which the verb succeeded.
    pub tolerated: usize,
    pub flaws: BTreeMap<Flaw, usize>,
    /// The longest time that the verb took.
    pub longest: Duration,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.calls += other.calls;
        self.kills += other.kills;
        self.errnos += other.errnos;
        self.missed += other.missed;
        self.damages += other.damages;
        self.refused += other.refused;
        self.tolerated += other.tolerated;
        self.longest = self.longest.max(other.longest);
        for (flaw, count) in &other.flaws {
            *self.flaws.entry(*flaw).or_default() += count;
        }
    }
}

/// The same points for the same seed.
pub fn random(seed: u64) -> Random {
    Random(seed.max(1))
}

pub fn shuffle<T>(random: &mut Random, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

struct Trial<'a> {
    world: &'a World,
    verb: &'a Verb,
    options: &'a Options,
    tally: Tally,
    findings: &'a mut Vec<Finding>,
    point: String,
}

/// Tries the points of a verb: all, or for `share` random ones.
pub fn try_all(
    world: &World,
    verb: &Verb,
    options: &Options,
    share: Option<Duration>,
    findings: &mut Vec<Finding>,
) -> Tally {
    let began = Instant::now();
    let tally = Tally { variant: world.variant.name(), verb: verb.name, ..Tally::default() };
    let mut trial = Trial { world, verb, options, tally, findings, point: String::new() };
    let calls = trial.without_a_fault();
    trial.tally.calls = calls.iter().map(Vec::len).sum();
    let mut faults = Vec::new();
    let mut random = random(options.seed);
    for (process, calls) in calls.iter().enumerate() {
        for (call, made) in calls.iter().enumerate() {
            let mut kinds = vec![Kind::Kill];
            match share {
                Some(_) if made.errnos.is_empty() => {}
                Some(_) => kinds.push(Kind::Errno(made.errnos[random.below(made.errnos.len())])),
                None => kinds.extend(made.errnos.iter().copied().map(Kind::Errno)),
            }
            faults.extend(kinds.into_iter().map(|kind| Fault { process, call, number: made.number, kind }));
        }
    }
    if share.is_some() {
        shuffle(&mut random, &mut faults);
    }
    for fault in faults {
        if share.is_some_and(|share| began.elapsed() > share) {
            break;
        }
        trial.point = trial.name(fault);
        if options.wants_point(&trial.point) {
            trial.one(fault);
        }
    }
    trial.tally
}

impl Trial<'_> {
    fn name(&self, fault: Fault) -> String {
        let errno = match fault.kind {
            Kind::Kill => "SIGKILL".to_owned(),
            Kind::Errno(errno) => calls::errno_name(errno),
        };
        let (variant, verb) = (self.world.variant.name(), self.verb.name);
        format!("{variant}/{verb}/{}/{}:{}/{errno}", fault.process, fault.call, calls::name(fault.number))
    }

    fn found(&mut self, flaw: Flaw, detail: impl Into<String>) {
        let detail = detail.into().replace(&self.world.id, "ID");
        if self.options.verbose {
            println!("{}: {}: {detail}", self.point, flaw.name());
        }
        *self.tally.flaws.entry(flaw).or_default() += 1;
        self.findings.push(Finding { point: self.point.clone(), flaw, detail });
    }

    /// The system calls of each process. The verb must succeed, or the cases are wrong.
    fn without_a_fault(&self) -> Vec<Vec<Made>> {
        let (world, verb) = (self.world, self.verb);
        let (pid, kept) = verb.prepare(world).expect("a container");
        let words = verb.words(world);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let (traced, output) = world.verb(&words).trace(None, self.beside(pid), BOUND);
        let ended = &traced.ended;
        assert!((verb.succeeded)(ended.code) && ended.hang.is_empty(), "{}: {ended:?}", verb.name);
        let output = kept.unwrap_or(output);
        (verb.check)(world, pid, ended, &output).unwrap_or_else(|why| panic!("{}: {why}", verb.name));
        world.delete().expect("delete");
        assert_eq!(world.left(), Vec::<String>::new(), "left without a fault");
        traced.calls
    }

    fn beside(&self, pid: i32) -> Beside {
        match self.verb.init {
            InitRole::None => Beside::None,
            InitRole::Traced => Beside::Traced(pid),
            InitRole::KilledAtPoll => Beside::KilledAtPoll(pid),
        }
    }

    fn one(&mut self, fault: Fault) {
        let (world, verb) = (self.world, self.verb);
        let prepared = verb.prepare(world);
        let (pid, kept) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => {
                self.found(Flaw::Unusable, why);
                return world.clean_up();
            }
        };
        let words = verb.words(world);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let (traced, output) = world.verb(&words).trace(Some(fault), self.beside(pid), BOUND);
        match fault.kind {
            Kind::Kill => self.tally.kills += 1,
            Kind::Errno(_) => self.tally.errnos += 1,
        }
        let ended = &traced.ended;
        if self.options.verbose {
            println!("{}: {:?} -> {ended:?}", self.point, traced.hit);
        }
        self.tally.longest = self.tally.longest.max(ended.took);
        self.tally.missed += usize::from(traced.hit.is_none());
        self.look_at(&traced.hit, ended, pid, &kept.unwrap_or(output));
        self.look_after(fault);
    }

    /// What the verb says and what it has done.
    fn look_at(&mut self, hit: &Option<Hit>, ended: &Ended, pid: i32, output: &super::tracer::Output) {
        if !ended.hang.is_empty() {
            return self.found(Flaw::Hang, ended.hang.join("; "));
        }
        let errno = hit.and_then(|hit| hit.errno);
        let world = self.world;
        if hit.is_some_and(|hit| hit.process == 0 && hit.errno.is_none()) {
            if let Err(why) = (self.verb.check_killed)(world, pid) {
                self.found(Flaw::Broken, format!("after the verb was killed: {why}"));
            }
            return;
        }
        let is_believed = errno.is_some_and(calls::tells_of_presence);
        if (self.verb.succeeded)(ended.code) {
            if errno.is_some() {
                self.tally.tolerated += 1;
            }
            // A container whose init was killed has ended. That is no fault of the verb.
            if hit.is_none_or(|hit| hit.errno.is_some())
                && !is_believed
                && let Err(why) = (self.verb.check)(world, pid, ended, output)
            {
                self.found(Flaw::Broken, format!("{why}; stderr {:?}", ended.stderr));
            }
            return;
        }
        if errno.is_some() {
            self.tally.refused += 1;
        }
        if let Some(why) = unclear(ended, errno.filter(|_| !is_believed)) {
            self.found(Flaw::Unclear, format!("{why}: exit status {}, {:?}", ended.code, ended.stderr));
        }
        if errno.is_some()
            && !is_believed
            && let Err(why) = (self.verb.check_failed)(world, pid)
        {
            self.found(Flaw::Broken, format!("after a failed {}: {why}; {:?}", self.verb.name, ended.stderr));
        }
        // A `run` whose payload has run is no failed creation: the record stays for `delete`.
        if self.verb.creates() && !is_believed && !ended.stdout.contains("ok") {
            let left = world.left();
            if !left.is_empty() {
                self.found(
                    Flaw::Residue,
                    format!("after a failed {}: {left:?}; {:?}", self.verb.name, ended.stderr),
                );
            }
        }
    }

    /// Other verbs, and then nothing must be left.
    fn look_after(&mut self, fault: Fault) {
        let world = self.world;
        if fault.kind == Kind::Kill {
            for words in [&["state", world.id.as_str()][..], &["list"]] {
                let (ended, _) = world.verb(words).run(BOUND);
                if !ended.hang.is_empty() {
                    self.found(Flaw::Hang, format!("{} afterwards: {:?}", words[0], ended.hang));
                } else if ended.code != 0
                    && let Some(why) = unclear(&ended, None)
                {
                    self.found(Flaw::Unclear, format!("{} afterwards: {why}: {:?}", words[0], ended.stderr));
                }
            }
        }
        if let Err(why) = world.delete() {
            self.found(Flaw::Residue, format!("delete --force fails: {why}"));
        }
        let left = world.left();
        if !left.is_empty() {
            self.found(Flaw::Residue, format!("after delete --force: {left:?}"));
            return world.clean_up();
        }
        if let Err(why) = world.fresh().and_then(|()| world.live()) {
            self.found(Flaw::Unusable, why);
            world.clean_up();
        }
    }
}

/// Why an error is unclear: there must be one line, and it must name the errno if a call
/// failed.
pub fn unclear(ended: &Ended, errno: Option<i32>) -> Option<&'static str> {
    let lines = ended.stderr.trim_end().lines().count();
    match lines {
        0 => return Some("no error text"),
        1 => {}
        _ => return Some("more than one line"),
    }
    let errno = errno?;
    let said = ended.stderr.to_lowercase();
    let is_named = calls::errno_names(errno).iter().any(|name| said.contains(&name.to_lowercase()));
    (!is_named).then_some("the errno is not named")
}
