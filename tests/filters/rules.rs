//! Evaluates the rules of a profile one after another, without a program. Also passes the
//! rules to libseccomp as runc does.

use crate::oracle::{Oracle, library_name};
use crate::xorshift::Random;
use corten::seccomp::arch::Arch;
use corten::seccomp::calls::Call;
use corten::seccomp::profile::{Condition, Op, Profile};
use serde_json::Value;

const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const TRACE: u32 = 0x7ff0_0000;
const KILL: u32 = 0;
const ENOSYS: u32 = 0x0005_0000 | 38;

fn action(entry: &Value, action: &str, errno: &str) -> u32 {
    let errno = entry[errno].as_u64().unwrap_or(1) as u32;
    match entry[action].as_str().expect("an action") {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno,
        "SCMP_ACT_TRACE" => TRACE | errno,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL,
        other => panic!("{other}"),
    }
}

/// Passes a profile to libseccomp as runc does.
pub fn tell(oracle: &mut Oracle, profile: &Value, archs: &[Arch], optimize: bool) {
    let default = action(profile, "defaultAction", "defaultErrnoRet");
    let archs: Vec<String> = archs.iter().map(|arch| library_name(*arch)).collect();
    oracle.say(&format!("filter {default:#x} {}", archs.join(" ")));
    if optimize {
        oracle.say("optimize 2");
    }
    for entry in profile["syscalls"].as_array().expect("syscalls") {
        let action = action(entry, "action", "errnoRet");
        if action == default {
            continue;
        }
        let args: Vec<(u64, String)> = entry["args"].as_array().into_iter().flatten().map(argument).collect();
        let mut indices: Vec<u64> = args.iter().map(|(index, _)| *index).collect();
        indices.sort_unstable();
        let twice = indices.windows(2).any(|pair| pair[0] == pair[1]);
        for name in entry["names"].as_array().expect("names") {
            let name = name.as_str().expect("a name");
            if twice {
                for (_, arg) in &args {
                    oracle.say(&format!("rule {action:#x} {name} 1 {arg}"));
                }
            } else {
                let all: Vec<&str> = args.iter().map(|(_, arg)| arg.as_str()).collect();
                oracle.say(&format!("rule {action:#x} {name} {} {}", all.len(), all.join(" ")));
            }
        }
    }
}

fn argument(arg: &Value) -> (u64, String) {
    let number = |field: &str| arg[field].as_u64().unwrap_or(0);
    let op = match arg["op"].as_str().expect("an operator") {
        "SCMP_CMP_NE" => 1,
        "SCMP_CMP_LT" => 2,
        "SCMP_CMP_LE" => 3,
        "SCMP_CMP_EQ" => 4,
        "SCMP_CMP_GE" => 5,
        "SCMP_CMP_GT" => 6,
        _ => 7,
    };
    (number("index"), format!("{} {op} {:#x} {:#x}", number("index"), number("value"), number("valueTwo")))
}

/// The entries of a profile that name a call of this number.
pub fn entries_for(profile: &Value, archs: &[Arch], number: u32) -> String {
    let entries = profile["syscalls"].as_array().expect("syscalls").iter();
    let named = entries.filter(|entry| {
        entry["names"].as_array().expect("names").iter().any(|name| {
            let call = Call::find(name.as_str().expect("a name"));
            call.is_some_and(|call| archs.iter().any(|arch| call.number(*arch) == Some(number)))
        })
    });
    named
        .map(|entry| format!("{} {} {}", entry["action"], entry["errnoRet"], entry["args"]))
        .collect::<Vec<_>>()
        .join(" | ")
}

/// One rule for one number.
struct Rule {
    audit: u32,
    number: u32,
    wide: bool,
    all: Vec<Condition>,
    action: u32,
}

/// A profile's rules, call by call.
pub struct Rules {
    rules: Vec<Rule>,
    default: u32,
    archs: Vec<Arch>,
    /// The highest number that each architecture's rules know.
    highest: Vec<Option<u32>>,
}

impl Rules {
    pub fn new(profile: &Profile) -> Rules {
        let mut rules = Vec::new();
        for (rule, call) in
            profile.rules.iter().flat_map(|rule| rule.calls.iter().map(move |call| (rule, call)))
        {
            for arch in profile.archs.iter().filter(|_| rule.action != profile.default) {
                let none = [Vec::new()];
                let any_of = if rule.any_of.is_empty() { &none[..] } else { &rule.any_of };
                for all in any_of {
                    let facts = arch.facts();
                    let mut add = |number: u32, all: Vec<Condition>| {
                        let (audit, wide) = (facts.audit, facts.wide);
                        rules.push(Rule { audit, number, wide, all, action: rule.action.0 });
                    };
                    if let Some((through, value)) =
                        call.multiplexed().filter(|_| arch.has_multiplexed_calls())
                    {
                        let first = Condition { arg: 0, op: Op::Eq, mask: u64::MAX, value };
                        let rest = all.iter().filter(|c| c.arg != 0).copied();
                        add(
                            through.number(*arch).expect("it has it"),
                            std::iter::once(first).chain(rest).collect(),
                        );
                    }
                    if let Some(number) = call.number(*arch) {
                        add(number, all.clone());
                    }
                }
            }
        }
        let calls = || profile.rules.iter().flat_map(|rule| &rule.calls);
        let highest = profile.archs.iter().map(|arch| calls().filter_map(|call| call.number(*arch)).max());
        Rules { rules, default: profile.default.0, highest: highest.collect(), archs: profile.archs.clone() }
    }

    fn of(&self, audit: u32, number: u32) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.audit == audit && rule.number == number)
    }

    /// ENOSYS where runc adds it: above the highest number, and on s390 for 0.
    pub fn with_enosys(&self, audit: u32, number: u32) -> Option<u32> {
        if matches!(self.default & 0xffff_0000, ALLOW | LOG | TRACE) {
            return None;
        }
        let x32 = audit == Arch::X86_64.facts().audit && number & (1 << 30) != 0;
        // Without x32, a number above all x86_64 and x32 numbers is invalid, and not new.
        let ours = self.archs.iter().zip(&self.highest).find(|(arch, _)| {
            arch.facts().audit == audit
                && (audit != Arch::X86_64.facts().audit
                    || (**arch == Arch::X32) == (x32 || number >> 31 == 1))
        });
        let (arch, highest) = ours?;
        let multiplexer = number == 0 && matches!(arch, Arch::S390 | Arch::S390X);
        (*highest)?;
        (multiplexer || Some(number) > *highest).then_some(ENOSYS)
    }

    /// The verdict by the text of the profile. If rules with several actions apply at once,
    /// the profile does not define the result, and each of these actions is right. So this
    /// oracle does not check the order of `verdicts.rs`.
    pub fn verdict(&self, audit: u32, number: u32, args: [u64; 6]) -> Vec<u32> {
        if let Some(action) = self.with_enosys(audit, number) {
            return vec![action];
        }
        if !self.archs.iter().any(|arch| arch.facts().audit == audit) {
            return vec![KILL];
        }
        let x86 = audit == Arch::X86_64.facts().audit;
        if x86 && number >= 1 << 30 && !self.archs.contains(&Arch::X32) {
            return vec![if number == u32::MAX { self.default } else { KILL }];
        }
        let always = |rule: &&Rule| rule.all.iter().all(|c| c.mask & rule.width() == 0);
        if let Some(rule) = self.of(audit, number).find(always) {
            return vec![rule.action];
        }
        let mut out: Vec<u32> =
            self.of(audit, number).filter(|rule| rule.holds(args)).map(|rule| rule.action).collect();
        out.sort_unstable();
        out.dedup();
        if out.is_empty() { vec![self.default] } else { out }
    }

    /// Arguments to test: around the values of the rules, and others.
    pub fn samples(&self, number: u32, audit: u32, random: &mut Random) -> Vec<[u64; 6]> {
        let mut values: [Vec<u64>; 6] = Default::default();
        for c in self.of(audit, number).flat_map(|rule| &rule.all) {
            let v = c.value;
            let near = [v, v.wrapping_sub(1), v.wrapping_add(1), v ^ 1 << 32, v | !c.mask, v ^ c.mask, !v];
            values[usize::from(c.arg)].extend(near);
        }
        if values.iter().all(Vec::is_empty) {
            return vec![[0; 6], std::array::from_fn(|_| random.next())];
        }
        values.iter_mut().for_each(|values| values.extend([0, u64::MAX]));
        (0..48).map(|_| std::array::from_fn(|arg| random.pick(&values[arg]))).collect()
    }
}

impl Rule {
    fn width(&self) -> u64 {
        if self.wide { u64::MAX } else { u64::from(u32::MAX) }
    }

    fn holds(&self, args: [u64; 6]) -> bool {
        self.all.iter().all(|c| {
            let (a, b) = (args[usize::from(c.arg)] & self.width(), c.value & self.width());
            match c.op {
                Op::Ne => a != b,
                Op::Lt => a < b,
                Op::Le => a <= b,
                Op::Eq => a == b,
                Op::Ge => a >= b,
                Op::Gt => a > b,
                Op::MaskedEq => a & c.mask == b & c.mask,
            }
        })
    }
}
