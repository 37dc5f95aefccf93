//! Makes the images of guests and prints where they are: `cargo run -p tmem-images --example make -- small stock-6.12`.
//! With `--plain` the initramfs is without the tmem driver; with `--lock` the versions used become the tested ones.

use std::error::Error;
use std::path::Path;

use tmem_images::{Cache, GuestSpec, Images, KernelId, Progress};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let images = Images::open(&repo, Cache::from_env()?, Progress::stderr())?;

    if words.is_empty() {
        let known: Vec<String> = KernelId::ALL.iter().map(ToString::to_string).collect();
        return Err(format!("say for which kernels: {}", known.join(" ")).into());
    }
    for word in words.iter().filter(|word| !word.starts_with("--")) {
        let id: KernelId = word.parse()?;
        let kernel = images.kernel(id)?;
        let initramfs =
            images.guest_initramfs(&GuestSpec { driver: !has("--plain"), ..GuestSpec::new(id) })?;
        println!("{id} {}: {} {}", kernel.release, kernel.boot_file().display(), initramfs.display());
    }
    for package in images.used() {
        println!("used {package} {}", package.sha256);
    }
    if has("--lock") {
        images.write_lock()?;
    }
    Ok(())
}
