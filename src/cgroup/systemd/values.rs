//! Values as systemd expects them: limits, weights, and sets of CPUs and memory nodes.
//! Pure: does no I/O.

use super::property::Property;
use super::wire::Value;
use crate::cgroup::common_table::refused;
use crate::error::Result;
use crate::spec::plan::Limit;

/// The value that means "no limit" to systemd.
pub const INFINITY: u64 = u64::MAX;

/// The limit for the numbers of CPUs and memory nodes. No kernel has so many.
const SET_LIMIT: usize = 1 << 16;

/// Returns a property whose value is a limit.
pub fn limit_property(name: &str, limit: Limit) -> Property {
    let number = match limit {
        Limit::Unlimited => INFINITY,
        Limit::Max(value) => value,
    };
    Property::number(name, number)
}

/// Returns the weight that sets `cpu.idle` in systemd (since 252).
pub fn idle_weight() -> Property {
    Property::number("CPUWeight", 0)
}

/// Converts a weight from BFQ's scale (1 to 1000) to systemd's (1 to 10000). Both scales
/// have the default 100. systemd converts in the other direction for BFQ.
pub fn io_weight(bfq: u64) -> u64 {
    let bfq = bfq.clamp(1, 1000);
    if bfq <= 100 { bfq } else { 100 + (bfq - 100) * 11 }
}

/// Returns a property whose value is a set. `at` is the JSON pointer of the set below
/// /linux/resources.
///
/// # Errors
/// `set` is not a list like `0-2,7`.
pub fn set_property(name: &str, set: &str, at: &str) -> Result<Property> {
    match parse_bits(set) {
        Some(bits) => Ok(Property::optional(name, Value::bytes(&bits))),
        None => Err(refused(at, "is not a list like 0-2,7").on(set)),
    }
}

/// Parses a list like `0-2,7` to bits, the lowest byte first, as systemd expects them.
/// `None` if it is empty or no list.
fn parse_bits(set: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for range in set.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= SET_LIMIT {
            return None;
        }
        for bit in first..=last {
            if out.len() <= bit / 8 {
                out.resize(bit / 8 + 1, 0);
            }
            out[bit / 8] |= 1 << (bit % 8);
        }
    }
    if out.is_empty() { None } else { Some(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_bits() {
        assert_eq!(parse_bits("0-2,7"), Some(vec![0b1000_0111]));
        assert_eq!(parse_bits(" 9 "), Some(vec![0, 2]));
        assert_eq!(parse_bits("8-9,0\n"), Some(vec![1, 3]));
        for bad in ["", "a", "3-1", "0-", "-1", "65536", "0-99999999"] {
            assert_eq!(parse_bits(bad), None, "{bad}");
        }
        let error = set_property("AllowedCPUs", "x", "cpu/cpus").map_err(|e| e.at);
        assert_eq!(error, Err("/linux/resources/cpu/cpus".into()));
    }

    #[test]
    fn io_weights_meet_at_both_ends_and_the_default() {
        for (bfq, io) in [(1, 1), (50, 50), (100, 100), (550, 5050), (1000, 10_000), (0, 1), (5000, 10_000)] {
            assert_eq!(io_weight(bfq), io, "{bfq}");
        }
    }
}
