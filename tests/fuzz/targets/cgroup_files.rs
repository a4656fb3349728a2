//! The files of a cgroup, as sections that end with a NUL byte; a section's first line is the
//! name of its file. What `events` prints is JSON with the numbers of the files, or an error
//! that names one of them.
#![no_main]

use corten::cgroup::Hierarchy;
use corten::cgroup::Stats;
use corten::cgroup::fuzz::{list_pids, read_v1_stats, read_v2_stats};
use corten::error::Result;
use libfuzzer_sys::fuzz_target;
use oracle::{Dir, one_line};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static DIR: RefCell<Dir> = RefCell::new(Dir::new());
}

fuzz_target!(|input: &[u8]| {
    DIR.with_borrow_mut(|dir| {
        let files = dir.fill(input);
        let path = dir.path().to_owned();
        let controllers = ["cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "hugetlb"];
        let controllers = controllers.map(String::from).to_vec();
        let v1 = [Hierarchy { controllers, path: path.clone() }];
        if let Some(stats) = printed(read_v1_stats(&v1), &files) {
            same_memory(&stats, &files);
        }
        if let Some(stats) = printed(read_v2_stats(&path), &files) {
            same_memory(&stats, &files);
            same_io(&stats, &files);
            same_pids(&stats, &files);
        }
        let pids = list_pids(&path);
        for pid in pids.unwrap_or_default() {
            // 0 and negative numbers would signal a group, or everything.
            assert!(pid > 0, "{pid}");
        }
    });
});

type Files<'a> = BTreeMap<&'a str, &'a [u8]>;

fn text(files: &Files, name: &str) -> String {
    String::from_utf8_lossy(files.get(name).copied().unwrap_or_default()).into_owned()
}

/// What is printed: JSON in which no number became null.
fn printed(stats: Result<Stats>, files: &Files) -> Option<Value> {
    let stats = match stats {
        Ok(stats) => stats,
        Err(error) => {
            one_line(&error);
            assert!(files.keys().any(|name| error.subject.ends_with(name)), "names no file: {error}");
            return None;
        }
    };
    let text = serde_json::to_string(&stats).expect("JSON");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let mut open = vec![(String::new(), &value)];
    while let Some((name, value)) = open.pop() {
        match value {
            Value::Null => assert_eq!(name, "network_interfaces", "null: {text}"),
            Value::Array(list) => open.extend(list.iter().map(|value| (name.clone(), value))),
            Value::Object(map) => open.extend(map.iter().map(|(name, value)| (name.clone(), value))),
            _ => {}
        }
    }
    Some(value)
}

/// memory.stat, line by line.
fn same_memory(stats: &Value, files: &Files) {
    let mut lines = BTreeMap::new();
    for line in text(files, "memory.stat").lines() {
        let at = line.find(' ').expect("refused without a space");
        let number = line[at + 1..].trim();
        let digits = number.strip_prefix('+').unwrap_or(number);
        let number = match number {
            "max" => u64::MAX,
            _ if number.starts_with('-') => 0,
            _ => digits.parse().expect("refused if no number"),
        };
        lines.insert(line[..at].to_owned(), number);
    }
    let raw = &stats["memory"]["raw"];
    let raw: BTreeMap<String, u64> = serde_json::from_value(raw.clone()).unwrap_or_default();
    assert_eq!(raw, lines);
}

/// io.stat: as many entries as counters that version 1 has.
fn same_io(stats: &Value, files: &Files) {
    let io = text(files, "io.stat");
    for (keys, list) in
        [(["rbytes=", "wbytes="], "ioServiceBytesRecursive"), (["rios=", "wios="], "ioServicedRecursive")]
    {
        let words = io.lines().flat_map(|line| line.split(' ').skip(1));
        let counters = words.filter(|word| keys.iter().any(|key| word.starts_with(key))).count();
        let entries = stats["blkio"][list].as_array().map_or(0, Vec::len);
        assert_eq!(entries, counters, "{list}: {io:?}");
    }
}

/// Without pids.current, the number of processes is that of the lines of cgroup.procs.
fn same_pids(stats: &Value, files: &Files) {
    if !files.contains_key("pids.current") {
        let lines = text(files, "cgroup.procs").lines().count();
        assert_eq!(stats["pids"]["current"].as_u64().unwrap_or(0), lines as u64);
    }
}
