//! `linux.intelRdt`, as far as it can be seen without the hardware.
//!
//! The runtime finds resctrl in its mountinfo, and a process can be given one
//! of its own: another file bound over it. What that names as resctrl is a
//! directory of a test: either one of a v1 hierarchy that is kept from the
//! runtime, where every directory has a `tasks` file that really moves a
//! process; or a plain one, where a file keeps what was written.

use crate::harness::{Bundle, Out, Test};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

cases![
    no_resctrl_is_an_error,
    group_of_its_own,
    an_existing_class_is_joined,
    monitoring_group,
    missing_class_is_refused,
    default_class,
    schemas_of_a_class_are_compared,
    schemata_are_written,
    new_class_needs_its_schema_written,
    group_goes_with_a_failed_create,
    monitoring_that_the_machine_lacks,
    events_report_the_group,
    a_shared_class_measures_nobody,
    invalid_values,
];

fn with(bundle: Bundle, rdt: Value) -> Bundle {
    bundle.set("/linux/intelRdt", rdt)
}

/// `runtime VERB` with `root` in place of resctrl. The id is in the file `id` beside it.
fn call(t: &Test, verb: &str, bundle: &Bundle, root: &Path) -> (Out, String) {
    call_after(t, ":", verb, bundle, root)
}

/// The same, after a shell command that may use `$ID`.
fn call_after(t: &Test, before: &str, verb: &str, bundle: &Bundle, root: &Path) -> (Out, String) {
    let volume = t.make_dir("volume");
    let script = format!(
        r#"{{ grep -v " - cgroup .*blkio" /proc/self/mountinfo; echo "9999 1 0:999 / {} rw - resctrl resctrl rw"; }} >"$VOLUME/mountinfo"
        echo -n "$ID" >"$VOLUME/id"
        {before}
        exec sh -c 'mount --bind "$VOLUME/mountinfo" /proc/$$/mountinfo
            exec "$RUNTIME" --root "$STATE" {verb} --bundle "$BUNDLE" --pid-file "$VOLUME/pid" "$ID"'"#,
        root.display()
    );
    let out = t.in_private_mounts(bundle, &volume, &script).out();
    (out, fs::read_to_string(volume.join("id")).expect("an id"))
}

/// Creates a container, and returns its id.
fn created(t: &Test, bundle: &Bundle, root: &Path) -> String {
    let (out, id) = call(t, "create", &bundle.clone().pausing(), root);
    assert_eq!(out.code, 0, "{out:?}");
    id
}

fn refused(t: &Test, bundle: &Bundle, root: &Path, needles: &[&str]) {
    let (out, _) = call(t, "create", bundle, root);
    out.one_clear_line(needles);
}

/// A directory whose subdirectories have a `tasks` file. It is removed when the value is
/// dropped, after the containers in it.
struct Cgroup<'t>(&'t Test, PathBuf, RefCell<Vec<String>>);

impl<'t> Cgroup<'t> {
    fn new(t: &'t Test) -> Cgroup<'t> {
        let root = Path::new("/sys/fs/cgroup/blkio").join(format!("{}rdt", t.token));
        if fs::create_dir(&root).is_err() {
            t.skip("needs a v1 hierarchy of the block controller");
        }
        Cgroup(t, root, RefCell::default())
    }

    fn created(&self, rdt: Value) -> String {
        let id = created(self.0, &with(self.0.bundle(), rdt), &self.1);
        self.2.borrow_mut().push(id.clone());
        id
    }

    fn make(&self, name: &str) -> PathBuf {
        let dir = self.1.join(name);
        fs::create_dir_all(&dir).expect("make a cgroup");
        dir
    }

    /// Deletes the container. Only `names` may be left below the directory.
    fn delete(&self, id: &str, names: &[&str]) {
        self.0.verb(["delete", "--force", id]).ok();
        let left = children(&self.1);
        assert_eq!(left, names.iter().map(|name| self.1.join(name)).collect::<Vec<_>>());
    }
}

impl Drop for Cgroup<'_> {
    fn drop(&mut self) {
        for id in self.2.take() {
            self.0.verb(["delete", "--force", &id]).quietly();
        }
        for dir in children(&self.1).iter().rev().chain([&self.1]) {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Returns all directories below, parents first.
fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.is_dir())
        .flat_map(|path| [vec![path.clone()], children(&path)].concat())
        .collect()
}

/// Returns the directory of the process of an exec, or of init, in that hierarchy.
fn place_of(text: &str) -> PathBuf {
    let line = text.lines().find(|line| line.contains(":blkio:")).expect("a line for blkio");
    let path = line.rsplit(':').next().expect("a path");
    Path::new("/sys/fs/cgroup/blkio").join(path.trim_start_matches('/'))
}

fn place_of_init(t: &Test, id: &str) -> PathBuf {
    let state: Value = serde_json::from_str(&t.verb(["state", id]).ok().stdout).expect("state");
    place_of(&fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).expect("cgroup"))
}

fn place_of_exec(t: &Test, id: &str) -> PathBuf {
    place_of(&t.verb(["exec", id, "cat", "/proc/self/cgroup"]).ok().stdout)
}

/// A plain directory with the files of resctrl: a root, and a class `gold`.
fn plain(t: &Test) -> PathBuf {
    let root = t.make_dir("resctrl");
    for dir in [root.clone(), root.join("gold"), root.join("info")] {
        if !dir.exists() {
            fs::create_dir(&dir).expect("mkdir");
        }
        fs::write(dir.join("schemata"), "    MB:0=100\n    L3:0=0ff;1=fff\n").expect("schemata");
        fs::write(dir.join("tasks"), "").expect("tasks");
    }
    root
}

fn pid(t: &Test, id: &str) -> String {
    let state: Value = serde_json::from_str(&t.verb(["state", id]).ok().stdout).expect("state");
    state["pid"].to_string()
}

fn no_resctrl_is_an_error(t: &Test) {
    if fs::read_to_string("/proc/mounts").unwrap().contains(" resctrl ") {
        t.skip("this machine has resctrl");
    }
    t.refused(&with(t.bundle(), json!({}))).one_clear_line(&["/linux/intelRdt", "resctrl"]);
}

fn group_of_its_own(t: &Test) {
    let root = Cgroup::new(t);
    let id = root.created(json!({}));
    let group = root.1.join(&id);
    assert_eq!(place_of_init(t, &id), group);
    t.verb(["start", &id]).ok();
    assert_eq!(place_of_exec(t, &id), group);
    root.delete(&id, &[]);
}

fn an_existing_class_is_joined(t: &Test) {
    let root = Cgroup::new(t);
    let gold = root.make("gold");
    let id = root.created(json!({ "closID": "gold" }));
    assert_eq!(place_of_init(t, &id), gold);
    root.delete(&id, &["gold"]);
}

fn monitoring_group(t: &Test) {
    let root = Cgroup::new(t);
    let groups = root.make("gold/mon_groups");
    let id = root.created(json!({ "closID": "gold", "enableMonitoring": true }));
    assert_eq!(place_of_init(t, &id), groups.join(&id));
    t.verb(["start", &id]).ok();
    assert_eq!(place_of_exec(t, &id), groups.join(&id));
    root.delete(&id, &["gold", "gold/mon_groups"]);
}

fn missing_class_is_refused(t: &Test) {
    let root = plain(t);
    refused(
        t,
        &with(t.bundle(), json!({ "closID": "silver" })),
        &root,
        &["/linux/intelRdt/closID", "silver"],
    );
    assert!(!root.join("silver").exists());
}

fn default_class(t: &Test) {
    let root = plain(t);
    let id = created(t, &with(t.bundle(), json!({ "closID": "/" })), &root);
    assert_eq!(fs::read_to_string(root.join("tasks")).unwrap(), pid(t, &id));
    t.verb(["delete", "--force", &id]).ok();
    assert!(root.join("tasks").exists());
}

fn schemas_of_a_class_are_compared(t: &Test) {
    let root = plain(t);
    let gold = |schema: &str| with(t.bundle(), json!({ "closID": "gold", "l3CacheSchema": schema }));
    let id = created(t, &gold("L3:0=ff"), &root);
    assert_eq!(fs::read_to_string(root.join("gold/tasks")).unwrap(), pid(t, &id));
    refused(t, &gold("L3:0=f"), &root, &["/linux/intelRdt", "L3:0=f in", "another schema"]);
    let more = json!({ "closID": "gold", "l3CacheSchema": "L3:1=fff\nMB:0=5", "memBwSchema": "MB:0=100" });
    created(t, &with(t.bundle(), more.clone()), &root);
    let mut less = more;
    less["memBwSchema"] = json!("MB:0=50");
    refused(t, &with(t.bundle(), less), &root, &["/linux/intelRdt", "MB:0=50"]);
}

fn schemata_are_written(t: &Test) {
    let root = plain(t);
    let rdt = json!({ "closID": "gold", "schemata": ["L3:0=3;1=3", "L2:0=1"], "l3CacheSchema": "L3:1=fff" });
    created(t, &with(t.bundle(), rdt), &root);
    let text = fs::read_to_string(root.join("gold/schemata")).unwrap();
    assert!(text.starts_with("L3:0=3;1=3\nL2:0=1\n"), "{text}");
}

fn new_class_needs_its_schema_written(t: &Test) {
    // A plain directory gets no `schemata` file.
    let root = plain(t);
    for (field, value) in [("l3CacheSchema", json!("L3:0=f")), ("schemata", json!(["L3:0=f"]))] {
        let bundle = with(t.bundle(), json!({ "closID": "new", field: value }));
        refused(t, &bundle, &root, &[&format!("/linux/intelRdt/{field}"), "new/schemata"]);
        assert!(!root.join("new").exists(), "what it made is gone");
    }
}

fn group_goes_with_a_failed_create(t: &Test) {
    let root = Cgroup::new(t);
    refused(t, &with(t.bundle(), json!({})).args(["/nope"]), &root.1, &["/nope"]);
    assert_eq!(children(&root.1), Vec::<PathBuf>::new());
}

fn monitoring_that_the_machine_lacks(t: &Test) {
    let root = plain(t);
    for field in ["enableCMT", "enableMBM"] {
        let bundle = with(t.bundle(), json!({ "closID": "gold", field: true }));
        refused(t, &bundle, &root, &[&format!("/linux/intelRdt/{field}")]);
    }
    fs::create_dir(root.join("info/L3_MON")).unwrap();
    fs::write(root.join("info/L3_MON/mon_features"), "llc_occupancy\nmbm_total_bytes\n").unwrap();
    created(t, &with(t.bundle(), json!({ "closID": "gold", "enableCMT": true, "enableMBM": true })), &root);
}

/// The counters of two caches.
fn measures(group: &Path) {
    for (cache, occupancy, total) in
        [("mon_L3_00", "4096\n", "70\n"), ("mon_L3_01", "8192\n", "Unavailable\n")]
    {
        let dir = group.join("mon_data").join(cache);
        fs::create_dir_all(&dir).expect("mon_data");
        fs::write(dir.join("llc_occupancy"), occupancy).expect("a counter");
        fs::write(dir.join("mbm_total_bytes"), total).expect("a counter");
    }
}

fn rdt_of(t: &Test, id: &str) -> Value {
    let event: Value = serde_json::from_str(&t.verb(["events", "--stats", id]).ok().stdout).expect("JSON");
    event["data"]["intel_rdt"].clone()
}

fn events_report_the_group(t: &Test) {
    let root = plain(t);
    fs::create_dir_all(root.join("info/L3")).unwrap();
    for (name, text) in [("cbm_mask", "fffff\n"), ("min_cbm_bits", "1\n"), ("num_closids", "16\n")] {
        fs::write(root.join("info/L3").join(name), text).unwrap();
    }
    fs::write(root.join("gold/schemata"), "    MB:0=50\n    L3:0=f;1=fff\n").unwrap();
    // A new plain directory gets no files.
    let groups = root.join("gold/mon_groups");
    let group = format!("mkdir -p {0}/$ID; touch {0}/$ID/tasks", groups.display());
    let bundle = with(t.bundle(), json!({ "closID": "gold", "enableMonitoring": true }));
    let (out, id) = call_after(t, &group, "create", &bundle.pausing(), &root);
    assert_eq!(out.code, 0, "{out:?}");
    measures(&groups.join(&id));
    let told = rdt_of(t, &id);
    // The kernel removes resctrl's own directories together with their files.
    fs::remove_dir_all(groups.join(&id)).unwrap();
    assert_eq!(
        told,
        json!({
            "l3_cache_info": { "cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16 },
            "l3_cache_schema_root": "L3:0=0ff;1=fff",
            "l3_cache_schema": "L3:0=f;1=fff",
            "mem_bw_schema_root": "MB:0=100",
            "mem_bw_schema": "MB:0=50",
            "mbm_stats": [{ "mbm_total_bytes": 70 }, {}],
            "cmt_stats": [{ "llc_occupancy": 4096 }, { "llc_occupancy": 8192 }],
        })
    );
}

fn a_shared_class_measures_nobody(t: &Test) {
    let root = plain(t);
    measures(&root.join("gold"));
    let id = created(t, &with(t.bundle(), json!({ "closID": "gold" })), &root);
    let rdt = rdt_of(t, &id);
    assert_eq!(rdt["l3_cache_schema"], "L3:0=0ff;1=fff");
    assert_eq!(rdt.get("cmt_stats").or(rdt.get("mbm_stats")), None, "{rdt}");
}

fn invalid_values(t: &Test) {
    for (rdt, at) in [
        (json!({ "closID": "../gold" }), "/linux/intelRdt/closID"),
        (json!({ "memBwSchema": "L3:0=f" }), "/linux/intelRdt/memBwSchema"),
        (json!({ "schemata": ["L3:0=f\nMB:0=1"] }), "/linux/intelRdt/schemata/0"),
    ] {
        t.refused(&with(t.bundle(), rdt)).one_clear_line(&[at]);
    }
}
