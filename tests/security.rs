//! Attacks that worked on some runtime once, each named after its CVE.

use crate::harness::{Bundle, Container, Test, cap_mask, is_corten, is_root, pipe, read_line};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

cases![
    cve_2016_3697_a_number_is_never_a_name,
    cve_2026_30892_a_user_never_becomes_root_by_mistake,
    malformed_users_are_refused,
    cve_2016_9962_a_newcomer_cannot_be_reached,
    cve_2016_9962_an_init_in_a_joined_pid_namespace_cannot_be_reached,
    cve_2016_9962_an_init_in_joined_namespaces_cannot_be_reached,
    cve_2016_9962_an_init_in_the_hosts_pid_namespace_cannot_be_reached,
    cve_2016_9962_the_maker_of_an_idmapped_mount_cannot_be_reached,
    cve_2019_5736_by_the_entrypoint,
    cve_2019_5736_by_an_interpreter,
    cve_2019_5736_by_a_watcher_during_exec,
    cve_2019_5736_by_a_watcher_during_run,
    cve_2019_5736_by_a_watcher_during_create,
    cve_2019_5736_by_a_watcher_during_mounts,
    cve_2019_5736_by_a_hook,
    the_seal_comes_before_libc,
    cve_2019_16884_volume_on_proc,
    cve_2019_18837_mountpoints_through_symlinks,
    cve_2019_19921_proc_and_sys_must_be_directories,
    cve_2021_30465_mounts_while_a_volume_changes,
    cve_2021_43784_endless_mappings,
    cve_2022_29162_exec_inherits_nothing,
    cve_2023_25809_cgroups_are_readonly_without_privilege,
    cve_2024_21626_cwd_through_a_descriptor,
    cve_2024_21626_exec_cwd_through_a_descriptor,
    cve_2024_21626_leaked_directory,
    cve_2024_45310_mkdir_race,
    cve_2025_31133_dev_null_is_something_else,
    cve_2025_31133_dev_null_changes_meanwhile,
    cve_2025_52565_console_is_a_symlink,
    cve_2025_52565_console_changes_meanwhile,
    cve_2025_52881_procfs_under_another_name,
    cve_2026_41579_dev_is_a_symlink,
    cve_2026_88264_console_without_dev,
    cve_2026_88265_stdio_through_a_dev_null_symlink,
    cwd_symlink_stays_inside,
    executable_symlink_stays_inside,
    state_is_for_the_owner_only,
    hooks_do_not_come_from_the_container,
];

/// A host directory that an attack would change, and proof that it did not.
struct Decoy {
    dir: PathBuf,
    before: Vec<String>,
}

impl Decoy {
    fn new(t: &Test) -> Decoy {
        let dir = t.make_dir("decoy");
        for name in ["ptmx", "null", "console", "file"] {
            fs::write(dir.join(name), "untouched").expect("a decoy");
        }
        fs::create_dir(dir.join("pts")).expect("a decoy");
        let before = snapshot(&dir);
        Decoy { dir, before }
    }

    fn check(&self) {
        assert_eq!(snapshot(&self.dir), self.before, "the host was changed");
    }
}

fn snapshot(dir: &Path) -> Vec<String> {
    let mut all = vec![describe(dir)];
    for entry in fs::read_dir(dir).expect("list a decoy").flatten() {
        all.push(describe(&entry.path()));
        if entry.file_type().expect("type").is_dir() {
            all.extend(snapshot(&entry.path()));
        }
    }
    all.sort();
    all
}

fn describe(path: &Path) -> String {
    let meta = path.symlink_metadata().expect("stat a decoy");
    let content = if meta.is_file() { fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    let (inode, mode, owner) = (meta.ino(), meta.mode(), (meta.uid(), meta.gid()));
    format!("{} {inode} {mode:o} {owner:?} {} {content}", path.display(), meta.mtime_nsec())
}

fn exec_as(container: &Container, user: &str) -> Option<u64> {
    let out = container.exec(["--user", user], ["/probe"]).out();
    (out.code == 0).then(|| out.report()["ids"]["uid"][1].as_u64().expect("a uid"))
}

fn as_alice(t: &Test) -> Container<'_> {
    let bundle = t.bundle().set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let passwd = "root:x:0:0::/:\n1000:x:0:0::/:\n7:x:0:0::/:\n";
    fs::remove_file(bundle.inside("/etc/passwd")).expect("unlink");
    fs::write(bundle.inside("/etc/passwd"), passwd).expect("passwd");
    t.start(&bundle.args(["/probe", "--pause"]))
}

fn cve_2016_3697_a_number_is_never_a_name(t: &Test) {
    let container = as_alice(t);
    for user in ["1000", "7", "7:7"] {
        assert_eq!(exec_as(&container, user), user.split(':').next().unwrap().parse().ok(), "{user}");
    }
}

const MALFORMED: [&str; 10] =
    ["4294967296", "-1", "0x0", " 0", "1:", ":", "1:2:3", "1:x", "nobody-knows", "18446744073709551616"];

fn cve_2026_30892_a_user_never_becomes_root_by_mistake(t: &Test) {
    let container = as_alice(t);
    for user in MALFORMED.iter().chain(&["1", "+1", "01", ""]) {
        assert_ne!(exec_as(&container, user), Some(0), "{user:?}");
    }
}

fn malformed_users_are_refused(t: &Test) {
    let container = as_alice(t);
    for user in MALFORMED {
        assert_eq!(exec_as(&container, user), None, "{user:?}");
    }
}

/// A copy of the runtime, for attacks that overwrite it; and its content.
fn victim(t: &Test) -> (PathBuf, Vec<u8>) {
    let original = t.runtime.borrow().clone();
    let copy = t.make_dir("victim").join(original.file_name().expect("a name"));
    // Not by this process: a child that another test starts meanwhile would
    // inherit the file open for writing, and the copy could not be executed.
    let copied = std::process::Command::new("cp").arg(&original).arg(&copy).status().expect("cp");
    assert!(copied.success(), "cp the runtime");
    t.runtime.replace(copy.clone());
    (copy.clone(), fs::read(&copy).expect("read the copy"))
}

fn unchanged((path, before): &(PathBuf, Vec<u8>)) {
    assert!(fs::read(path).expect("read the copy") == *before, "the runtime was overwritten");
}

/// Makes containers that this one sees the init of. It must not reach the host through
/// them: until an init has its own root directory it has the host's.
fn reaches_nothing(t: &Test, bundle: Bundle, other: impl Fn(&Container) -> Bundle) {
    t.needs_root("joins a pid namespace of another user namespace");
    let victim = t.path("victim");
    fs::write(&victim, "the host's").expect("write");
    let [victim, until] = [victim.to_str().unwrap(), "/tmp/until"];
    let bundle = bundle.args(["/probe", "--attack-root", victim, until]);
    let (reader, writer) = pipe();
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "ready");
    let other = other(&container).args(["true"]);
    for _ in 0..30 {
        // Some may not mount a procfs there; until then they have come far enough.
        t.run(&other);
    }
    fs::write(bundle.inside(until), "").expect("the sign to end");
    let seen = read_line(&reader);
    container.wait();
    assert!(seen.starts_with("seen") && seen != "seen 0", "{seen}");
}

/// Both are root of the host, so the watcher owns the other's new user namespace, and has
/// all capabilities over it.
fn cve_2016_9962_an_init_in_a_joined_pid_namespace_cannot_be_reached(t: &Test) {
    reaches_nothing(t, t.bundle(), |container| beside(t, container).user_namespace());
}

fn cve_2016_9962_an_init_in_joined_namespaces_cannot_be_reached(t: &Test) {
    let bundle = t.bundle().user_namespace().capabilities(&["CAP_SYS_PTRACE"]);
    reaches_nothing(t, bundle, |container| {
        beside(t, container).join("user", &format!("/proc/{}/ns/user", container.init.pid))
    });
}

/// The same from the host's pid namespace, which is one of this test's own: other tests
/// have processes that may be reached. `work` makes `$OTHER` or changes `$ID`.
fn reaches_nothing_from_the_hosts_pids(t: &Test, other: &Bundle, list: &Path, work: &str) {
    t.cgroupfs_only();
    let victim = t.path("victim");
    fs::write(&victim, "the host's").expect("write");
    let [victim, until] = [victim.to_str().unwrap(), "/tmp/until"];
    let bundle = t.bundle().without_namespace("pid").args(["/probe", "--attack-root", victim, until]);
    let script = format!(
        "mount -t proc proc /proc; mkfifo said; exec 3<> said
         runtime run --detach --bundle $BUNDLE $ID >&3
         read -r said <&3; echo $said
         for i in $(seq 30); do {work}; done
         : > $UNTIL; read -r said <&3; echo $said
         runtime delete --force $ID"
    );
    let call = t.in_private_pids(&bundle, &script).env("UNTIL", bundle.inside(until));
    let out = call.env("OTHER", other.lay()).env("LIST", list).out();
    let said: Vec<_> = out.stdout.lines().collect();
    assert_eq!(said.len(), 2, "{out:?}");
    assert!(said[0] == "ready" && said[1].starts_with("seen") && said[1] != "seen 0", "{out:?}");
}

fn cve_2016_9962_an_init_in_the_hosts_pid_namespace_cannot_be_reached(t: &Test) {
    let other = t.bundle().user_namespace().args(["true"]);
    reaches_nothing_from_the_hosts_pids(t, &other, Path::new(""), "runtime run --bundle $OTHER $ID.other");
}

/// So does the process that makes the user namespace of an idmapped mount.
fn cve_2016_9962_the_maker_of_an_idmapped_mount_cannot_be_reached(t: &Test) {
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    let mount = json!({ "destination": "/tmp", "type": "bind", "source": t.make_dir("volume"),
        "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map });
    let other = t.bundle().push("/mounts", mount.clone()).args(["true"]);
    let list = t.make_file("mounts.json", &json!([mount]).to_string());
    reaches_nothing_from_the_hosts_pids(
        t,
        &other,
        &list,
        "runtime run --bundle $OTHER $ID.other; runtime mounts add $ID $LIST; runtime mounts remove $ID $LIST",
    );
}

fn cve_2019_5736_by_the_entrypoint(t: &Test) {
    let victim = victim(t);
    let out = t.run(&powerful(t).args(["/proc/self/exe"]));
    unchanged(&victim);
    // It runs the runtime inside: that may work, but must not write anything.
    assert!(!out.stdout.contains("written"), "{out:?}");
    let container = t.start(&powerful(t).args(["/probe", "--pause"]));
    container.exec([], ["/proc/self/exe", "--version"]).out();
    unchanged(&victim);
}

fn cve_2019_5736_by_an_interpreter(t: &Test) {
    let victim = victim(t);
    let bundle = powerful(t);
    bundle.script("/entry", "#!/proc/self/exe\n");
    t.run(&bundle.clone().args(["/entry"]));
    let container = t.start(&bundle.args(["/probe", "--pause"]));
    container.exec([], ["/entry"]).out();
    unchanged(&victim);
}

/// The capabilities an attacker could wish for.
fn powerful(t: &Test) -> Bundle {
    t.bundle().capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"])
}

/// A container that watches for the runtime in its pid namespace while `work`
/// is done; what it saw.
fn watched(t: &Test, bundle: Bundle, work: impl FnOnce(&Container)) -> String {
    let bundle = bundle.args(["/probe", "--attack-exe", "/tmp/until"]);
    let (reader, writer) = pipe();
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "ready");
    work(&container);
    fs::write(bundle.inside("/tmp/until"), "").expect("the sign to end");
    let seen = read_line(&reader);
    container.wait();
    seen
}

/// Does `work`, which runs a verb that enters the container, while the container
/// watches, and insists that the runtime was seen and not overwritten.
fn attacked(t: &Test, work: impl Fn(&Container)) {
    let victim = victim(t);
    let seen = watched(t, powerful(t), |container| (0..20).for_each(|_| work(container)));
    assert!(seen.starts_with("seen") && seen != "seen 0", "the attack took place: {seen}");
    unchanged(&victim);
}

fn cve_2019_5736_by_a_watcher_during_exec(t: &Test) {
    attacked(t, |container| {
        container.exec([], ["true"]).out();
        container.exec([], ["/proc/self/exe", "--version"]).out();
    });
}

/// A bundle whose container joins the pid namespace of this one.
fn beside(t: &Test, container: &Container) -> Bundle {
    t.bundle().join("pid", &format!("/proc/{}/ns/pid", container.init.pid)).args(["true"])
}

fn cve_2019_5736_by_a_watcher_during_run(t: &Test) {
    t.needs_root("joins a pid namespace of another user namespace");
    attacked(t, |container| drop(t.run(&beside(t, container))));
}

fn cve_2019_5736_by_a_watcher_during_create(t: &Test) {
    t.needs_root("joins a pid namespace of another user namespace");
    // What isn't reaped would keep the watcher's pid namespace from ending.
    attacked(t, |container| t.create(&beside(t, container)).stop());
}

fn cve_2019_5736_by_a_watcher_during_mounts(t: &Test) {
    t.needs_root("only root's is within a watcher's reach");
    let volume = t.make_dir("volume");
    let list = json!([{ "destination": "/var", "type": "bind", "source": volume, "options": ["bind"] }]);
    let list = t.make_file("mounts.json", &list.to_string());
    attacked(t, |container| {
        t.verb(["mounts", "add", &container.id]).arg(&list).out();
        t.verb(["mounts", "remove", &container.id]).arg(&list).out();
    });
}

/// The process that makes a container, attacked by a program of the host: CRIU
/// leaves the container no moment to see the runtime in `restore`. The file is
/// busy as long as it runs, so a daemon keeps it open until nothing does.
fn cve_2019_5736_by_a_hook(t: &Test) {
    let victim = victim(t);
    let [go, done, said] = ["go", "done", "said"].map(|name| t.path(name));
    for fifo in [&go, &done] {
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    }
    let script = format!(
        "exec 3< /proc/$PPID/exe; (read x < {}; (printf overwritten >> /proc/self/fd/3) 2> {}; echo tried > {}) &",
        go.display(),
        said.display(),
        done.display()
    );
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    let bundle = crate::checkpoint::counting(t).set("/hooks", json!({ "createRuntime": hook }));
    let attack = |verb: &str| {
        fs::write(&go, "go\n").expect("write to the daemon");
        assert_eq!(fs::read_to_string(&done).expect("read from the daemon"), "tried\n", "{verb}");
        let text = fs::read_to_string(&said).expect("what the daemon said");
        assert!(is_root() == text.contains("Read-only file system"), "{verb}: {text:?}");
        unchanged(&victim);
    };
    t.run(&bundle);
    attack("run");
    t.create(&bundle).stop();
    attack("create");
    if crate::checkpoint::works().is_err() {
        return;
    }
    crate::checkpoint::needs_criu(t);
    let images = t.path("images");
    let counter = crate::checkpoint::Counter::start(t, &bundle);
    counter.checkpoint(t, &images, &[]).ok();
    counter.container.wait();
    attack("create");
    let again = crate::checkpoint::Counter::restore(t, &bundle, &images, &[]);
    again.container.stop();
    drop(again);
    attack("restore");
}

/// libc's start-up costs more than all the rest, and the sealed image has to do
/// it again: no verb that is sealed may do it before that.
fn the_seal_comes_before_libc(t: &Test) {
    t.needs_root("a read-only bind of the binary");
    let before = |verb: &str| -> Vec<String> {
        let log = t.path("calls");
        let call = t.call("/usr/bin/strace").args(["-o"]).arg(&log).arg(&*t.runtime.borrow());
        call.arg("--root").arg(t.root()).args([verb, "--help"]).ok();
        let text = fs::read_to_string(&log).expect("the log of strace");
        let before = text.lines().skip(1).take_while(|line| !line.starts_with("execveat("));
        before.filter_map(|line| line.split_once('(')).map(|(call, _)| call.to_owned()).collect()
    };
    let early = ["statfs", "open_tree", "mount_setattr"];
    if before("run") != early {
        t.skip("the entry point is an optimised build's, for x86_64");
    }
    for verb in ["create", "exec", "restore", "mounts"] {
        assert_eq!(before(verb), early, "{verb}");
    }
}

fn cve_2016_9962_a_newcomer_cannot_be_reached(t: &Test) {
    // Same user, no CAP_SYS_PTRACE: only being non-dumpable keeps it out.
    let seen = watched(t, t.bundle().capabilities(&[]), |container| {
        for _ in 0..20 {
            container.exec([], ["true"]).out();
        }
    });
    assert_eq!(seen, "seen 0");
}

/// What is written to /proc must reach the kernel, not files of an image.
fn cve_2019_16884_volume_on_proc(t: &Test) {
    let fake = t.make_dir("fake");
    fs::create_dir_all(fake.join("self/attr")).expect("mkdir");
    fs::write(fake.join("self/attr/exec"), "").expect("a file");
    for bundle in [t.bundle(), t.bundle().without_mount("/proc")] {
        for place in ["/proc", "/proc/self/attr", "proc"] {
            let bound = bundle.clone().bind(&fake, place, &[]);
            let fresh = bundle.clone().mount(place, "tmpfs", "tmpfs", &["tmpcopyup"]);
            for refused in [t.refused(&bound), t.refused(&fresh)] {
                // A relative path has a warning of its own.
                let error = refused.stderr.lines().last().unwrap_or_default();
                assert!(!is_corten() || error.starts_with("corten: error: /mounts/"), "{refused:?}");
                refused.says(&["proc"]);
            }
        }
    }
}

fn cve_2019_18837_mountpoints_through_symlinks(t: &Test) {
    let decoy = Decoy::new(t);
    let volume = t.make_dir("volume");
    for target in [decoy.dir.clone(), Path::new("../../..").join(decoy.dir.strip_prefix("/").unwrap())] {
        for name in ["a", "a/b", "pts", "file/x"] {
            let bundle = t.bundle().mount(&format!("/link/{name}"), "tmpfs", "tmpfs", &[]).bind(
                &volume,
                &format!("/link/{name}2"),
                &[],
            );
            symlink(&target, bundle.inside("/link")).expect("symlink");
            t.run(&bundle.args(["true"]));
            decoy.check();
        }
    }
}

/// Replaces a directory of the image by a symlink.
fn relink(bundle: &Bundle, place: &str, target: &Path) {
    fs::remove_dir_all(bundle.inside(place)).expect("remove");
    symlink(target, bundle.inside(place)).expect("symlink");
}

fn cve_2019_19921_proc_and_sys_must_be_directories(t: &Test) {
    let decoy = Decoy::new(t);
    for place in ["/proc", "/sys"] {
        for target in [decoy.dir.as_path(), Path::new("/tmp"), Path::new("tmp"), Path::new("/nowhere")] {
            let bundle = t.bundle();
            relink(&bundle, place, target);
            t.refused(&bundle).one_clear_line(&[place]);
            decoy.check();
        }
        let bundle = t.bundle();
        fs::remove_dir(bundle.inside(place)).expect("rmdir");
        fs::write(bundle.inside(place), "").expect("a file");
        t.refused(&bundle).one_clear_line(&[place]);
    }
}

fn cve_2021_43784_endless_mappings(t: &Test) {
    let maps: Vec<_> =
        (0..5000).map(|n| json!({ "containerID": n, "hostID": 100_000 + n, "size": 1 })).collect();
    let bundle = t.bundle().namespace("user");
    let bundle = bundle.set("/linux/uidMappings", json!(maps)).set("/linux/gidMappings", json!(maps));
    t.refused(&bundle).one_clear_line(&["Mappings"]);
}

fn cve_2022_29162_exec_inherits_nothing(t: &Test) {
    let bundle = t.bundle().capabilities(&["CAP_KILL"]).args(["/probe", "--pause"]);
    let container = t.start(&bundle);
    assert_eq!(container.look([])["status"]["CapInh"], cap_mask(&[]));
    let seen = container.look(["--cap", "CAP_NET_RAW"]);
    assert_eq!(seen["status"]["CapInh"], cap_mask(&[]));
    assert_eq!(seen["status"]["CapEff"], cap_mask(&["CAP_KILL", "CAP_NET_RAW"]));
}

/// An ordinary user to whom the host has delegated a cgroup, and in it a
/// container without a cgroup namespace.
fn cve_2023_25809_cgroups_are_readonly_without_privilege(t: &Test) {
    let map = json!([{ "containerID": 0, "hostID": Test::USER, "size": 1 }]);
    let group = format!("{}d", t.token);
    let flags = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    let own = format!("/sys/fs/cgroup/{group}/r/cgroup.procs");
    let bundle = t
        .bundle()
        .namespace("user")
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        // Not to be made by this user, so it stays in the caller's.
        .set("/linux/cgroupsPath", json!(format!("/{group}not")))
        .drop("/linux/resources")
        .remount("/dev/pts", &flags)
        .args(["/probe", &format!("write:{own}"), &format!("mkdir:/sys/fs/cgroup/{group}/x")]);
    let state = t.make_dir("user");
    std::os::unix::fs::chown(&state, Some(Test::USER), Some(Test::USER)).expect("chown");
    let user = Test::USER;
    let script = format!(
        "{}; mkdir /sys/fs/cgroup/{group}; chown -R {user}:{user} /sys/fs/cgroup/{group}; \
         mkdir /sys/fs/cgroup/{group}/r; chown -R {user}:{user} /sys/fs/cgroup/{group}/r; \
         (sh -c 'echo $$ >/sys/fs/cgroup/{group}/r/cgroup.procs; exec \"$@\"' - setpriv --reuid {user} --regid {user} \
         --clear-groups \"$RUNTIME\" --root \"$VOLUME\" run \"$ID\") || echo failed; \
         rmdir /sys/fs/cgroup/{group}/r /sys/fs/cgroup/{group}",
        crate::cgroup_mounts::V2
    );
    let seen = t.in_private_mounts(&bundle, &state, &script).out().report();
    for (question, answer) in seen["asked"].as_object().expect("answers") {
        assert_eq!(answer, "EROFS", "{question}");
    }
}

fn cve_2024_21626_cwd_through_a_descriptor(t: &Test) {
    for number in 3..20 {
        let cwd = format!("/proc/self/fd/{number}");
        let bundle = t.bundle().set("/process/cwd", json!(cwd));
        let out = t.run(&bundle.args(["ls", "-a"]));
        assert_ne!(out.code, 0, "{number}: {out:?}");
    }
}

fn cve_2024_21626_exec_cwd_through_a_descriptor(t: &Test) {
    let container = t.start(&t.bundle().args(["/probe", "--pause"]));
    for number in 3..20 {
        let out = container.exec(["--cwd", &format!("/proc/self/fd/{number}")], ["pwd"]).out();
        assert_ne!(out.code, 0, "{number}: {out:?}");
    }
}

fn cve_2024_21626_leaked_directory(t: &Test) {
    let container = t.start(&t.bundle().args(["/probe", "--pause"]));
    let host = || fs::File::open("/").expect("open /").into();
    for number in [3, 7, 11] {
        let cwd = format!("/proc/self/fd/{number}");
        let bundle = t.bundle().set("/process/cwd", json!(cwd)).args(["ls"]);
        let out = t.run_call(&bundle).pass(host(), number).out();
        assert_ne!(out.code, 0, "run: {out:?}");
        let out = container.exec(["--cwd", &cwd], ["ls"]).pass(host(), number).out();
        assert_ne!(out.code, 0, "exec: {out:?}");
    }
}

/// Exchanges two names again and again until it is dropped.
struct Flipper {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flipper {
    fn new(one: PathBuf, two: PathBuf) -> Flipper {
        use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
        use std::sync::atomic::Ordering::Relaxed;
        let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            while !seen.load(Relaxed) {
                let _ = renameat2(AT_FDCWD, &one, AT_FDCWD, &two, RenameFlags::RENAME_EXCHANGE);
            }
        });
        Flipper { stop, thread: Some(thread) }
    }
}

impl Drop for Flipper {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Also 2021-30465: the mountpoint is swapped for a symlink while it is made.
fn cve_2024_45310_mkdir_race(t: &Test) {
    let decoy = Decoy::new(t);
    let volume = t.make_dir("volume");
    fs::create_dir(volume.join("place")).expect("mkdir");
    symlink(&decoy.dir, volume.join("trap")).expect("symlink");
    let flipper = Flipper::new(volume.join("place"), volume.join("trap"));
    for n in 0..60 {
        let point = format!("/vol/place/{n}/deep");
        let bundle = t.bundle().bind(&volume, "/vol", &[]).mount(&point, "tmpfs", "tmpfs", &[]);
        t.run(&bundle.args(["true"]));
    }
    drop(flipper);
    decoy.check();
}

/// Directories, files and copies, where a name in a volume is a directory now
/// and a link to the host then.
fn cve_2021_30465_mounts_while_a_volume_changes(t: &Test) {
    let decoy = Decoy::new(t);
    let (volume, file) = (t.make_dir("volume"), t.make_file("file", "bound"));
    fs::create_dir(volume.join("place")).expect("mkdir");
    symlink(&decoy.dir, volume.join("trap")).expect("symlink");
    let flipper = Flipper::new(volume.join("place"), volume.join("trap"));
    for n in 0..40 {
        let bundle = t
            .bundle()
            .bind(&volume, "/vol", &[])
            .bind(&file, &format!("/vol/place/file{n}"), &["ro"])
            .mount("/vol/place", "tmpfs", "t", &["tmpcopyup"])
            .mount("/vol/place/console", "tmpfs", "t", &["silent"])
            .bind(&volume, "/vol/place", &["ro"]);
        t.run(&bundle.args(["true"]));
    }
    drop(flipper);
    decoy.check();
}

/// A bundle whose /dev is the image's own directory.
fn own_dev(t: &Test) -> Bundle {
    ["", "/pts", "/shm", "/mqueue"]
        .iter()
        .fold(t.bundle(), |bundle, name| bundle.without_mount(&format!("/dev{name}")))
}

fn cve_2025_31133_dev_null_is_something_else(t: &Test) {
    // What the image calls null must not be what masks a file.
    let script = "test -c /etc/passwd && test ! -s /etc/passwd || exit 77";
    let bundle = own_dev(t).set("/linux/maskedPaths", json!(["/etc/passwd"])).shell(script);
    let null = bundle.inside("/dev/null");
    symlink("/etc/group", &null).expect("symlink");
    assert_ne!(t.run(&bundle).code, 77, "a symlink is the mask");
    fs::remove_file(&null).expect("unlink");
    nix::unistd::mkfifo(&null, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("mkfifo");
    assert_ne!(t.run(&bundle).code, 77, "a FIFO is the mask");
    fs::remove_file(&null).expect("unlink");
    fs::write(&null, "not empty").expect("a file");
    assert_ne!(t.run(&bundle).code, 77, "a file is the mask");
    fs::remove_file(&null).expect("unlink");
    let zero = nix::sys::stat::makedev(1, 5);
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::sys::stat::mknod(&null, nix::sys::stat::SFlag::S_IFCHR, mode, zero).expect("mknod");
    let script = "test \"$(stat -c %t:%T /etc/passwd)\" = 1:3 || exit 77";
    assert_ne!(t.run(&bundle.shell(script)).code, 77, "another device is the mask");
}

/// Somebody who has the rootfs mounted, too, exchanges a device for a link.
fn cve_2025_31133_dev_null_changes_meanwhile(t: &Test) {
    let decoy = Decoy::new(t);
    let script = "test -c /etc/passwd && test ! -s /etc/passwd || exit 77";
    for bundle in [own_dev(t), own_dev(t).user_namespace()] {
        let bundle = bundle.set("/linux/maskedPaths", json!(["/etc/passwd"])).shell(script);
        let owner = nix::unistd::Uid::from_raw(100_000);
        nix::unistd::chown(&bundle.inside("/dev"), Some(owner), None).expect("chown");
        let null = bundle.inside("/dev/null");
        let zero = nix::sys::stat::makedev(1, 3);
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
        nix::sys::stat::mknod(&null, nix::sys::stat::SFlag::S_IFCHR, mode, zero).expect("mknod");
        symlink(decoy.dir.join("null"), bundle.inside("/dev/trap")).expect("symlink");
        let flipper = Flipper::new(null, bundle.inside("/dev/trap"));
        for _ in 0..40 {
            assert_ne!(t.run(&bundle).code, 77, "the mask is not the null device");
        }
        drop(flipper);
        decoy.check();
    }
}

/// A run on a terminal that goes nowhere but must not harm the host.
fn run_with_console(t: &Test, bundle: &Bundle) {
    let bundle = bundle.clone().set("/process/terminal", json!(true)).args(["true"]);
    let path = t.path("console");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a console socket");
    let id = t.id();
    t.will_delete(&id);
    let call = t.verb(["run", "--detach", "--console-socket"]).arg(&path);
    call.arg("--bundle").arg(bundle.lay()).arg(id).out();
    drop(listener);
}

fn cve_2025_52565_console_is_a_symlink(t: &Test) {
    let decoy = Decoy::new(t);
    let bundle = t.bundle().without_mount("/dev");
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir(bundle.inside("/dev").join(name)).expect("mkdir");
    }
    fs::remove_dir(bundle.inside("/dev/pts")).expect("rmdir");
    symlink(decoy.dir.join("pts"), bundle.inside("/dev/pts")).expect("symlink");
    symlink(decoy.dir.join("console"), bundle.inside("/dev/console")).expect("symlink");
    run_with_console(t, &bundle);
    decoy.check();
}

/// A file that is bound where a volume's link leads to procfs, now and then.
fn cve_2025_52881_procfs_under_another_name(t: &Test) {
    let (volume, fake) = (t.make_dir("volume"), t.make_file("version", "fake\n"));
    fs::create_dir(volume.join("place")).expect("mkdir");
    fs::write(volume.join("place/version"), "").expect("a file");
    symlink("/proc", volume.join("trap")).expect("symlink");
    let flipper = Flipper::new(volume.join("place"), volume.join("trap"));
    for _ in 0..40 {
        let bundle = t.bundle().bind(&volume, "/vol", &[]).bind(&fake, "/vol/place/version", &[]);
        let out = t.run(&bundle.shell("grep -q fake /proc/version && exit 77; exit 0"));
        assert_ne!(out.code, 77, "a file of procfs was covered");
    }
    drop(flipper);
    // It is refused by name, too, and a sysctl is the kernel's all the same.
    let bundle = t.bundle().bind(&fake, "/proc/sys/kernel/hostname", &[]);
    t.refused(&bundle).one_clear_line(&["/mounts/7", "inside /proc"]);
    let bundle = t.bundle().set("/linux/sysctl", json!({ "kernel.domainname": "from.sysctl" }));
    assert_eq!(t.look(&bundle, [])["names"]["domain"], "from.sysctl");
}

fn cve_2025_52565_console_changes_meanwhile(t: &Test) {
    let decoy = Decoy::new(t);
    let bundle = t.bundle().without_mount("/dev").without_mount("/dev/shm").without_mount("/dev/mqueue");
    fs::create_dir(bundle.inside("/dev/pts")).expect("mkdir");
    fs::write(bundle.inside("/dev/console"), "").expect("a file");
    symlink(decoy.dir.join("console"), bundle.inside("/dev/trap")).expect("symlink");
    let flipper = Flipper::new(bundle.inside("/dev/console"), bundle.inside("/dev/trap"));
    for _ in 0..40 {
        run_with_console(t, &bundle);
    }
    drop(flipper);
    decoy.check();
}

fn cve_2026_41579_dev_is_a_symlink(t: &Test) {
    let decoy = Decoy::new(t);
    let deep = Path::new("../../../../../..").join(decoy.dir.strip_prefix("/").unwrap());
    for target in [decoy.dir.as_path(), &deep] {
        for bundle in [t.bundle(), t.bundle().without_mount("/dev")] {
            relink(&bundle, "/dev", target);
            t.run(&bundle.clone().args(["true"]));
            decoy.check();
            run_with_console(t, &bundle);
            decoy.check();
        }
    }
}

fn cve_2026_88264_console_without_dev(t: &Test) {
    let decoy = Decoy::new(t);
    for readonly in [false, true] {
        for name in ["console", "new"] {
            let bundle = t
                .bundle()
                .set("/root/readonly", json!(readonly))
                .without_mount("/dev")
                .without_mount("/dev/shm")
                .without_mount("/dev/mqueue");
            symlink(decoy.dir.join(name), bundle.inside("/dev/console")).expect("symlink");
            run_with_console(t, &bundle);
            decoy.check();
        }
    }
}

fn cve_2026_88265_stdio_through_a_dev_null_symlink(t: &Test) {
    let decoy = Decoy::new(t);
    let bundle = own_dev(t).set("/process/user", json!({ "uid": 1000, "gid": 1000 })).args(["true"]);
    fs::write(bundle.inside("/var/root-owned"), "").expect("a file");
    for target in [PathBuf::from("/var/root-owned"), decoy.dir.join("file")] {
        let _ = fs::remove_file(bundle.inside("/dev/null"));
        symlink(&target, bundle.inside("/dev/null")).expect("symlink");
        let null = || fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        t.run_call(&bundle).stdin(null()).stdout(null().into()).out();
        decoy.check();
        let owner = fs::metadata(bundle.inside("/var/root-owned")).unwrap().uid();
        assert_eq!(owner, nix::unistd::geteuid().as_raw(), "a file of the image changed its owner");
    }
}

fn cwd_symlink_stays_inside(t: &Test) {
    let decoy = Decoy::new(t);
    let bundle = t.bundle().set("/process/cwd", json!("/link/made")).args(["pwd"]);
    symlink(&decoy.dir, bundle.inside("/link")).expect("symlink");
    t.run(&bundle);
    decoy.check();
}

fn executable_symlink_stays_inside(t: &Test) {
    let bundle = t.bundle();
    bundle.script("/../outside", "#!/bin/sh\necho escaped\n");
    symlink(bundle.dir.join("outside"), bundle.inside("/tool")).expect("symlink");
    symlink("../../../../bin/busybox", bundle.inside("/busybox")).expect("symlink");
    let out = t.run(&bundle.clone().args(["/tool"]));
    assert!(out.code != 0 && !out.stdout.contains("escaped"), "{out:?}");
    assert_eq!(t.run(&bundle.args(["/busybox", "echo", "home"])).stdout, "home\n");
}

fn state_is_for_the_owner_only(t: &Test) {
    let container = t.create(&t.bundle());
    let dir = t.root().join(&container.id);
    let shared =
        [t.root(), dir].iter().all(|dir| fs::metadata(dir).unwrap().permissions().mode() & 0o077 != 0);
    assert!(!shared, "the state can be read by everybody");
}

/// A host hook is the host's program, though the image has one of that name.
fn hooks_do_not_come_from_the_container(t: &Test) {
    let note = t.path("note");
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "readlink /proc/$$/exe > $0", note] });
    let bundle = t.bundle().push("/hooks/createRuntime", hook).args(["true"]);
    assert_eq!(t.run(&bundle).code, 0);
    let host: Value = json!(fs::canonicalize("/bin/sh").unwrap());
    assert_eq!(json!(fs::read_to_string(note).unwrap().trim()), host);
}
