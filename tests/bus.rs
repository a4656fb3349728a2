//! The systemd driver with a simulated bus that misbehaves. Whatever the bus does, the
//! runtime ends with a clear error and leaves nothing. The module `systemd` tests a real
//! systemd.

use crate::harness::{Bundle, Bus, Fault, Out, Test, cgroup_dir, cgroup_file, cgroup_v2, is_corten};
use crate::seccomp::agent::Silent;
use serde_json::json;
use std::time::Duration;

cases![
    a_lifecycle_is_few_messages,
    the_unit_is_asked_for_in_one_call,
    a_slow_bus_is_waited_for,
    a_silent_bus_times_out,
    a_closed_connection_is_an_error,
    a_malformed_message_is_an_error,
    refused_authentication_is_an_error,
    a_missing_bus_is_an_error,
    a_systemd_outside_of_the_pid_namespace_is_refused,
    a_property_that_systemd_lacks_is_left_out,
    a_refused_annotation_is_an_error,
    a_unit_that_failed_is_reset_first,
    a_unit_of_another_container_is_left_alone,
    a_failed_job_is_an_error,
    update_tells_systemd,
    update_that_systemd_refuses_changes_nothing,
    delete_works_without_a_bus,
    inits_own_error_wins,
    inits_own_error_wins_while_init_ends,
    an_init_that_is_not_moved_kills_no_other_process,
    a_killed_create_leaves_no_init,
    a_killed_create_leaves_no_init_that_waits_for_an_agent,
    wrong_names_are_refused_before_anything_is_created,
];

/// A bundle whose unit is in the root slice, and the bus that creates the unit.
fn on(t: &Test, faults: &[Fault]) -> (Bundle, Bus) {
    if !is_corten() {
        t.skip("the bus of these tests answers what corten says, and others wait for it without end");
    }
    let bus = Bus::new(t.path("bus"), faults);
    t.global("--systemd-cgroup");
    t.var("DBUS_SYSTEM_BUS_ADDRESS", &bus.address());
    // An answer comes within 60 s even on a busy machine.
    t.var("SYSTEMD_BUS_TIMEOUT", "60s");
    let bundle = t.bundle().set("/linux/cgroupsPath", json!(format!("-.slice:t:{}", t.token)));
    (bundle.pausing(), bus)
}

fn fails(t: &Test, faults: &[Fault]) -> (Out, Bus) {
    let (bundle, bus) = on(t, faults);
    (t.refused(&bundle), bus)
}

fn a_lifecycle_is_few_messages(t: &Test) {
    let (bundle, bus) = on(t, &[]);
    let container = t.start(&bundle);
    assert_eq!(bus.members(), ["Hello", "AddMatch", "StartTransientUnit"]);
    container.exec([], ["true"]).ok();
    assert_eq!(container.status(), "running");
    assert_eq!(bus.members().len(), 3, "only the unit's begin and end need the bus");
    container.stop();
    container.verb("delete").ok();
    assert_eq!(bus.members()[3..], ["Hello", "AddMatch", "StopUnit"]);
}

fn the_unit_is_asked_for_in_one_call(t: &Test) {
    let (bundle, bus) = on(t, &[]);
    let bundle = bundle
        .set("/linux/resources/pids", json!({ "limit": 77 }))
        .set("/annotations/org.systemd.property.TimeoutStopSec", json!("uint64 5"))
        .set("/annotations/org.systemd.property.After", json!("['a.service', 'b.service']"));
    let container = t.create(&bundle);
    let asked = bus.start();
    assert_eq!(asked.args[0], format!("t-{}.scope", t.token));
    let is =
        |name: &str, wanted: serde_json::Value| assert_eq!(asked.property(name), Some(&wanted), "{name}");
    is("PIDs", json!([container.init.pid]));
    is("Slice", json!("-.slice"));
    is("Delegate", json!(true));
    is("DefaultDependencies", json!(false));
    is("TasksMax", json!(77));
    is("TimeoutStopUSec", json!(5_000_000));
    is("After", json!(["a.service", "b.service"]));
    is("DevicePolicy", json!("strict"));
    let names: Vec<_> = asked.args[2].as_array().unwrap().iter().map(|pair| pair[0].clone()).collect();
    let at = |name: &str| names.iter().position(|n| n == name);
    assert!(at("DeviceAllow") < at("DevicePolicy") && at("DeviceAllow").is_some(), "{names:?}");
    let rules = asked.property("DeviceAllow").unwrap().to_string();
    assert!(
        rules.contains(r#"["/dev/char/1:3","rwm"]"#) && rules.contains(r#"["char-136","rwm"]"#),
        "{rules}"
    );
}

fn a_slow_bus_is_waited_for(t: &Test) {
    let (bundle, _bus) = on(t, &[Fault::Late(Duration::from_millis(50))]);
    assert_eq!(t.run(&bundle.args(["echo", "here"])).stdout, "here\n");
}

fn a_silent_bus_times_out(t: &Test) {
    for (at, said) in [
        ("authentication", "StartTransientUnit within 2 s"),
        ("Hello", "StartTransientUnit within 2 s"),
        ("StartTransientUnit", "StartTransientUnit within 2 s"),
        ("JobRemoved", "StartTransientUnit (its job) within 2 s"),
    ] {
        let (bundle, _bus) = on(t, &[Fault::Silence { at }]);
        t.var("SYSTEMD_BUS_TIMEOUT", "2s");
        let out = t.refused(&bundle);
        out.one_clear_line(&["systemd did not answer", said, "SYSTEMD_BUS_TIMEOUT"]);
    }
}

fn a_closed_connection_is_an_error(t: &Test) {
    for at in ["authentication", "Hello", "StartTransientUnit", "JobRemoved"] {
        let (out, _bus) = fails(t, &[Fault::HangUp { at }]);
        out.one_clear_line(&["closed the connection", "StartTransientUnit"]);
    }
}

fn a_malformed_message_is_an_error(t: &Test) {
    fails(t, &[Fault::Noise { at: "authentication" }]).0.one_clear_line(&["the bus refused", "HTTP"]);
    fails(t, &[Fault::Noise { at: "Hello" }]).0.one_clear_line(&["not a D-Bus message"]);
}

fn refused_authentication_is_an_error(t: &Test) {
    let (out, _bus) = fails(t, &[Fault::Refusal { at: "authentication", name: "", text: "" }]);
    out.one_clear_line(&["refused the authentication", "REJECTED EXTERNAL"]);
}

fn a_missing_bus_is_an_error(t: &Test) {
    let (bundle, bus) = on(t, &[]);
    t.var("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus");
    if std::path::Path::new("/run/systemd/private").exists() {
        t.skip("systemd itself listens here");
    }
    t.refused(&bundle).one_clear_line(&["unix:path=/nowhere/bus", "connect to the bus", "ENOENT"]);
    t.var("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=localhost");
    t.refused(&bundle).one_clear_line(&["tcp:host=localhost", "not a D-Bus address"]);
    drop(bus);
}

/// A systemd of another pid namespace would move the process that has init's number there.
fn a_systemd_outside_of_the_pid_namespace_is_refused(t: &Test) {
    let (bundle, bus) = on(t, &[]);
    let out = t.in_private_pids(&bundle, "runtime create \"$ID\"").out();
    out.one_clear_line(&["systemd is outside of this pid namespace"]);
    assert!(!bus.members().contains(&"StartTransientUnit".to_owned()), "{:?}", bus.members());
}

fn a_property_that_systemd_lacks_is_left_out(t: &Test) {
    let lacks = Fault::Refusal {
        at: "StartTransientUnit",
        name: "org.freedesktop.DBus.Error.PropertyReadOnly",
        text: "Cannot set property CPUQuotaPeriodUSec, or unknown property.",
    };
    let range = Fault::Refusal {
        at: "StartTransientUnit",
        name: "org.freedesktop.DBus.Error.InvalidArgs",
        text: "Value specified in TasksMax is out of range",
    };
    let (bundle, bus) = on(t, &[lacks, range]);
    let cpu = json!({ "quota": 50_000, "period": 100_000 });
    let bundle = bundle.set("/linux/resources/cpu", cpu).set("/linux/resources/pids", json!({ "limit": 77 }));
    let container = t.create(&bundle);
    let asked = bus.start();
    assert_eq!(asked.property("CPUQuotaPeriodUSec"), None);
    assert_eq!(asked.property("TasksMax"), None);
    assert_eq!(asked.property("CPUQuotaPerSecUSec"), Some(&json!(500_000)));
    // The runtime writes the value into the kernel's files all the same.
    let dir = |controller: &str| cgroup_dir(container.init.pid, controller);
    if let Some(dir) = if cgroup_v2() { None } else { dir("pids") } {
        assert_eq!(std::fs::read_to_string(dir.join("pids.max")).unwrap(), "77\n");
    }
}

fn a_refused_annotation_is_an_error(t: &Test) {
    let lacks = Fault::Refusal {
        at: "StartTransientUnit",
        name: "org.freedesktop.DBus.Error.PropertyReadOnly",
        text: "Cannot set property Colour, or unknown property.",
    };
    let (bundle, bus) = on(t, &[lacks]);
    let bundle = bundle.set("/annotations/org.systemd.property.Colour", json!("'red'"));
    t.refused(&bundle).one_clear_line(&["Colour", "annotation"]);
    assert_eq!(bus.members().len(), 3, "and nothing had to be undone");
}

fn exists() -> Fault {
    Fault::Refusal {
        at: "StartTransientUnit",
        name: "org.freedesktop.systemd1.UnitExists",
        text: "Unit was already loaded or has a fragment file.",
    }
}

fn a_unit_that_failed_is_reset_first(t: &Test) {
    let (bundle, bus) = on(t, &[exists()]);
    let _container = t.create(&bundle);
    assert_eq!(bus.members()[2..], ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]);
}

fn a_unit_of_another_container_is_left_alone(t: &Test) {
    let (out, bus) = fails(t, &[exists(), exists()]);
    out.one_clear_line(&["already loaded", "a cgroupsPath of its own"]);
    assert!(!bus.members().contains(&"StopUnit".to_owned()), "{:?}", bus.members());
}

fn a_failed_job_is_an_error(t: &Test) {
    let (out, _bus) = fails(t, &[Fault::Result("failed")]);
    out.one_clear_line(&["could not start the unit", "failed"]);
}

/// The pids limit of the container: systemd's property, and the kernel's value.
fn update_tells_systemd(t: &Test) {
    let (bundle, bus) = on(t, &[]);
    let container = t.start(&bundle.set("/linux/resources/pids", json!({ "limit": 20 })));
    container.update(["--pids-limit", "30", "--cpu-period", "50000"]).ok();
    assert_eq!(bus.members()[3..], ["Hello", "SetUnitProperties", "GetUnit"]);
    let asked = bus.asked();
    let set = asked.iter().find(|asked| asked.member == "SetUnitProperties").expect("asked");
    assert_eq!((&set.args[0], &set.args[1]), (&json!(format!("t-{}.scope", t.token)), &json!(true)));
    assert_eq!(set.property("TasksMax"), Some(&json!(30)));
    assert_eq!(cgroup_file(container.init.pid, "pids", "pids.max").as_deref(), Some("30"));
    assert_eq!(set.property("MemoryMax").or(set.property("MemoryLimit")), None, "nobody asked for that");
    container.stop();
    container.verb("delete").ok();
}

fn update_that_systemd_refuses_changes_nothing(t: &Test) {
    let no = Fault::Refusal {
        at: "SetUnitProperties",
        name: "org.freedesktop.DBus.Error.InvalidArgs",
        text: "No such luck",
    };
    for (fault, said) in [
        (no, "systemd refused to change the unit: No such luck"),
        (Fault::Silence { at: "SetUnitProperties" }, "did not answer"),
        (Fault::HangUp { at: "SetUnitProperties" }, "closed the connection"),
    ] {
        let (bundle, bus) = on(t, &[fault]);
        let container = t.start(&bundle.set("/linux/resources/pids", json!({ "limit": 20 })));
        t.var("SYSTEMD_BUS_TIMEOUT", "2s");
        container.update(["--pids-limit", "30"]).out().one_clear_line(&[said]);
        assert_eq!(cgroup_file(container.init.pid, "pids", "pids.max").as_deref(), Some("20"));
        assert_eq!(container.status(), "running");
        t.verb(["delete", "--force", &container.id]).quietly();
        container.wait();
        container.verb("state").out().fails(&["does not exist"]);
        drop(bus);
    }
}

fn delete_works_without_a_bus(t: &Test) {
    let (bundle, bus) = on(t, &[]);
    let container = t.start(&bundle);
    t.var("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus");
    // Where root would then ask systemd itself, whose socket may be silent.
    t.var("SYSTEMD_BUS_TIMEOUT", "2s");
    t.verb(["delete", "--force", &container.id]).ok();
    assert!(!bus.members().contains(&"StopUnit".to_owned()));
}

/// The bus's answer about a process that has ended.
const INIT_IS_GONE: Fault = Fault::Refusal {
    at: "StartTransientUnit",
    name: "org.freedesktop.DBus.Error.UnixProcessIdUnknown",
    text: "Failed to set unit properties: No such process",
};

fn init_can_fail_before_it_is_moved(t: &Test) {
    if !cgroup_v2() {
        t.skip("on cgroup v1 init does nothing that could fail before it has been moved");
    }
}

/// systemd can't start the unit because init has ended. The error is the reason why init
/// ended.
fn inits_own_error_wins(t: &Test) {
    init_can_fail_before_it_is_moved(t);
    // On any machine, init has ended when the bus refuses.
    let (bundle, _bus) = on(t, &[Fault::TooLate, INIT_IS_GONE]);
    let bundle = bundle.without_mount("/sys/fs/cgroup").mount("/tmp", "cheesefs", "none", &[]);
    t.refused(&bundle).one_clear_line(&["cheesefs", "/mounts/"]);
}

/// As above, but the kernel has not finished the end of init, so init's pidfd does not show
/// it.
fn inits_own_error_wins_while_init_ends(t: &Test) {
    init_can_fail_before_it_is_moved(t);
    // strace must attach to init before init fails, so init has other mounts to attach
    // first.
    let held = (0..50).any(|_| {
        let (mut bundle, bus) = on(t, &[Fault::WhileItEnds, INIT_IS_GONE]);
        bundle = bundle.without_mount("/sys/fs/cgroup");
        for number in 0..100 {
            bundle = bundle.mount(&format!("/tmp/{number}"), "tmpfs", "tmpfs", &[]);
        }
        t.refused(&bundle.mount("/tmp", "cheesefs", "none", &[])).one_clear_line(&["cheesefs", "/mounts/"]);
        !bus.faults_left().iter().any(|fault| matches!(fault, Fault::WhileItEnds))
    });
    assert!(held, "init always ended before it could be traced");
}

/// An init that has ended stays in the caller's cgroup, whatever the bus says.
fn an_init_that_is_not_moved_kills_no_other_process(t: &Test) {
    init_can_fail_before_it_is_moved(t);
    let (bundle, _bus) = on(t, &[Fault::TooLate]);
    let bundle = bundle.without_mount("/sys/fs/cgroup").mount("/tmp", "cheesefs", "none", &[]);
    let script = format!(
        r#"
        callers=/sys/fs/cgroup/{}-callers
        mkdir $callers
        sleep 1000 > /dev/null 2>&1 &
        echo $! > $callers/cgroup.procs
        sh -c 'echo $$ > $0/cgroup.procs; exec "$RUNTIME" --root "$STATE" $FLAGS create "$1"' $callers "$ID" || echo $?
        kill -0 $! && echo lives
        kill -9 $!
        wait $! || rmdir $callers
    "#,
        t.token
    );
    let out = t.in_private_mounts(&bundle, &t.make_dir("volume"), &script).ok();
    assert_eq!(out.stdout, "1\nlives\n", "{out:?}");
    out.says(&["cheesefs", "/mounts/"]);
}

fn a_killed_create_leaves_no_init(t: &Test) {
    for at in ["StartTransientUnit", "JobRemoved"] {
        let (bundle, bus) = on(t, &[Fault::Silence { at }]);
        t.var("SYSTEMD_BUS_TIMEOUT", "60s");
        let id = t.id();
        t.will_delete(&id);
        let running = t.verb(["create", "--bundle"]).arg(bundle.lay()).arg(&id).spawn();
        let init = bus.init();
        running.kill();
        assert_eq!(running.out().code, 137);
        assert!(init.ended(), "{at}: init outlives the runtime that made it");
        t.verb(["delete", "--force", &id]).ok();
        t.verb(["state", &id]).out().fails(&["does not exist"]);
    }
}

/// The killed `create` has not published its state. The unpublished file names the unit.
fn a_killed_create_leaves_no_init_that_waits_for_an_agent(t: &Test) {
    let (bundle, bus) = on(t, &[]);
    Silent::listen(t).holds_nobody_for_ever(t, bundle);
    assert_eq!(bus.members().last().map(String::as_str), Some("StopUnit"));
}

fn wrong_names_are_refused_before_anything_is_created(t: &Test) {
    let (bundle, bus) = on(t, &[]);
    for (path, said) in [
        ("/a/b", "slice:prefix:name"),
        ("a:b:c", "invalid slice name"),
        ("a--b.slice:b:c", "invalid slice name"),
        ("a.slice:b:c.slice", "must not be a slice"),
        ("a.slice:b:c/d", "letters, digits"),
    ] {
        let out = t.refused(&bundle.clone().set("/linux/cgroupsPath", json!(path)));
        out.one_clear_line(&["/linux/cgroupsPath", said]);
    }
    let key = "/annotations/org.systemd.property.TimeoutStopUSec";
    let out = t.refused(&bundle.set(key, json!("forever")));
    out.one_clear_line(&[key, "GVariant"]);
    assert_eq!(bus.members(), Vec::<String>::new());
}
