//! Guests that are short of memory, described to `tmem run` in TOML.

use std::path::{Path, PathBuf};

use tmem_images::KernelId;

use super::measure::Mode;

/// How many guests the demo has.
const GUESTS: u32 = 4;

/// Size of each disk of a guest in MiB; a sparse file.
pub(crate) const DISK_MIB: u32 = 256;

/// Size of the store in MiB: room for everything that the demo's guests can swap out.
pub(crate) const STORE_MIB: u32 = 1024;

/// One guest.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// Its name.
    pub(crate) name: String,
    /// What it boots.
    pub(crate) kernel: KernelId,
    /// Its memory in MiB.
    pub(crate) memory_mib: u32,
    /// Its vCPUs.
    pub(crate) vcpus: u32,
    /// The anonymous memory that it works on, in MiB.
    pub(crate) work_mib: u32,
    /// The file that it works on afterwards, in MiB; without one it has no second disk.
    pub(crate) file_mib: Option<u32>,
    /// How its hypercalls travel: `auto`, `xen` or `port`.
    pub(crate) transport: &'static str,
    /// Most that it may hold in the store, in MiB.
    pub(crate) cap_mib: Option<u32>,
    /// Distinguishes its contents from other guests', so that a page which comes back from another guest is seen at once.
    pub(crate) seed: u32,
}

/// The kernel and the initramfs that guests with one kernel boot, as `tmem run` sees them.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    /// The kernel image.
    pub(crate) kernel: PathBuf,
    /// The initramfs.
    pub(crate) initrd: PathBuf,
}

/// The four guests of the demo: each works on anonymous memory, and then on a file, that are larger than its memory.
pub(crate) fn demo(kernel: KernelId) -> Vec<Guest> {
    (1..=GUESTS)
        .map(|number| Guest {
            name: format!("g{number}"),
            kernel,
            memory_mib: memory_mib(kernel),
            vcpus: 1,
            work_mib: 128,
            file_mib: Some(memory_mib(kernel) + 16),
            transport: "auto",
            cap_mib: None,
            seed: number,
        })
        .collect()
}

/// Memory of a demo guest in MiB. A stock kernel, with every driver that a cloud may need, does not fit in 64.
const fn memory_mib(kernel: KernelId) -> u32 {
    match kernel {
        KernelId::Stock(_) => 112,
        _ if kernel.is_debugged() => 256,
        _ => 64,
    }
}

/// The file for `tmem run`, with each guest's disk in `disks`.
pub(crate) fn toml(guests: &[Guest], mode: Mode, boot: impl Fn(KernelId) -> Boot, disks: &Path) -> String {
    let mut text = format!("[store]\nsize = \"{STORE_MIB}M\"\nlending = \"persistent\"\n");
    for guest in guests {
        let Boot { kernel, initrd } = boot(guest.kernel);
        let cap = guest.cap_mib.map_or_else(String::new, |cap| format!(", cap = \"{cap}M\""));
        text.push_str(&format!(
            "\n[[guest]]\nname = \"{}\"\nkernel = {}\ninitrd = {}\nmemory = \"{}M\"\nvcpus = {}\ndisks = [{}]\n\
             cmdline = \"{}\"\ntransport = \"{}\"\ntmem = {{ enabled = {}{cap} }}\n",
            guest.name,
            quoted(&kernel),
            quoted(&initrd),
            guest.memory_mib,
            guest.vcpus,
            disk_names(guest).map(|name| quoted(&disk(disks, &name))).collect::<Vec<_>>().join(", "),
            command_line(guest, mode),
            guest.transport,
            mode == Mode::Tmem,
        ));
    }
    text
}

/// The names of a guest's disks: the one for swap, and the one with the file system.
pub(crate) fn disk_names(guest: &Guest) -> impl Iterator<Item = String> {
    let data = guest.file_mib.map(|_| format!("{}-data", guest.name));
    std::iter::once(guest.name.clone()).chain(data)
}

/// The file of a disk.
pub(crate) fn disk(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.img"))
}

/// The disks of all guests, as words for a shell in the lab, where disks are in /tmp.
pub(crate) fn lab_disks(guests: &[Guest]) -> String {
    let names = guests.iter().flat_map(disk_names);
    let disks: Vec<String> = names.map(|name| disk(Path::new("/tmp"), &name).display().to_string()).collect();
    disks.join(" ")
}

/// A guest's kernel command line (images/README.md). The workload fills its memory, or the file, and then compares every
/// page. Without mitigations and address randomisation, which cost emulated instructions, and with registers that name
/// symbols if a guest hangs.
fn command_line(guest: &Guest, mode: Mode) -> String {
    let data = if guest.file_mib.is_some() { " guest.data=/dev/vdb" } else { "" };
    let run = |what: String| {
        format!(" guest.run=tmem-workload,run,{what},--passes,0,--seed,{},--report", guest.seed)
    };
    let file =
        guest.file_mib.map(|mib| run(format!("--file,/data/file,--memory,{mib}M"))).unwrap_or_default();
    format!(
        "console=ttyS0 panic=-1 quiet mitigations=off nokaslr {}{data}{}{file}",
        swap(guest.kernel, mode),
        run(format!("--memory,{}M", guest.work_mib)),
    )
}

/// The words about swap. A tmem-aware kernel swaps to its disk and asks the host by itself, which the driver makes possible; a
/// stock kernel swaps to the driver's device, with its disk behind.
const fn swap(kernel: KernelId, mode: Mode) -> &'static str {
    match (mode, kernel) {
        (Mode::Disk, _) => "guest.modules=virtio_mmio,virtio_blk guest.swap=/dev/vda",
        (Mode::Tmem, KernelId::Stock(_)) => {
            "guest.modules=virtio_mmio,virtio_blk,tmem tmem.backing=/dev/vda guest.swap=/dev/tmem0"
        }
        (Mode::Tmem, _) => "guest.modules=virtio_mmio,virtio_blk,tmem guest.swap=/dev/vda",
    }
}

/// A path as a TOML basic string. Debug's escapes of quotes and backslashes are TOML's.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

#[cfg(test)]
mod tests {
    use tmem_images::Series;

    use super::*;

    fn text(guests: &[Guest], mode: Mode) -> String {
        let boot = |kernel| Boot { kernel: format!("/{kernel}").into(), initrd: "/i".into() };
        toml(guests, mode, boot, Path::new("/tmp"))
    }

    #[test]
    fn both_modes_have_the_same_guests_and_disks() {
        for mode in Mode::BOTH {
            let text = text(&demo(KernelId::Small), mode);
            assert_eq!(text.matches("[[guest]]").count(), 4);
            assert_eq!(text.matches("memory = \"64M\"").count(), 4);
            assert_eq!(text.matches("run,--memory,128M").count(), 4);
            assert_eq!(text.matches("run,--file,/data/file,--memory,80M").count(), 4);
            for number in 1..=4 {
                let disks = format!("disks = [\"/tmp/g{number}.img\", \"/tmp/g{number}-data.img\"]");
                assert!(text.contains(&disks), "{text}");
            }
        }
    }

    #[test]
    fn both_modes_swap_to_the_disk_and_only_one_has_tmem() {
        let guests = demo(KernelId::Small);
        let disk = text(&guests, Mode::Disk);
        assert!(
            disk.contains("virtio_blk guest.swap=/dev/vda") && !disk.contains("enabled = true"),
            "{disk}"
        );
        let tmem = text(&guests, Mode::Tmem);
        assert!(tmem.contains("virtio_blk,tmem guest.swap=/dev/vda"), "{tmem}");
        assert!(!tmem.contains("enabled = false"), "{tmem}");
    }

    #[test]
    fn a_stock_kernel_swaps_to_the_drivers_device_with_the_disk_behind() {
        let tmem = text(&demo(KernelId::Stock(Series::V6_12)), Mode::Tmem);
        assert!(tmem.contains("tmem.backing=/dev/vda guest.swap=/dev/tmem0"), "{tmem}");
    }

    #[test]
    fn a_guest_without_a_file_has_one_disk() {
        let guest = Guest { file_mib: None, ..demo(KernelId::Small).swap_remove(0) };
        let text = text(&[guest], Mode::Tmem);
        assert!(text.contains("disks = [\"/tmp/g1.img\"]") && !text.contains("guest.data"), "{text}");
    }

    #[test]
    fn every_guest_has_contents_of_its_own() {
        let text = text(&demo(KernelId::Small), Mode::Disk);
        for seed in 1..=4 {
            assert_eq!(text.matches(&format!("--seed,{seed},")).count(), 2);
        }
    }

    #[test]
    fn a_cap_and_a_transport_are_passed_on() {
        let mut guests = demo(KernelId::Small);
        guests.truncate(1);
        guests[0].cap_mib = Some(8);
        guests[0].transport = "port";
        let text = text(&guests, Mode::Tmem);
        assert!(text.contains("transport = \"port\"\ntmem = { enabled = true, cap = \"8M\" }"), "{text}");
    }
}
