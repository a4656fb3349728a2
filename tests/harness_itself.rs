//! The harness itself: errors that it must report.

use crate::harness::{
    Case, Failure, PATIENCE, PidFd, Test, added_keys, attempt, cgroups_named, differences, files, is_gap_of,
    is_root, read_line,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

cases![
    a_clean_up_that_hangs_is_a_failure,
    an_unreadable_state_root_is_not_empty,
    a_gap_is_not_confirmed_by_any_failure,
    a_gap_ends_with_the_version_that_closed_it,
    an_error_without_a_reason_is_not_enough,
    the_census_sees_each_change,
    the_census_sees_an_added_key,
    each_change_of_a_decoy_is_reported,
    a_changed_decoy_fails_its_test,
    only_read_only_sources_are_decoys,
    a_jail_leaves_no_cgroup,
];

fn a_clean_up_that_hangs_is_a_failure(_: &Test) {
    let inner = Test::new();
    // The command never ends, so the test needs no long timeout.
    inner.call("/bin/sleep").arg("infinity").spawn().quietly_within(Duration::ZERO);
    inner.call("/bin/true").quietly();
    assert_eq!(inner.clean_up(), ["running: /bin/sleep infinity"]);
}

fn an_unreadable_state_root_is_not_empty(_: &Test) {
    let inner = Test::new();
    fs::write(inner.root(), "no directory").unwrap();
    let left = inner.clean_up();
    assert!(left.len() == 1 && left[0].starts_with("state "), "{left:?}");
    assert_eq!(Test::new().clean_up(), Vec::<String>::new(), "one that isn't there is");
}

fn a_gap_is_not_confirmed_by_any_failure(_: &Test) {
    let reason = "knows no such flag";
    assert!(Failure::Expectation.is_gap(reason));
    for other in [Failure::Hang, Failure::Leak, Failure::Harness] {
        assert!(!other.is_gap(reason), "{other:?}");
    }
    assert!(Failure::Hang.is_gap("hangs below a frozen cgroup"));
    assert!(Failure::Leak.is_gap("leaves its cgroup"));
}

fn a_gap_ends_with_the_version_that_closed_it(_: &Test) {
    let runc = |version: &str| format!("runc version {version}\ncommit: 1.9-0\nspec: 1.2.1\n");
    let is_gap = |version: &str| is_gap_of(&runc(version), "knows no such field before 1.2");
    assert!(is_gap("1.1.15+ds1") && is_gap("1.1"));
    assert!(!is_gap("1.2") && !is_gap("1.2.0-rc.1") && !is_gap("1.10.1") && !is_gap("2.0"));
    assert!(!is_gap_of("crun version 1.28\ncommit: 0\n", "refuses it before 1.9"));
    for lasting in ["runs at the end, before the payload", "an error since runc 1.2", "warns before 1.2 only"]
    {
        assert!(is_gap_of(&runc("1.3.6"), lasting), "{lasting}");
    }
    assert!(is_gap_of("", "knows no such field before 1.2"), "a runtime that doesn't run");
}

fn an_error_without_a_reason_is_not_enough(t: &Test) {
    let out = t.verb(["state", "nobody"]).out();
    let fails = |needles: &[&str]| std::panic::catch_unwind(|| out.fails(needles)).is_err();
    assert!(!fails(&["does not exist"]));
    assert!(fails(&[]) && fails(&[""]) && fails(&["hurrah"]));
    let out = t.verb(["--version"]).ok();
    assert!(std::panic::catch_unwind(|| out.fails(&["corten"])).is_err(), "it succeeded");
}

fn the_census_sees_each_change(t: &Test) {
    let dir = t.make_dir("host");
    let (kept, changed, replaced) = (dir.join("kept"), dir.join("changed"), dir.join("replaced"));
    for file in [&kept, &changed, &replaced] {
        fs::write(file, "").unwrap();
    }
    let take = || {
        let mut all = BTreeSet::new();
        files(&dir, &mut all);
        all
    };
    let before = take();
    assert_eq!(before.len(), 3);
    fs::write(dir.join("new"), "").unwrap();
    fs::set_permissions(&changed, fs::Permissions::from_mode(0o777)).unwrap();
    fs::rename(dir.join("new"), &replaced).unwrap();
    fs::write(dir.join("another"), "").unwrap();
    let seen = differences(&before, &take());
    let names: Vec<_> = seen.iter().filter_map(|line| line.rsplit('/').next()?.split(' ').next()).collect();
    assert_eq!(names, ["changed", "replaced", "another", "changed", "replaced"], "{seen:?}");
}

/// Changes a new decoy of an inner test. Returns the harness's lines, without the decoy's path.
fn lines_after(change: impl Fn(&Path)) -> Vec<String> {
    let inner = Test::new();
    let decoy = inner.make_decoy();
    change(&decoy);
    let prefix = format!("decoy changed: {}", decoy.display());
    let lines = inner.clean_up();
    let rest = |line: &String| line.strip_prefix(&prefix).unwrap_or_else(|| panic!("{line}")).to_owned();
    lines.iter().map(rest).collect()
}

fn the_census_sees_an_added_key(t: &Test) {
    if !Path::new("/proc/keys").exists() {
        t.skip("the kernel has no keys");
    }
    let name = std::ffi::CString::new(t.token.clone()).unwrap();
    let is_seen = || added_keys().iter().any(|line| line.contains(&format!(" user {}", t.token)));
    assert!(!is_seen());
    // The key is in the keyring of this thread.
    let key = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            name.as_ptr(),
            c"x".as_ptr(),
            1,
            libc::KEY_SPEC_THREAD_KEYRING,
        )
    };
    assert!(key > 0, "{}", std::io::Error::last_os_error());
    assert!(is_seen());
    let unlinked =
        unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_UNLINK, key, libc::KEY_SPEC_THREAD_KEYRING) };
    assert_eq!(unlinked, 0);
}

type Change = fn(&Path);

fn each_change_of_a_decoy_is_reported(_: &Test) {
    let mut changes: Vec<(Change, &[&str])> = vec![
        (|_| {}, &[]),
        (|dir| drop(fs::read(dir.join("file")).unwrap()), &[]),
        (|dir| fs::write(dir.join("dir/new"), "new").unwrap(), &["/dir/new made: inode "]),
        (|dir| fs::remove_file(dir.join("fifo")).unwrap(), &["/fifo removed"]),
        (|dir| mode(&dir.join("setuid"), 0o755), &["/setuid mode from 104755 to 100755"]),
        (|dir| mode(dir, 0o777), &[" mode from 40755 to 40777"]),
        (|dir| fs::write(dir.join("null"), "x").unwrap(), &["/null content from \"untouched\" to \"x\""]),
        (replace_link, &["/link inode from "]),
        (
            |dir| fs::hard_link(dir.join("ptmx"), dir.with_extension("x")).unwrap(),
            &["/ptmx links from 1 to 2"],
        ),
        (
            |dir| fs::rename(dir.join("console"), dir.join("pts/console")).unwrap(),
            &["/console removed", "/pts/console made: "],
        ),
        (|dir| mode(&dir.join("pts"), 0o755), &["/pts ctime from "]),
        (|dir| fs::remove_dir_all(dir.join("dir")).unwrap(), &["/dir removed", "/dir/file removed"]),
    ];
    if is_root() {
        changes.push((
            |dir| chown(dir.join("file"), Some(7), Some(8)).unwrap(),
            &["/file owner from 0:0 to 7:8"],
        ));
    }
    for (number, (change, expected)) in changes.iter().enumerate() {
        let lines = lines_after(change);
        let are_equal = lines.len() == expected.len()
            && lines.iter().zip(*expected).all(|(line, start)| line.starts_with(start));
        assert!(are_equal, "change {number}: {lines:?}, and not {expected:?}");
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn replace_link(dir: &Path) {
    symlink("file", dir.join("other")).unwrap();
    fs::rename(dir.join("other"), dir.join("link")).unwrap();
}

fn a_changed_decoy_fails_its_test(_: &Test) {
    let body = |t: &Test| fs::write(t.make_decoy().join("new"), "").unwrap();
    let (failure, text) = attempt(&Case { name: "changes_a_decoy", body }).err().expect("a failure");
    assert_eq!(failure, Failure::Expectation, "{text}");
    assert!(text.starts_with("\ndecoy changed: "), "{text}");
}

fn only_read_only_sources_are_decoys(_: &Test) {
    let changed = |options: &[&str], inner: &str| {
        let t = Test::new();
        let (dir, file) = (t.make_dir("volume"), t.make_file("file", ""));
        let bundle = t.bundle().bind(&dir, "/tmp", options).bind(&file, "/etc/file", &["ro"]);
        bundle.mount(inner, "tmpfs", "tmpfs", &[]).lay();
        fs::write(dir.join("new"), "").unwrap();
        let lines = t.clean_up();
        assert!(lines.iter().all(|line| line.contains("volume/new made: ")), "{lines:?}");
        !lines.is_empty()
    };
    assert!(changed(&["ro"], "/var"));
    assert!(!changed(&[], "/var"), "the container may write to it");
    assert!(!changed(&["ro"], "/tmp/inner"), "the runtime creates a mount point in it");
}

const JAIL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/conformance/jail");

/// Moves itself into a cgroup below the jail's, and stays.
const STAY: &str = "
    first=$(find /sys/fs/cgroup -name cgroup.procs | head -n 1)
    mkdir ${first%/*}/below
    echo $$ >${first%/*}/below/cgroup.procs
    echo ready
    exec sleep 1000";

/// Ends a jail by a signal, and returns the name of its cgroups.
fn end_jail_by(signal: Signal) -> String {
    let mut jail = Command::new(JAIL)
        .args(["sh", "-e", "-c", STAY])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = File::from(OwnedFd::from(jail.stdout.take().unwrap()));
    assert_eq!(read_line(&stdout), "ready");
    let name = format!("conformance-{}", jail.id());
    assert!(!cgroups_named(&name).is_empty());
    let pid = jail.id().cast_signed();
    let handle = PidFd::open(pid);
    kill(Pid::from_raw(pid), signal).unwrap();
    assert!(handle.ended(), "{signal} does not end the jail");
    assert!(!jail.wait().unwrap().success());
    name
}

fn a_jail_leaves_no_cgroup(t: &Test) {
    if !is_root() {
        t.skip("a jail needs root");
    }
    assert_eq!(cgroups_named(&end_jail_by(Signal::SIGTERM)), Vec::<PathBuf>::new());
    let killed = end_jail_by(Signal::SIGKILL);
    // The next jail removes them, as soon as the kernel has ended the processes of the first.
    let begin = Instant::now();
    while !cgroups_named(&killed).is_empty() && begin.elapsed() < PATIENCE {
        assert!(Command::new(JAIL).arg("true").status().unwrap().success());
    }
    assert_eq!(cgroups_named(&killed), Vec::<PathBuf>::new());
}
