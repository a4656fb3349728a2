//! The ids that a mount shows: `uidMappings`, `gidMappings`, `idmap`, `ridmap`.

use crate::harness::{Bundle, Out, Test, is_corten};
use crate::mounts::look_after;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

cases![
    mappings_of_its_own,
    what_is_written_comes_back_mapped,
    without_the_option_the_mappings_count,
    unmapped_ids_belong_to_nobody,
    mappings_of_the_containers_user_namespace,
    mappings_of_its_own_in_a_user_namespace,
    mappings_of_a_joined_user_namespace,
    idmap_applies_to_the_mount_only,
    ridmap_reaches_submounts,
    mappings_in_the_option,
    mappings_in_the_option_relative_to_the_container,
    a_file,
    with_other_options,
    a_new_tmpfs,
    equal_mappings_share_a_namespace,
    one_list_without_the_other_is_refused,
    without_any_mapping_is_refused,
    ranges_that_overlap_are_refused,
    malformed_mappings_are_refused,
    a_filesystem_without_idmaps_is_named,
    cgroup_and_remount_are_refused,
];

/// A directory with files of the host's users 0, 5 and 70.
fn volume(t: &Test) -> PathBuf {
    let dir = t.make_dir("volume");
    for uid in [0, 5, 70] {
        let file = dir.join(uid.to_string());
        fs::write(&file, "").unwrap();
        std::os::unix::fs::chown(&file, Some(uid), Some(uid)).unwrap();
    }
    dir
}

fn map(container: u32, host: u32, size: u32) -> Value {
    json!({ "containerID": container, "hostID": host, "size": size })
}

/// A recursive bind mount on /tmp with these mappings for uids and gids.
fn mapped(bundle: Bundle, source: &Path, options: &[&str], maps: &Value) -> Bundle {
    let options = [&["rbind"], options].concat();
    let mount = json!({
        "destination": "/tmp", "type": "bind", "source": source, "options": options,
        "uidMappings": maps, "gidMappings": maps,
    });
    bundle.push("/mounts", mount)
}

/// Returns the owner and group of a file from the report.
fn owner(seen: &Value, path: &str) -> (u64, u64) {
    let stat = &seen["asked"][format!("stat:{path}")];
    (stat["uid"].as_u64().expect("a uid"), stat["gid"].as_u64().expect("a gid"))
}

fn mappings_of_its_own(t: &Test) {
    let bundle = mapped(t.bundle(), &volume(t), &["idmap"], &json!([map(0, 1000, 10), map(70, 2070, 1)]));
    let seen = t.look(&bundle, ["stat:/tmp/0", "stat:/tmp/5", "stat:/tmp/70"]);
    assert_eq!(owner(&seen, "/tmp/0"), (1000, 1000));
    assert_eq!(owner(&seen, "/tmp/5"), (1005, 1005));
    assert_eq!(owner(&seen, "/tmp/70"), (2070, 2070));
}

fn what_is_written_comes_back_mapped(t: &Test) {
    let dir = volume(t);
    let bundle = mapped(t.bundle(), &dir, &["idmap"], &json!([map(0, 1000, 10)]));
    let bundle = bundle.set("/process/user", json!({ "uid": 1003, "gid": 1004 }));
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    assert_eq!(t.look(&bundle, ["create:/tmp/new"])["asked"]["create:/tmp/new"], "ok");
    let meta = fs::metadata(dir.join("new")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (3, 4));
}

fn without_the_option_the_mappings_count(t: &Test) {
    let bundle = mapped(t.bundle(), &volume(t), &[], &json!([map(0, 1000, 10)]));
    assert_eq!(owner(&t.look(&bundle, ["stat:/tmp/5"]), "/tmp/5"), (1005, 1005));
}

fn unmapped_ids_belong_to_nobody(t: &Test) {
    let bundle = mapped(t.bundle(), &volume(t), &["idmap"], &json!([map(0, 1000, 1)]));
    assert_eq!(owner(&t.look(&bundle, ["stat:/tmp/5"]), "/tmp/5"), (65534, 65534));
}

fn mappings_of_the_containers_user_namespace(t: &Test) {
    let dir = volume(t);
    let plain = t.bundle().user_namespace().bind(&dir, "/tmp", &[]);
    assert_eq!(owner(&t.look(&plain, ["stat:/tmp/5"]), "/tmp/5"), (65534, 65534));
    let bundle = t.bundle().user_namespace().bind(&dir, "/tmp", &["idmap"]);
    let seen = t.look(&bundle, ["stat:/tmp/5", "create:/tmp/new"]);
    assert_eq!(owner(&seen, "/tmp/5"), (5, 5));
    assert_eq!(seen["asked"]["create:/tmp/new"], "ok");
    assert_eq!(fs::metadata(dir.join("new")).unwrap().uid(), 0);
}

/// The second id is an id of the host: 100 000 is the container's root.
fn mappings_of_its_own_in_a_user_namespace(t: &Test) {
    let bundle = t.bundle().user_namespace();
    let bundle = mapped(bundle, &volume(t), &["idmap"], &json!([map(70, 100_000, 1), map(0, 100_070, 1)]));
    let seen = t.look(&bundle, ["stat:/tmp/70", "stat:/tmp/0"]);
    assert_eq!(owner(&seen, "/tmp/70"), (0, 0));
    assert_eq!(owner(&seen, "/tmp/0"), (70, 70));
}

fn mappings_of_a_joined_user_namespace(t: &Test) {
    let first = t.start(&t.bundle().user_namespace().pausing());
    let path = format!("/proc/{}/ns/user", first.init.pid);
    let bundle = t.bundle().join("user", &path).bind(&volume(t), "/tmp", &["idmap"]);
    assert_eq!(owner(&t.look(&bundle, ["stat:/tmp/5"]), "/tmp/5"), (5, 5));
}

const SUB: &str = "mkdir \"$VOLUME/sub\"; mount -t tmpfs s \"$VOLUME/sub\"; touch \"$VOLUME/sub/file\"; \
                   chown 5:5 \"$VOLUME/sub/file\"";

fn idmap_applies_to_the_mount_only(t: &Test) {
    let dir = volume(t);
    let bundle = mapped(t.bundle(), &dir, &["idmap"], &json!([map(0, 1000, 10)]));
    let seen = look_after(t, &dir, SUB, bundle, &["stat:/tmp/5", "stat:/tmp/sub/file"]);
    assert_eq!(owner(&seen, "/tmp/5"), (1005, 1005));
    assert_eq!(owner(&seen, "/tmp/sub/file"), (5, 5));
}

fn ridmap_reaches_submounts(t: &Test) {
    let dir = volume(t);
    let bundle = mapped(t.bundle(), &dir, &["ridmap"], &json!([map(0, 1000, 10)]));
    if !maps_a_tmpfs(t) {
        let script = format!("{SUB}; runtime run \"$ID\"");
        return refused_for_a_tmpfs(&t.in_private_mounts(&bundle, &dir, &script).out());
    }
    let seen = look_after(t, &dir, SUB, bundle, &["stat:/tmp/5", "stat:/tmp/sub/file"]);
    assert_eq!(owner(&seen, "/tmp/5"), (1005, 1005));
    assert_eq!(owner(&seen, "/tmp/sub/file"), (1005, 1005));
}

fn mappings_in_the_option(t: &Test) {
    let option = "idmap=uids=0-1000-5#5-2000-1;gids=0-3000-10";
    let bundle = t.bundle().bind(&volume(t), "/tmp", &[option]);
    let seen = t.look(&bundle, ["stat:/tmp/0", "stat:/tmp/5"]);
    assert_eq!(owner(&seen, "/tmp/0"), (1000, 3000));
    assert_eq!(owner(&seen, "/tmp/5"), (2000, 3005));
}

/// With `@`, the second id is an id of the container.
fn mappings_in_the_option_relative_to_the_container(t: &Test) {
    let option = "idmap=uids=@0-3-10;gids=@0-4-10";
    let bundle = t.bundle().user_namespace().bind(&volume(t), "/tmp", &[option]);
    assert_eq!(owner(&t.look(&bundle, ["stat:/tmp/5"]), "/tmp/5"), (8, 9));
}

fn a_file(t: &Test) {
    let bundle = mapped(t.bundle(), &volume(t).join("5"), &["idmap"], &json!([map(5, 1234, 1)]));
    fs::remove_dir(bundle.inside("/tmp")).unwrap();
    assert_eq!(owner(&t.look(&bundle, ["stat:/tmp"]), "/tmp"), (1234, 1234));
}

fn with_other_options(t: &Test) {
    let options = ["idmap", "ro", "nosuid", "rslave"];
    let bundle = mapped(t.bundle(), &volume(t), &options, &json!([map(0, 1000, 10)]));
    let seen = t.look(&bundle, ["stat:/tmp/5", "create:/tmp/new"]);
    assert_eq!(owner(&seen, "/tmp/5"), (1005, 1005));
    assert_eq!(seen["asked"]["create:/tmp/new"], "EROFS");
    crate::mounts::has(crate::mounts::at(&seen, "/tmp"), &["ro", "nosuid", "idmapped"]);
}

/// Returns whether the kernel maps the ids of a tmpfs, as Linux 6.3 and later do.
fn maps_a_tmpfs(t: &Test) -> bool {
    if !is_corten() {
        return true;
    }
    let features: Value = serde_json::from_str(&t.verb(["features", "--host"]).ok().stdout).unwrap();
    features["host"]["idmap"]["tmpfs"]["enabled"].as_bool().unwrap()
}

/// The runtime must not show the ids unmapped instead.
fn refused_for_a_tmpfs(out: &Out) {
    out.one_clear_line(&["/mounts/7", "mount_setattr idmap: EINVAL", "this kernel may not map the ids of"]);
}

fn a_new_tmpfs(t: &Test) {
    let mount = json!({
        "destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["idmap", "uid=5", "gid=6", "mode=700"],
        "uidMappings": [map(0, 1000, 10)], "gidMappings": [map(0, 2000, 10)],
    });
    let bundle = t.bundle().push("/mounts", mount);
    if !maps_a_tmpfs(t) {
        return refused_for_a_tmpfs(&t.refused(&bundle));
    }
    let seen = t.look(&bundle, ["stat:/tmp"]);
    assert_eq!(owner(&seen, "/tmp"), (1005, 2006));
}

/// A user namespace costs a process. Mounts with the same mappings share one.
fn equal_mappings_share_a_namespace(t: &Test) {
    let dir = volume(t);
    let one = |place: &str, host: u32| {
        let maps = json!([map(0, host, 10)]);
        json!({ "destination": place, "type": "bind", "source": dir, "options": ["bind", "idmap"],
                "uidMappings": maps, "gidMappings": maps })
    };
    let bundle = t
        .bundle()
        .push("/mounts", one("/a", 1000))
        .push("/mounts", one("/b", 2000))
        .push("/mounts", one("/c", 1000))
        .args(["/probe", "stat:/a/5", "stat:/b/5", "stat:/c/5"]);
    let log = t.path("trace");
    let call = t.call("/usr/bin/strace").args(["-f", "-e", "trace=clone3,clone", "-o"]).arg(&log);
    let call = call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(["run", "--bundle"]);
    let seen = call.arg(bundle.lay()).arg(t.id()).out().report();
    for (place, uid) in [("/a/5", 1005), ("/b/5", 2005), ("/c/5", 1005)] {
        assert_eq!(owner(&seen, place).0, uid, "{place}");
    }
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("CLONE_NEWUSER").count(), 2, "{log}");
}

fn one_list_without_the_other_is_refused(t: &Test) {
    for (given, missing) in [("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")] {
        let bundle = mapped(t.bundle(), &volume(t), &["idmap"], &json!([map(0, 1000, 10)]));
        let bundle = bundle.drop(&format!("/mounts/7/{missing}"));
        t.refused(&bundle).one_clear_line(&[&format!("/mounts/7/{given}"), missing]);
    }
}

fn without_any_mapping_is_refused(t: &Test) {
    for option in ["idmap", "ridmap"] {
        let bundle = t.bundle().bind(&volume(t), "/tmp", &[option]);
        t.refused(&bundle).one_clear_line(&["/mounts/7/options", "uidMappings"]);
    }
}

fn ranges_that_overlap_are_refused(t: &Test) {
    let bundle = mapped(t.bundle(), &volume(t), &["idmap"], &json!([map(0, 1000, 10), map(5, 3000, 10)]));
    t.refused(&bundle).one_clear_line(&["/mounts/7/uidMappings/1", "overlaps"]);
    let bundle = mapped(t.bundle(), &volume(t), &["idmap"], &json!([map(0, 1000, 0)]));
    t.refused(&bundle).one_clear_line(&["/mounts/7/uidMappings/0/size"]);
    let bundle = t.bundle().bind(&volume(t), "/tmp", &["idmap=uids=0-10-5#3-20-5;gids=0-0-1"]);
    t.refused(&bundle).one_clear_line(&["/mounts/7/options", "3-20-5", "overlaps"]);
}

fn malformed_mappings_are_refused(t: &Test) {
    for option in
        ["idmap=", "idmap=uids=0-0-1", "ridmap=uids=0-0-1;gids=zero", "idmap=uids=@0-0-1;gids=@0-0-1"]
    {
        let bundle = t.bundle().bind(&volume(t), "/tmp", &[option]);
        t.refused(&bundle).one_clear_line(&["/mounts/7/options", option]);
    }
}

fn a_filesystem_without_idmaps_is_named(t: &Test) {
    let bundle = mapped(t.bundle(), Path::new("/sys/kernel"), &["idmap"], &json!([map(0, 1000, 10)]));
    t.refused(&bundle).one_clear_line(&["/mounts/7", "/sys/kernel", "EINVAL", "sysfs"]);
}

fn cgroup_and_remount_are_refused(t: &Test) {
    let maps = json!([map(0, 1000, 10)]);
    for (kind, option) in [("cgroup", "idmap"), ("tmpfs", "remount")] {
        let mount = json!({
            "destination": "/tmp", "type": kind, "source": "x", "options": [option],
            "uidMappings": maps, "gidMappings": maps,
        });
        t.refused(&t.bundle().push("/mounts", mount)).one_clear_line(&["/mounts/7"]);
    }
}
