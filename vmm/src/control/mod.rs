//! Control of a running session: what may be asked over a local socket, and both ends of it.
//!
//! A connection carries one request and one answer, a line of JSON each. The answer is `{"ok": VALUE}` or `{"error": TEXT}`. Who may
//! connect is decided by the socket's file permissions (0600). Guests cannot reach it: there is no such operation in the hypercall.

mod client;
mod server;
mod socket;
mod timed;

pub use client::{AskError, ask};
pub use server::Server;
pub use socket::{ServerError, Socket};

use serde::{Deserialize, Serialize};

/// Longest request, in bytes, its newline included.
const REQUEST_MAX: usize = 4096;

/// What may be asked. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What the store and every guest that runs hold and have done: a line of `tmem run --stats`.
    Guests,
    /// The guest shall end by itself: its power button is pressed.
    Stop {
        /// Its name.
        guest: String,
    },
    /// The guest shall have so many bytes in its balloon.
    Balloon {
        /// Its name.
        guest: String,
        /// Whole pages.
        bytes: u64,
    },
    /// A disk of the guest shall have another size.
    Resize {
        /// Its name.
        guest: String,
        /// The disk's serial number.
        disk: String,
        /// Bytes, no fewer than it has; without them it has as many as its file has grown to.
        bytes: Option<u64>,
    },
    /// The guest may hold so many bytes in the store.
    Cap {
        /// Its name.
        guest: String,
        /// Metadata included; `null` for as many as the store has. To leave it out is a mistake and no wish.
        #[serde(deserialize_with = "Option::deserialize")]
        bytes: Option<u64>,
    },
    /// What the guest is owed of a full store; what is left out stays as it is.
    Share {
        /// Its name.
        guest: String,
        /// Bytes that no other guest's puts push out.
        reservation_bytes: Option<u64>,
        /// Its part of the rest, against the other guests' weights.
        weight: Option<u32>,
    },
    /// The guest's puts are refused from now on.
    Freeze {
        /// Its name.
        guest: String,
    },
    /// The guest's puts are accepted again.
    Thaw {
        /// Its name.
        guest: String,
    },
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// It was done. For a request about one guest, that guest's part of [`Request::Guests`].
    Ok(serde_json::Value),
    /// It was not, and nothing changed.
    Error(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn requests_when_complete_are_read_and_written_alike() {
        for (text, request) in [
            (r#"{"do":"guests"}"#, Request::Guests),
            (
                r#"{"do":"balloon","guest":"a","bytes":4096}"#,
                Request::Balloon { guest: "a".into(), bytes: 4096 },
            ),
            (
                r#"{"do":"resize","guest":"a","disk":"d","bytes":512}"#,
                Request::Resize { guest: "a".into(), disk: "d".into(), bytes: Some(512) },
            ),
            (r#"{"do":"cap","guest":"a","bytes":null}"#, Request::Cap { guest: "a".into(), bytes: None }),
        ] {
            assert_eq!(read(text).unwrap(), request);
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
        }
    }

    #[test]
    fn requests_when_incomplete_misspelt_or_negative_are_refused() {
        for (text, why) in [
            (r#"{"do":"cap","guest":"a"}"#, "missing field `bytes`"),
            (r#"{"do":"halt","guest":"a"}"#, "unknown variant `halt`, expected one of `guests`"),
            (r#"{"do":"thaw","guest":"a","x":1}"#, "unknown field `x`"),
            (r#"{"do":"balloon","guest":"a","bytes":-1}"#, "invalid value"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
