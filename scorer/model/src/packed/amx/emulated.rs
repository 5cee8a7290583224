//! The tile unit for tests on machines that have none: a tile instruction is undefined there, Linux says so by SIGILL, and the handler here
//! does what the instruction would have done and goes on behind it.
//!
//! Written from Intel's manual alone (volume 2, and volume 1 chapter 18). Where the manual has the processor refuse an instruction, the
//! process ends and says why. What it cannot show is how fast the real unit is.
#![expect(unsafe_code, reason = "signals, the interrupted registers, and the memory that instructions name")]

mod instruction;
mod unit;

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::OnceLock;

use super::presence;
use instruction::{Instruction, decode};
use unit::{Fault, Unit};

thread_local! {
    /// Each thread has registers of its own, as the system would see to it.
    static UNIT: RefCell<Unit> = const { RefCell::new(Unit::RELEASED) };
}

/// Where the address of the next instruction stands among the registers that were interrupted.
const NEXT: usize = libc::REG_RIP as usize;
/// Where the general registers stand there, in the order in which instructions number them.
const GENERAL: [usize; 16] = [
    libc::REG_RAX as usize,
    libc::REG_RCX as usize,
    libc::REG_RDX as usize,
    libc::REG_RBX as usize,
    libc::REG_RSP as usize,
    libc::REG_RBP as usize,
    libc::REG_RSI as usize,
    libc::REG_RDI as usize,
    libc::REG_R8 as usize,
    libc::REG_R9 as usize,
    libc::REG_R10 as usize,
    libc::REG_R11 as usize,
    libc::REG_R12 as usize,
    libc::REG_R13 as usize,
    libc::REG_R14 as usize,
    libc::REG_R15 as usize,
];

/// Puts the handler in place, for all threads, where the system keeps no tiles; says whether it stands there.
pub(crate) fn stands_in() -> bool {
    static STANDS: OnceLock<bool> = OnceLock::new();
    *STANDS.get_or_init(|| !presence::is_saved() && install())
}

fn install() -> bool {
    // SAFETY: a handler of the form that `SA_SIGINFO` asks for; all other fields are right as zeros.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()) == 0
    }
}

/// Takes the place of one tile instruction. Whatever else is undefined happens again and ends the process, as without a handler.
extern "C" fn handle(_signal: libc::c_int, _about: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system gives the interrupted thread's context, which nobody else has while the thread stands here.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[NEXT].cast_unsigned();
    let general = GENERAL.map(|index| registers[index].cast_unsigned());
    // SAFETY: an instruction stands there, and `decode` reads none of its bytes before those before it say that there are more.
    let byte = |offset: u64| unsafe { ((at + offset) as *const u8).read() };
    let Some((instruction, length)) = decode(byte, at, &general) else {
        // SAFETY: as it was before `install`.
        unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
        return;
    };
    // SAFETY: the addresses are those of the interrupted code, which promises that they can be read and written as it says.
    match UNIT.with_borrow_mut(|unit| unsafe { unit.execute(&instruction) }) {
        Ok(()) => registers[NEXT] += length.cast_signed(),
        Err(fault) => refuse(&instruction, &fault),
    }
}

/// Not by a panic, which cannot leave a handler, and not where the test's output is caught, which is lost with the process.
fn refuse(instruction: &Instruction, fault: &Fault) -> ! {
    let _unsaid = writeln!(std::io::stderr(), "the tile unit refuses {instruction:?}: {fault}");
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use std::arch::asm;

    use super::*;

    /// What the assembler writes is what is decoded: a round through memory by every way of naming it.
    #[test]
    fn instructions_do_by_a_signal_what_they_say() {
        if !stands_in() && !presence::is_here() {
            eprintln!("not run: tiles that the system keeps and does not permit");
            return;
        }
        let mut shapes = [0_u8; 64];
        (shapes[0], shapes[16], shapes[48], shapes[18], shapes[49]) = (1, 8, 3, 8, 3);
        let numbers: [u32; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let (mut told, mut strided, mut dense, mut after) = ([9_u8; 64], [0_u32; 12], [7_u32; 6], [9_u8; 64]);
        // SAFETY: tiles 0 and 1 have three rows of two words, so all memory is within the arrays; the tiles are released.
        unsafe {
            asm!(
                "ldtilecfg [{shapes}]",
                "sttilecfg [{told}]",
                "tileloadd tmm0, [r13 + r12*8 - 128]",
                "tileloaddt1 tmm1, [{from} + r12*8]",
                "tilestored [{strided} + r12*8 + 8], tmm0",
                "tilezero tmm0",
                "tilestored [{dense} + r14*1], tmm0",
                "tilestored [{dense} + r14*1], tmm1",
                "tilerelease",
                "sttilecfg [{after}]",
                shapes = in(reg) shapes.as_ptr(),
                told = in(reg) told.as_mut_ptr(),
                from = in(reg) numbers.as_ptr(),
                strided = in(reg) strided.as_mut_ptr(),
                dense = in(reg) dense.as_mut_ptr(),
                after = in(reg) after.as_mut_ptr(),
                in("r12") 2_usize,
                in("r13") numbers.as_ptr().addr() + 128,
                in("r14") 8_usize,
                out("tmm0") _, out("tmm1") _,
                options(nostack),
            );
        }
        assert_eq!((told, after), (shapes, [0; 64]));
        assert_eq!(strided, [0, 0, 1, 2, 0, 0, 5, 6, 0, 0, 9, 10]);
        assert_eq!(dense, [1, 2, 5, 6, 9, 10]);
    }

    /// Two threads, each with shapes of its own, one after the other's instruction.
    #[test]
    fn every_thread_has_registers_of_its_own() {
        let mut shapes = [0_u8; 64];
        (shapes[0], shapes[16], shapes[48]) = (1, 4, 1);
        let load = Instruction::LoadShapes { at: shapes.as_ptr() as u64 };
        // SAFETY: the shapes are 64 bytes.
        let loaded = UNIT.with_borrow_mut(|unit| unsafe { unit.execute(&load) });
        assert_eq!(loaded, Ok(()));
        let other = std::thread::spawn(|| UNIT.with_borrow_mut(|unit| unsafe { unit.execute(&Instruction::Zero { tile: 0 }) }));
        assert!(matches!(other.join(), Ok(Err(Fault::Undefined(_)))));
        // SAFETY: it touches no memory.
        assert_eq!(UNIT.with_borrow_mut(|unit| unsafe { unit.execute(&Instruction::Zero { tile: 0 }) }), Ok(()));
    }
}
