//! Turns cases into libtest-mimic trials: skips, known gaps, panics, leaks.

use super::bundle::is_root;
use super::census::Census;
use super::decoy::CHANGED;
use super::runtime::{Runtime, is_gap_of, reasons};
use super::{Test, image, sys};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::cell::RefCell;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// One test: its name within the module, and what it does.
pub struct Case {
    pub name: &'static str,
    pub body: fn(&Test),
}

/// Thrown by `Test::skip`: the test cannot run here, and this is why.
pub struct Skip(pub String);

thread_local! {
    /// What the last panic said, and the source file that it is of.
    static PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// How a test failed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Failure {
    /// What the test expects didn't come true.
    Expectation,
    /// Something waited for all of the patience that there is.
    Hang,
    /// Something was left behind, and all else was as expected.
    Leak,
    /// The harness itself failed.
    Harness,
}

impl Failure {
    /// Whether this is what the line of a gap announces. An expectation fails for any reason;
    /// the reason of a gap that hangs or leaves something behind says so.
    pub fn is_gap(self, reason: &str) -> bool {
        let says = |words: [&str; 2]| words.iter().any(|word| reason.contains(word));
        match self {
            Failure::Expectation => true,
            Failure::Hang => says(["hang", "wait"]),
            Failure::Leak => says(["leave", "stay"]),
            Failure::Harness => false,
        }
    }
}

pub fn run(areas: Vec<(&str, Vec<Case>)>) -> c_int {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(2);
    let runtime = Runtime::get();
    let gaps = runtime.gaps();
    let version = if gaps.is_empty() { String::new() } else { runtime.says_version() };
    let needs = reasons(include_str!("../needs-root.txt"));
    let census = (!args.list).then(|| Arc::new(Census::take(&Test::tokens())));
    let mut trials = Vec::new();
    for (area, cases) in areas {
        for case in cases {
            let name = format!("{area}::{}", case.name);
            let gap = gaps.iter().find(|(gap, reason)| *gap == name && is_gap_of(&version, reason));
            let reason = gap.map(|(_, reason)| reason.clone());
            let root = need(&needs, &name).filter(|_| !is_root());
            if let Some(what) = root.map(str::to_owned) {
                let skip = move || Ok(Completion::ignored_with(format!("needs root: {what}")));
                trials.push(Trial::ignorable_test(name, skip));
                continue;
            }
            let census = census.clone();
            trials.push(Trial::ignorable_test(name.clone(), move || {
                let census = census.expect("there is one, unless tests are only listed");
                census.begin(&name);
                let verdict = judge(&case, reason);
                census.end(&name);
                verdict
            }));
        }
    }
    for (name, _) in &needs {
        let is_one = |trial: &Trial| need(&[(name.clone(), String::new())], trial.name()).is_some();
        assert!(trials.iter().any(is_one), "needs-root.txt names neither test nor module: {name}");
    }
    for (gap, _) in &gaps {
        assert!(
            trials.iter().any(|trial| trial.name() == gap),
            "the gaps of {} name no test: {gap}",
            runtime.name
        );
    }
    if !args.list {
        catch_panics();
        eprintln!("runtime under test: {}", runtime.path.display());
    }
    let conclusion = libtest_mimic::run(&args, trials);
    image::remove();
    // Only a test that never ended would still hold the census.
    let is_changed = census.is_some_and(|census| Arc::into_inner(census).is_none_or(is_host_changed));
    c_int::from(conclusion.has_failed() || is_changed)
}

/// Compares the host with what it was before the first test, and prints what differs.
fn is_host_changed(census: Census) -> bool {
    let (count, lines) = census.finish();
    let what = "mounts, devices, files, sysctls and units of the host";
    if lines.is_empty() {
        eprintln!("census: {count} {what} are as before");
        return false;
    }
    eprintln!(
        "census: {} of {count} {what} differ; only other programs may change them meanwhile:",
        lines.len()
    );
    for line in &lines {
        eprintln!("  {line}");
    }
    true
}

/// Prepares this process for tests: the text of a panic belongs to its test, and so do the
/// orphans that the runtime leaves.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let file = info.location().map(|place| place.file().to_owned()).unwrap_or_default();
        PANIC.with(|slot| *slot.borrow_mut() = Some((info.to_string(), file)));
    }));
    sys::become_subreaper();
}

/// Returns what `work` returns, or the text of its panic.
#[allow(dead_code, reason = "for the table of attacks")]
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let result = catch_unwind(AssertUnwindSafe(work));
    result.map_err(|_| PANIC.with(|slot| slot.borrow_mut().take()).map(|(text, _)| text).unwrap_or_default())
}

/// What a user lacks for this test, by its own line or its module's.
fn need<'a>(needs: &'a [(String, String)], test: &str) -> Option<&'a str> {
    let module = test.split("::").next();
    let found = needs.iter().find(|(name, _)| name == test || Some(name.as_str()) == module);
    found.map(|(_, what)| what.as_str())
}

/// A known gap is skipped, unless GAPS=verify asks whether it still is one;
/// a reason that starts with "sometimes" tells of a race, which may be won.
fn judge(case: &Case, gap: Option<String>) -> Result<Completion, Failed> {
    let Some(reason) = gap else {
        return attempt(case).map_err(|(_, text)| Failed::from(text));
    };
    let name = &Runtime::get().name;
    if std::env::var("GAPS").is_ok_and(|mode| mode == "verify") {
        return match attempt(case) {
            Err((failure, _)) if failure.is_gap(&reason) => Ok(Completion::Completed),
            Err((failure, text)) => {
                Err(Failed::from(format!("not the known gap of {name} ({reason}): {failure:?}\n{text}")))
            }
            Ok(skipped @ Completion::Ignored { .. }) => Ok(skipped),
            Ok(_) if reason.starts_with("sometimes ") => Ok(Completion::Completed),
            Ok(_) => Err(Failed::from(format!("{name} has no gap here any more: {reason}"))),
        };
    }
    Ok(Completion::ignored_with(format!("known gap of {name}: {reason}")))
}

/// Runs a test, and cleans up after it.
pub fn attempt(case: &Case) -> Result<Completion, (Failure, String)> {
    let _watch = Watch::start(case.name, MOST);
    sys::has_hung();
    let test = Test::new();
    let verdict = catch_unwind(AssertUnwindSafe(|| (case.body)(&test)));
    let leaks = test.clean_up();
    let has_hung = sys::has_hung();
    let panic = match verdict {
        Err(thrown) => match thrown.downcast::<Skip>() {
            Ok(skip) if leaks.is_empty() => return Ok(Completion::ignored_with(skip.0)),
            Ok(_) => None,
            Err(_) => PANIC.with(|slot| slot.borrow_mut().take()),
        },
        Ok(()) if leaks.is_empty() && !has_hung => return Ok(Completion::Completed),
        Ok(()) => None,
    };
    let failure = match &panic {
        _ if has_hung => Failure::Hang,
        Some((_, file)) if file.contains("tests/harness/") => Failure::Harness,
        Some(_) => Failure::Expectation,
        None if leaks.iter().any(|line| line.starts_with(CHANGED)) => Failure::Expectation,
        None => Failure::Leak,
    };
    let tell = |line: &String| match line.starts_with(CHANGED) {
        true => format!("{line}\n"),
        false => format!("left behind: {line}\n"),
    };
    let left: String = leaks.iter().map(tell).collect();
    let text = panic.map(|(text, _)| text).unwrap_or_default();
    Err((failure, format!("{text}\n{left}--- what was run\n{}", test.transcript())))
}

/// How long a test may take in all. A test that takes longer waits in a call that has no
/// limit of its own. The longest takes four minutes on an emulated machine.
const MOST: Duration = Duration::from_secs(30 * 60);

/// Ends the whole run, with the name of the test, if the test does not end in time: a
/// thread can't be ended from outside.
struct Watch {
    /// Dropped with the watch, which tells the thread.
    _end: Sender<()>,
}

impl Watch {
    fn start(name: &'static str, most: Duration) -> Watch {
        let (end, ended) = channel::<()>();
        std::thread::spawn(move || {
            if ended.recv_timeout(most) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{name} has not ended within {most:?}: it waits without a limit");
                std::process::exit(101);
            }
        });
        Watch { _end: end }
    }
}
