//! Races: a verb of the runtime, while a thread exchanges one path that the verb touches.

use crate::census::Host;
use crate::flips::{Flips, Kind};
use crate::harness::{Out, Test, catch, is_corten, runtime_path};
use crate::known::without_place;
use crate::random::Random;
use crate::scene::{Scene, Wishes};
use crate::table::Row;
use crate::verbs::{self, PATIENCE, Verb};
use crate::{touched, view, waits};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a weakened build may go unnoticed.
const MINUTE: Duration = Duration::from_secs(60);

struct Race<'h> {
    host: &'h Host,
    verb: Verb,
    runtime: PathBuf,
    random: Random,
    /// The paths that the verb touches.
    paths: Vec<String>,
    row: Row,
    /// How often the verb succeeded, and how often it failed, per kind of exchange.
    met: BTreeMap<Kind, (u32, u32)>,
    said: BTreeMap<String, u32>,
    escapes: Vec<String>,
    faults: Vec<String>,
    /// How often the verb hung because CRIU waited at a FIFO.
    waits_of_criu: u32,
}

/// Races the verb for `time`.
pub fn row(host: &Host, verb: Verb, time: Duration, seed: u64) -> Row {
    if let Some(reason) = verbs::unusable(verb) {
        return Row { skipped: Some(reason), ..Row::default() };
    }
    match Race::new(host, verb, runtime_path(), seed) {
        Ok(mut race) => {
            let begin = Instant::now();
            while begin.elapsed() < time || race.row.tally.took_place == 0 && begin.elapsed() < MINUTE {
                race.attempt();
            }
            race.end()
        }
        Err(reason) if is_corten() => Row { fault: Some(reason), ..Row::default() },
        Err(reason) => Row { skipped: Some(reason), ..Row::default() },
    }
}

/// Races a build with a weakened resolver until something escapes.
pub fn weakened(host: &Host, runtime: &Path, seed: u64) -> Row {
    let races = [Verb::Run, Verb::Create].map(|verb| Race::new(host, verb, runtime, seed));
    let mut races = match races.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(races) => races,
        Err(reason) => return Row { fault: Some(reason), ..Row::default() },
    };
    let begin = Instant::now();
    let mut row = Row::default();
    while begin.elapsed() < MINUTE {
        let next = row.tally.tries as usize % races.len();
        races[next].attempt();
        row.tally.tries += 1;
        row.tally.took_place = races.iter().map(|race| race.row.tally.took_place).sum();
        if let Some(found) = races[next].escapes.first() {
            let (tries, seconds) = (row.tally.tries, begin.elapsed().as_secs_f32());
            row.notes.push(format!("caught after {tries} tries ({seconds:.1} s): {found}"));
            return row;
        }
    }
    row.fault = Some("the weakened build was not caught within a minute".to_owned());
    row
}

impl<'h> Race<'h> {
    /// Copies the runtime to the jail's filesystem, as the machine's is read-only, and finds
    /// the paths that the verb touches. The error says why the verb fails without an attack.
    fn new(host: &'h Host, verb: Verb, runtime: &Path, seed: u64) -> Result<Race<'h>, String> {
        let name = runtime.file_name().expect("a file");
        let dir = std::env::temp_dir().join("corten-suite.runtime");
        std::fs::create_dir_all(&dir).expect("a directory");
        let number = std::fs::read_dir(&dir).expect("list").count();
        let dir = dir.join(number.to_string());
        std::fs::create_dir(&dir).expect("a directory");
        let runtime = {
            let copied = std::process::Command::new("cp").arg(runtime).arg(&dir).status().expect("cp");
            assert!(copied.success(), "cp the runtime");
            dir.join(name)
        };
        let mut race = Race {
            host,
            verb,
            runtime,
            random: Random(seed << 1 | 1),
            paths: Vec::new(),
            row: Row::default(),
            met: BTreeMap::new(),
            said: BTreeMap::new(),
            escapes: Vec::new(),
            faults: Vec::new(),
            waits_of_criu: 0,
        };
        let mut paths = BTreeSet::new();
        for own_dev in [false, true] {
            paths.extend(race.without_attack(Wishes::all(own_dev))?);
        }
        race.paths = paths.into_iter().collect();
        if let Some(fault) = race.host.changes().first() {
            return Err(format!("without an attack: {fault}"));
        }
        Ok(race)
    }

    fn test(&self) -> Test {
        let test = Test::new();
        test.runtime.replace(self.runtime.clone());
        test
    }

    fn scene<'t>(&self, t: &'t Test, wishes: Wishes) -> Scene<'t> {
        let scene = Scene::new(t, self.host, wishes);
        if self.verb == Verb::Create && wishes.own_dev { scene.on_a_terminal() } else { scene }
    }

    /// Runs the verb without an attack, then traces it. Returns the paths that it touches.
    fn without_attack(&self, wishes: Wishes) -> Result<BTreeSet<String>, String> {
        let t = self.test();
        let result = {
            let honest = if self.verb.needs_criu() { Wishes::none() } else { wishes };
            let scene = self.scene(&t, honest);
            let mut ready = verbs::prepare(self.verb, &scene);
            let mut out = ready.call().out();
            ready.read_log(&mut out);
            let seen = ready.follow(&out).or_else(|| ready.look(&out));
            ready.delete();
            let outside = scene.mounts_outside();
            match (out.code, seen, outside.first()) {
                (0, None, None) => Ok(()),
                (0, seen, outside) => Err(format!("without an attack: {seen:?} {outside:?}")),
                _ => Err(format!("fails without an attack: {}", last_line(&out))),
            }
        };
        let result = result.map(|()| {
            let mut scene = Scene::new(&t, self.host, wishes);
            // What the payload touches is of no interest.
            scene.is_idle = true;
            let (ready, log) = (verbs::prepare(self.verb.traced(), &scene), t.path("trace"));
            ready.traced_call(&log).out();
            ready.delete();
            touched::paths(&scene, &std::fs::read_to_string(&log).unwrap_or_default())
        });
        t.clean_up();
        reap();
        result
    }

    fn attempt(&mut self) {
        let t = self.test();
        let result = catch(|| self.attack(&t));
        let left = t.clean_up();
        reap();
        let (what, has_ended) = result.unwrap_or_else(|panic| {
            self.faults.push(format!("the attack could not be made: {}", without_place(&panic)));
            (String::new(), true)
        });
        if !has_ended {
            self.faults.push(format!("hangs with {what}: {}", t.transcript()));
        }
        if !left.is_empty() {
            self.faults.push(format!("left behind with {what}: {left:?} {}", t.transcript()));
        }
    }

    /// Makes one try. Returns what was exchanged, and whether the verb ended by itself, unless
    /// it was CRIU that waited.
    fn attack(&mut self, t: &Test) -> (String, bool) {
        let wishes = verbs::wishes(self.verb, &mut self.random);
        let scene = self.scene(t, wishes);
        let mut ready = verbs::prepare(self.verb, &scene);
        let mut flips = self.flips(&scene);
        let call = ready.call();
        flips.begin();
        let mut is_crius = false;
        let (mut out, has_ended) = call.spawn().finish_or(PATIENCE, || is_crius = waits::only_criu());
        self.waits_of_criu += u32::from(is_crius);
        let took_place = flips.since_begin() > 0;
        let seen = ready.follow(&out);
        ready.read_log(&mut out);
        flips.end();
        let seen = seen.or_else(|| ready.look(&out));
        ready.delete();
        let mut found: Vec<String> = seen.into_iter().chain(scene.mounts_outside()).collect();
        found.extend(self.host.changes());
        let what = format!("{:?} at {}", flips.kind, flips.name);
        self.count(flips.kind, &what, &out, took_place, &found);
        (what, has_ended || is_crius)
    }

    fn flips(&mut self, scene: &Scene) -> Flips {
        let decoy = self.host.decoy();
        // Mostly a path of what the configuration asks for, as the others are touched rarely.
        let all = self.random.one_in(3);
        for round in 0..1000 {
            let path = &self.paths[self.random.below(self.paths.len())];
            if !all && round < 500 && !scene.wishes.touch(path) {
                continue;
            }
            if let Some(flips) = Flips::start(scene, &decoy, path, &mut self.random) {
                return flips;
            }
        }
        panic!("no path can be exchanged: {:?}", self.paths);
    }

    fn count(&mut self, kind: Kind, what: &str, out: &Out, took_place: bool, found: &[String]) {
        let tally = &mut self.row.tally;
        tally.tries += 1;
        tally.took_place += u32::from(took_place);
        tally.escapes += u32::from(!found.is_empty());
        self.escapes.extend(found.iter().map(|found| format!("{what}: {found}")));
        let met = self.met.entry(kind).or_default();
        if out.code == 0 {
            met.0 += 1;
            return;
        }
        met.1 += 1;
        let said = last_line(out);
        let is_payloads = out.code == i32::from(view::SAW_THE_HOST);
        let is_clear = out.stderr.lines().filter(|line| line.starts_with("corten: error: ")).count() == 1;
        if is_corten() && !is_payloads && !is_clear && !self.verb.needs_criu() {
            self.faults.push(format!("no clear error with {what}: {out:?}"));
        }
        // Names of this try are in the text.
        let said: String = said.chars().filter(|c| !c.is_ascii_digit()).take(150).collect();
        *self.said.entry(said).or_default() += 1;
    }

    fn end(mut self) -> Row {
        self.row.notes.extend(self.escapes.iter().take(3).cloned());
        if let Some(fault) = self.faults.first() {
            let fault: String = fault.chars().take(3000).collect();
            self.row.fault = Some(format!("{} times: {fault}", self.faults.len()));
        }
        let met: Vec<_> = self.met.iter().map(|(kind, (ok, no))| format!("{kind:?} {ok}/{no}")).collect();
        self.row.notes.push(format!("{} paths; succeeded/refused: {}", self.paths.len(), met.join(", ")));
        if self.waits_of_criu > 0 {
            let times = self.waits_of_criu;
            self.row.notes.push(format!("CRIU waited at a FIFO {times} times, until it was killed"));
        }
        if std::env::var_os("VERBOSE").is_some() {
            self.row.notes.push(format!("paths: {}", self.paths.join(" ")));
            let mut said: Vec<_> = self.said.iter().collect();
            said.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            self.row.notes.extend(said.iter().take(40).map(|(text, count)| format!("{count:>6}  {text}")));
        }
        self.row
    }
}

fn last_line(out: &Out) -> String {
    out.stderr.lines().last().unwrap_or("no error").to_owned()
}

/// Reaps the orphans of the containers.
fn reap() {
    while matches!(
        waitpid(None, Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))
    ) {}
}
