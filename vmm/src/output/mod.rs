//! What goes out of the process: text made safe for terminals, and threads that write so that nobody else waits for a reader.

mod backlog;
mod capped;
mod printable;
mod sink;
mod writer;

pub use capped::CappedFile;
pub use printable::{Terminal, Text};
pub use sink::{Descriptor, OpenError, Target};
pub use writer::{Feed, Left, Writer};
