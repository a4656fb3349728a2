//! `mounts[].options`: every option string, by what it does.
//!
//! | option | effect | test |
//! |---|---|---|
//! | `ro rw nosuid suid nodev dev noexec exec` | attributes of the mount | `attributes_of_a_new_filesystem`, `attributes_of_a_bind` |
//! | `noatime atime nodiratime diratime relatime norelatime strictatime nostrictatime` | attributes of the mount | the same |
//! | `nosymfollow symfollow` | links on it are not followed | the same, `nosymfollow_is_enforced` |
//! | each of these with an `r` before it | the same for all mounts below, too | `recursive_attributes`, `recursive_attributes_taken_away` |
//! | `ro` on a device | the superblock is read-only, too | `readonly_device_is_not_written_to` |
//! | `sync async dirsync lazytime nolazytime mand nomand` | flags of the superblock | `flags_of_the_superblock`; on a bind mount nothing, with a warning: `flags_of_the_superblock_on_a_bind` |
//! | `silent loud iversion noiversion` | flags of mount(2) | `flags_that_only_mount_takes` |
//! | `acl noacl` | the filesystem's own, if it has them | `options_of_the_filesystem` |
//! | `defaults` | nothing | `defaults_change_nothing` |
//! | `bind rbind` | a bind mount | `mounts::bind_of_a_directory`, `mounts::rbind_brings_submounts` |
//! | `remount` | changes the mount that is there | `remount_*` |
//! | `private slave shared unbindable` and their `r` forms | propagation | `propagation::*` |
//! | `idmap ridmap`, `idmap=…` | whose ids it shows | `idmap::*` |
//! | `tmpcopyup` | a tmpfs begins with what it covers | `copy_up_*` |
//! | `copy-symlink src-nofollow dest-nofollow` | of crun: links are copied, bound, covered | `copy_symlink_*`, `src_nofollow_*`, `dest_nofollow_*` |
//! | (`linux.mountLabel`) | the option `context=` of new filesystems | `mount_label_*` |
//! | any other | the filesystem's; on a bind mount nothing, with a warning | `options_of_the_filesystem`, `mounts::unknown_option_is_refused`, `options_of_a_filesystem_on_a_bind` |

use crate::harness::{Bundle, Out, Test, is_corten};
use crate::mounts::{at, has, look_after, super_has};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

cases![
    attributes_of_a_new_filesystem,
    attributes_of_a_bind,
    the_last_option_counts,
    recursive_attributes,
    recursive_attributes_taken_away,
    nosymfollow_is_enforced,
    readonly_device_is_not_written_to,
    flags_of_the_superblock,
    flags_of_the_superblock_by_mount,
    flags_of_the_superblock_on_a_bind,
    options_of_a_filesystem_on_a_bind,
    flags_that_only_mount_takes,
    options_of_the_filesystem,
    options_in_one_string,
    nodes_of_a_memory_policy,
    defaults_change_nothing,
    recursive_flags_of_the_superblock_do_not_exist,
    remount_changes_attributes,
    remount_changes_the_filesystem,
    remount_of_a_bind,
    remount_of_the_root,
    remount_where_nothing_is_mounted_is_refused,
    copy_up_keeps_owners_modes_and_times,
    copy_up_keeps_links,
    copy_up_keeps_attributes,
    copy_up_of_special_files,
    copy_up_readonly,
    copy_up_of_a_missing_directory,
    copy_up_enters_no_mount,
    copy_up_follows_no_link,
    copy_up_that_does_not_fit_is_refused,
    copy_up_in_a_user_namespace,
    copy_up_is_for_tmpfs_alone,
    src_nofollow_binds_the_link,
    dest_nofollow_covers_the_link,
    nofollow_is_for_binds_alone,
    copy_symlink_makes_a_link,
    copy_symlink_of_a_file_is_a_bind,
    copy_symlink_over_something_else_is_refused,
    mount_label_is_for_hosts_with_selinux,
    mount_label_is_passed_to_filesystems_that_take_it,
    mount_context_type_must_be_known,
];

/// An attribute option, what mountinfo shows for it, and its opposite.
const ATTRIBUTES: [(&str, &str, &str); 8] = [
    ("ro", "ro", "rw"),
    ("nosuid", "nosuid", "suid"),
    ("nodev", "nodev", "dev"),
    ("noexec", "noexec", "exec"),
    ("noatime", "noatime", "atime"),
    ("nodiratime", "nodiratime", "diratime"),
    ("nosymfollow", "nosymfollow", "symfollow"),
    ("relatime", "relatime", "strictatime"),
];

fn has_not(mount: &Value, option: &str) {
    let all = mount["options"].as_array().unwrap();
    assert!(!all.contains(&json!(option)), "{option} is in {mount}");
}

fn attributes_of_a_new_filesystem(t: &Test) {
    let mut bundle = t.bundle();
    for (option, _, opposite) in ATTRIBUTES {
        bundle = bundle.mount(&format!("/t/{option}"), "tmpfs", "t", &[option]);
        bundle = bundle.mount(&format!("/t/{opposite}"), "tmpfs", "t", &[opposite]);
    }
    for option in ["norelatime", "nostrictatime"] {
        bundle = bundle.mount(&format!("/t/{option}"), "tmpfs", "t", &[option]);
    }
    let seen = t.look(&bundle, []);
    for (option, shown, opposite) in ATTRIBUTES {
        has(at(&seen, &format!("/t/{option}")), &[shown]);
        has_not(at(&seen, &format!("/t/{opposite}")), shown);
    }
    // Without either option, the kernel's default applies.
    has(at(&seen, "/t/norelatime"), &["relatime"]);
    has(at(&seen, "/t/nostrictatime"), &["relatime"]);
}

/// Options for a volume that has all attributes, or none.
fn source_with(all: bool) -> String {
    let flags = if all { "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow" } else { "strictatime" };
    format!("mount -t tmpfs -o {flags} v \"$VOLUME\"")
}

fn attributes_of_a_bind(t: &Test) {
    let dir = t.make_dir("volume");
    let set: Vec<_> = ATTRIBUTES.iter().map(|(option, ..)| *option).filter(|o| *o != "relatime").collect();
    let seen = look_after(t, &dir, &source_with(false), t.bundle().bind(&dir, "/tmp", &set), &[]);
    has(at(&seen, "/tmp"), &set);
    let clear = ["rw", "suid", "dev", "exec", "diratime", "symfollow"];
    let other = t.make_dir("other");
    let bundle = t.bundle().bind(&other, "/tmp", &[&clear[..], &["relatime"]].concat());
    let seen = look_after(t, &other, &source_with(true), bundle, &[]);
    for option in &set {
        has_not(at(&seen, "/tmp"), option);
    }
    has(at(&seen, "/tmp"), &["relatime"]);
}

fn the_last_option_counts(t: &Test) {
    let bundle = t.bundle().mount("/a", "tmpfs", "a", &["ro", "nosuid", "suid", "rw"]).mount(
        "/b",
        "tmpfs",
        "b",
        &["rw", "suid", "nosuid", "ro"],
    );
    let seen = t.look(&bundle, []);
    has(at(&seen, "/a"), &["rw"]);
    has_not(at(&seen, "/a"), "nosuid");
    has(at(&seen, "/b"), &["ro", "nosuid"]);
}

fn recursive_attributes(t: &Test) {
    for (option, shown, _) in ATTRIBUTES {
        let dir = t.make_dir("volume");
        let prepare = format!(
            "{}; mkdir \"$VOLUME/sub\"; mount -t tmpfs -o strictatime s \"$VOLUME/sub\"",
            source_with(false)
        );
        let bundle = t.bundle().bind(&dir, "/tmp", &[&format!("r{option}")]);
        let seen = look_after(t, &dir, &prepare, bundle, &[]);
        has(at(&seen, "/tmp"), &[shown]);
        has(at(&seen, "/tmp/sub"), &[shown]);
    }
}

fn recursive_attributes_taken_away(t: &Test) {
    let dir = t.make_dir("volume");
    let flags = "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow";
    let prepare = format!(
        "mount -t tmpfs v \"$VOLUME\"; mkdir \"$VOLUME/sub\"; mount -t tmpfs -o {flags} s \"$VOLUME/sub\"; \
         mount -o remount,bind,{flags} \"$VOLUME\""
    );
    let clear = ["rrw", "rsuid", "rdev", "rexec", "rdiratime", "rsymfollow"];
    for time in ["ratime", "rrelatime", "rstrictatime", "rnorelatime", "rnostrictatime"] {
        let bundle = t.bundle().bind(&dir, "/tmp", &[&clear[..], &[time]].concat());
        let seen = look_after(t, &dir, &prepare, bundle, &[]);
        for place in ["/tmp", "/tmp/sub"] {
            for option in flags.split(',') {
                has_not(at(&seen, place), option);
            }
            let relative = at(&seen, place)["options"].as_array().unwrap().contains(&json!("relatime"));
            assert_eq!(relative, time != "rstrictatime", "{time} {place}");
        }
    }
}

fn nosymfollow_is_enforced(t: &Test) {
    let dir = t.make_dir("volume");
    fs::write(dir.join("file"), "").unwrap();
    symlink("file", dir.join("link")).unwrap();
    let bundle = t.bundle().bind(&dir, "/tmp", &["nosymfollow"]);
    assert_eq!(t.look(&bundle, ["read:/tmp/link"])["asked"]["read:/tmp/link"], "ELOOP");
    let bundle = t.bundle().bind(&dir, "/tmp", &["nosymfollow", "symfollow"]);
    assert_eq!(t.look(&bundle, ["read:/tmp/link"])["asked"]["read:/tmp/link"], "empty");
}

/// A small ext4 image on a loop device, in a private mount namespace.
fn readonly_device_is_not_written_to(t: &Test) {
    let image = t.path("image");
    fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
    if !["/usr/sbin/mkfs.ext4", "/dev/loop-control"].iter().all(|path| Path::new(path).exists()) {
        t.skip("no mkfs.ext4 or no loop devices here");
    }
    t.call("/usr/sbin/mkfs.ext4").args(["-q", "-F"]).arg(&image).ok();
    let (device, _detached) = Loop::attach(t, &image);
    let any = json!([{ "allow": true, "access": "rwm" }]);
    let bundle = t.bundle().set("/linux/resources/devices", any);
    let (bundle, plain) = (bundle.clone().mount("/tmp", "ext4", &device, &["ro"]), bundle);
    let seen = t.look(&bundle, []);
    has(at(&seen, "/tmp"), &["ro"]);
    super_has(at(&seen, "/tmp"), "ro");
    let bundle = plain.mount("/tmp", "ext4", &device, &["noexec"]);
    super_has(at(&t.look(&bundle, []), "/tmp"), "rw");
}

/// A loop device, detached when the value is dropped.
struct Loop<'t>(&'t Test, String);

impl Loop<'_> {
    fn attach<'t>(t: &'t Test, image: &Path) -> (String, Loop<'t>) {
        let out = t.call("/usr/sbin/losetup").args(["--find", "--show"]).arg(image).out();
        if out.code != 0 {
            t.skip("no loop device is to be had");
        }
        let device = out.stdout.trim().to_owned();
        (device.clone(), Loop(t, device))
    }
}

impl Drop for Loop<'_> {
    fn drop(&mut self) {
        self.0.call("/usr/sbin/losetup").args(["--detach", &self.1]).quietly();
    }
}

fn flags_of_the_superblock(t: &Test) {
    let bundle = t
        .bundle()
        .mount("/a", "tmpfs", "a", &["sync", "dirsync", "lazytime", "mand"])
        .mount("/b", "tmpfs", "b", &["async", "nolazytime", "nomand"])
        .mount("/c", "tmpfs", "c", &["sync", "lazytime", "mand", "async", "nolazytime", "nomand"]);
    let seen = t.look(&bundle, []);
    for option in ["sync", "dirsync", "lazytime", "mand"] {
        super_has(at(&seen, "/a"), option);
        for place in ["/b", "/c"] {
            let all = at(&seen, place)["super"].as_array().unwrap();
            assert!(!all.contains(&json!(option)), "{place} {option}: {all:?}");
        }
    }
}

/// Only mount(2) takes `silent`, so the runtime has to pass the other options by mount(2),
/// too. devpts of Linux 6.1 parses the string itself, and knows no flag of the superblock
/// by name.
fn flags_of_the_superblock_by_mount(t: &Test) {
    let options = ["newinstance", "mode=600", "silent", "sync", "lazytime", "nolazytime"];
    let seen = t.look(&t.bundle().mount("/new", "devpts", "devpts", &options), []);
    super_has(at(&seen, "/new"), "sync");
    super_has(at(&seen, "/new"), "mode=600");
}

fn warned(out: &Out, word: &str) {
    if is_corten() {
        out.says(&[word, "/mounts/7/options"]);
    }
}

fn flags_of_the_superblock_on_a_bind(t: &Test) {
    let dir = t.make_dir("volume");
    for option in
        ["sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand", "silent", "iversion"]
    {
        let out = t.run(&t.bundle().bind(&dir, "/tmp", &[option]).args(["/probe"]));
        let seen = out.report();
        let all = at(&seen, "/tmp")["super"].as_array().unwrap();
        assert!(!all.contains(&json!(option)), "{option}: {all:?}");
        if matches!(option, "sync" | "dirsync" | "lazytime" | "mand" | "iversion") {
            warned(&out, option);
        }
    }
}

/// mount(2) ignores the options of a filesystem in a bind mount, and so do the runtimes. The
/// other options of the entry still count.
fn options_of_a_filesystem_on_a_bind(t: &Test) {
    let dir = t.make_dir("volume");
    let before = fs::metadata(&dir).unwrap().permissions();
    let bundle = t.bundle().bind(&dir, "/tmp", &["nosuid", "mode=711", "size=1k", "noexec"]);
    let out = t.run(&bundle.args(["/probe"]));
    let seen = out.report();
    has(at(&seen, "/tmp"), &["nosuid", "noexec"]);
    warned(&out, "mode");
    assert_eq!(fs::metadata(&dir).unwrap().permissions(), before);
    if is_corten() {
        // Without a value it may be a flag that is spelled wrong.
        let typo = t.bundle().bind(&dir, "/tmp", &["nosiud"]);
        t.refused(&typo).one_clear_line(&["/mounts/7/options", "nosiud"]);
    }
}

/// Only the call itself shows these options.
fn flags_that_only_mount_takes(t: &Test) {
    let trace = |options: &[&str]| {
        let bundle = t.bundle().mount("/new", "tmpfs", "marked", options).args(["/probe", "stat:/new"]);
        let log = t.path("trace");
        let call = t.call("/usr/bin/strace").args(["-f", "-e", "trace=mount", "-o"]).arg(&log);
        let call = call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(["run", "--bundle"]);
        let seen = call.arg(bundle.lay()).arg(t.id()).out().report();
        assert_eq!(at(&seen, "/new")["type"], "tmpfs");
        let log = fs::read_to_string(log).unwrap();
        let line = log.lines().find(|line| line.contains("marked")).unwrap_or_default().to_owned();
        (line, seen)
    };
    let (line, _) = trace(&["silent", "iversion"]);
    assert!(line.contains("MS_SILENT") && line.contains("MS_I_VERSION"), "{line}");
    let (line, _) = trace(&["silent", "iversion", "loud", "noiversion"]);
    assert!(!line.contains("MS_SILENT") && !line.contains("MS_I_VERSION"), "{line}");
    // The other options work by either call.
    let options = ["silent", "ro", "nosuid", "noatime", "mode=711", "size=1m", "unbindable"];
    let (_, seen) = trace(&options);
    has(at(&seen, "/new"), &["ro", "nosuid", "noatime"]);
    super_has(at(&seen, "/new"), "size=1024k");
    assert_eq!(at(&seen, "/new")["tags"], json!(["unbindable"]));
    assert_eq!(seen["asked"]["stat:/new"]["mode"], "711");
}

fn options_of_the_filesystem(t: &Test) {
    let bundle = t.bundle().mount("/new", "tmpfs", "t", &["mode=700", "uid=7", "gid=8", "nr_inodes=99"]);
    let seen = t.look(&bundle, ["stat:/new"]);
    let stat = &seen["asked"]["stat:/new"];
    assert_eq!((&stat["mode"], &stat["uid"], &stat["gid"]), (&json!("700"), &json!(7), &json!(8)));
    super_has(at(&seen, "/new"), "nr_inodes=99");
    // tmpfs has no such option. To ignore it would hide the mistake.
    for option in ["acl", "noacl", "rsync"] {
        let bundle = t.bundle().mount("/tmp", "tmpfs", "t", &[option]);
        t.refused(&bundle).one_clear_line(&["/mounts/7", option]);
    }
}

/// mount(2) takes all options in one string, separated by commas.
fn options_in_one_string(t: &Test) {
    let bundle = t.bundle().mount("/new", "tmpfs", "t", &["mode=711,size=1m"]);
    let seen = t.look(&bundle, ["stat:/new"]);
    assert_eq!(seen["asked"]["stat:/new"]["mode"], "711");
    super_has(at(&seen, "/new"), "size=1024k");
}

/// This is the only option with a list as its value. mount(2) recognizes the list by the
/// digit.
fn nodes_of_a_memory_policy(t: &Test) {
    if !Path::new("/proc/self/numa_maps").exists() {
        t.skip("the kernel has no NUMA policies");
    }
    for options in [vec!["mpol=bind:0,0", "size=1m"], vec!["size=1m,mpol=bind:0,0,mode=711"]] {
        let seen = t.look(&t.bundle().mount("/new", "tmpfs", "t", &options), []);
        super_has(at(&seen, "/new"), "mpol=bind:0");
        super_has(at(&seen, "/new"), "size=1024k");
    }
}

fn defaults_change_nothing(t: &Test) {
    let bundle = t.bundle().mount("/tmp", "tmpfs", "t", &["defaults"]);
    let seen = t.look(&bundle, []);
    assert_eq!(at(&seen, "/tmp")["options"], json!(["rw", "relatime"]));
}

/// crun lists rsync, rmand and similar options, but no system call takes them.
fn recursive_flags_of_the_superblock_do_not_exist(t: &Test) {
    for option in ["rsync", "rasync", "rdirsync", "rmand", "rnomand"] {
        let bundle = t.bundle().bind(&t.make_dir("volume"), "/tmp", &[option]);
        t.refused(&bundle).one_clear_line(&["/mounts/7/options", option]);
    }
}

fn remount_changes_attributes(t: &Test) {
    let bundle = t.bundle().mount("/tmp", "tmpfs", "t", &["nosuid", "nodev"]).mount(
        "/tmp",
        "tmpfs",
        "t",
        &["remount", "ro", "nosuid", "nodev", "noexec"],
    );
    let seen = t.look(&bundle, ["create:/tmp/x"]);
    has(at(&seen, "/tmp"), &["ro", "nosuid", "nodev", "noexec"]);
    assert_eq!(seen["asked"]["create:/tmp/x"], "EROFS");
    let mounts = seen["mounts"].as_array().unwrap();
    assert_eq!(mounts.iter().filter(|mount| mount["at"] == "/tmp").count(), 1, "a second mount");
}

fn remount_changes_the_filesystem(t: &Test) {
    let bundle = t.bundle().mount("/dev/shm", "tmpfs", "shm", &["remount", "size=1m"]);
    let seen = t.look(&bundle, []);
    super_has(at(&seen, "/dev/shm"), "size=1024k");
    let bundle = t.bundle().mount("/dev/shm", "tmpfs", "shm", &["remount", "size=lots"]);
    t.refused(&bundle).one_clear_line(&["/mounts/7", "size"]);
}

fn remount_of_a_bind(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = t.bundle().bind(&dir, "/tmp", &[]).bind(&dir, "/tmp", &["remount", "ro"]);
    let seen = t.look(&bundle, ["create:/tmp/x"]);
    assert_eq!(seen["asked"]["create:/tmp/x"], "EROFS");
    let mounts = seen["mounts"].as_array().unwrap();
    assert_eq!(mounts.iter().filter(|mount| mount["at"] == "/tmp").count(), 1, "a second mount");
}

fn remount_of_the_root(t: &Test) {
    let mount = json!({ "destination": "/", "type": "bind", "source": "/", "options": ["remount", "bind", "nosuid"] });
    let seen = t.look(&t.bundle().push("/mounts", mount), []);
    has(at(&seen, "/"), &["nosuid"]);
}

fn remount_where_nothing_is_mounted_is_refused(t: &Test) {
    for options in [&["remount", "ro"][..], &["remount", "size=1m"], &["bind", "remount", "ro"]] {
        let bundle = t.bundle().mount("/tmp", "tmpfs", "/tmp", options);
        t.refused(&bundle).one_clear_line(&["/mounts/7", "something is mounted at the destination"]);
    }
}

/// A bundle with a directory /image that is copied up, and its questions.
fn copied(t: &Test, fill: impl FnOnce(&Path), options: &[&str]) -> Bundle {
    let bundle = t.bundle();
    let dir = bundle.inside("/image");
    fs::create_dir(&dir).unwrap();
    fill(&dir);
    bundle.mount("/image", "tmpfs", "tmpfs", &[&["tmpcopyup"], options].concat())
}

fn chown(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
}

fn copy_up_keeps_owners_modes_and_times(t: &Test) {
    let fill = |dir: &Path| {
        fs::create_dir_all(dir.join("deep/er")).unwrap();
        fs::write(dir.join("deep/er/tool"), "content").unwrap();
        chown(&dir.join("deep/er/tool"), 5, 6);
        fs::set_permissions(dir.join("deep/er/tool"), fs::Permissions::from_mode(0o4751)).unwrap();
        chown(&dir.join("deep"), 7, 8);
        fs::set_permissions(dir.join("deep"), fs::Permissions::from_mode(0o2770)).unwrap();
        chown(dir, 9, 10);
        fs::set_permissions(dir, fs::Permissions::from_mode(0o1755)).unwrap();
        let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        fs::File::open(dir.join("deep/er/tool")).unwrap().set_modified(past).unwrap();
    };
    let bundle = copied(t, fill, &[]).capabilities(&["CAP_DAC_OVERRIDE"]);
    let questions =
        ["text:/image/deep/er/tool", "stat:/image/deep/er/tool", "stat:/image/deep", "stat:/image"];
    let seen = t.look(&bundle, questions);
    let stat = |path: &str| {
        let stat = &seen["asked"][format!("stat:{path}")];
        (
            stat["uid"].as_u64().unwrap(),
            stat["gid"].as_u64().unwrap(),
            stat["mode"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(seen["asked"]["text:/image/deep/er/tool"], "content");
    assert_eq!(stat("/image/deep/er/tool"), (5, 6, "4751".into()));
    assert_eq!(stat("/image/deep"), (7, 8, "2770".into()));
    assert_eq!(stat("/image"), (9, 10, "1755".into()));
    assert_eq!(seen["asked"]["stat:/image/deep/er/tool"]["changed"], 1_000_000);
}

fn copy_up_keeps_links(t: &Test) {
    let fill = |dir: &Path| {
        fs::create_dir(dir.join("sub")).unwrap();
        fs::write(dir.join("one"), "").unwrap();
        fs::hard_link(dir.join("one"), dir.join("sub/two")).unwrap();
        symlink("/etc/passwd", dir.join("absolute")).unwrap();
        symlink("nowhere", dir.join("sub/dangling")).unwrap();
        chown(&dir.join("sub/dangling"), 5, 6);
    };
    let questions = [
        "stat:/image/one",
        "stat:/image/sub/two",
        "link:/image/absolute",
        "link:/image/sub/dangling",
        "stat:/image/sub/dangling",
    ];
    let seen = t.look(&copied(t, fill, &[]), questions);
    let asked = &seen["asked"];
    assert_eq!(asked["stat:/image/one"]["links"], 2);
    assert_eq!(asked["stat:/image/one"]["inode"], asked["stat:/image/sub/two"]["inode"]);
    assert_eq!(asked["link:/image/absolute"], "/etc/passwd");
    assert_eq!(asked["link:/image/sub/dangling"], "nowhere");
    assert_eq!(asked["stat:/image/sub/dangling"]["uid"], 5);
}

/// lsetxattr(2), which std has not.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> i32 {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: two C strings, and a value with its length.
    unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) }
}

/// Returns whether a tmpfs takes user attributes, as in Linux 6.6 and later. A memfd is a
/// file of a tmpfs.
fn tmpfs_takes_user_attributes() -> bool {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    // SAFETY: a C string; the new descriptor is ours.
    let file = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"attributes".as_ptr(), libc::MFD_CLOEXEC)) };
    // SAFETY: a C string, and a value with its length.
    let set = unsafe { libc::fsetxattr(file.as_raw_fd(), c"user.note".as_ptr(), c"x".as_ptr().cast(), 1, 0) };
    set == 0
}

fn copy_up_keeps_attributes(t: &Test) {
    let fill = |dir: &Path| {
        fs::write(dir.join("file"), "").unwrap();
        if set_xattr(&dir.join("file"), "user.note", b"kept") != 0 {
            t.skip("the filesystem of the tests has no extended attributes");
        }
        assert_eq!(set_xattr(dir, "trusted.note", b"of the root"), 0);
    };
    let bundle = copied(t, fill, &[]).capabilities(&["CAP_SYS_ADMIN"]);
    let seen = t.look(&bundle, ["xattr:user.note /image/file", "xattr:trusted.note /image"]);
    let note = if tmpfs_takes_user_attributes() { "kept" } else { "EOPNOTSUPP" };
    assert_eq!(seen["asked"]["xattr:user.note /image/file"], note);
    assert_eq!(seen["asked"]["xattr:trusted.note /image"], "of the root");
}

fn copy_up_of_special_files(t: &Test) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let fill = |dir: &Path| {
        let mode = Mode::from_bits_truncate(0o640);
        mknod(&dir.join("null"), SFlag::S_IFCHR, mode, makedev(1, 3)).unwrap();
        nix::unistd::mkfifo(&dir.join("fifo"), mode).unwrap();
        chown(&dir.join("fifo"), 5, 6);
    };
    let seen = t.look(&copied(t, fill, &[]), ["stat:/image/null", "stat:/image/fifo"]);
    let (null, fifo) = (&seen["asked"]["stat:/image/null"], &seen["asked"]["stat:/image/fifo"]);
    assert_eq!((&null["type"], &null["device"]), (&json!("c"), &json!("1:3")));
    assert_eq!((&fifo["type"], &fifo["uid"], &fifo["mode"]), (&json!("p"), &json!(5), &json!("640")));
}

fn copy_up_readonly(t: &Test) {
    let bundle = copied(t, |dir| fs::write(dir.join("file"), "here").unwrap(), &["ro"]);
    let seen = t.look(&bundle, ["text:/image/file", "create:/image/new"]);
    assert_eq!(seen["asked"]["text:/image/file"], "here");
    assert_eq!(seen["asked"]["create:/image/new"], "EROFS");
}

fn copy_up_of_a_missing_directory(t: &Test) {
    let bundle = t.bundle().mount("/not/there", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let seen = t.look(&bundle, ["list:/not/there", "create:/not/there/new"]);
    assert_eq!(seen["asked"]["list:/not/there"], json!([]));
    assert_eq!(seen["asked"]["create:/not/there/new"], "ok");
}

/// The copy contains only files of the image itself.
fn copy_up_enters_no_mount(t: &Test) {
    let volume = t.make_dir("volume");
    fs::write(volume.join("file"), "of the volume").unwrap();
    let bundle = t.bundle();
    fs::create_dir_all(bundle.inside("/image/point")).unwrap();
    fs::write(bundle.inside("/image/own"), "").unwrap();
    let bundle = bundle.bind(&volume, "/image/point", &[]).mount("/image", "tmpfs", "t", &["tmpcopyup"]);
    let seen = t.look(&bundle, ["list:/image", "list:/image/point"]);
    assert_eq!(seen["asked"]["list:/image"], json!(["own", "point"]));
    assert_eq!(seen["asked"]["list:/image/point"], json!([]));
}

fn copy_up_follows_no_link(t: &Test) {
    let secret = t.make_file("secret", "of the host");
    t.decoy(&secret);
    let fill = |dir: &Path| symlink(&secret, dir.join("link")).unwrap();
    let seen = t.look(&copied(t, fill, &[]), ["stat:/image/link", "read:/image/link"]);
    assert_eq!(seen["asked"]["stat:/image/link"]["type"], "l");
    assert_eq!(seen["asked"]["read:/image/link"], "ENOENT");
}

fn copy_up_that_does_not_fit_is_refused(t: &Test) {
    let fill = |dir: &Path| fs::write(dir.join("large"), vec![1; 1 << 20]).unwrap();
    let bundle = copied(t, fill, &["size=64k"]);
    t.refused(&bundle).one_clear_line(&["/mounts/7", "large", "size="]);
}

fn copy_up_in_a_user_namespace(t: &Test) {
    let fill = |dir: &Path| {
        fs::write(dir.join("file"), "").unwrap();
        chown(&dir.join("file"), 100_005, 100_006);
        chown(dir, 100_000, 100_000);
    };
    let seen = t.look(&copied(t, fill, &[]).user_namespace(), ["stat:/image/file"]);
    let stat = &seen["asked"]["stat:/image/file"];
    assert_eq!((&stat["uid"], &stat["gid"]), (&json!(5), &json!(6)));
}

fn copy_up_is_for_tmpfs_alone(t: &Test) {
    let bundle = t.bundle().bind(&t.make_dir("volume"), "/tmp", &["tmpcopyup"]);
    t.refused(&bundle).one_clear_line(&["/mounts/7/options", "tmpcopyup"]);
}

fn src_nofollow_binds_the_link(t: &Test) {
    let dir = t.make_dir("volume");
    symlink("/etc/passwd", dir.join("link")).unwrap();
    fs::write(dir.join("file"), "plain").unwrap();
    t.decoy(&dir);
    let bundle = t.bundle().bind(&dir.join("link"), "/etc/place", &["src-nofollow", "dest-nofollow"]);
    symlink("elsewhere", bundle.inside("/etc/place")).unwrap();
    let seen = t.look(&bundle, ["link:/etc/place", "stat:/etc/elsewhere"]);
    assert_eq!(seen["asked"]["link:/etc/place"], "/etc/passwd");
    assert_eq!(seen["asked"]["stat:/etc/elsewhere"], "ENOENT");
    // A source that is not a link is bound as usual.
    let bundle = t.bundle().bind(&dir.join("file"), "/etc/place", &["src-nofollow"]);
    assert_eq!(t.look(&bundle, ["text:/etc/place"])["asked"]["text:/etc/place"], "plain");
}

fn dest_nofollow_covers_the_link(t: &Test) {
    let file = t.make_file("file", "bound");
    let bundle = t.bundle().bind(&file, "/etc/link", &["dest-nofollow"]);
    symlink("passwd", bundle.inside("/etc/link")).unwrap();
    let seen = t.look(&bundle, ["text:/etc/link", "text:/etc/passwd"]);
    assert_eq!(seen["asked"]["text:/etc/link"], "bound");
    assert_ne!(seen["asked"]["text:/etc/passwd"], "bound");
    let at = bundle.inside("/etc/link");
    assert!(at.symlink_metadata().unwrap().is_symlink(), "the image was changed");
}

fn nofollow_is_for_binds_alone(t: &Test) {
    for option in ["src-nofollow", "dest-nofollow", "copy-symlink"] {
        let bundle = t.bundle().mount("/tmp", "tmpfs", "t", &[option]);
        t.refused(&bundle).one_clear_line(&["/mounts/7/options", option]);
    }
    let both = t.bundle().bind(&t.make_dir("v"), "/tmp", &["src-nofollow", "copy-symlink"]);
    t.refused(&both).one_clear_line(&["/mounts/7/options"]);
}

fn copy_symlink_makes_a_link(t: &Test) {
    let dir = t.make_dir("volume");
    symlink("../etc/passwd", dir.join("link")).unwrap();
    t.decoy(&dir);
    let bundle = t.bundle().bind(&dir.join("link"), "/new/link", &["copy-symlink"]);
    let seen = t.look(&bundle, ["link:/new/link", "read:/new/link"]);
    assert_eq!(seen["asked"]["link:/new/link"], "../etc/passwd");
    assert_eq!(seen["asked"]["read:/new/link"], "ok");
    // A second run: the link exists already.
    assert_eq!(t.look(&bundle, ["link:/new/link"])["asked"]["link:/new/link"], "../etc/passwd");
}

fn copy_symlink_of_a_file_is_a_bind(t: &Test) {
    let file = t.make_file("file", "bound");
    let bundle = t.bundle().bind(&file, "/etc/file", &["copy-symlink"]);
    let seen = t.look(&bundle, ["text:/etc/file"]);
    assert_eq!(seen["asked"]["text:/etc/file"], "bound");
    assert_eq!(at(&seen, "/etc/file")["at"], "/etc/file");
}

fn copy_symlink_over_something_else_is_refused(t: &Test) {
    let dir = t.make_dir("volume");
    symlink("nowhere", dir.join("link")).unwrap();
    t.decoy(&dir);
    let bundle = t.bundle().bind(&dir.join("link"), "/etc/passwd", &["copy-symlink"]);
    t.refused(&bundle).one_clear_line(&["/mounts/7", "/etc/passwd"]);
    assert!(bundle.inside("/etc/passwd").metadata().unwrap().size() > 0, "the image was changed");
}

/// Without SELinux, the runtime does not apply the label, because a filesystem would refuse
/// it.
fn mount_label_is_for_hosts_with_selinux(t: &Test) {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        t.skip("this host has SELinux");
    }
    let label = "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811";
    let bundle = t.bundle().set("/linux/mountLabel", json!(label)).mount("/tmp", "tmpfs", "t", &["size=1m"]);
    let bundle = bundle.set("/linux/maskedPaths", json!(["/etc"]));
    for kind in ["context", "fscontext", "defcontext", "rootcontext"] {
        let bundle = bundle.clone().set("/annotations", json!({ "run.oci.mount_context_type": kind }));
        let seen = t.look(&bundle, ["list:/etc"]);
        super_has(at(&seen, "/tmp"), "size=1024k");
        assert!(!at(&seen, "/tmp")["super"].to_string().contains("context"), "{kind}");
        assert_eq!(seen["asked"]["list:/etc"], json!([]));
    }
}

/// strace feigns SELinux. This kernel has no SELinux and refuses the label, so the test
/// knows that the runtime passed it.
fn mount_label_is_passed_to_filesystems_that_take_it(t: &Test) {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        t.skip("this host has SELinux");
    }
    let run = |kind: &str, fs: &str, options: &[&str], masked: &str| {
        let bundle = t
            .bundle()
            .set("/linux/mountLabel", json!("a:b:c:d"))
            .set("/annotations", json!({ "run.oci.mount_context_type": kind }))
            .set("/mounts", json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]))
            .set("/linux/maskedPaths", json!([masked]))
            .mount("/tmp", fs, fs, options)
            .args(["/probe"]);
        let answer = "inject=statfs:retval=0:poke_exit=@arg2=8cff7cf900000000";
        let call =
            t.call("/usr/bin/strace").args(["-f", "-o", "/dev/null", "-P", "/sys/fs/selinux", "-e", answer]);
        let call = call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(["run", "--bundle"]);
        call.arg(bundle.lay()).arg(t.id()).out()
    };
    for kind in ["context", "fscontext", "defcontext", "rootcontext"] {
        run(kind, "tmpfs", &[], "/none")
            .one_clear_line(&["/mounts/1", &format!("tmpfs mount option {kind}")]);
    }
    run("context", "mqueue", &[], "/none").one_clear_line(&["/linux/mountLabel", "security.selinux"]);
    run("context", "sysfs", &[], "/etc")
        .one_clear_line(&["/linux/maskedPaths/0", "tmpfs mount option context"]);
    if crate::cgroup_mounts::has_v1() {
        run("context", "cgroup", &[], "/none").one_clear_line(&["/mounts/1", "tmpfs mount option context"]);
    }
    // If the options contain a context, the runtime adds no second one.
    let out = run("context", "tmpfs", &["rootcontext=x:y"], "/none");
    out.one_clear_line(&["/mounts/1", "tmpfs mount option rootcontext"]);
    assert_eq!(run("context", "sysfs", &[], "/none").code, 0);
}

fn mount_context_type_must_be_known(t: &Test) {
    let bundle = t.bundle().set("/annotations", json!({ "run.oci.mount_context_type": "sidecontext" }));
    t.refused(&bundle).one_clear_line(&["/annotations/run.oci.mount_context_type", "sidecontext"]);
}
