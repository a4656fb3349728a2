//! What an attack came to, for the table of `make attack`.

use std::cell::Cell;

/// The figures of one attack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub tries: u32,
    /// The tries in which the runtime met what the attacker had prepared.
    pub took_place: u32,
    /// The tries in which the attacker reached the host, or became more than it was.
    pub escapes: u32,
}

thread_local! {
    static TALLY: Cell<Tally> = const { Cell::new(Tally { tries: 0, took_place: 0, escapes: 0 }) };
}

/// Counts a try.
pub fn tried(took_place: bool) {
    tried_often(1, u32::from(took_place));
}

/// Counts tries, and those of them in which the attack took place.
pub fn tried_often(tries: u32, took_place: u32) {
    let tally = TALLY.get();
    let (tries, took_place) = (tally.tries + tries, tally.took_place + took_place.min(tries));
    TALLY.set(Tally { tries, took_place, ..tally });
}

/// Fails the test, because the attack succeeded.
#[track_caller]
pub fn escaped(what: &str) -> ! {
    add_escape(true);
    panic!("{what}");
}

/// Counts an escape if the attack succeeded.
pub fn add_escape(succeeded: bool) {
    let tally = TALLY.get();
    TALLY.set(Tally { escapes: tally.escapes + u32::from(succeeded), ..tally });
}

/// Fails the test if the attack succeeded.
#[track_caller]
pub fn check_escape(succeeded: bool, what: &str) {
    if succeeded {
        escaped(what);
    }
}

/// Returns what this thread has counted since the last call.
#[allow(dead_code, reason = "the table of attacks reads it")]
pub fn take() -> Tally {
    TALLY.take()
}
