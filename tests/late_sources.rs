//! Sources of bind mounts that init opens late: sources below the rootfs that an earlier
//! mount provides, and sources for which there are too few descriptors.

use crate::harness::{Bundle, Test, cgroup_v2};
use crate::mounts::{at, has, volume};
use serde_json::json;

cases![
    source_that_an_earlier_mount_shows,
    source_that_an_earlier_mount_covers,
    source_by_another_name_of_the_rootfs,
    source_that_is_a_link_stays_inside,
    source_inside_is_readonly_as_its_mount,
    source_inside_that_is_missing_is_refused,
    source_inside_that_is_idmapped,
    source_inside_in_a_user_namespace,
    source_inside_that_is_closed_to_the_containers_root,
    few_descriptors,
    few_descriptors_for_many_binds,
];

fn inside(bundle: Bundle, source: &str, destination: &str, options: &[&str]) -> Bundle {
    let source = bundle.inside(source);
    bundle.bind(&source, destination, options)
}

/// A volume that contains a directory, mounted at /a.
fn with_volume(t: &Test) -> Bundle {
    let dir = volume(t);
    std::fs::create_dir(dir.join("x")).unwrap();
    std::fs::write(dir.join("x/deep"), "deep").unwrap();
    t.bundle().bind(&dir, "/a", &[])
}

fn source_that_an_earlier_mount_shows(t: &Test) {
    let bundle = with_volume(t);
    let bundle = inside(bundle, "/a/x", "/b", &[]);
    let bundle = inside(bundle, "/a/file", "/etc/file", &["ro"]);
    let bundle = inside(bundle, "/b/deep", "/deep", &[]);
    let seen = t.look(&bundle, ["text:/b/deep", "text:/etc/file", "write:/etc/file", "text:/deep"]);
    assert_eq!(seen["asked"]["text:/b/deep"], "deep");
    assert_eq!(seen["asked"]["text:/etc/file"], "of the host");
    assert_eq!(seen["asked"]["write:/etc/file"], "EROFS");
    assert_eq!(seen["asked"]["text:/deep"], "deep");
}

/// The bind shows the mount, not the image's directory.
fn source_that_an_earlier_mount_covers(t: &Test) {
    let bundle = with_volume(t);
    std::fs::create_dir_all(bundle.inside("/a/x")).unwrap();
    std::fs::write(bundle.inside("/a/x/deep"), "image").unwrap();
    let seen = t.look(&inside(bundle, "/a/x", "/b", &[]), ["text:/b/deep"]);
    assert_eq!(seen["asked"]["text:/b/deep"], "deep");
}

fn source_by_another_name_of_the_rootfs(t: &Test) {
    let bundle = with_volume(t);
    let link = t.dir.join("another-name");
    std::os::unix::fs::symlink(bundle.inside("/"), &link).unwrap();
    let seen = t.look(&bundle.bind(&link.join("a/x"), "/b", &[]), ["text:/b/deep"]);
    assert_eq!(seen["asked"]["text:/b/deep"], "deep");
}

/// A symbolic link in the image or in a volume leads to the same place as in the container,
/// and never to the host. (With runc and crun it leads to the host.)
fn source_that_is_a_link_stays_inside(t: &Test) {
    let secret = t.make_dir("secret");
    std::fs::write(secret.join("key"), "secret").unwrap();
    t.decoy(&secret);
    let bundle = with_volume(t);
    std::os::unix::fs::symlink(&secret, t.path("link-in-volume")).unwrap();
    std::os::unix::fs::symlink(&secret, bundle.inside("/out")).unwrap();
    std::os::unix::fs::symlink("/etc", bundle.inside("/own")).unwrap();
    // The image has the path that the link names, too. The runtime binds that path.
    let there = bundle.inside(secret.to_str().unwrap());
    std::fs::create_dir_all(&there).unwrap();
    std::fs::write(there.join("key"), "image").unwrap();
    std::fs::write(bundle.inside("/etc/mark"), "mark").unwrap();
    let bundle = inside(bundle, "/out", "/b", &[]);
    let bundle = inside(bundle, "/own", "/c", &[]);
    let seen = t.look(&bundle, ["text:/b/key", "text:/c/mark"]);
    assert_eq!(seen["asked"]["text:/b/key"], "image");
    assert_eq!(seen["asked"]["text:/c/mark"], "mark");
    std::fs::remove_file(there.join("key")).unwrap();
    std::fs::remove_dir(&there).unwrap();
    t.refused(&bundle).one_clear_line(&["/mounts/8/source"]);
}

/// As in runc.
fn source_inside_is_readonly_as_its_mount(t: &Test) {
    let dir = volume(t);
    let bundle = inside(t.bundle().bind(&dir, "/a", &["ro"]), "/a", "/b", &[]);
    has(at(&t.look(&bundle, []), "/b"), &["ro"]);
}

fn source_inside_that_is_missing_is_refused(t: &Test) {
    let bundle = inside(with_volume(t), "/a/missing", "/b", &[]);
    let out = t.refused(&bundle);
    out.one_clear_line(&["/mounts/8/source", bundle.inside("/a/missing").to_str().unwrap()]);
}

fn idmapped(bundle: Bundle) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let source = bundle.inside("/a/x");
    bundle.push(
        "/mounts",
        json!({
            "destination": "/b", "type": "bind", "source": source, "options": ["bind"],
            "uidMappings": map, "gidMappings": map,
        }),
    )
}

fn source_inside_that_is_idmapped(t: &Test) {
    t.needs_root("idmapped mounts");
    let seen = t.look(&idmapped(with_volume(t)), ["stat:/b/deep", "stat:/a/x/deep"]);
    assert_eq!(seen["asked"]["stat:/a/x/deep"]["uid"], 0);
    assert_eq!(seen["asked"]["stat:/b/deep"]["uid"], 100_000);
    // The mappings are relative to the user namespace: files of the host's root belong to
    // the container's root.
    let bundle = idmapped(with_volume_for_user_namespace(t)).user_namespace();
    let seen = t.look(&bundle, ["stat:/b/deep", "stat:/a/x/deep"]);
    assert_eq!(seen["asked"]["stat:/a/x/deep"]["uid"], 65534);
    assert_eq!(seen["asked"]["stat:/b/deep"]["uid"], 0);
}

fn with_volume_for_user_namespace(t: &Test) -> Bundle {
    let dir = t.make_dir("users-volume");
    std::fs::create_dir(dir.join("x")).unwrap();
    std::fs::write(dir.join("x/deep"), "deep").unwrap();
    let bundle = t.bundle().bind(&dir, "/a", &[]);
    for made in ["/a", "/b"] {
        std::fs::create_dir(bundle.inside(made)).unwrap();
    }
    bundle
}

fn source_inside_in_a_user_namespace(t: &Test) {
    let bundle = inside(with_volume_for_user_namespace(t), "/a/x", "/b", &[]).user_namespace();
    t.needs_root("other ids");
    assert_eq!(t.look(&bundle, ["text:/b/deep"])["asked"]["text:/b/deep"], "deep");
}

fn source_inside_that_is_closed_to_the_containers_root(t: &Test) {
    use std::os::unix::fs::PermissionsExt;
    t.needs_root("other ids");
    let bundle = inside(with_volume_for_user_namespace(t), "/a/x", "/b", &[]).user_namespace();
    let dir = std::path::PathBuf::from(bundle.config["mounts"][7]["source"].as_str().unwrap());
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    let seen = t.look(&bundle, ["text:/b/deep", "text:/a/x/deep"]);
    assert_eq!(seen["asked"]["text:/b/deep"], "deep");
    assert_eq!(seen["asked"]["text:/a/x/deep"], "EACCES");
}

fn run_with_descriptors(t: &Test, bundle: &Bundle, limit: u32) -> String {
    let bundle = bundle.clone().drop("/process/rlimits").shell("cat /tmp/m119/file 2>&- || echo fine");
    let script = format!("ulimit -n {limit}; runtime run \"$ID\"");
    t.in_private_mounts(&bundle, &t.dir, &script).ok().stdout
}

fn few_descriptors(t: &Test) {
    t.needs_root("a bundle that starts without binds");
    // Version 1 needs a descriptor for each hierarchy.
    let limit = if cgroup_v2() { 20 } else { 24 };
    assert_eq!(run_with_descriptors(t, &t.bundle(), limit), "fine\n");
    assert_eq!(run_with_descriptors(t, &t.bundle().user_namespace(), limit), "fine\n");
}

fn few_descriptors_for_many_binds(t: &Test) {
    t.needs_root("a bundle that starts without binds");
    let dir = volume(t);
    let many = |bundle: Bundle| {
        (0..120).fold(bundle, |bundle, n| {
            std::fs::create_dir_all(bundle.inside(&format!("/tmp/m{n}"))).unwrap();
            bundle.bind(&dir, &format!("/tmp/m{n}"), &["ro"])
        })
    };
    for limit in [64, 128] {
        assert_eq!(run_with_descriptors(t, &many(t.bundle()), limit), "of the host");
        assert_eq!(run_with_descriptors(t, &many(t.bundle()).user_namespace(), limit), "of the host");
    }
}
