//! A state directory that is damaged, as after a power loss on a disk, and one without room.

use super::points::{Finding, Flaw, Options, Tally, random, shuffle, unclear};
use super::random::Random;
use super::world::{BOUND, World};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How the files of a state directory are damaged.
struct Damage {
    name: String,
    apply: Box<dyn Fn(&Path)>,
}

fn replace(file: &Path, content: &[u8]) {
    fs::write(file, content).expect("write into the state directory");
}

/// Every damage of a record of this length.
fn damages(length: usize, random: &mut Random) -> Vec<Damage> {
    let mut all = Vec::new();
    let mut add = |name: String, apply: Box<dyn Fn(&Path)>| all.push(Damage { name, apply });
    for file in ["state.json", "config.json"] {
        let edit = move |dir: &Path, change: &dyn Fn(&mut Vec<u8>)| {
            let path = dir.join(file);
            let mut content = fs::read(&path).expect("a file of the state directory");
            change(&mut content);
            replace(&path, &content);
        };
        add(
            format!("{file} is missing"),
            Box::new(move |dir| fs::remove_file(dir.join(file)).expect("a file")),
        );
        add(format!("{file} is all zeros"), Box::new(move |dir| edit(dir, &|text| text.fill(0))));
        add(format!("{file} is an empty object"), Box::new(move |dir| replace(&dir.join(file), b"{}")));
        for round in 0..8 {
            let mut noise: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
            noise.truncate(length >> round);
            add(format!("{file} is noise {round}"), Box::new(move |dir| replace(&dir.join(file), &noise)));
        }
        let lengths = if file == "state.json" { length } else { 64 };
        for at in 0..lengths {
            add(format!("{file} ends at {at}"), Box::new(move |dir| edit(dir, &|text| text.truncate(at))));
            // No JSON has one of these bytes. A change that leaves a valid record is believed.
            let byte = [0, 0xff][random.below(2)];
            let change = move |text: &mut Vec<u8>| text[at] = byte;
            add(format!("{file} has {byte} at {at}"), Box::new(move |dir| edit(dir, &change)));
        }
    }
    // The power goes between the write of the temporary file and its rename.
    for at in [0, 1, length / 2, length] {
        add(
            format!("{at} bytes of state.json.new are left"),
            Box::new(move |dir| {
                let content = fs::read(dir.join("state.json")).expect("state.json");
                replace(&dir.join("state.json.new"), &content[..at.min(content.len())]);
            }),
        );
        add(
            format!("only {at} bytes of state.json.new are left"),
            Box::new(move |dir| {
                let content = fs::read(dir.join("state.json")).expect("state.json");
                replace(&dir.join("state.json.new"), &content[..at.min(content.len())]);
                fs::remove_file(dir.join("state.json")).expect("state.json");
            }),
        );
    }
    all
}

struct Trial<'a> {
    world: &'a World,
    options: &'a Options,
    tally: Tally,
    findings: &'a mut Vec<Finding>,
    point: String,
}

/// Damages the state of running containers: in each way, or for `share` in random ways.
pub fn try_all(
    world: &World,
    options: &Options,
    share: Option<Duration>,
    findings: &mut Vec<Finding>,
) -> Tally {
    let began = Instant::now();
    let mut random = random(options.seed);
    let tally = Tally { variant: world.variant.name(), verb: "damaged state", ..Tally::default() };
    let mut trial = Trial { world, options, tally, findings, point: String::new() };
    world.fresh().and_then(|()| world.create(&world.pausing)).expect("a container");
    let length = fs::read(trial.dir().join("state.json")).expect("state.json").len();
    world.delete().expect("delete");
    let mut damages = damages(length, &mut random);
    if share.is_some() {
        shuffle(&mut random, &mut damages);
    }
    for damage in damages {
        if share.is_some_and(|share| began.elapsed() > share) {
            break;
        }
        trial.point = format!("{}/damaged state/{}", world.variant.name(), damage.name);
        if options.wants_point(&trial.point) {
            trial.one(&damage);
        }
    }
    trial.tally
}

impl Trial<'_> {
    fn dir(&self) -> std::path::PathBuf {
        self.world.root.join(&self.world.id)
    }

    fn found(&mut self, flaw: Flaw, detail: &str) {
        let detail = detail.replace(&self.world.id, "ID");
        *self.tally.flaws.entry(flaw).or_default() += 1;
        self.findings.push(Finding { point: self.point.clone(), flaw, detail });
    }

    fn one(&mut self, damage: &Damage) {
        let world = self.world;
        let started = world
            .fresh()
            .and_then(|()| world.create(&world.pausing))
            .and_then(|_| world.ok(&["start", &world.id]));
        if let Err(why) = started {
            self.found(Flaw::Unusable, &why);
            return world.clean_up();
        }
        (damage.apply)(&self.dir());
        self.tally.damages += 1;
        let id = world.id.as_str();
        for words in
            [&["state", id][..], &["list"], &["kill", id, "0"], &["exec", id, "true"], &["delete", id]]
        {
            self.try_verb(words);
        }
        if let Err(why) = world.delete() {
            self.found(Flaw::Residue, &format!("delete --force fails: {why}"));
        }
        let left = world.left();
        if !left.is_empty() {
            self.found(Flaw::Residue, &format!("after delete --force: {left:?}"));
            return world.clean_up();
        }
        if let Err(why) = world.fresh().and_then(|()| world.live()) {
            self.found(Flaw::Unusable, &why);
            world.clean_up();
        }
    }

    fn try_verb(&mut self, words: &[&str]) {
        let (ended, _) = self.world.verb(words).run(BOUND);
        if self.options.verbose {
            println!("{}: {words:?} -> {ended:?}", self.point);
        }
        if !ended.hang.is_empty() {
            self.found(Flaw::Hang, &format!("{}: {:?}", words[0], ended.hang));
        } else if ended.code != 0
            && let Some(why) = unclear(&ended, None)
        {
            self.found(Flaw::Unclear, &format!("{}: {why}: {:?}", words[0], ended.stderr));
        }
    }
}

/// Creates containers on a tmpfs that has less and less room. A failed `create` must leave
/// nothing, a container that exists must be removable.
pub fn full_disk(world: &World, options: &Options, findings: &mut Vec<Finding>) -> Tally {
    let tally = Tally { variant: world.variant.name(), verb: "full disk", ..Tally::default() };
    let mut trial = Trial { world, options, tally, findings, point: String::new() };
    let rooms = (2..14).map(|inodes| format!("nr_inodes={inodes}"));
    let rooms = rooms.chain((1..12).map(|pages| format!("size={}", pages * 4096)));
    for room in rooms {
        trial.point = format!("{}/full disk/{room}", world.variant.name());
        if options.wants_point(&trial.point) {
            trial.in_room(&room);
        }
    }
    trial.tally
}

impl Trial<'_> {
    fn in_room(&mut self, room: &str) {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        let world = self.world;
        let root = &world.root;
        mount(Some("root"), root, Some("tmpfs"), MsFlags::empty(), Some(room)).expect("a tmpfs");
        self.tally.damages += 1;
        let result = world.fresh().and_then(|()| {
            let (ended, output) = world.verb(&world.creating(&["create"], &world.brief)).run(BOUND);
            if !ended.hang.is_empty() {
                return Err(format!("create hangs: {:?}", ended.hang));
            }
            if ended.code == 0 {
                self.tally.tolerated += 1;
                return world.finish(world.pid()?, &output);
            }
            self.tally.refused += 1;
            if let Some(why) = unclear(&ended, Some(libc::ENOSPC)) {
                self.found(Flaw::Unclear, &format!("create: {why}: {:?}", ended.stderr));
            }
            if fs::read_dir(root).is_ok_and(|entries| entries.count() > 0) {
                self.found(Flaw::Residue, &format!("after a failed create: the state; {:?}", ended.stderr));
            }
            Ok(())
        });
        if let Err(why) = result {
            self.found(Flaw::Broken, &why);
        }
        if let Err(why) = world.delete() {
            self.found(Flaw::Residue, &format!("delete --force fails: {why}"));
        }
        umount2(root, MntFlags::MNT_DETACH).expect("unmount the tmpfs");
        let left = world.left();
        if !left.is_empty() {
            self.found(Flaw::Residue, &format!("after delete --force: {left:?}"));
            world.clean_up();
        }
    }
}
