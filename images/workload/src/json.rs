//! Just enough JSON to report: objects of numbers, strings and objects, on one line.

use std::fmt::Write;

/// An object being written.
#[derive(Debug, Default, Clone)]
pub(crate) struct Object(String);

impl Object {
    /// A report: an object whose first member is its `event`.
    pub(crate) fn event(name: &str) -> Self {
        Self::default().text("event", name)
    }

    pub(crate) fn number(self, name: &str, value: u64) -> Self {
        self.raw(name, &value.to_string())
    }

    /// Seconds, to the millisecond.
    pub(crate) fn seconds(self, name: &str, value: std::time::Duration) -> Self {
        self.raw(name, &format!("{}.{:03}", value.as_secs(), value.subsec_millis()))
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, &quoted(value))
    }

    pub(crate) fn object(self, name: &str, value: &Self) -> Self {
        self.raw(name, &value.to_line())
    }

    pub(crate) fn null(self, name: &str) -> Self {
        self.raw(name, "null")
    }

    /// The object on one line.
    pub(crate) fn to_line(&self) -> String {
        format!("{{{}}}", self.0)
    }

    fn raw(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(value);
        self
    }
}

fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_separated_and_text_is_escaped() {
        let inner = Object::default().number("n", 1);

        let line = Object::event("x").text("t", "a\"b\\\n").object("o", &inner).null("z").to_line();

        assert_eq!(line, r#"{"event":"x","t":"a\"b\\\u000a","o":{"n":1},"z":null}"#);
    }

    #[test]
    fn seconds_have_three_places() {
        let line = Object::default().seconds("s", std::time::Duration::from_millis(12_034)).to_line();

        assert_eq!(line, r#"{"s":12.034}"#);
    }
}
