//! `process`, and the environment in which the payload starts.

use crate::harness::{Bundle, Test, cap_mask, pipe};
use serde_json::{Value, json};

cases![
    argv_is_passed_as_it_is,
    env_is_exactly_the_configured_one,
    the_later_of_two_values_in_env_counts,
    home_is_added_from_passwd,
    an_empty_home_counts_as_unset,
    texts_need_not_be_utf8,
    a_bundles_path_need_not_be_utf8,
    path_of_the_container_finds_the_executable,
    relative_executable_starts_from_cwd,
    path_skips_directories_and_data,
    file_without_the_right_to_execute_is_denied,
    no_path_at_all_has_a_default,
    script_runs_by_its_interpreter,
    missing_executable_fails_create,
    unfound_executable_fails_create,
    directory_and_data_are_not_executable,
    executable_outside_the_rootfs_is_not_found,
    executable_removed_before_start_fails_start,
    missing_interpreter_fails_start,
    wrong_architecture_fails_start,
    data_fails_start,
    cwd_is_entered,
    missing_cwd_is_made,
    cwd_that_is_a_file_is_refused,
    cwd_only_the_user_may_enter,
    user_and_groups_are_set,
    no_additional_groups_by_default,
    umask_is_set,
    the_callers_umask_is_not_the_payloads,
    rlimits_are_set,
    rlimit_without_a_limit,
    username_is_a_warning,
    rlimit_of_unknown_kind_is_refused,
    rlimit_soft_above_hard_is_refused,
    capability_sets_are_set_one_by_one,
    no_capabilities_at_all,
    unprivileged_user_loses_capabilities,
    ambient_reaches_an_unprivileged_user,
    capability_that_cannot_be_granted_is_a_warning,
    a_capability_that_cannot_be_ambient_is_a_warning,
    no_new_privileges_is_set_or_not,
    oom_score_adj_is_set,
    oom_score_adj_out_of_range_is_refused,
    sysctl_is_set_in_its_namespace,
    sysctl_of_the_host_is_refused,
    sysctl_of_a_shared_network_is_refused,
    sysctl_in_either_spelling,
    sysctl_of_the_domain_name,
    sysctl_of_the_hostname_is_refused,
    sysctl_without_a_value_is_refused,
    sysctl_that_the_namespace_lacks_is_refused,
    only_stdio_is_open,
    preserved_fds_are_handed_down,
    other_fds_are_not_handed_down,
    signals_have_their_defaults,
    the_payload_leads_its_own_session,
    the_payload_has_its_own_session_keyring,
    no_new_keyring_keeps_the_callers,
    a_long_id_names_the_keyring,
    keyring_is_joined_by_an_exec,
    keyring_quota_is_explained,
    parent_death_signal_is_clear,
];

fn argv_is_passed_as_it_is(t: &Test) {
    let seen = t.look(&t.bundle(), ["two words", "", "ünïcode", "--flag"]);
    assert_eq!(seen["argv"], json!(["/probe", "two words", "", "ünïcode", "--flag"]));
}

fn env_is_exactly_the_configured_one(t: &Test) {
    let env = json!(["PATH=/bin", "HOME=/somewhere", "EMPTY=", "A=b=c"]);
    let bundle = t.bundle().set("/process/env", env.clone()).args(["/probe"]);
    let seen = t.run_call(&bundle).env("LEAKED", "yes").out().report();
    assert_eq!(seen["env"], env);
}

fn the_later_of_two_values_in_env_counts(t: &Test) {
    let env = json!(["PATH=/bin", "A=1", "HOME=/", "A=2", "AB=3"]);
    let seen = t.look(&t.bundle().set("/process/env", env), []);
    let mut seen: Vec<_> =
        seen["env"].as_array().unwrap().iter().map(|pair| pair.as_str().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["A=2", "AB=3", "HOME=/", "PATH=/bin"]);
}

fn home_is_added_from_passwd(t: &Test) {
    let seen = t.look(&t.bundle().set("/process/user", json!({ "uid": 1000, "gid": 0 })), []);
    assert!(seen["env"].as_array().unwrap().contains(&json!("HOME=/home/alice")), "{seen}");
}

fn bytes(text: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(text)
}

/// Texts that are bytes for Linux: files of the image, arguments, environment, names.
fn texts_need_not_be_utf8(t: &Test) {
    let bundle = t.bundle().set("/process/user", json!({ "uid": 1000, "gid": 0 }));
    let passwd = bundle.inside("/etc/passwd");
    std::fs::remove_file(&passwd).unwrap();
    let lines = b"b\xffd:x:5:5:\xff:/bad:/bin/sh\nalice:x:1000:1000::/home/al\xffce:/bin/sh\n";
    std::fs::write(&passwd, lines).unwrap();
    let out = t.run(&bundle.clone().shell("[ \"$HOME\" = \"$(printf '/home/al\\377ce')\" ]"));
    assert_eq!(out.code, 0, "HOME of the image's passwd: {out:?}");

    // In /proc/PID/stat, the command's name precedes the fields that the runtime reads.
    let paused = t.bundle().shell("printf 'a) \\377' > /proc/self/comm; echo named; exec cat");
    std::fs::create_dir(paused.inside("/").join(bytes(b"d\xff"))).unwrap();
    let ((stdin, to), (reader, writer)) = (pipe(), pipe());
    let container = crate::harness::Container::create(t, &paused, |call| {
        call.stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(stdin))).stdout(writer)
    });
    container.start();
    assert_eq!(crate::harness::read_line(&reader), "named");
    assert_eq!(container.status(), "running");
    let script =
        "[ \"$X\" = \"$(printf '\\377')\" ] && [ \"$1\" = \"$X\" ] && [ \"$PWD\" = \"$(printf '/d\\377')\" ]";
    let call = t.verb(["exec", "--env"]).arg(bytes(b"X=\xff")).arg("--cwd").arg(bytes(b"/d\xff"));
    let out = call.arg(&container.id).args(["sh", "-c", script, "sh"]).arg(bytes(b"\xff")).out();
    assert_eq!(out.code, 0, "exec: {out:?}");
    drop(to);

    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "[ \"$X\" = \"$(printf '\\377')\" ]"] }]);
    let hooked = t.bundle().args(["true"]).set("/hooks", json!({ "createRuntime": hook }));
    let out = t.run_call(&hooked).env("X", bytes(b"\xff")).out();
    assert_eq!(out.code, 0, "the environment of a hook: {out:?}");
}

/// The JSON output has U+FFFD there, as in runc.
fn a_bundles_path_need_not_be_utf8(t: &Test) {
    let (state, volume) = (t.path("state-of-hook"), t.make_dir("volume"));
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat > {}", state.display())] }]);
    let mut bundle = t.bundle().bind(&volume, "/tmp", &[]);
    let path = t.dir.join(bytes(b"bundle-\xff"));
    std::fs::rename(&bundle.dir, &path).unwrap();
    bundle.dir = path;
    std::fs::create_dir(bundle.dir.join("relative")).unwrap();
    let hooks = json!({ "createRuntime": hook.clone(), "poststop": hook });
    let bundle = bundle.mount("/var", "bind", "relative", &["bind"]).set("/hooks", hooks);
    let container = t.start(&bundle.pausing());
    let shown = |state: &Value| state["bundle"].as_str().unwrap().ends_with("bundle-\u{fffd}");
    let of_hook = || serde_json::from_str::<Value>(&std::fs::read_to_string(&state).unwrap()).unwrap();
    assert!(shown(&of_hook()) && shown(&container.state()));
    assert_eq!(container.exec([], ["true"]).out().code, 0);
    let list = t.verb(["list", "--format", "json"]).ok();
    assert!(list.stdout.contains("bundle-"), "{list:?}");
    std::fs::remove_file(&state).unwrap();
    container.stop();
    container.verb("delete").ok();
    assert_eq!(of_hook()["status"], "stopped");
}

fn an_empty_home_counts_as_unset(t: &Test) {
    let bundle = t.bundle().set("/process/user", json!({ "uid": 1000, "gid": 0 }));
    let seen = t.look(&bundle.set("/process/env", json!(["HOME=", "PATH=/bin"])), []);
    let env = seen["env"].as_array().unwrap();
    assert!(env.contains(&json!("HOME=/home/alice")) && !env.contains(&json!("HOME=")), "{seen}");
}

fn path_of_the_container_finds_the_executable(t: &Test) {
    let bundle = t.bundle().set("/process/env", json!(["PATH=/nonexistent:/opt:/bin"]));
    std::fs::create_dir(bundle.inside("/opt")).unwrap();
    bundle.script("/opt/hello", "#!/bin/sh\necho found\n");
    let out = t.run(&bundle.clone().args(["hello"]));
    assert_eq!((out.code, out.stdout.as_str()), (0, "found\n"), "{out:?}");
    let nowhere = bundle.set("/process/env", json!(["PATH=/nonexistent"]));
    t.refused(&nowhere.args(["hello"])).says(&["executable file not found in $PATH"]);
}

fn path_skips_directories_and_data(t: &Test) {
    let bundle = t.bundle().set("/process/env", json!(["PATH=/one:/two:/bin"])).args(["hello"]);
    for dir in ["/one", "/one/hello", "/two"] {
        std::fs::create_dir(bundle.inside(dir)).unwrap();
    }
    std::fs::write(bundle.inside("/two/hello"), "data").unwrap();
    bundle.script("/bin/hello", "#!/bin/sh\necho found\n");
    assert_eq!(t.run(&bundle).stdout, "found\n");
}

fn file_without_the_right_to_execute_is_denied(t: &Test) {
    // As in execvp(3): "not found" is another error.
    let bundle = t.bundle().set("/process/env", json!(["PATH=/one:/bin"])).args(["hello"]);
    std::fs::create_dir(bundle.inside("/one")).unwrap();
    std::fs::write(bundle.inside("/one/hello"), "data").unwrap();
    t.refused(&bundle).says(&["hello", "permission denied"]);
}

fn no_path_at_all_has_a_default(t: &Test) {
    let bundle = t.bundle().set("/process/env", json!(["A=b"])).args(["echo", "found"]);
    assert_eq!(t.run(&bundle).stdout, "found\n");
}

fn relative_executable_starts_from_cwd(t: &Test) {
    let bundle = t.bundle().set("/process/cwd", json!("/var"));
    bundle.script("/var/here", "#!/bin/sh\npwd\n");
    assert_eq!(t.run(&bundle.clone().args(["./here"])).stdout, "/var\n");
    let out = t.refused(&bundle.args(["./gone"]));
    out.says(&["./gone", "no such file or directory"]);
}

fn script_runs_by_its_interpreter(t: &Test) {
    let bundle = t.bundle().args(["/script", "more"]);
    bundle.script("/script", "#!/probe\n");
    let seen = t.run(&bundle).report();
    assert_eq!(seen["argv"], json!(["/probe", "/script", "more"]));
}

fn missing_executable_fails_create(t: &Test) {
    let out = t.refused(&t.bundle().args(["/nope"]));
    out.one_clear_line(&["exec: \"/nope\": stat /nope: no such file or directory"]);
    out.says(&["/nope: no such file or directory"]);
}

fn unfound_executable_fails_create(t: &Test) {
    let out = t.refused(&t.bundle().args(["nope"]));
    out.one_clear_line(&["nope"]);
    out.says(&["executable file not found in $PATH"]);
}

fn directory_and_data_are_not_executable(t: &Test) {
    let out = t.refused(&t.bundle().args(["/etc"]));
    out.one_clear_line(&["exec: \"/etc\"", "is a directory"]);
    let out = t.refused(&t.bundle().args(["/etc/passwd"]));
    out.one_clear_line(&["/etc/passwd"]);
    out.says(&["permission denied"]);
}

fn executable_outside_the_rootfs_is_not_found(t: &Test) {
    // The file exists on the host, where the runtime must not look for it.
    let bundle = t.bundle();
    bundle.script("/../decoy", "#!/bin/sh\n");
    let outside = bundle.dir.join("decoy");
    let out = t.refused(&bundle.args([outside.to_str().unwrap()]));
    out.fails(&["decoy", "no such file or directory"]);
}

/// `create` must succeed, and `start` must give the reason for its failure.
fn start_fails(t: &Test, bundle: &Bundle, between: impl FnOnce(), needles: &[&str]) {
    let container = t.create(bundle);
    between();
    let out = container.verb("start").out();
    out.fails(needles);
    container.wait();
    assert_eq!(container.status(), "stopped");
}

fn executable_removed_before_start_fails_start(t: &Test) {
    let bundle = t.bundle().args(["/tool"]);
    bundle.script("/tool", "#!/bin/sh\n");
    let remove = || std::fs::remove_file(bundle.inside("/tool")).unwrap();
    start_fails(t, &bundle, remove, &["/tool", "no such file or directory"]);
}

fn missing_interpreter_fails_start(t: &Test) {
    let bundle = t.bundle().args(["/tool"]);
    bundle.script("/tool", "#!/no/such/interpreter\n");
    start_fails(t, &bundle, || (), &["/tool", "/no/such/interpreter"]);
}

fn wrong_architecture_fails_start(t: &Test) {
    let bundle = t.bundle().args(["/tool"]);
    bundle.script("/tool", "");
    // The head of a 64-bit ELF program for a machine that does not exist.
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xfe\xff\x01\0\0\0".to_vec();
    elf.resize(200, 0);
    std::fs::write(bundle.inside("/tool"), elf).unwrap();
    start_fails(t, &bundle, || (), &["exec /tool: exec format error"]);
}

fn data_fails_start(t: &Test) {
    let bundle = t.bundle().args(["/tool"]);
    bundle.script("/tool", "no interpreter is named here\n");
    start_fails(t, &bundle, || (), &["exec /tool: exec format error"]);
}

fn cwd_is_entered(t: &Test) {
    let seen = t.look(&t.bundle().set("/process/cwd", json!("/var")), []);
    assert_eq!(seen["cwd"], "/var");
}

fn missing_cwd_is_made(t: &Test) {
    let bundle = t.bundle().set("/process/cwd", json!("/made/up"));
    assert_eq!(t.look(&bundle, [])["cwd"], "/made/up");
    assert!(bundle.inside("/made/up").is_dir());
}

fn cwd_that_is_a_file_is_refused(t: &Test) {
    let bundle = t.bundle().set("/process/cwd", json!("/etc/passwd"));
    t.refused(&bundle).one_clear_line(&["/etc/passwd"]);
}

fn cwd_only_the_user_may_enter(t: &Test) {
    use std::os::unix::fs::{PermissionsExt, chown};
    let bundle = t
        .bundle()
        .capabilities(&[])
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .set("/process/cwd", json!("/var/alice"));
    let dir = bundle.inside("/var/alice");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    chown(&dir, Some(1000), Some(1000)).unwrap();
    assert_eq!(t.look(&bundle, [])["cwd"], "/var/alice");
}

fn user_and_groups_are_set(t: &Test) {
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 6, 70000] });
    let seen = t.look(&t.bundle().set("/process/user", user), []);
    assert_eq!(seen["ids"]["uid"], json!([1000, 1000, 1000]));
    assert_eq!(seen["ids"]["gid"], json!([1001, 1001, 1001]));
    assert_eq!(seen["ids"]["groups"], json!([5, 6, 70000]));
}

fn no_additional_groups_by_default(t: &Test) {
    // The payload must not inherit the caller's groups.
    let bundle = t.bundle().args(["/probe"]);
    let call = t.call("/usr/bin/setpriv").args(["--groups", "4,24"]);
    let call = call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(["run", "--bundle"]);
    let seen = call.arg(bundle.lay()).arg(t.id()).out().report();
    assert_eq!(seen["ids"]["groups"], json!([]));
}

fn umask_is_set(t: &Test) {
    let user = json!({ "uid": 0, "gid": 0, "umask": 0o027 });
    assert_eq!(t.look(&t.bundle().set("/process/user", user), [])["status"]["Umask"], "0027");
    assert_eq!(t.look(&t.bundle(), [])["status"]["Umask"], "0022");
}

fn rlimit(kind: &str, soft: u64, hard: u64) -> Value {
    json!({ "type": kind, "soft": soft, "hard": hard })
}

fn rlimits_are_set(t: &Test) {
    let list = [
        ("RLIMIT_AS", 1 << 40, 1 << 41),
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_CPU", 1000, 2000),
        ("RLIMIT_DATA", 1 << 40, 1 << 40),
        ("RLIMIT_FSIZE", 1 << 30, 1 << 31),
        ("RLIMIT_LOCKS", 100, 200),
        ("RLIMIT_MEMLOCK", 4096, 8192),
        ("RLIMIT_MSGQUEUE", 1000, 2000),
        ("RLIMIT_NICE", 0, 0),
        ("RLIMIT_NOFILE", 100, 200),
        ("RLIMIT_NPROC", 300, 400),
        ("RLIMIT_RSS", 1 << 40, 1 << 40),
        ("RLIMIT_RTPRIO", 0, 0),
        ("RLIMIT_RTTIME", 1000, 2000),
        ("RLIMIT_SIGPENDING", 50, 60),
        ("RLIMIT_STACK", 1 << 20, 1 << 21),
    ];
    let config: Vec<_> = list.iter().map(|(kind, soft, hard)| rlimit(kind, *soft, *hard)).collect();
    let seen = t.look(&t.bundle().set("/process/rlimits", json!(config)), []);
    for (kind, soft, hard) in list {
        assert_eq!(seen["rlimits"][kind], json!([soft, hard]), "{kind}");
    }
}

fn rlimit_without_a_limit(t: &Test) {
    // RLIM_INFINITY, unless it is above this process's own limit.
    let infinite = |kind| nix::sys::resource::getrlimit(kind).unwrap().1 == u64::MAX;
    if !infinite(nix::sys::resource::Resource::RLIMIT_CPU) {
        t.skip("has a limit of RLIMIT_CPU itself");
    }
    let limits = json!([rlimit("RLIMIT_CPU", 1000, u64::MAX), rlimit("RLIMIT_RTTIME", u64::MAX, u64::MAX)]);
    let seen = t.look(&t.bundle().set("/process/rlimits", limits), []);
    assert_eq!(seen["rlimits"]["RLIMIT_CPU"], json!([1000, u64::MAX]));
    assert_eq!(seen["rlimits"]["RLIMIT_RTTIME"], json!([u64::MAX, u64::MAX]));
}

fn username_is_a_warning(t: &Test) {
    let user = json!({ "uid": 0, "gid": 0, "username": "administrator" });
    let out = t.run(&t.bundle().set("/process/user", user).args(["true"]));
    assert_eq!(out.code, 0, "{out:?}");
    out.says(&["/process/user/username"]);
}

fn rlimit_of_unknown_kind_is_refused(t: &Test) {
    let bundle = t.bundle().push("/process/rlimits", rlimit("RLIMIT_PATIENCE", 1, 1));
    t.refused(&bundle).one_clear_line(&["RLIMIT_PATIENCE", "/process/rlimits/1"]);
}

fn rlimit_soft_above_hard_is_refused(t: &Test) {
    let bundle = t.bundle().push("/process/rlimits", rlimit("RLIMIT_CORE", 2, 1));
    t.refused(&bundle).one_clear_line(&["RLIMIT_CORE"]);
}

fn capability_sets_are_set_one_by_one(t: &Test) {
    let sets = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_NET_RAW"],
        "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
        "effective": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ["CAP_KILL", "CAP_NET_RAW"],
        "ambient": ["CAP_KILL"],
    });
    // For a user other than root, execve keeps what ambient and the sets allow.
    let bundle = t
        .bundle()
        .set("/process/capabilities", sets)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let status = &t.look(&bundle, [])["status"];
    assert_eq!(status["CapBnd"], cap_mask(&["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_NET_RAW"]));
    assert_eq!(status["CapInh"], cap_mask(&["CAP_KILL", "CAP_NET_RAW"]));
    assert_eq!(status["CapAmb"], cap_mask(&["CAP_KILL"]));
    assert_eq!(status["CapPrm"], cap_mask(&["CAP_KILL"]));
    assert_eq!(status["CapEff"], cap_mask(&["CAP_KILL"]));
}

fn capability_masks(t: &Test, bundle: &Bundle, wanted: [(&str, &[&str]); 5]) {
    let seen = t.look(bundle, []);
    for (set, caps) in wanted {
        assert_eq!(seen["status"][set], cap_mask(caps), "{set}");
    }
}

fn no_capabilities_at_all(t: &Test) {
    let none: [(&str, &[&str]); 5] =
        [("CapBnd", &[]), ("CapEff", &[]), ("CapPrm", &[]), ("CapInh", &[]), ("CapAmb", &[])];
    capability_masks(t, &t.bundle().capabilities(&[]), none);
    capability_masks(t, &t.bundle().drop("/process/capabilities"), none);
}

fn unprivileged_user_loses_capabilities(t: &Test) {
    let user = json!({ "uid": 1000, "gid": 1000 });
    let bundle = t.bundle().capabilities(&["CAP_KILL"]).set("/process/user", user);
    capability_masks(
        t,
        &bundle,
        [("CapBnd", &["CAP_KILL"]), ("CapEff", &[]), ("CapPrm", &[]), ("CapInh", &[]), ("CapAmb", &[])],
    );
}

fn ambient_reaches_an_unprivileged_user(t: &Test) {
    let caps = json!(["CAP_NET_BIND_SERVICE"]);
    let bundle = t
        .bundle()
        .capabilities(&["CAP_NET_BIND_SERVICE"])
        .set("/process/capabilities/inheritable", caps.clone())
        .set("/process/capabilities/ambient", caps)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let all: &[&str] = &["CAP_NET_BIND_SERVICE"];
    let sets = ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"];
    capability_masks(t, &bundle, sets.map(|set| (set, all)));
}

/// setpriv removes CAP_NET_RAW from the bounding set of the runtime.
fn capability_that_cannot_be_granted_is_a_warning(t: &Test) {
    let caps = ["CAP_KILL", "CAP_NET_RAW"];
    let bundle = t.bundle().capabilities(&caps).set("/process/capabilities/ambient", json!(caps));
    let bundle = bundle.set("/process/capabilities/inheritable", json!(caps)).args(["/probe"]);
    let lesser = || {
        let call = t.call("/usr/bin/setpriv").arg("--bounding-set=-net_raw").arg(&*t.runtime.borrow());
        call.arg("--root").arg(t.root())
    };
    let out = lesser().args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).out();
    let seen = out.report();
    for set in ["CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(seen["status"][set], cap_mask(&["CAP_KILL"]), "{set}");
    }
    out.says(&["/process/capabilities", "CAP_NET_RAW"]);
    let container = t.start(&t.bundle().pausing());
    let out = lesser().args(["exec", "--cap", "CAP_NET_RAW", &container.id, "/probe"]).out();
    assert_ne!(out.report()["status"]["CapEff"], cap_mask(&["CAP_NET_RAW"]));
    out.says(&["CAP_NET_RAW"]);
}

fn a_capability_that_cannot_be_ambient_is_a_warning(t: &Test) {
    let bundle = t.bundle().capabilities(&["CAP_KILL", "CAP_CHOWN"]).args(["/probe"]);
    let bundle = bundle.set("/process/capabilities/ambient", json!(["CAP_KILL", "CAP_CHOWN"]));
    let out = t.run(&bundle.set("/process/capabilities/inheritable", json!(["CAP_KILL"])));
    assert_eq!(out.report()["status"]["CapAmb"], cap_mask(&["CAP_KILL"]));
    out.says(&["can't raise ambient capability CAP_CHOWN"]);
    assert!(!out.stderr.contains("CAP_KILL"), "{out:?}");
}

fn no_new_privileges_is_set_or_not(t: &Test) {
    for (wanted, shown) in [(true, "1"), (false, "0")] {
        let bundle = t.bundle().set("/process/noNewPrivileges", json!(wanted));
        assert_eq!(t.look(&bundle, [])["status"]["NoNewPrivs"], shown);
    }
}

fn oom_score_adj_is_set(t: &Test) {
    let bundle = t.bundle().set("/process/oomScoreAdj", json!(321));
    assert_eq!(t.look(&bundle, [])["oom_score_adj"], "321");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(t.look(&t.bundle(), [])["oom_score_adj"], own.trim());
}

fn oom_score_adj_out_of_range_is_refused(t: &Test) {
    let bundle = t.bundle().set("/process/oomScoreAdj", json!(1001));
    t.refused(&bundle).one_clear_line(&["oomScoreAdj"]);
}

fn sysctl(bundle: Bundle, key: &str, value: &str) -> Bundle {
    bundle.set("/linux/sysctl", json!({ key: value }))
}

fn sysctl_is_set_in_its_namespace(t: &Test) {
    for (key, path, value) in [
        ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward", "1"),
        ("kernel.msgmax", "/proc/sys/kernel/msgmax", "4321"),
        ("fs.mqueue.msg_max", "/proc/sys/fs/mqueue/msg_max", "17"),
        ("net/ipv4/ip_default_ttl", "/proc/sys/net/ipv4/ip_default_ttl", "33"),
    ] {
        let before = std::fs::read_to_string(path).unwrap();
        let question = format!("text:{path}");
        let seen = t.look(&sysctl(t.bundle(), key, value), [&question]);
        assert_eq!(seen["asked"][question], format!("{value}\n"), "{key}");
        assert_eq!(std::fs::read_to_string(path).unwrap(), before, "the host's {key}");
    }
}

fn sysctl_of_the_host_is_refused(t: &Test) {
    for key in ["kernel.pid_max", "vm.swappiness", "kernel.core_pattern", "nonsense.key"] {
        t.refused(&sysctl(t.bundle(), key, "60")).one_clear_line(&[key]);
    }
}

fn sysctl_of_a_shared_network_is_refused(t: &Test) {
    let bundle = sysctl(t.bundle(), "net.ipv4.ip_forward", "1").without_namespace("network");
    t.refused(&bundle).one_clear_line(&["net.ipv4.ip_forward"]);
    let bundle =
        sysctl(t.bundle(), "kernel.msgmax", "4321").without_namespace("ipc").without_mount("/dev/mqueue");
    t.refused(&bundle).one_clear_line(&["kernel.msgmax"]);
}

fn only_stdio_is_open(t: &Test) {
    let fds = &t.look(&t.bundle(), [])["fds"];
    assert_eq!(fds.as_object().unwrap().keys().collect::<Vec<_>>(), ["0", "1", "2"], "{fds}");
    let container = t.start(&t.bundle());
    container.wait();
    let fds = &container.report()["fds"];
    assert_eq!(fds.as_object().unwrap().keys().collect::<Vec<_>>(), ["0", "1", "2"], "{fds}");
}

/// What `run FLAGS` shows of the descriptors 3 to 5, which are all open in the caller.
fn shown_of_three_fds(t: &Test, flags: &[&str]) -> Vec<String> {
    let bundle = t.bundle().args(["/probe"]);
    let mut call = t.verb(["run"]).args(flags).arg("--bundle").arg(bundle.lay());
    for number in 3..6 {
        let file = std::fs::File::open("/etc/passwd").unwrap();
        call = call.pass(file.into(), number);
    }
    let seen = call.arg(t.id()).out().report();
    seen["fds"].as_object().unwrap().keys().cloned().collect()
}

fn preserved_fds_are_handed_down(t: &Test) {
    assert_eq!(shown_of_three_fds(t, &["--preserve-fds", "2"]), ["0", "1", "2", "3", "4"]);
}

fn other_fds_are_not_handed_down(t: &Test) {
    assert_eq!(shown_of_three_fds(t, &[]), ["0", "1", "2"]);
}

fn signals_have_their_defaults(t: &Test) {
    let status = &t.look(&t.bundle(), [])["status"];
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        let mask = u64::from_str_radix(status[set].as_str().unwrap(), 16).unwrap();
        // glibc's posix_spawn starts programs with signals 32 and 33 ignored.
        assert_eq!(mask & !(3 << 31), 0, "{set}: {mask:x}");
    }
}

fn the_payload_leads_its_own_session(t: &Test) {
    let ids = &t.look(&t.bundle(), [])["ids"];
    assert_eq!((&ids["session"], &ids["group"]), (&json!(1), &json!(1)));
}

fn the_payload_has_its_own_session_keyring(t: &Test) {
    let keyring = t.look(&t.bundle(), [])["keyring"].as_str().unwrap().to_owned();
    assert!(keyring.starts_with("keyring;0;0;") && keyring.contains(&t.token), "{keyring}");
}

fn no_new_keyring_keeps_the_callers(t: &Test) {
    let bundle = t.bundle().args(["/probe"]);
    let call = t.verb(["run", "--no-new-keyring", "--bundle"]).arg(bundle.lay());
    let keyring = &call.arg(t.id()).out().report()["keyring"];
    assert!(!keyring.to_string().contains(&t.token), "{keyring}");
}

fn parent_death_signal_is_clear(t: &Test) {
    assert_eq!(t.look(&t.bundle(), [])["pdeathsig"], Value::Null);
    let (reader, writer) = pipe();
    let bundle = t.bundle().args(["/probe", "--report-pause"]);
    let container = crate::harness::Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    let seen: Value = serde_json::from_str(&crate::harness::read_line(&reader)).unwrap();
    assert_eq!(seen["pdeathsig"], Value::Null);
}

/// Calls the runtime with the umask `mask`.
fn with_umask<'t>(t: &'t Test, mask: &str) -> crate::harness::Call<'t> {
    let call = t.call("/bin/sh").args(["-c", &format!("umask {mask}; exec \"$0\" \"$@\"")]);
    call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(t.globals())
}

/// The umask in hooks and in the payload, with `run`, `create` and `exec`.
fn the_callers_umask_is_not_the_payloads(t: &Test) {
    for (callers, configured, expected) in
        [("0", None, "0022"), ("0077", None, "0022"), ("0", Some(0o027), "0027"), ("0077", Some(0), "0000")]
    {
        let notes = t.make_dir("notes");
        let hook = |kind: &str, dir: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("umask > {dir}/{kind}")] }]);
        let dir = notes.to_str().unwrap();
        let mut bundle = t.bundle().bind(&notes, "/notes", &[]).set("/process/user/umask", json!(configured));
        for kind in ["createRuntime", "createContainer", "poststart"] {
            bundle = bundle.set(&format!("/hooks/{kind}"), hook(kind, dir));
        }
        bundle = bundle.set("/hooks/startContainer", hook("startContainer", "/notes"));
        if configured.is_none() {
            bundle = bundle.drop("/process/user/umask");
        }
        let bundle = bundle.args(["/probe", "--report-pause"]);
        let by_run = with_umask(t, callers).args(["run", "--bundle"]);
        let probe = bundle.clone().args(["/probe"]);
        assert_eq!(by_run.arg(probe.lay()).arg(t.id()).out().report()["status"]["Umask"], expected, "run");

        let (id, (reader, writer)) = (t.id(), pipe());
        t.will_delete(&id);
        let create = with_umask(t, callers).args(["create", "--bundle"]).arg(bundle.lay()).arg(&id);
        create.stdout(writer).ok();
        with_umask(t, callers).args(["start", &id]).ok();
        let seen: Value = serde_json::from_str(&crate::harness::read_line(&reader)).unwrap();
        assert_eq!(seen["status"]["Umask"], expected, "create");
        let by_exec = with_umask(t, callers).args(["exec", &id, "/probe"]).out();
        assert_eq!(by_exec.report()["status"]["Umask"], expected, "exec");
        let file = t.make_file("process.json", r#"{ "args": ["/probe"], "cwd": "/" }"#);
        let by_file = with_umask(t, callers).args(["exec", "--process"]).arg(&file).arg(&id).out();
        assert_eq!(by_file.report()["status"]["Umask"], expected, "exec --process");

        // Hooks that are programs of the host keep the runtime's umask. Hooks of the image
        // get the payload's.
        let noted = |kind: &str| std::fs::read_to_string(notes.join(kind)).unwrap().trim().to_owned();
        let callers = format!("{callers:0>4}");
        for kind in ["createRuntime", "createContainer", "poststart"] {
            assert_eq!(noted(kind), callers, "{kind}");
        }
        assert_eq!(noted("startContainer"), expected, "startContainer");
    }
}

fn sysctl_in_either_spelling(t: &Test) {
    for key in ["net.ipv4.conf.all.forwarding", "net/ipv4/conf/all/forwarding"] {
        let seen = t.look(&sysctl(t.bundle(), key, "1"), ["text:/proc/sys/net/ipv4/conf/all/forwarding"]);
        assert_eq!(seen["asked"]["text:/proc/sys/net/ipv4/conf/all/forwarding"], "1\n", "{key}");
    }
    for key in
        ["net//ipv4/ip_forward", "net..ipv4", "net/../kernel/core_pattern", ".net", "/net/ipv4/ip_forward"]
    {
        t.refused(&sysctl(t.bundle(), key, "1")).one_clear_line(&["/linux/sysctl/"]);
    }
}

fn sysctl_of_the_domain_name(t: &Test) {
    let bundle = sysctl(t.bundle(), "kernel.domainname", "example.org");
    assert_eq!(t.look(&bundle, [])["names"]["domain"], "example.org");
    let bundle = bundle.without_namespace("uts").drop("/hostname");
    t.refused(&bundle).one_clear_line(&["/linux/sysctl/kernel.domainname", "uts"]);
}

fn sysctl_of_the_hostname_is_refused(t: &Test) {
    let bundle = sysctl(t.bundle(), "kernel.hostname", "box");
    t.refused(&bundle).one_clear_line(&["/linux/sysctl/kernel.hostname", "/hostname"]);
}

fn sysctl_without_a_value_is_refused(t: &Test) {
    t.refused(&sysctl(t.bundle(), "kernel.msgmax", "")).one_clear_line(&["/linux/sysctl/kernel.msgmax"]);
    let out = t.refused(&sysctl(t.bundle(), "kernel.msgmax", "many"));
    out.one_clear_line(&["/linux/sysctl/kernel.msgmax", "many", "EINVAL"]);
}

fn sysctl_that_the_namespace_lacks_is_refused(t: &Test) {
    let out = t.refused(&sysctl(t.bundle(), "net.ipv4.nonsense", "1"));
    out.one_clear_line(&["/linux/sysctl/net.ipv4.nonsense", "network namespace"]);
    // A slash stands for the dot in the name of a device.
    let out = t.refused(&sysctl(t.bundle(), "net.ipv4.conf.eth0/1.forwarding", "1"));
    out.one_clear_line(&["/linux/sysctl/net.ipv4.conf.eth0~11.forwarding", "network namespace"]);
}

fn a_long_id_names_the_keyring(t: &Test) {
    let id = format!("{}{}", t.token, "x".repeat(250 - t.token.len()));
    let bundle = t.bundle().args(["/probe"]).set("/linux/cgroupsPath", json!(t.cgroup_of_name(&t.token)));
    let out = t.verb(["run", "--bundle"]).arg(bundle.lay()).arg(&id).out();
    // The probe's buffer for the description is short.
    assert!(out.report()["status"].is_object());
}

fn keyring_is_joined_by_an_exec(t: &Test) {
    for bundle in [t.bundle(), t.bundle().user_namespace()] {
        let container = t.start(&bundle.pausing());
        let keyring = container.look([])["keyring"].as_str().expect("a keyring").to_owned();
        assert!(keyring.ends_with(&format!("_ses.{}", container.id)), "{keyring}");
    }
}

/// If the user has no key left, the error says so and names the flag that helps.
fn keyring_quota_is_explained(t: &Test) {
    let uid = 345_000;
    let map = json!([{ "containerID": 0, "hostID": uid, "size": 1000 }]);
    let bundle =
        t.bundle().namespace("user").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let bundle = bundle.args(["/probe"]);
    // The probe takes all keys that the user may have, in keyrings that end with it.
    let limit = std::fs::read_to_string("/proc/sys/kernel/keys/maxkeys").expect("keyrings");
    let fill = format!("--fill-keyrings={}", limit.trim());
    let (reader, writer) = crate::harness::pipe();
    let (stdin, hold) = crate::harness::pipe();
    let probe = bundle.inside("/probe");
    let call = t.call("/usr/bin/setpriv").args(["--reuid", &uid.to_string(), "--clear-groups"]).arg(probe);
    let full = call.arg(fill).stdin(stdin).stdout(writer).spawn();
    assert_eq!(crate::harness::read_line(&reader), "full");
    let out = t.run(&bundle);
    out.one_clear_line(&["keyctl", "EDQUOT", "maxkeys", "--no-new-keyring"]);
    let call = t.verb(["run", "--no-new-keyring", "--bundle"]).arg(bundle.lay());
    assert!(call.arg(t.id()).out().report()["status"].is_object());
    drop(hold);
    full.out();
}
