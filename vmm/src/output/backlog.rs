//! Bytes that wait for a slow reader: bounded, oldest first, and where there are too many, what lies between the beginning and the end
//! is left out and counted.

use std::collections::VecDeque;

/// Where lines are longer, they are cut.
const LINE_MAX: usize = 8192;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Bytes, which were appended to the chunk.
    Bytes,
    /// So many bytes were left out here.
    Lost(u64),
}

/// A bounded queue of bytes.
#[derive(Debug)]
pub(super) struct Backlog {
    /// The oldest ones.
    beginning: VecDeque<u8>,
    /// The newest ones, once the beginning was full; what was lost lies between the two.
    end: VecDeque<u8>,
    lost: u64,
    /// Most bytes of each.
    half: usize,
}

impl Backlog {
    /// A queue of at most `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { beginning: VecDeque::new(), end: VecDeque::new(), lost: 0, half: most / 2 }
    }

    /// Appends `bytes`; where there is no room, the oldest ones behind the beginning go, up to the end of their line.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.end.is_empty() && self.lost == 0 && self.beginning.len() + bytes.len() <= self.half {
            self.beginning.extend(bytes);
            return;
        }
        self.end.extend(bytes);
        let excess = self.end.len().saturating_sub(self.half);
        if excess > 0 {
            // More than must go, so that a flood of single bytes does not look for the end of a line at each of them.
            let excess = excess.max(self.half / 16);
            let mut rest = self.end.range(excess - 1..).take(LINE_MAX);
            let gone = rest.position(|byte| *byte == b'\n').map_or(excess, |more| excess + more);
            // Half a character would be something else: a continuation byte may be a control character where it stands alone.
            let torn = self.end.range(gone..).take_while(|byte| is_continuation(**byte)).count();
            self.end.drain(..gone + torn);
            self.lost += (gone + torn) as u64;
        }
    }

    /// Counts bytes that could not be written, and with them all that wait, which could not either.
    pub(super) fn lose(&mut self, bytes: u64) {
        self.lost += bytes + (self.beginning.len() + self.end.len()) as u64;
        self.beginning.clear();
        self.end.clear();
    }

    /// Takes the next bytes, at most `most` and whole lines if there are any; nothing if nothing waits.
    pub(super) fn take(&mut self, most: usize, chunk: &mut Vec<u8>) -> Option<Next> {
        if self.beginning.is_empty() {
            std::mem::swap(&mut self.beginning, &mut self.end);
            if self.lost > 0 {
                return Some(Next::Lost(std::mem::take(&mut self.lost)));
            }
        }
        let most = most.min(self.beginning.len());
        let lines = self.beginning.range(..most).rposition(|byte| *byte == b'\n').map_or(most, |at| at + 1);
        chunk.extend(self.beginning.drain(..lines));
        (lines > 0).then_some(Next::Bytes)
    }

    /// Whether bytes wait.
    pub(super) fn has_bytes(&self) -> bool {
        !self.beginning.is_empty() || !self.end.is_empty()
    }

    /// Bytes that were left out and not told of.
    #[cfg(test)]
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

fn is_continuation(byte: u8) -> bool {
    (0x80..=0xbf).contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(backlog: &mut Backlog) -> (Vec<u8>, u64) {
        let (mut bytes, mut lost) = (Vec::new(), 0);
        while let Some(next) = backlog.take(7, &mut bytes) {
            if let Next::Lost(more) = next {
                bytes.push(b'#');
                lost += more;
            }
        }
        (bytes, lost)
    }

    #[test]
    fn bytes_when_there_is_room_come_out_as_they_went_in() {
        let mut backlog = Backlog::new(16);
        backlog.push(b"hello ");
        backlog.push(b"world");
        assert_eq!(all(&mut backlog), (b"hello world".to_vec(), 0));
        assert!(!backlog.has_bytes());
    }

    #[test]
    fn bytes_when_there_are_too_many_keep_beginning_and_end_in_whole_lines_and_are_counted() {
        let mut backlog = Backlog::new(16);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            backlog.push(line.as_bytes());
        }
        assert_eq!(all(&mut backlog), (b"one\ntwo\n#five\n".to_vec(), 11));
        backlog.push(b"six\n");
        assert_eq!(all(&mut backlog), (b"six\n".to_vec(), 0), "a reader that is back gets everything again");
    }

    #[test]
    fn characters_when_there_is_no_room_are_not_torn() {
        let mut backlog = Backlog::new(8);
        backlog.push("abcd".as_bytes());
        backlog.push("\u{6db}\u{6db}\u{6db}x".as_bytes());
        let (bytes, lost) = all(&mut backlog);
        assert_eq!((String::from_utf8(bytes).unwrap().as_str(), lost), ("abcd#\u{6db}x", 4));
    }

    #[test]
    fn bytes_when_they_could_not_be_written_are_told_before_what_follows() {
        let mut backlog = Backlog::new(64);
        backlog.push(b"waits\n");
        backlog.lose(5);
        backlog.push(b"later\n");
        assert_eq!(all(&mut backlog), (b"#later\n".to_vec(), 11));
    }

    proptest! {
        #[test]
        fn backlog_whatever_is_done_is_bounded_and_counts_every_byte(
            steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0..3_usize), 0..50)
        ) {
            let mut backlog = Backlog::new(32);
            let (mut sent, mut got, mut lost) = (0, Vec::new(), 0);
            for (bytes, takes) in steps {
                backlog.push(&bytes);
                sent += bytes.len() as u64;
                prop_assert!(backlog.beginning.len() <= 16 && backlog.end.len() <= 16);
                for _ in 0..takes {
                    if let Some(Next::Lost(more)) = backlog.take(5, &mut got) {
                        lost += more;
                    }
                }
            }
            while let Some(next) = backlog.take(5, &mut got) {
                if let Next::Lost(more) = next {
                    lost += more;
                }
            }
            prop_assert_eq!(sent, got.len() as u64 + lost);
        }
    }
}
