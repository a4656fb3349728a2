//! The architectures of the specification: their names, the numbers by which the kernel
//! reports them, and their columns in the table of calls.

/// An architecture, or rather an ABI: x32 has its own variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Mips,
    Mips64,
    Mips64N32,
    Mipsel,
    Mipsel64,
    Mipsel64N32,
    Ppc,
    Ppc64,
    Ppc64Le,
    S390,
    S390X,
    Parisc,
    Parisc64,
    Riscv64,
    Loongarch64,
    M68k,
    Sh,
    Sheb,
}

/// The columns of [`super::table`], in the order of the table.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Loongarch64,
    M68k,
    Mips,
    Mips64,
    Mips64N32,
    Parisc,
    Parisc64,
    Ppc,
    Ppc64,
    Riscv64,
    S390,
    S390X,
    Sh,
}

/// The properties of an architecture.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The name in `architectures`, without `SCMP_ARCH_`.
    name: &'static str,
    /// The value that the kernel puts into `seccomp_data.arch` (linux/audit.h).
    pub audit: u32,
    pub column: Column,
    /// The number that the ABI adds to the numbers of the column.
    pub base: u32,
    /// Whether arguments have 64 bits. If not, only the low half counts.
    pub wide: bool,
    /// Architectures with the same family can run on the same kernel.
    family: Family,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    X86,
    Arm,
    Mips,
    Mipsel,
    Ppc,
    PpcLe,
    S390,
    Parisc,
    Riscv,
    Loongarch,
    M68k,
    Sh,
    Sheb,
}

const WIDE: u32 = 0x8000_0000;
const LE: u32 = 0x4000_0000;
const N32: u32 = 0x2000_0000;

/// The bit that the number of every x32 call has.
pub const X32_BIT: u32 = 0x4000_0000;

const fn facts(
    name: &'static str,
    audit: u32,
    column: Column,
    base: u32,
    wide: bool,
    family: Family,
) -> Facts {
    Facts { name, audit, column, base, wide, family }
}

impl Arch {
    /// All architectures.
    pub const ALL: [Arch; 23] = [
        Arch::X86,
        Arch::X86_64,
        Arch::X32,
        Arch::Arm,
        Arch::Aarch64,
        Arch::Mips,
        Arch::Mips64,
        Arch::Mips64N32,
        Arch::Mipsel,
        Arch::Mipsel64,
        Arch::Mipsel64N32,
        Arch::Ppc,
        Arch::Ppc64,
        Arch::Ppc64Le,
        Arch::S390,
        Arch::S390X,
        Arch::Parisc,
        Arch::Parisc64,
        Arch::Riscv64,
        Arch::Loongarch64,
        Arch::M68k,
        Arch::Sh,
        Arch::Sheb,
    ];

    /// The architecture that this binary is built for. `None` if the specification does
    /// not have it.
    pub const NATIVE: Option<Arch> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
        Some(Arch::X32)
    } else if cfg!(target_arch = "x86_64") {
        Some(Arch::X86_64)
    } else if cfg!(target_arch = "x86") {
        Some(Arch::X86)
    } else if cfg!(target_arch = "aarch64") {
        Some(Arch::Aarch64)
    } else if cfg!(target_arch = "arm") {
        Some(Arch::Arm)
    } else if cfg!(all(target_arch = "mips64", target_endian = "big")) {
        Some(Arch::Mips64)
    } else if cfg!(target_arch = "mips64") {
        Some(Arch::Mipsel64)
    } else if cfg!(all(target_arch = "mips", target_endian = "big")) {
        Some(Arch::Mips)
    } else if cfg!(target_arch = "mips") {
        Some(Arch::Mipsel)
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "big")) {
        Some(Arch::Ppc64)
    } else if cfg!(target_arch = "powerpc64") {
        Some(Arch::Ppc64Le)
    } else if cfg!(target_arch = "powerpc") {
        Some(Arch::Ppc)
    } else if cfg!(target_arch = "s390x") {
        Some(Arch::S390X)
    } else if cfg!(target_arch = "riscv64") {
        Some(Arch::Riscv64)
    } else if cfg!(target_arch = "loongarch64") {
        Some(Arch::Loongarch64)
    } else if cfg!(target_arch = "m68k") {
        Some(Arch::M68k)
    } else {
        None
    };

    /// Returns the properties of the architecture.
    pub const fn facts(self) -> Facts {
        match self {
            Arch::X86 => facts("X86", 3 | LE, Column::X86, 0, false, Family::X86),
            Arch::X86_64 => facts("X86_64", 62 | WIDE | LE, Column::X86_64, 0, true, Family::X86),
            // The kernel reports x32 as x86_64.
            Arch::X32 => facts("X32", 62 | WIDE | LE, Column::X32, X32_BIT, false, Family::X86),
            Arch::Arm => facts("ARM", 40 | LE, Column::Arm, 0, false, Family::Arm),
            Arch::Aarch64 => facts("AARCH64", 183 | WIDE | LE, Column::Aarch64, 0, true, Family::Arm),
            Arch::Mips => facts("MIPS", 8, Column::Mips, 4000, false, Family::Mips),
            Arch::Mips64 => facts("MIPS64", 8 | WIDE, Column::Mips64, 5000, true, Family::Mips),
            Arch::Mips64N32 => {
                facts("MIPS64N32", 8 | WIDE | N32, Column::Mips64N32, 6000, false, Family::Mips)
            }
            Arch::Mipsel => facts("MIPSEL", 8 | LE, Column::Mips, 4000, false, Family::Mipsel),
            Arch::Mipsel64 => facts("MIPSEL64", 8 | WIDE | LE, Column::Mips64, 5000, true, Family::Mipsel),
            Arch::Mipsel64N32 => {
                facts("MIPSEL64N32", 8 | WIDE | LE | N32, Column::Mips64N32, 6000, false, Family::Mipsel)
            }
            Arch::Ppc => facts("PPC", 20, Column::Ppc, 0, false, Family::Ppc),
            Arch::Ppc64 => facts("PPC64", 21 | WIDE, Column::Ppc64, 0, true, Family::Ppc),
            Arch::Ppc64Le => facts("PPC64LE", 21 | WIDE | LE, Column::Ppc64, 0, true, Family::PpcLe),
            Arch::S390 => facts("S390", 22, Column::S390, 0, false, Family::S390),
            Arch::S390X => facts("S390X", 22 | WIDE, Column::S390X, 0, true, Family::S390),
            Arch::Parisc => facts("PARISC", 15, Column::Parisc, 0, false, Family::Parisc),
            Arch::Parisc64 => facts("PARISC64", 15 | WIDE, Column::Parisc64, 0, true, Family::Parisc),
            Arch::Riscv64 => facts("RISCV64", 243 | WIDE | LE, Column::Riscv64, 0, true, Family::Riscv),
            Arch::Loongarch64 => {
                facts("LOONGARCH64", 258 | WIDE | LE, Column::Loongarch64, 0, true, Family::Loongarch)
            }
            Arch::M68k => facts("M68K", 4, Column::M68k, 0, false, Family::M68k),
            Arch::Sh => facts("SH", 42 | LE, Column::Sh, 0, false, Family::Sh),
            Arch::Sheb => facts("SHEB", 42, Column::Sh, 0, false, Family::Sheb),
        }
    }

    /// Returns the architecture of a name in `architectures`. `None`: there is no such
    /// name.
    pub fn from_name(name: &str) -> Option<Arch> {
        let name = name.strip_prefix("SCMP_ARCH_")?;
        Arch::ALL.into_iter().find(|arch| arch.facts().name == name)
    }

    /// Returns the name in `architectures`; the inverse of [`Arch::from_name`].
    pub fn name(self) -> String {
        format!("SCMP_ARCH_{}", self.facts().name)
    }

    /// Returns whether a process of this architecture can run on a kernel for `other`.
    pub fn shares_a_kernel_with(self, other: Arch) -> bool {
        self.facts().family == other.facts().family
    }

    /// Returns whether the kernel has socketcall(2) and ipc(2) on this architecture. Each
    /// of them stands for many calls.
    pub fn has_multiplexed_calls(self) -> bool {
        let column = self.facts().column;
        matches!(
            column,
            Column::X86
                | Column::M68k
                | Column::Mips
                | Column::Ppc
                | Column::Ppc64
                | Column::S390
                | Column::S390X
                | Column::Sh
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for arch in Arch::ALL {
            assert_eq!(Arch::from_name(&arch.name()), Some(arch));
        }
        assert_eq!(Arch::from_name("SCMP_ARCH_NATIVE"), None);
        assert_eq!(Arch::from_name("X86"), None);
    }

    #[test]
    fn kernels_are_shared_within_a_family() {
        assert!(Arch::X32.shares_a_kernel_with(Arch::X86));
        assert!(!Arch::Mips.shares_a_kernel_with(Arch::Mipsel));
    }
}
