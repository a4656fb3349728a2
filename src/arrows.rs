//! Tests that the rooms use each other as src/README.md says, in its section "Which way
//! dependencies point".

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A room, and what it uses: `spec` or, if that is all that it may, `spec::plan`.
type Arrows = BTreeMap<String, BTreeSet<String>>;

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The lines of the README, `room -> used used`, and the rooms in their order.
fn declared() -> (Arrows, Vec<String>) {
    let text = fs::read_to_string(src().join("README.md")).expect("src/README.md");
    let section = text.split("## Which way dependencies point").nth(1).expect("the section");
    let lines = section.split("\n## ").next().unwrap_or_default().lines();
    let pairs = lines.filter_map(|line| line.strip_prefix("    ")?.split_once(" ->"));
    let mut order = Vec::new();
    let arrows = pairs.map(|(room, used)| {
        order.push(room.trim().to_owned());
        (room.trim().to_owned(), used.split_whitespace().map(str::to_owned).collect())
    });
    (arrows.collect(), order)
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.extension().is_some_and(|kind| kind == "rs")).collect()
}

/// Code without comments and without the tests at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a file of code");
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}

/// The names at the top of `{a, b::{c, d}}`, or the one name.
fn names(text: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = text.strip_prefix('{') else { return vec![word(text)] };
    let (mut depth, mut out) = (0, vec![word(list.trim_start())]);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => out.push(word(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    out.retain(|name| !name.is_empty());
    out
}

/// What the code names as `crate::room::part`.
fn used(code: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for rest in code.split("crate::").skip(1) {
        for room in names(rest) {
            let parts = rest.strip_prefix(&format!("{room}::")).map_or(vec![String::new()], names);
            out.extend(parts.into_iter().map(|part| (room.clone(), part)));
        }
    }
    // What is lib.rs's own, as `OCI_VERSION`, begins with a capital.
    out.retain(|(room, _)| room.starts_with(|c: char| c.is_lowercase()));
    out
}

fn room_of(path: &Path) -> String {
    let below = path.strip_prefix(src()).expect("a file of ours");
    let first = below.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn rooms_use_each_other_as_the_readme_says() {
    let (declared, order) = declared();
    let mut found = Arrows::new();
    let mut wrong = Vec::new();
    for path in files(&src()) {
        let room = room_of(&path);
        if matches!(&*room, "lib" | "main" | "build" | "arrows") {
            continue;
        }
        let may = declared.get(&room).unwrap_or_else(|| panic!("src/README.md has no line for {room}"));
        for (to, part) in used(&code(&path)).into_iter().filter(|(to, _)| *to != room) {
            match [to.clone(), format!("{to}::{part}")].into_iter().find(|name| may.contains(name)) {
                Some(name) => drop(found.entry(room.clone()).or_default().insert(name)),
                None => wrong.push(format!("{}: {room} -> {to}::{part}", path.display())),
            }
        }
    }
    assert_eq!(wrong, [""; 0], "arrows that src/README.md does not have");
    for (room, used) in &declared {
        println!("{room} -> {}", used.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
        let seen = found.get(room).cloned().unwrap_or_default();
        assert_eq!(*used, seen, "{room}: src/README.md has arrows that the code does not have");
        let place = |name: &str| order.iter().position(|room| room == name.split("::").next().unwrap_or(""));
        for to in used {
            assert!(place(to) > place(room), "{room} -> {to} goes up: a circle");
        }
    }
}

/// Types below `cli` may name their values for the parser of the command line, and no more.
#[test]
fn only_cli_parses_the_command_line() {
    let below = files(&src()).into_iter().filter(|path| !["cli", "arrows"].contains(&&*room_of(path)));
    for path in below {
        let code = code(&path);
        let others = code.split("clap").skip(1).filter(|rest| !rest.starts_with("::ValueEnum"));
        assert_eq!(others.count(), 0, "{}", path.display());
    }
}

/// The files of the folder that `mod.rs` names, by what it exports from each.
fn exports(folder: &Path) -> BTreeMap<String, String> {
    let text = code(&folder.join("mod.rs"));
    let uses = text.split("pub use ").skip(1).filter_map(|rest| rest.split_once("::"));
    uses.flat_map(|(file, rest)| names(rest).into_iter().map(move |name| (name, file.to_owned()))).collect()
}

/// Which files of a folder each of them uses.
fn neighbours(folder: &Path) -> Arrows {
    let room = room_of(folder);
    let exported = exports(folder);
    let all: BTreeSet<String> = fs::read_dir(folder)
        .expect("a room")
        .map(|entry| {
            entry.expect("an entry").file_name().to_string_lossy().trim_end_matches(".rs").to_owned()
        })
        .filter(|name| name != "mod")
        .collect();
    let mut out = Arrows::new();
    for file in &all {
        let path = folder.join(format!("{file}.rs"));
        let code = if path.is_file() { code(&path) } else { continue };
        let own = format!("crate::{room}::");
        let mut named: Vec<String> =
            ["super::", &own].iter().flat_map(|at| code.split(*at).skip(1)).flat_map(names).collect();
        named.iter_mut().for_each(|name| *name = exported.get(name).unwrap_or(name).clone());
        let used = named.into_iter().filter(|name| all.contains(name) && name != file).collect();
        out.insert(file.clone(), used);
    }
    out
}

/// Whether a path of arrows leads from `from` to `to`.
fn leads(arrows: &Arrows, from: &str, to: &str, seen: &mut BTreeSet<String>) -> bool {
    let next = arrows.get(from).into_iter().flatten();
    next.into_iter().any(|name| name == to || seen.insert(name.clone()) && leads(arrows, name, to, seen))
}

#[test]
fn files_of_a_folder_use_each_other_in_no_circle() {
    let folders: BTreeSet<PathBuf> = files(&src())
        .iter()
        .filter(|path| path.ends_with("mod.rs"))
        .filter_map(|path| path.parent().map(Path::to_path_buf))
        .collect();
    for folder in folders {
        let arrows = neighbours(&folder);
        let circle = arrows.keys().find(|file| leads(&arrows, file, file, &mut BTreeSet::new()));
        assert_eq!(circle, None, "{}: this file leads back to itself", folder.display());
    }
}
