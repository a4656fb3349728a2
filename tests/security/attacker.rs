//! The parts of attacks, and the checks that each attack took place.

use crate::harness::tally::tried;
use crate::harness::{Bundle, Out, PidFd, Test, is_corten, receive};
use crate::terminal::on_a_terminal;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::wait::WaitStatus;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

/// Returns the place in the image to which a link to the decoy leads in the container.
pub fn inside(bundle: &Bundle, decoy: &Path) -> PathBuf {
    bundle.inside(decoy.to_str().expect("UTF-8"))
}

/// A thread that exchanges two names again and again until it is stopped.
pub struct Flipper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<nix::Result<()>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    count: AtomicU64,
}

impl Flipper {
    pub fn new(one: PathBuf, two: PathBuf) -> Flipper {
        Flipper::start(move || exchange(&one, &two).map(|()| true))
    }

    /// Calls `flip` again and again. Counts the calls that return true; an error ends the
    /// thread.
    pub fn start(mut flip: impl FnMut() -> nix::Result<bool> + Send + 'static) -> Flipper {
        let shared = Arc::<Shared>::default();
        let own = shared.clone();
        let flip = move || {
            while !own.stop.load(Relaxed) {
                own.count.fetch_add(u64::from(flip()?), Relaxed);
            }
            Ok(())
        };
        Flipper { shared, thread: Some(std::thread::spawn(flip)) }
    }

    /// Returns how often the names were exchanged so far.
    pub fn count(&self) -> u64 {
        self.shared.count.load(Relaxed)
    }

    /// Stops the thread. It must have exchanged the names until then.
    pub fn stop(mut self) {
        let ended = self.join().expect("stopped once").expect("the attacker's thread");
        assert!(ended.is_ok() && self.count() > 0, "the attacker's exchanges: {} {ended:?}", self.count());
    }

    fn join(&mut self) -> Option<std::thread::Result<nix::Result<()>>> {
        self.shared.stop.store(true, Relaxed);
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Flipper {
    fn drop(&mut self) {
        self.join();
    }
}

pub fn exchange(one: &Path, two: &Path) -> nix::Result<()> {
    renameat2(AT_FDCWD, one, AT_FDCWD, two, RenameFlags::RENAME_EXCHANGE)
}

/// The results of the rounds of a race.
#[derive(Debug, Default)]
pub struct Rounds {
    succeeded: u32,
    trapped: u32,
}

impl Rounds {
    /// Counts a round. A failure must be corten's refusal with one of these texts.
    /// `trapped` says whether the runtime has found the attacker's file.
    pub fn count(&mut self, out: &Out, refusals: &[&str], trapped: bool) {
        tried(trapped);
        self.trapped += u32::from(trapped);
        if out.code == 0 {
            self.succeeded += 1;
            return;
        }
        let known = refusals.iter().find(|refusal| out.stderr.contains(**refusal));
        assert!(known.is_some() || !is_corten(), "another refusal: {out:?}");
        out.one_clear_line(known.map_or(refusals, std::slice::from_ref));
    }

    /// In some rounds the runtime must have succeeded, and in some it must have found the
    /// attacker's file.
    pub fn check(&self) {
        assert!(self.succeeded > 0 && self.trapped > 0, "{self:?}");
    }
}

/// Runs `script` on a terminal. If the runtime starts it, the terminal must come to the
/// console socket, and the script must succeed.
pub fn run_with_console(t: &Test, bundle: &Bundle, script: &str) -> Out {
    let bundle = on_a_terminal(bundle.clone()).shell(script);
    let (console, pid_file, id) = (t.path("console"), t.path("pid"), t.id());
    let listener = UnixListener::bind(&console).expect("a console socket");
    // A terminal that was sent has arrived when `run` returns.
    listener.set_nonblocking(true).expect("non-blocking");
    t.will_delete(&id);
    let call = t.verb(["run", "--detach", "--console-socket"]).arg(&console).arg("--pid-file").arg(&pid_file);
    let out = call.arg("--bundle").arg(bundle.lay()).arg(&id).out();
    if out.code == 0 {
        let (stream, _) = listener.accept().expect("a connection");
        let (_, terminal) = receive(&stream).expect("a message");
        assert_eq!(terminal.len(), 1, "exactly one descriptor");
        let end = PidFd::from_file(&pid_file).reap();
        assert!(matches!(end, WaitStatus::Exited(_, 0)), "{end:?}");
    }
    out
}
