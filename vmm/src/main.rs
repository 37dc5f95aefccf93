//! The program `tmem`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tmem_vmm::cli::main()
}
