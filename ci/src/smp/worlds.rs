//! The worlds whose store is inside the guest, so that no host is needed but an emulator.

use tmem_images::{KernelId, Series};

use crate::torture::world::{Script, TEST_HOST, World};
use crate::torture::worlds::{ALL, BAD_HOST, DEVICE, FAKE_STORE, FAULTS, FULL, ROOMY, STOCK, TRICKS, XFS};

/// A good world: everything fits.
const GOOD: World = World {
    name: "good",
    what: "nothing: a back end in the guest, swap and files on ext4",
    script: Script::Hooks(FAKE_STORE),
    scenarios: ALL,
    ..ROOMY
};

/// A driver with a host inside, on a stock kernel.
const STOCK_DEVICE: World = World {
    name: "device-6.12",
    what: "a host inside the driver, Debian's kernel 6.12",
    kernel: KernelId::Stock(Series::V6_12),
    script: Script::Device(TEST_HOST),
    scenarios: STOCK,
    ..ROOMY
};

/// All of them.
pub(crate) static WORLDS: &[World] = &[
    GOOD,
    World { name: "xfs", what: "nothing: files on XFS", scenarios: XFS, ..GOOD },
    World {
        name: "off",
        what: "no back end: the kernel by itself",
        script: Script::Hooks(""),
        scenarios: "swap_whatever_the_host_does,clean_whatever_the_host_does,clean_fio_verifies",
        ..ROOMY
    },
    World {
        name: "tiny",
        what: "room for 6 MiB: refusals and evictions all the time",
        variables: &["OPTIONS=pages=1500"],
        scenarios: FULL,
        ..GOOD
    },
    World {
        name: "tricks",
        what: "a back end that loses, refuses, fails, and once forgets to flush",
        scenarios: TRICKS,
        ..GOOD
    },
    World {
        name: "faults",
        what: "a host inside the driver answers -EFAULT to puts, flushes or gets of the kernel's hooks",
        variables: &["OPTIONS=test_pages=60000"],
        script: Script::Hooks(TEST_HOST),
        scenarios: FAULTS,
        ..ROOMY
    },
    World {
        name: "device",
        what: "a host inside the driver: /dev/tmem0 of a tmem-aware kernel",
        kernel: KernelId::Small,
        scenarios: DEVICE,
        ..STOCK_DEVICE
    },
    World {
        name: "bad-host",
        what: "a host inside the driver: too new, dead, without pools or batches, -EFAULT, refusals, lost pages",
        kernel: KernelId::Small,
        scenarios: BAD_HOST,
        ..STOCK_DEVICE
    },
    STOCK_DEVICE,
    World {
        name: "bad-host-6.12",
        what: "refusals, faults and lost pages with Debian's kernel 6.12",
        scenarios: BAD_HOST,
        ..STOCK_DEVICE
    },
    World {
        name: "starved-6.12",
        what: "refusals in the middle of huge pages, and no memory for what is to be done then",
        scenarios: "huge_pages_refused_in_parts_while_clones_are_waited_for",
        ..STOCK_DEVICE
    },
    World {
        name: "sleep-6.12",
        what: "a host inside the driver, and a machine that is suspended",
        scenarios: "pages_outlive_a_suspend",
        sleeps: true,
        ..STOCK_DEVICE
    },
    World {
        name: "device-6.1",
        what: "a host inside the driver, Debian's kernel 6.1",
        kernel: KernelId::Stock(Series::V6_1),
        ..STOCK_DEVICE
    },
    World {
        name: "bad-host-6.1",
        what: "refusals, faults and lost pages with Debian's kernel 6.1",
        kernel: KernelId::Stock(Series::V6_1),
        scenarios: BAD_HOST,
        ..STOCK_DEVICE
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_world_needs_a_host() {
        for world in WORLDS {
            let inside = match world.script {
                Script::Hooks(module) => ["", FAKE_STORE, TEST_HOST].contains(&module),
                Script::Device(module) => module == TEST_HOST,
            };
            assert!(
                inside && !world.asks && world.before.is_none() && world.after.is_none(),
                "{}",
                world.name
            );
        }
    }
}
