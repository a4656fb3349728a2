//! Attacks that once worked on a runtime. Each test has the name of its CVE.

#[path = "security/attacker.rs"]
pub mod attacker;

use crate::harness::tally::{check_escape, tried, tried_often};
use crate::harness::{
    Bundle, Container, MOUNT_V2, Out, Test, cap_mask, is_corten, is_readable, is_root, pipe, read_line,
};
use attacker::{Flipper, Rounds, inside, run_with_console};
use serde_json::json;
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
    cve_2019_5736_by_a_hook_during_restore,
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
    cve_2025_24965_nothing_is_written_into_the_image,
    cve_2025_31133_dev_null_is_something_else,
    cve_2025_31133_dev_null_changes_meanwhile,
    cve_2025_31133_dev_null_changes_meanwhile_in_a_user_namespace,
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

fn exec_as(container: &Container, user: &str) -> Option<u64> {
    let out = container.exec(["--user", user], ["/probe"]).out();
    let uid = (out.code == 0).then(|| out.report()["ids"]["uid"][1].as_u64().expect("a uid"));
    tried(true);
    check_escape(uid == Some(0) && user != "0", &format!("{user:?} became root"));
    uid
}

fn as_alice(t: &Test) -> Container<'_> {
    let bundle = t.bundle().set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let passwd = "root:x:0:0::/:\n1000:x:0:0::/:\n7:x:0:0::/:\n";
    fs::remove_file(bundle.inside("/etc/passwd")).expect("unlink");
    fs::write(bundle.inside("/etc/passwd"), passwd).expect("passwd");
    t.start(&bundle.pausing())
}

fn cve_2016_3697_a_number_is_never_a_name(t: &Test) {
    let container = as_alice(t);
    for user in ["1000", "7", "7:7"] {
        assert_eq!(exec_as(&container, user), user.split(':').next().unwrap().parse().ok(), "{user}");
    }
}

const MALFORMED: [&str; 13] = [
    "4294967295",
    "1:4294967295",
    "4294967296",
    "+1",
    "-1",
    "0x0",
    " 0",
    "1:",
    ":",
    "1:2:3",
    "1:x",
    "nobody-knows",
    "18446744073709551616",
];

fn cve_2026_30892_a_user_never_becomes_root_by_mistake(t: &Test) {
    let container = as_alice(t);
    for user in MALFORMED.iter().chain(&["1", "01", ""]) {
        exec_as(&container, user);
    }
    assert_eq!(exec_as(&container, "0"), Some(0), "by intention");
}

fn malformed_users_are_refused(t: &Test) {
    let container = as_alice(t);
    for user in MALFORMED {
        let out = container.exec([&*format!("--user={user}")], ["/probe"]).out();
        tried(true);
        out.one_clear_line(&["--user must be UID or UID:GID", user]);
    }
    assert_eq!(exec_as(&container, "1000"), Some(1000));
}

/// A copy of the runtime, for attacks that overwrite it. It is a decoy.
fn victim(t: &Test) -> PathBuf {
    let original = t.runtime.borrow().clone();
    let copy = t.make_dir("victim").join(original.file_name().expect("a name"));
    // cp copies the file. If this process did, a child that another test starts at this
    // moment would inherit the file open for writing, and the copy could not be executed.
    let copied = std::process::Command::new("cp").arg(&original).arg(&copy).status().expect("cp");
    assert!(copied.success(), "cp the runtime");
    t.runtime.replace(copy.clone());
    t.decoy(&copy);
    copy
}

/// Creates containers whose init this container sees. The container must not reach the host
/// through them: until an init has its own root directory, it has the host's.
fn reaches_nothing(t: &Test, bundle: Bundle, other: impl Fn(&Container) -> Bundle) {
    t.needs_root("joins a pid namespace of another user namespace");
    let victim = t.path("victim");
    fs::write(&victim, "the host's").expect("write");
    t.decoy(&victim);
    let [victim, until] = [victim.to_str().unwrap(), "/tmp/until"];
    let bundle = bundle.args(["/probe", "--attack-root", victim, until]);
    let (reader, writer) = pipe();
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "ready");
    let other = other(&container).args(["true"]);
    for _ in 0..ROUNDS {
        // Some of these containers may not mount a procfs. Until then, their init has been
        // visible long enough.
        t.run(&other);
    }
    fs::write(bundle.inside(until), "").expect("the sign to end");
    let seen = read_line(&reader);
    container.wait();
    check_seen(ROUNDS, &seen);
}

/// How often a watcher is shown another process.
const ROUNDS: u32 = 30;

/// Counts what a watcher saw in `rounds` rounds. It must have seen a process, and must have
/// reached none.
#[track_caller]
fn check_seen(rounds: u32, seen: &str) {
    tried_often(rounds, number_seen(seen));
    check_escape(["reached", "written"].contains(&seen), &format!("the watcher has {seen} it"));
    assert_ne!(number_seen(seen), 0, "the attack took place: {seen}");
}

/// Returns the number in a watcher's report `seen N`, or 0.
fn number_seen(report: &str) -> u32 {
    report.strip_prefix("seen ").and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Root of the host created both containers. So the watcher owns the user namespace of the
/// other, and has all capabilities over it.
fn cve_2016_9962_an_init_in_a_joined_pid_namespace_cannot_be_reached(t: &Test) {
    reaches_nothing(t, t.bundle(), |container| beside(t, container).user_namespace());
}

fn cve_2016_9962_an_init_in_joined_namespaces_cannot_be_reached(t: &Test) {
    let bundle = t.bundle().user_namespace().capabilities(&["CAP_SYS_PTRACE"]);
    reaches_nothing(t, bundle, |container| {
        beside(t, container).join("user", &format!("/proc/{}/ns/user", container.init.pid))
    });
}

/// The same in the host's pid namespace. The test uses a pid namespace of its own, because
/// the attack could reach processes of other tests. `work` creates `$OTHER` or changes
/// `$ID`.
fn reaches_nothing_from_the_hosts_pids(t: &Test, other: &Bundle, list: &Path, work: &str) {
    t.cgroupfs_only();
    let victim = t.path("victim");
    fs::write(&victim, "the host's").expect("write");
    t.decoy(&victim);
    let [victim, until] = [victim.to_str().unwrap(), "/tmp/until"];
    let bundle = t.bundle().without_namespace("pid").args(["/probe", "--attack-root", victim, until]);
    let script = format!(
        "mount -t proc proc /proc; mkfifo said; exec 3<> said
         runtime run --detach --bundle $BUNDLE $ID >&3
         read -r said <&3; echo $said
         for i in $(seq {ROUNDS}); do {work}; done
         : > $UNTIL; read -r said <&3; echo $said
         runtime delete --force $ID"
    );
    let call = t.in_private_pids(&bundle, &script).env("UNTIL", bundle.inside(until));
    let out = call.env("OTHER", other.lay()).env("LIST", list).out();
    let said: Vec<_> = out.stdout.lines().collect();
    assert_eq!(said.len(), 2, "{out:?}");
    assert_eq!(said[0], "ready", "{out:?}");
    check_seen(ROUNDS, said[1]);
}

fn cve_2016_9962_an_init_in_the_hosts_pid_namespace_cannot_be_reached(t: &Test) {
    let other = t.bundle().user_namespace().args(["true"]);
    reaches_nothing_from_the_hosts_pids(t, &other, Path::new(""), "runtime run --bundle $OTHER $ID.other");
}

/// The process that creates the user namespace of an idmapped mount is closed, too.
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
    by_the_runtime_as_payload(t, "/proc/self/exe", |_| {});
}

fn cve_2019_5736_by_an_interpreter(t: &Test) {
    by_the_runtime_as_payload(t, "/entry", |bundle| bundle.script("/entry", "#!/proc/self/exe --version\n"));
}

/// Runs and executes `program`, which leads to the runtime, beside a watcher. `install`
/// copies it into an image.
fn by_the_runtime_as_payload(t: &Test, program: &str, install: impl Fn(&Bundle)) {
    let check = |out: Out| {
        // If the image lacks the runtime's loader, the kernel has opened the runtime all
        // the same.
        let is_opened = !is_corten() && out.stderr.contains("no such file or directory");
        assert!(is_opened || out.stdout.contains(" version "), "the runtime is executed: {out:?}");
    };
    let bundle = powerful(t);
    install(&bundle);
    attacked_in(t, bundle, |container| {
        check(container.exec([], [program, "--version"]).out());
        if is_root() {
            let bundle = beside(t, container).args([program, "--version"]);
            install(&bundle);
            check(t.run(&bundle));
        }
    });
}

/// The capabilities that help an attacker.
fn powerful(t: &Test) -> Bundle {
    t.bundle().capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"])
}

/// A container that watches for the runtime in its pid namespace during `work`. Repeats
/// `work` at least 20 times, then until the container has seen a runtime, but at most
/// `most` times. Returns what the container saw.
fn watched(t: &Test, bundle: Bundle, most: usize, work: impl Fn(&Container)) -> String {
    let bundle = bundle.args(["/probe", "--attack-exe", "/tmp/until"]);
    let (reader, writer) = pipe();
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "ready");
    // The runtime is visible only for a moment, so a busy machine needs more rounds.
    let mut rounds = 0..most;
    let mut worked = 0;
    while rounds.next().is_some_and(|round| round < 20 || !is_readable(&reader)) {
        work(&container);
        worked += 1;
    }
    fs::write(bundle.inside("/tmp/until"), "").expect("the sign to end");
    let seen = match read_line(&reader) {
        line if line == "saw" => read_line(&reader),
        line => line,
    };
    container.wait();
    tried_often(worked, number_seen(&seen));
    check_escape(seen == "written", "the runtime was overwritten");
    seen
}

/// Runs `work`, which calls a verb that enters the container, while the container watches.
/// The container must have seen the runtime, and must not have overwritten it.
fn attacked(t: &Test, work: impl Fn(&Container)) {
    attacked_in(t, powerful(t), work);
}

/// The same with a bundle for the watcher.
fn attacked_in(t: &Test, bundle: Bundle, work: impl Fn(&Container)) {
    victim(t);
    let seen = watched(t, bundle, 1000, work);
    assert_ne!(number_seen(&seen), 0, "the attack took place: {seen}");
}

fn cve_2019_5736_by_a_watcher_during_exec(t: &Test) {
    attacked(t, |container| {
        container.exec([], ["true"]).ok();
        // The watcher sees a user's runtime only after the runtime has executed the
        // command.
        container.exec([], ["/proc/self/exe", "--version"]).out();
    });
}

/// A bundle whose container joins the pid namespace of this one.
fn beside(t: &Test, container: &Container) -> Bundle {
    t.bundle().join("pid", &format!("/proc/{}/ns/pid", container.init.pid)).args(["true"])
}

fn cve_2019_5736_by_a_watcher_during_run(t: &Test) {
    t.needs_root("joins a pid namespace of another user namespace");
    attacked(t, |container| assert_eq!(t.run(&beside(t, container)).code, 0));
}

fn cve_2019_5736_by_a_watcher_during_create(t: &Test) {
    t.needs_root("joins a pid namespace of another user namespace");
    // An init that is not reaped would keep the watcher's pid namespace from ending.
    attacked(t, |container| t.create(&beside(t, container)).stop());
}

fn cve_2019_5736_by_a_watcher_during_mounts(t: &Test) {
    t.needs_root("only root's is within a watcher's reach");
    let volume = t.make_dir("volume");
    let list = json!([{ "destination": "/var", "type": "bind", "source": volume, "options": ["bind"] }]);
    let list = t.make_file("mounts.json", &list.to_string());
    attacked(t, |container| {
        t.verb(["mounts", "add", &container.id]).arg(&list).ok();
        t.verb(["mounts", "remove", &container.id]).arg(&list).ok();
    });
}

/// A program of the host that a hook starts, and that attacks the process which creates the
/// container. A running file can't be opened for writing, so the program keeps it open
/// until no process runs it.
struct Daemon {
    victim: PathBuf,
    go: PathBuf,
    done: PathBuf,
    said: PathBuf,
}

impl Daemon {
    fn new(t: &Test) -> Daemon {
        let [go, done, said] = ["go", "done", "said"].map(|name| t.path(name));
        for fifo in [&go, &done] {
            nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        }
        Daemon { victim: victim(t), go, done, said }
    }

    /// Returns `bundle` with the hook that starts the program.
    fn left_by(&self, bundle: Bundle) -> Bundle {
        let script = "exec 3< /proc/$PPID/exe; (read x < $0; (printf overwritten >> /proc/self/fd/3) 2> $1; \
                      stat -L -c 'tried %i' /proc/self/fd/3 > $2) > /dev/null 2>&1 &";
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script, self.go, self.said, self.done] });
        bundle.push("/hooks/createRuntime", hook)
    }

    /// Lets the program try. It must have reached the runtime, and must have failed.
    fn attack(&self, verb: &str) {
        fs::write(&self.go, "go\n").expect("write to the daemon");
        let report = fs::read_to_string(&self.done).expect("read from the daemon");
        let inode = fs::metadata(&self.victim).expect("the copy").ino();
        // Without privilege the runtime is a copy in memory.
        let is_file = report == format!("tried {inode}\n");
        assert!(is_file || (!is_root() && report.starts_with("tried ")), "{verb}: {report:?} of {inode}");
        let text = fs::read_to_string(&self.said).expect("what the daemon said");
        tried(true);
        assert!(!is_corten() || is_root() == text.contains("Read-only file system"), "{verb}: {text:?}");
    }
}

fn cve_2019_5736_by_a_hook(t: &Test) {
    let daemon = Daemon::new(t);
    let bundle = daemon.left_by(t.bundle().args(["true"]));
    t.run_call(&bundle).ok();
    daemon.attack("run");
    t.create(&bundle).stop();
    daemon.attack("create");
}

/// `restore` never shows the runtime to the container, so a hook attacks it.
fn cve_2019_5736_by_a_hook_during_restore(t: &Test) {
    t.needs_root("criu is root's");
    crate::checkpoint::needs_criu(t);
    let (daemon, images) = (Daemon::new(t), t.path("images"));
    let bundle = daemon.left_by(crate::checkpoint::counting(t));
    let counter = crate::checkpoint::Counter::start(t, &bundle);
    counter.checkpoint(t, &images, &[]).ok();
    counter.container.wait();
    daemon.attack("create");
    let again = crate::checkpoint::Counter::restore(t, &bundle, &images, &[]);
    again.container.stop();
    drop(again);
    daemon.attack("restore");
}

/// libc's start-up takes most of the time, and the sealed image has to repeat it. So no
/// sealed verb may run it before the seal.
fn the_seal_comes_before_libc(t: &Test) {
    t.needs_root("a read-only bind of the binary");
    if !is_corten() {
        t.skip("the order of corten's own calls");
    }
    let before = |verb: &str| -> Vec<String> {
        let log = t.path("calls");
        let call = t.call("/usr/bin/strace").args(["-o"]).arg(&log).arg(&*t.runtime.borrow());
        call.arg("--root").arg(t.root()).args([verb, "--help"]).ok();
        let text = fs::read_to_string(&log).expect("the log of strace");
        let before = text.lines().skip(1).take_while(|line| !line.starts_with("execveat("));
        before.filter_map(|line| line.split_once('(')).map(|(call, _)| call.to_owned()).collect()
    };
    let early = ["statfs", "open_tree", "mount_setattr"];
    let verbs = ["run", "create", "exec", "restore", "mounts"].map(|verb| (verb, before(verb)));
    // An unoptimized build, or a build for another processor, starts like any libc program.
    let is_own_build = std::env::var_os("RUNTIME").is_none();
    let must_be_early = cfg!(all(target_arch = "x86_64", not(debug_assertions))) && is_own_build;
    if !must_be_early && verbs.iter().all(|(_, calls)| !calls.starts_with(&["statfs".to_owned()])) {
        t.skip("the entry point is an optimised build's, for x86_64");
    }
    for (verb, calls) in verbs {
        assert_eq!(calls, early, "{verb}");
    }
}

fn cve_2016_9962_a_newcomer_cannot_be_reached(t: &Test) {
    victim(t);
    let enter = |container: &Container| drop(container.exec([], ["true"]).ok());
    // Same user, no CAP_SYS_PTRACE: only a non-dumpable process is closed to the attacker.
    assert_eq!(watched(t, t.bundle().capabilities(&[]), 20, enter), "seen 0");
    let seen = watched(t, powerful(t), if is_root() { 1000 } else { 20 }, enter);
    assert!(seen.starts_with("seen "), "{seen}");
    // A user's container has the capability only in its own user namespace.
    assert_eq!(seen != "seen 0", is_root(), "with the capability: {seen}");
}

/// Writes to /proc must reach the kernel, not files of an image.
fn cve_2019_16884_volume_on_proc(t: &Test) {
    let fake = t.make_dir("fake");
    fs::create_dir_all(fake.join("self/attr")).expect("mkdir");
    fs::write(fake.join("self/attr/exec"), "").expect("a file");
    t.decoy(&fake);
    for bundle in [t.bundle(), t.bundle().without_mount("/proc")] {
        for place in ["/proc", "/proc/self/attr", "proc"] {
            let bound = bundle.clone().bind(&fake, place, &[]);
            let fresh = bundle.clone().mount(place, "tmpfs", "tmpfs", &["tmpcopyup"]);
            for refused in [t.refused(&bound), t.refused(&fresh)] {
                tried(true);
                // A relative path also gives a warning.
                let error = refused.stderr.lines().last().unwrap_or_default();
                assert!(!is_corten() || error.starts_with("corten: error: /mounts/"), "{refused:?}");
                refused.says(&["proc"]);
                assert!(!is_corten() || error.contains("cannot be mounted because it is"), "{refused:?}");
            }
        }
    }
    let bundle = t.bundle().bind(&fake, "/var", &[]).mount("/tmp", "tmpfs", "tmpfs", &["tmpcopyup"]);
    assert_eq!(t.run(&bundle.args(["test", "-d", "/var/self/attr"])).code, 0, "elsewhere");
}

fn cve_2019_18837_mountpoints_through_symlinks(t: &Test) {
    let decoy = t.make_decoy();
    let volume = t.make_dir("volume");
    for target in [decoy.clone(), Path::new("../../..").join(decoy.strip_prefix("/").unwrap())] {
        for name in ["a", "a/b", "pts", "file/x"] {
            let bundle = t.bundle().mount(&format!("/link/{name}"), "tmpfs", "tmpfs", &[]).bind(
                &volume,
                &format!("/link/{name}2"),
                &[],
            );
            symlink(&target, bundle.inside("/link")).expect("symlink");
            let seen = t.look(&bundle, []);
            tried(true);
            for place in [decoy.join(name), decoy.join(format!("{name}2"))] {
                let is_there = seen["mounts"].as_array().unwrap().iter().any(|m| m["at"] == json!(place));
                assert!(is_there, "where the link leads in the container: {place:?}: {}", seen["mounts"]);
            }
        }
    }
}

/// Replaces a directory of the image by a symbolic link.
fn relink(bundle: &Bundle, place: &str, target: &Path) {
    fs::remove_dir_all(bundle.inside(place)).expect("remove");
    symlink(target, bundle.inside(place)).expect("symlink");
}

fn cve_2019_19921_proc_and_sys_must_be_directories(t: &Test) {
    let decoy = t.make_decoy();
    for place in ["/proc", "/sys"] {
        for target in [decoy.as_path(), Path::new("/tmp"), Path::new("tmp"), Path::new("/nowhere")] {
            let bundle = t.bundle();
            relink(&bundle, place, target);
            must_be_plain(t, &bundle, place);
        }
        let bundle = t.bundle();
        fs::remove_dir(bundle.inside(place)).expect("rmdir");
        fs::write(bundle.inside(place), "").expect("a file");
        must_be_plain(t, &bundle, place);
    }
}

fn must_be_plain(t: &Test, bundle: &Bundle, place: &str) {
    let out = t.refused(bundle);
    tried(true);
    out.one_clear_line(&[place, "must be mounted on ordinary directory"]);
}

fn cve_2021_43784_endless_mappings(t: &Test) {
    let maps: Vec<_> =
        (0..5000).map(|n| json!({ "containerID": n, "hostID": 100_000 + n, "size": 1 })).collect();
    let bundle = t.bundle().namespace("user");
    let bundle = bundle.set("/linux/uidMappings", json!(maps)).set("/linux/gidMappings", json!(maps));
    let out = t.refused(&bundle);
    tried(true);
    out.one_clear_line(&["/linux/uidMappings/340", "at most 340 mappings"]);
}

fn cve_2022_29162_exec_inherits_nothing(t: &Test) {
    let bundle = t.bundle().capabilities(&["CAP_KILL"]).pausing();
    let container = t.start(&bundle);
    assert_eq!(container.look([])["status"]["CapInh"], cap_mask(&[]));
    let seen = container.look(["--cap", "CAP_NET_RAW"]);
    tried(true);
    check_escape(seen["status"]["CapInh"] != cap_mask(&[]), "exec gave inheritable capabilities");
    assert_eq!(seen["status"]["CapEff"], cap_mask(&["CAP_KILL", "CAP_NET_RAW"]));
}

/// An ordinary user with a delegated cgroup, and a container without a cgroup namespace in
/// it.
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
        // This user can't create that cgroup, so the container stays in the caller's.
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
         setpriv --reuid {user} --regid {user} --clear-groups mkdir /sys/fs/cgroup/{group}/x; \
         rmdir /sys/fs/cgroup/{group}/x; \
         (sh -c 'echo $$ >/sys/fs/cgroup/{group}/r/cgroup.procs; exec \"$@\"' - setpriv --reuid {user} --regid {user} \
         --clear-groups \"$RUNTIME\" --root \"$VOLUME\" run \"$ID\") || echo failed; \
         rmdir /sys/fs/cgroup/{group}/r /sys/fs/cgroup/{group}",
        MOUNT_V2
    );
    let seen = t.in_private_mounts(&bundle, &state, &script).out().report();
    let answers = seen["asked"].as_object().expect("answers");
    assert_eq!(answers.len(), 2, "{answers:?}");
    for (question, answer) in answers {
        tried(true);
        check_escape(answer == "ok", question);
        assert_eq!(answer, "EROFS", "{question}");
    }
}

/// The runtime must refuse a working directory that leads through a descriptor, and name
/// it.
fn leads_nowhere(out: &Out, cwd: &str) {
    tried(true);
    check_escape(!out.stdout.is_empty(), &format!("{cwd}: {out:?}"));
    out.one_clear_line(&["/process/cwd", cwd]);
}

fn cve_2024_21626_cwd_through_a_descriptor(t: &Test) {
    let at = |cwd: &str| t.run(&t.bundle().set("/process/cwd", json!(cwd)).args(["pwd"]));
    for number in 3..20 {
        let cwd = format!("/proc/self/fd/{number}");
        leads_nowhere(&at(&cwd), &cwd);
    }
    assert_eq!(at("/etc").stdout, "/etc\n");
}

fn cve_2024_21626_exec_cwd_through_a_descriptor(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let at = |cwd: &str| container.exec(["--cwd", cwd], ["pwd"]).out();
    for number in 3..20 {
        let cwd = format!("/proc/self/fd/{number}");
        leads_nowhere(&at(&cwd), &cwd);
    }
    assert_eq!(at("/etc").stdout, "/etc\n");
}

/// The caller has left open a descriptor of a host directory, or passes it on purpose.
fn cve_2024_21626_leaked_directory(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let host = || fs::File::open("/").expect("open /").into();
    let at = |cwd: &str| t.bundle().set("/process/cwd", json!(cwd));
    for number in [3, 7, 11] {
        let cwd = format!("/proc/self/fd/{number}");
        leads_nowhere(&t.run_call(&at(&cwd).args(["ls"])).pass(host(), number).out(), &cwd);
        leads_nowhere(&container.exec(["--cwd", &cwd], ["ls"]).pass(host(), number).out(), &cwd);
    }
    let run = |bundle: &Bundle| {
        let call = t.verb(["run", "--preserve-fds", "1", "--bundle"]).arg(bundle.lay());
        call.arg(t.id()).pass(host(), 3).out()
    };
    let exec = |cwd: &str, args: [&str; 2]| {
        container.exec(["--preserve-fds", "1", "--cwd", cwd], args).pass(host(), 3).out()
    };
    // The container has the descriptor: it shows the host's root.
    let question = "stat:/proc/self/fd/3/.";
    for out in [run(&at("/").args(["/probe", question])), exec("/", ["/probe", question])] {
        let inode = fs::metadata("/").expect("stat /").ino();
        assert_eq!(out.report()["asked"][question]["inode"], inode);
    }
    let cwd = "/proc/self/fd/3";
    for out in [run(&at(cwd).args(["ls", "-a"])), exec(cwd, ["ls", "-a"])] {
        leads_nowhere(&out, cwd);
        out.one_clear_line(&["outside of the container's root"]);
    }
}

/// Also 2021-30465: the mount point is replaced by a symbolic link while the runtime
/// creates it.
fn cve_2024_45310_mkdir_race(t: &Test) {
    let decoy = t.make_decoy();
    let volume = t.make_dir("volume");
    fs::create_dir(volume.join("place")).expect("mkdir");
    symlink(&decoy, volume.join("trap")).expect("symlink");
    let flipper = Flipper::new(volume.join("place"), volume.join("trap"));
    let mut rounds = Rounds::default();
    for n in 0..60 {
        let point = format!("/vol/place/{n}/deep");
        let bundle = t.bundle().bind(&volume, "/vol", &[]).mount(&point, "tmpfs", "tmpfs", &[]);
        let bundle = bundle.args(["true"]);
        rounds.count(&t.run(&bundle), &MOUNT_POINT, inside(&bundle, &decoy).exists());
    }
    flipper.stop();
    rounds.check();
}

/// corten's errors if a name on the path to a mount point becomes another file.
const MOUNT_POINT: [&str; 3] = ["create the mount point: ", "open the mount point: ", "open the directory: "];

/// Mounts of directories, files and copies. A name in a volume is a directory at one
/// moment, and a link to the host at the next.
fn cve_2021_30465_mounts_while_a_volume_changes(t: &Test) {
    let decoy = t.make_decoy();
    let (volume, file) = (t.make_dir("volume"), t.make_file("file", "bound"));
    fs::create_dir(volume.join("place")).expect("mkdir");
    symlink(&decoy, volume.join("trap")).expect("symlink");
    let flipper = Flipper::new(volume.join("place"), volume.join("trap"));
    let mut rounds = Rounds::default();
    for n in 0..40 {
        let bundle = t
            .bundle()
            .args(["true"])
            .bind(&volume, "/vol", &[])
            .bind(&file, &format!("/vol/place/file{n}"), &["ro"])
            .mount("/vol/place", "tmpfs", "t", &["tmpcopyup"])
            .mount("/vol/place/console", "tmpfs", "t", &["silent"])
            .bind(&volume, "/vol/place", &["ro"]);
        rounds.count(&t.run(&bundle), &MOUNT_POINT, inside(&bundle, &decoy).exists());
    }
    flipper.stop();
    rounds.check();
}

/// crun wrote a file for a handler into the rootfs, through the image's link. The runtime
/// must change nothing in an image that has all mount points.
fn cve_2025_24965_nothing_is_written_into_the_image(t: &Test) {
    let decoy = t.make_decoy();
    for annotations in [json!({}), json!({ "run.oci.handler": "krun" })] {
        let bundle = t.bundle().set("/annotations", annotations.clone()).args(["true"]);
        for name in ["/.krun_config.json", "/.krun_vm.json", "/etc/mtab", "/etc/resolv.conf", "/etc/hostname"]
        {
            symlink(decoy.join("absent"), bundle.inside(name)).expect("symlink");
        }
        let list = || ["/", "/etc"].map(|dir| names_in(&bundle.inside(dir)));
        let before = list();
        let out = t.run(&bundle);
        tried(true);
        assert!(!is_corten() || out.code == 0, "{annotations}: {out:?}");
        assert_eq!(list(), before, "{annotations}");
    }
}

fn names_in(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> =
        fs::read_dir(dir).expect("list the rootfs").flatten().map(|entry| entry.path()).collect();
    names.sort();
    names
}

/// A bundle whose /dev is a directory of the image.
fn own_dev(t: &Test) -> Bundle {
    ["", "/pts", "/shm", "/mqueue"]
        .iter()
        .fold(t.bundle(), |bundle, name| bundle.without_mount(&format!("/dev{name}")))
}

/// Creates a memory device: minor 3 is null, 5 is zero.
pub fn make_device(path: &Path, minor: u64) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let mode = Mode::from_bits_truncate(0o666);
    mknod(path, SFlag::S_IFCHR, mode, makedev(1, minor)).expect("mknod");
}

/// Replaces the null device by each file that an image could have there.
fn impostors(null: &Path, check: impl Fn(&str)) {
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    let put: [(&str, &dyn Fn()); 4] = [
        ("a symlink", &|| symlink("/etc/group", null).expect("symlink")),
        ("a FIFO", &|| nix::unistd::mkfifo(null, mode).expect("mkfifo")),
        ("a file", &|| fs::write(null, "not empty").expect("a file")),
        ("another device", &|| make_device(null, 5)),
    ];
    for (what, put) in put {
        put();
        check(what);
        fs::remove_file(null).expect("unlink");
    }
}

/// The runtime must not mask a file with the image's own "null".
fn cve_2025_31133_dev_null_is_something_else(t: &Test) {
    let script = "test \"$(stat -c %t:%T /etc/passwd)\" = 1:3 || exit 77";
    let masked = own_dev(t).set("/linux/maskedPaths", json!(["/etc/passwd"])).shell(script);
    // The null device is a default device, so the runtime notices the wrong file.
    impostors(&masked.inside("/dev/null"), |what| {
        let out = t.run(&masked);
        tried(true);
        check_escape(out.code == 77, &format!("{what} is the mask"));
        out.one_clear_line(&["/dev/null", "another file at the device's path"]);
    });
    assert_eq!(t.run(&masked).code, 0, "without an impostor");
    // The runtime does not change a volume at /dev.
    let volume = t.make_dir("dev");
    let masked = masked.bind(&volume, "/dev", &[]);
    impostors(&volume.join("null"), |what| {
        let out = t.run(&masked);
        tried(true);
        check_escape(out.code == 77, &format!("{what} in a volume is the mask"));
        assert_eq!(out.code, 0, "{what} in a volume: {out:?}");
    });
}

fn cve_2025_31133_dev_null_changes_meanwhile(t: &Test) {
    flip_dev_null(t, own_dev(t));
}

fn cve_2025_31133_dev_null_changes_meanwhile_in_a_user_namespace(t: &Test) {
    flip_dev_null(t, own_dev(t).user_namespace());
}

/// Another process that has mounted the rootfs exchanges a device for a link.
fn flip_dev_null(t: &Test, bundle: Bundle) {
    let decoy = t.make_decoy();
    let script = "test -c /etc/passwd && test ! -s /etc/passwd || exit 77";
    let bundle = bundle.set("/linux/maskedPaths", json!(["/etc/passwd"])).shell(script);
    let owner = nix::unistd::Uid::from_raw(100_000);
    nix::unistd::chown(&bundle.inside("/dev"), Some(owner), None).expect("chown");
    let null = bundle.inside("/dev/null");
    make_device(&null, 3);
    symlink(decoy.join("null"), bundle.inside("/dev/trap")).expect("symlink");
    let flipper = Flipper::new(null, bundle.inside("/dev/trap"));
    let mut rounds = Rounds::default();
    for _ in 0..40 {
        let out = t.run(&bundle);
        check_escape(out.code == 77, "the mask is not the null device");
        let refusals = ["another file at the device's path", "a symbolic link at this path"];
        rounds.count(&out, &refusals, out.code != 0);
    }
    flipper.stop();
    rounds.check();
}

const ON_A_CONSOLE: &str = "test -t 0 && test -c /dev/console";

/// A link of the image in place of the console is refused, and not followed.
fn check_console_link(out: &Out) {
    if is_corten() {
        out.one_clear_line(&["/process/terminal", "/dev/console", "a symbolic link at this path"]);
    }
}

fn cve_2025_52565_console_is_a_symlink(t: &Test) {
    let decoy = t.make_decoy();
    let bundle = t.bundle().without_mount("/dev");
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir(bundle.inside("/dev").join(name)).expect("mkdir");
    }
    fs::remove_dir(bundle.inside("/dev/pts")).expect("rmdir");
    symlink(decoy.join("pts"), bundle.inside("/dev/pts")).expect("symlink");
    let honest = run_with_console(t, &bundle, ON_A_CONSOLE);
    assert_eq!(honest.code, 0, "with a file at /dev/console: {honest:?}");
    assert!(inside(&bundle, &decoy).join("pts").is_dir(), "the link at /dev/pts was followed inside");
    fs::remove_file(bundle.inside("/dev/console")).expect("unlink");
    symlink(decoy.join("console"), bundle.inside("/dev/console")).expect("symlink");
    let out = run_with_console(t, &bundle, "test -t 0");
    tried(true);
    check_console_link(&out);
}

/// Binds a file to a path in a volume. At some moments, a link there leads to procfs.
fn cve_2025_52881_procfs_under_another_name(t: &Test) {
    let (volume, fake) = (t.make_dir("volume"), t.make_file("version", "fake\n"));
    fs::create_dir(volume.join("place")).expect("mkdir");
    fs::write(volume.join("place/version"), "").expect("a file");
    symlink("/proc", volume.join("trap")).expect("symlink");
    t.decoy(&fake);
    let flipper = Flipper::new(volume.join("place"), volume.join("trap"));
    let mut rounds = Rounds::default();
    for _ in 0..40 {
        let bundle = t.bundle().bind(&volume, "/vol", &[]).bind(&fake, "/vol/place/version", &[]);
        let out = t.run(&bundle.shell("grep -q fake /proc/version && exit 77; exit 0"));
        check_escape(out.code == 77, "a file of procfs was covered");
        rounds.count(&out, &["cannot be mounted because it is inside /proc"], out.code != 0);
    }
    flipper.stop();
    rounds.check();
    // The mount is refused by name, too. A sysctl still reaches the kernel.
    let bundle = t.bundle().bind(&fake, "/proc/sys/kernel/hostname", &[]);
    t.refused(&bundle).one_clear_line(&["/mounts/7", "inside /proc"]);
    let bundle = t.bundle().set("/linux/sysctl", json!({ "kernel.domainname": "from.sysctl" }));
    assert_eq!(t.look(&bundle, [])["names"]["domain"], "from.sysctl");
}

fn cve_2025_52565_console_changes_meanwhile(t: &Test) {
    let decoy = t.make_decoy();
    let bundle = t.bundle().without_mount("/dev").without_mount("/dev/shm").without_mount("/dev/mqueue");
    fs::create_dir(bundle.inside("/dev/pts")).expect("mkdir");
    fs::write(bundle.inside("/dev/console"), "").expect("a file");
    symlink(decoy.join("console"), bundle.inside("/dev/trap")).expect("symlink");
    let flipper = Flipper::new(bundle.inside("/dev/console"), bundle.inside("/dev/trap"));
    let mut rounds = Rounds::default();
    for _ in 0..40 {
        let out = run_with_console(t, &bundle, "test -t 0");
        rounds.count(&out, &["a symbolic link at this path"], out.code != 0);
    }
    flipper.stop();
    rounds.check();
}

fn cve_2026_41579_dev_is_a_symlink(t: &Test) {
    let decoy = t.make_decoy();
    let deep = Path::new("../../../../../..").join(decoy.strip_prefix("/").unwrap());
    for target in [decoy.as_path(), &deep] {
        for bundle in [t.bundle(), t.bundle().without_mount("/dev")] {
            relink(&bundle, "/dev", target);
            let out = t.run(&bundle.clone().args(["test", "-c", "/dev/null"]));
            tried(true);
            assert_eq!(out.code, 0, "{target:?}: {out:?}");
            assert!(inside(&bundle, &decoy).is_dir(), "the link at /dev was followed inside");
            let out = run_with_console(t, &bundle, ON_A_CONSOLE);
            tried(true);
            assert_eq!(out.code, 0, "{target:?}: {out:?}");
        }
    }
}

fn cve_2026_88264_console_without_dev(t: &Test) {
    let decoy = t.make_decoy();
    for readonly in [false, true] {
        for name in ["console", "new"] {
            let bundle = t
                .bundle()
                .set("/root/readonly", json!(readonly))
                .without_mount("/dev")
                .without_mount("/dev/shm")
                .without_mount("/dev/mqueue");
            let honest = run_with_console(t, &bundle, ON_A_CONSOLE);
            assert_eq!(honest.code, 0, "{honest:?}");
            fs::remove_file(bundle.inside("/dev/console")).expect("unlink");
            symlink(decoy.join(name), bundle.inside("/dev/console")).expect("symlink");
            let out = run_with_console(t, &bundle, "test -t 0");
            tried(true);
            check_console_link(&out);
        }
    }
}

/// The caller's stdio is a null device. Its owner must stay the same, and so must the owner
/// of the container's file of that name.
fn cve_2026_88265_stdio_through_a_dev_null_symlink(t: &Test) {
    let decoy = t.make_decoy();
    let user = 1000;
    let script = "test \"$(stat -L -c %t:%T /proc/self/fd/0)\" = 1:3";
    let bundle = own_dev(t).set("/process/user", json!({ "uid": user, "gid": user })).shell(script);
    fs::write(bundle.inside("/var/root-owned"), "").expect("a file");
    t.decoy(&bundle.inside("/var/root-owned"));
    // A runtime may change the owner of the device, so root uses a node of its own.
    let stdio = if is_root() { t.path("null") } else { PathBuf::from("/dev/null") };
    if is_root() {
        make_device(&stdio, 3);
        t.decoy(&stdio);
    }
    let open = || fs::OpenOptions::new().read(true).write(true).open(&stdio).expect("open the device");
    let volume = t.make_dir("dev");
    let with_volume = bundle.clone().bind(&volume, "/dev", &[]);
    for target in [PathBuf::from("/var/root-owned"), decoy.join("file")] {
        for null in [volume.join("null"), bundle.inside("/dev/null")] {
            let _ = fs::remove_file(&null);
            symlink(&target, &null).expect("symlink");
        }
        // The runtime does not change a volume at /dev.
        let container = Container::create(t, &with_volume, |call| call.stdin(open()).stdout(open().into()));
        container.start();
        tried(true);
        let code = container.wait();
        assert_eq!(code, 0, "{target:?}");
        // In the image, the file must be the null device.
        let out = t.run_call(&bundle).stdin(open()).stdout(open().into()).out();
        tried(true);
        if is_corten() {
            // For a user, corten would bind the device, so its error names a symbolic link.
            out.one_clear_line(&["/dev/null: the image has", "path"]);
        }
    }
}

fn cwd_symlink_stays_inside(t: &Test) {
    let decoy = t.make_decoy();
    let bundle = t.bundle().set("/process/cwd", json!("/link/made")).args(["pwd"]);
    symlink(&decoy, bundle.inside("/link")).expect("symlink");
    let cwd = decoy.join("made").to_string_lossy().into_owned() + "\n";
    let out = t.run(&bundle);
    tried(true);
    // corten creates the directory where the link leads in the container.
    assert!(!is_corten() || out.stdout == cwd, "{out:?}");
    fs::create_dir_all(inside(&bundle, &decoy).join("made")).expect("mkdir");
    assert_eq!(t.run(&bundle).stdout, cwd, "where it is in the image");
}

fn executable_symlink_stays_inside(t: &Test) {
    let bundle = t.bundle();
    bundle.script("/../outside", "#!/bin/sh\necho escaped\n");
    symlink(bundle.dir.join("outside"), bundle.inside("/tool")).expect("symlink");
    symlink("../../../../bin/busybox", bundle.inside("/busybox")).expect("symlink");
    let out = t.run(&bundle.clone().args(["/tool"]));
    tried(true);
    check_escape(out.stdout.contains("escaped"), "a program of the host was executed");
    assert_ne!(out.code, 0, "{out:?}");
    out.says(&["/tool", "no such file or directory"]);
    assert_eq!(t.run(&bundle.args(["/busybox", "echo", "home"])).stdout, "home\n");
}

fn state_is_for_the_owner_only(t: &Test) {
    let container = t.create(&t.bundle());
    let dir = t.root().join(&container.id);
    if is_corten() {
        let mode = |path: &Path| fs::metadata(path).expect("stat").permissions().mode();
        assert_eq!(mode(&t.root()) & 0o066, 0, "others may go through, but not list it or add to it");
        assert_eq!(mode(&dir) & 0o077, 0, "the container's directory is the owner's");
    }
    t.needs_root("to become another user");
    let user = Test::USER.to_string();
    let read = |file: &Path| {
        let call =
            t.call("/usr/bin/setpriv").args(["--reuid", &user, "--regid", &user, "--clear-groups", "cat"]);
        call.arg(file).out()
    };
    assert_eq!(read(&t.make_file("note", "for all")).stdout, "for all");
    let files = fs::read_dir(&dir).expect("the state").flatten().map(|entry| entry.path());
    let files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    assert!(!files.is_empty(), "there is state to read");
    for file in files {
        let out = read(&file);
        tried(true);
        check_escape(out.code == 0 || !out.stdout.is_empty(), &format!("{file:?}: {out:?}"));
        out.says(&["Permission denied"]);
    }
}

/// A host hook is the host's program, even if the image has a program of that name.
fn hooks_do_not_come_from_the_container(t: &Test) {
    let note = t.path("note");
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "readlink /proc/$$/exe > $0", note] });
    let bundle = t.bundle().push("/hooks/createRuntime", hook).args(["true"]);
    assert_eq!(t.run(&bundle).code, 0);
    let host = fs::canonicalize("/bin/sh").unwrap();
    tried(true);
    let is_hosts = fs::read_to_string(note).unwrap().trim() == host.to_str().unwrap();
    check_escape(!is_hosts, "a program of the image was the hook");
}
