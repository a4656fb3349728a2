//! `linux.seccomp`: which system calls the payload may make (config-linux.md "Seccomp").

use super::config::{Config, Seccomp, SeccompArg, SeccompCalls};
use crate::error::{Error, Result};
use crate::seccomp::arch::Arch;
use crate::seccomp::calls::Call;
use crate::seccomp::profile::{
    Action, Condition, Conditions, FLAGS, Listener, Op, Profile, Rule, SPEC_ALLOW, WAIT_KILLABLE_RECV,
};

const AT: &str = "/linux/seccomp";

/// crun's annotation for the path of the agent's socket. It counts if `listenerPath` is
/// not given.
const RECEIVER: &str = "run.oci.seccomp.receiver";

/// crun's annotation for strict names. A system call that no architecture has is then an
/// error.
const FAIL_UNKNOWN: &str = "run.oci.seccomp_fail_unknown_syscall";

/// The names of the actions, sorted.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// Resolves the profile of a configuration. Returns `None` if there is no profile, or an
/// empty one.
pub fn seccomp(config: &Config) -> Result<Option<Profile>> {
    let profile = config.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    let Some(seccomp) = profile.filter(|s| !s.default_action.is_empty() || !s.syscalls.is_empty()) else {
        return Ok(None);
    };
    let default = action(
        &seccomp.default_action,
        seccomp.default_errno_ret,
        &format!("{AT}/defaultAction"),
        &format!("{AT}/defaultErrnoRet"),
    )?;
    if default == Action::NOTIFY {
        return Err(Error::config(format!("{AT}/defaultAction"), "SCMP_ACT_NOTIFY can't be the default")
            .hint(
                "choose another default action: the runtime's own calls that hand over the listener \
                 would wait for an answer, too",
            ));
    }
    let annotation = |name: &str| config.annotations.get(name).map(String::as_str).unwrap_or_default();
    let (mut rules, mut unknown) = (Vec::new(), Vec::new());
    for (index, entry) in seccomp.syscalls.iter().enumerate() {
        rules.push(rule(entry, index, &mut unknown)?);
    }
    if let Some((at, name)) = unknown.first()
        && !matches!(annotation(FAIL_UNKNOWN), "" | "0")
    {
        return Err(Error::config(at, "no architecture has a system call of this name").on(name));
    }
    let notifies = rules.iter().any(|rule| rule.action == Action::NOTIFY);
    Ok(Some(Profile {
        default,
        archs: architectures(&seccomp.architectures)?,
        flags: flags(seccomp.flags.as_deref(), notifies)?,
        listener: listener(seccomp, annotation(RECEIVER), &rules)?,
        rules,
        unknown: unknown.into_iter().map(|(_, name)| name).collect(),
    }))
}

/// Resolves the action `name` with `errno` as its data. `at` and `errno_at` are their
/// JSON pointers.
fn action(name: &str, errno: Option<u64>, at: &str, errno_at: &str) -> Result<Action> {
    // The kernel would return 4095, its largest errno, for any larger number.
    let (limit, with_errno): (u16, fn(u16) -> Action) = match name {
        "SCMP_ACT_ERRNO" => (4095, Action::errno),
        "SCMP_ACT_TRACE" => (u16::MAX, Action::trace),
        _ => {
            let action = plain_action(name).ok_or_else(|| {
                let what = if name.is_empty() { "is missing" } else { "is not an action" };
                Error::config(at, what).on(name)
            })?;
            if errno.is_some() {
                return Err(Error::config(errno_at, format!("{name} has no errno"))
                    .hint("remove errnoRet, or use SCMP_ACT_ERRNO or SCMP_ACT_TRACE"));
            }
            return Ok(action);
        }
    };
    let errno = errno.unwrap_or(1);
    match u16::try_from(errno) {
        Ok(errno) if errno <= limit => Ok(with_errno(errno)),
        _ => Err(Error::config(errno_at, format!("{errno} is above {limit}"))),
    }
}

fn plain_action(name: &str) -> Option<Action> {
    Some(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => Action::KILL_PROCESS,
        "SCMP_ACT_TRAP" => Action::TRAP,
        "SCMP_ACT_ALLOW" => Action::ALLOW,
        "SCMP_ACT_LOG" => Action::LOG,
        "SCMP_ACT_NOTIFY" => Action::NOTIFY,
        _ => return None,
    })
}

/// Returns the architectures that the kernel of this machine can run. The native one is
/// always there, and comes first. A process of another architecture cannot exist.
fn architectures(names: &[String]) -> Result<Vec<Arch>> {
    let native = Arch::NATIVE.ok_or_else(|| {
        Error::config(AT, "this build of corten is for an architecture without a table of system calls")
    })?;
    let mut out = vec![native];
    for (i, name) in names.iter().enumerate() {
        let arch = Arch::from_name(name).ok_or_else(|| {
            Error::config(format!("{AT}/architectures/{i}"), "is not an architecture").on(name)
        })?;
        if arch.shares_a_kernel_with(native) && !out.contains(&arch) {
            out.push(arch);
        }
    }
    Ok(out)
}

/// Resolves `flags`. An absent list is not the same as an empty one: it stands for
/// SECCOMP_FILTER_FLAG_SPEC_ALLOW, as in runc and crun. Older kernels tie a mitigation of
/// speculative stores to seccomp, and without this flag the payload would pay for it.
fn flags(names: Option<&[String]>, notifies: bool) -> Result<u32> {
    let Some(names) = names else { return Ok(SPEC_ALLOW) };
    let mut bits = 0;
    for (i, name) in names.iter().enumerate() {
        let at = format!("{AT}/flags/{i}");
        let known = FLAGS.iter().find(|(known, _)| known == name);
        let (_, bit) = known.ok_or_else(|| Error::config(&at, "is not a flag of seccomp(2)").on(name))?;
        if *bit == WAIT_KILLABLE_RECV && !notifies {
            return Err(Error::config(at, "is only for a profile with SCMP_ACT_NOTIFY").on(name));
        }
        bits |= bit;
    }
    Ok(bits)
}

fn listener(seccomp: &Seccomp, receiver: &str, rules: &[Rule]) -> Result<Option<Listener>> {
    if !receiver.is_empty() && !receiver.starts_with('/') {
        return Err(
            Error::config(format!("/annotations/{RECEIVER}"), "must be an absolute path").on(receiver)
        );
    }
    let path = if seccomp.listener_path.is_empty() { receiver } else { &seccomp.listener_path };
    if path.is_empty() && !seccomp.listener_metadata.is_empty() {
        return Err(Error::config(format!("{AT}/listenerMetadata"), "needs listenerPath"));
    }
    let Some(rule) = rules.iter().find(|rule| rule.action == Action::NOTIFY) else { return Ok(None) };
    if path.is_empty() {
        return Err(Error::config(format!("{AT}/syscalls/{}/action", rule.index), "needs listenerPath")
            .on("SCMP_ACT_NOTIFY"));
    }
    super::c_string(path, &format!("{AT}/listenerPath"))?;
    Ok(Some(Listener { path: path.into(), metadata: seccomp.listener_metadata.clone() }))
}

fn rule(entry: &SeccompCalls, index: usize, unknown: &mut Vec<(String, String)>) -> Result<Rule> {
    let at = |field: &str| format!("{AT}/syscalls/{index}/{field}");
    let action = action(&entry.action, entry.errno_ret, &at("action"), &at("errnoRet"))?;
    if entry.names.is_empty() {
        return Err(Error::config(at("names"), "must name a system call"));
    }
    let mut calls = Vec::with_capacity(entry.names.len());
    for (i, name) in entry.names.iter().enumerate() {
        let at = || at(&format!("names/{i}"));
        match name.as_str() {
            "" => return Err(Error::config(at(), "is not the name of a system call")),
            "write" if action == Action::NOTIFY => {
                return Err(Error::config(at(), "SCMP_ACT_NOTIFY cannot be used for the write syscall")
                    .hint(
                        "choose another action: the runtime itself needs write to hand over the listener",
                    ));
            }
            _ => match Call::find(name) {
                Some(call) => calls.push(call),
                None => unknown.push((at(), name.clone())),
            },
        }
    }
    let conditions = entry.args.iter().enumerate().map(|(i, arg)| condition(arg, &at(&format!("args/{i}"))));
    Ok(Rule { index, calls, action, any_of: combine_conditions(conditions.collect::<Result<_>>()?) })
}

fn condition(arg: &SeccompArg, at: &str) -> Result<Condition> {
    let index = u8::try_from(arg.index).ok().filter(|index| *index < 6).ok_or_else(|| {
        Error::config(format!("{at}/index"), format!("{}: a call has arguments 0 to 5", arg.index))
    })?;
    let op = Op::NAMES.iter().find(|(name, _)| *name == arg.op).map(|(_, op)| *op);
    let op = op.ok_or_else(|| Error::config(format!("{at}/op"), "is not an operator").on(arg.op.clone()))?;
    // In a masked comparison, `value` is the mask and `valueTwo` is the value.
    let (mask, value) = match op {
        Op::MaskedEq => (arg.value, arg.value_two & arg.value),
        _ => (u64::MAX, arg.value),
    };
    Ok(Condition { arg: index, op, mask, value })
}

/// Combines the conditions of a rule. All conditions must hold, unless two are for the
/// same argument. Then one condition that holds is enough, as in runc, for the sake of
/// old profiles.
fn combine_conditions(mut all: Conditions) -> Vec<Conditions> {
    if all.is_empty() {
        return Vec::new();
    }
    let in_order = all.clone();
    all.sort_by_key(|condition| condition.arg);
    if all.windows(2).any(|pair| pair[0].arg == pair[1].arg) {
        return in_order.into_iter().map(|condition| vec![condition]).collect();
    }
    vec![all]
}
