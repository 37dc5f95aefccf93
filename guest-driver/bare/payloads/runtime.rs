//! What a program without an operating system needs: an entry, an end, and the memory functions that the compiler
//! calls.

use core::arch::global_asm;
use core::panic::PanicInfo;

use tmem_bare::control::{Command, Mailbox};

// The host has set the stack and put the vCPU's number into rdi.
global_asm!(".globl _start", "_start:", "call {enter}", "ud2", enter = sym enter);

extern "C" fn enter(vcpu: u32) -> ! {
    crate::main(vcpu);
    end(vcpu, Command::Done)
}

/// The host does not run a vCPU again that has told it an end.
fn end(vcpu: u32, command: Command) -> ! {
    loop {
        Mailbox::new(vcpu).tell(command);
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let vcpu = vcpu_of_stack();
    Mailbox::new(vcpu).tell_text(Command::Panic, 0, format_args!("{info}"));
    end(vcpu, Command::Panic)
}

/// Each vCPU has its own stack, so that an address on it tells which vCPU this is.
fn vcpu_of_stack() -> u32 {
    let here = 0_u8;
    let address = (&raw const here).addr() as u64;
    ((address - tmem_bare::layout::STACKS) / tmem_bare::layout::STACK_SIZE) as u32
}

/// The C functions that compiled code may call. String instructions, so that they cannot be compiled into calls of
/// themselves.
mod memory_functions {
    use core::arch::asm;

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        // SAFETY: the caller promises two valid ranges that do not overlap; the direction flag is clear by the ABI.
        unsafe {
            asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
                options(nostack, preserves_flags));
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        if to.addr().wrapping_sub(from.addr()) >= count {
            // SAFETY: copying upwards reads every byte before it is overwritten; the ranges are the caller's.
            return unsafe { memcpy(to, from, count) };
        }
        // SAFETY: `to` lies inside the source, so copying downwards reads every byte before it is overwritten; the flag
        // is cleared again.
        unsafe {
            asm!("std", "rep movsb", "cld", inout("rcx") count => _,
                inout("rdi") to.wrapping_add(count).wrapping_sub(1) => _,
                inout("rsi") from.wrapping_add(count).wrapping_sub(1) => _, options(nostack));
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
        // SAFETY: the caller promises a valid range; the direction flag is clear by the ABI.
        unsafe {
            asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") value as u8,
                options(nostack, preserves_flags));
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
        for at in 0..count {
            // SAFETY: the caller promises two valid ranges of `count` bytes.
            let (x, y) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
            if x != y {
                return i32::from(x) - i32::from(y);
            }
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
        // SAFETY: the same contract.
        unsafe { memcmp(a, b, count) }
    }
}
