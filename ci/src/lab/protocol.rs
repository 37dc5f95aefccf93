//! What the emulated host's init says to us, and how a guest is kept from saying it.
//!
//! Two streams carry words from the init. The *control* port carries lines; the *output* port carries the command's own
//! bytes and, after the last of them, one end marker. Both are signed with a nonce that is made for each run, handed to the
//! init in a file that it deletes before the command starts, and therefore known to no guest: whatever a guest prints, it
//! cannot end a run or make it look successful.

use std::io::Read;

/// A control line longer than this is not ours; it is dropped, so that a runaway writer costs no memory.
const LONGEST_LINE: usize = 4096;

/// The byte before an end marker: ASCII "record separator", which no text of ours contains.
const RECORD_SEPARATOR: u8 = 0x1e;

/// A random word that signs the messages of one run.
#[derive(Clone, Debug)]
pub(crate) struct Nonce(String);

impl Nonce {
    /// Draws a nonce of 128 bits from the kernel.
    pub(crate) fn draw() -> std::io::Result<Self> {
        let mut bytes = [0u8; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The nonce as the init gets it: 32 hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn fixed() -> Self {
        Self("0123456789abcdef0123456789abcdef".into())
    }
}

/// A signed line of the control port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// /dev/kvm exists and the command is about to start.
    Ready,
    /// The command's files were written to the file port.
    Files {
        /// Length of the archive in bytes.
        bytes: u64,
        /// Its SHA-256, in hexadecimal.
        sha256: String,
    },
    /// Registers and consoles were printed after we asked for them.
    Dumped,
    /// The init gave up before the command ran; the text says why.
    Failed(String),
}

/// Cuts the control port's bytes into messages.
#[derive(Debug)]
pub(crate) struct ControlParser {
    nonce: Nonce,
    line: Vec<u8>,
}

impl ControlParser {
    /// A parser that believes only lines that start with `nonce`.
    pub(crate) fn new(nonce: Nonce) -> Self {
        Self { nonce, line: Vec::new() }
    }

    /// Takes the next bytes and returns the messages that they complete. Unsigned or unknown lines are skipped.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                messages.extend(self.message());
                self.line.clear();
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(byte);
            }
        }
        messages
    }

    fn message(&self) -> Option<Message> {
        let line = std::str::from_utf8(&self.line).ok()?;
        let rest = line.strip_prefix(self.nonce.as_str())?.strip_prefix(' ')?;
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "ready" => Some(Message::Ready),
            "dumped" => Some(Message::Dumped),
            "failed" => Some(Message::Failed(rest.into())),
            "files" => {
                let (bytes, sha256) = rest.split_once(' ')?;
                Some(Message::Files { bytes: bytes.parse().ok()?, sha256: sha256.into() })
            }
            _ => None,
        }
    }
}

/// Passes the command's output through and takes the end marker out of it.
#[derive(Debug)]
pub(crate) struct OutputFilter {
    marker: Vec<u8>,
    held: Vec<u8>,
    status: Option<i32>,
}

/// What [`OutputFilter::feed`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Bytes of the command, to be shown.
    pub(crate) bytes: Vec<u8>,
    /// The command's exit status, once the marker is complete.
    pub(crate) status: Option<i32>,
}

impl OutputFilter {
    /// A filter that recognises the end marker signed with `nonce`.
    pub(crate) fn new(nonce: &Nonce) -> Self {
        let mut marker = vec![RECORD_SEPARATOR];
        marker.extend_from_slice(nonce.as_str().as_bytes());
        marker.extend_from_slice(b" exit ");
        Self { marker, held: Vec::new(), status: None }
    }

    /// Takes the next bytes. Bytes that may be the start of a marker are held back until the next call decides.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Passed {
        self.held.extend_from_slice(bytes);
        let mut passed = Vec::new();
        while let Some(at) = self.held.iter().position(|&byte| byte == RECORD_SEPARATOR) {
            passed.extend(self.held.drain(..at));
            let enough = self.held.len().min(self.marker.len());
            if self.held.get(..enough) != self.marker.get(..enough) {
                passed.extend(self.held.drain(..1));
                continue;
            }
            let Some(end) = self.held.iter().position(|&byte| byte == b'\n') else {
                return Passed { bytes: passed, status: self.status };
            };
            let digits = self.held.get(self.marker.len()..end).unwrap_or_default();
            self.status = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
            self.held.drain(..=end);
        }
        passed.append(&mut self.held);
        Passed { bytes: passed, status: self.status }
    }

    /// What is still held back when the stream ends: it was no marker after all.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(status: &str) -> Vec<u8> {
        format!("\x1e{} exit {status}\n", Nonce::fixed().as_str()).into_bytes()
    }

    #[test]
    fn control_lines_signed_with_the_nonce_become_messages() {
        let mut parser = ControlParser::new(Nonce::fixed());
        let nonce = Nonce::fixed();
        let text =
            format!("{0} ready\n{0} files 512 abc\n{0} failed no /dev/kvm\n{0} dumped\n", nonce.as_str());
        let expected = [
            Message::Ready,
            Message::Files { bytes: 512, sha256: "abc".into() },
            Message::Failed("no /dev/kvm".into()),
            Message::Dumped,
        ];
        assert_eq!(parser.feed(text.as_bytes()), expected);
    }

    #[test]
    fn control_lines_without_the_nonce_are_ignored() {
        let mut parser = ControlParser::new(Nonce::fixed());
        assert_eq!(parser.feed(b"ready\ndeadbeef ready\n0123456789abcdef0123456789abcdef\n"), []);
    }

    #[test]
    fn control_lines_may_arrive_a_byte_at_a_time() {
        let mut parser = ControlParser::new(Nonce::fixed());
        let text = format!("{} ready\n", Nonce::fixed().as_str());
        let messages: Vec<_> = text.bytes().flat_map(|byte| parser.feed(&[byte])).collect();
        assert_eq!(messages, [Message::Ready]);
    }

    #[test]
    fn a_control_line_without_end_costs_bounded_memory() {
        let mut parser = ControlParser::new(Nonce::fixed());
        parser.feed(&vec![b'x'; 1 << 20]);
        assert_eq!(parser.line.len(), LONGEST_LINE);
    }

    #[test]
    fn output_passes_and_the_marker_is_taken_out() {
        let mut filter = OutputFilter::new(&Nonce::fixed());
        let mut bytes = b"hello\n".to_vec();
        bytes.extend(marker("7"));
        assert_eq!(filter.feed(&bytes), Passed { bytes: b"hello\n".to_vec(), status: Some(7) });
    }

    #[test]
    fn a_marker_split_anywhere_is_still_found() {
        let whole = [b"abc".as_slice(), &marker("0")].concat();
        for cut in 0..whole.len() {
            let mut filter = OutputFilter::new(&Nonce::fixed());
            let first = filter.feed(&whole[..cut]);
            let second = filter.feed(&whole[cut..]);
            assert_eq!([first.bytes, second.bytes].concat(), b"abc");
            assert_eq!(second.status, Some(0), "cut at {cut}");
        }
    }

    #[test]
    fn a_marker_with_another_nonce_is_output_like_any_other() {
        let forged = b"\x1effffffffffffffffffffffffffffffff exit 0\n".to_vec();
        let mut filter = OutputFilter::new(&Nonce::fixed());
        assert_eq!(filter.feed(&forged), Passed { bytes: forged.clone(), status: None });
    }

    #[test]
    fn a_marker_whose_status_is_no_number_gives_no_status() {
        let mut filter = OutputFilter::new(&Nonce::fixed());
        assert_eq!(filter.feed(&marker("x")).status, None);
    }

    #[test]
    fn the_start_of_a_marker_is_held_back_and_given_up_at_the_end() {
        let mut filter = OutputFilter::new(&Nonce::fixed());
        assert_eq!(filter.feed(b"ab\x1e0123").bytes, b"ab");
        assert_eq!(filter.finish(), b"\x1e0123");
    }

    #[test]
    fn two_nonces_differ() {
        let (one, two) = (Nonce::draw().unwrap(), Nonce::draw().unwrap());
        assert_eq!(one.as_str().len(), 32);
        assert_ne!(one.as_str(), two.as_str());
    }
}
