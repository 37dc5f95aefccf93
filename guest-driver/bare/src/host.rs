//! The host, as a guest sees it.

use core::arch::asm;
use core::arch::x86_64::__cpuid;

use tmem_abi::{
    CALL_NUMBER, CPUID_BASE_FIRST, CpuidLeaf, Discovery, DiscoveryError, Features, Registers, Request,
};

use crate::boot::{BootInfo, Want};

/// How calls reach the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `out` to this port.
    Port(u16),
    /// `vmcall` (Intel).
    Vmcall,
    /// `vmmcall` (AMD, Hygon).
    Vmmcall,
}

/// A host that has tmem.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    discovery: Discovery,
    transport: Transport,
}

impl Host {
    /// Looks for tmem as every guest does, through CPUID; where the processor answers that itself, in what `info` says was announced.
    ///
    /// # Errors
    /// No signature, another major version, or not the transport that is wanted.
    pub fn discover(info: &BootInfo) -> Result<Self, DiscoveryError> {
        let [first, second] = info.announced;
        let announced = |leaf| match leaf {
            CPUID_BASE_FIRST => first,
            leaf if leaf == CPUID_BASE_FIRST + 1 => second,
            _ => CpuidLeaf { eax: 0, ebx: 0, ecx: 0, edx: 0 },
        };
        let discovery = match Discovery::find(cpuid) {
            Err(DiscoveryError::NoSignature) => Discovery::find(announced)?,
            found => found?,
        };
        let want = info.transport;
        let hypercall = discovery.features.contains(Features::HYPERCALL);
        let transport = match (want, discovery.port) {
            (Want::Any | Want::Hypercall, _) if hypercall => hypercall_instruction(),
            (Want::Any | Want::Port, Some(port)) => Transport::Port(port),
            _ => return Err(DiscoveryError::NoTransport),
        };
        Ok(Self { discovery, transport })
    }

    /// What the host said of itself.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// How calls reach it.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Asks for something; the answer as in the ABI's specification.
    pub fn ask(&self, request: Request) -> i64 {
        self.call(&request.encode())
    }

    /// Makes a call with any registers at all.
    pub fn call(&self, registers: &Registers) -> i64 {
        self.raw(CALL_NUMBER, registers)
    }

    /// Makes a call with any number at all.
    pub fn raw(&self, number: u64, registers: &Registers) -> i64 {
        match self.transport {
            Transport::Port(port) => call_port(port, number, registers),
            Transport::Vmcall => call_vmcall(number, registers),
            Transport::Vmmcall => call_vmmcall(number, registers),
        }
    }
}

fn cpuid(leaf: u32) -> CpuidLeaf {
    let found = __cpuid(leaf);
    CpuidLeaf { eax: found.eax, ebx: found.ebx, ecx: found.ecx, edx: found.edx }
}

/// Each vendor's processors know one of the two; KVM would patch the wrong one, which is not to be relied on.
fn hypercall_instruction() -> Transport {
    match &cpuid(0).ebx.to_le_bytes() {
        b"Auth" | b"Hygo" => Transport::Vmmcall,
        _ => Transport::Vmcall,
    }
}

fn call_port(port: u16, number: u64, r: &Registers) -> i64 {
    let answer: u64;
    // SAFETY: the call changes rax and the pages of this guest that the registers name, nothing else. Payloads name only
    // pages of their work area, which Rust sees as atomics.
    unsafe {
        asm!(
            "out dx, eax",
            inlateout("rax") number => answer,
            in("rdx") u64::from(port),
            in("rdi") r.rdi,
            in("rsi") r.rsi,
            in("r11") r.rdx,
            in("r10") r.r10,
            in("r8") r.r8,
            in("r9") r.r9,
            options(nostack),
        );
    }
    answer.cast_signed()
}

macro_rules! hypercall {
    ($name:ident, $instruction:literal) => {
        fn $name(number: u64, r: &Registers) -> i64 {
            let answer: u64;
            // SAFETY: as for the port.
            unsafe {
                asm!(
                    $instruction,
                    inlateout("rax") number => answer,
                    in("rdi") r.rdi,
                    in("rsi") r.rsi,
                    in("rdx") r.rdx,
                    in("r10") r.r10,
                    in("r8") r.r8,
                    in("r9") r.r9,
                    options(nostack),
                );
            }
            answer.cast_signed()
        }
    };
}

hypercall!(call_vmcall, "vmcall");
hypercall!(call_vmmcall, "vmmcall");
