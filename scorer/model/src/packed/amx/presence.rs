//! Whether this process may use the tiles: the processor must have them, the system must save them, and Linux must be asked for them.
//!
//! Any of the three may refuse: a processor, a virtual machine that hides them, a kernel before 5.16, a filter of system calls. The answer is
//! no then, and narrower kernels are chosen.
#![expect(unsafe_code, reason = "what a system saves and permits is asked for in assembly alone")]

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// Bits of leaf 7's register D: tiles, and their products of `bf16` and of 8 bits.
const TILES: u32 = 1 << 24;
const BF16: u32 = 1 << 22;
const BYTES: u32 = 1 << 25;

/// Whether the tiles and their products of `bf16` are here and permitted. Asked once: the permission is the whole process's, its threads to
/// come among them.
pub(crate) fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| features() & (TILES | BF16) == TILES | BF16 && is_saved() && has_palette() && is_permitted())
}

/// Whether tiles that are here have products of 8 bits.
pub(crate) fn has_bytes() -> bool {
    features() & BYTES != 0
}

/// What leaf 7 says of tiles; nothing where there is no such leaf.
fn features() -> u32 {
    if __cpuid(0).eax < 7 { 0 } else { __cpuid_count(7, 0).edx }
}

/// Whether the system keeps the tiles and their shapes when threads change places. Where it does not, a tile instruction is undefined.
pub(super) fn is_saved() -> bool {
    const XGETBV: u32 = 1 << 27;
    const SHAPES_AND_TILES: u64 = 1 << 17 | 1 << 18;
    // SAFETY: the system has enabled the instruction, as the bit says.
    __cpuid(1).ecx & XGETBV != 0 && unsafe { _xgetbv(0) } & SHAPES_AND_TILES == SHAPES_AND_TILES
}

/// Whether palette 1 is the one that the kernels are made for: eight registers of sixteen rows of 64 bytes.
fn has_palette() -> bool {
    if __cpuid(0).eax < 0x1d || __cpuid_count(0x1d, 0).eax < 1 {
        return false;
    }
    let palette = __cpuid_count(0x1d, 1);
    let (bytes, registers, rows) = (palette.ebx & 0xffff, palette.ebx >> 16, palette.ecx & 0xffff);
    bytes >= 64 && registers >= 8 && rows >= 16
}

/// Linux gives the tiles to a process that asks for them.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const TILES: i64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the call changes nothing but what this process may use.
    unsafe {
        asm!("syscall", inout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") TILES, out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everybody is refused what the machine does not have: the call itself does no harm.
    #[test]
    fn a_system_without_tiles_permits_none() {
        assert_eq!(is_here(), is_saved() && has_palette() && is_permitted() && features() & (TILES | BF16) == TILES | BF16);
        assert!(is_saved() || !is_permitted());
    }
}
