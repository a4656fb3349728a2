//! Many containers, and calls that are killed in the middle. The soak (`soak/`) runs them
//! by the thousand.

use crate::harness::{HeldCreate, Running, Test};

cases![
    many_runs_in_a_row,
    many_lives_in_a_row,
    many_at_once,
    one_id_many_creators,
    run_of_a_payload_that_fails_at_once,
    a_killed_create_leaves_no_init,
    start_and_delete_at_once,
    killed_run_leaves_a_container_to_delete,
    a_foreground_run_keeps_no_task_file_of_its_cgroups_open,
];

fn many_runs_in_a_row(t: &Test) {
    let bundle = t.bundle().args(["/bin/true"]);
    for n in 0..50 {
        let out = t.run(&bundle);
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "run {n}: {out:?}");
    }
}

fn many_lives_in_a_row(t: &Test) {
    let bundle = t.bundle().args(["/bin/true"]);
    for n in 0..20 {
        let container = t.start(&bundle);
        assert_eq!(container.wait(), 0, "life {n}");
        container.verb("delete").ok();
    }
}

fn many_at_once(t: &Test) {
    let bundles: Vec<_> = (0..8)
        .map(|n| t.bundle().args(["/probe", "--exit", ["0", "1", "2", "3", "4", "5", "6", "7"][n]]))
        .collect();
    for _ in 0..4 {
        let running: Vec<_> = bundles.iter().map(|bundle| t.run_call(bundle).spawn()).collect();
        for (n, call) in running.into_iter().enumerate() {
            assert_eq!(call.out().code, n as i32);
        }
    }
}

fn one_id_many_creators(t: &Test) {
    let id = t.id();
    t.will_delete(&id);
    let bundles: Vec<_> = (0..6).map(|_| t.bundle().pausing()).collect();
    let calls: Vec<_> = bundles
        .iter()
        .map(|bundle| t.verb(["create", "--bundle"]).arg(bundle.lay()).arg(&id).spawn())
        .collect();
    let outs: Vec<_> = calls.into_iter().map(Running::out).collect();
    let (won, lost): (Vec<_>, Vec<_>) = outs.iter().partition(|out| out.code == 0);
    assert_eq!(won.len(), 1, "{outs:?}");
    lost.iter().for_each(|out| out.fails(&["already exists"]));
    t.verb(["start", &id]).ok();
    assert!(t.verb(["state", &id]).ok().stdout.contains("running"));
}

fn run_of_a_payload_that_fails_at_once(t: &Test) {
    let bundle = t.bundle();
    bundle.script("/bad", "#!/no/such/interpreter\n");
    for _ in 0..20 {
        let out = t.run(&bundle.clone().args(["/bad"]));
        out.fails(&["/bad", "no such file or directory"]);
    }
}

fn a_killed_create_leaves_no_init(t: &Test) {
    let held = HeldCreate::new(t, t.bundle());
    let id = held.id.clone();
    held.kill();
    t.verb(["delete", "--force", &id]).ok();
    t.verb(["state", &id]).out().fails(&["does not exist"]);
}

fn start_and_delete_at_once(t: &Test) {
    let bundle = t.bundle().pausing();
    for _ in 0..10 {
        let container = t.create(&bundle);
        let (start, delete) =
            (container.verb("start").spawn(), t.verb(["delete", "--force", &container.id]).spawn());
        // Whichever is first, both end, and the container is deleted.
        start.out();
        assert_eq!(delete.out().code, 0);
        assert!(container.init.ended());
        container.verb("state").out().fails(&["does not exist"]);
    }
}

fn killed_run_leaves_a_container_to_delete(t: &Test) {
    let (reader, writer) = crate::harness::pipe();
    let bundle = t.bundle().shell("echo ready; sleep 1000");
    let id = t.id();
    t.will_delete(&id);
    let call = t.verb(["run", "--bundle"]).arg(bundle.lay()).arg(&id);
    let running = call.stdout(writer).spawn();
    assert_eq!(crate::harness::read_line(&reader), "ready");
    running.kill();
    assert_eq!(running.out().code, 137);
    t.verb(["delete", "--force", &id]).ok();
    t.verb(["state", &id]).out().fails(&["does not exist"]);
}

/// The kernel would keep the inodes of each cgroup that is removed while a file of it is open.
fn a_foreground_run_keeps_no_task_file_of_its_cgroups_open(t: &Test) {
    let (reader, writer) = crate::harness::pipe();
    let bundle = t.bundle().shell("echo ready; sleep 1000");
    let id = t.id();
    t.will_delete(&id);
    let running = t.verb(["run", "--bundle"]).arg(bundle.lay()).arg(&id).stdout(writer).spawn();
    assert_eq!(crate::harness::read_line(&reader), "ready");
    // These wait for the lock, which `run` gives up once it only waits for the payload.
    t.verb(["pause", &id]).ok();
    t.verb(["resume", &id]).ok();
    let fds = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).expect("descriptors").flatten();
    let files: Vec<_> = fds.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    assert!(!files.is_empty());
    let open: Vec<_> = files.iter().filter(|file| file.ends_with("tasks")).collect();
    assert!(open.is_empty(), "{open:?}");
    t.verb(["delete", "--force", &id]).ok();
    running.out();
}
