//! Decoys: files and directories of the host that a runtime must not change during a test.
//!
//! A test declares a decoy with `Test::decoy` or `Test::make_decoy`. A source of a read-only bind
//! mount is a decoy without a declaration. `Test::clean_up` compares all decoys after it has
//! deleted the containers.

use super::bundle::is_root;
use super::image;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What the line of a changed decoy begins with.
pub const CHANGED: &str = "decoy changed: ";

/// A file, or a directory and everything below it, as it was at first.
pub struct Decoy {
    pub path: PathBuf,
    before: Tree,
    /// Whether the decoy is the source of a read-only bind mount that no test has declared.
    is_source: bool,
}

type Tree = BTreeMap<PathBuf, Inode>;

impl Decoy {
    pub fn take(path: &Path) -> Decoy {
        let mut before = Tree::new();
        read(path, &mut before);
        assert!(!before.is_empty(), "a decoy exists when it is declared: {}", path.display());
        Decoy { path: path.to_owned(), before, is_source: false }
    }

    /// Returns a line for each inode that was made, removed or changed.
    pub fn changes(&self) -> Vec<String> {
        let mut now = Tree::new();
        read(&self.path, &mut now);
        let paths: BTreeSet<&PathBuf> = self.before.keys().chain(now.keys()).collect();
        // Whoever makes, removes or replaces a file also changes the times of its directory.
        let id = |tree: &Tree, path: &Path| tree.get(path).map(|inode| inode.id.clone());
        let moved = paths.iter().filter(|path| id(&self.before, path) != id(&now, path));
        let parents: BTreeSet<_> = moved.filter_map(|path| path.parent()).collect();
        let line = |path: &PathBuf| {
            let what = match (self.before.get(path), now.get(path)) {
                (Some(_), None) => "removed".to_owned(),
                (None, Some(inode)) => format!("made: {}", inode.describe()),
                (Some(before), Some(inode)) => before.difference(inode, !parents.contains(path.as_path()))?,
                (None, None) => return None,
            };
            Some(format!("{} {what}", path.display()))
        };
        paths.into_iter().filter_map(line).collect()
    }
}

/// The properties of an inode. A change of an extended attribute shows in `ctime`.
struct Inode {
    id: String,
    /// Properties by their names.
    own: Vec<(&'static str, String)>,
    /// Properties that also change as a consequence of others.
    consequences: Vec<(&'static str, String)>,
}

impl Inode {
    fn of(path: &Path, meta: &fs::Metadata) -> Inode {
        let id = format!("{:x}:{}", meta.dev(), meta.ino());
        let own = vec![
            ("inode", id.clone()),
            ("mode", format!("{:o}", meta.mode())),
            ("owner", format!("{}:{}", meta.uid(), meta.gid())),
            ("device", format!("{:x}", meta.rdev())),
            ("content", content(path, meta)),
        ];
        let consequences = vec![
            ("links", meta.nlink().to_string()),
            ("mtime", format!("{}.{:09}", meta.mtime(), meta.mtime_nsec())),
            ("ctime", format!("{}.{:09}", meta.ctime(), meta.ctime_nsec())),
        ];
        Inode { id, own, consequences }
    }

    fn describe(&self) -> String {
        let all: Vec<_> = self.own.iter().map(|(name, value)| format!("{name} {value}")).collect();
        all.join(", ")
    }

    /// Says what has changed. Tells of consequences only if nothing explains them.
    fn difference(&self, now: &Inode, with_consequences: bool) -> Option<String> {
        let own = changed(&self.own, &now.own);
        let all = if own.is_empty() && with_consequences {
            changed(&self.consequences, &now.consequences)
        } else {
            own
        };
        (!all.is_empty()).then(|| all.join(", "))
    }
}

fn changed(before: &[(&str, String)], now: &[(&str, String)]) -> Vec<String> {
    let pairs = before.iter().zip(now).filter(|(before, now)| before != now);
    pairs.map(|((name, before), (_, now))| format!("{name} from {before} to {now}")).collect()
}

/// Returns the text of a short file, the target of a link, or the size and a hash.
fn content(path: &Path, meta: &fs::Metadata) -> String {
    if meta.is_symlink() {
        return format!("{:?}", fs::read_link(path).unwrap_or_default());
    }
    if !meta.is_file() {
        return String::new();
    }
    match fs::read(path) {
        Ok(bytes) if bytes.len() <= 100 => format!("{:?}", String::from_utf8_lossy(&bytes)),
        Ok(bytes) => {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            format!("({} bytes, hash {:x})", bytes.len(), hasher.finish())
        }
        Err(error) => format!("({} bytes, {error})", meta.size()),
    }
}

fn read(path: &Path, tree: &mut Tree) {
    let Ok(meta) = path.symlink_metadata() else { return };
    tree.insert(path.to_owned(), Inode::of(path, &meta));
    if meta.is_dir() {
        fs::read_dir(path).into_iter().flatten().flatten().for_each(|entry| read(&entry.path(), tree));
    }
}

/// Fills a directory with files of each kind that attacks look for. Other users own some of
/// them if root runs the tests.
pub fn fill(dir: &Path) {
    let path = |name: &str| dir.join(name);
    for name in ["file", "null", "console", "ptmx", "setuid"] {
        fs::write(path(name), "untouched").expect("a decoy");
    }
    for name in ["dir", "pts"] {
        image::make_dir(&path(name));
    }
    fs::write(path("dir/file"), "untouched").expect("a decoy");
    symlink("dir/file", path("link")).expect("a decoy");
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a decoy");
    if is_root() {
        chown(path("dir"), Some(1000), Some(1000)).expect("a decoy");
        chown(path("setuid"), Some(1001), Some(0)).expect("a decoy");
    }
    // chown clears the bit.
    fs::set_permissions(path("setuid"), fs::Permissions::from_mode(0o4755)).expect("a decoy");
}

/// The decoys of a test, which its bundles share.
#[derive(Clone, Default)]
pub struct Decoys(Arc<Mutex<Vec<Decoy>>>);

impl Decoys {
    pub fn declare(&self, path: &Path) {
        let mut all = self.all();
        all.retain(|other| other.path != path);
        all.push(Decoy::take(path));
    }

    /// Declares the sources of a bundle's read-only bind mounts. A source that a container may
    /// write to is no such decoy any more.
    pub fn declare_sources(&self, bundle: &Path, config: &Value) {
        for source in Source::of_config(bundle, config) {
            let mut all = self.all();
            let is_known = all.iter().any(|other| other.path == source.path);
            if !source.is_readonly {
                all.retain(|other| !other.is_source || !overlap(&other.path, &source.path));
            } else if !is_known {
                all.push(Decoy { is_source: true, ..Decoy::take(&source.path) });
            }
        }
    }

    /// Compares all decoys, and forgets them. Returns a line for each change.
    pub fn end(&self) -> Vec<String> {
        let all = std::mem::take(&mut *self.all());
        let lines: BTreeSet<String> = all.iter().flat_map(Decoy::changes).collect();
        lines.into_iter().map(|line| format!("{CHANGED}{line}")).collect()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Decoy>> {
        self.0.lock().expect("the decoys")
    }
}

fn overlap(one: &Path, two: &Path) -> bool {
    one.starts_with(two) || two.starts_with(one)
}

/// The source of a bind mount that belongs to a test.
struct Source {
    path: PathBuf,
    /// Whether the runtime creates nothing in it, and no container may write to it.
    is_readonly: bool,
}

impl Source {
    fn of_config(bundle: &Path, config: &Value) -> Vec<Source> {
        let mounts = config["mounts"].as_array().map_or(&[][..], Vec::as_slice);
        let mut all: Vec<_> =
            mounts.iter().filter_map(|mount| Source::of_mount(bundle, config, mount)).collect();
        // The last word on a source has a mount that may write to it.
        all.sort_by_key(|source| !source.is_readonly);
        all
    }

    fn of_mount(bundle: &Path, config: &Value, mount: &Value) -> Option<Source> {
        let has = |name: &str| mount["options"].as_array().is_some_and(|all| all.iter().any(|it| it == name));
        let path = bundle.join(mount["source"].as_str()?);
        // A test's own files, without its rootfs. A path with a link is not the file itself.
        let is_own = path.starts_with(image::base()) && !overlap(&path, bundle);
        let is_plain =
            path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
                && path.canonicalize().is_ok_and(|real| real == path);
        let is_bind = mount["type"] == "bind" || has("bind") || has("rbind");
        if !(is_own && is_plain && is_bind && !has("remount")) {
            return None;
        }
        let place = Path::new(mount["destination"].as_str()?);
        let is_readonly = (has("ro") || has("rro")) && !has("rw") && !is_used_for_mount_points(config, place);
        Some(Source { path, is_readonly })
    }
}

/// Whether the runtime may create something below a mount: mount points, devices, or the
/// working directory.
fn is_used_for_mount_points(config: &Value, place: &Path) -> bool {
    let list = |pointer: &str| config.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let mounts = list("/mounts").map(|mount| &mount["destination"]);
    let devices = list("/linux/devices").map(|device| &device["path"]);
    let all = mounts.chain(devices).chain([&config["process"]["cwd"]]).filter_map(Value::as_str);
    all.map(|path| Path::new("/").join(path)).any(|path| path != place && path.starts_with(place))
}
