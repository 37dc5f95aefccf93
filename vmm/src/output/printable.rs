//! A guest's bytes made safe to show: a control character is something to read and nothing that a terminal obeys.
//!
//! A control character may come in two encodings, in two writes, or as a byte that belongs to no character at all. So bytes are first
//! decoded as UTF-8, across writes, and what is decided then is decided of characters.

use std::fmt::Write;

/// Longest encoding of a character in UTF-8.
const ENCODED_MAX: usize = 4;

/// What bytes turned out to be.
enum Piece<'a> {
    Text(&'a str),
    /// It is part of no character.
    Stray(u8),
}

/// Decodes UTF-8 that arrives in pieces.
#[derive(Debug, Default)]
struct Decoder {
    /// The beginning of a character whose end has not come, shorter than [`ENCODED_MAX`].
    begun: Vec<u8>,
}

impl Decoder {
    fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Piece<'_>)) {
        if self.begun.is_empty() {
            self.decode(bytes, &mut each);
        } else {
            let mut whole = std::mem::take(&mut self.begun);
            whole.extend_from_slice(bytes);
            self.decode(&whole, &mut each);
        }
    }

    /// Gives up waiting for the rest of a character.
    fn finish(&mut self, each: impl FnMut(Piece<'_>)) {
        std::mem::take(&mut self.begun).into_iter().map(Piece::Stray).for_each(each);
    }

    fn decode(&mut self, bytes: &[u8], each: &mut impl FnMut(Piece<'_>)) {
        for chunk in bytes.utf8_chunks() {
            if !chunk.valid().is_empty() {
                each(Piece::Text(chunk.valid()));
            }
            let stray = chunk.invalid();
            let is_last = bytes.as_ptr_range().end == stray.as_ptr_range().end;
            let may_go_on = std::str::from_utf8(stray).is_err_and(|error| error.error_len().is_none());
            if is_last && may_go_on && stray.len() < ENCODED_MAX {
                self.begun.extend_from_slice(stray);
            } else {
                stray.iter().map(|byte| Piece::Stray(*byte)).for_each(&mut *each);
            }
        }
    }
}

fn push_stray(out: &mut String, byte: u8) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\x{byte:02x}");
}

fn push_shown(out: &mut String, character: char) {
    let code = u32::from(character);
    let _ = if code < 0x80 { write!(out, "\\x{code:02x}") } else { write!(out, "\\u{{{code:x}}}") };
}

/// Whether a character changes how the text around it is shown: the separators of lines and paragraphs, and what turns the
/// direction of writing (Unicode 15, 23.2; UAX 9, 2).
fn rearranges(character: char) -> bool {
    matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Makes lines of plain text: every control character but tab and newline is shown as `\xNN` or `\u{NN}`, every byte that is part of
/// no character as `\xNN`; carriage returns are left out.
#[derive(Debug, Default)]
pub struct Text(Decoder);

impl Text {
    /// Appends what `bytes` show to `out`. A character whose end has not come yet waits for it.
    pub fn feed(&mut self, bytes: &[u8], out: &mut String) {
        self.0.feed(bytes, |piece| Self::push(out, piece));
    }

    /// Appends what is left of a character that has no end.
    pub fn finish(&mut self, out: &mut String) {
        self.0.finish(|piece| Self::push(out, piece));
    }

    /// All of `bytes` as text.
    pub fn of(bytes: &[u8]) -> String {
        let (mut text, mut out) = (Self::default(), String::new());
        text.feed(bytes, &mut out);
        text.finish(&mut out);
        out
    }

    fn push(out: &mut String, piece: Piece<'_>) {
        match piece {
            Piece::Stray(byte) => push_stray(out, byte),
            Piece::Text(text) => text.chars().for_each(|character| match character {
                '\r' => {}
                '\t' | '\n' => out.push(character),
                other if other.is_control() || rearranges(other) => push_shown(out, other),
                other => out.push(other),
            }),
        }
    }
}

/// Lets a guest that has a terminal for itself use it: everything passes but the C1 controls, U+0080 to U+009F and the bytes 80 to 9f
/// where they are part of no character, which are shown as [`Text`] shows them. Programs of this century write ESC.
#[derive(Debug, Default)]
pub struct Terminal(Decoder);

impl Terminal {
    /// Appends what `bytes` show to `out`. A character whose end has not come yet waits for it.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.0.feed(bytes, |piece| Self::push(out, piece));
    }

    /// Appends what is left of a character that has no end.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.0.finish(|piece| Self::push(out, piece));
    }

    fn push(out: &mut Vec<u8>, piece: Piece<'_>) {
        let mut shown = String::new();
        match piece {
            Piece::Stray(byte @ 0x80..=0x9f) => push_stray(&mut shown, byte),
            Piece::Stray(byte) => out.push(byte),
            Piece::Text(text) => text.chars().for_each(|character| match character {
                '\u{80}'..='\u{9f}' => push_shown(&mut shown, character),
                other => shown.push(other),
            }),
        }
        out.extend_from_slice(shown.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn terminal(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut terminal, mut out) = (Terminal::default(), Vec::new());
        pieces.iter().for_each(|piece| terminal.feed(piece, &mut out));
        terminal.finish(&mut out);
        out
    }

    #[test]
    fn text_when_it_has_controls_in_any_encoding_shows_them() {
        for (bytes, shown) in [
            (&b"\x1b[2J\x07\x7f"[..], "\\x1b[2J\\x07\\x7f"),
            (b"\xc2\x9b2J", "\\u{9b}2J"),
            (b"\xc2\x9d0;title\x07", "\\u{9d}0;title\\x07"),
            (b"\x9b2J", "\\x9b2J"),
            (b"\xe2\x9b\x0a", "\\xe2\\x9b\n"),
            (b"a\tb\r\n", "a\tb\n"),
            ("\u{202e}evil \u{2028}".as_bytes(), "\\u{202e}evil \\u{2028}"),
            ("Größe ✓ 名".as_bytes(), "Größe ✓ 名"),
            (b"cut \xe2\x9c", "cut \\xe2\\x9c"),
        ] {
            assert_eq!(Text::of(bytes), shown);
        }
    }

    #[test]
    fn terminal_when_a_guest_has_it_passes_everything_but_c1() {
        assert_eq!(
            terminal(&[b"\x1b[31mred\x1b[0m\r\n\x08\xe4\xc3\xa4"]),
            b"\x1b[31mred\x1b[0m\r\n\x08\xe4\xc3\xa4"
        );
        assert_eq!(terminal(&[b"\xc2", b"\x9b2J"]), b"\\u{9b}2J", "split over two writes");
        assert_eq!(terminal(&[b"\x9b2J"]), b"\\x9b2J");
        assert_eq!(terminal(&[b"\xdb", b"\x9b"]), b"\xdb\x9b", "U+06DB is a letter's mark and no control");
        assert_eq!(terminal(&[b"\xc2", b"a"]), b"\xc2a");
    }

    /// Whether a terminal that reads UTF-8, or one that reads bytes where there is no UTF-8, would find a C1 control.
    fn has_c1(bytes: &[u8]) -> bool {
        bytes.utf8_chunks().any(|chunk| {
            chunk.valid().chars().any(|c| ('\u{80}'..='\u{9f}').contains(&c))
                || chunk.invalid().iter().any(|byte| (0x80..=0x9f).contains(byte))
        })
    }

    proptest! {
        #[test]
        fn output_whatever_is_written_in_whatever_pieces_has_no_c1(
            pieces in prop::collection::vec(
                prop::collection::vec(prop_oneof![any::<u8>(), 0x80..=0x9f_u8, Just(0xc2), Just(0xe2), Just(b'a')], 0..6), 0..12)
        ) {
            let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let out = terminal(&slices);
            prop_assert!(!has_c1(&out), "{out:x?}");
            let whole = pieces.concat();
            prop_assert_eq!(&out, &terminal(&[&whole]), "pieces make no difference");
            let (mut text, mut shown) = (Text::default(), String::new());
            slices.iter().for_each(|piece| text.feed(piece, &mut shown));
            text.finish(&mut shown);
            prop_assert_eq!(&shown, &Text::of(&whole));
            prop_assert!(shown.chars().all(|c| matches!(c, '\t' | '\n') || !c.is_control()), "{shown:?}");
        }
    }
}
