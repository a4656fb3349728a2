//! `mounts`: every kind of mount that engines use, options, propagation, mount points.

use crate::harness::{Bundle, Test, cgroup_v2, is_corten};
use crate::mount_options::set_xattr;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

cases![
    the_default_mounts_are_there,
    an_engines_mounts_are_there,
    tmpfs_takes_size_and_mode,
    tmpfs_keeps_its_mountpoints_mode,
    tmpfs_copies_up,
    devpts_is_an_instance_of_its_own,
    mqueue_works,
    proc_shows_the_new_pid_namespace,
    sysfs_is_readonly,
    bind_of_a_directory,
    bind_of_a_file,
    bind_makes_its_mountpoint,
    bind_of_a_relative_source_starts_from_the_bundle,
    bind_of_a_missing_source_is_refused,
    bind_readonly,
    bind_takes_every_flag,
    bind_keeps_the_sources_flags_if_none_is_named,
    bind_clears_the_sources_flags_if_any_is_named,
    bind_clears_every_flag_that_is_named,
    bind_in_a_user_namespace_keeps_what_is_not_named,
    bind_with_locked_flags_goes_on,
    bind_leaves_out_submounts,
    rbind_brings_submounts,
    rro_reaches_submounts,
    bind_over_a_bind,
    bind_of_a_device,
    bind_of_a_socket,
    later_mounts_are_on_top_of_earlier_ones,
    mountpoint_through_a_symlink_stays_inside,
    mountpoint_that_is_a_file_for_a_directory_is_refused,
    unknown_type_is_refused,
    unknown_option_is_refused,
    bind_without_type,
    atime_options,
    exec_is_refused_on_noexec,
    overlay_of_layers_with_a_whiteout,
    overlay_of_many_layers,
    overlay_of_many_layers_on_an_older_kernel,
    overlay_with_a_comma_on_an_older_kernel,
    overlay_by_layers_in_features_is_what_a_mount_does,
    overlay_of_layers_with_long_names,
    overlay_of_layers_with_odd_names,
    overlay_hides_what_an_opaque_directory_covers,
    overlay_in_a_user_namespace,
    relative_destination_starts_at_the_root,
    destination_that_goes_up_stays_inside,
    destination_that_goes_up_from_a_missing_name,
    mountpoint_through_a_dangling_symlink_is_made,
    the_root_cannot_be_mounted_over,
    proc_takes_procfs_alone,
    nothing_is_mounted_inside_proc,
    files_that_lxcfs_provides_can_be_covered,
    type_none,
    bind_with_a_filesystems_type,
    tmpfs_on_a_new_mountpoint_is_for_everybody,
    devpts_of_an_unmapped_group_is_refused,
    mqueue_without_an_ipc_namespace_is_refused,
    masked_directories_share_a_superblock,
    without_privilege,
    idmap_without_privilege_is_refused,
];

/// Returns the mount that is visible at a place: the last one there.
pub fn at<'a>(seen: &'a Value, place: &str) -> &'a Value {
    let mounts = seen["mounts"].as_array().unwrap();
    let found = mounts.iter().rfind(|mount| mount["at"] == place);
    found.unwrap_or_else(|| panic!("nothing is mounted at {place}: {mounts:?}"))
}

pub fn has(mount: &Value, options: &[&str]) {
    for option in options {
        let all = mount["options"].as_array().unwrap();
        assert!(all.contains(&json!(option)), "{option} is not in {mount}");
    }
}

pub fn super_has(mount: &Value, option: &str) {
    assert!(mount["super"].as_array().unwrap().contains(&json!(option)), "{option}: {mount}");
}

fn the_default_mounts_are_there(t: &Test) {
    let seen = t.look(&t.bundle(), []);
    for (place, kind, options) in [
        ("/proc", "proc", &["rw"][..]),
        ("/dev", "tmpfs", &["rw", "nosuid"]),
        ("/dev/pts", "devpts", &["rw", "nosuid", "noexec"]),
        ("/dev/shm", "tmpfs", &["rw", "nosuid", "noexec", "nodev"]),
        ("/dev/mqueue", "mqueue", &["rw", "nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", &["ro", "nosuid", "noexec", "nodev"]),
        ("/sys/fs/cgroup", if cgroup_v2() { "cgroup2" } else { "tmpfs" }, &["nosuid", "noexec", "nodev"]),
    ] {
        assert_eq!(at(&seen, place)["type"], kind, "{place}");
        has(at(&seen, place), options);
    }
    super_has(at(&seen, "/dev"), "mode=755");
    super_has(at(&seen, "/dev"), "size=65536k");
    super_has(at(&seen, "/dev/pts"), "gid=5");
    super_has(at(&seen, "/dev/pts"), "mode=620");
    super_has(at(&seen, "/dev/pts"), "ptmxmode=666");
}

/// The mounts of a container of Docker, in Docker's order.
fn an_engines_mounts_are_there(t: &Test) {
    let hosts = t.make_file("hosts", "127.0.0.1 localhost\n");
    let resolv = t.make_file("resolv.conf", "nameserver 10.0.0.1\n");
    let volume = t.make_dir("volume");
    let flags = &["nosuid", "noexec", "nodev"];
    let bundle = t
        .bundle()
        .set("/mounts", json!([]))
        .mount("/proc", "proc", "proc", flags)
        .mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])
        .mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )
        .mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"])
        .mount("/dev/mqueue", "mqueue", "mqueue", flags)
        .mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"])
        .bind(&volume, "/data", &["rprivate"])
        .bind(&resolv, "/etc/resolv.conf", &["rprivate"])
        .bind(&hosts, "/etc/hosts", &["rprivate", "ro"]);
    let seen = t.look(&bundle, ["text:/etc/resolv.conf", "write:/etc/hosts", "create:/data/new"]);
    assert_eq!(seen["asked"]["text:/etc/resolv.conf"], "nameserver 10.0.0.1\n");
    assert_eq!(seen["asked"]["write:/etc/hosts"], "EROFS");
    assert_eq!(seen["asked"]["create:/data/new"], "ok");
    assert!(volume.join("new").exists());
    super_has(at(&seen, "/dev/shm"), "size=65536k");
}

fn tmpfs_takes_size_and_mode(t: &Test) {
    let bundle = t.bundle().mount("/t", "tmpfs", "tmpfs", &["size=1m", "mode=1777", "uid=5", "nr_inodes=10"]);
    let seen = t.look(&bundle, ["stat:/t"]);
    super_has(at(&seen, "/t"), "size=1024k");
    super_has(at(&seen, "/t"), "nr_inodes=10");
    assert_eq!(seen["asked"]["stat:/t"]["mode"], "1777");
    assert_eq!(seen["asked"]["stat:/t"]["uid"], 5);
}

fn tmpfs_keeps_its_mountpoints_mode(t: &Test) {
    use std::os::unix::fs::PermissionsExt;
    let bundle = t.bundle().mount("/var", "tmpfs", "tmpfs", &[]);
    std::fs::set_permissions(bundle.inside("/var"), std::fs::Permissions::from_mode(0o2770)).unwrap();
    let seen = t.look(&bundle, ["stat:/var"]);
    assert_eq!(at(&seen, "/var")["type"], "tmpfs");
    let mode = seen["asked"]["stat:/var"]["mode"].as_str().unwrap().to_owned();
    assert!(mode.ends_with("770"), "{mode}");
}

fn tmpfs_copies_up(t: &Test) {
    let bundle = t.bundle().mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let seen = t.look(&bundle, ["read:/etc/passwd", "create:/etc/x"]);
    assert_eq!(at(&seen, "/etc")["type"], "tmpfs");
    assert_eq!(seen["asked"]["read:/etc/passwd"], "ok");
    assert!(!bundle.inside("/etc/x").exists());
}

fn devpts_is_an_instance_of_its_own(t: &Test) {
    let seen =
        t.look(&t.bundle(), ["list:/dev/pts", "link:/dev/ptmx", "stat:/dev/pts/ptmx", "read:/dev/ptmx"]);
    assert_eq!(seen["asked"]["list:/dev/pts"], json!(["ptmx"]));
    assert_eq!(seen["asked"]["link:/dev/ptmx"], "pts/ptmx");
    assert_eq!(seen["asked"]["stat:/dev/pts/ptmx"]["mode"], "666");
}

fn mqueue_works(t: &Test) {
    let seen = t.look(&t.bundle(), ["create:/dev/mqueue/q", "list:/dev/mqueue"]);
    assert_eq!(seen["asked"]["create:/dev/mqueue/q"], "ok");
    assert_eq!(seen["asked"]["list:/dev/mqueue"], json!(["q"]));
}

fn proc_shows_the_new_pid_namespace(t: &Test) {
    let seen = t.look(&t.bundle(), ["link:/proc/self", "link:/proc/1/root"]);
    assert_eq!(seen["asked"]["link:/proc/self"], "1");
}

fn sysfs_is_readonly(t: &Test) {
    let seen = t.look(&t.bundle(), ["mkdir:/sys/x", "write:/sys/class/net/lo/mtu"]);
    for question in ["mkdir:/sys/x", "write:/sys/class/net/lo/mtu"] {
        let answer = &seen["asked"][question];
        assert!(answer == "EROFS" || answer == "EPERM", "{question}: {answer}");
    }
}

/// A host directory with one file in it.
pub fn volume(t: &Test) -> PathBuf {
    let dir = t.make_dir("volume");
    std::fs::write(dir.join("file"), "of the host").unwrap();
    dir
}

fn bind_of_a_directory(t: &Test) {
    let dir = volume(t);
    let seen = t.look(&t.bundle().bind(&dir, "/tmp", &[]), ["text:/tmp/file", "create:/tmp/new"]);
    assert_eq!(seen["asked"]["text:/tmp/file"], "of the host");
    assert_eq!(seen["asked"]["create:/tmp/new"], "ok");
    assert!(dir.join("new").exists());
}

fn bind_of_a_file(t: &Test) {
    let file = volume(t).join("file");
    let seen = t.look(&t.bundle().bind(&file, "/etc/passwd", &[]), ["text:/etc/passwd", "write:/etc/passwd"]);
    assert_eq!(seen["asked"]["text:/etc/passwd"], "of the host");
    assert_eq!(seen["asked"]["write:/etc/passwd"], "ok");
}

fn bind_makes_its_mountpoint(t: &Test) {
    let dir = volume(t);
    let bundle = t.bundle().bind(&dir, "/new/dir", &[]).bind(&dir.join("file"), "/new/deep/file", &[]);
    let seen = t.look(&bundle, ["text:/new/dir/file", "text:/new/deep/file"]);
    assert_eq!(seen["asked"]["text:/new/dir/file"], "of the host");
    assert_eq!(seen["asked"]["text:/new/deep/file"], "of the host");
    assert!(bundle.inside("/new/dir").is_dir() && bundle.inside("/new/deep/file").is_file());
}

fn bind_of_a_relative_source_starts_from_the_bundle(t: &Test) {
    let bundle = t.bundle().mount("/tmp", "bind", "beside", &["bind"]);
    std::fs::create_dir(bundle.dir.join("beside")).unwrap();
    std::fs::write(bundle.dir.join("beside/file"), "near").unwrap();
    assert_eq!(t.look(&bundle, ["text:/tmp/file"])["asked"]["text:/tmp/file"], "near");
}

fn bind_of_a_missing_source_is_refused(t: &Test) {
    let bundle = t.bundle().bind(&t.dir.join("missing"), "/tmp", &[]);
    let out = t.refused(&bundle);
    out.one_clear_line(&["/mounts/7"]);
    out.says(&[t.dir.join("missing").to_str().unwrap()]);
}

fn bind_readonly(t: &Test) {
    let bundle = t.bundle().bind(&volume(t), "/tmp", &["ro"]);
    let seen = t.look(&bundle, ["read:/tmp/file", "write:/tmp/file", "create:/tmp/new"]);
    assert_eq!(seen["asked"]["read:/tmp/file"], "ok");
    assert_eq!(seen["asked"]["write:/tmp/file"], "EROFS");
    assert_eq!(seen["asked"]["create:/tmp/new"], "EROFS");
}

fn bind_takes_every_flag(t: &Test) {
    let bundle = t.bundle().bind(&volume(t), "/tmp", &["ro", "nosuid", "nodev", "noexec", "noatime"]);
    has(at(&t.look(&bundle, []), "/tmp"), &["ro", "nosuid", "nodev", "noexec", "noatime"]);
}

/// Runs the probe after the commands `prepare` in a private mount namespace (see
/// `in_private_mounts`).
pub fn look_after(t: &Test, dir: &Path, prepare: &str, bundle: Bundle, questions: &[&str]) -> Value {
    let bundle = bundle.args([&["/probe"], questions].concat());
    let script = format!("{prepare}; runtime run \"$ID\"");
    t.in_private_mounts(&bundle, dir, &script).out().report()
}

/// A new directory, with a place for `SUBMOUNT`.
fn submount_volume(t: &Test) -> PathBuf {
    let dir = t.make_dir("volume");
    std::fs::create_dir(dir.join("sub")).unwrap();
    dir
}

const SUBMOUNT: &str = "mount -t tmpfs sub \"$VOLUME/sub\"; touch \"$VOLUME/sub/deep\"";

pub const SHARED: &str = "mount --make-rshared /; mount --bind \"$VOLUME\" \"$VOLUME\"";

fn options_at(t: &Test, dir: &Path, prepare: &str, bundle: Bundle) -> Vec<String> {
    let seen = look_after(t, dir, prepare, bundle, &[]);
    let all = at(&seen, "/tmp")["options"].as_array().unwrap().iter();
    all.map(|option| option.as_str().unwrap().to_owned()).collect()
}

const STRICT: &str = "mount -t tmpfs -o ro,nosuid,nodev,noexec,noatime,mode=755 v \"$VOLUME\"; \
     mount -o remount,bind,ro,nosuid,nodev,noexec,noatime \"$VOLUME\"";

/// This holds only if no option names a flag. Propagation options don't count.
fn bind_keeps_the_sources_flags_if_none_is_named(t: &Test) {
    let dir = t.make_dir("volume");
    for options in [&[][..], &["rprivate"]] {
        let seen = options_at(t, &dir, STRICT, t.bundle().bind(&dir, "/tmp", options));
        assert_eq!(seen, ["ro", "nosuid", "nodev", "noexec", "noatime"], "{options:?}");
    }
}

/// As runc documents: if an option names a flag, the flags of the source don't count.
fn bind_clears_the_sources_flags_if_any_is_named(t: &Test) {
    let dir = t.make_dir("volume");
    for (options, left) in [
        (&["rw"][..], &["rw", "noatime"][..]),
        (&["dev"], &["rw", "noatime"]),
        (&["nosuid"], &["rw", "nosuid", "noatime"]),
        (&["ro", "rprivate"], &["ro", "noatime"]),
        (&["relatime"], &["rw", "relatime"]),
        (&["ro", "nosuid", "nodev", "noexec", "noatime"], &["ro", "nosuid", "nodev", "noexec", "noatime"]),
    ] {
        let seen = options_at(t, &dir, STRICT, t.bundle().bind(&dir, "/tmp", options));
        assert_eq!(seen, left, "{options:?}");
    }
}

/// runc keeps the source's atime mode here.
fn bind_clears_every_flag_that_is_named(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = t.bundle().bind(&dir, "/tmp", &["rw", "dev", "exec", "suid", "atime"]);
    assert_eq!(options_at(t, &dir, STRICT, bundle), ["rw", "relatime"]);
}

/// As in runc, the host's flags stay unless an option changes them.
fn bind_in_a_user_namespace_keeps_what_is_not_named(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = t.bundle().bind(&dir, "/tmp", &["nosuid"]).user_namespace();
    let seen = options_at(t, &dir, STRICT, bundle);
    assert_eq!(seen, ["ro", "nosuid", "nodev", "noexec", "noatime"]);
}

/// A runtime in a user namespace, as in rootless Podman. The kernel locks the flags of the
/// host's mounts.
fn bind_with_locked_flags_goes_on(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = |options| {
        let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
        let bundle = t.bundle().drop("/linux/resources").args(["/probe"]).bind(&dir, "/tmp", options);
        let flags = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
        let bundle = bundle.remount("/dev/pts", &flags).namespace("user");
        bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    };
    let run = |bundle: &Bundle| {
        let script = format!(
            "{STRICT}; \
             exec unshare --user --map-root-user --mount \"$RUNTIME\" --root \"$STATE\" --rootless true run \"$ID\""
        );
        t.cgroupfs_only();
        t.in_private_mounts(bundle, &dir, &script).out()
    };
    for (options, warns) in [(&["nosuid"][..], false), (&["rw", "dev"], true)] {
        let out = run(&bundle(options));
        let seen = out.report();
        has(at(&seen, "/tmp"), &["ro", "nosuid", "nodev", "noexec", "noatime"]);
        let warned = out.stderr.contains("the host has locked flags");
        assert!(!crate::harness::is_corten() || warned == warns, "{options:?}: {}", out.stderr);
    }
}

fn bind_leaves_out_submounts(t: &Test) {
    let dir = submount_volume(t);
    let bundle = t.bundle().mount("/tmp", "bind", dir.to_str().unwrap(), &["bind"]);
    let seen = look_after(t, &dir, SUBMOUNT, bundle, &["stat:/tmp/sub/deep", "stat:/tmp/sub"]);
    assert_eq!(seen["asked"]["stat:/tmp/sub/deep"], "ENOENT");
    assert_eq!(seen["asked"]["stat:/tmp/sub"]["type"], "d");
}

fn rbind_brings_submounts(t: &Test) {
    let dir = submount_volume(t);
    let bundle = t.bundle().bind(&dir, "/tmp", &["ro"]);
    let seen = look_after(t, &dir, SUBMOUNT, bundle, &["write:/tmp/sub/deep", "create:/tmp/x"]);
    assert_eq!(seen["asked"]["write:/tmp/sub/deep"], "ok", "ro is of the mount alone");
    assert_eq!(seen["asked"]["create:/tmp/x"], "EROFS");
}

fn rro_reaches_submounts(t: &Test) {
    let dir = submount_volume(t);
    let bundle = t.bundle().bind(&dir, "/tmp", &["rro"]);
    let seen = look_after(t, &dir, SUBMOUNT, bundle, &["write:/tmp/sub/deep", "create:/tmp/x"]);
    assert_eq!(seen["asked"]["write:/tmp/sub/deep"], "EROFS");
    assert_eq!(seen["asked"]["create:/tmp/x"], "EROFS");
}

fn bind_over_a_bind(t: &Test) {
    let (one, two) = (volume(t), t.make_dir("second"));
    std::fs::create_dir(one.join("inner")).unwrap();
    std::fs::write(two.join("here"), "").unwrap();
    t.decoy(&one);
    let bundle = t.bundle().bind(&one, "/tmp", &[]).bind(&two, "/tmp/inner", &[]);
    assert_eq!(t.look(&bundle, ["list:/tmp/inner"])["asked"]["list:/tmp/inner"], json!(["here"]));
}

fn bind_of_a_device(t: &Test) {
    let bundle = t.bundle().mount("/dev/nothing", "bind", "/dev/null", &["bind"]);
    let seen = t.look(&bundle, ["stat:/dev/nothing", "write:/dev/nothing"]);
    assert_eq!(seen["asked"]["stat:/dev/nothing"]["device"], "1:3");
    assert_eq!(seen["asked"]["write:/dev/nothing"], "ok");
}

fn bind_of_a_socket(t: &Test) {
    let path = t.path("sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let bundle = t.bundle().bind(&path, "/run/sock", &[]);
    assert_eq!(t.look(&bundle, ["stat:/run/sock"])["asked"]["stat:/run/sock"]["type"], "s");
}

fn later_mounts_are_on_top_of_earlier_ones(t: &Test) {
    let bundle =
        t.bundle().mount("/a/b", "tmpfs", "under", &["size=1m"]).mount("/a", "tmpfs", "over", &["size=2m"]);
    let seen = t.look(&bundle, ["list:/a"]);
    assert_eq!(seen["asked"]["list:/a"], json!([]));
    super_has(at(&seen, "/a"), "size=2048k");
}

fn mountpoint_through_a_symlink_stays_inside(t: &Test) {
    let decoy = t.make_decoy();
    for (link, target) in
        [("/var/run", Path::new("/run")), ("/link", decoy.as_path()), ("/up", Path::new("../../../run"))]
    {
        let place = Path::new("/").join(target.strip_prefix("../../..").unwrap_or(target));
        let bundle = t.bundle();
        std::os::unix::fs::symlink(target, bundle.inside(link)).unwrap();
        std::fs::create_dir_all(bundle.inside(place.to_str().unwrap())).unwrap();
        let bundle = bundle.mount(&format!("{link}/point"), "tmpfs", "tmpfs", &[]);
        let seen = t.look(&bundle, []);
        let point = place.join("point");
        assert_eq!(at(&seen, point.to_str().unwrap())["type"], "tmpfs", "{link}");
    }
}

fn mountpoint_that_is_a_file_for_a_directory_is_refused(t: &Test) {
    let volume = volume(t);
    let source = volume.display().to_string();
    let bundle = t.bundle().bind(&volume, "/etc/passwd", &[]);
    // Docker explains "not a directory" to its users.
    t.refused(&bundle).one_clear_line(&["/mounts/7", "/etc/passwd", &source, "not a directory"]);
    let bundle = t.bundle().bind(&volume.join("file"), "/etc", &[]);
    t.refused(&bundle).one_clear_line(&["/mounts/7", "/etc", &format!("{source}/file"), "not a directory"]);
    let bundle = t.bundle().mount("/etc/passwd", "tmpfs", "t", &[]);
    t.refused(&bundle).one_clear_line(&["/mounts/7", "/etc/passwd", "tmpfs", "not a directory"]);
    let bundle = t.bundle().bind(&volume, "/etc/passwd/below", &[]);
    t.refused(&bundle).one_clear_line(&["/mounts/7", "/etc/passwd/below", "not a directory"]);
}

fn unknown_type_is_refused(t: &Test) {
    let bundle = t.bundle().mount("/tmp", "cheesefs", "none", &[]);
    t.refused(&bundle).one_clear_line(&["cheesefs", "/mounts/7"]);
}

fn unknown_option_is_refused(t: &Test) {
    let bundle = t.bundle().mount("/tmp", "tmpfs", "tmpfs", &["sideways=yes"]);
    t.refused(&bundle).one_clear_line(&["/mounts/7"]);
}

fn bind_without_type(t: &Test) {
    let dir = volume(t);
    let mount = json!({ "destination": "/tmp", "source": dir, "options": ["bind", "ro"] });
    let seen = t.look(&t.bundle().push("/mounts", mount), ["read:/tmp/file"]);
    assert_eq!(seen["asked"]["read:/tmp/file"], "ok");
}

fn atime_options(t: &Test) {
    let bundle = t
        .bundle()
        .mount("/a", "tmpfs", "a", &["noatime"])
        .mount("/b", "tmpfs", "b", &["relatime"])
        .mount("/c", "tmpfs", "c", &["strictatime"])
        .mount("/d", "tmpfs", "d", &["nodiratime", "sync"]);
    let seen = t.look(&bundle, []);
    has(at(&seen, "/a"), &["noatime"]);
    has(at(&seen, "/b"), &["relatime"]);
    let strict = at(&seen, "/c")["options"].as_array().unwrap();
    assert!(!strict.iter().any(|o| o.as_str().unwrap().ends_with("atime")), "{strict:?}");
    has(at(&seen, "/d"), &["nodiratime"]);
    super_has(at(&seen, "/d"), "sync");
}

fn exec_is_refused_on_noexec(t: &Test) {
    let bundle = t.bundle();
    let dir = t.make_dir("tools");
    std::fs::copy(bundle.inside("/bin/busybox"), dir.join("true")).unwrap();
    let free = bundle.clone().bind(&dir, "/tmp", &[]);
    assert_eq!(t.look(&free, ["exec:/tmp/true"])["asked"]["exec:/tmp/true"], 0);
    let bound = bundle.bind(&dir, "/tmp", &["noexec"]);
    assert_eq!(t.look(&bound, ["exec:/tmp/true"])["asked"]["exec:/tmp/true"], "EACCES");
}

/// The overlay that an engine's snapshotter mounts. Here the config mounts it.
fn overlay_of_layers_with_a_whiteout(t: &Test) {
    let layers = ["base", "middle", "upper", "work"].map(|name| t.make_dir(name));
    let [base, middle, upper, work] = &layers;
    std::fs::write(base.join("kept"), "base").unwrap();
    std::fs::write(base.join("gone"), "base").unwrap();
    std::fs::write(middle.join("added"), "middle").unwrap();
    let whiteout = nix::sys::stat::makedev(0, 0);
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    nix::sys::stat::mknod(&middle.join("gone"), kind, nix::sys::stat::Mode::empty(), whiteout).unwrap();
    t.decoy(base);
    t.decoy(middle);
    let lower = format!("lowerdir={}:{}", middle.display(), base.display());
    let upper_option = format!("upperdir={}", upper.display());
    let work = format!("workdir={}", work.display());
    let bundle = t.bundle().mount("/tmp", "overlay", "overlay", &[&lower, &upper_option, &work]);
    let seen = t.look(&bundle, ["list:/tmp", "create:/tmp/new"]);
    assert_eq!(seen["asked"]["list:/tmp"], json!(["added", "kept"]));
    assert_eq!(seen["asked"]["create:/tmp/new"], "ok");
    assert!(upper.join("new").exists());
}

/// Directories of these names on the host, each with a file with its number.
fn layers(t: &Test, count: usize, name: impl Fn(usize) -> String) -> Vec<PathBuf> {
    let parent = t.make_dir("layers");
    let made = (0..count).map(|n| {
        let dir = parent.join(name(n));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(n.to_string()), n.to_string()).unwrap();
        std::fs::write(dir.join("top"), n.to_string()).unwrap();
        dir
    });
    made.collect()
}

fn overlay(t: &Test, layers: &[PathBuf], more: &[&str]) -> Bundle {
    let lower: Vec<_> = layers.iter().map(|dir| dir.to_str().unwrap().to_owned()).collect();
    let lower = format!("lowerdir={}", lower.join(":"));
    let [upper, work] = ["upper", "work"].map(|name| t.make_dir(name));
    let (upper, work) = (format!("upperdir={}", upper.display()), format!("workdir={}", work.display()));
    t.bundle().mount("/tmp", "overlay", "overlay", &[&[&*lower, &upper, &work], more].concat())
}

fn sees_all(seen: &Value, count: usize) {
    let listed = seen["asked"]["list:/tmp"].as_array().unwrap();
    assert_eq!(listed.len(), count + 1, "{listed:?}");
    assert_eq!(seen["asked"]["text:/tmp/top"], "0", "the first is the uppermost");
}

/// The options are longer than the page that mount(2) takes.
fn overlay_of_many_layers(t: &Test) {
    let layers = layers(t, 100, |n| format!("{n}{}", "x".repeat(100)));
    let bundle = overlay(t, &layers, &["ro", "nosuid", "noatime"]);
    let seen = t.look(&bundle, ["list:/tmp", "text:/tmp/top", "create:/tmp/new"]);
    sees_all(&seen, 100);
    has(at(&seen, "/tmp"), &["ro", "nosuid", "noatime"]);
    assert_eq!(seen["asked"]["create:/tmp/new"], "EROFS");
    let options = at(&seen, "/tmp")["super"].to_string();
    // The names of all layers don't fit into one string.
    if takes_layers_one_by_one(t) {
        assert!(
            options.contains(layers[99].to_str().unwrap()),
            "the names are not those of the layers: {options}"
        );
    }
}

/// Returns whether the kernel's overlay knows `lowerdir+` (Linux 6.8).
fn takes_layers_one_by_one(t: &Test) -> bool {
    if !is_corten() {
        t.skip("another runtime doesn't tell what its calls are");
    }
    let features: Value = serde_json::from_str(&t.verb(["features", "--host"]).ok().stdout).unwrap();
    features["host"]["mountApi"]["overlayByLayers"]["enabled"].as_bool().unwrap()
}

/// `features` reports the same as a mount of the runtime finds.
fn overlay_by_layers_in_features_is_what_a_mount_does(t: &Test) {
    let promised = takes_layers_one_by_one(t);
    let bundle = overlay(t, &layers(t, 3, |n| format!("{n}{}", "x".repeat(100))), &[]);
    let (seen, trace) = traced(t, &bundle, &[]);
    sees_all(&seen, 3);
    let by_layers = trace.contains("\"lowerdir+\"");
    let by_mount = trace.lines().any(|line| line.contains(" mount(") && line.contains("\"overlay\""));
    assert_eq!((by_layers, by_mount), (promised, !promised), "{trace}");
}

/// Runs the container under strace, which changes the results of calls as `inject` says.
/// Returns the probe's report, and the calls that mount.
fn traced(t: &Test, bundle: &Bundle, inject: &[&str]) -> (Value, String) {
    let log = t.path("mounts.trace");
    let bundle = bundle.clone().args(["/probe", "list:/tmp", "text:/tmp/top", "create:/tmp/new"]);
    let call = t.call("/usr/bin/strace").args(["-f", "-s", "8192", "-e", "trace=fsconfig,mount", "-o"]);
    let call = call.arg(&log).args(inject.iter().flat_map(|inject| ["-e", inject]));
    let call = call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(["run", "--bundle"]);
    let seen = call.arg(bundle.lay()).arg(t.id()).out().report();
    (seen, std::fs::read_to_string(log).unwrap())
}

/// Only proc and the overlay, so that the calls are few and their order is known.
fn alone(bundle: Bundle) -> Bundle {
    let proc = json!({ "destination": "/proc", "type": "proc", "source": "proc" });
    let mounts = json!([proc, bundle.config["mounts"][7]]);
    bundle.set("/mounts", mounts)
}

/// Before Linux 6.5, the kernel joins overlay's options of fsconfig(2) with commas, so that
/// no value may contain a comma. The runtime then uses mount(2). strace feigns such a
/// kernel.
fn overlay_with_a_comma_on_an_older_kernel(t: &Test) {
    if !is_corten() {
        t.skip("the calls of another runtime come in another order");
    }
    let made = layers(t, 2, |n| format!("{n},{n}"));
    let named: Vec<PathBuf> =
        made.iter().map(|dir| dir.to_str().unwrap().replace(',', r"\,").into()).collect();
    let bundle = alone(overlay(t, &named, &["dirsync"]));
    // For proc: source and create. For the overlay: the test for an option that only newer
    // kernels know.
    let (seen, trace) = traced(t, &bundle, &["inject=fsconfig:error=EOPNOTSUPP:when=3"]);
    assert!(trace.contains("(INJECTED)"), "{trace}");
    sees_all(&seen, 2);
    let mut calls = trace.lines().filter(|line| line.contains(" mount(") && line.contains("\"overlay\""));
    let call = calls.next_back().unwrap();
    assert!(call.contains("MS_DIRSYNC") && !call.contains("dirsync"), "{call}");
}

/// From Linux 6.5 to 6.7, an overlay takes all layers in one string. Before, the kernel
/// joins them to one string. strace feigns both.
fn overlay_of_many_layers_on_an_older_kernel(t: &Test) {
    if !is_corten() {
        t.skip("the calls of another runtime come in another order");
    }
    // For proc: source and create. For the overlay: the test for an option that only newer
    // kernels know, the source, then the first layer.
    let older = ["EOPNOTSUPP:when=3", "EINVAL:when=5"];
    // On such an old kernel, the call after the second one differs.
    let older = if takes_layers_one_by_one(t) { &older[..] } else { &older[..1] };
    for (count, older) in [3, 100].into_iter().flat_map(|count| older.iter().map(move |older| (count, older)))
    {
        let layers = layers(t, count, |n| format!("{n}{}", "x".repeat(100)));
        let bundle = overlay(t, &layers, &["nosuid"]);
        let (seen, trace) = traced(t, &alone(bundle), &[&format!("inject=fsconfig:error={older}")]);
        assert!(trace.contains("(INJECTED)"), "{trace}");
        sees_all(&seen, count);
        has(at(&seen, "/tmp"), &["nosuid"]);
        assert_eq!(seen["asked"]["create:/tmp/new"], "ok");
        let places = seen["mounts"].as_array().unwrap().iter().map(|mount| mount["at"].as_str().unwrap());
        let left: Vec<_> = places.filter(|at| !at.starts_with("/proc")).collect();
        assert_eq!(left, ["/", "/tmp"], "something of the way is left");
    }
}

fn overlay_of_layers_with_long_names(t: &Test) {
    let long = |n: usize| format!("{n}{0}/{0}", "y".repeat(200));
    let seen = t.look(&overlay(t, &layers(t, 2, long), &[]), ["list:/tmp", "text:/tmp/top"]);
    sees_all(&seen, 2);
}

/// A backslash escapes a colon or a comma.
fn overlay_of_layers_with_odd_names(t: &Test) {
    let made = layers(t, 2, |n| format!("{n}:{n},{n}"));
    let quoted = |dir: &PathBuf| dir.to_str().unwrap().replace(':', r"\:").replace(',', r"\,").into();
    let named: Vec<PathBuf> = made.iter().map(quoted).collect();
    sees_all(&t.look(&overlay(t, &named, &[]), ["list:/tmp", "text:/tmp/top"]), 2);
    let made = layers(t, 2, |n| format!("{n}:{}", "z".repeat(200)));
    let named: Vec<PathBuf> = made.iter().map(quoted).collect();
    sees_all(&t.look(&overlay(t, &named, &[]), ["list:/tmp", "text:/tmp/top"]), 2);
}

fn overlay_hides_what_an_opaque_directory_covers(t: &Test) {
    let layers = layers(t, 2, |n| n.to_string());
    for (dir, file) in [(&layers[0], "new"), (&layers[1], "old")] {
        std::fs::create_dir(dir.join("dir")).unwrap();
        std::fs::write(dir.join("dir").join(file), "").unwrap();
    }
    assert_eq!(set_xattr(&layers[0].join("dir"), "trusted.overlay.opaque", b"y"), 0);
    let seen = t.look(&overlay(t, &layers, &[]), ["list:/tmp/dir"]);
    assert_eq!(seen["asked"]["list:/tmp/dir"], json!(["new"]));
}

/// In a user namespace, overlay keeps its data in user attributes.
fn overlay_in_a_user_namespace(t: &Test) {
    const ROOT: u32 = 100_000;
    let own = |path: &Path| std::os::unix::fs::lchown(path, Some(ROOT), Some(ROOT)).unwrap();
    let layers = layers(t, 2, |n| n.to_string());
    std::fs::create_dir(layers[0].join("dir")).unwrap();
    std::fs::create_dir(layers[1].join("dir")).unwrap();
    std::fs::write(layers[1].join("dir/old"), "").unwrap();
    assert_eq!(set_xattr(&layers[0].join("dir"), "user.overlay.opaque", b"y"), 0);
    let bundle = overlay(t, &layers, &["userxattr"]);
    let options = bundle.config["mounts"][7]["options"].as_array().unwrap().clone();
    for option in options.iter().filter_map(Value::as_str).filter_map(|option| option.split_once("dir=")) {
        option.1.split(':').map(Path::new).for_each(own);
    }
    own(&layers[0].join("dir"));
    let bundle = bundle.user_namespace();
    let seen = t.look(&bundle, ["list:/tmp/dir", "create:/tmp/dir/new", "text:/tmp/top"]);
    assert_eq!(seen["asked"]["list:/tmp/dir"], json!([]));
    assert_eq!(seen["asked"]["create:/tmp/dir/new"], "ok");
    assert_eq!(seen["asked"]["text:/tmp/top"], "0");
}

fn relative_destination_starts_at_the_root(t: &Test) {
    for place in ["data", "./data", "tmp/../data"] {
        let out = t.run(&t.bundle().mount(place, "tmpfs", "t", &[]).args(["/probe"]));
        assert_eq!(at(&out.report(), "/data")["type"], "tmpfs", "{place}");
        out.says(&[place]);
    }
}

fn destination_that_goes_up_stays_inside(t: &Test) {
    let bundle = t.bundle().mount("/tmp/../../../../etc/x", "tmpfs", "t", &[]);
    assert_eq!(at(&t.look(&bundle, []), "/etc/x")["type"], "tmpfs");
}

/// As in runc, the missing name is not created.
fn destination_that_goes_up_from_a_missing_name(t: &Test) {
    let file = t.make_file("file", "bound");
    for (place, target) in [
        ("/missing/../a", "/a"),
        ("/missing/er/../../a", "/a"),
        ("/tmp/missing/../a", "/tmp/a"),
        ("/l/no/../a", "/etc/a"),
    ] {
        let bundle = t.bundle();
        std::os::unix::fs::symlink("/etc", bundle.inside("/l")).unwrap();
        let bundle = bundle.mount(place, "tmpfs", "t", &[]).bind(&file, &format!("{place}.file"), &[]);
        let seen = t.look(
            &bundle,
            ["stat:/missing", "stat:/tmp/missing", "stat:/etc/no", &format!("text:{target}.file")],
        );
        assert_eq!(at(&seen, target)["type"], "tmpfs", "{place}");
        assert_eq!(seen["asked"][format!("text:{target}.file")], "bound", "{place}");
        for missing in ["/missing", "/tmp/missing", "/etc/no"] {
            assert_eq!(seen["asked"][format!("stat:{missing}")], "ENOENT", "{place}");
        }
    }
}

/// If a link leads to a missing path, the runtime creates that path in the image, even if
/// the link leads outside.
fn mountpoint_through_a_dangling_symlink_is_made(t: &Test) {
    let (file, decoy) = (t.make_file("file", "bound"), t.make_decoy().join("absent/run"));
    let decoy = decoy.to_str().unwrap();
    for (link, to, place) in [
        ("/run", "/new/run", "/new/run"),
        ("/run", "new", "/new"),
        ("/run", "../../../new/run", "/new/run"),
        ("/run", decoy, decoy),
    ] {
        let bundle = t.bundle();
        std::os::unix::fs::symlink(to, bundle.inside(link)).unwrap();
        std::os::unix::fs::symlink("run/file", bundle.inside("/file")).unwrap();
        let bundle = bundle.mount("/run", "tmpfs", "t", &[]).mount("/run/deep/er", "tmpfs", "d", &[]);
        let bundle = bundle.bind(&file, "/file", &[]);
        let seen = t.look(&bundle, ["text:/run/file"]);
        assert_eq!(at(&seen, place)["type"], "tmpfs", "{to}");
        assert_eq!(at(&seen, &format!("{place}/deep/er"))["type"], "tmpfs", "{to}");
        assert_eq!(seen["asked"]["text:/run/file"], "bound");
    }
    let bundle = t.bundle().mount("/a", "tmpfs", "t", &[]);
    std::os::unix::fs::symlink("b", bundle.inside("/a")).unwrap();
    std::os::unix::fs::symlink("a", bundle.inside("/b")).unwrap();
    t.refused(&bundle).one_clear_line(&["/mounts/7", "ELOOP"]);
}

fn the_root_cannot_be_mounted_over(t: &Test) {
    for place in ["/", "/tmp/..", "/self"] {
        let bundle = t.bundle().mount(place, "tmpfs", "t", &[]);
        std::os::unix::fs::symlink("/", bundle.inside("/self")).unwrap();
        t.refused(&bundle).one_clear_line(&["/mounts/7", "root"]);
    }
}

fn proc_takes_procfs_alone(t: &Test) {
    let fake = t.make_dir("fake");
    std::fs::create_dir(fake.join("self")).unwrap();
    t.decoy(&fake);
    for place in ["/proc", "/link"] {
        let bundle = t.bundle().bind(&fake, place, &[]);
        std::os::unix::fs::symlink("proc", bundle.inside("/link")).unwrap();
        t.refused(&bundle).one_clear_line(&["/mounts/7", "not of type proc"]);
    }
    let bundle = t.bundle().without_mount("/proc").bind(Path::new("/proc"), "/proc", &[]);
    let seen = t.look(&bundle, []);
    assert_eq!(at(&seen, "/proc")["type"], "proc");
}

fn nothing_is_mounted_inside_proc(t: &Test) {
    let file = t.make_file("file", "fake");
    t.decoy(&file);
    for place in
        ["/proc/sys/kernel/core_pattern", "/proc/self/attr", "/proc/1", "/link/keys", "/proc/../proc/keys"]
    {
        let bundle = t.bundle().bind(&file, place, &[]);
        std::os::unix::fs::symlink("/proc", bundle.inside("/link")).unwrap();
        t.refused(&bundle).one_clear_line(&["/mounts/7", "inside /proc"]);
    }
}

/// lxcfs provides such files.
fn files_that_lxcfs_provides_can_be_covered(t: &Test) {
    let file = t.make_file("file", "made up");
    let bundle = t.bundle().bind(&file, "/proc/uptime", &[]).bind(&file, "/proc/meminfo", &[]);
    let seen = t.look(&bundle, ["text:/proc/uptime", "text:/proc/meminfo"]);
    assert_eq!(seen["asked"]["text:/proc/uptime"], "made up");
    assert_eq!(seen["asked"]["text:/proc/meminfo"], "made up");
}

fn type_none(t: &Test) {
    let dir = volume(t);
    let source = dir.to_str().unwrap();
    let bundle = t.bundle().mount("/tmp", "none", source, &["rbind", "ro"]);
    assert_eq!(t.look(&bundle, ["text:/tmp/file"])["asked"]["text:/tmp/file"], "of the host");
    let bundle = t.bundle().mount("/tmp", "none", source, &["ro"]);
    t.refused(&bundle).one_clear_line(&["/mounts/7/type", "rbind"]);
}

/// "A mount is a bind mount if it has either bind or rbind in the options."
fn bind_with_a_filesystems_type(t: &Test) {
    let bundle = t.bundle().mount("/tmp", "tmpfs", volume(t).to_str().unwrap(), &["bind"]);
    assert_eq!(t.look(&bundle, ["text:/tmp/file"])["asked"]["text:/tmp/file"], "of the host");
}

fn tmpfs_on_a_new_mountpoint_is_for_everybody(t: &Test) {
    let seen = t.look(&t.bundle().mount("/new/one", "tmpfs", "t", &[]), ["stat:/new/one"]);
    assert_eq!(seen["asked"]["stat:/new/one"]["mode"], "1777");
}

fn devpts_of_an_unmapped_group_is_refused(t: &Test) {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 1 }]);
    let bundle = t.bundle().user_namespace().set("/linux/gidMappings", map);
    t.refused(&bundle).one_clear_line(&["/mounts/2", "/dev/pts", "gid="]);
}

fn mqueue_without_an_ipc_namespace_is_refused(t: &Test) {
    let bundle = t.bundle().user_namespace().without_namespace("ipc");
    t.refused(&bundle).one_clear_line(&["/mounts/4", "mqueue", "ipc namespace"]);
}

/// On a host with many containers, one tmpfs for each masked directory would overload the
/// kernel.
fn masked_directories_share_a_superblock(t: &Test) {
    let places = ["/etc", "/var", "/root", "/tmp"];
    let bundle = t.bundle().set("/linux/maskedPaths", json!(places));
    let seen = t.look(&bundle, []);
    let first = &at(&seen, places[0])["device"];
    for place in places {
        assert_eq!(at(&seen, place)["type"], "tmpfs", "{place}");
        assert_eq!(&at(&seen, place)["device"], first, "{place}");
    }
}

fn without_privilege(t: &Test) {
    let dir = volume(t);
    let bundle = t
        .bundle()
        .bind(&dir, "/tmp", &["ro"])
        .mount("/var", "tmpfs", "t", &["tmpcopyup", "size=1m"])
        .mount("/var/new", "tmpfs", "n", &["silent", "nosuid"]);
    std::fs::write(bundle.inside("/var/own"), "image").unwrap();
    for path in ["/var", "/var/own"] {
        let user = Some(Test::USER);
        std::os::unix::fs::chown(bundle.inside(path), user, user).unwrap();
    }
    let out = t.as_user(&bundle, ["text:/tmp/file", "create:/tmp/new", "text:/var/own", "create:/var/new/x"]);
    let asked = &out.report()["asked"];
    assert_eq!(asked["text:/tmp/file"], "of the host");
    assert_eq!(asked["create:/tmp/new"], "EROFS");
    assert_eq!(asked["text:/var/own"], "image");
    assert_eq!(asked["create:/var/new/x"], "ok");
}

fn idmap_without_privilege_is_refused(t: &Test) {
    let bundle = t.bundle().bind(&t.make_dir("volume"), "/tmp", &["idmap"]);
    t.as_user(&bundle, []).one_clear_line(&["/mounts/7", "CAP_SYS_ADMIN"]);
}
