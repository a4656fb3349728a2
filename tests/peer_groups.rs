//! A census of the mounts that reach a container from the host: none of them is
//! in a peer group of the host's, and none receives the host's later mounts,
//! unless the configuration asks for that propagation.
//!
//! Each census runs one shape of a container with every `rootfsPropagation` and
//! every propagation of its mounts. The host's mounts are all shared, as they
//! are where systemd runs. The payload reports its mounts, then mounts something
//! over every one of them; the host's own list must not have changed. With
//! CENSUS=FILE in the environment the figures of each census go to that file.

use crate::checkpoint::{needs_criu, works};
use crate::harness::{Bundle, Test, is_corten};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

cases![
    of_a_container,
    of_a_container_in_a_user_namespace,
    of_bound_dev_and_sys,
    of_bound_dev_and_sys_in_a_user_namespace,
    with_few_descriptors,
    with_few_descriptors_in_a_user_namespace,
    without_pivot,
    without_pivot_in_a_user_namespace,
    of_a_joined_user_namespace,
    of_a_joined_mount_namespace,
    of_added_mounts,
    of_added_mounts_in_a_user_namespace,
    of_a_restored_container,
    of_a_restored_container_in_a_user_namespace,
];

/// The values of `rootfsPropagation` and of a mount's option. An empty text means none.
const PROPAGATIONS: [&str; 9] =
    ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];

/// Prints the mounts, then mounts something over each of them, the deepest first.
const ATTACK: &str = "
    cat /proc/self/mountinfo
    echo then
    tried=0
    for at in $(while read a b c d at more; do echo $at; done </proc/self/mountinfo | busybox sort -r); do
        if [ -d $at ]; then mount -t tmpfs attack $at; else mount --bind /bin/busybox $at; fi
        [ $? = 0 ] && tried=$((tried + 1))
    done
    echo mounted $tried";

/// One configuration of a census, and the propagation that it requests.
struct Config {
    root: &'static str,
    own: &'static str,
    dir: PathBuf,
}

impl Config {
    /// Returns whether a mount at `place` may be in a peer group of the host, and whether
    /// it may receive mounts of the host. `volumes` are the destinations of the bind
    /// mounts.
    fn allows(&self, place: &str, volumes: &[&str]) -> (bool, bool) {
        let is_volume = volumes.iter().any(|volume| Path::new(place).starts_with(volume));
        // A mount without an option has the propagation of the root. As in runc, an unset
        // `rootfsPropagation` is `rslave`.
        let of_root = if self.root.is_empty() { "rslave" } else { self.root };
        // All other mounts are the runtime's own: devices, masks, the console.
        let asked = match (is_volume, self.own) {
            (true, "") => vec![of_root],
            // Mounts below the volume get the option's propagation only from its recursive
            // form.
            (true, own) => vec![own, of_root],
            (false, _) => vec![of_root],
        };
        let asks = |words: [&str; 2]| asked.iter().any(|asked| words.contains(asked));
        let is_from_the_image = is_volume || place == "/";
        let shared = is_volume && asks(["shared", "rshared"]);
        (shared, is_from_the_image && (asks(["shared", "rshared"]) || asks(["slave", "rslave"])))
    }

    fn asks_for_shared(&self) -> bool {
        [self.root, self.own].iter().any(|asked| asked.ends_with("shared"))
    }

    /// The kernel attaches no unbindable mount below a shared one.
    fn is_impossible(&self) -> bool {
        self.root.ends_with("shared") && self.own.ends_with("unbindable")
    }

    fn name(&self) -> String {
        format!("rootfsPropagation {:?}, mounts {:?}", self.root, self.own)
    }
}

/// A container of a census.
struct Shape<'a> {
    /// Creates the configuration whose mounts have this propagation.
    bundle: &'a dyn Fn(&[&str]) -> Bundle,
    /// The mounts in it, on a new tmpfs.
    volume: &'a Path,
    /// The destinations of its bind mounts, for [`Config::allows`].
    volumes: &'a [&'a str],
    /// The values that are tried.
    propagations: &'a [&'static str],
    /// Whether the configuration leaves out the volumes, so that `mounts add` adds them
    /// from mounts.json.
    added: bool,
    /// The shell commands that run it in the bundle $DIR.
    run: &'a str,
}

impl<'a> Shape<'a> {
    /// The container of `runtime run`, with [`VOLUMES`], in every propagation.
    fn plain(bundle: &'a dyn Fn(&[&str]) -> Bundle, volume: &'a Path) -> Shape<'a> {
        Shape { bundle, volume, volumes: &VOLUMES, propagations: &PROPAGATIONS, added: false, run: RUN }
    }
}

const RUN: &str = "runtime run --bundle \"$DIR\" \"$ID\"";

/// Every mount of the host is shared, and the volume has a mount below it.
const HOST: &str = "mount --make-rshared /; mount -t tmpfs v \"$VOLUME\"; chmod 755 \"$VOLUME\"; \
     mkdir \"$VOLUME/sub\" \"$VOLUME/deep\"; touch \"$VOLUME/file\"; mount -t tmpfs s \"$VOLUME/sub\"";

/// Runs the shape with every pair of propagations.
fn census(t: &Test, name: &str, shape: &Shape) {
    let place = t.make_dir("configs");
    let configs = lay(&place, shape);
    let first = (shape.bundle)(&[]);
    // Some runtimes leave a container behind if they could not run it.
    let delete = if is_corten() { "" } else { "trap 'runtime delete --force \"$ID\" 2>/dev/null' EXIT;" };
    let script = format!(
        "{delete} {HOST}; cat /proc/self/mountinfo >$DIR/before; ( {} ) >$DIR/out
         cat /proc/self/mountinfo >$DIR/after",
        shape.run
    );
    // Each container has a call of its own with its own time limit. If a payload has mounted
    // over the cgroups in the namespace of the call, the runtime can remove them only from here.
    // runc and crun forget them, and the next container with the id removes them.
    let id = t.id();
    t.will_delete(&id);
    for config in &configs {
        let call = t.in_private_mounts(&first, shape.volume, &script);
        let out = call.env("ATTACK", ATTACK).env("ID", &id).env("DIR", &config.dir).out();
        fs::write(config.dir.join("err"), format!("{}: {}", out.code, out.stderr)).expect("write");
        t.verb(["delete", "--force", &id]).quietly();
    }
    let mut found = Found::default();
    configs.iter().for_each(|config| found.judge(config, shape));
    record(&found.figures(name));
    assert!(found.configs > 0 && found.wrong.is_empty(), "{}\n{}", found.figures(name), found.wrong);
}

fn record(figures: &str) {
    let Some(path) = std::env::var_os("CENSUS") else { return };
    let mut file =
        fs::OpenOptions::new().create(true).append(true).open(path).expect("open the file $CENSUS");
    writeln!(file, "{figures}").expect("write the file $CENSUS");
}

/// A directory with a config.json for each pair of propagations. All share one rootfs.
fn lay(place: &Path, shape: &Shape) -> Vec<Config> {
    let pairs =
        shape.propagations.iter().flat_map(|root| shape.propagations.iter().map(move |own| (*root, *own)));
    let lay = |(number, (root, own)): (usize, (&'static str, &'static str))| {
        let option: &[&str] = if own.is_empty() { &[] } else { &[own] };
        let mut bundle = (shape.bundle)(option);
        if !root.is_empty() {
            bundle = bundle.set("/linux/rootfsPropagation", json!(root));
        }
        let rootfs = bundle.inside("/").to_str().expect("UTF-8").to_owned();
        bundle = bundle.set("/root/path", json!(rootfs));
        bundle.dir = place.join(format!("{number:03}"));
        fs::create_dir(&bundle.dir).expect("mkdir");
        if shape.added {
            let mounts = bundle.config["mounts"].as_array_mut().expect("mounts");
            let is_volume =
                |mount: &Value| mount["destination"].as_str().expect("a path").starts_with("/root/");
            let (added, kept): (Vec<Value>, Vec<Value>) = mounts.drain(..).partition(is_volume);
            *mounts = kept;
            fs::write(bundle.dir.join("mounts.json"), json!(added).to_string()).expect("write mounts.json");
        }
        bundle.lay();
        Config { root, own, dir: bundle.dir }
    };
    pairs.enumerate().map(lay).collect()
}

/// The result of a census.
#[derive(Default)]
struct Found {
    /// The configurations that ran, and those that the runtime refused.
    configs: usize,
    refused: usize,
    /// The mounts inside, and how many of them were mounted over.
    mounts: usize,
    attacked: usize,
    /// Mounts of each kind that the configuration does not allow.
    peers: usize,
    receivers: usize,
    /// Configurations in which mounts of the payload reached the host.
    reached: usize,
    wrong: String,
    /// The first error of a runtime that refused.
    refusal: String,
}

impl Found {
    fn judge(&mut self, config: &Config, shape: &Shape) {
        let read = |name: &str| fs::read_to_string(config.dir.join(name)).unwrap_or_default();
        let (out, before, after) = (read("out"), read("before"), read("after"));
        let Some((inside, attack)) = out.split_once("then\n") else {
            self.refused += 1;
            if self.refusal.is_empty() {
                self.refusal = format!("; refused: {:?}", read("err").lines().next().unwrap_or_default());
            }
            if is_corten() && !(shape.added && config.is_impossible()) {
                let _ = writeln!(self.wrong, "{}: did not run: {}", config.name(), read("err"));
            }
            return;
        };
        self.configs += 1;
        let attacked = attack.trim().strip_prefix("mounted ").and_then(|number| number.parse().ok());
        self.attacked += attacked.filter(|number: &usize| *number > 5).expect("the attack takes place");
        let groups: BTreeSet<&str> = before.lines().filter_map(|line| group(line, "shared:")).collect();
        assert!(groups.len() > 2, "the host's mounts are shared: {before}");
        for line in inside.lines() {
            self.mounts += 1;
            let place = line.split(' ').nth(4).expect("mountinfo");
            let is_hosts = |kind| group(line, kind).is_some_and(|group| groups.contains(group));
            let (may_share, may_receive) = config.allows(place, shape.volumes);
            let (shares, receives) = (is_hosts("shared:"), is_hosts("master:"));
            self.peers += usize::from(shares && !may_share);
            self.receivers += usize::from(receives && !may_receive);
            if (shares && !may_share) || (receives && !may_receive) {
                let _ = writeln!(self.wrong, "{}: {line}", config.name());
            }
        }
        // With the option `shared`, only mounts below the volume may reach the host.
        let volume = shape.volume.to_str().expect("UTF-8");
        let place = |line: &str| line.split(' ').nth(4).unwrap_or_default().to_owned();
        let known: BTreeSet<&str> = before.lines().collect();
        let new: Vec<&str> = after.lines().filter(|line| !known.contains(line)).collect();
        let bad = new.iter().filter(|line| {
            !config.asks_for_shared() || !(place(line).starts_with(volume) || shape.volumes.contains(&"/dev"))
        });
        let bad: Vec<_> = bad.collect();
        self.reached += usize::from(!bad.is_empty());
        if !bad.is_empty() {
            let _ = writeln!(self.wrong, "{}: mounted on the host: {bad:?}", config.name());
        }
    }

    fn figures(&self, name: &str) -> String {
        format!(
            "{name}: {} configurations ({} refused), {} mounts inside, {} mounted over; unasked: {} in a peer group of \
             the host's, {} that receive from it, {} configurations whose mounts reached the host{}",
            self.configs,
            self.refused,
            self.mounts,
            self.attacked,
            self.peers,
            self.receivers,
            self.reached,
            self.refusal
        )
    }
}

/// The value of a propagation field of a line of mountinfo.
fn group<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    line.split(" - ").next()?.split(' ').find_map(|field| field.strip_prefix(kind))
}

/// Volumes of all kinds. The payload may mount.
fn volumes(bundle: Bundle, volume: &Path, own: &[&str]) -> Bundle {
    let at = |name: &str| volume.join(name).to_str().expect("UTF-8").to_owned();
    let plain = [&["bind"], own].concat();
    bundle
        .capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_SYS_CHROOT"])
        .bind(volume, "/root/tree", own)
        .mount("/root/alone", "bind", &at("deep"), &plain)
        .mount("/root/file", "bind", &at("file"), &plain)
        .mount("/root/new", "tmpfs", "tmpfs", own)
}

const VOLUMES: [&str; 5] = ["/root/tree", "/root/alone", "/root/file", "/root/new", "/sys/fs/cgroup"];

/// The base of a census: a bundle that is created once, and cloned for every configuration.
fn base(t: &Test, user_namespace: bool) -> Bundle {
    let bundle = with_mount_points(t.bundle());
    if user_namespace { bundle.user_namespace() } else { bundle }
}

/// Root of a user namespace could not create these in this rootfs.
fn with_mount_points(bundle: Bundle) -> Bundle {
    for name in ["/root/tree", "/root/alone", "/root/new"] {
        fs::create_dir(bundle.inside(name)).expect("a mount point");
    }
    fs::write(bundle.inside("/root/file"), "").expect("a mount point");
    bundle
}

fn plain(t: &Test, name: &str, user_namespace: bool, run: &str) {
    let (bundle, volume) = (base(t, user_namespace), t.make_dir("volume"));
    let make = |own: &[&str]| {
        let cgroup = [&["nosuid", "noexec", "nodev", "ro"], own].concat();
        let bundle = bundle.clone().remount("/sys/fs/cgroup", &cgroup);
        let bundle = if user_namespace { bundle } else { bundle.remount("/dev/shm", own) };
        volumes(bundle, &volume, own).shell(ATTACK)
    };
    census(t, name, &Shape { run, ..Shape::plain(&make, &volume) });
}

fn of_a_container(t: &Test) {
    plain(t, "plain", false, RUN);
}

fn of_a_container_in_a_user_namespace(t: &Test) {
    plain(t, "plain, user namespace", true, RUN);
}

/// What `podman run --privileged -v /dev:/dev` gives.
fn hosts_dev(t: &Test, name: &str, user_namespace: bool) {
    let (bundle, volume) = (base(t, user_namespace), t.make_dir("volume"));
    let bundle = bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/keys", "/proc/scsi"]));
    let bundle = ["/dev/mqueue", "/dev/shm", "/dev/pts", "/dev", "/sys/fs/cgroup", "/sys"]
        .iter()
        .fold(bundle, |bundle, place| bundle.without_mount(place));
    let make = |own: &[&str]| {
        let bundle = bundle.clone().bind(Path::new("/dev"), "/dev", own).bind(Path::new("/sys"), "/sys", own);
        volumes(bundle, &volume, own).shell(ATTACK)
    };
    let all = [&VOLUMES[..], &["/dev", "/sys"]].concat();
    let shape = Shape { volumes: &all, ..Shape::plain(&make, &volume) };
    census(t, name, &shape);
}

fn of_bound_dev_and_sys(t: &Test) {
    hosts_dev(t, "bound /dev and /sys", false);
}

fn of_bound_dev_and_sys_in_a_user_namespace(t: &Test) {
    hosts_dev(t, "bound /dev and /sys, user namespace", true);
}

/// Sources that init opens late.
const FEW: &str = "ulimit -Sn 28; runtime run --bundle \"$DIR\" \"$ID\"";

fn with_few_descriptors(t: &Test) {
    plain(t, "28 descriptors", false, FEW);
}

fn with_few_descriptors_in_a_user_namespace(t: &Test) {
    plain(t, "28 descriptors, user namespace", true, FEW);
}

const NO_PIVOT: &str = "runtime run --no-pivot --bundle \"$DIR\" \"$ID\"";

fn without_pivot(t: &Test) {
    plain(t, "--no-pivot", false, NO_PIVOT);
}

fn without_pivot_in_a_user_namespace(t: &Test) {
    plain(t, "--no-pivot, user namespace", true, NO_PIVOT);
}

fn of_a_joined_user_namespace(t: &Test) {
    let holder = t.start(&t.bundle().user_namespace().pausing());
    let (bundle, volume) = (with_mount_points(t.bundle()), t.make_dir("volume"));
    let bundle = bundle.join("user", &format!("/proc/{}/ns/user", holder.init.pid));
    let make = |own: &[&str]| volumes(bundle.clone(), &volume, own).shell(ATTACK);
    let shape = Shape::plain(&make, &volume);
    census(t, "joined user namespace", &shape);
}

/// In the joined namespace, the host's mounts are slaves.
fn of_a_joined_mount_namespace(t: &Test) {
    let volume = t.make_dir("volume");
    let bundle = with_mount_points(t.bundle()).join("mount", "HOLDER");
    let make = |own: &[&str]| volumes(bundle.clone(), &volume, own).shell(ATTACK);
    let run = format!(
        "mkfifo $DIR/up $DIR/down
         unshare --mount --propagation slave sh -c \"echo >$DIR/up; read x <$DIR/down\" & read x <$DIR/up
         busybox sed -i s,HOLDER,/proc/$!/ns/mnt, $DIR/config.json
         code=0; {RUN} || code=$?; echo >$DIR/down; wait; test $code = 0"
    );
    let shape = Shape { run: &run, ..Shape::plain(&make, &volume) };
    census(t, "joined mount namespace", &shape);
}

/// Pauses, adds the volumes, and attacks by `exec`.
const ADD: &str = "
    trap \"runtime delete --force $ID\" EXIT
    runtime run --detach --bundle \"$DIR\" \"$ID\" </dev/null >/dev/null 2>&1
    runtime mounts add \"$ID\" \"$DIR/mounts.json\"
    runtime exec \"$ID\" sh -c \"$ATTACK\"";

fn added(t: &Test, name: &str, user_namespace: bool) {
    let (bundle, volume) = (base(t, user_namespace), t.make_dir("volume"));
    let make = |own: &[&str]| volumes(bundle.clone(), &volume, own).pausing();
    let shape = Shape { added: true, run: ADD, ..Shape::plain(&make, &volume) };
    census(t, name, &shape);
}

fn of_added_mounts(t: &Test) {
    added(t, "mounts add", false);
}

fn of_added_mounts_in_a_user_namespace(t: &Test) {
    added(t, "mounts add, user namespace", true);
}

/// Checkpoints the container, restores it, and attacks by `exec`.
const RESTORE: &str = "
    trap \"runtime delete --force $ID\" EXIT
    runtime run --detach --bundle \"$DIR\" \"$ID\" </dev/null >/dev/null 2>&1
    runtime checkpoint --image-path \"$DIR/images\" \"$ID\"
    runtime restore --detach --image-path \"$DIR/images\" --bundle \"$DIR\" \"$ID\" </dev/null >/dev/null
    runtime exec \"$ID\" sh -c \"$ATTACK\"";

fn restored(t: &Test, name: &str, user_namespace: bool) {
    let criu = match works() {
        Err(reason) => t.skip(reason),
        Ok(directory) => directory.display(),
    };
    let (bundle, volume) = (base(t, user_namespace), t.make_dir("volume"));
    const ALL: [&str; 4] = ["", "rprivate", "rslave", "rshared"];
    // CRIU clones each mount by itself. In a user namespace, mounts below a mount of the
    // host are locked.
    let alone = volume.join("deep");
    let make = |own: &[&str]| {
        let bundle = volumes(bundle.clone(), &volume, own).pausing();
        if user_namespace { bundle.source("/root/tree", &alone) } else { bundle }
    };
    let shape = Shape {
        // In a user namespace, CRIU can't restore a group with mounts of different roots.
        propagations: if user_namespace { &ALL[..3] } else { &ALL },
        run: &format!("PATH={criu}:$PATH; {RESTORE}"),
        ..Shape::plain(&make, &volume)
    };
    census(t, name, &shape);
}

fn can_dump_a_user_namespace(t: &Test) {
    needs_criu(t);
    let container = t.start(&t.bundle().user_namespace().pausing());
    let out = container.verb("checkpoint").arg("--image-path").arg(t.path("images")).out();
    if out.stderr.contains("Can't get rlimit") {
        t.skip("criu needs CAP_SYS_RESOURCE to read the limits of another user's process");
    }
}

fn of_a_restored_container(t: &Test) {
    restored(t, "restore", false);
}

fn of_a_restored_container_in_a_user_namespace(t: &Test) {
    can_dump_a_user_namespace(t);
    restored(t, "restore, user namespace", true);
}
