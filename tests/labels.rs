//! AppArmor profiles and SELinux labels. Without support of the kernel, the runtime refuses
//! them. With support, the payload runs under the label.

use crate::harness::{Bundle, Container, Test};
use serde_json::{Value, json};
use std::path::Path;

cases![
    apparmor_is_refused_where_it_is_off,
    unconfined_is_no_error_where_apparmor_is_off,
    apparmor_is_on_where_securityfs_is_hidden,
    selinux_is_refused_where_it_is_off,
    labels_of_an_exec_are_refused_where_they_are_off,
    labels_are_one_line,
    apparmor_profile_confines_the_payload,
    apparmor_profile_in_a_user_namespace,
    apparmor_profile_that_is_not_loaded,
    apparmor_profile_of_an_exec,
    apparmor_profile_does_not_reach_create_container_hooks,
    apparmor_is_stacked_upon_a_confined_runtime,
    selinux_label_is_that_of_the_payload,
    selinux_label_that_is_invalid,
];

fn apparmor_is_on() -> bool {
    Path::new("/sys/kernel/security/apparmor/profiles").exists()
}

fn selinux_is_on() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn confined(bundle: Bundle, profile: &str) -> Bundle {
    bundle.set("/process/apparmorProfile", json!(profile))
}

fn apparmor_is_refused_where_it_is_off(t: &Test) {
    if apparmor_is_on() {
        t.skip("AppArmor is on");
    }
    let out = t.refused(&confined(t.bundle(), "any-profile"));
    out.one_clear_line(&["/process/apparmorProfile", "any-profile"]);
    out.says(&["apparmor"]);
}

/// The label that every process has there.
fn unconfined_is_no_error_where_apparmor_is_off(t: &Test) {
    if apparmor_is_on() {
        t.skip("AppArmor is on");
    }
    let bundle = confined(t.bundle(), "unconfined");
    let out = t.run(&bundle.clone().args(["true"]));
    assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{out:?}");
    let container = paused(t, &bundle);
    assert_eq!(container.exec(["--apparmor", "unconfined"], ["true"]).out().code, 0);
    let file = t.make_file("process.json", r#"{ "args": ["true"], "cwd": "/" }"#);
    let out = t.verb(["exec", "--process", file.to_str().unwrap(), &container.id]).out();
    assert_eq!(out.code, 0, "taken over from the container: {out:?}");
}

/// Podman hides it like this for a container with its own user namespace.
fn apparmor_is_on_where_securityfs_is_hidden(t: &Test) {
    if !apparmor_is_on() {
        t.skip("AppArmor is off");
    }
    let profile = Profile::without_passwd(t, "hidden");
    let hidden = "mount -t tmpfs none /sys/kernel; test ! -e /sys/kernel/security;";
    for (name, label) in [(profile.name.as_str(), profile.enforced()), ("unconfined", json!("unconfined"))] {
        // If something is mounted on the host's sysfs, a new user namespace can't mount its
        // own.
        let without_sys = t.bundle().without_mount("/sys/fs/cgroup").without_mount("/sys");
        for bundle in [t.bundle(), without_sys.user_namespace()] {
            let bundle = confined(bundle, name).args(["/probe"]);
            let script = format!("{hidden} runtime run --bundle \"$BUNDLE\" \"$ID\"");
            let seen = t.in_private_mounts(&bundle, &t.dir, &script).out().report();
            assert_eq!(seen["label"], label, "{name}");
        }
    }
    let container = paused(t, &t.bundle());
    let script = format!("{hidden} runtime exec --apparmor {} {} /probe", profile.name, container.id);
    let seen = t.in_private_mounts(&t.bundle(), &t.dir, &script).out().report();
    assert_eq!(seen["label"], profile.enforced(), "exec");
}

fn selinux_is_refused_where_it_is_off(t: &Test) {
    if selinux_is_on() {
        t.skip("SELinux is on");
    }
    let out = t.refused(&t.bundle().set("/process/selinuxLabel", json!("u:r:t:s0")));
    out.one_clear_line(&["/process/selinuxLabel", "u:r:t:s0"]);
    out.says(&["selinux label is specified in config, but selinux is disabled or not supported"]);
}

fn paused<'t>(t: &'t Test, bundle: &Bundle) -> Container<'t> {
    t.start(&bundle.clone().pausing())
}

fn labels_of_an_exec_are_refused_where_they_are_off(t: &Test) {
    let container = paused(t, &t.bundle());
    if !apparmor_is_on() {
        let out = container.exec(["--apparmor", "any-profile"], ["true"]).out();
        out.one_clear_line(&["/process/apparmorProfile", "any-profile"]);
    }
    if !selinux_is_on() {
        let out = container.exec(["--process-label", "u:r:t:s0"], ["true"]).out();
        out.one_clear_line(&["/process/selinuxLabel", "u:r:t:s0"]);
    }
}

fn labels_are_one_line(t: &Test) {
    for field in ["apparmorProfile", "selinuxLabel"] {
        let at = format!("/process/{field}");
        t.refused(&t.bundle().set(&at, json!("a\nb"))).one_clear_line(&[&at]);
    }
}

/// A loaded profile, which is unloaded when the value is dropped.
struct Profile<'t> {
    test: &'t Test,
    name: String,
    file: std::path::PathBuf,
}

impl<'t> Profile<'t> {
    fn load(test: &'t Test, name: &str, rules: &str) -> Profile<'t> {
        if !apparmor_is_on() {
            test.skip("AppArmor is off");
        }
        if !Path::new("/sbin/apparmor_parser").exists() {
            test.skip("needs apparmor_parser");
        }
        let name = format!("corten-{}-{name}", test.token);
        let text = format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{\n{rules}\n}}\n");
        let file = test.make_file("profile", &text);
        let profile = Profile { test, name, file };
        profile.parser("--replace").ok();
        profile
    }

    /// The profile allows everything except to read one file.
    fn without_passwd(test: &'t Test, name: &str) -> Profile<'t> {
        Profile::load(test, name, "file,\nnetwork,\ncapability,\nsignal,\nptrace,\ndeny /etc/passwd r,")
    }

    fn parser(&self, verb: &str) -> crate::harness::Call<'t> {
        self.test.call("/sbin/apparmor_parser").args([verb, "--skip-cache"]).arg(&self.file)
    }

    fn enforced(&self) -> Value {
        json!(format!("{} (enforce)", self.name))
    }
}

impl Drop for Profile<'_> {
    fn drop(&mut self) {
        self.parser("--remove").quietly();
    }
}

const PASSWD: &str = "read:/etc/passwd";

fn apparmor_profile_confines_the_payload(t: &Test) {
    let profile = Profile::without_passwd(t, "one");
    for no_new_privileges in [true, false] {
        let bundle = t.bundle().set("/process/noNewPrivileges", json!(no_new_privileges));
        let seen = t.look(&confined(bundle, &profile.name), [PASSWD]);
        assert_eq!(seen["label"], profile.enforced());
        assert_eq!(seen["asked"][PASSWD], "EACCES");
    }
    let seen = t.look(&confined(t.bundle(), "unconfined"), [PASSWD]);
    assert_eq!((&seen["label"], &seen["asked"][PASSWD]), (&json!("unconfined"), &json!("ok")));
}

fn apparmor_profile_in_a_user_namespace(t: &Test) {
    let profile = Profile::without_passwd(t, "user");
    let seen = t.look(&confined(t.bundle().user_namespace(), &profile.name), []);
    assert_eq!(seen["label"], profile.enforced());
}

fn apparmor_profile_that_is_not_loaded(t: &Test) {
    if !apparmor_is_on() {
        t.skip("AppArmor is off");
    }
    // Podman looks for the file's name between backquotes.
    let words = ["/process/apparmorProfile", "no-such-profile", "`/proc/self/attr/apparmor/exec`"];
    let out = t.refused(&confined(t.bundle(), "no-such-profile"));
    out.one_clear_line(&words);
    out.says(&["apparmor failed to apply profile"]);
    let out = paused(t, &t.bundle()).exec(["--apparmor", "no-such-profile"], ["true"]).out();
    out.one_clear_line(&words);
    assert_eq!(out.code, 255);
}

fn apparmor_profile_of_an_exec(t: &Test) {
    let (one, two) = (Profile::without_passwd(t, "one"), Profile::without_passwd(t, "two"));
    let container = paused(t, &confined(t.bundle(), &one.name));
    assert_eq!(container.look([])["label"], one.enforced(), "the container's");
    assert_eq!(container.look(["--apparmor", &two.name])["label"], two.enforced());
    let from_file = |profile: Option<&str>| {
        let mut process = json!({ "args": ["/probe"], "cwd": "/" });
        if let Some(profile) = profile {
            process["apparmorProfile"] = json!(profile);
        }
        let file = t.make_file("process.json", &process.to_string());
        t.verb(["exec", "--process", file.to_str().unwrap(), &container.id]).out().report()["label"].clone()
    };
    assert_eq!(from_file(None), one.enforced(), "taken over from the container");
    assert_eq!(from_file(Some(&two.name)), two.enforced());
}

fn apparmor_profile_does_not_reach_create_container_hooks(t: &Test) {
    let (profile, file) = (Profile::without_passwd(t, "one"), t.path("label"));
    let script = format!("cat /proc/self/attr/current > {}", file.display());
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    let bundle = confined(t.bundle(), &profile.name).set("/hooks", json!({ "createContainer": hook }));
    assert_eq!(t.look(&bundle, [])["label"], profile.enforced());
    assert_eq!(std::fs::read_to_string(file).unwrap().trim_end(), "unconfined");
}

fn apparmor_is_stacked_upon_a_confined_runtime(t: &Test) {
    let inner = Profile::without_passwd(t, "inner");
    let mut rules = "file,\nnetwork,\ncapability,\nsignal,\nptrace,\nmount,\numount,\nremount,\npivot_root,\nunix,\ndbus,\n\
                     change_profile,\n"
        .to_owned();
    // Older parsers don't know these.
    for newer in ["userns,\n", "mqueue,\n", "io_uring,\n"] {
        let parser = t.call("/sbin/apparmor_parser").args(["--skip-kernel-load", "--skip-cache"]);
        let text = format!("profile corten-{}-tried {{\n{newer}}}\n", t.token);
        if parser.arg(t.make_file("tried", &text)).out().code == 0 {
            rules += newer;
        }
    }
    let outer = Profile::load(t, "outer", &rules);
    let bundle = confined(t.bundle(), &inner.name).args(["/probe", PASSWD]);
    let call = t.call("/usr/bin/aa-exec").args(["--profile", &outer.name, "--"]).arg(&*t.runtime.borrow());
    let call = call.arg("--root").arg(t.root()).args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id());
    let seen = call.out().report();
    let label = seen["label"].as_str().unwrap();
    assert!(label.contains(&inner.name) && label.contains(&outer.name) && label.contains("//&"), "{label}");
    assert_eq!(seen["asked"][PASSWD], "EACCES");
}

fn selinux_label_is_that_of_the_payload(t: &Test) {
    if !selinux_is_on() {
        t.skip("SELinux is off");
    }
    // Every policy allows a change to the same label.
    let own = std::fs::read_to_string("/proc/self/attr/current").unwrap();
    let own = own.trim_end_matches(['\0', '\n']);
    let bundle = t.bundle().set("/process/selinuxLabel", json!(own));
    assert_eq!(t.look(&bundle, [])["label"].as_str().unwrap().trim_end_matches('\0'), own);
    let container = paused(t, &t.bundle());
    let seen = container.look(["--process-label", own]);
    assert_eq!(seen["label"].as_str().unwrap().trim_end_matches('\0'), own);
}

fn selinux_label_that_is_invalid(t: &Test) {
    if !selinux_is_on() {
        t.skip("SELinux is off");
    }
    let out = t.refused(&t.bundle().set("/process/selinuxLabel", json!("not a label")));
    out.one_clear_line(&["/process/selinuxLabel", "`/proc/self/attr/"]);
}
