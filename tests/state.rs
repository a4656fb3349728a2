//! The state directory: records that can't be read, records of other versions, directories
//! that are not containers, and claims that fail.

use crate::harness::{Container, PidFd, Test, cgroups_named, pipe, read_line};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

cases![
    records_of_every_version_are_read,
    a_newer_record_is_enough_to_delete_the_container,
    a_newer_record_without_old_fields_can_be_deleted,
    an_unreadable_record_does_not_keep_the_container,
    a_missing_record_is_no_claim,
    a_damaged_text_in_a_record_hides_no_other_field,
    an_unreadable_record_without_a_pid_namespace,
    an_unreadable_record_of_the_callers_own_cgroup,
    one_unreadable_record_does_not_hide_others,
    another_runtimes_container_is_not_deleted,
    directories_of_other_programs_are_not_containers,
    a_claim_that_fails_leaves_nothing,
    a_claim_that_was_killed_is_deleted,
    a_process_that_started_later_is_a_stranger,
];

fn record(t: &Test, id: &str) -> PathBuf {
    t.root().join(id).join("state.json")
}

fn read(t: &Test, id: &str) -> Value {
    serde_json::from_slice(&fs::read(record(t, id)).expect("a record")).expect("JSON")
}

/// Writes the record as another version would: a new file replaces the old one.
fn write(t: &Test, id: &str, text: &[u8]) {
    let new = t.path("record");
    fs::write(&new, text).expect("write a record");
    fs::rename(new, record(t, id)).expect("rename a record");
}

/// The records of `data/state`. The version in the file's name wrote each. The test
/// replaces the values of this machine and this container: names, processes, cgroups.
fn of_version(t: &Test, id: &str, kept: &str) -> Value {
    let own = read(t, id);
    let mut old: Value = serde_json::from_str(kept).expect("JSON");
    for field in ["id", "bundle", "rootfs", "owner", "cgroup", "namespaces"] {
        old[field] = own[field].clone();
    }
    for field in ["pid", "start_time", "inode"] {
        if !old["init"][field].is_null() {
            old["init"][field] = own["init"][field].clone();
        }
    }
    old
}

/// Runs every verb on a container whose record this version wrote.
fn records_of_every_version_are_read(t: &Test) {
    let kept = [
        ("1, cgroup v1", include_str!("data/state/1-cgroup-v1.json")),
        ("1, cgroup v2", include_str!("data/state/1-cgroup-v2.json")),
        ("1, systemd", include_str!("data/state/1-systemd.json")),
        ("1, the first", include_str!("data/state/1-first.json")),
        ("1, all fields", include_str!("data/state/1-all-fields.json")),
    ];
    for (name, kept) in kept {
        let container = t.create(&t.bundle().pausing());
        let old = of_version(t, &container.id, kept);
        write(t, &container.id, old.to_string().as_bytes());
        assert_eq!(container.status(), "created", "{name}");
        assert_eq!(container.state()["created"], old["created"], "{name}");
        container.start();
        assert_eq!(container.exec([], ["echo", "in"]).ok().stdout, "in\n", "{name}");
        container.verb("pause").ok();
        container.verb("resume").ok();
        container.update(["--pids-limit", "100"]).ok();
        let new = read(t, &container.id);
        assert_eq!((&new["version"], &new["created"]), (&json!(1), &old["created"]), "{name}");
        container.stop();
        assert_eq!(container.status(), "stopped");
        container.verb("delete").ok();
    }
}

/// The kept file has version 2, a field of a new kind, and other types for fields that an
/// older version doesn't need to delete the container.
fn a_newer_record_is_enough_to_delete_the_container(t: &Test) {
    let newer = include_str!("data/state/newer.json");
    let container = t.start(&t.bundle().pausing());
    let record = of_version(t, &container.id, newer).to_string();
    write(t, &container.id, record.as_bytes());
    assert_eq!(container.status(), "running");
    assert_eq!(container.state()["pid"], container.init.pid);
    let list: Value = serde_json::from_str(&t.verb(["list", "-f", "json"]).ok().stdout).unwrap();
    assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!(container.id), &json!("running")));
    // A verb that would write the record, or that needs more fields, gives the reason for
    // its refusal.
    let clear = ["state.json has version 2", "newer corten"];
    container.exec([], ["true"]).out().one_clear_line(&clear);
    for verb in ["start", "pause", "resume", "events", "ps"] {
        container.verb(verb).out().one_clear_line(&clear);
    }
    container.update(["--pids-limit", "100"]).out().one_clear_line(&clear);
    assert_eq!(
        read(t, &container.id).to_string(),
        serde_json::from_str::<Value>(&record).unwrap().to_string()
    );
    container.verb("delete").out().one_clear_line(&["that is not stopped: running"]);
    container.stop();
    assert_eq!(container.status(), "stopped");
    container.verb("delete").ok();
    container.verb("state").out().fails(&["does not exist"]);
}

/// Then only the configuration names the cgroup.
fn a_newer_record_without_old_fields_can_be_deleted(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    write(t, &container.id, br#"{"version": 3, "container": {"process": 1}}"#);
    let clear = ["state.json has version 3", "newer corten"];
    for verb in ["state", "kill", "delete"] {
        container.verb(verb).out().one_clear_line(&clear);
    }
    assert_eq!(t.verb(["delete", "--force", &container.id]).ok().stdout, "");
    assert_eq!(container.wait(), 137);
    free(t, &container.id);
}

/// The id can be used again.
fn free(t: &Test, id: &str) {
    t.verb(["create", "--bundle"]).arg(t.bundle().pausing().lay()).arg(id).ok();
    t.verb(["delete", "--force", id]).ok();
    assert!(!t.root().join(id).exists());
}

fn unreadable(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", Vec::new()),
        ("torn at once", whole[..1].to_vec()),
        ("torn in the middle", whole[..whole.len() / 2].to_vec()),
        ("torn at the end", whole[..whole.len() - 1].to_vec()),
        ("garbage", b"\0\xff\xfe garbage".to_vec()),
        ("another kind of JSON", b"[1, null]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("another's", br#"{"id": "x", "init_process_pid": 1, "version": 0}"#.to_vec()),
    ]
}

fn an_unreadable_record_does_not_keep_the_container(t: &Test) {
    let whole = {
        let container = t.start(&t.bundle().pausing());
        fs::read(record(t, &container.id)).unwrap()
    };
    for (name, text) in unreadable(&whole) {
        let container = t.start(&t.bundle().pausing());
        write(t, &container.id, &text);
        // The error gives the cause and the remedy.
        for verb in ["state", "delete", "kill", "start", "pause"] {
            let out = container.verb(verb).out();
            out.one_clear_line(&[&container.id, "state.json", "delete --force"]);
        }
        assert!(container.init.is_alive());
        let out = t.verb(["delete", "--force", &container.id]).ok();
        assert!(out.stderr.contains("state.json can't be read"), "{name}: {out:?}");
        assert_eq!(container.wait(), 137, "{name}");
        free(t, &container.id);
    }
}

/// Only a runtime that was killed leaves a directory without a record, and nothing else of the
/// container is there then.
fn a_missing_record_is_no_claim(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    fs::remove_file(record(t, &container.id)).unwrap();
    for verb in ["state", "delete", "kill", "start", "pause"] {
        let out = container.verb(verb).out();
        out.one_clear_line(&[&container.id, "state.json", "missing", "delete --force"]);
    }
    assert!(container.init.is_alive());
    let out = t.verb(["delete", "--force", &container.id]).ok();
    assert!(out.stderr.contains("state.json can't be read"), "{out:?}");
    assert_eq!(container.wait(), 137);
    free(t, &container.id);
}

/// One byte of the bundle's path is damaged, and the saved configuration is lost. The record
/// still names init and the cgroup.
fn a_damaged_text_in_a_record_hides_no_other_field(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let mut text = fs::read(record(t, &container.id)).unwrap();
    let field = b"\"bundle\":\"/";
    let at = text.windows(field.len()).position(|part| part == field).expect("a bundle") + field.len();
    text[at] = 0xff;
    write(t, &container.id, &text);
    fs::remove_file(t.root().join(&container.id).join("config.json")).unwrap();
    let out = t.verb(["delete", "--force", &container.id]).ok();
    assert!(!out.stderr.contains("its processes, if any, still run"), "{out:?}");
    assert_eq!(container.wait(), 137);
    free(t, &container.id);
}

/// The processes of init are killed, too.
fn an_unreadable_record_without_a_pid_namespace(t: &Test) {
    let (reader, writer) = pipe();
    let bundle = t.bundle().without_namespace("pid").shell("sleep 1000 & echo $!; wait");
    let bundle = bundle.set("/linux/cgroupsPath", json!(t.cgroups_path(&t.token)));
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    let child = PidFd::open(read_line(&reader).parse().expect("a pid"));
    write(t, &container.id, b"");
    t.verb(["delete", "--force", &container.id]).ok();
    assert!(child.ended());
    assert_eq!(container.wait(), 137);
    assert_eq!(cgroups_named(&t.token), Vec::<PathBuf>::new());
}

/// The configuration was changed: it names a cgroup that contains other processes, such as
/// this test.
fn an_unreadable_record_of_the_callers_own_cgroup(t: &Test) {
    t.cgroupfs_only();
    let container = t.start(&t.bundle().pausing());
    write(t, &container.id, b"{");
    let config = t.root().join(&container.id).join("config.json");
    let mut changed: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    changed["linux"]["cgroupsPath"] = json!("/");
    fs::write(&config, changed.to_string()).unwrap();
    let out = t.verb(["delete", "--force", &container.id]).ok();
    // The test survives, and a warning names what still runs.
    assert!(out.stderr.contains("not its own"), "{out:?}");
    assert!(out.stderr.contains("its processes, if any, still run"), "{out:?}");
    assert!(container.init.is_alive());
    container.init.kill();
    container.wait();
    for dir in cgroups_named(&t.token) {
        crate::harness::remove_cgroup(&dir);
    }
}

fn one_unreadable_record_does_not_hide_others(t: &Test) {
    let (broken, whole) = (t.create(&t.bundle().pausing()), t.create(&t.bundle().pausing()));
    write(t, &broken.id, b"");
    let out = t.verb(["list", "--format", "json"]).ok();
    let list: Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert_eq!((list.as_array().unwrap().len(), &list[0]["id"]), (1, &json!(whole.id)));
    assert!(out.stderr.contains(&broken.id), "{out:?}");
    let quiet = t.verb(["list", "--quiet"]).ok().stdout;
    assert_eq!(quiet.lines().count(), 2, "{quiet}");
}

/// runc's directory: a state.json, and no configuration beside it.
fn another_runtimes_container_is_not_deleted(t: &Test) {
    let dir = t.root().join("theirs");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("state.json"), r#"{"id": "theirs", "init_process_pid": 1}"#).unwrap();
    t.verb(["delete", "--force", "theirs"]).out().one_clear_line(&["theirs", "state.json can't be read"]);
    assert!(dir.join("state.json").exists());
    fs::remove_dir_all(&dir).unwrap();
}

fn directories_of_other_programs_are_not_containers(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    let full = t.root().join("full");
    for dir in [t.root().join("lost+found"), full.clone()] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(full.join("file"), "theirs").unwrap();
    assert_eq!(t.verb(["list", "--quiet"]).ok().stdout, format!("{}\n", container.id));
    let out = t.verb(["list", "--format", "json"]).ok();
    let list: Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert_eq!((list.as_array().unwrap().len(), out.stderr.as_str()), (1, ""), "{list}");
    for id in ["lost+found", "full"] {
        for verb in ["state", "delete", "start", "kill", "pause", "exec"] {
            let out = t.verb([verb, id]).out();
            out.says(&["does not exist"]);
        }
        t.verb(["delete", "--force", id]).ok();
        let out = t.verb(["create", "--bundle"]).arg(t.bundle().pausing().lay()).arg(id).out();
        out.one_clear_line(&["already exists", "corten did not create it"]);
    }
    t.verb(["delete", "--force", "--regex", "."]).ok();
    assert_eq!(fs::read_to_string(full.join("file")).unwrap(), "theirs");
    for dir in [t.root().join("lost+found"), full] {
        fs::remove_dir_all(dir).unwrap();
    }
}

/// Runs the runtime under strace, which changes one call on the state directory.
fn traced<'t>(t: &'t Test, id: &str, inject: &str) -> crate::harness::Call<'t> {
    let root = t.root();
    let dir = root.join(id);
    let mut call = t.call("/usr/bin/strace").args(["-o", "/dev/null"]);
    for path in [&root, &dir, &dir.join("config.json")] {
        call = call.arg("-P").arg(path);
    }
    call.args(["-e", &format!("inject={inject}")]).arg(&*t.runtime.borrow()).arg("--root").arg(root)
}

/// Whichever call fails, nothing is left, and the id can be claimed again.
fn a_claim_that_fails_leaves_nothing(t: &Test) {
    t.needs_root("to trace the runtime");
    let bundle = t.bundle().pausing();
    bundle.lay();
    // Creates a directory that the test can watch.
    fs::create_dir_all(t.root()).unwrap();
    let mut failed = 0;
    for call in ["mkdirat", "openat", "fcntl", "flock", "fstat", "newfstatat", "write", "renameat"] {
        for time in 1..=6 {
            let id = t.id();
            let inject = format!("{call}:error=EIO:when={time}");
            let out = traced(t, &id, &inject).args(["create", "--bundle"]).arg(&bundle.dir).arg(&id).out();
            if out.code == 0 {
                t.verb(["delete", "--force", &id]).ok();
                break;
            }
            failed += 1;
            assert!(out.stderr.contains("EIO"), "{inject}: {out:?}");
            assert!(!t.root().join(&id).exists(), "{inject}: {out:?}");
        }
    }
    assert!(failed > 8, "only {failed} calls were made to fail");
}

/// SIGKILL comes between the call that creates the directory and the one that writes the
/// record.
fn a_claim_that_was_killed_is_deleted(t: &Test) {
    t.needs_root("to trace the runtime");
    let bundle = t.bundle().pausing();
    bundle.lay();
    fs::create_dir_all(t.root()).unwrap();
    for call in ["openat:signal=KILL:when=2", "openat:signal=KILL:when=3", "fcntl:signal=KILL:when=1"] {
        let id = t.id();
        let out = traced(t, &id, call).args(["create", "--bundle"]).arg(&bundle.dir).arg(&id).out();
        assert_eq!(out.code, 137, "{call}: {out:?}");
        assert!(t.root().join(&id).is_dir(), "{call}: it was killed before it made anything");
        // Go's clients parse the time.
        let list: Value = serde_json::from_str(&t.verb(["list", "--format", "json"]).ok().stdout).unwrap();
        assert_eq!(list[0]["status"], "stopped", "{call}: {list}");
        let created = list[0]["created"].as_str().expect("a time");
        assert!(created.starts_with("20") && created.ends_with('Z'), "{call}: {created}");
        let again = t.verb(["create", "--bundle"]).arg(&bundle.dir).arg(&id).out();
        again.one_clear_line(&["already exists"]);
        t.verb(["delete", "--force", &id]).ok();
        assert!(!t.root().join(&id).exists(), "{call}");
    }
}

/// Before Linux 6.9, the start time alone tells a process from a later one with its pid. The
/// changed record is that of an earlier process.
fn a_process_that_started_later_is_a_stranger(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let own = read(t, &container.id);
    for inode in [own["init"]["inode"].clone(), Value::Null] {
        let mut earlier = own.clone();
        earlier["init"]["inode"] = inode;
        earlier["init"]["start_time"] = json!(own["init"]["start_time"].as_u64().expect("a number") - 1);
        write(t, &container.id, earlier.to_string().as_bytes());
        assert_eq!(container.status(), "stopped", "{earlier}");
        container.verb("kill").arg("KILL").out().fails(&["container not running"]);
        container.verb("exec").arg("true").out().fails(&["container not running"]);
        assert!(container.init.is_alive(), "{earlier}");
    }
    write(t, &container.id, own.to_string().as_bytes());
    assert_eq!(container.status(), "running");
}
