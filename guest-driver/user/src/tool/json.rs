//! Objects of numbers and words on one line, the only JSON that this program writes.

use std::fmt::Write;

/// An object with these members, whose values are JSON already.
pub(crate) fn object<N: AsRef<str>, V: AsRef<str>>(members: impl IntoIterator<Item = (N, V)>) -> String {
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, value)| format!("{}:{}", quoted(name.as_ref()), value.as_ref()))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// A whole number as it is, anything else as a string.
pub(crate) fn scalar(value: &str) -> String {
    match value.parse::<u64>() {
        Ok(number) => number.to_string(),
        Err(_) => quoted(value),
    }
}

pub(crate) fn quoted(text: &str) -> String {
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
    fn numbers_stay_numbers_and_words_are_quoted() {
        let line = object(
            [("puts", "12"), ("port", "0x5a"), ("t", "a\"\n")].map(|(name, value)| (name, scalar(value))),
        );
        assert_eq!(line, r#"{"puts":12,"port":"0x5a","t":"a\"\u000a"}"#);
    }
}
