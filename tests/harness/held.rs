//! A `create` that a hook holds up, for as long as the hook lives.

use super::call::Running;
use super::sys::{PidFd, read_fifo};
use super::{Bundle, Test};
use serde_json::json;
use std::fs;

pub struct HeldCreate<'t> {
    pub id: String,
    /// The init that `create` has made.
    pub init: PidFd,
    runtime: Running<'t>,
}

impl<'t> HeldCreate<'t> {
    /// Waits until the hook runs, which tells init's pid.
    #[track_caller]
    pub fn new(t: &'t Test, bundle: Bundle) -> HeldCreate<'t> {
        let fifo = t.path("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        let script = "sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' > $0; exec sleep 1000";
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script, fifo] });
        let bundle = bundle.push("/hooks/createRuntime", hook);
        let id = t.id();
        t.will_delete(&id);
        let runtime = t.verb(["create", "--bundle"]).arg(bundle.lay()).arg(&id).spawn();
        let pid = read_fifo(&fifo);
        let init = PidFd::open(pid.trim().parse().expect("a pid"));
        HeldCreate { id, init, runtime }
    }

    /// Kills the runtime, which takes init along, and then the hook, which nobody has to end.
    #[track_caller]
    pub fn kill(self) {
        let others = children(self.runtime.pid()).into_iter().filter(|pid| *pid != self.init.pid);
        let others: Vec<_> = others.map(PidFd::open).collect();
        self.runtime.kill();
        assert_eq!(self.runtime.out().code, 128 + libc::SIGKILL);
        assert!(self.init.ended(), "init outlives the runtime that made it");
        others.iter().for_each(PidFd::kill);
    }
}

fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("tasks").flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}
