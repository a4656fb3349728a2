//! What an image or a hostile process decides: a line of /etc/passwd, the first bytes of a
//! program, and the name in /proc/PID/stat.
#![no_main]

use corten::init::{elf_interpreter, home_in, script_interpreter};
use corten::sys::process::stat_fields;
use libfuzzer_sys::fuzz_target;
use oracle::same;

fuzz_target!(|bytes: &[u8]| {
    for line in bytes.split(|byte| *byte == b'\n') {
        for uid in [0, 1, 1000, u32::MAX] {
            same(format_args!("the home of {uid}"), &home_in(line, uid), &slow_home(line, uid));
        }
    }
    for name in [script_interpreter(&[b"#!", bytes].concat()), elf_interpreter(bytes)].into_iter().flatten() {
        assert!(name.len() <= 3 * bytes.len(), "longer than the file: {name:?}");
    }
    // A process chooses its name, and can't shift what stands behind it.
    let name: Vec<u8> = bytes.iter().copied().take(15).filter(|byte| *byte != 0).collect();
    let stat = [b"7 (", name.as_slice(), b") S 1 2 3\n"].concat();
    let fields: Vec<&str> = stat_fields(&stat).expect("fields").collect();
    assert_eq!(fields, ["S", "1", "2", "3"]);
    if let Some(fields) = stat_fields(bytes) {
        assert!(fields.count() <= bytes.len());
    }
});

/// passwd(5), a field after the other.
fn slow_home(line: &[u8], uid: u32) -> Option<Vec<u8>> {
    let mut fields = vec![Vec::new()];
    for byte in line {
        match byte {
            b':' => fields.push(Vec::new()),
            other => fields.last_mut().expect("one").push(*other),
        }
    }
    let digits = fields.get(2)?;
    // As strtoul(3) of C libraries and Atoi of Go, by which runc reads the file.
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .try_fold(0u64, |n, digit| Some(n * 10 + u64::from(digit - b'0')).filter(|n| *n < 1 << 40));
    let home = fields.get(5)?;
    (number == Some(uid.into()) && !home.is_empty()).then(|| home.clone())
}
