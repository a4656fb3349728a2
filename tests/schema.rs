//! The runtime's output, checked by the specification's JSON schema.

use crate::harness::{Test, schema};
use serde_json::{Value, json};

cases![
    the_checker_finds_errors,
    features_fit_the_schema,
    features_have_every_part_of_the_schema,
    features_have_what_the_specification_adds,
    a_written_config_fits_the_schema,
    state_fits_the_schema,
    hooks_read_a_state_that_fits_the_schema,
];

/// The examples of the specification, good and bad.
fn the_checker_finds_errors(_: &Test) {
    for (kind, good, bad) in [
        (
            "config",
            &["linux-netdevice", "linux-rdma", "minimal", "minimal-for-start", "spec-example"][..],
            &["linux-netdevice", "linux-rdma", "linux-hugepage"][..],
        ),
        ("features", &["runc", "minimal"], &["missing-ociVersionMax"]),
        ("state", &["spec-example"], &[]),
    ] {
        let file = format!("{kind}-schema.json");
        for name in good {
            let example = schema::read(&format!("test/{kind}/good/{name}.json"));
            assert_eq!(schema::violations(&example, &file), [""; 0], "{kind}: {name}");
        }
        for name in bad {
            let example = schema::read(&format!("test/{kind}/bad/{name}.json"));
            assert_ne!(schema::violations(&example, &file), [""; 0], "{kind}: {name}");
        }
    }
}

fn features(t: &Test) -> Value {
    serde_json::from_str(&t.verb(["features"]).ok().stdout).expect("features are JSON")
}

fn features_fit_the_schema(t: &Test) {
    assert_eq!(schema::violations(&features(t), "features-schema.json"), [""; 0]);
}

/// Every part is present. A reader takes a missing part for "unknown".
fn features_have_every_part_of_the_schema(t: &Test) {
    let features = features(t);
    let mut places = schema::properties("features-schema.json");
    assert!(places.len() > 25, "{places:?}");
    places.retain(|place| features.pointer(place).is_none());
    assert_eq!(places, [""; 0]);
}

/// This part is in features-linux.md, and not in the schema.
fn features_have_what_the_specification_adds(t: &Test) {
    let features = features(t);
    for pointer in [
        "/linux/intelRdt/schemata",
        "/linux/intelRdt/monitoring",
        "/linux/memoryPolicy/modes",
        "/linux/memoryPolicy/flags",
    ] {
        assert!(features.pointer(pointer).is_some(), "{pointer} is not in {features}");
    }
}

fn a_written_config_fits_the_schema(t: &Test) {
    for flags in [&[][..], &["--rootless"]] {
        let dir = t.make_dir("bundle");
        t.verb(["spec", "--bundle"]).arg(&dir).args(flags).ok();
        let text = std::fs::read(dir.join("config.json")).expect("config.json");
        let config: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(schema::violations(&config, "config-schema.json"), [""; 0], "{flags:?}");
    }
}

fn state_fits_the_schema(t: &Test) {
    let bundle = t.bundle().set("/annotations", json!({ "org.example": "yes", "empty": "" }));
    let container = t.create(&bundle.pausing());
    let check = |status: &str| {
        let state = container.state();
        assert_eq!(state["status"], status);
        assert_eq!(schema::violations(&state, "state-schema.json"), [""; 0], "{status}");
    };
    check("created");
    container.start();
    check("running");
    container.stop();
    check("stopped");
}

fn hooks_read_a_state_that_fits_the_schema(t: &Test) {
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let dir = t.make_dir("states");
    let bundle = kinds.iter().fold(t.bundle(), |bundle, kind| {
        let script = format!("cat > {}/{kind}", dir.display());
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] });
        bundle.push(&format!("/hooks/{kind}"), hook)
    });
    let container = t.create(&bundle.args(["/probe", "--exit", "0"]));
    container.start();
    container.wait();
    container.verb("delete").ok();
    for kind in kinds {
        let text = std::fs::read(dir.join(kind)).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let state: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(schema::violations(&state, "state-schema.json"), [""; 0], "{kind}");
    }
}
