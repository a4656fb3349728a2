//! Translates device rules to properties of a unit. Pure: does no I/O.

use super::property::Property;
use super::wire::Value;
use crate::spec::plan::{DeviceKind, DeviceRule};

/// Returns the device rules as properties, as far as systemd has rules. systemd has no
/// rule that denies, and none for one minor number of all majors. Its list allows at
/// least what the rules allow. The container's own program is attached beside systemd's,
/// and is exact. DeviceAllow comes before DevicePolicy, so that the policy never applies
/// without its list.
pub fn device_properties(rules: &[DeviceRule]) -> Vec<Property> {
    let mut allowed: Vec<DeviceRule> = Vec::new();
    let mut all = true;
    for rule in rules {
        let is_total =
            rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none() && access(rule) == "rwm";
        if is_total {
            all = rule.allow;
            allowed.clear();
        } else if rule.allow {
            allowed.push(*rule);
        } else {
            allowed.retain_mut(|other| !take_back(other, rule));
        }
    }
    let rows = |rule: &DeviceRule| {
        let rule = *rule;
        device_names(&rule).map(move |node| Value::Tuple(vec![Value::text(node), Value::text(access(&rule))]))
    };
    let list = if all { Vec::new() } else { allowed.iter().flat_map(rows).collect() };
    let policy = if all { "auto" } else { "strict" };
    vec![
        Property::needed("DeviceAllow", Value::Array("(ss)".into(), list)),
        Property::needed("DevicePolicy", Value::text(policy)),
    ]
}

/// Removes from an allowing rule the access that `denied` denies, if `denied` covers its
/// devices. Returns whether nothing is left.
fn take_back(allowed: &mut DeviceRule, denied: &DeviceRule) -> bool {
    let same = |a: Option<u32>, b: Option<u32>| b.is_none() || a == b;
    let covers = (denied.kind.is_none() || denied.kind == allowed.kind)
        && same(allowed.major, denied.major)
        && same(allowed.minor, denied.minor);
    if covers {
        allowed.read &= !denied.read;
        allowed.write &= !denied.write;
        allowed.mknod &= !denied.mknod;
    }
    access(allowed).is_empty()
}

fn access(rule: &DeviceRule) -> String {
    [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, c)| c)
        .collect()
}

/// Returns systemd's names for the devices: `/dev/char/1:3` (the file need not exist),
/// `char-136` or `char-*`.
fn device_names(rule: &DeviceRule) -> impl Iterator<Item = String> + use<> {
    let kinds: &[&str] = match rule.kind {
        None => &["char", "block"],
        Some(DeviceKind::Block) => &["block"],
        Some(DeviceKind::Char | DeviceKind::Fifo) => &["char"],
    };
    let (major, minor) = (rule.major, rule.minor);
    kinds.iter().map(move |kind| match (major, minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, _) => format!("{kind}-*"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(
        allow: bool,
        kind: Option<DeviceKind>,
        major: Option<u32>,
        minor: Option<u32>,
        access: &str,
    ) -> DeviceRule {
        let has = |letter| access.contains(letter);
        DeviceRule { allow, kind, major, minor, read: has('r'), write: has('w'), mknod: has('m') }
    }

    fn allow_list(rules: &[DeviceRule]) -> Vec<(String, String)> {
        let properties = device_properties(rules);
        let names: Vec<_> = properties.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["DeviceAllow", "DevicePolicy"], "in this order");
        let Value::Array(_, rows) = &properties[0].value else { panic!("{properties:?}") };
        let text =
            |value: &Value| if let Value::Str(text) = value { text.clone() } else { panic!("{value:?}") };
        let mut out = vec![("policy".to_owned(), text(&properties[1].value))];
        for row in rows {
            let Value::Tuple(pair) = row else { panic!("{row:?}") };
            out.push((text(&pair[0]), text(&pair[1])));
        }
        out
    }

    #[test]
    fn device_rules_are_a_list_of_what_is_allowed() {
        let (c, b) = (Some(DeviceKind::Char), Some(DeviceKind::Block));
        let rows = allow_list(&[
            rule(false, None, None, None, "rwm"),
            rule(true, c, Some(1), Some(3), "rw"),
            rule(true, b, Some(8), None, "rwm"),
            rule(true, None, None, Some(5), "m"),
        ]);
        let wanted = [
            ("policy", "strict"),
            ("/dev/char/1:3", "rw"),
            ("block-8", "rwm"),
            ("char-*", "m"),
            ("block-*", "m"),
        ];
        assert_eq!(rows, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_rule_for_everything_is_a_policy() {
        let all = rule(true, None, None, None, "rwm");
        let disk = rule(true, Some(DeviceKind::Block), Some(8), None, "rwm");
        let policy = |name: &str| vec![("policy".to_owned(), name.to_owned())];
        assert_eq!(allow_list(&[disk, all]), policy("auto"));
        let none = rule(false, None, None, None, "rwm");
        assert_eq!(allow_list(&[all, disk, none]), policy("strict"));
    }

    #[test]
    fn what_was_denied_again_is_not_on_the_list() {
        let none = rule(false, None, None, None, "rwm");
        let disk = |allow, minor, access| rule(allow, Some(DeviceKind::Block), Some(8), minor, access);
        let rows = allow_list(&[
            none,
            disk(true, Some(1), "rw"),
            disk(true, Some(2), "r"),
            disk(false, Some(1), "w"),
        ]);
        assert_eq!(rows[1], ("/dev/block/8:1".into(), "r".into()));
        assert_eq!(allow_list(&[none, disk(true, Some(1), "rw"), disk(false, None, "rw")]).len(), 1);
        // A part of a rule can't be removed, so the list allows more than the rules.
        assert_eq!(allow_list(&[none, disk(true, None, "r"), disk(false, Some(1), "r")]).len(), 2);
    }
}
