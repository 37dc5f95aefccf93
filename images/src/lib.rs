//! What guests boot: kernels, driver modules and initramfs, made on demand and cached outside the git tree.
//!
//! Everything comes from [`Images`]. A method returns at once when the cache has the thing, and otherwise makes it while
//! saying how far it is. Nothing is installed on the machine and, apart from refreshing apt's lists, nothing needs root.
//!
//! Layers, each using only those below it:
//!
//! | layer | modules |
//! |---|---|
//! | what a caller asks for | [`Images`] |
//! | one recipe each | `small`, `stock`, `driver`, `tools`, `packaged`, `source`, `guest`, `disk`, `lab` |
//! | formats | [`Initramfs`] over `cpio`, [`ModuleSet`], `elf`, `unpacked` |
//! | sources | `manifest`, `apt`, `closure` |
//! | ground | `cache`, `command`, [`Error`] |

mod apt;
mod cache;
mod closure;
mod command;
mod cpio;
mod disk;
mod driver;
mod elf;
mod error;
mod guest;
mod images;
mod initramfs;
mod kernel;
mod lab;
mod manifest;
mod modules;
mod packaged;
mod patches;
mod requirements;
mod small;
mod source;
mod stock;
mod tools;
mod unpacked;

pub use apt::Package;
pub use cache::Cache;
pub use command::Progress;
pub use disk::DiskSpec;
pub use driver::DriverKind;
pub use error::{Error, Result};
pub use guest::GuestSpec;
pub use images::Images;
pub use initramfs::Initramfs;
pub use kernel::{BuildTree, Kernel, KernelId};
pub use lab::LabSpec;
pub use manifest::Series;
pub use modules::{Module, ModuleSet};
pub use requirements::{REQUIREMENTS, Requirement};
pub use tools::Programs;
