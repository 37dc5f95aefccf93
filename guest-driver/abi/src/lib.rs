//! The tmem hypercall ABI.
#![no_std]
