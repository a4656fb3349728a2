//! `mounts`: every kind an engine asks for, options, propagation, mountpoints.

use crate::harness::{Bundle, Test};
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
    cgroup_v1_shows_each_controller,
    cgroup_v1_is_readonly,
    cgroup_v1_shows_only_its_own_in_a_namespace,
    bind_of_a_directory,
    bind_of_a_file,
    bind_makes_its_mountpoint,
    bind_of_a_relative_source_starts_from_the_bundle,
    bind_of_a_missing_source_is_refused,
    bind_readonly,
    bind_takes_every_flag,
    bind_keeps_the_sources_flags_it_was_not_told_to_change,
    bind_without_r_leaves_submounts_out,
    rbind_brings_submounts,
    rro_reaches_submounts,
    bind_over_a_bind,
    bind_of_a_device,
    bind_of_a_socket,
    later_mounts_lie_on_earlier_ones,
    mountpoint_through_a_symlink_stays_inside,
    mountpoint_that_is_a_file_for_a_directory_is_refused,
    unknown_type_is_refused,
    unknown_option_is_refused,
    bind_without_type,
    atime_options,
    exec_is_refused_on_noexec,
    overlay_of_layers_with_a_whiteout,
];

/// The mount that is seen at a place: the last one there.
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
        ("/sys/fs/cgroup", "tmpfs", &["nosuid", "noexec", "nodev"]),
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

/// The mounts of a container made by Docker, in its order.
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

fn controllers() -> Vec<String> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let lines = own.lines().filter_map(|line| line.split(':').nth(1));
    lines.filter(|name| !name.is_empty() && !name.contains('=')).map(str::to_owned).collect()
}

fn cgroup_v1_shows_each_controller(t: &Test) {
    let controllers = controllers();
    if controllers.is_empty() {
        t.skip("no cgroup v1 here");
    }
    let seen = t.look(&t.bundle(), ["list:/sys/fs/cgroup", "list:/sys/fs/cgroup/memory"]);
    let listed = seen["asked"]["list:/sys/fs/cgroup"].as_array().unwrap();
    for controller in controllers {
        assert!(listed.contains(&json!(controller)), "{controller}: {listed:?}");
    }
    let files = seen["asked"]["list:/sys/fs/cgroup/memory"].as_array().unwrap();
    assert!(files.contains(&json!("memory.limit_in_bytes")), "{files:?}");
    let own = files.iter().filter(|f| f.as_str().unwrap().contains("process_api"));
    assert_eq!(own.count(), 0, "the host's tree is shown, not the container's own part");
}

fn cgroup_v1_is_readonly(t: &Test) {
    let file = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
    let questions = [&format!("write:{file}"), "mkdir:/sys/fs/cgroup/memory/x", "mkdir:/sys/fs/cgroup/x"];
    for (question, answer) in t.look(&t.bundle(), questions)["asked"].as_object().unwrap() {
        // The directory above the hierarchies need not be a read-only mount.
        let above = question == "mkdir:/sys/fs/cgroup/x" && answer == "EACCES";
        assert!(answer == "EROFS" || above, "{question}: {answer}");
    }
    let writable = t.bundle().remount("/sys/fs/cgroup", &["nosuid", "noexec", "nodev"]);
    assert_eq!(t.look(&writable, [questions[0]])["asked"][questions[0]], "ok");
}

fn cgroup_v1_shows_only_its_own_in_a_namespace(t: &Test) {
    let bundle = t.bundle().namespace("cgroup");
    let seen = t.look(&bundle, ["list:/sys/fs/cgroup/pids"]);
    let listed = seen["asked"]["list:/sys/fs/cgroup/pids"].as_array().unwrap();
    assert!(listed.contains(&json!("pids.max")), "{listed:?}");
    assert_eq!(at(&seen, "/sys/fs/cgroup/pids")["root"], "/");
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

/// Runs the probe after `prepare` in a private mount namespace, see `in_private_mounts`.
pub fn look_after(t: &Test, dir: &Path, prepare: &str, bundle: Bundle, questions: &[&str]) -> Value {
    let bundle = bundle.args([&["/probe"], questions].concat());
    let script = format!("{prepare}; runtime run \"$ID\"");
    t.in_private_mounts(&bundle, dir, &script).out().report()
}

pub const SUBMOUNT: &str =
    "mkdir \"$VOLUME/sub\"; mount -t tmpfs sub \"$VOLUME/sub\"; touch \"$VOLUME/sub/deep\"";

pub const SHARED: &str = "mount --make-rshared /; mount --bind \"$VOLUME\" \"$VOLUME\"";

fn bind_keeps_the_sources_flags_it_was_not_told_to_change(t: &Test) {
    let dir = t.make_dir("volume");
    let prepare = "mount -t tmpfs -o nosuid,nodev,noexec v \"$VOLUME\"";
    let bundle = t.bundle().bind(&dir, "/tmp", &["ro"]);
    has(at(&look_after(t, &dir, prepare, bundle, &[]), "/tmp"), &["ro"]);
    let bundle = t.bundle().bind(&dir, "/tmp", &[]);
    has(at(&look_after(t, &dir, prepare, bundle, &[]), "/tmp"), &["nosuid", "nodev", "noexec"]);
}

fn bind_without_r_leaves_submounts_out(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = t.bundle().mount("/tmp", "bind", dir.to_str().unwrap(), &["bind"]);
    let seen = look_after(t, &dir, SUBMOUNT, bundle, &["stat:/tmp/sub/deep", "stat:/tmp/sub"]);
    assert_eq!(seen["asked"]["stat:/tmp/sub/deep"], "ENOENT");
    assert_eq!(seen["asked"]["stat:/tmp/sub"]["type"], "d");
}

fn rbind_brings_submounts(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = t.bundle().bind(&dir, "/tmp", &["ro"]);
    let seen = look_after(t, &dir, SUBMOUNT, bundle, &["write:/tmp/sub/deep", "create:/tmp/x"]);
    assert_eq!(seen["asked"]["write:/tmp/sub/deep"], "ok", "ro is of the mount alone");
    assert_eq!(seen["asked"]["create:/tmp/x"], "EROFS");
}

fn rro_reaches_submounts(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = t.bundle().bind(&dir, "/tmp", &["rro"]);
    let seen = look_after(t, &dir, SUBMOUNT, bundle, &["write:/tmp/sub/deep", "create:/tmp/x"]);
    assert_eq!(seen["asked"]["write:/tmp/sub/deep"], "EROFS");
    assert_eq!(seen["asked"]["create:/tmp/x"], "EROFS");
}

fn bind_over_a_bind(t: &Test) {
    let (one, two) = (volume(t), t.make_dir("second"));
    std::fs::create_dir(one.join("inner")).unwrap();
    std::fs::write(two.join("here"), "").unwrap();
    let bundle = t.bundle().bind(&one, "/tmp", &[]).bind(&two, "/tmp/inner", &[]);
    assert_eq!(t.look(&bundle, ["list:/tmp/inner"])["asked"]["list:/tmp/inner"], json!(["here"]));
    assert!(!one.join("inner/here").exists());
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

fn later_mounts_lie_on_earlier_ones(t: &Test) {
    let bundle =
        t.bundle().mount("/a/b", "tmpfs", "under", &["size=1m"]).mount("/a", "tmpfs", "over", &["size=2m"]);
    let seen = t.look(&bundle, ["list:/a"]);
    assert_eq!(seen["asked"]["list:/a"], json!([]));
    super_has(at(&seen, "/a"), "size=2048k");
}

fn mountpoint_through_a_symlink_stays_inside(t: &Test) {
    let decoy = volume(t);
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
    assert!(!decoy.join("point").exists(), "made on the host");
}

fn mountpoint_that_is_a_file_for_a_directory_is_refused(t: &Test) {
    let bundle = t.bundle().bind(&volume(t), "/etc/passwd", &[]);
    t.refused(&bundle).one_clear_line(&["/mounts/7"]);
    let bundle = t.bundle().bind(&volume(t).join("file"), "/etc", &[]);
    t.refused(&bundle).one_clear_line(&["/mounts/7"]);
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

/// What an engine's snapshotter mounts, here by the config itself.
fn overlay_of_layers_with_a_whiteout(t: &Test) {
    let layers = ["base", "middle", "upper", "work"].map(|name| t.make_dir(name));
    let [base, middle, upper, work] = &layers;
    std::fs::write(base.join("kept"), "base").unwrap();
    std::fs::write(base.join("gone"), "base").unwrap();
    std::fs::write(middle.join("added"), "middle").unwrap();
    let whiteout = nix::sys::stat::makedev(0, 0);
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    nix::sys::stat::mknod(&middle.join("gone"), kind, nix::sys::stat::Mode::empty(), whiteout).unwrap();
    let lower = format!("lowerdir={}:{}", middle.display(), base.display());
    let upper_option = format!("upperdir={}", upper.display());
    let work = format!("workdir={}", work.display());
    let bundle = t.bundle().mount("/tmp", "overlay", "overlay", &[&lower, &upper_option, &work]);
    let seen = t.look(&bundle, ["list:/tmp", "create:/tmp/new"]);
    assert_eq!(seen["asked"]["list:/tmp"], json!(["added", "kept"]));
    assert_eq!(seen["asked"]["create:/tmp/new"], "ok");
    assert!(upper.join("new").exists() && !base.join("new").exists());
}
