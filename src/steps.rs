//! Logs the steps of a verb for `--debug`, and how long each took.
//!
//! The runtime and its children (init, an `exec` process) log a step when the step is
//! done. A child inherits the open log at the fork, as a descriptor that execve closes.
//! The child closes the log before it waits for `start`, and before it loads a seccomp
//! filter. Each process has one log and one position in it, so both are in a static.
//! Without `--debug`, a step only checks a bool.
//!
//! No text here contains arguments, environment variables or the input of a hook. Such
//! texts may be secret, and people keep logs.

use crate::log::{Log, Sink};
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether [`STEPS`] has a value.
static ON: AtomicBool = AtomicBool::new(false);

/// The steps of this process. No thread ever waits for the mutex: there is only one
/// thread.
static STEPS: Mutex<Option<Steps>> = Mutex::new(None);

struct Steps {
    sink: Sink,
    /// The verb and, in a child of the runtime, the name of the child.
    who: String,
    /// When the verb began, in nanoseconds of CLOCK_MONOTONIC.
    began: i64,
    /// When the last step was done, in nanoseconds of the runtime's CLOCK_MONOTONIC.
    last: i64,
    /// What a time namespace adds to CLOCK_MONOTONIC of this process, in nanoseconds.
    offset: i64,
}

/// Starts to log the steps of `verb`, if the log takes messages of level `debug`.
pub fn begin(verb: &str, log: &Log) {
    let Some(sink) = log.sink() else { return };
    let Ok(now) = nanoseconds(ClockId::CLOCK_MONOTONIC) else { return };
    let Ok(mut steps) = STEPS.lock() else { return };
    *steps = Some(Steps { sink, who: verb.to_owned(), began: now, last: now, offset: 0 });
    ON.store(true, Ordering::Relaxed);
}

/// Marks all later steps as those of a child of the runtime.
pub fn begin_child(name: &str) {
    with_steps(|steps| steps.who = format!("{} ({name})", steps.who));
}

/// Closes the log. This process logs no more steps.
pub fn end() {
    if ON.swap(false, Ordering::Relaxed)
        && let Ok(mut steps) = STEPS.lock()
    {
        *steps = None;
    }
}

/// Logs that `what` is done, and how long it took since the last step.
pub fn done(what: &str) {
    with_steps(|steps| steps.done(what));
}

/// Logs a step like [`done`]. Calls `what` only if somebody wants the text.
pub fn done_with(what: impl FnOnce() -> String) {
    with_steps(|steps| steps.done(&what()));
}

/// Logs a detail of the present step.
pub fn note(what: impl FnOnce() -> String) {
    with_steps(|steps| steps.sink.debug(&format!("{}: {}", steps.who, what())));
}

/// Logs how the verb ended, and how long all of it took.
pub fn finish(outcome: &str) {
    with_steps(|steps| {
        let all = milliseconds(steps.elapsed().unwrap_or(steps.last) - steps.began);
        steps.sink.debug(&format!("{}: {outcome}: {all} ms in total", steps.who));
    });
}

/// Calls `enter`, which may enter a time namespace. CLOCK_MONOTONIC jumps then, but
/// CLOCK_REALTIME, which has no offsets, does not. The difference is the offset of the
/// namespace.
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
        with_steps(|steps| steps.offset += after - before);
    }
    result
}

/// Calls `log` with the steps, if this process logs steps.
fn with_steps(log: impl FnOnce(&mut Steps)) {
    if ON.load(Ordering::Relaxed)
        && let Ok(mut steps) = STEPS.lock()
        && let Some(steps) = steps.as_mut()
    {
        log(steps);
    }
}

impl Steps {
    /// Returns the time of the clock by which the verb began, in nanoseconds.
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

/// Formats nanoseconds as milliseconds with three decimals.
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
