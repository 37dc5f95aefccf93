//! Child processes.

use super::{Failure, Outcome, expect, expect_eq};

/// Does `work` in a child, and says with which status it ended, as waitpid(2) does.
pub(super) fn status_of(work: impl FnOnce() -> Outcome) -> Result<i32, Failure> {
    // SAFETY: this program has no other thread between its cases, so a child may do all that it may.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let result = work();
        if let Err(why) = &result {
            println!("in a child: {why}");
        }
        // SAFETY: ends the child without the parent's destructors.
        unsafe { libc::_exit(i32::from(result.is_err())) };
    }
    expect(pid > 0, "no child")?;
    let mut status = 0;
    // SAFETY: our child, and a place for its status.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    expect_eq("waitpid", waited, pid)?;
    Ok(status)
}

/// Does `work` in a child, where it must succeed.
pub(super) fn succeeds(work: impl FnOnce() -> Outcome) -> Outcome {
    expect_eq("status of the child", status_of(work)?, 0)
}
