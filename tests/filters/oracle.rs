//! Runs libseccomp in a small C program, which is compiled if the library is installed.

use corten::seccomp::arch::Arch;
use corten::sys::seccomp::Insn;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub struct Oracle {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    program: PathBuf,
}

/// The library's result for a profile.
pub struct Answer {
    pub program: Vec<Insn>,
    pub nanoseconds: u64,
}

impl Oracle {
    /// Compiles and starts the program, or returns what is missing.
    pub fn start() -> Result<Oracle, String> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/filters/oracle.c");
        let program = std::env::temp_dir().join(format!("corten-oracle.{}", std::process::id()));
        let out = Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source).arg("-lseccomp").output();
        match out {
            Ok(out) if out.status.success() => {}
            Ok(out) if String::from_utf8_lossy(&out.stderr).contains("seccomp.h") => {
                return Err("libseccomp is missing: apt-get install libseccomp-dev".into());
            }
            Ok(out) => return Err(String::from_utf8_lossy(&out.stderr).into_owned()),
            Err(error) => return Err(format!("cc: {error}: apt-get install gcc")),
        }
        let child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        Ok(Oracle { child, to, from, program })
    }

    pub fn say(&mut self, command: &str) {
        writeln!(self.to, "{command}").expect("the oracle lives");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the oracle lives");
        assert!(!line.is_empty(), "the oracle ended");
        line.trim().to_owned()
    }

    /// The number of a call. `None` if the library does not know the name or the
    /// architecture. A number below zero: the architecture does not have the call.
    pub fn number(&mut self, arch: Arch, name: &str) -> Option<i64> {
        self.say(&format!("number {} {name}", library_name(arch)));
        self.line().parse().ok()
    }

    pub fn knows(&mut self, arch: Arch) -> bool {
        self.say(&format!("number {} read", library_name(arch)));
        self.line() != "none"
    }

    /// The program for the rules since `filter`. `None` if the library refused them.
    pub fn export(&mut self, big_endian: bool) -> Option<Answer> {
        self.say("export");
        let line = self.line();
        let (kind, rest) = line.split_once(' ').expect("an answer");
        if kind == "refused" {
            return None;
        }
        let (nanoseconds, count) = rest.split_once(' ').expect("a time and a count");
        let program = (0..count.parse().expect("a count")).map(|_| self.insn(big_endian)).collect();
        Some(Answer { program, nanoseconds: nanoseconds.parse().expect("a time") })
    }

    fn insn(&mut self, big_endian: bool) -> Insn {
        let line = self.line();
        let fields: Vec<u32> = line.split(' ').map(|field| field.parse().expect("a number")).collect();
        let (code, k) = (fields[0] as u16, fields[3]);
        let (code, k) = match big_endian {
            false => (code, k),
            // For the other byte order, the library does not convert some of its actions.
            true if code.swap_bytes() == 0x06 && is_action(k) => (code.swap_bytes(), k),
            true => (code.swap_bytes(), k.swap_bytes()),
        };
        Insn { code, jt: fields[1] as u8, jf: fields[2] as u8, k }
    }
}

fn is_action(k: u32) -> bool {
    matches!(k >> 16, 0x8000 | 0x0003 | 0x0005 | 0x7fc0 | 0x7ff0 | 0x7ffc | 0x7fff) || k == 0
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.program);
    }
}

/// The library's name for an architecture.
pub fn library_name(arch: Arch) -> String {
    arch.name().trim_start_matches("SCMP_ARCH_").to_lowercase()
}
