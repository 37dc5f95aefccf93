//! Model-specific registers as firmware leaves them.

/// IA32_MISC_ENABLE, and its fast-string bit (Intel SDM volume 4, table 2-2).
const MISC_ENABLE: u32 = 0x1a0;
const FAST_STRING: u64 = 1;
/// IA32_MTRR_DEF_TYPE: MTRRs enabled, default write-back; without it Linux takes all RAM for uncached.
const MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRR_ENABLE_WRITE_BACK: u64 = 1 << 11 | 6;
/// IA32_TIME_STAMP_COUNTER: written equally on all vCPUs, so that KVM sees them in step.
const TSC: u32 = 0x10;

/// Index and value of every MSR to set before the first instruction.
pub fn boot_msrs() -> [(u32, u64); 3] {
    [(TSC, 0), (MISC_ENABLE, FAST_STRING), (MTRR_DEF_TYPE, MTRR_ENABLE_WRITE_BACK)]
}
