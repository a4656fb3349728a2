//! Bad input: `create` refuses it, names the place, and leaves nothing.

use crate::harness::{Bundle, Out, Test};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

cases![
    missing_bundle,
    missing_config,
    broken_json,
    empty_config,
    config_of_the_wrong_shape,
    wrong_types,
    missing_rootfs,
    rootfs_that_is_a_file,
    missing_root,
    empty_root_path,
    missing_process,
    missing_args,
    empty_args,
    empty_executable,
    missing_cwd,
    relative_cwd,
    missing_version,
    version_that_is_none,
    version_of_the_next_major,
    later_minor_versions_are_accepted,
    invalid_ids,
    valid_ids,
    empty_id,
    existing_id,
    duplicate_rlimit,
    duplicate_namespace,
    relative_masked_path,
    relative_readonly_path,
    hook_timeout_of_zero,
    mappings_without_a_user_namespace,
    user_namespace_with_half_its_mappings,
    overlapping_mappings,
    unknown_capability_is_a_warning,
    unknown_key_is_ignored,
    unknown_key_is_a_warning,
    unknown_key_of_a_process_file_is_a_warning,
    a_json_log_of_a_failure_has_the_error_alone,
    a_warning_is_not_lost_in_a_failure,
    every_error_begins_with_the_runtimes_name,
    list_instead_of_an_object,
    env_without_an_equals_sign,
    env_without_a_name,
    id_that_means_no_change,
    empty_annotation_key,
    annotation_that_is_not_a_string,
    hostname_that_is_too_long,
    missing_linux,
    fields_of_other_platforms,
    hook_timeout_below_zero,
    device_of_no_type,
    rlimit_of_no_type,
    a_missing_required_number_is_not_zero,
    hugepage_size_of_another_form,
    swappiness_beyond_100,
    swap_below_memory,
    burst_above_quota,
    weight_device_without_a_weight,
    interface_priority_without_a_name,
    nul_in_a_string,
    unknown_personality,
    unknown_scheduler,
    unknown_io_priority,
    unknown_seccomp_action,
    rdt_on_a_machine_without_it,
    unknown_net_device,
    apparmor_without_apparmor,
    selinux_without_selinux,
    idmapped_mount_without_mappings,
    readonly_cgroups_are_the_whole_error,
    a_state_directory_of_another_user_has_a_hint,
    a_disabled_controller_is_not_called_missing_in_the_kernel,
    a_proc_that_is_masked_is_named,
    erange_is_explained_as_a_value_out_of_range,
    an_unknown_devpts_option_has_no_hint_on_gids,
    a_rootfs_that_is_noexec_is_named,
    a_chroot_is_named,
    a_crash_of_init_with_a_filter_names_the_filter,
    few_descriptors_do_not_change_the_status,
];

/// `create` with `value` at `pointer` must fail, and its error must contain every needle.
fn refuse(t: &Test, pointer: &str, value: Value, needles: &[&str]) {
    t.refused(&t.bundle().set(pointer, value)).one_clear_line(needles);
}

fn missing_bundle(t: &Test) {
    let out = t.verb(["create", "--bundle", "/nonexistent/bundle"]).arg(t.id()).out();
    out.one_clear_line(&["/nonexistent/bundle"]);
}

fn missing_config(t: &Test) {
    let empty = t.make_dir("bundle");
    let out = t.verb(["create", "--bundle"]).arg(empty).arg(t.id()).out();
    out.one_clear_line(&["config.json"]);
    out.says(&["config.json"]);
}

/// `create` of a bundle whose config.json is this text.
fn create_from(t: &Test, text: &str) -> crate::harness::Out {
    let bundle = t.bundle();
    std::fs::write(bundle.dir.join("config.json"), text).expect("write config.json");
    let out = t.verb(["create", "--bundle"]).arg(&bundle.dir).arg(t.id()).out();
    assert_ne!(out.code, 0, "accepted: {out:?}");
    out
}

fn broken_json(t: &Test) {
    for text in
        ["{", "{ \"ociVersion\": \"1.0.2\",, }", "not json", "{}{}", "{ \"process\": { \"args\": [\"a\" } }"]
    {
        create_from(t, text).one_clear_line(&["config.json"]);
    }
}

fn empty_config(t: &Test) {
    create_from(t, "").one_clear_line(&["config.json"]);
    create_from(t, "{}").one_clear_line(&["/ociVersion: is missing"]);
}

fn config_of_the_wrong_shape(t: &Test) {
    for text in ["[]", "\"config\"", "17"] {
        create_from(t, text).one_clear_line(&["/: invalid type", "expected an object"]);
    }
}

fn wrong_types(t: &Test) {
    for (pointer, value) in [
        ("/process", json!([])),
        ("/process/args", json!("sh")),
        ("/process/args/0", json!(1)),
        ("/process/env", json!({})),
        ("/process/user/uid", json!("root")),
        ("/process/user/uid", json!(-1)),
        ("/process/user/uid", json!(4_294_967_296_u64)),
        ("/process/terminal", json!("yes")),
        ("/process/rlimits/0/soft", json!(-1)),
        ("/root", json!("rootfs")),
        ("/hostname", json!(5)),
        ("/mounts", json!({})),
        ("/mounts/0/options", json!("ro")),
        ("/linux", json!([])),
        ("/linux/namespaces", json!("pid")),
        ("/linux/resources/memory", json!({ "limit": "64M" })),
        ("/linux/sysctl", json!({ "net.ipv4.ip_forward": 1 })),
        ("/hooks", json!({ "prestart": {} })),
        ("/annotations", json!({ "a": 1 })),
    ] {
        refuse(t, pointer, value, &[pointer]);
    }
}

fn missing_rootfs(t: &Test) {
    let out = t.refused(&t.bundle().set("/root/path", json!("nowhere")));
    out.one_clear_line(&["/root/path"]);
    out.says(&["nowhere"]);
}

fn rootfs_that_is_a_file(t: &Test) {
    refuse(t, "/root/path", json!("config.json"), &["config.json"]);
}

fn missing_root(t: &Test) {
    t.refused(&t.bundle().drop("/root")).one_clear_line(&["root"]);
}

fn empty_root_path(t: &Test) {
    refuse(t, "/root/path", json!(""), &["/root/path"]);
}

fn missing_process(t: &Test) {
    t.refused(&t.bundle().drop("/process")).one_clear_line(&["process"]);
}

fn missing_args(t: &Test) {
    t.refused(&t.bundle().drop("/process/args")).one_clear_line(&["/process/args"]);
}

fn empty_args(t: &Test) {
    refuse(t, "/process/args", json!([]), &["/process/args"]);
}

fn empty_executable(t: &Test) {
    let words = ["/process/args/0", "executable file not found in $PATH"];
    refuse(t, "/process/args", json!([""]), &words);
    refuse(t, "/process/args", json!(["", "argument"]), &words);
    let container = t.start(&t.bundle().pausing());
    let out = container.exec([], [""]).out();
    out.says(&["executable file not found in $PATH"]);
    assert_eq!(out.code, 255);
}

fn missing_cwd(t: &Test) {
    t.refused(&t.bundle().drop("/process/cwd")).one_clear_line(&["cwd"]);
    refuse(t, "/process/cwd", json!(""), &["/process/cwd"]);
}

fn relative_cwd(t: &Test) {
    refuse(t, "/process/cwd", json!("var"), &["/process/cwd", "var"]);
}

fn missing_version(t: &Test) {
    t.refused(&t.bundle().drop("/ociVersion")).one_clear_line(&["ociVersion"]);
}

fn version_that_is_none(t: &Test) {
    for version in ["", "one", "1", "v1.0.0", "1.0.0.0"] {
        refuse(t, "/ociVersion", json!(version), &["/ociVersion"]);
    }
}

fn version_of_the_next_major(t: &Test) {
    refuse(t, "/ociVersion", json!("2.0.0"), &["/ociVersion", "2.0.0"]);
}

fn later_minor_versions_are_accepted(t: &Test) {
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.9.0"] {
        let bundle = t.bundle().set("/ociVersion", json!(version));
        let out = t.run(&bundle.args(["true"]));
        assert_eq!(out.code, 0, "{version}: {out:?}");
    }
}

fn create_named(t: &Test, id: &str) -> crate::harness::Out {
    let bundle = t.bundle();
    t.verb(["create", "--bundle"]).arg(bundle.lay()).arg("--").arg(id).out()
}

fn invalid_ids(t: &Test) {
    for id in ["a/b", "/abs", "../up", ".", "..", "with space", "new\nline", "ünïcode", "semi;colon"] {
        create_named(t, id).one_clear_line(&["id"]);
    }
    let long = "x".repeat(2000);
    create_named(t, &long).one_clear_line(&["id is longer than 1024"]);
}

fn valid_ids(t: &Test) {
    for tail in [".dot", "_under", "-dash", "+plus", "UPPER"] {
        let id = format!("{}{tail}", t.token);
        let bundle = t.bundle().args(["true"]);
        t.verb(["run", "--bundle"]).arg(bundle.lay()).arg(&id).ok();
    }
}

fn empty_id(t: &Test) {
    create_named(t, "").one_clear_line(&["id"]);
}

fn existing_id(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    for verb in ["create", "run"] {
        let other = t.bundle();
        let call = t.verb([verb, "--bundle"]).arg(other.lay());
        let out = call.arg(&container.id).out();
        out.one_clear_line(&[&container.id, "exist"]);
        out.says(&["exist"]);
    }
    assert_eq!(container.status(), "created", "the first one is untouched");
    assert_eq!(container.state()["pid"], container.init.pid);
}

fn duplicate_rlimit(t: &Test) {
    let limit = json!({ "type": "RLIMIT_NOFILE", "hard": 512, "soft": 512 });
    let bundle = t.bundle().push("/process/rlimits", limit);
    t.refused(&bundle).one_clear_line(&["/process/rlimits/1", "RLIMIT_NOFILE"]);
}

fn duplicate_namespace(t: &Test) {
    let bundle = t.bundle().push("/linux/namespaces", json!({ "type": "ipc" }));
    t.refused(&bundle).one_clear_line(&["/linux/namespaces/5", "ipc"]);
}

fn relative_masked_path(t: &Test) {
    refuse(t, "/linux/maskedPaths", json!(["/proc/kcore", "proc/keys"]), &["/linux/maskedPaths/1"]);
}

fn relative_readonly_path(t: &Test) {
    refuse(t, "/linux/readonlyPaths", json!(["proc/sys"]), &["/linux/readonlyPaths/0"]);
}

fn hook_timeout_of_zero(t: &Test) {
    let hook = json!([{ "path": "/bin/true", "timeout": 0 }]);
    refuse(t, "/hooks", json!({ "poststop": hook }), &["/hooks/poststop/0/timeout"]);
}

const RANGE: &str = r#"[{ "containerID": 0, "hostID": 100000, "size": 10 }]"#;

fn range() -> Value {
    serde_json::from_str(RANGE).expect("JSON")
}

fn mappings_without_a_user_namespace(t: &Test) {
    let bundle = t.bundle().set("/linux/uidMappings", range()).set("/linux/gidMappings", range());
    t.refused(&bundle).one_clear_line(&["uidMappings"]);
}

fn user_namespace_with_half_its_mappings(t: &Test) {
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let bundle = || t.bundle().namespace("user").drop("/linux/uidMappings").drop("/linux/gidMappings");
    let out = t.refused(&bundle().set("/linux/gidMappings", map.clone()));
    out.one_clear_line(&["/linux/uidMappings", "both"]);
    let out = t.refused(&bundle().set("/linux/uidMappings", map));
    out.one_clear_line(&["/linux/gidMappings", "both"]);
}

fn overlapping_mappings(t: &Test) {
    let twice = json!([
        { "containerID": 0, "hostID": 100_000, "size": 10 },
        { "containerID": 5, "hostID": 200_000, "size": 10 },
    ]);
    let bundle = t.bundle().namespace("user");
    let bundle = bundle.set("/linux/uidMappings", twice).set("/linux/gidMappings", range());
    t.refused(&bundle).one_clear_line(&["uidMappings"]);
}

fn unknown_capability_is_a_warning(t: &Test) {
    let bundle = t.bundle().capabilities(&["CAP_KILL", "CAP_NONSENSE"]).args(["/probe"]);
    let log = t.path("log");
    let call = t.runtime().arg("--log").arg(&log).args(["run", "--bundle"]).arg(bundle.lay());
    let seen = call.arg(t.id()).out().report();
    assert_eq!(seen["status"]["CapEff"], crate::harness::cap_mask(&["CAP_KILL"]));
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(text.contains("level=warning") && text.contains("CAP_NONSENSE"), "{text}");
}

fn unknown_key_is_ignored(t: &Test) {
    let bundle = t
        .bundle()
        .set("/futureField", json!({ "a": 1 }))
        .set("/process/futureField", json!(true))
        .set("/linux/futureField", json!([]));
    assert_eq!(t.run(&bundle.args(["true"])).code, 0);
}

fn unknown_key_is_a_warning(t: &Test) {
    let bundle = t
        .bundle()
        .set("/process/futureField", json!(true))
        .set("/linux/maskedPath", json!(["/proc/kcore"]))
        .set("/mounts/0/optoins", json!([]));
    let log = t.path("log");
    let call = t.runtime().arg("--log").arg(&log).args(["run", "--bundle"]);
    call.arg(bundle.args(["true"]).lay()).arg(t.id()).ok();
    let text = std::fs::read_to_string(&log).expect("a log");
    let warnings =
        ["/process/futureField", "maskedPath: unknown", "did you mean maskedPaths?", "/mounts/0/optoins"];
    for warning in warnings {
        assert!(text.contains(warning), "{warning} is not in {text}");
    }
    assert_eq!(text.matches("level=warning").count(), 3, "{text}");
}

fn unknown_key_of_a_process_file_is_a_warning(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let process =
        json!({ "args": ["/bin/true"], "cwd": "/", "capabilites": {}, "user": { "uid": 0, "gidd": 0 } });
    let file = t.make_file("process.json", &process.to_string());
    let out = t.verb(["exec", "--process"]).arg(file).arg(&container.id).ok();
    out.says(&["/capabilites", "did you mean capabilities?", "/user/gidd", "did you mean gid?"]);
}

/// Podman reads the whole file as one object.
fn a_json_log_of_a_failure_has_the_error_alone(t: &Test) {
    let bundle = t.bundle().set("/linux/maskedPath", json!([])).set("/root/path", json!("nowhere"));
    let log = t.path("log");
    let call = t.runtime().arg("--log").arg(&log).args(["--log-format", "json", "create", "--bundle"]);
    let out = call.arg(bundle.lay()).arg(t.id()).out();
    assert_ne!(out.code, 0, "accepted: {out:?}");
    let text = std::fs::read_to_string(&log).expect("a log");
    let said: Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(said["level"], "error");
    out.says(&["corten: warning: /linux/maskedPath: unknown key", "\ncorten: error: ", "nowhere"]);
}

/// Returns the log of a failed `create` with these global flags.
fn said_of_a_failure(t: &Test, flags: &[&str]) -> Vec<String> {
    let bundle = t.bundle().set("/linux/maskedPath", json!([])).set("/root/path", json!("nowhere"));
    let call = t.runtime().args(flags).args(["create", "--bundle"]).arg(bundle.lay()).arg(t.id());
    let out = call.out();
    assert_ne!(out.code, 0, "accepted: {out:?}");
    out.stderr.lines().map(str::to_owned).collect()
}

/// The warning often gives the reason for the error.
fn a_warning_is_not_lost_in_a_failure(t: &Test) {
    let log = t.path("log");
    let to_log = ["--log", log.to_str().unwrap()];
    for flags in [&[][..], &to_log, &[&to_log[..], &["--log-format", "json"]].concat()] {
        let said = said_of_a_failure(t, flags);
        assert_eq!(said.len(), 2, "{flags:?}: {said:?}");
        assert!(said[0].starts_with("corten: warning: /linux/maskedPath: "), "{flags:?}: {said:?}");
        assert!(said[1].starts_with("corten: error: ") && said[1].contains("nowhere"), "{flags:?}: {said:?}");
    }
    let text = std::fs::read_to_string(&log).expect("a log");
    assert_eq!(text.matches("level=warning").count(), 1, "only the text has warnings: {text}");
    let said = said_of_a_failure(t, &["--log-format", "json"]);
    let levels = said.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["level"].clone());
    assert_eq!(levels.collect::<Vec<_>>(), ["warning", "error"]);
    assert_eq!(said_of_a_failure(t, &["--log-level", "error"]).len(), 1);
}

/// This also holds for errors before the verb is known, or before the configuration is
/// resolved.
fn every_error_begins_with_the_runtimes_name(t: &Test) {
    t.runtime().args(["--rootless", "perhaps", "list"]).out().one_clear_line(&[
        "perhaps",
        "--rootless",
        "true, false or auto",
    ]);
    t.runtime().args(["--log", "/nonexistent/log", "list"]).out().one_clear_line(&["/nonexistent/log"]);
    t.runtime().args(["frobnicate"]).out().one_clear_line(&["frobnicate"]);
    t.verb(["state", "nobody"]).out().one_clear_line(&["does not exist"]);
    let log = t.path("log");
    t.runtime().arg("--log").arg(&log).args(["kill", "nobody"]).out().one_clear_line(&["does not exist"]);
}

fn list_instead_of_an_object(t: &Test) {
    for pointer in ["/linux", "/process", "/process/user", "/hooks", "/root", "/linux/resources", "/mounts/0"]
    {
        refuse(t, pointer, json!([]), &[pointer, "expected an object"]);
    }
}

fn env_without_an_equals_sign(t: &Test) {
    let bundle = t.bundle().push("/process/env", json!("NOVALUE"));
    t.refused(&bundle).one_clear_line(&["/process/env/2", "NOVALUE"]);
}

fn env_without_a_name(t: &Test) {
    refuse(t, "/process/env/1", json!("=value"), &["/process/env/1", "=value"]);
}

/// setresuid(-1) changes nothing: the payload would run as root.
fn id_that_means_no_change(t: &Test) {
    for (pointer, value) in [
        ("/process/user/uid", json!(u32::MAX)),
        ("/process/user/gid", json!(u32::MAX)),
        ("/process/user/additionalGids", json!([5, u32::MAX])),
    ] {
        refuse(t, pointer, value, &[pointer, "4294967295"]);
    }
    let container = t.start(&t.bundle().pausing());
    let process = json!({ "args": ["/bin/true"], "cwd": "/", "user": { "uid": u32::MAX } });
    let file = t.make_file("process.json", &process.to_string());
    let out = t.verb(["exec", "--process"]).arg(file).arg(&container.id).out();
    out.one_clear_line(&["/user/uid", "4294967295"]);
}

fn empty_annotation_key(t: &Test) {
    refuse(t, "/annotations", json!({ "": "value" }), &["/annotations/"]);
}

fn annotation_that_is_not_a_string(t: &Test) {
    refuse(t, "/annotations", json!({ "a.b/c": { "d": 1 } }), &["/annotations/a.b~1c"]);
}

fn hostname_that_is_too_long(t: &Test) {
    refuse(t, "/hostname", json!("x".repeat(65)), &["/hostname", "64"]);
    let bundle = t.bundle().set("/hostname", json!("x".repeat(64)));
    assert_eq!(t.look(&bundle, [])["names"]["host"], "x".repeat(64));
}

/// `linux` is optional. Without it, the container would have the host's mount namespace,
/// which corten refuses.
fn missing_linux(t: &Test) {
    let bundle = t.bundle().drop("/linux").drop("/hostname");
    t.refused(&bundle).one_clear_line(&["/linux/namespaces", "mount"]);
}

fn fields_of_other_platforms(t: &Test) {
    for name in ["solaris", "windows", "vm", "zos", "freebsd"] {
        refuse(t, &format!("/{name}"), json!({ "x": 1 }), &[&format!("/{name}")]);
    }
}

fn hook_timeout_below_zero(t: &Test) {
    let hook = json!([{ "path": "/bin/true", "timeout": -1 }]);
    refuse(t, "/hooks", json!({ "createRuntime": hook }), &["/hooks/createRuntime/0/timeout"]);
}

fn device_of_no_type(t: &Test) {
    let device = json!([{ "path": "/dev/x", "major": 1, "minor": 3 }]);
    refuse(t, "/linux/devices", device, &["/linux/devices/0/type"]);
}

fn rlimit_of_no_type(t: &Test) {
    refuse(t, "/process/rlimits", json!([{ "soft": 1, "hard": 1 }]), &["/process/rlimits/0/type"]);
}

/// Without the host's id, the mapping would be to root's id.
fn a_missing_required_number_is_not_zero(t: &Test) {
    let resources = "/linux/resources";
    for (pointer, value, missing) in [
        ("/linux/uidMappings".to_owned(), json!([{ "containerID": 0, "size": 1 }]), "hostID"),
        ("/linux/gidMappings".to_owned(), json!([{ "hostID": 1, "size": 1 }]), "containerID"),
        ("/linux/uidMappings".to_owned(), json!([{ "hostID": 1, "containerID": 0 }]), "size"),
        ("/process/rlimits".to_owned(), json!([{ "type": "RLIMIT_CORE", "soft": 0 }]), "hard"),
        ("/process/rlimits".to_owned(), json!([{ "type": "RLIMIT_CORE", "hard": 0 }]), "soft"),
        (format!("{resources}/devices"), json!([{ "access": "rwm" }]), "allow"),
        (format!("{resources}/hugepageLimits"), json!([{ "pageSize": "2MB" }]), "limit"),
        (format!("{resources}/network/priorities"), json!([{ "name": "lo" }]), "priority"),
        (format!("{resources}/blockIO/throttleReadBpsDevice"), json!([{ "major": 8, "minor": 0 }]), "rate"),
        (format!("{resources}/blockIO/weightDevice"), json!([{ "major": 8, "weight": 10 }]), "minor"),
    ] {
        refuse(t, &pointer, value, &[&format!("{pointer}/0"), missing]);
    }
}

fn hugepage_size_of_another_form(t: &Test) {
    let limits = json!([{ "pageSize": "2MB", "limit": 0 }, { "pageSize": "64kB", "limit": 0 }]);
    let at = "/linux/resources/hugepageLimits";
    refuse(t, at, limits, &["/linux/resources/hugepageLimits/1/pageSize", "64kB"]);
}

fn swappiness_beyond_100(t: &Test) {
    let at = "/linux/resources/memory/swappiness";
    refuse(t, at, json!(101), &[at, "101"]);
}

fn swap_below_memory(t: &Test) {
    let memory = json!({ "limit": 1 << 26, "swap": 1 << 25 });
    refuse(t, "/linux/resources/memory", memory, &["/linux/resources/memory/swap"]);
}

fn burst_above_quota(t: &Test) {
    let cpu = json!({ "quota": 10_000, "period": 100_000, "burst": 10_001 });
    refuse(t, "/linux/resources/cpu", cpu, &["/linux/resources/cpu/burst"]);
}

fn weight_device_without_a_weight(t: &Test) {
    let at = "/linux/resources/blockIO/weightDevice";
    refuse(t, at, json!([{ "major": 8, "minor": 0 }]), &["/linux/resources/blockIO/weightDevice/0"]);
}

fn interface_priority_without_a_name(t: &Test) {
    let at = "/linux/resources/network/priorities";
    refuse(t, at, json!([{ "priority": 1 }]), &["/linux/resources/network/priorities/0/name"]);
}

fn nul_in_a_string(t: &Test) {
    refuse(t, "/process/args", json!(["/probe", "a\0b"]), &["/process/args/1"]);
    refuse(t, "/process/env/0", json!("A=\0"), &["/process/env/0"]);
    refuse(t, "/process/cwd", json!("/\0"), &["/process/cwd"]);
    refuse(t, "/hostname", json!("a\0b"), &["/hostname"]);
}

fn unknown_personality(t: &Test) {
    refuse(t, "/linux/personality", json!({ "domain": "LINUX99" }), &["/linux/personality"]);
}

fn unknown_scheduler(t: &Test) {
    refuse(t, "/process/scheduler", json!({ "policy": "SCHED_NOPE" }), &["/process/scheduler"]);
}

fn unknown_io_priority(t: &Test) {
    let priority = json!({ "class": "IOPRIO_CLASS_NOPE", "priority": 4 });
    refuse(t, "/process/ioPriority", priority, &["/process/ioPriority"]);
}

fn unknown_seccomp_action(t: &Test) {
    refuse(t, "/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_NOPE" }), &["/linux/seccomp"]);
}

fn rdt_on_a_machine_without_it(t: &Test) {
    if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        t.skip("this machine has resctrl");
    }
    let rdt = json!({ "closID": "group", "l3CacheSchema": "L3:0=f" });
    refuse(t, "/linux/intelRdt", rdt, &["intelRdt"]);
}

fn unknown_net_device(t: &Test) {
    let devices = json!({ "nosuchdev0": { "name": "eth0" } });
    refuse(t, "/linux/netDevices", devices, &["netDevices"]);
}

fn apparmor_without_apparmor(t: &Test) {
    if std::path::Path::new("/sys/kernel/security/apparmor/profiles").exists() {
        t.skip("AppArmor is on");
    }
    refuse(t, "/process/apparmorProfile", json!("no-such-profile"), &["apparmorProfile"]);
}

fn selinux_without_selinux(t: &Test) {
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        t.skip("SELinux is on");
    }
    refuse(t, "/process/selinuxLabel", json!("system_u:object_r:no:s0"), &["selinuxLabel"]);
}

fn idmapped_mount_without_mappings(t: &Test) {
    let bundle = t.bundle().bind(&t.make_dir("volume"), "/tmp", &["idmap"]);
    t.refused(&bundle).one_clear_line(&["/mounts/7"]);
}

/// Runs the commands `mounts` in a private mount namespace, then the bundle.
fn said_after(t: &Test, bundle: &Bundle, mounts: &str) -> Out {
    let script = format!("{mounts}\nruntime run \"$ID\"");
    t.in_private_mounts(bundle, &t.make_dir("volume"), &script).out()
}

/// The error used to say that the container needs a pid namespace, and twice that a cgroup
/// could not be removed.
fn readonly_cgroups_are_the_whole_error(t: &Test) {
    t.cgroupfs_only();
    let readonly = "for dir in $(awk '$3 ~ /^cgroup/ { print $2 }' /proc/self/mounts); do
        mount -o remount,bind,ro $dir; done";
    said_after(t, &t.bundle().args(["true"]), readonly).one_clear_line(&["create the cgroup", "EROFS"]);
}

fn an_unknown_devpts_option_has_no_hint_on_gids(t: &Test) {
    let bundle = t.bundle().remount("/dev/pts", &["newinstance", "nonsense=1"]);
    let out = t.refused(&bundle);
    out.one_clear_line(&["/mounts/2 (/dev/pts)", "nonsense"]);
    assert!(!out.stderr.contains("gid"), "{out:?}");
}

fn a_rootfs_that_is_noexec_is_named(t: &Test) {
    let noexec = "mount --bind rootfs rootfs; mount -o remount,bind,noexec rootfs";
    let out = said_after(t, &t.bundle().args(["true"]), noexec);
    out.one_clear_line(&["exec: \"true\"", "noexec"]);
}

/// The kernel returns only EINVAL.
fn a_chroot_is_named(t: &Test) {
    let script = "mkdir -p root/bundle root/dev root/proc root/sys root/tmp root/run
        for dir in dev proc sys tmp; do mount --rbind /$dir root/$dir; done
        mount --bind \"$BUNDLE\" root/bundle; cp \"$RUNTIME\" root/runtime
        chroot root /runtime --root /run/state run --bundle /bundle x";
    let out = t.in_private_mounts(&t.bundle().args(["true"]), &t.make_dir("volume"), script).out();
    out.one_clear_line(&["EINVAL", "the runtime is in a chroot"]);
}

/// A C library crashes if the filter refuses its calls.
fn a_crash_of_init_with_a_filter_names_the_filter(t: &Test) {
    let profile = json!({ "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["seccomp", "prctl"], "action": "SCMP_ACT_ALLOW" }] });
    let out =
        t.refused(&t.bundle().set("/linux/seccomp", profile).set("/process/noNewPrivileges", json!(false)));
    out.one_clear_line(&["/linux/seccomp", "seccomp profile"]);
    assert!(!out.stderr.contains("Signal("), "{out:?}");
}

/// For a plain user: /run, the default directory, and a directory of root.
fn a_state_directory_of_another_user_has_a_hint(t: &Test) {
    t.needs_root("to become another user");
    let (user, bundle) = (Test::USER.to_string(), t.bundle().user_namespace().args(["true"]));
    let denied = t.make_dir("denied");
    fs::set_permissions(&denied, fs::Permissions::from_mode(0o700)).unwrap();
    let call = |root: Option<&Path>, args: &[&str]| {
        let call = t.call("/usr/bin/setpriv").args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        let mut call = call.arg(&*t.runtime.borrow()).cwd("/");
        call.command.env_remove("XDG_RUNTIME_DIR");
        let call = match root {
            Some(root) => call.arg("--root").arg(root),
            None => call,
        };
        call.args(args).out()
    };
    let needles = ["EACCES", "hint: ", "--root", "XDG_RUNTIME_DIR"];
    let run = ["run", "--bundle", bundle.lay().to_str().unwrap(), "x"];
    call(Some(&denied.join("state")), &run).one_clear_line(&needles);
    for verb in
        [&["list"][..], &["state", "x"], &["delete", "x"], &["kill", "x", "0"], &["exec", "x", "true"]]
    {
        call(Some(&denied.join("state")), verb).one_clear_line(&needles);
    }
    call(None, &run).one_clear_line(&needles);
}

/// On version 2, a controller has files only in cgroups where it is enabled. A disabled
/// controller is not missing in the kernel.
fn a_disabled_controller_is_not_called_missing_in_the_kernel(t: &Test) {
    // Version 2 can't have controllers that version 1 uses on this host.
    let offered = "grep -qw memory /sys/fs/cgroup/cgroup.controllers && exit 77 || true;";
    let bundle =
        t.bundle().set("/linux/resources", json!({ "memory": { "limit": 64 << 20 } })).args(["true"]);
    let bundle = bundle.set("/linux/cgroupsPath", json!(format!("/{}", t.token)));
    let script = format!("{offered} runtime run --bundle \"$BUNDLE\" \"$ID\"");
    let out = t.on_v2(&bundle, &script).out();
    if out.code == 77 {
        t.skip("every controller can be enabled here");
    }
    out.one_clear_line(&[
        "/linux/resources/memory/limit",
        "memory.max",
        "the memory controller is not enabled",
        "cgroup.subtree_control",
    ]);
    assert!(!out.stderr.contains("kernel has no"), "{out:?}");
}

/// A user namespace can't mount a new /proc if parts of the old one are masked, as in an
/// outer container.
fn a_proc_that_is_masked_is_named(t: &Test) {
    let out = said_after(t, &t.bundle().user_namespace().args(["true"]), "mount -t tmpfs none /proc/sys/fs");
    out.one_clear_line(&["(/proc)", "EPERM", "its own /proc may be masked"]);
}

fn erange_is_explained_as_a_value_out_of_range(t: &Test) {
    let bundle = t.bundle().set("/linux/resources", json!({ "unified": { "cgroup.max.depth": "-1" } }));
    let bundle = bundle.set("/linux/cgroupsPath", json!(format!("/{}", t.token))).args(["true"]);
    let out = t.on_v2(&bundle, "runtime run --bundle \"$BUNDLE\" \"$ID\"").out();
    out.one_clear_line(&["/linux/resources/unified", "cgroup.max.depth", "ERANGE (value out of range)"]);
}

/// A verb that can't open the files that tell a container's status must not guess one: an
/// engine would delete a container that runs.
fn few_descriptors_do_not_change_the_status(t: &Test) {
    let limited = |limit: u32, verb: &str, id: &str| {
        let call = t.call("/bin/sh").args(["-c", "ulimit -n $0; exec \"$@\""]).arg(limit.to_string());
        let call = call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(t.globals());
        call.args([verb, id]).out()
    };
    // Tries more and more descriptors, until the verb works.
    let sweep = |verb: &str, id: &str, wrong: &str| {
        let works = (3..40).find(|limit| {
            let out = limited(*limit, verb, id);
            assert!(!out.stderr.contains(wrong) && !out.stdout.contains(wrong), "{verb}, {limit}: {out:?}");
            out.code == 0
        });
        assert!(works.is_some_and(|limit| limit > 4), "{verb} fails for want of descriptors, or for more");
    };
    let container = t.create(&t.bundle().pausing());
    sweep("state", &container.id, "\"stopped\"");
    sweep("start", &container.id, "stopped");
    container.verb("pause").ok();
    sweep("state", &container.id, "\"running\"");
    sweep("resume", &container.id, "not paused");
    assert_eq!(container.status(), "running");
}
