//! `linux.seccomp`: which system calls the payload may use.

pub mod agent;

use crate::before_start::created;
use crate::harness::{Bundle, PidFd, Test, cap_mask, is_corten, read_fifo};
use crate::profiles;
use crate::userns::Plain;
use agent::{Agent, Silent};
use serde_json::{Value, json};

cases![
    dockers_profile_runs_a_payload,
    podmans_profile_runs_a_payload,
    engines_profiles_hold_for_a_whole_life,
    actions_do_what_they_say,
    errno_is_returned_as_configured,
    a_killed_payload_returns_128_plus_sigsys,
    operators_compare_all_64_bits,
    arguments_of_one_entry_must_all_match,
    two_conditions_on_one_argument_are_alternatives,
    entries_of_one_call_are_alternatives,
    a_rule_for_any_arguments_wins,
    unknown_calls_get_enosys,
    unknown_calls_reach_the_kernel_by_default,
    only_listed_architectures_may_call,
    x32_does_not_bypass_the_filter,
    flags_reach_the_kernel,
    an_empty_profile_counts_as_no_profile,
    exec_is_filtered_too,
    capabilities_are_the_payloads_own,
    user_namespaces_have_filters_too,
    runtime_needs_little_of_its_own_profile,
    start_container_hooks_are_filtered,
    start_container_hooks_run_under_engines_profiles,
    agent_answers_for_init,
    agent_answers_for_exec,
    agent_goes_with_all_flags,
    agent_may_be_asked_about_every_call_but_write,
    agent_answers_an_ordinary_user,
    agent_answers_for_a_caller_that_may_not_trace,
    nothing_outlives_a_runtime_that_is_killed,
    the_end_of_the_process_that_is_cloned_first_is_noticed,
    the_end_of_an_init_with_an_agent_is_noticed,
    a_missing_agent_is_an_error,
    agent_by_annotation,
    a_silent_agent_blocks_no_verb_for_ever,
    unknown_names_are_skipped,
    unknown_names_are_refused_by_annotation,
    bad_profiles_are_refused,
    errno_on_an_action_without_errno_is_refused,
    metadata_without_a_path_is_refused,
    contradictions_are_refused,
    a_process_killed_before_its_execve_is_an_error,
];

/// A call that no program needs, that takes any arguments, and that works.
const TIMES: libc::c_long = libc::SYS_times;

/// A bundle with this profile.
fn with(t: &Test, profile: Value) -> Bundle {
    t.bundle().set("/linux/seccomp", profile)
}

/// A profile that allows everything except these entries.
fn but(calls: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls })
}

/// The probe's question for a call of `times`.
fn times(args: &[u64]) -> String {
    let args: String = args.iter().map(|arg| format!(",{arg}")).collect();
    format!("call:{TIMES}{args}")
}

/// The answers to these questions, in the same order.
fn ask(t: &Test, bundle: &Bundle, questions: &[String]) -> Vec<Value> {
    let args = std::iter::once("/probe").chain(questions.iter().map(String::as_str));
    let seen = t.run(&bundle.clone().args(args)).report();
    questions.iter().map(|question| seen["asked"][question].clone()).collect()
}

fn engines_verdicts(t: &Test, profile: &Value, denied: &str) {
    for nnp in [true, false] {
        let bundle = with(t, profile.clone()).set("/process/noNewPrivileges", json!(nnp));
        let questions = [
            format!("call:{}", libc::SYS_getpid),
            format!("call:{}", libc::SYS_reboot),
            format!("call:{},1234", libc::SYS_personality),
            format!("call:{},0", libc::SYS_personality),
            // AF_VSOCK, AF_UNIX
            format!("call:{},40,1,0", libc::SYS_socket),
            format!("call:{},1,1,0", libc::SYS_socket),
            "call:1000".into(),
        ];
        let seen = ask(t, &bundle, &questions);
        assert_eq!(seen[0], 1, "getpid");
        assert_eq!(seen[1], "EPERM", "reboot");
        assert_eq!(seen[2], denied, "personality(1234)");
        assert_eq!(seen[3], 0, "personality(0)");
        assert!(seen[5].is_number(), "socket(AF_UNIX): {}", seen[5]);
        assert_eq!(seen[6], "ENOSYS", "a call of the future");
    }
}

fn dockers_profile_runs_a_payload(t: &Test) {
    engines_verdicts(t, &profiles::docker(), "EPERM");
    let vsock = format!("call:{},40,1,0", libc::SYS_socket);
    // Docker needs this: programs that try clone3 first then use an older call.
    let clone3 = format!("call:{},0,0", libc::SYS_clone3);
    assert_eq!(ask(t, &with(t, profiles::docker()), &[vsock, clone3]), ["EPERM", "ENOSYS"]);
}

fn podmans_profile_runs_a_payload(t: &Test) {
    engines_verdicts(t, &profiles::podman(), "ENOSYS");
    // AF_NETLINK, NETLINK_AUDIT
    let audit = format!("call:{},16,3,9", libc::SYS_socket);
    assert_eq!(ask(t, &with(t, profiles::podman()), &[audit]), ["EINVAL"]);
}

fn engines_profiles_hold_for_a_whole_life(t: &Test) {
    for profile in [profiles::docker(), profiles::podman()] {
        for nnp in [true, false] {
            let bundle = with(t, profile.clone())
                .set("/process/noNewPrivileges", json!(nnp))
                .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
                .shell("echo up; exec sleep 600");
            let container = t.start(&bundle);
            assert_eq!(container.exec([], ["sh", "-c", "id -u; ls / >/dev/null"]).ok().stdout, "1000\n");
            let seen = container.look([]);
            assert_eq!(seen["status"]["Seccomp"], "2");
            assert_eq!(seen["status"]["NoNewPrivs"], if nnp { "1" } else { "0" });
            container.stop();
        }
    }
}

fn actions_do_what_they_say(t: &Test) {
    for (action, expected) in [
        ("SCMP_ACT_ERRNO", json!("EPERM")),
        ("SCMP_ACT_KILL", json!("signal 31")),
        ("SCMP_ACT_KILL_THREAD", json!("signal 31")),
        ("SCMP_ACT_KILL_PROCESS", json!("signal 31")),
        ("SCMP_ACT_TRAP", json!("signal 31")),
        // No process traces it.
        ("SCMP_ACT_TRACE", json!("ENOSYS")),
    ] {
        let bundle = with(t, but(json!([{ "names": ["times"], "action": action }])));
        let seen = ask(t, &bundle, &[format!("child:{}", times(&[])), "call:39".into()]);
        assert_eq!(seen[0], expected, "{action}");
        assert_eq!(seen[1], 1, "{action}: the probe itself lives on");
    }
    for action in ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"] {
        let entry = json!([{ "names": ["times"], "action": action }]);
        let bundle = with(t, but(entry));
        assert!(ask(t, &bundle, &[times(&[])])[0].is_number(), "{action}");
    }
}

fn errno_is_returned_as_configured(t: &Test) {
    for (errno, expected) in [(71, json!("EPROTO")), (0, json!(0)), (38, json!("ENOSYS"))] {
        let entry = json!([{ "names": ["times"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno }]);
        assert_eq!(ask(t, &with(t, but(entry)), &[times(&[])]), [expected]);
    }
    // The default action's answer. The profile allows all calls of the probe.
    let mut profile = profiles::docker();
    profile["defaultErrnoRet"] = json!(71);
    assert_eq!(ask(t, &with(t, profile), &["call:1,9".into(), "call:134".into()]), ["EBADF", "EPROTO"]);
}

fn a_killed_payload_returns_128_plus_sigsys(t: &Test) {
    let entry = json!([{ "names": ["times"], "action": "SCMP_ACT_KILL_PROCESS" }]);
    let out = t.run(&with(t, but(entry)).args(["/probe", &times(&[])]));
    assert_eq!(out.code, 128 + libc::SIGSYS, "{out:?}");
}

fn operators_compare_all_64_bits(t: &Test) {
    let high = 1u64 << 32;
    let value = 5 + high;
    let asked = [0, 4, 5, 6, 4 + high, 5 + high, 6 + high, 5 + 2 * high, u64::MAX];
    let mask = 0xf + (0xf << 32);
    type Holds = fn(u64, u64) -> bool;
    let operators: [(&str, Holds); 6] = [
        ("SCMP_CMP_NE", |a, b| a != b),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_GE", |a, b| a >= b),
        ("SCMP_CMP_GT", |a, b| a > b),
    ];
    let check = |index: usize, arg: Value, holds: &dyn Fn(u64) -> bool| {
        let mut arg = arg;
        arg["index"] = json!(index);
        let entry =
            json!([{ "names": ["times"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71, "args": [arg] }]);
        let questions: Vec<String> = asked
            .iter()
            .map(|value| {
                let mut args = [0; 6];
                args[index] = *value;
                times(&args)
            })
            .collect();
        let seen = ask(t, &with(t, but(entry)), &questions);
        for (value, answer) in asked.iter().zip(seen) {
            assert_eq!(answer == "EPROTO", holds(*value), "{value:#x} {arg} {answer}");
        }
    };
    for (at, (op, holds)) in operators.iter().enumerate() {
        check(1 + at % 5, json!({ "value": value, "op": op }), &|asked| holds(asked, value));
    }
    // Bits outside of the mask don't count, on either side.
    let masked = json!({ "value": mask, "valueTwo": value | 0xf0, "op": "SCMP_CMP_MASKED_EQ" });
    check(3, masked, &|asked| asked & mask == value);
    let none = json!({ "value": mask, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" });
    check(5, none, &|asked| asked & mask == 0);
}

/// An entry for `times` that makes it fail with EPROTO.
fn eproto(args: Value) -> Value {
    json!({ "names": ["times"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71, "args": args })
}

fn equals(index: u64, value: u64) -> Value {
    json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" })
}

/// Returns which of these calls (arguments 1 and 2) fail with EPROTO.
fn failing(t: &Test, entries: Value, pairs: &[[u64; 2]]) -> Vec<bool> {
    let questions: Vec<String> = pairs.iter().map(|[a, b]| times(&[0, *a, *b])).collect();
    ask(t, &with(t, but(entries)), &questions).iter().map(|answer| answer == "EPROTO").collect()
}

const PAIRS: [[u64; 2]; 4] = [[1, 2], [1, 0], [0, 2], [0, 0]];

fn arguments_of_one_entry_must_all_match(t: &Test) {
    let entries = json!([eproto(json!([equals(2, 2), equals(1, 1)]))]);
    assert_eq!(failing(t, entries, &PAIRS), [true, false, false, false]);
}

/// runc does this for old profiles: then all conditions of the entry are alternatives.
fn two_conditions_on_one_argument_are_alternatives(t: &Test) {
    let entries = json!([eproto(json!([equals(1, 1), equals(1, 7), equals(2, 2)]))]);
    assert_eq!(failing(t, entries, &PAIRS), [true, true, true, false]);
}

fn entries_of_one_call_are_alternatives(t: &Test) {
    let entries = json!([eproto(json!([equals(1, 1)])), eproto(json!([equals(2, 2)]))]);
    assert_eq!(failing(t, entries, &PAIRS), [true, true, true, false]);
}

fn a_rule_for_any_arguments_wins(t: &Test) {
    let log = json!({ "names": ["times"], "action": "SCMP_ACT_LOG" });
    for entries in [json!([log, eproto(json!([equals(1, 1)]))]), json!([eproto(json!([equals(1, 1)])), log])]
    {
        assert_eq!(failing(t, entries, &PAIRS), [false; 4]);
    }
    // But an entry with the default action doesn't count.
    let allow = json!({ "names": ["times"], "action": "SCMP_ACT_ALLOW" });
    let entries = json!([allow, eproto(json!([equals(1, 1)]))]);
    assert_eq!(failing(t, entries, &PAIRS), [true, true, false, false]);
}

/// Docker's profile, which knows at least the calls up to `futex_requeue`.
fn unknown_calls_get_enosys(t: &Test) {
    for default in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let mut profile = profiles::docker();
        profile["defaultAction"] = json!(default);
        profile.as_object_mut().unwrap().remove("defaultErrnoRet");
        // The probe asks for its keyring.
        profile["syscalls"][0]["names"].as_array_mut().unwrap().push(json!("keyctl"));
        let seen = ask(t, &with(t, profile), &["call:1000".into(), "child:call:134".into()]);
        assert_eq!(seen[0], "ENOSYS", "{default}");
        assert_ne!(seen[1], "ENOSYS", "{default}: a call that the profile could know");
    }
}

fn unknown_calls_reach_the_kernel_by_default(t: &Test) {
    for default in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"] {
        let mut profile = but(json!([{ "names": ["reboot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71 }]));
        profile["defaultAction"] = json!(default);
        // A call that exists, with a number above the highest of the profile.
        let calls = [format!("call:{}", libc::SYS_getcpu), "call:1000".into()];
        assert_eq!(ask(t, &with(t, profile), &calls), [json!(0), json!("ENOSYS")], "{default}");
    }
}

fn only_listed_architectures_may_call(t: &Test) {
    if cfg!(not(target_arch = "x86_64")) {
        t.skip("calls of 32-bit programs are made on x86_64 only");
    }
    // getpid
    let question = ["child:call32:20".to_owned()];
    // The kernel kills it, or (in user-mode Linux) takes it for the 64-bit call of that
    // number.
    if !ask(t, &t.bundle(), &question)[0].is_number() {
        t.skip("this kernel has no 32-bit calls");
    }
    let mut profile = but(json!([eproto(json!([]))]));
    profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    // On that architecture, times is 43.
    let questions = ["call32:20".to_owned(), "call32:43".to_owned(), times(&[])];
    assert_eq!(ask(t, &with(t, profile.clone()), &questions), [json!(1), json!("EPROTO"), json!("EPROTO")]);
    for archs in [json!(["SCMP_ARCH_X86_64"]), json!([]), json!(["SCMP_ARCH_AARCH64"])] {
        profile["architectures"] = archs.clone();
        assert_eq!(ask(t, &with(t, profile.clone()), &question), ["signal 31"], "{archs}");
    }
}

fn x32_does_not_bypass_the_filter(t: &Test) {
    if cfg!(not(target_arch = "x86_64")) {
        t.skip("x32 is of x86_64");
    }
    let question = [format!("child:call:{}", (1 << 30) + TIMES)];
    let mut profile = but(json!([eproto(json!([]))]));
    assert_eq!(ask(t, &with(t, profile.clone()), &question), ["signal 31"]);
    profile["architectures"] = json!(["SCMP_ARCH_X32"]);
    assert_eq!(ask(t, &with(t, profile), &question), ["EPROTO"]);
}

/// Returns the flags of every seccomp(2) call of a run, from strace.
fn flags_of(t: &Test, bundle: &Bundle) -> Vec<String> {
    let (trace, id) = (t.path("trace"), t.id());
    let call = t.call("/usr/bin/strace").args(["-f", "-e", "trace=seccomp", "-e", "signal=none", "-o"]);
    let call = call.arg(&trace).arg(&*t.runtime.borrow()).arg("--root").arg(t.root());
    call.args(["run", "--bundle"]).arg(bundle.lay()).arg(&id).ok();
    let text = std::fs::read_to_string(trace).expect("a trace");
    let calls = text.lines().filter(|line| line.contains("SECCOMP_SET_MODE_FILTER") && line.ends_with("= 0"));
    calls.map(|line| line.split(", ").nth(1).unwrap_or_default().to_owned()).collect()
}

fn flags_reach_the_kernel(t: &Test) {
    for (flags, expected) in [
        (json!(["SECCOMP_FILTER_FLAG_LOG"]), "SECCOMP_FILTER_FLAG_LOG"),
        (json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]), "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        (json!(["SECCOMP_FILTER_FLAG_TSYNC"]), "SECCOMP_FILTER_FLAG_TSYNC"),
        (
            json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"]),
            "SECCOMP_FILTER_FLAG_LOG|SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        ),
        // Without flags, as in runc and crun.
        (Value::Null, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        (json!([]), "0"),
    ] {
        let mut profile = but(json!([eproto(json!([]))]));
        profile["flags"] = flags.clone();
        assert_eq!(flags_of(t, &with(t, profile).args(["true"])), [expected], "{flags}");
    }
}

fn an_empty_profile_counts_as_no_profile(t: &Test) {
    for profile in [json!({}), Value::Null, json!({ "defaultAction": "", "syscalls": [] })] {
        assert_eq!(t.look(&with(t, profile), [])["status"]["Seccomp"], "0");
    }
}

fn exec_is_filtered_too(t: &Test) {
    for nnp in [true, false] {
        let bundle =
            with(t, but(json!([eproto(json!([]))]))).set("/process/noNewPrivileges", json!(nnp)).pausing();
        let container = t.start(&bundle);
        let seen = container.exec([], ["/probe", &times(&[])]).out().report();
        assert_eq!(seen["asked"][times(&[])], "EPROTO");
        assert_eq!(seen["status"]["NoNewPrivs"], if nnp { "1" } else { "0" });
        // The opposite of the container's profile.
        let process = json!({
            "args": ["/probe", times(&[])], "cwd": "/", "noNewPrivileges": !nnp,
            "user": { "uid": 1000, "gid": 1000 },
        });
        let file = t.make_file("process.json", &process.to_string());
        let seen = t.verb(["exec", "--process", file.to_str().unwrap(), &container.id]).out().report();
        assert_eq!(seen["asked"][times(&[])], "EPROTO");
        assert_eq!(seen["status"]["Seccomp_filters"], "1");
        assert_eq!(seen["status"]["CapPrm"], cap_mask(&[]));
        // The container does not have the bundle's current configuration.
        bundle.clone().drop("/linux/seccomp").lay();
        let seen = container.exec([], ["/probe", &times(&[])]).out().report();
        assert_eq!(seen["asked"][times(&[])], "EPROTO");
    }
}

/// Without no_new_privs, a filter needs CAP_SYS_ADMIN, and the payload doesn't get it.
fn capabilities_are_the_payloads_own(t: &Test) {
    let caps = ["CAP_KILL", "CAP_NET_BIND_SERVICE"];
    for uid in [0, 1000] {
        let bundle = with(t, profiles::docker())
            .capabilities(&caps)
            .set("/process/noNewPrivileges", json!(false))
            .set("/process/user", json!({ "uid": uid, "gid": uid }));
        let (bound, own) = (cap_mask(&caps), if uid == 0 { cap_mask(&caps) } else { cap_mask(&[]) });
        let check = |seen: &Value| {
            assert_eq!(seen["status"]["CapBnd"], bound);
            for set in ["CapEff", "CapPrm"] {
                assert_eq!(seen["status"][set], own, "{set} of {uid}");
            }
        };
        check(&t.look(&bundle, []));
        let container = t.create(&bundle.clone().pausing());
        // While init waits at the start gate, it has no more privileges than the payload.
        let status = std::fs::read_to_string(format!("/proc/{}/status", container.init.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("CapPrm:")).unwrap();
        assert!(line.ends_with(&cap_mask(&caps)), "{line}");
        container.start();
        check(&container.look([]));
    }
}

/// The runtime is root of the container's namespace only, or an ordinary user.
fn user_namespaces_have_filters_too(t: &Test) {
    let question = times(&[]);
    for nnp in [true, false] {
        let bundle = with(t, but(json!([eproto(json!([]))]))).set("/process/noNewPrivileges", json!(nnp));
        let mapped = bundle.clone().user_namespace();
        assert_eq!(ask(t, &mapped, std::slice::from_ref(&question)), ["EPROTO"], "no_new_privs {nnp}");
        let seen = t.as_user(&bundle, [&question]).report();
        assert_eq!(seen["asked"][&question], "EPROTO", "an ordinary user, no_new_privs {nnp}");
    }
}

/// The calls that a static program without threads needs to start and end.
const PAYLOADS_OWN: [&str; 14] = [
    "arch_prctl",
    "brk",
    "exit_group",
    "getrandom",
    "getuid",
    "mprotect",
    "prctl",
    "prlimit64",
    "readlink",
    "readlinkat",
    "rseq",
    "set_robust_list",
    "set_tid_address",
    "execve",
];

fn runtime_needs_little_of_its_own_profile(t: &Test) {
    let profile = |more: &[&str]| {
        let names: Vec<&str> = PAYLOADS_OWN.iter().chain(more).copied().collect();
        json!({
            "defaultAction": "SCMP_ACT_KILL_PROCESS",
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
        })
    };
    // With no_new_privs: no further call.
    let bundle = with(t, profile(&[])).args(["true"]);
    let out = t.run(&bundle);
    assert_eq!(out.code, 0, "{out:?}");
    let container = t.start(&bundle);
    assert_eq!(container.wait(), 0);
    // Without no_new_privs: calls to drop a capability, to send a message, and to wait for
    // `start`.
    let few = ["capset", "write", "read", "rt_sigprocmask"];
    let bundle = with(t, profile(&few)).set("/process/noNewPrivileges", json!(false)).args(["true"]);
    let out = t.run(&bundle);
    assert_eq!(out.code, 0, "{out:?}");
    let container = t.start(&bundle);
    assert_eq!(container.wait(), 0);
    // If the profile forbids even these, the error names the missing calls.
    let bundle = with(t, profile(&[])).set("/process/noNewPrivileges", json!(false)).args(["true"]);
    t.refused(&bundle).one_clear_line(&["/linux/seccomp", "capset"]);
}

/// Hooks are programs of the image, so the filter applies to them, too.
fn start_container_hooks_are_filtered(t: &Test) {
    let refused = [
        json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71 }]),
        json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }]),
    ];
    for (nnp, calls) in
        [true, false].into_iter().flat_map(|nnp| refused.iter().map(move |calls| (nnp, calls)))
    {
        let script = "mkdir /made; echo $? > /status; grep Seccomp /proc/self/status > /mode";
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        let bundle = with(t, but(calls.clone())).set("/hooks", json!({ "startContainer": hook }));
        let bundle = bundle.set("/process/noNewPrivileges", json!(nnp));
        let seen = ask(t, &bundle, &["stat:/made".into(), "text:/mode".into(), "text:/status".into()]);
        assert_eq!(seen[0], "ENOENT", "no_new_privs {nnp}: the hook could: {seen:?}");
        assert!(seen[1].as_str().unwrap().contains("Seccomp:\t2"), "the hook ran: {seen:?}");
        let status = if calls[0]["action"] == "SCMP_ACT_KILL_PROCESS" { "159" } else { "1" };
        assert_eq!(seen[2].as_str().unwrap().trim(), status, "the hook tried: {seen:?}");
    }
}

/// The same if the filter applies to init before it runs the hooks. These profiles refuse
/// clone3.
fn start_container_hooks_run_under_engines_profiles(t: &Test) {
    for profile in [profiles::docker(), profiles::podman()] {
        for nnp in [true, false] {
            let hook = json!([{ "path": "/bin/touch", "args": ["touch", "/made"], "timeout": 30 }]);
            let bundle = with(t, profile.clone()).set("/hooks", json!({ "startContainer": hook }));
            let bundle = bundle.set("/process/noNewPrivileges", json!(nnp));
            assert_eq!(ask(t, &bundle, &["stat:/made".into()])[0]["type"], "f", "no_new_privs {nnp}");
        }
    }
}

/// A profile that asks `agent` about these calls.
fn asking(agent: &Agent, names: Value) -> Value {
    let mut profile = but(json!([{ "names": names, "action": "SCMP_ACT_NOTIFY" }]));
    profile["listenerPath"] = json!(agent.path);
    profile["listenerMetadata"] = json!("opaque: ünïcode");
    profile
}

fn agent_goes_with_all_flags(t: &Test) {
    for flag in ["WAIT_KILLABLE_RECV", "TSYNC", "LOG"] {
        let agent = Agent::listen(t, TIMES, 4242);
        let mut profile = asking(&agent, json!(["times"]));
        profile["flags"] = json!([format!("SECCOMP_FILTER_FLAG_{flag}")]);
        assert_eq!(ask(t, &with(t, profile), &[times(&[])]), [4242], "{flag}");
    }
}

fn agent_answers_for_init(t: &Test) {
    for nnp in [true, false] {
        let agent = Agent::listen(t, TIMES, 4242);
        let bundle = with(t, asking(&agent, json!(["times"])))
            .set("/process/noNewPrivileges", json!(nnp))
            .set("/annotations", json!({ "a": "b" }))
            .args(["/probe", &times(&[])]);
        let container = t.create(&bundle);
        let said = agent.state();
        assert_eq!(said["ociVersion"], said["state"]["ociVersion"]);
        assert_eq!(said["fds"], json!(["seccompFd"]));
        assert_eq!(said["pid"], container.init.pid);
        assert_eq!(said["metadata"], "opaque: ünïcode");
        let state = &said["state"];
        assert_eq!(state["id"], json!(container.id));
        assert_eq!(state["status"], "creating");
        assert_eq!(state["pid"], container.init.pid);
        assert_eq!(state["bundle"], json!(bundle.dir));
        assert_eq!(state["annotations"]["a"], "b");
        container.start();
        assert_eq!(container.wait(), 0);
        assert_eq!(container.report()["asked"][times(&[])], 4242);
        // The payload has no listener among its own descriptors.
        let open = container.report()["fds"].as_object().unwrap().len();
        assert_eq!(open, 3, "{}", container.report()["fds"]);
        assert!(agent.is_idle(), "one listener, one connection");
    }
}

fn agent_answers_for_exec(t: &Test) {
    for nnp in [true, false] {
        let agent = Agent::listen(t, TIMES, 4242);
        let bundle = with(t, asking(&agent, json!(["times"]))).set("/process/noNewPrivileges", json!(nnp));
        let container = t.start(&bundle.pausing());
        assert_eq!(agent.state()["state"]["status"], "creating");
        let pid_file = t.path("pid");
        let flags = ["--pid-file", pid_file.to_str().unwrap()];
        let seen = container.exec(flags, ["/probe", &times(&[])]).out().report();
        assert_eq!(seen["asked"][times(&[])], 4242);
        let said = agent.state();
        assert_eq!(said["state"]["status"], "running");
        assert_eq!(said["state"]["pid"], container.init.pid);
        assert_eq!(said["pid"].to_string(), std::fs::read_to_string(&pid_file).unwrap());
        assert!(agent.is_idle());
    }
}

/// The calls of a runtime before the payload, and one call that the agent answers.
const ALL_BUT_WRITE: [&str; 11] = [
    "sendmsg", "sendto", "recvmsg", "recvfrom", "read", "close", "capset", "execve", "openat", "fcntl",
    "times",
];

/// Also the calls by which a runtime would hand over the listener.
fn agent_may_be_asked_about_every_call_but_write(t: &Test) {
    for nnp in [true, false] {
        let agent = Agent::listen(t, TIMES, 7);
        let bundle =
            with(t, asking(&agent, json!(ALL_BUT_WRITE))).set("/process/noNewPrivileges", json!(nnp));
        assert_eq!(ask(t, &bundle, &[times(&[])]), [7]);
        agent.state();
    }
    let agent = Agent::listen(t, TIMES, 7);
    let bundle = with(t, asking(&agent, json!(["times", "write"])));
    t.refused(&bundle).one_clear_line(&["/linux/seccomp/syscalls/0/names/1", "write"]);
    assert!(agent.is_idle());
}

/// Init waits for the agent when its runtime is killed, and does not notice the end of the
/// runtime.
fn a_silent_agent_blocks_no_verb_for_ever(t: &Test) {
    for flag in [None, Some("--cgroup-manager=disabled")] {
        if let Some(flag) = flag.filter(|_| is_corten()) {
            t.global(flag);
        }
        let agent = Silent::listen(t);
        agent.holds_nobody_for_ever(t, t.bundle().drop("/linux/resources"));
    }
}

/// The caller may not look into the process of the container, nor take a descriptor from
/// it.
fn agent_answers_an_ordinary_user(t: &Test) {
    let plain = Plain::new(t);
    for nnp in [true, false] {
        let agent = Agent::listen(t, TIMES, 4242);
        let bundle = plain.bundle().set("/linux/seccomp", asking(&agent, json!(ALL_BUT_WRITE)));
        let bundle = bundle.set("/process/noNewPrivileges", json!(nnp)).pausing();
        let (id, init) = created(&plain, &bundle);
        let said = agent.state();
        assert_eq!(said["state"]["status"], "creating");
        assert_eq!(said["pid"], init, "not the process that was cloned first");
        plain.call(["start", &id]).ok();
        let seen = plain.call(["exec", &id, "/probe", &times(&[])]).ok().report();
        assert_eq!(seen["asked"][times(&[])], 4242, "no_new_privs {nnp}");
        assert_eq!((&seen["pid"], seen["fds"].as_object().unwrap().len()), (&json!(2), 3));
        assert_eq!(agent.state()["state"]["pid"], init);
        assert!(agent.is_idle());
        plain.call(["delete", "--force", &id]).ok();
    }
}

/// The same for a runtime that is root, but may trace no process.
fn agent_answers_for_a_caller_that_may_not_trace(t: &Test) {
    t.needs_root("drops a capability of root");
    let agent = Agent::listen(t, TIMES, 4242);
    let bundle = with(t, asking(&agent, json!(ALL_BUT_WRITE))).args(["/probe", &times(&[])]);
    let call =
        t.call("/usr/bin/setpriv").args(["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"]);
    let call = call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root());
    let out = call.args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).out();
    assert_eq!(out.report()["asked"][times(&[])], 4242);
    assert_eq!(out.report()["pid"], 1);
}

/// The process that would fetch the listener ends with the runtime, as init does.
fn nothing_outlives_a_runtime_that_is_killed(t: &Test) {
    let plain = Plain::new(t);
    let agent = Agent::listen(t, TIMES, 4242);
    let fifo = t.path("hook");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("mkfifo");
    std::fs::set_permissions(&fifo, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("chmod");
    let script = format!("echo > {0}; read forever < {0}", fifo.display());
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    let bundle = plain.bundle().set("/linux/seccomp", asking(&agent, json!(["times", "read"])));
    let (bundle, id) = (bundle.set("/hooks", json!({ "createRuntime": hook })), t.id());
    let create = plain.call(["create", "--bundle", bundle.lay().to_str().unwrap(), &id]).spawn();
    read_fifo(&fifo);
    let path = format!("/proc/{0}/task/{0}/children", create.pid());
    let children = std::fs::read_to_string(path).expect("the runtime's children");
    let is_runtimes = |pid: &i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        !command.starts_with(b"sh")
    };
    let pids = children.split_whitespace().map(|pid| pid.parse().expect("a pid")).filter(is_runtimes);
    let children: Vec<_> = pids.map(PidFd::open).collect();
    assert!(!is_corten() || children.len() == 2, "init, and the one that was cloned first");
    create.kill();
    assert_eq!(create.out().code, 137);
    assert!(children.iter().all(PidFd::ended), "something outlives the runtime");
    std::fs::write(&fifo, "end\n").expect("end the hook");
    plain.call(["delete", "--force", &id]).ok();
}

/// strace kills the process that is cloned first at its first message. Its sibling has the
/// pipe between them open, too, so the pipe does not tell of its death.
fn the_end_of_the_process_that_is_cloned_first_is_noticed(t: &Test) {
    t.needs_root("traces the runtime");
    let agent = Agent::listen(t, TIMES, 4242);
    let bundle = with(t, asking(&agent, json!(["times", "read"])));
    let killing = ["-f", "-o", "/dev/null", "-e", "trace=sendmsg", "-e", "inject=sendmsg:signal=KILL"];
    let call = t.call("/usr/bin/strace").args(killing).arg("/usr/bin/setpriv");
    let call = call.args(["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"]);
    let call = call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root());
    let out = call.args(["create", "--bundle"]).arg(bundle.lay()).arg(t.id()).out();
    out.one_clear_line(&["init was killed"]);
}

/// A process that shares init's descriptors also has init's end of the handshake open.
fn the_end_of_an_init_with_an_agent_is_noticed(t: &Test) {
    let plain = Plain::new(t);
    let create = |profile: Value, hook: Value| {
        let bundle = plain.bundle().set("/linux/seccomp", profile).set("/hooks", hook);
        plain.call(["create", "--bundle", bundle.lay().to_str().unwrap(), &t.id()]).out()
    };
    let agents = [(); 2].map(|()| Agent::listen(t, TIMES, 4242));
    let script = r#"kill -9 $(sed 's/.*"pid": *\([0-9]*\).*/\1/')"#;
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    let profile = asking(&agents[0], json!(["times"]));
    create(profile, json!({ "createRuntime": hook })).one_clear_line(&["init was killed"]);
    let mut profile = asking(&agents[1], json!(["times"]));
    let kill = json!({ "names": ["write"], "action": "SCMP_ACT_KILL_PROCESS" });
    profile["syscalls"].as_array_mut().unwrap().push(kill);
    create(profile, json!({})).one_clear_line(&["/linux/seccomp", "killed init"]);
}

fn a_missing_agent_is_an_error(t: &Test) {
    let mut profile = but(json!([{ "names": ["times"], "action": "SCMP_ACT_NOTIFY" }]));
    let bundle = |profile: &Value| with(t, profile.clone()).args(["true"]);
    t.refused(&bundle(&profile)).one_clear_line(&["/linux/seccomp/syscalls/0/action", "listenerPath"]);
    profile["listenerPath"] = json!("/nonexistent/agent");
    t.refused(&bundle(&profile)).one_clear_line(&["/linux/seccomp/listenerPath", "/nonexistent/agent"]);
    // Without a call to ask about, the runtime does not connect to the agent.
    profile["syscalls"][0]["action"] = json!("SCMP_ACT_ERRNO");
    assert_eq!(t.run(&bundle(&profile)).code, 0);
}

/// crun's annotation.
fn agent_by_annotation(t: &Test) {
    let agent = Agent::listen(t, TIMES, 11);
    let bundle = with(t, but(json!([{ "names": ["times"], "action": "SCMP_ACT_NOTIFY" }])))
        .set("/annotations", json!({ "run.oci.seccomp.receiver": agent.path }));
    assert_eq!(ask(t, &bundle, &[times(&[])]), [11]);
    assert_eq!(agent.state()["metadata"], Value::Null);
    let bundle = bundle.set("/annotations", json!({ "run.oci.seccomp.receiver": "agent" }));
    t.refused(&bundle).one_clear_line(&["/annotations/run.oci.seccomp.receiver", "absolute"]);
}

fn with_an_unknown_name(t: &Test) -> Bundle {
    with(t, but(json!([{ "names": ["no_such_call", "times"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71 }])))
}

fn unknown_names_are_skipped(t: &Test) {
    assert_eq!(ask(t, &with_an_unknown_name(t), &[times(&[])]), ["EPROTO"]);
}

/// crun's annotation.
fn unknown_names_are_refused_by_annotation(t: &Test) {
    let name = "run.oci.seccomp_fail_unknown_syscall";
    let bundle = with_an_unknown_name(t).set("/annotations", json!({ name: "1" }));
    t.refused(&bundle).one_clear_line(&["/linux/seccomp/syscalls/0/names/0", "no_such_call"]);
    let bundle = with_an_unknown_name(t).set("/annotations", json!({ name: "0" }));
    assert_eq!(t.run(&bundle.args(["true"])).code, 0);
}

/// `create` must fail, and the error must name the place.
fn refuse(t: &Test, profile: Value, at: &str) {
    t.refused(&with(t, profile)).one_clear_line(&[&format!("/linux/seccomp/{at}")]);
}

fn bad_profiles_are_refused(t: &Test) {
    let entry = |entry: Value| json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry] });
    let arg = |index: Value, op: &str| {
        let args = json!([equals(0, 1), { "index": index, "value": 1, "op": op }]);
        entry(json!({ "names": ["times"], "action": "SCMP_ACT_ERRNO", "args": args }))
    };
    for (profile, at) in [
        (json!({ "defaultAction": "SCMP_ACT_NOPE" }), "defaultAction"),
        (json!({ "syscalls": [{ "names": ["times"], "action": "SCMP_ACT_KILL" }] }), "defaultAction"),
        (json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x" }), "defaultAction"),
        (entry(json!({ "names": ["times"], "action": "ERRNO" })), "syscalls/0/action"),
        (entry(json!({ "names": ["times"] })), "syscalls/0/action"),
        (entry(json!({ "names": [""], "action": "SCMP_ACT_KILL" })), "syscalls/0/names/0"),
        (arg(json!(6), "SCMP_CMP_EQ"), "syscalls/0/args/1/index"),
        (arg(json!(1), "SCMP_CMP_MOST"), "syscalls/0/args/1/op"),
        (arg(json!(1), ""), "syscalls/0/args/1/op"),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_Z80"] }),
            "architectures/1",
        ),
        (json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NOPE"] }), "flags/0"),
    ] {
        refuse(t, profile, at);
    }
}

/// The specification forbids this, and runc accepts it.
fn errno_on_an_action_without_errno_is_refused(t: &Test) {
    for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_KILL", "SCMP_ACT_TRAP", "SCMP_ACT_LOG"] {
        let entry = json!({ "names": ["times"], "action": action, "errnoRet": 1 });
        refuse(t, json!({ "defaultAction": "SCMP_ACT_LOG", "syscalls": [entry] }), "syscalls/0/errnoRet");
        refuse(t, json!({ "defaultAction": action, "defaultErrnoRet": 1 }), "defaultErrnoRet");
    }
    let entry = json!({ "names": ["times"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 });
    refuse(t, but(json!([entry])), "syscalls/0/errnoRet");
    refuse(t, but(json!([{ "names": [], "action": "SCMP_ACT_ERRNO" }])), "syscalls/0/names");
    let flag = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    refuse(t, json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": flag }), "flags/0");
}

fn metadata_without_a_path_is_refused(t: &Test) {
    refuse(t, json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }), "listenerMetadata");
}

fn contradictions_are_refused(t: &Test) {
    let entry = |action: &str| json!({ "names": ["times"], "action": action, "args": [equals(1, 1)] });
    let profile = but(json!([entry("SCMP_ACT_ERRNO"), entry("SCMP_ACT_LOG"), entry("SCMP_ACT_ERRNO")]));
    t.refused(&with(t, profile)).one_clear_line(&[
        "/linux/seccomp/syscalls/1",
        "/linux/seccomp/syscalls/0",
        "times",
    ]);
}

/// The kernel kills the process after corten has installed the filter, and before the payload
/// runs. That is no end of the payload.
fn a_process_killed_before_its_execve_is_an_error(t: &Test) {
    let needles = ["was killed by signal 31 (bad system call) before it executed the payload"];

    let execve = json!({ "names": ["execve", "execveat"], "action": "SCMP_ACT_KILL_PROCESS" });
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [execve] });
    let bundle = with(t, profile).pausing();
    let container = t.create(&bundle);
    container.verb("start").out().one_clear_line(&needles);
    assert_eq!(container.status(), "stopped");
    t.run(&bundle).one_clear_line(&needles);
}
