#!/usr/bin/env python3
"""Makes table.rs: the number of every system call on every architecture.

    table.py UAPI CSV >table.rs

UAPI is the directory of the kernel's user headers for all architectures, as Debian's linux-libc-dev (7.0 or later, an
`all` package) has it in /usr/lib/linux/uapi. CSV is src/syscalls.csv of libseccomp 2.6: it adds what the headers don't
have (31-bit s390, arm's private calls) and is checked against them: a name may not have two numbers.
"""

import csv
import re
import sys

HEADERS = {
    "x86": "x86/asm/unistd_32.h",
    "x86_64": "x86/asm/unistd_64.h",
    "x32": "x86/asm/unistd_x32.h",
    "arm": "arm/asm/unistd-eabi.h",
    "aarch64": "arm64/asm/unistd_64.h",
    "loongarch64": "loongarch/asm/unistd_64.h",
    "m68k": "m68k/asm/unistd_32.h",
    "mips": "mips/asm/unistd_o32.h",
    "mips64": "mips/asm/unistd_n64.h",
    "mips64n32": "mips/asm/unistd_n32.h",
    "parisc": "parisc/asm/unistd_32.h",
    "parisc64": "parisc/asm/unistd_64.h",
    "ppc": "powerpc/asm/unistd_32.h",
    "ppc64": "powerpc/asm/unistd_64.h",
    "riscv64": "riscv/asm/unistd_64.h",
    "s390": None,
    "s390x": "s390/asm/unistd_64.h",
    "sh": "sh/asm/unistd_32.h",
}
# What no architecture has is NONE; the private calls of arm are out of the range of
# 16 bits and stand at PRIVATE.
NONE, PRIVATE, ARM_BASE = 0xFFFF, 0xF000, 0x0F0000
# The newest calls have one number everywhere; 31-bit s390 is missing in new headers.
UNIFORM = 424


def header(path):
    numbers = {}
    for line in open(path):
        found = re.match(r"#define __NR_(\w+)\s+(?:\(\w+ \+ )?(\d+)\)?\s*$", line)
        if found and not re.match(r"(un)?(used|reserved)\d+$|reserved\d+$", found[1]):
            numbers[found[1]] = int(found[2])
        elif line.startswith("#define __NR") and not found:
            sys.exit(f"{path}: {line}")
    return numbers


def main():
    uapi, table = sys.argv[1], list(csv.reader(open(sys.argv[2])))
    archs = list(HEADERS)
    numbers = {arch: header(f"{uapi}/{path}") if path else {} for arch, path in HEADERS.items()}
    for column, arch in enumerate(table[0]):
        if arch not in numbers:
            continue
        for row in table[1:]:
            if row[column] != "PNR":
                number = int(row[column])
                if numbers[arch].setdefault(row[0], number) != number:
                    sys.exit(f"{arch}: {row[0]} is {numbers[arch][row[0]]} and {number}")
    for name, number in numbers["s390x"].items():
        if number >= UNIFORM:
            numbers["s390"].setdefault(name, number)
    names = sorted(set().union(*numbers.values()) | {row[0] for row in table[1:]})
    print("//! The numbers of system calls; see [`super::calls`]. Made by table.py, not by hand.")
    print()
    print("/// In the order of [`super::arch::Column`]:")
    for start in range(0, len(archs), 9):
        print("/// " + ", ".join(archs[start : start + 9]) + ("," if start + 9 < len(archs) else "."))
    print(f"pub const COLUMNS: usize = {len(archs)};")
    print()
    print("/// No such call on the architecture.")
    print(f"pub const NONE: u16 = {NONE:#06x};")
    print()
    print("/// From here on: the private calls of arm, counted from 0xf0000.")
    print(f"pub const PRIVATE: u16 = {PRIVATE:#06x};")
    print()
    print("const N: u16 = NONE;")
    print()
    print("/// Sorted by name.")
    print('#[expect(clippy::large_const_arrays, reason = "only the compiler uses it")]')
    print("#[rustfmt::skip]")
    print(f"pub const ROWS: [(&str, [u16; COLUMNS]); {len(names)}] = [")
    for name in names:
        cells = []
        for arch in archs:
            number = numbers[arch].get(name)
            if number is None:
                cells.append("N")
            elif number >= ARM_BASE:
                cells.append(f"{number - ARM_BASE + PRIVATE:#06x}")
            else:
                cells.append(str(number))
        print(f'    ("{name}", [{", ".join(cells)}]),')
    print("];")


main()
