//! What the guests boot, and the disk with Debian's programs and something to compile.

use tmem_images::{DiskSpec, GuestSpec, KernelId};

use crate::parts::{Parts, SOURCE};

/// Makes them, or finds them in the cache.
pub(super) fn make() -> Result<Parts, tmem_images::Error> {
    let images = crate::images::open()?;
    let ci = crate::paths::root().join("ci");
    let files = vec![
        ("/opt/programs.sh".to_owned(), ci.join("programs/guest.sh")),
        ("/opt/compile.sh".to_owned(), ci.join("effects/compile.sh")),
    ];
    let initramfs = images.guest_initramfs(&GuestSpec { files, ..GuestSpec::new(KernelId::Small) })?;
    let programs = images.disk(&DiskSpec {
        name: "programs".into(),
        // As large as pages, so that pages of the programs themselves travel too.
        block_bytes: 4096,
        files: vec![("/etc/passwd".to_owned(), ci.join("programs/passwd"))],
        folders: vec![
            (String::new(), images.debian_programs()?),
            ("/src".to_owned(), images.kernel_source(SOURCE)?),
        ],
    })?;
    Ok(Parts { initramfs, programs })
}
