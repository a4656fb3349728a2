//! `--debug`: the steps of every verb, and how long each took, in the runtime and in its
//! children. A log in any state makes no verb fail.

use crate::checkpoint::needs_criu;
use crate::harness::{Bundle, Call, Container, Test, is_corten, pipe};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

cases![
    every_verb_logs_its_steps,
    checkpoint_and_restore_log_their_steps,
    a_verb_that_fails_logs_its_steps,
    init_and_hooks_are_on_the_same_clock,
    a_time_namespace_does_not_move_the_clock,
    without_debug_nothing_is_logged,
    secrets_are_not_logged,
    no_process_inherits_the_log,
    a_full_log_makes_no_verb_fail,
    a_limit_of_file_sizes_kills_no_process,
    a_log_without_a_reader_kills_no_process,
    a_closed_stderr_makes_no_verb_fail,
    a_stopped_reader_stops_no_verb,
    a_seccomp_filter_does_not_see_it,
];

const FORMATS: [&str; 2] = ["text", "json"];

/// A step: the process, the action, and two times in milliseconds: of the step, and since
/// the start.
#[derive(Debug)]
struct Step {
    who: String,
    what: String,
    took: f64,
    at: f64,
}

#[derive(Debug, Default)]
struct Told {
    steps: Vec<Step>,
    /// The verb's result, and its whole time in milliseconds.
    ends: Vec<(String, f64)>,
    /// Messages of other levels.
    others: Vec<(String, String)>,
}

impl Told {
    fn has(&self, who: &str, what: &str) -> bool {
        self.steps.iter().any(|step| step.who == who && step.what.contains(what))
    }
}

/// The level and the text of a line.
fn message(line: &str, format: &str) -> (String, String) {
    if format == "json" {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        assert_eq!(line.as_object().unwrap().len(), 3, "{line}");
        return (line["level"].as_str().unwrap().into(), line["msg"].as_str().unwrap().into());
    }
    let (time, rest) = line.split_once(" level=").unwrap_or_else(|| panic!("{line}"));
    assert!(time.starts_with("time=\""), "{line}");
    let (level, text) = rest.split_once(" msg=").unwrap_or_else(|| panic!("{line}"));
    (level.into(), serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {line}")))
}

fn duration(text: &str) -> f64 {
    assert_eq!(text.split_once('.').map(|(_, decimals)| decimals.len()), Some(3), "{text}");
    text.parse().unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn parse(text: &str, format: &str) -> Told {
    let mut told = Told::default();
    for line in text.lines() {
        let (level, message) = message(line, format);
        if level != "debug" {
            told.others.push((level, message));
        } else if let Some(rest) = message.strip_suffix(" ms since the start") {
            let (rest, at) = rest.rsplit_once(" ms, ").unwrap();
            let (rest, took) = rest.rsplit_once(": took ").unwrap();
            let (who, what) = rest.split_once(": ").unwrap();
            let (took, at) = (duration(took), duration(at));
            told.steps.push(Step { who: who.into(), what: what.into(), took, at });
        } else if let Some(rest) = message.strip_suffix(" ms in total") {
            let (outcome, all) = rest.rsplit_once(": ").unwrap();
            told.ends.push((outcome.into(), duration(all)));
        }
    }
    told
}

/// The lines of one call, whose order must be plausible.
fn told(text: &str, format: &str, verb: &str, outcome: &str) -> Told {
    let told = parse(text, format);
    assert_eq!(told.ends.len(), 1, "{text}");
    let (end, all) = &told.ends[0];
    assert_eq!(*end, format!("{verb}: {outcome}"), "{text}");
    assert!(told.steps.len() >= 2, "{text}");
    let mut last: Vec<(&str, f64)> = Vec::new();
    for step in &told.steps {
        assert!(step.who == verb || step.who.starts_with(&format!("{verb} (")), "{step:?}");
        assert!(step.at <= *all + 0.001 && step.took <= step.at + 0.001, "{step:?} of {all}");
        let before = last.iter_mut().find(|(who, _)| *who == step.who);
        match before {
            Some((_, before)) => {
                assert!(*before <= step.at, "{step:?} after {before}");
                *before = step.at;
            }
            None => last.push((&step.who, step.at)),
        }
    }
    told
}

/// Makes calls with `--debug` and a log file each.
struct Debug<'t> {
    t: &'t Test,
    format: &'static str,
}

impl<'t> Debug<'t> {
    fn new(t: &'t Test, format: &'static str) -> Debug<'t> {
        if !is_corten() {
            t.skip("others log other things");
        }
        Debug { t, format }
    }

    fn call(&self, log: &Path) -> Call<'t> {
        self.t.runtime().args(["--debug", "--log-format", self.format, "--log"]).arg(log)
    }

    /// The verb must succeed, and must have logged these steps.
    fn ok(&self, verb: &str, finish: impl FnOnce(Call<'t>) -> Call<'t>, steps: &[&str]) -> Told {
        let log = self.t.path("log");
        let out = finish(self.call(&log).arg(verb)).out();
        assert_eq!(out.code, 0, "{verb}: {out:?}");
        assert!(!out.stderr.contains("level=debug"), "the log is elsewhere: {out:?}");
        let told = told(&fs::read_to_string(&log).unwrap(), self.format, verb, "done");
        for step in steps {
            assert!(told.has(verb, step), "{verb}: {step:?} is not in {told:?}");
        }
        told
    }
}

fn every_verb_logs_its_steps(t: &Test) {
    for format in FORMATS {
        let debug = Debug::new(t, format);
        let (id, bundle) = (t.id(), t.bundle().pausing());
        t.will_delete(&id);
        debug.ok("spec", |call| call.arg("--bundle").arg(t.make_dir("spec")), &["wrote the configuration"]);
        debug.ok("features", |call| call, &["wrote to stdout"]);
        let made = debug.ok(
            "create",
            |call| call.arg("--bundle").arg(bundle.lay()).arg(&id),
            &[
                "read and checked the configuration",
                "claimed the state directory",
                "cgroups",
                "cloned init, pid",
                "init is ready",
                "wrote the state",
            ],
        );
        for step in
            ["entered the namespaces", "mounts", "/dev", "masked paths", "changed the root", "capabilities"]
        {
            assert!(made.has("create (init)", step), "{step:?} is not in {made:?}");
        }
        debug.ok("list", |call| call, &["read the state", "wrote to stdout"]);
        debug.ok("state", |call| call.arg(&id), &["read the state", "wrote to stdout"]);
        debug.ok(
            "start",
            |call| call.arg(&id),
            &["took the lock", "opened the start gate", "executed the payload"],
        );
        debug.ok(
            "ps",
            |call| call.args(["--format", "json", &id]),
            &["found 1 processes", "wrote to stdout"],
        );
        let added = debug.ok(
            "exec",
            |call| call.args([&id, "true"]),
            &["cloned the process, pid", "was executed", "has ended"],
        );
        for step in ["joined the cgroup", "entered the namespaces", "capabilities"] {
            assert!(added.has("exec (in the container)", step), "{step:?} is not in {added:?}");
        }
        if crate::harness::has_controller("pids") {
            debug.ok("update", |call| call.args(["--pids-limit", "50", &id]), &["wrote the limits"]);
            debug.ok(
                "events",
                |call| call.args(["--stats", &id]),
                &["read the statistics", "wrote to stdout"],
            );
        }
        if crate::harness::has_controller("freezer") {
            debug.ok("pause", |call| call.arg(&id), &["froze the cgroup"]);
            debug.ok("resume", |call| call.arg(&id), &["thawed the cgroup"]);
        }
        let list = json!([{ "destination": "/added", "type": "tmpfs", "source": "tmpfs" }]).to_string();
        let list = t.make_file("mounts", &list);
        let added =
            debug.ok("mounts", |call| call.args(["add", &id]).arg(&list), &["waited for the process"]);
        assert!(added.has("mounts (in the container)", "changed the mounts"), "{added:?}");
        debug.ok("kill", |call| call.args([&id, "KILL"]), &["sent signal 9 to init"]);
        let log = t.path("log");
        assert_eq!(debug.call(&log).args(["wait", &id]).out().code, 137);
        assert!(
            told(&fs::read_to_string(&log).unwrap(), format, "wait", "done").has("wait", "init has ended")
        );
        debug.ok("delete", |call| call.arg(&id), &["removed the cgroups", "removed the state directory"]);
        let short = t.bundle().args(["true"]);
        debug.ok(
            "run",
            |call| call.arg("--bundle").arg(short.lay()).arg(t.id()),
            &["executed the payload", "the payload has ended", "removed the state directory"],
        );
    }
}

fn checkpoint_and_restore_log_their_steps(t: &Test) {
    needs_criu(t);
    for format in FORMATS {
        let debug = Debug::new(t, format);
        let (bundle, images) = (t.bundle().args(["sleep", "1000"]), t.make_dir("images"));
        let container = Container::create(t, &bundle, |call| call);
        container.start();
        let images = images.display().to_string();
        debug.ok(
            "checkpoint",
            |call| call.args(["--image-path", &images, &container.id]),
            &["criu wrote the images", "removed the cgroups"],
        );
        let id = t.id();
        t.will_delete(&id);
        debug.ok(
            "restore",
            |call| call.args(["--detach", "--image-path", &images, "--bundle"]).arg(bundle.lay()).arg(&id),
            &["claimed the state directory", "started criu", "criu restored the processes"],
        );
        t.verb(["delete", "--force", &id]).ok();
    }
}

fn a_verb_that_fails_logs_its_steps(t: &Test) {
    for format in FORMATS {
        let debug = Debug::new(t, format);
        let (log, bundle) = (t.path("log"), t.bundle().args(["/nowhere"]));
        let out = debug.call(&log).args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).out();
        out.one_clear_line(&["/nowhere"]);
        let text = fs::read_to_string(&log).unwrap();
        let told = told(&text, format, "run", "failed");
        assert!(told.has("run (init)", "changed the root"), "{text}");
        // containerd's shim takes the last line of this level.
        assert_eq!(told.others.len(), 1, "{text}");
        assert!(told.others[0].0 == "error" && told.others[0].1.contains("/nowhere"), "{text}");
    }
}

/// A hook that runs a script of the shell.
fn hook(bundle: Bundle, kind: &str, script: &str) -> Bundle {
    bundle.push(
        &format!("/hooks/{kind}"),
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] }),
    )
}

fn init_and_hooks_are_on_the_same_clock(t: &Test) {
    let bundle =
        hook(hook(t.bundle().args(["true"]), "createRuntime", "sleep 0.3"), "createContainer", "sleep 0.3");
    let bundle = hook(bundle, "poststop", "true");
    let debug = Debug::new(t, "json");
    let steps = debug
        .ok(
            "run",
            |call| call.arg("--bundle").arg(bundle.lay()).arg(t.id()),
            &["/hooks/poststop/0 (/bin/sh)"],
        )
        .steps;
    let find = |who: &str, what: &str| {
        steps
            .iter()
            .find(|step| step.who == who && step.what.contains(what))
            .unwrap_or_else(|| panic!("{what}: {steps:#?}"))
    };
    let of_host = find("run", "/hooks/createRuntime/0");
    let of_init = find("run (init)", "/hooks/createContainer/0");
    // sleep(1) never ends early.
    assert!(of_host.took >= 300.0 && of_init.took >= 300.0, "{of_host:?} {of_init:?}");
    assert!(of_init.at >= of_host.at + 300.0, "{of_host:?} {of_init:?}");
    assert!(find("run", "init is ready").at >= of_init.at, "{steps:#?}");
}

fn a_time_namespace_does_not_move_the_clock(t: &Test) {
    t.needs_root("a time namespace with offsets");
    for offset in [1_000_000, -1] {
        let bundle = t.bundle().namespace("time").pausing();
        let bundle = bundle.set("/linux/timeOffsets", json!({ "monotonic": { "secs": offset } }));
        let (debug, id) = (Debug::new(t, "json"), t.id());
        t.will_delete(&id);
        // `told` checks that no step took longer than the whole verb.
        let made =
            debug.ok("create", |call| call.arg("--bundle").arg(bundle.lay()).arg(&id), &["init is ready"]);
        let init: Vec<_> = made.steps.iter().filter(|step| step.who == "create (init)").collect();
        let claimed = made.steps.iter().find(|step| step.what.starts_with("claimed")).unwrap();
        assert!(init[0].at > claimed.at && init.len() > 5, "{init:?}");
        let ready = made.steps.iter().find(|step| step.what == "init is ready").unwrap();
        // On one clock, init's last step is between two steps of the runtime. The test
        // allows a millisecond, because CLOCK_REALTIME may be adjusted.
        let last = init.last().unwrap().at;
        assert!(last <= ready.at + 1.0, "{last} {ready:?}");
        debug.ok("start", |call| call.arg(&id), &[]);
        let added = debug.ok("exec", |call| call.args([&id, "true"]), &[]);
        let inside: Vec<_> = added.steps.iter().filter(|step| step.who != "exec").collect();
        let executed = added.steps.iter().find(|step| step.what.contains("was executed")).unwrap();
        assert!(inside.last().unwrap().at <= executed.at + 1.0, "{inside:?}");
        t.verb(["delete", "--force", &id]).ok();
    }
}

fn without_debug_nothing_is_logged(t: &Test) {
    let (log, id) = (t.make_file("log", ""), t.id());
    let bundle = hook(t.bundle().pausing(), "createContainer", "true");
    t.will_delete(&id);
    let run = |args: &[&str]| {
        let out = t.runtime().arg("--log").arg(&log).args(["--log-format", "json"]).args(args).out();
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{args:?}");
    };
    run(&["create", "--bundle", bundle.lay().to_str().unwrap(), &id]);
    for args in
        [&["start", &id][..], &["state", &id], &["exec", &id, "true"], &["list"], &["delete", "--force", &id]]
    {
        run(args);
    }
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
}

fn secrets_are_not_logged(t: &Test) {
    let secret = "hush5up";
    let bundle = t.bundle().shell("exec /probe --pause # hush5up").push("/process/env", json!("KEY=hush5up"));
    let bundle = bundle.set("/annotations", json!({ "key": secret })).push(
        "/hooks/createRuntime",
        json!({ "path": "/bin/true", "args": ["true", secret], "env": [format!("KEY={secret}")] }),
    );
    let (debug, id, log) = (Debug::new(t, "text"), t.id(), t.path("log"));
    t.will_delete(&id);
    let call = |args: &[&str]| assert_eq!(debug.call(&log).args(args).out().code, 0, "{args:?}");
    call(&["run", "--detach", "--bundle", bundle.lay().to_str().unwrap(), &id]);
    call(&["exec", "--env", "OTHER=hush5up", &id, "sh", "-c", "true # hush5up"]);
    call(&["delete", "--force", &id]);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("createRuntime/0") && text.contains("run (init)"), "{text}");
    assert!(!text.contains(secret), "{text}");
}

/// Returns the descriptors of the process `pid` that lead to `file`.
fn open_in(pid: i32, file: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").map(|entry| entry.unwrap().path());
    entries.filter(|fd| fs::read_link(fd).is_ok_and(|target| target == file)).collect()
}

fn no_process_inherits_the_log(t: &Test) {
    let (debug, log, id, dir) = (Debug::new(t, "text"), t.path("log"), t.id(), t.make_dir("seen"));
    t.will_delete(&id);
    let mut bundle = t.bundle().args(["/probe", "--report-pause"]).bind(&dir, dir.to_str().unwrap(), &[]);
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    for kind in kinds {
        let script =
            format!("for fd in /proc/self/fd/*; do readlink $fd || true; done > {}/{kind}", dir.display());
        bundle = hook(bundle, kind, &script);
    }
    let call = debug.call(&log).args(["create", "--bundle"]).arg(bundle.lay()).arg(&id);
    let stdout = call.stdout.clone();
    call.ok();
    let state = t.verb(["state", &id]).ok().stdout;
    let init = serde_json::from_str::<Value>(&state).unwrap()["pid"].as_i64().unwrap() as i32;
    // While it waits. A reader that reads the log to its end would wait for `start`.
    assert_eq!(open_in(init, &log), Vec::<PathBuf>::new());
    debug.call(&log).args(["start", &id]).ok();
    let added = debug.call(&log).args(["exec", &id, "/probe"]).out().report();
    let keys = |seen: &Value| seen["fds"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&added), ["0", "1", "2"], "{added}");
    debug.call(&log).args(["delete", "--force", &id]).ok();
    let seen: Value =
        serde_json::from_str(fs::read_to_string(&stdout).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(keys(&seen), ["0", "1", "2"], "{seen}");
    for kind in kinds {
        let seen = fs::read_to_string(dir.join(kind)).unwrap();
        assert!(seen.contains("pipe:"), "{kind}: {seen}");
        assert!(!seen.contains(log.to_str().unwrap()), "{kind}: {seen}");
    }
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("create (init)") && text.contains("exec (in the container)"), "{text}");
}

fn a_full_log_makes_no_verb_fail(t: &Test) {
    for format in FORMATS {
        let call = Debug::new(t, format).call(Path::new("/dev/full"));
        let bundle = t.bundle().args(["/probe", "--exit", "7"]);
        let out = call.args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).out();
        assert_eq!((out.code, out.stderr.as_str()), (7, ""));
    }
}

/// SIGXFSZ kills a process that writes beyond its limit. The limit may be the payload's.
fn a_limit_of_file_sizes_kills_no_process(t: &Test) {
    let debug = Debug::new(t, "json");
    let limit = json!([{ "type": "RLIMIT_FSIZE", "soft": 1, "hard": 1 }]);
    let bundle = t.bundle().set("/process/rlimits", limit).args(["/probe", "--exit", "7"]);
    let log = t.path("log");
    let out = debug.call(&log).args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).out();
    assert_eq!((out.code, out.stderr.as_str()), (7, ""));
    assert!(fs::read_to_string(&log).unwrap().contains("changed the root"));
    // The caller's own limit. The state can't be written either, so the verb only reads.
    let log = t.make_file("log", "0123456789");
    let script = "ulimit -f 0; exec \"$0\" \"$@\"";
    let call = t.call("/bin/sh").args(["-c", script]).arg(&*t.runtime.borrow());
    let call = call.arg("--root").arg(t.root()).args(["--debug", "--log"]).arg(&log);
    assert_eq!(call.args(["kill", "nobody", "0"]).out().code, 1);
    assert_eq!(fs::read_to_string(&log).unwrap(), "0123456789");
}

fn a_log_without_a_reader_kills_no_process(t: &Test) {
    let (reader, writer) = pipe();
    drop(reader);
    let mut call = t.runtime().args(["--debug", "run", "--bundle"]);
    call.command.stderr(writer);
    let bundle = hook(t.bundle().args(["/probe", "--exit", "7"]), "createContainer", "true");
    assert_eq!(call.arg(bundle.lay()).arg(t.id()).out().code, 7);
    // A socket like the journal's.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(ours);
    let mut call = t.runtime().args(["--debug", "run", "--bundle"]);
    call.command.stderr(OwnedFd::from(theirs));
    assert_eq!(call.arg(bundle.lay()).arg(t.id()).out().code, 7);
}

fn a_closed_stderr_makes_no_verb_fail(t: &Test) {
    let bundle = t.bundle().args(["/probe", "--exit", "7"]);
    let script = "exec \"$0\" --root \"$STATE\" --debug run --bundle \"$BUNDLE\" \"$ID\" 2>&-";
    let call = t.call("/bin/sh").args(["-c", script]).arg(&*t.runtime.borrow());
    let call = call.env("STATE", t.root()).env("BUNDLE", bundle.lay()).env("ID", t.id());
    assert_eq!(call.out().code, 7);
}

/// Its messages are lost then. runc 1.1.5 waits for the reader.
fn a_stopped_reader_stops_no_verb(t: &Test) {
    let (reader, writer) = pipe();
    fill(&writer);
    let mut call = t.runtime().args(["--debug", "run", "--bundle"]);
    call.command.stderr(writer);
    let bundle = hook(t.bundle().args(["/probe", "--exit", "7"]), "createContainer", "true");
    assert_eq!(call.arg(bundle.lay()).arg(t.id()).out().code, 7);
    // The pipe was full, and stayed full.
    let mut text = Vec::new();
    { reader }.read_to_end(&mut text).unwrap();
    assert!(text.iter().all(|byte| *byte == b'#'), "{}", String::from_utf8_lossy(&text));
}

/// Fills a pipe, so that a write would wait.
fn fill(pipe: impl AsFd) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(pipe.as_fd(), &[b'#'; 4096]).is_ok() {}
    fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::empty())).unwrap();
}

/// After a filter is loaded that kills a process for the calls of logging, nothing is
/// logged.
fn a_seccomp_filter_does_not_see_it(t: &Test) {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["poll", "ppoll", "pwritev2", "clock_gettime"], "action": "SCMP_ACT_KILL_PROCESS" }],
    });
    for no_new_privileges in [true, false] {
        let bundle = t.bundle().set("/linux/seccomp", profile.clone()).args(["true"]);
        let bundle = bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
        // The log is a file first, and then a pipe.
        let (debug, log) = (Debug::new(t, "text"), t.path("log"));
        debug.call(&log).args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).ok();
        let (reader, writer) = pipe();
        let mut call = t.runtime().args(["--debug", "run", "--bundle"]);
        call.command.stderr(writer);
        assert_eq!(call.arg(bundle.lay()).arg(t.id()).out().code, 0);
        let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        assert!(lines.iter().any(|line| line.contains("compiled the seccomp profile")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("run (init): took the payload's user")), "{lines:?}");
    }
}
