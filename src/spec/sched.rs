//! `process.scheduler`, `process.ioPriority` and `process.execCPUAffinity` (config.md
//! "Process").

use super::bit_list;
use super::config::{self, IoPriority};
use super::plan::CpuAffinity;
use crate::error::{Error, Result};
use crate::sys::sched::Attr;

/// The scheduling policies and their numbers. Linux reserves the number of SCHED_ISO but
/// has no such policy; the kernel refuses it.
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", FIFO),
    ("SCHED_RR", RR),
    ("SCHED_BATCH", BATCH),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", DEADLINE),
];
const FIFO: u32 = 1;
const RR: u32 = 2;
const BATCH: u32 = 3;
const DEADLINE: u32 = 6;

const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// Returns the number that `table` has for a name.
fn find_by_name<T: Copy>(table: &[(&str, T)], name: &str, at: String, what: &str) -> Result<T> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| Error::config(at, format!("is not {what}")).on(name))
}

/// Resolves the scheduler at the JSON pointer `at`. Refuses a field that has no meaning
/// for the policy, because the kernel ignores such a field silently.
pub fn scheduler(given: &config::Scheduler, at: &str, warnings: &mut Vec<String>) -> Result<Attr> {
    let policy = find_by_name(&POLICIES, &given.policy, format!("{at}/policy"), "a scheduling policy")?;
    let mut flags = 0;
    for (i, flag) in given.flags.iter().enumerate() {
        flags |= find_by_name(&FLAGS, flag, format!("{at}/flags/{i}"), "a scheduling flag")?;
    }
    check_nice(given, policy, at, warnings)?;
    check_deadline(given, policy, at)?;
    Ok(Attr {
        policy,
        flags,
        nice: given.nice,
        priority: priority(given, policy, at)?,
        runtime: given.runtime,
        deadline: given.deadline,
        period: given.period,
        ..Attr::default()
    })
}

fn check_nice(given: &config::Scheduler, policy: u32, at: &str, warnings: &mut Vec<String>) -> Result<()> {
    let at = format!("{at}/nice");
    if matches!(policy, 0 | BATCH) {
        if !(-20..=19).contains(&given.nice) {
            return Err(Error::config(at, format!("{} is outside -20 to 19", given.nice)));
        }
    } else if given.nice != 0 {
        warnings.push(format!("{at}: has no effect with {}", given.policy));
    }
    Ok(())
}

fn priority(given: &config::Scheduler, policy: u32, at: &str) -> Result<u32> {
    let at = format!("{at}/priority");
    match (policy, u32::try_from(given.priority)) {
        (FIFO | RR, Ok(priority @ 1..=99)) => Ok(priority),
        (FIFO | RR, _) => Err(Error::config(at, format!("{} is outside 1 to 99", given.priority))),
        (_, Ok(0)) => Ok(0),
        _ => Err(Error::config(at, "can only be given for SCHED_FIFO or SCHED_RR").on(given.policy.clone())),
    }
}

fn check_deadline(given: &config::Scheduler, policy: u32, at: &str) -> Result<()> {
    let fields = [("runtime", given.runtime), ("deadline", given.deadline), ("period", given.period)];
    if policy != DEADLINE {
        return match fields.iter().find(|(_, value)| *value != 0) {
            Some((field, _)) => {
                Err(Error::config(format!("{at}/{field}"), "needs SCHED_DEADLINE").on(given.policy.clone()))
            }
            None => Ok(()),
        };
    }
    // A period of 0 stands for the deadline.
    let period = if given.period == 0 { given.deadline } else { given.period };
    if given.runtime == 0 || given.runtime > given.deadline || given.deadline > period {
        return Err(Error::config(at, "SCHED_DEADLINE needs 0 < runtime <= deadline <= period")
            .on(format!("{}, {}, {}", given.runtime, given.deadline, given.period)));
    }
    Ok(())
}

const IO_CLASSES: [(&str, u16); 3] =
    [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// Returns class and level as ioprio_set(2) takes them.
pub fn io_priority(given: &IoPriority, at: &str) -> Result<u16> {
    const CLASS_SHIFT: u32 = 13;
    let class = find_by_name(&IO_CLASSES, &given.class, format!("{at}/class"), "an I/O scheduling class")?;
    match u16::try_from(given.priority) {
        Ok(level @ 0..=7) => Ok(class << CLASS_SHIFT | level),
        _ => Err(Error::config(format!("{at}/priority"), format!("{} is outside 0 to 7", given.priority))),
    }
}

/// Resolves the CPUs of an `exec` process.
pub fn affinity(given: &config::CpuAffinity, at: &str) -> Result<CpuAffinity> {
    Ok(CpuAffinity {
        before_move: bit_list::parse_bits(&given.initial, &format!("{at}/initial"))?,
        after_move: bit_list::parse_bits(&given.last, &format!("{at}/final"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> (Result<Attr>, Vec<String>) {
        let mut warnings = Vec::new();
        let given = serde_json::from_str(json).expect("JSON");
        (scheduler(&given, "/s", &mut warnings), warnings)
    }

    fn refused_at(json: &str) -> String {
        parsed(json).0.expect_err(json).at
    }

    #[test]
    fn all_fields_are_taken() {
        let (attr, warnings) = parsed(
            r#"{"policy":"SCHED_DEADLINE","flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_DL_OVERRUN"],
                "runtime":1,"deadline":2,"period":3}"#,
        );
        let wanted = Attr { policy: 6, flags: 5, runtime: 1, deadline: 2, period: 3, ..Attr::default() };
        assert_eq!((attr, warnings.len()), (Ok(wanted), 0));
        let all = FLAGS.map(|(name, _)| format!("{name:?}")).join(",");
        let (attr, _) = parsed(&format!(r#"{{"policy":"SCHED_RR","priority":99,"flags":[{all}]}}"#));
        assert_eq!(attr.map(|a| (a.policy, a.priority, a.flags)), Ok((2, 99, 0x7f)));
        let (attr, _) = parsed(r#"{"policy":"SCHED_BATCH","nice":-20}"#);
        assert_eq!(attr.map(|a| (a.policy, a.nice)), Ok((3, -20)));
    }

    #[test]
    fn what_the_policy_has_no_use_for_is_refused() {
        for (json, at) in [
            (r#"{}"#, "/s/policy"),
            (r#"{"policy":"SCHED_NOPE"}"#, "/s/policy"),
            (r#"{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_NOPE"]}"#, "/s/flags/0"),
            (r#"{"policy":"SCHED_OTHER","nice":20}"#, "/s/nice"),
            (r#"{"policy":"SCHED_OTHER","priority":1}"#, "/s/priority"),
            (r#"{"policy":"SCHED_IDLE","priority":-1}"#, "/s/priority"),
            (r#"{"policy":"SCHED_FIFO"}"#, "/s/priority"),
            (r#"{"policy":"SCHED_RR","priority":100}"#, "/s/priority"),
            (r#"{"policy":"SCHED_RR","priority":1,"period":1}"#, "/s/period"),
            (r#"{"policy":"SCHED_DEADLINE","deadline":1}"#, "/s"),
            (r#"{"policy":"SCHED_DEADLINE","runtime":3,"deadline":2}"#, "/s"),
            (r#"{"policy":"SCHED_DEADLINE","runtime":1,"deadline":3,"period":2}"#, "/s"),
        ] {
            assert_eq!(refused_at(json), at, "{json}");
        }
    }

    #[test]
    fn a_nice_value_without_effect_is_warned_about() {
        // Engines and runc's own tests send a nice value with SCHED_DEADLINE.
        let (attr, warnings) = parsed(r#"{"policy":"SCHED_DEADLINE","nice":19,"runtime":1,"deadline":2}"#);
        assert!(attr.is_ok() && warnings == ["/s/nice: has no effect with SCHED_DEADLINE"]);
    }

    #[test]
    fn io_priorities() {
        let given = |class: &str, priority| IoPriority { class: class.into(), priority };
        assert_eq!(io_priority(&given("IOPRIO_CLASS_BE", 7), ""), Ok(2 << 13 | 7));
        assert_eq!(io_priority(&given("IOPRIO_CLASS_NONE", 0), "").map_err(|e| e.at), Err("/class".into()));
        for priority in [-1, 8] {
            let error = io_priority(&given("IOPRIO_CLASS_RT", priority), "");
            assert_eq!(error.map_err(|e| e.at), Err("/priority".into()));
        }
    }
}
