//! Prints the C header of the ABI: `cargo run -p tmem-abi --example c-header > guest-driver/linux/tmem_abi.h`.

fn main() -> std::fmt::Result {
    let mut header = String::new();
    tmem_abi::write_c_header(&mut header)?;
    print!("{header}");
    Ok(())
}
