//! Annotations: corten copies them into the state, and acts on some of them.

use crate::harness::{Bundle, PidFd, Test, receive_pidfd};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

cases![
    annotations_are_in_the_state,
    hooks_print_into_files,
    a_stream_without_a_file_is_not_written_to_one,
    output_file_that_cannot_be_opened_is_refused,
    a_lost_output_file_does_not_stop_delete,
    pidfd_is_sent_to_its_receiver,
    a_missing_receiver_is_refused,
    relative_paths_are_refused,
    unsupported_annotations_are_a_warning,
];

fn annotated(bundle: Bundle, pairs: &[(&str, &Path)]) -> Bundle {
    let map = pairs.iter().map(|(key, path)| ((*key).to_owned(), json!(path)));
    bundle.set("/annotations", Value::Object(map.collect()))
}

fn annotations_are_in_the_state(t: &Test) {
    let annotations = json!({ "org.example/a": "1", "empty": "", "run.oci.handler": "x", "ключ": "знач\n" });
    let bundle = t.bundle().set("/annotations", annotations.clone()).pausing();
    let container = t.create(&bundle);
    assert_eq!(container.state()["annotations"], annotations);
    container.start();
    container.stop();
    assert_eq!(container.state()["annotations"], annotations);
}

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook of each kind that prints its name on stdout and stderr.
fn talkative(t: &Test) -> Bundle {
    KINDS.iter().fold(t.bundle().args(["/probe", "--exit", "0"]), |bundle, kind| {
        let script = format!("echo {kind}; echo ERROR {kind} >&2");
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] });
        bundle.push(&format!("/hooks/{kind}"), hook)
    })
}

fn hooks_print_into_files(t: &Test) {
    let (stdout, stderr) = (t.make_file("out.log", "before\n"), t.path("err.log"));
    let files = [("run.oci.hooks.stdout", &*stdout), ("run.oci.hooks.stderr", &*stderr)];
    let bundle = annotated(talkative(t), &files);
    let container = t.start(&bundle);
    container.wait();
    container.verb("delete").ok();
    let said = fs::read_to_string(&stdout).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), [&["before"][..], &KINDS].concat());
    let errors = fs::read_to_string(&stderr).unwrap();
    assert_eq!(errors.lines().collect::<Vec<_>>(), KINDS.map(|kind| format!("ERROR {kind}")));
}

fn a_stream_without_a_file_is_not_written_to_one(t: &Test) {
    let stdout = t.path("out.log");
    let script = "echo to the file; echo to the error >&2; exit 1";
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": [] });
    let bundle = t.bundle().push("/hooks/createRuntime", hook);
    let out = t.refused(&annotated(bundle, &[("run.oci.hooks.stdout", &stdout)]));
    out.one_clear_line(&["/hooks/createRuntime/0", "to the error"]);
    assert!(!out.stderr.contains("to the file"), "{out:?}");
    assert_eq!(fs::read_to_string(&stdout).unwrap(), "to the file\n");
}

fn output_file_that_cannot_be_opened_is_refused(t: &Test) {
    let bundle = annotated(talkative(t), &[("run.oci.hooks.stderr", Path::new("/nonexistent/err.log"))]);
    t.refused(&bundle).one_clear_line(&["/annotations/run.oci.hooks.stderr", "/nonexistent/err.log"]);
}

fn a_lost_output_file_does_not_stop_delete(t: &Test) {
    let logs = t.make_dir("logs");
    let bundle = annotated(talkative(t), &[("run.oci.hooks.stdout", &logs.join("out"))]);
    let container = t.start(&bundle);
    container.wait();
    fs::remove_dir_all(&logs).unwrap();
    container.verb("delete").ok().says(&["/annotations/run.oci.hooks.stdout"]);
    container.verb("state").out().fails(&["does not exist"]);
}

fn pidfd_is_sent_to_its_receiver(t: &Test) {
    let path = t.path("receiver");
    let listener = UnixListener::bind(&path).unwrap();
    let bundle = annotated(t.bundle().pausing(), &[("run.oci.pidfd_receiver", &path)]);
    let container = t.create(&bundle);
    let (message, pid) = receive_pidfd(&listener);
    assert_eq!((message.len(), pid), (1, container.init.pid));
    // `run` sends a pidfd, too.
    let id = t.id();
    t.will_delete(&id);
    let pid_file = t.path("pid");
    let call = t.verb(["run", "--detach", "--bundle"]).arg(bundle.lay());
    call.arg("--pid-file").arg(&pid_file).arg(&id).ok();
    assert_eq!(receive_pidfd(&listener).1, PidFd::from_file(&pid_file).pid);
}

fn a_missing_receiver_is_refused(t: &Test) {
    let bundle = annotated(t.bundle(), &[("run.oci.pidfd_receiver", Path::new("/nonexistent/socket"))]);
    t.refused(&bundle).one_clear_line(&["/annotations/run.oci.pidfd_receiver", "/nonexistent/socket"]);
}

fn relative_paths_are_refused(t: &Test) {
    for key in ["run.oci.hooks.stdout", "run.oci.hooks.stderr", "run.oci.pidfd_receiver"] {
        let bundle = annotated(t.bundle(), &[(key, Path::new("relative"))]);
        t.refused(&bundle).one_clear_line(&[&format!("/annotations/{key}"), "absolute"]);
    }
}

fn unsupported_annotations_are_a_warning(t: &Test) {
    let bundle = t.bundle().set("/annotations", json!({ "run.oci.handler": "krun", "org.example": "x" }));
    let out = t.run(&bundle.args(["true"]));
    assert_eq!(out.code, 0, "{out:?}");
    out.says(&["/annotations/run.oci.handler"]);
    assert!(!out.stderr.contains("org.example"), "{out:?}");
}
