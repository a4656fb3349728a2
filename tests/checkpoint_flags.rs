//! The flags of `checkpoint` and `restore`.

use crate::checkpoint::{Counter, counting, needs_criu};
use crate::harness::Test;

cases![pre_dumps_are_a_parent, file_locks_are_kept, tcp_connections_are_kept,];

fn pre_dumps_are_a_parent(t: &Test) {
    needs_criu(t);
    let (bundle, all) = (counting(t), t.make_dir("all"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    let out = counter.checkpoint(t, &all.join("1"), &["--pre-dump"]).out();
    if out.code != 0 && ["memory tracking", "missing features"].iter().any(|why| out.stderr.contains(why)) {
        t.skip("this kernel tracks no memory (CONFIG_MEM_SOFT_DIRTY)");
    }
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(counter.next(), "2");
    counter.checkpoint(t, &all.join("2"), &["--pre-dump", "--parent-path", "../1"]).ok();
    assert_eq!(counter.next(), "3");
    counter.checkpoint(t, &all.join("3"), &["--parent-path", "../2"]).ok();
    assert_eq!(counter.container.wait(), 137);
    let pages = |dir: &str| {
        let files = std::fs::read_dir(all.join(dir)).expect("images").flatten();
        let pages = files.filter(|file| file.file_name().to_string_lossy().starts_with("pages-"));
        pages.map(|file| file.metadata().expect("a size").len()).sum::<u64>()
    };
    assert!(pages("3") < pages("1"), "{} of {} bytes", pages("3"), pages("1"));
    let mut again = Counter::restore(t, &bundle, &all.join("3"), &[]);
    assert_eq!(again.next(), "4");
}

fn file_locks_are_kept(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (t.bundle().args(["/probe", "--count", "/lock"]), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    counter.checkpoint(t, &images, &[]).out().one_clear_line(&["file lock", "dump.log"]);
    assert_eq!(counter.container.status(), "running");
    counter.checkpoint(t, &images, &["--file-locks"]).ok();
    assert_eq!(counter.container.wait(), 137);
    let mut again = Counter::restore(t, &bundle, &images, &["--file-locks"]);
    assert_eq!(again.next(), "2");
    let out = again.container.exec([], ["/probe", "lock:/lock"]).out();
    assert_eq!(out.report()["asked"]["lock:/lock"], "held");
}

fn tcp_connections_are_kept(t: &Test) {
    needs_criu(t);
    let script = "sleep 1000 | nc -lp 7000 & until nc 127.0.0.1 7000 2>/dev/null; do :; done";
    let (bundle, images) = (t.bundle().shell(script), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "x");
    counter.checkpoint(t, &images, &[]).out().one_clear_line(&["dump.log"]);
    assert_eq!(counter.next(), "x");
    let out = counter.checkpoint(t, &images, &["--tcp-established"]).out();
    if out.stderr.contains("Can't get 1:16 opt") {
        t.skip("this criu knows no TCP of this kernel (4.2 and later do)");
    }
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(counter.container.wait(), 137);
    let mut again = Counter::restore(t, &bundle, &images, &["--tcp-established"]);
    assert_eq!(again.next(), "x");
}
