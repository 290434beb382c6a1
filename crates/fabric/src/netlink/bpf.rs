//! The one kind of program that the fabric has the kernel run: whatever comes in goes out at another link of the namespace.
//! Every frame passes, also those that a bridge keeps for itself, and no address is looked up.

#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper; this is the only call of it")]

use std::os::fd::{FromRawFd as _, OwnedFd};

use nix::errno::Errno;

use super::socket::Refusal;

/// `bpf(2)`'s command and kinds (linux/bpf.h).
const PROG_LOAD: libc::c_long = 5;
const SCHED_CLS: u32 = 3;
/// The helper `bpf_redirect`.
const REDIRECT: i32 = 23;

/// An instruction (linux/bpf.h).
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn load(register: u8, immediate: i32) -> Instruction {
    Instruction { code: 0xb7, registers: register, offset: 0, immediate }
}

const CALL: Instruction = Instruction { code: 0x85, registers: 0, offset: 0, immediate: REDIRECT };
const EXIT: Instruction = Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 };

/// What `BPF_PROG_LOAD` reads, up to the last member that is set here; the kernel takes the rest for zero.
#[repr(C)]
struct LoadProgram {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// A program that sends what it is given to the link of this index, and takes the frame away from everybody else.
pub(crate) fn redirect_to(index: u32) -> Result<OwnedFd, Refusal> {
    // Indexes are positive and below 2³¹ in every kernel.
    let program = [load(1, index.cast_signed()), load(2, 0), CALL, EXIT];
    let license = c"Dual MIT/GPL";
    let attributes = LoadProgram {
        kind: SCHED_CLS,
        count: 4,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the pointers are to memory that lives until the call returns, with the lengths that are given; the kernel
    // only reads it.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attributes, size_of::<LoadProgram>()) };
    let descriptor = i32::try_from(result).map_err(|_| Refusal::from(Errno::EBADF))?;
    if descriptor < 0 {
        return Err(Errno::last().into());
    }
    // SAFETY: the kernel has just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
