//! The root: pivot, read-only, propagation; masked and read-only paths.

use crate::harness::{Bundle, Call, Test};
use serde_json::{Value, json};

cases![
    the_hosts_root_is_gone,
    no_pivot_works_too,
    relative_and_absolute_root_paths,
    root_is_writable_unless_readonly,
    readonly_root_is_readonly,
    readonly_root_still_gets_its_mountpoints,
    root_propagation_private,
    root_propagation_shared,
    root_propagation_slave,
    root_propagation_unbindable,
    root_propagation_reaches_mounts_below,
    unknown_root_propagation_is_refused,
    rootfs_on_a_shared_mount_leaks_nothing,
    masked_file_reads_as_empty,
    masked_directory_is_empty,
    masks_need_no_dev_null_of_the_host,
    masked_path_that_is_missing_is_skipped,
    the_root_is_not_masked,
    masked_and_readonly_paths_hold_through_links,
    masked_paths_lie_on_every_mount,
    a_path_that_is_masked_twice_has_one_mask,
    readonly_root_by_its_path,
    no_pivot_leaves_no_procfs_of_the_host,
    readonly_path_is_readonly,
    readonly_path_keeps_its_restrictions,
    readonly_path_that_is_missing_is_skipped,
    default_proc_is_protected,
    nothing_is_written_into_the_image,
];

fn mount_points(seen: &Value) -> Vec<&str> {
    let mounts = seen["mounts"].as_array().unwrap();
    mounts.iter().map(|mount| mount["at"].as_str().unwrap()).collect()
}

fn root_mount(seen: &Value) -> &Value {
    let mounts = seen["mounts"].as_array().unwrap();
    mounts.iter().find(|mount| mount["at"] == "/").expect("a root mount")
}

fn the_hosts_root_is_gone(t: &Test) {
    let bundle = t.bundle();
    let outside = format!("stat:{}", bundle.dir.display());
    let seen = t.look(&bundle, ["list:/", &outside]);
    let names = json!(["bin", "dev", "etc", "probe", "proc", "root", "sys", "tmp", "var"]);
    assert_eq!(seen["asked"]["list:/"], names);
    assert_eq!(seen["asked"][outside], "ENOENT");
    let allowed = ["/proc", "/dev", "/sys"];
    for point in mount_points(&seen) {
        let known = point == "/" || allowed.iter().any(|start| point.starts_with(start));
        assert!(known, "a mount of the host: {point}");
    }
}

fn no_pivot_works_too(t: &Test) {
    let bundle = t.bundle().args(["/probe", "list:/"]);
    let call = t.verb(["run", "--no-pivot", "--bundle"]).arg(bundle.lay());
    let seen = call.arg(t.id()).out().report();
    assert!(seen["asked"]["list:/"].as_array().unwrap().contains(&json!("probe")));
}

fn relative_and_absolute_root_paths(t: &Test) {
    let bundle = t.bundle().args(["/probe", "--exit", "0"]);
    let absolute = bundle.inside("/");
    for path in ["rootfs", "./rootfs", "../{}/rootfs", absolute.to_str().unwrap()] {
        let name = bundle.dir.file_name().unwrap().to_str().unwrap();
        let path = path.replace("{}", name);
        let out = t.run(&bundle.clone().set("/root/path", json!(path)));
        assert_eq!(out.code, 0, "{path}: {out:?}");
    }
}

fn root_is_writable_unless_readonly(t: &Test) {
    assert_eq!(t.look(&t.bundle(), ["create:/x"])["asked"]["create:/x"], "ok");
}

fn readonly(t: &Test) -> Bundle {
    t.bundle().set("/root/readonly", json!(true))
}

fn readonly_root_is_readonly(t: &Test) {
    let seen = t.look(&readonly(t), ["create:/x", "mkdir:/etc/x", "write:/etc/passwd", "create:/dev/shm/x"]);
    let asked = &seen["asked"];
    for question in ["create:/x", "mkdir:/etc/x", "write:/etc/passwd"] {
        assert_eq!(asked[question], "EROFS", "{question}");
    }
    assert_eq!(asked["create:/dev/shm/x"], "ok", "only the root is read-only");
    assert!(root_mount(&seen)["options"].as_array().unwrap().contains(&json!("ro")));
}

fn readonly_root_still_gets_its_mountpoints(t: &Test) {
    let bundle = readonly(t).mount("/made/here", "tmpfs", "tmpfs", &[]);
    assert_eq!(t.look(&bundle, ["create:/made/here/x"])["asked"]["create:/made/here/x"], "ok");
}

/// Runs a bundle on a shared mount of a private mount namespace.
fn on_a_shared_mount<'t>(t: &'t Test, bundle: &Bundle, after: &str) -> Call<'t> {
    let script = format!(
        "mount --bind \"$BUNDLE\" \"$BUNDLE\"; mount --make-rshared \"$BUNDLE\"; cd \"$BUNDLE\"; \
         runtime run \"$ID\"; {after}"
    );
    t.in_private_mounts(bundle, &bundle.dir, &script)
}

fn tags_with(t: &Test, propagation: &str) -> Vec<String> {
    let bundle = t.bundle().set("/linux/rootfsPropagation", json!(propagation));
    let seen = on_a_shared_mount(t, &bundle, "").out().report();
    let tags = root_mount(&seen)["tags"].as_array().unwrap();
    tags.iter().map(|tag| tag.as_str().unwrap().split(':').next().unwrap().to_owned()).collect()
}

fn root_propagation_private(t: &Test) {
    assert_eq!(tags_with(t, "private"), [""; 0]);
    assert_eq!(tags_with(t, "rprivate"), [""; 0]);
}

fn root_propagation_shared(t: &Test) {
    assert!(tags_with(t, "shared").contains(&"shared".to_owned()));
}

fn root_propagation_slave(t: &Test) {
    // Whether there is a master depends on the host's mounts.
    for propagation in ["slave", "rslave"] {
        let tags = tags_with(t, propagation);
        assert!(!tags.contains(&"shared".to_owned()), "{tags:?}");
    }
}

fn root_propagation_unbindable(t: &Test) {
    assert_eq!(tags_with(t, "unbindable"), ["unbindable"]);
}

/// The `r…` forms also apply to mounts below the rootfs.
fn root_propagation_reaches_mounts_below(t: &Test) {
    for (propagation, root, below) in [
        ("slave", &["master"][..], &["master"][..]),
        ("rslave", &["master"], &["master"]),
        ("private", &[], &[]),
        ("rprivate", &[], &[]),
        ("shared", &["shared", "master"], &["master"]),
        ("rshared", &["shared", "master"], &["shared", "master"]),
        ("unbindable", &["unbindable"], &[]),
        ("runbindable", &["unbindable"], &["unbindable"]),
    ] {
        let bundle = t.bundle().set("/linux/rootfsPropagation", json!(propagation)).args(["/probe"]);
        let script = "mount --bind \"$BUNDLE\" \"$BUNDLE\"; mount --make-rshared \"$BUNDLE\"; cd \"$BUNDLE\"; \
                      mount -t tmpfs s rootfs/tmp; runtime run \"$ID\"";
        let seen = t.in_private_mounts(&bundle, &bundle.dir, script).out().report();
        let kinds = |mount: &Value| {
            let tags = mount["tags"].as_array().unwrap().iter().filter_map(Value::as_str);
            tags.map(|tag| tag.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(root_mount(&seen)), root, "{propagation}");
        assert_eq!(kinds(crate::mounts::at(&seen, "/tmp")), below, "{propagation}");
    }
}

fn unknown_root_propagation_is_refused(t: &Test) {
    let bundle = t.bundle().set("/linux/rootfsPropagation", json!("sideways"));
    t.refused(&bundle).one_clear_line(&["sideways"]);
}

fn rootfs_on_a_shared_mount_leaks_nothing(t: &Test) {
    let bundle = t.bundle().args(["/probe", "--exit", "0"]);
    let count = "grep -c \" $BUNDLE\" /proc/self/mountinfo";
    let out = on_a_shared_mount(t, &bundle, count).ok();
    assert_eq!(out.stdout, "1\n", "only the bind mount of the test itself");
}

fn with_secrets(t: &Test) -> Bundle {
    let bundle = t.bundle();
    std::fs::create_dir(bundle.inside("/secrets")).unwrap();
    std::fs::write(bundle.inside("/secrets/key"), "secret").unwrap();
    bundle
}

fn masked_file_reads_as_empty(t: &Test) {
    let bundle = with_secrets(t).set("/linux/maskedPaths", json!(["/secrets/key"]));
    let seen = t.look(&bundle, ["text:/secrets/key", "list:/secrets", "stat:/secrets/key"]);
    assert_eq!(seen["asked"]["text:/secrets/key"], "");
    assert_eq!(seen["asked"]["stat:/secrets/key"]["device"], "1:3");
}

fn masked_directory_is_empty(t: &Test) {
    let bundle = with_secrets(t).set("/linux/maskedPaths", json!(["/secrets", "/var"]));
    let seen = t.look(&bundle, ["list:/secrets", "create:/secrets/x", "list:/var", "create:/var/x"]);
    for dir in ["/secrets", "/var"] {
        assert_eq!(seen["asked"][format!("list:{dir}")], json!([]), "{dir}");
        assert_eq!(seen["asked"][format!("create:{dir}/x")], "EROFS", "{dir}");
    }
}

fn masks_need_no_dev_null_of_the_host(t: &Test) {
    let bundle = t.bundle().args(["/probe", "--answer", "text:/proc/keys"]);
    let script = r#"
        mount -t tmpfs dev /dev
        [ -e /dev/null ] || echo none
        runtime run --bundle "$BUNDLE" "$ID"
    "#;
    let out = t.in_private_mounts(&bundle, &t.make_dir("volume"), script).out();
    assert_eq!(out.stdout, "none\n\"\"\n", "{out:?}");
}

fn masked_path_that_is_missing_is_skipped(t: &Test) {
    let bundle = t.bundle().set("/linux/maskedPaths", json!(["/no/such/path", "/nor/this"]));
    assert_eq!(t.look(&bundle, ["stat:/no"])["asked"]["stat:/no"], "ENOENT");
}

/// The same, by a symbolic link of the image.
fn the_root_is_not_masked(t: &Test) {
    let bundle = with_secrets(t);
    std::os::unix::fs::symlink("/", bundle.inside("/link")).unwrap();
    for path in ["/", "//.", "/link", "/etc/..", "/link/link"] {
        let bundle = bundle.clone().set("/linux/maskedPaths", json!(["/var", path]));
        t.refused(&bundle).one_clear_line(&["/linux/maskedPaths/1", "root"]);
    }
}

fn masked_and_readonly_paths_hold_through_links(t: &Test) {
    let bundle = with_secrets(t);
    for (to, name) in [("/secrets/key", "/key"), ("etc/../secrets", "/way"), ("../../etc", "/var/out")] {
        std::os::unix::fs::symlink(to, bundle.inside(name)).unwrap();
    }
    let bundle = bundle
        .set("/linux/maskedPaths", json!(["/key"]))
        .set("/linux/readonlyPaths", json!(["/way", "/var/out/passwd", "/etc/../var/"]));
    let questions =
        ["text:/secrets/key", "create:/secrets/x", "write:/etc/passwd", "create:/var/x", "create:/etc/x"];
    let asked = &t.look(&bundle, questions)["asked"];
    assert_eq!(asked["text:/secrets/key"], "");
    for question in ["create:/secrets/x", "write:/etc/passwd", "create:/var/x"] {
        assert_eq!(asked[question], "EROFS", "{question}");
    }
    assert_eq!(asked["create:/etc/x"], "ok");
}

fn masked_paths_lie_on_every_mount(t: &Test) {
    let (outer, inner) = (t.make_dir("outer"), t.make_dir("inner"));
    std::fs::create_dir(outer.join("inner")).unwrap();
    std::fs::write(inner.join("key"), "secret").unwrap();
    std::fs::write(inner.join("other"), "text").unwrap();
    t.decoy(&outer);
    t.decoy(&inner);
    let bundle = t
        .bundle()
        .bind(&outer, "/tmp", &[])
        .bind(&inner, "/tmp/inner", &[])
        .set("/linux/maskedPaths", json!(["/tmp/inner/key"]))
        .set("/linux/readonlyPaths", json!(["/tmp"]));
    let asked = &t.look(&bundle, ["text:/tmp/inner/key", "write:/tmp/inner/other", "create:/tmp/x"])["asked"];
    assert_eq!(asked["text:/tmp/inner/key"], "");
    assert_eq!(asked["write:/tmp/inner/other"], "EROFS");
    assert_eq!(asked["create:/tmp/x"], "EROFS");
}

fn a_path_that_is_masked_twice_has_one_mask(t: &Test) {
    let bundle = with_secrets(t);
    std::os::unix::fs::symlink("/secrets", bundle.inside("/link")).unwrap();
    let bundle = bundle
        .set("/linux/maskedPaths", json!(["/etc/passwd", "/secrets", "/etc/passwd", "/secrets/", "/link"]))
        .set("/linux/readonlyPaths", json!(["/bin", "/bin"]));
    let seen = t.look(&bundle, []);
    for place in ["/etc/passwd", "/secrets", "/bin"] {
        let count = mount_points(&seen).iter().filter(|point| **point == place).count();
        assert_eq!(count, 1, "{place}: {:?}", mount_points(&seen));
    }
}

fn readonly_root_by_its_path(t: &Test) {
    let bundle = with_secrets(t);
    std::os::unix::fs::symlink("/", bundle.inside("/link")).unwrap();
    for path in ["/", "/link", "/etc/.."] {
        let bundle = bundle.clone().set("/linux/readonlyPaths", json!([path]));
        let asked = &t.look(&bundle, ["create:/x", "write:/secrets/key", "create:/dev/shm/x"])["asked"];
        assert_eq!(asked["create:/x"], "EROFS", "{path}");
        assert_eq!(asked["write:/secrets/key"], "EROFS", "{path}");
        assert_eq!(asked["create:/dev/shm/x"], "ok", "{path}: as with root.readonly");
    }
}

/// The kernel lets a nested user namespace mount a procfs if a visible procfs has no mounts
/// on it. The container's procfs has masks. The host's procfs below the container's root
/// has none.
fn no_pivot_leaves_no_procfs_of_the_host(t: &Test) {
    let script = "busybox unshare -mrpf sh -c 'echo nested; mount -t proc p /tmp && cat /tmp/keys'";
    for users in [false, true] {
        let bundle = t.bundle();
        let bundle = if users { bundle.user_namespace() } else { bundle };
        let bundle = bundle.set("/linux/maskedPaths", json!(["/proc/keys"])).shell(script);
        // To map root, root would need CAP_SETFCAP.
        let bundle = bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        let call = t.verb(["run", "--no-pivot", "--bundle"]).arg(bundle.lay());
        let out = call.arg(t.id()).out();
        assert_eq!(out.stdout, "nested\n", "{out:?}");
        out.fails(&["mount: permission denied"]);
    }
}

fn readonly_path_is_readonly(t: &Test) {
    let bundle = with_secrets(t).set("/linux/readonlyPaths", json!(["/secrets", "/etc/passwd"]));
    let questions = [
        "read:/secrets/key",
        "write:/secrets/key",
        "create:/secrets/x",
        "write:/etc/passwd",
        "create:/etc/x",
    ];
    let asked = &t.look(&bundle, questions)["asked"];
    assert_eq!(asked["read:/secrets/key"], "ok");
    assert_eq!(asked["create:/etc/x"], "ok");
    for question in ["write:/secrets/key", "create:/secrets/x", "write:/etc/passwd"] {
        assert_eq!(asked[question], "EROFS", "{question}");
    }
}

fn readonly_path_keeps_its_restrictions(t: &Test) {
    let bundle = t
        .bundle()
        .mount("/tight", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec"])
        .mount("/loose", "tmpfs", "tmpfs", &[])
        .set("/linux/readonlyPaths", json!(["/tight", "/loose"]));
    let seen = t.look(&bundle, []);
    // The last mount at a place is visible.
    let options = |place: &str| {
        let mounts = seen["mounts"].as_array().unwrap();
        let mount = mounts.iter().rfind(|mount| mount["at"] == place).unwrap();
        mount["options"].as_array().unwrap().clone()
    };
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options("/tight").contains(&json!(option)), "{option}: {:?}", options("/tight"));
    }
    assert!(!options("/loose").contains(&json!("noexec")), "{:?}", options("/loose"));
}

fn readonly_path_that_is_missing_is_skipped(t: &Test) {
    let bundle = t.bundle().set("/linux/readonlyPaths", json!(["/no/such/path"]));
    assert_eq!(t.look(&bundle, ["stat:/no"])["asked"]["stat:/no"], "ENOENT");
}

fn default_proc_is_protected(t: &Test) {
    let seen = t.look(
        &t.bundle(),
        [
            "write:/proc/sysrq-trigger",
            "write:/proc/sys/kernel/core_pattern",
            "write:/proc/irq/default_smp_affinity",
            "read:/proc/kcore",
            "read:/proc/keys",
            "read:/proc/timer_list",
            "list:/sys/firmware",
            "create:/sys/x",
        ],
    );
    for (question, answer) in seen["asked"].as_object().unwrap() {
        let refused = ["EROFS", "ENOENT", "EACCES", "EPERM"].iter().any(|errno| answer == errno);
        let hidden = answer == "empty" || *answer == json!([]);
        assert!(refused || hidden, "{question}: {answer}");
    }
}

fn nothing_is_written_into_the_image(t: &Test) {
    let bundle = t.bundle().args(["/probe", "--exit", "0"]);
    let before = tree(&bundle);
    assert_eq!(t.run(&bundle).code, 0);
    assert_eq!(tree(&bundle), before);
}

/// Every path of the rootfs, with its size and time of change.
fn tree(bundle: &Bundle) -> Vec<String> {
    fn walk(dir: &std::path::Path, all: &mut Vec<String>) {
        use std::os::unix::fs::MetadataExt;
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let meta = entry.path().symlink_metadata().unwrap();
            all.push(format!("{} {} {:o}", entry.path().display(), meta.size(), meta.mode()));
            if meta.is_dir() {
                walk(&entry.path(), all);
            }
        }
    }
    let mut all = Vec::new();
    walk(&bundle.inside("/"), &mut all);
    all.sort();
    all
}
