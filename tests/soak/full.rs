//! A state root that is full: a tmpfs with room for very few blocks or inodes. A verb works,
//! or says in one line what failed; `delete --force` always works, and leaves nothing.

use crate::place::Place;
use crate::worker::{self, Result, call};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Makes `rounds` attempts, with room for one more page or inode each time.
pub fn sweep(place: &Place, rounds: u64) -> Result<()> {
    let root = place.work.join("full");
    fs::create_dir(&root).map_err(|e| e.to_string())?;
    let mut refused = 0;
    for round in 0..rounds {
        // Every other attempt lacks inodes instead of blocks. An empty tmpfs has one inode.
        let (pages, inodes) =
            if round % 2 == 0 { (1 + round / 2 % 16, 100) } else { (100, 2 + round / 2 % 16) };
        let size = format!("size={},nr_inodes={inodes}", pages * 4096);
        mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
            .map_err(|e| format!("mount: {e}"))?;
        let id = format!("{}f{round}", place.token);
        let result = attempt(place, &root, &id, &mut refused);
        worker::reap();
        umount2(&root, MntFlags::MNT_DETACH).map_err(|e| format!("umount: {e}"))?;
        result.map_err(|e| format!("with {pages} pages and {inodes} inodes: {e}"))?;
    }
    fs::remove_dir(&root).map_err(|e| e.to_string())?;
    println!("    {refused} of {rounds} were refused for want of room");
    if refused == 0 { Err("there was always room".into()) } else { Ok(()) }
}

fn attempt(place: &Place, root: &Path, id: &str, refused: &mut u64) -> Result<()> {
    let log = place.log("full");
    let bundle = place.bundle_dir("long");
    let bundle = bundle.to_str().expect("UTF-8");
    let verb = |args: &[&str]| call(place.verb(root, args), &log);
    let created = verb(&["create", "--bundle", bundle, id])?;
    if created.status.success() {
        fill(root);
        // With not one byte left, a verb may fail, and says why.
        for args in
            [&["start", id][..], &["pause", id], &["resume", id], &["update", "--pids-limit", "50", id]]
        {
            let out = verb(args)?;
            if !out.status.success() && out.stderr.lines().count() != 1 {
                return Err(out.describe(args[0]));
            }
        }
    } else {
        *refused += 1;
        if created.stderr.lines().count() != 1 || !created.stderr.contains("ENOSPC") {
            return Err(created.describe("create: not one line with the cause"));
        }
        if root.join(id).exists() {
            return Err("a failed create left its directory".into());
        }
    }
    verb(&["delete", "--force", id])?.ok("delete --force")?;
    let _ = fs::remove_file(root.join("filler"));
    let left: Vec<_> =
        fs::read_dir(root).map_err(|e| e.to_string())?.flatten().map(|e| e.file_name()).collect();
    if !left.is_empty() {
        return Err(format!("left in the state root: {left:?}"));
    }
    // With room the same id works.
    mount(None::<&str>, root, None::<&str>, MsFlags::MS_REMOUNT, Some("size=1m,nr_inodes=1000"))
        .map_err(|e| format!("remount: {e}"))?;
    verb(&["create", "--bundle", bundle, id])?.ok("create with room")?;
    verb(&["delete", "--force", id])?.ok("delete with room")
}

/// Takes every byte that is left.
fn fill(root: &Path) {
    if let Ok(mut file) = File::create(root.join("filler")) {
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }
}
