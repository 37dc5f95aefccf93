//! One guest's entry to the store: which call is it, and who makes it.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use tmem_abi::{CALL_NUMBER, DEFAULT_BATCH_MAX, DecodeError, Errno, Request};
use tmem_core::{Client, PAGE_SIZE, Page};
use vm_memory::GuestMemoryBackend;

use crate::answer;
use crate::call::Caller;
use crate::registers::{Registers, TranslateGva};
use crate::{batch, xen};

/// Highest number of KVM's own hypercalls (linux: include/uapi/linux/kvm_para.h, KVM_HC_*).
const KVM_HYPERCALL_LAST: u64 = 12;
/// What KVM answers to those of its hypercalls that it does not serve (KVM_ENOSYS, same file).
const KVM_ENOSYS: i64 = 1000;

/// What the host allows one guest, beyond its client's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most entries of one batch.
    pub batch_max: u32,
    /// Most pools, as the client was configured; QUERY tells the guest.
    pub max_pools: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { batch_max: DEFAULT_BATCH_MAX, max_pools: tmem_core::ClientConfig::default().max_pools }
    }
}

/// Answers the hypercalls of one guest, from all its vCPUs at once.
///
/// Who the guest is, the front end knows from where the call came from: nothing in the registers can name another one. The guest's
/// memory comes with each call, because a front end may have to look at it anew (it can grow), and because a reference that all
/// vCPUs count would be a cache line that they share.
pub struct Dispatcher {
    client: Client,
    limits: Limits,
    /// One page for each vCPU, where a guest page is copied when more than a put looks at it. The lock is never waited for:
    /// a vCPU makes one call at a time.
    scratch: Box<[CachePadded<Mutex<Page>>]>,
    stopped: AtomicBool,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher")
            .field("limits", &self.limits)
            .field("vcpus", &self.scratch.len())
            .finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// Serves a guest with this many vCPUs as `client` of a store.
    pub fn new(client: Client, vcpus: u32, limits: Limits) -> Self {
        let scratch = (0..vcpus).map(|_| CachePadded::new(Mutex::new([0; PAGE_SIZE]))).collect();
        Self { client, limits, scratch, stopped: AtomicBool::new(false) }
    }

    /// The client that the guest is, for its host's switches and counters.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the guest's longest calls early, in the middle of their work: it is about to stop.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Answers a call of vCPU number `vcpu`, whatever its number in `rax`; the result goes to the guest's `rax`. On the path of a page:
    /// it does not allocate, block or log.
    pub fn hypercall<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        vcpu: u32,
        regs: &Registers,
        gva: &dyn TranslateGva,
    ) -> i64 {
        let Registers { rax, rdi, rsi, rdx, r10, r8, r9, cpl } = *regs;
        match (rax, cpl) {
            (_, Some(1..)) => Errno::NotPermitted.answer(),
            (CALL_NUMBER, _) => self.call(memory, vcpu, &tmem_abi::Registers { rdi, rsi, rdx, r10, r8, r9 }),
            (tmem_abi::xen::CALL_NUMBER, Some(0)) => {
                self.with_caller(memory, vcpu, |caller| xen::run(caller, rdi, gva))
            }
            (1..=KVM_HYPERCALL_LAST, Some(0)) => -KVM_ENOSYS,
            (_, Some(0)) => Errno::NoOperation.answer(),
            // A port access that is no call does nothing, so rax stays.
            (_, None) => rax.cast_signed(),
        }
    }

    /// Answers a call of version 1 of the ABI, made by vCPU number `vcpu`.
    pub fn call<M: GuestMemoryBackend>(&self, memory: &M, vcpu: u32, registers: &tmem_abi::Registers) -> i64 {
        // Decoded first: a call that is none needs no page and is answered at once.
        let request = match Request::decode(registers) {
            Ok(request) => request,
            Err(error) => return DecodeError::errno(error).answer(),
        };
        self.with_caller(memory, vcpu, |caller| {
            answer::number(match request {
                Request::Batch { array, count } => batch::run(caller, array, count),
                request => caller.run(request),
            })
        })
    }

    fn with_caller<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        vcpu: u32,
        run: impl FnOnce(&mut Caller<'_, M>) -> i64,
    ) -> i64 {
        let Some(scratch) = self.scratch.get(vcpu as usize) else {
            return Errno::Invalid.answer();
        };
        let mut scratch = scratch.lock();
        run(&mut Caller {
            client: &self.client,
            memory,
            limits: &self.limits,
            stopped: &self.stopped,
            scratch: &mut scratch,
        })
    }
}
