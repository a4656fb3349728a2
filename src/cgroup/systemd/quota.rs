//! The CPU quota, which systemd counts in microseconds for each second and rounds. Pure:
//! does no I/O.

use super::property::Property;
use super::values::{INFINITY, limit_property};
use crate::cgroup::v2_table::DEFAULT_PERIOD;
use crate::spec::plan::{Limit, Resources};
use std::borrow::Cow;
use std::num::NonZero;

/// Adds a CPU quota. `quota` is in microseconds for each period, `period` in
/// microseconds.
pub fn add_quota(quota: Option<Limit>, period: Option<NonZero<u64>>, out: &mut Vec<Property>) {
    if let Some(period) = period {
        out.push(Property::number("CPUQuotaPeriodUSec", period.get()));
    }
    if quota.is_some() || period.is_some() {
        let per_second = match quota {
            Some(Limit::Max(quota)) => Limit::Max(per_second_of(quota, period)),
            Some(Limit::Unlimited) | None => Limit::Unlimited,
        };
        out.push(limit_property("CPUQuotaPerSecUSec", per_second));
    }
}

/// Converts a quota to microseconds for each second. Rounds up to whole per cents of a
/// CPU, which is systemd's unit. Rounding up leaves a cgroup below the container's the
/// whole quota that was asked for.
fn per_second_of(quota: u64, period: Option<NonZero<u64>>) -> u64 {
    const PER_CENT: u128 = 10_000;
    let exact = u128::from(quota) * 1_000_000 / u128::from(period_or_default(period));
    u64::try_from(exact.next_multiple_of(PER_CENT)).unwrap_or(INFINITY)
}

fn period_or_default(period: Option<NonZero<u64>>) -> u64 {
    period.map_or(DEFAULT_PERIOD, NonZero::get)
}

/// Returns `resources` with the values that systemd is going to write. systemd writes the
/// CPU quota in whole per cents of a CPU. runc rounds the quota, too, since 1.3.
pub fn round_as_systemd(resources: &Resources) -> Cow<'_, Resources> {
    let mut out = Cow::Borrowed(resources);
    if let Some(Limit::Max(quota)) = resources.cpu.quota {
        let rounded = round_quota(quota, resources.cpu.period);
        out.to_mut().cpu.quota = Some(Limit::Max(rounded));
    }
    if let Some(rounded) = resources.unified.get("cpu.max").and_then(|value| round_cpu_max(value)) {
        out.to_mut().unified.insert("cpu.max".into(), rounded);
    }
    out
}

/// Returns the quota that systemd writes, in microseconds for each period. Like systemd,
/// rounds up to a per cent and then down to a microsecond.
fn round_quota(quota: u64, period: Option<NonZero<u64>>) -> u64 {
    match per_second_of(quota, period) {
        // More than systemd can count, and more than any machine has.
        INFINITY => quota,
        per_second => {
            let in_period = u128::from(per_second) * u128::from(period_or_default(period)) / 1_000_000;
            u64::try_from(in_period).unwrap_or(quota)
        }
    }
}

/// Returns cpu.max as systemd writes it. `None` if it has no quota, or if it is invalid:
/// the kernel then reports the error.
fn round_cpu_max(value: &str) -> Option<String> {
    let mut words = value.split_ascii_whitespace();
    let quota: u64 = words.next()?.parse().ok()?;
    Some(match words.next() {
        None => round_quota(quota, None).to_string(),
        Some(period) => format!("{} {period}", round_quota(quota, Some(period.parse().ok()?))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_gets_the_quota_that_systemd_will_write() {
        for (quota, period, wanted) in [
            (25_001, Some(50_000), 25_500),
            (50_000, None, 50_000),
            (123_456, Some(100_000), 124_000),
            (10_000, Some(33_333), 10_333),
            (1000, Some(500_000), 5000),
            (u64::MAX, Some(1), u64::MAX),
        ] {
            let rounded = round_quota(quota, period.and_then(NonZero::new));
            assert_eq!(rounded, wanted, "{quota} of {period:?}");
        }
        for (value, wanted) in [
            ("25001 50000", Some("25500 50000")),
            ("123456", Some("124000")),
            ("max 50000", None),
            ("-1 50000", None),
            ("5 0", None),
            ("x", None),
        ] {
            assert_eq!(round_cpu_max(value).as_deref(), wanted, "{value}");
        }
    }

    #[test]
    fn more_than_systemd_can_count_is_no_limit() {
        assert_eq!(per_second_of(u64::MAX, NonZero::new(1)), INFINITY);
    }

    #[test]
    fn only_a_quota_is_rounded() {
        let unlimited = Resources {
            cpu: crate::spec::plan::Cpu { quota: Some(Limit::Unlimited), ..Default::default() },
            ..Default::default()
        };
        assert!(matches!(round_as_systemd(&unlimited), Cow::Borrowed(_)));
    }
}
