//! Lines for people on standard error. While a session runs, a thread writes them, so that nothing waits for whoever reads them.

use std::fmt::Arguments;
use std::io::{self, Write};

use parking_lot::RwLock;

use crate::output::{Descriptor, Feed, Left, Writer};

static VOICE: RwLock<Option<Feed>> = RwLock::new(None);

/// A line on standard error. Unlike `eprintln!` it survives a standard error that nobody reads any more.
pub(crate) fn say(text: Arguments<'_>) {
    let _ = StandardError.write_all(format!("{text}\n").as_bytes());
}

/// Standard error: of the thread while there is one, else at once.
pub(crate) struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match VOICE.read().as_ref() {
            Some(feed) => {
                feed.push(bytes);
                Ok(bytes.len())
            }
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes to standard error, while this is there.
pub(super) struct Voice(());

impl Voice {
    /// Starts it; the other part tells when all that was said is written, once this one is dropped.
    ///
    /// # Errors
    /// When the host has no thread or descriptor left.
    pub(super) fn start() -> io::Result<(Self, Left)> {
        let (writer, left) = Writer::start("stderr", Descriptor::dup(io::stderr())?)?;
        *VOICE.write() = Some(writer.feed("", "\n"));
        Ok((Self(()), left))
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        *VOICE.write() = None;
    }
}
