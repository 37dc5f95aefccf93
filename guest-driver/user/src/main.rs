//! `tmem-guest`: what a guest's owner wants of tmem. See guest-driver/user/README.md.

mod tool;

use std::process::ExitCode;

fn main() -> ExitCode {
    match tool::Task::parse(std::env::args_os().skip(1)) {
        Ok(task) => task.run(),
        Err(error) => {
            eprintln!("tmem-guest: {error}");
            ExitCode::from(2)
        }
    }
}
