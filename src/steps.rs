//! `--debug`: what a verb does, and how long each step took.
//!
//! A step is told when it is done, by the runtime and by its children (init, an
//! exec process) alike. A child inherits the open log at the fork, as a
//! descriptor that execve closes, and gives it up before it waits for `start` and
//! before a seccomp filter is loaded. Each process has one log and one position
//! in it, so both are a static. Without `--debug` a step costs a look at a bool.
//!
//! No text here holds arguments, environment variables or what a hook reads:
//! they may be secret, and logs are kept.

use crate::log::{Log, Sink};
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether [`STEPS`] has something.
static ON: AtomicBool = AtomicBool::new(false);

/// No thread ever waits for it: there is one.
static STEPS: Mutex<Option<Steps>> = Mutex::new(None);

struct Steps {
    sink: Sink,
    /// The verb, and the part of it that a child of the runtime plays.
    who: String,
    /// When the verb began, in nanoseconds of CLOCK_MONOTONIC.
    began: i64,
    /// When the last step was done, likewise.
    last: i64,
    /// What a time namespace adds to this process's CLOCK_MONOTONIC, in nanoseconds.
    offset: i64,
}

/// From here on the steps of `verb` are written to the log, if it takes messages
/// of level `debug`.
pub fn begin(verb: &str, log: &Log) {
    let Some(sink) = log.sink() else { return };
    let Ok(now) = nanoseconds(ClockId::CLOCK_MONOTONIC) else { return };
    let Ok(mut steps) = STEPS.lock() else { return };
    *steps = Some(Steps { sink, who: verb.to_owned(), began: now, last: now, offset: 0 });
    ON.store(true, Ordering::Relaxed);
}

/// From here on the steps are those of a child of the runtime.
pub fn begin_child(name: &str) {
    with(|steps| steps.who = format!("{} ({name})", steps.who));
}

/// Gives up the log: nothing is told any more by this process.
pub fn end() {
    if ON.swap(false, Ordering::Relaxed)
        && let Ok(mut steps) = STEPS.lock()
    {
        *steps = None;
    }
}

/// Tells that `what` is done, and how long after the step before.
pub fn done(what: &str) {
    with(|steps| steps.done(what));
}

/// The same, with a text that is only made if somebody wants it.
pub fn done_with(what: impl FnOnce() -> String) {
    with(|steps| steps.done(&what()));
}

/// Tells a detail of the step that is being done.
pub fn note(what: impl FnOnce() -> String) {
    with(|steps| steps.sink.debug(&format!("{}: {}", steps.who, what())));
}

/// Tells how the verb ended, and how long all of it took.
pub fn finish(outcome: &str) {
    with(|steps| {
        let all = milliseconds(steps.elapsed().unwrap_or(steps.last) - steps.began);
        steps.sink.debug(&format!("{}: {outcome}: {all} ms in total", steps.who));
    });
}

/// Does `enter`, which may enter a time namespace. The clock jumps with it, by what
/// CLOCK_REALTIME, which has no offsets, doesn't.
pub fn across_clocks<T>(enter: impl FnOnce() -> T) -> T {
    let clocks = || {
        let monotonic = nanoseconds(ClockId::CLOCK_MONOTONIC);
        monotonic.and_then(|monotonic| Ok(monotonic - nanoseconds(ClockId::CLOCK_REALTIME)?))
    };
    if !ON.load(Ordering::Relaxed) {
        return enter();
    }
    let before = clocks();
    let result = enter();
    if let (Ok(before), Ok(after)) = (before, clocks()) {
        with(|steps| steps.offset += after - before);
    }
    result
}

fn with(tell: impl FnOnce(&mut Steps)) {
    if ON.load(Ordering::Relaxed)
        && let Ok(mut steps) = STEPS.lock()
        && let Some(steps) = steps.as_mut()
    {
        tell(steps);
    }
}

impl Steps {
    /// The time of the clock that the verb began with.
    fn elapsed(&self) -> Result<i64, Errno> {
        nanoseconds(ClockId::CLOCK_MONOTONIC).map(|now| now - self.offset)
    }

    fn done(&mut self, what: &str) {
        let now = self.elapsed().unwrap_or(self.last);
        let (took, all) = (milliseconds(now - self.last), milliseconds(now - self.began));
        self.last = now;
        self.sink.debug(&format!("{}: {what}: took {took} ms, {all} ms since the start", self.who));
    }
}

fn nanoseconds(clock: ClockId) -> Result<i64, Errno> {
    let time: TimeSpec = clock_gettime(clock)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// Nanoseconds as milliseconds with three decimals.
fn milliseconds(nanoseconds: i64) -> String {
    let microseconds = nanoseconds.max(0) / 1000;
    format!("{}.{:03}", microseconds / 1000, microseconds % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_milliseconds_with_three_decimals() {
        assert_eq!(milliseconds(0), "0.000");
        assert_eq!(milliseconds(1_234_567), "1.234");
        assert_eq!(milliseconds(12_000_056_000), "12000.056");
        assert_eq!(milliseconds(-5), "0.000");
    }
}
