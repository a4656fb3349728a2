//! Lists of CPUs or memory nodes, such as `0-3,7`, as bits.

use crate::error::{Error, Result};

/// One more than the largest number that a list may have. No kernel has so many CPUs or
/// nodes: NR_CPUS of x86-64 is at most 8192.
const MAX: usize = 65536;

/// Returns the bits of a list: number n is bit n % 64 of word n / 64. An empty list has
/// no words. As in runc, spaces may surround an entry, and an entry may be empty.
pub fn parse_bits(list: &str, at: &str) -> Result<Vec<u64>> {
    let mut out = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        let (first, last) = (parse_number(first, entry, at)?, parse_number(last, entry, at)?);
        if first > last {
            return Err(Error::config(at, "the range runs backwards").on(entry));
        }
        for bit in first..=last {
            if out.len() <= bit / 64 {
                out.resize(bit / 64 + 1, 0);
            }
            out[bit / 64] |= 1 << (bit % 64);
        }
    }
    if out.is_empty() && !list.is_empty() {
        return Err(Error::config(at, "names nothing").on(format!("{list:?}")));
    }
    Ok(out)
}

fn parse_number(text: &str, entry: &str, at: &str) -> Result<usize> {
    let wrong = || Error::config(at, "must be numbers and ranges, like 0-3,7").on(format!("{entry:?}"));
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    match text.parse::<usize>() {
        Ok(number) if number < MAX => Ok(number),
        _ => Err(Error::config(at, format!("no number may be above {}", MAX - 1)).on(entry)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges() {
        assert_eq!(parse_bits("0-3,7", ""), Ok(vec![0b1000_1111]));
        assert_eq!(parse_bits(" 1 ,, 64-65", ""), Ok(vec![2, 3]));
        assert_eq!(parse_bits("", ""), Ok(vec![]));
        assert_eq!(parse_bits("8191", "").map(|bits| bits.len()), Ok(128));
    }

    #[test]
    fn nonsense_is_refused() {
        for list in ["a", "1-", "-1", "3-1", "1 2", "0 - 1", "+1", "65536", "99999999999999999999", ",", " "]
        {
            assert_eq!(parse_bits(list, "/x").map_err(|e| e.at), Err("/x".into()), "{list:?}");
        }
    }
}
