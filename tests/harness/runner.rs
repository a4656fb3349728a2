//! Turns cases into libtest-mimic trials: skips, known gaps, panics, leaks.

use super::bundle::is_root;
use super::runtime::{Runtime, reasons};
use super::{Test, image, sys};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::cell::RefCell;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One test: its name within the module, and what it does.
pub struct Case {
    pub name: &'static str,
    pub body: fn(&Test),
}

/// Thrown by `Test::skip`: the test cannot run here, and this is why.
pub struct Skip(pub String);

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

pub fn run(areas: Vec<(&str, Vec<Case>)>) -> c_int {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(2);
    let runtime = Runtime::get();
    let gaps = runtime.gaps();
    let needs = reasons(include_str!("../needs-root.txt"));
    let mut trials = Vec::new();
    for (area, cases) in areas {
        for case in cases {
            let name = format!("{area}::{}", case.name);
            let gap = gaps.iter().find(|(gap, _)| *gap == name);
            let reason = gap.map(|(_, reason)| reason.clone());
            let root = need(&needs, &name).filter(|_| !is_root());
            if let Some(what) = root.map(str::to_owned) {
                let skip = move || Ok(Completion::ignored_with(format!("needs root: {what}")));
                trials.push(Trial::ignorable_test(name, skip));
                continue;
            }
            trials.push(Trial::ignorable_test(name, move || judge(&case, reason)));
        }
    }
    for (name, _) in &needs {
        let is_one = |trial: &Trial| need(&[(name.clone(), String::new())], trial.name()).is_some();
        assert!(trials.iter().any(is_one), "needs-root.txt names neither test nor module: {name}");
    }
    for (gap, _) in &gaps {
        assert!(
            trials.iter().any(|trial| trial.name() == gap),
            "gaps/{}.txt names no test: {gap}",
            runtime.name
        );
    }
    if !args.list {
        std::panic::set_hook(Box::new(|info| {
            PANIC.with(|slot| *slot.borrow_mut() = Some(info.to_string()));
        }));
        sys::become_subreaper();
        eprintln!("runtime under test: {}", runtime.path.display());
    }
    let conclusion = libtest_mimic::run(&args, trials);
    image::remove();
    c_int::from(conclusion.has_failed())
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
        return execute(case);
    };
    let name = &Runtime::get().name;
    if std::env::var("GAPS").is_ok_and(|mode| mode == "verify") {
        return match execute(case) {
            Err(_) => Ok(Completion::Completed),
            Ok(_) if reason.starts_with("sometimes ") => Ok(Completion::Completed),
            Ok(_) => Err(Failed::from(format!("{name} has no gap here any more: {reason}"))),
        };
    }
    Ok(Completion::ignored_with(format!("known gap of {name}: {reason}")))
}

fn execute(case: &Case) -> Result<Completion, Failed> {
    let test = Test::new();
    let verdict = catch_unwind(AssertUnwindSafe(|| (case.body)(&test)));
    let leaks = test.clean_up();
    let failure = match verdict {
        Err(thrown) => match thrown.downcast::<Skip>() {
            Ok(skip) if leaks.is_empty() => return Ok(Completion::ignored_with(skip.0)),
            Ok(_) => None,
            Err(_) => PANIC.with(|slot| slot.borrow_mut().take()),
        },
        Ok(()) if leaks.is_empty() => return Ok(Completion::Completed),
        Ok(()) => None,
    };
    let left: String = leaks.iter().map(|l| format!("left behind: {l}\n")).collect();
    Err(Failed::from(format!(
        "{}\n{left}--- what was run\n{}",
        failure.unwrap_or_default(),
        test.transcript()
    )))
}
