//! The harness itself: errors that it must report.

use crate::harness::{Failure, Test, differences, files, is_gap_of};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

cases![
    a_clean_up_that_hangs_is_a_failure,
    an_unreadable_state_root_is_not_empty,
    a_gap_is_not_confirmed_by_any_failure,
    a_gap_ends_with_the_version_that_closed_it,
    an_error_without_a_reason_is_not_enough,
    the_census_sees_each_change,
];

fn a_clean_up_that_hangs_is_a_failure(_: &Test) {
    let inner = Test::new();
    // The command never ends, so the test needs no long timeout.
    inner.call("/bin/sleep").arg("infinity").spawn().quietly_within(Duration::ZERO);
    inner.call("/bin/true").quietly();
    assert_eq!(inner.clean_up(), ["running: /bin/sleep infinity"]);
}

fn an_unreadable_state_root_is_not_empty(_: &Test) {
    let inner = Test::new();
    fs::write(inner.root(), "no directory").unwrap();
    let left = inner.clean_up();
    assert!(left.len() == 1 && left[0].starts_with("state "), "{left:?}");
    assert_eq!(Test::new().clean_up(), Vec::<String>::new(), "one that isn't there is");
}

fn a_gap_is_not_confirmed_by_any_failure(_: &Test) {
    let reason = "knows no such flag";
    assert!(Failure::Expectation.is_gap(reason));
    for other in [Failure::Hang, Failure::Leak, Failure::Harness] {
        assert!(!other.is_gap(reason), "{other:?}");
    }
    assert!(Failure::Hang.is_gap("hangs below a frozen cgroup"));
    assert!(Failure::Leak.is_gap("leaves its cgroup"));
}

fn a_gap_ends_with_the_version_that_closed_it(_: &Test) {
    let runc = |version: &str| format!("runc version {version}\ncommit: 1.9-0\nspec: 1.2.1\n");
    let is_gap = |version: &str| is_gap_of(&runc(version), "knows no such field before 1.2");
    assert!(is_gap("1.1.15+ds1") && is_gap("1.1"));
    assert!(!is_gap("1.2") && !is_gap("1.2.0-rc.1") && !is_gap("1.10.1") && !is_gap("2.0"));
    assert!(!is_gap_of("crun version 1.28\ncommit: 0\n", "refuses it before 1.9"));
    for lasting in ["runs at the end, before the payload", "an error since runc 1.2", "warns before 1.2 only"]
    {
        assert!(is_gap_of(&runc("1.3.6"), lasting), "{lasting}");
    }
    assert!(is_gap_of("", "knows no such field before 1.2"), "a runtime that doesn't run");
}

fn an_error_without_a_reason_is_not_enough(t: &Test) {
    let out = t.verb(["state", "nobody"]).out();
    let fails = |needles: &[&str]| std::panic::catch_unwind(|| out.fails(needles)).is_err();
    assert!(!fails(&["does not exist"]));
    assert!(fails(&[]) && fails(&[""]) && fails(&["hurrah"]));
    let out = t.verb(["--version"]).ok();
    assert!(std::panic::catch_unwind(|| out.fails(&["corten"])).is_err(), "it succeeded");
}

fn the_census_sees_each_change(t: &Test) {
    let dir = t.make_dir("host");
    let (kept, changed, replaced) = (dir.join("kept"), dir.join("changed"), dir.join("replaced"));
    for file in [&kept, &changed, &replaced] {
        fs::write(file, "").unwrap();
    }
    let take = || {
        let mut all = BTreeSet::new();
        files(&dir, &mut all);
        all
    };
    let before = take();
    assert_eq!(before.len(), 3);
    fs::write(dir.join("new"), "").unwrap();
    fs::set_permissions(&changed, fs::Permissions::from_mode(0o777)).unwrap();
    fs::rename(dir.join("new"), &replaced).unwrap();
    fs::write(dir.join("another"), "").unwrap();
    let seen = differences(&before, &take());
    let names: Vec<_> = seen.iter().filter_map(|line| line.rsplit('/').next()?.split(' ').next()).collect();
    assert_eq!(names, ["changed", "replaced", "another", "changed", "replaced"], "{seen:?}");
}
