//! The kernel's files of names and numbers.

use std::fs;
use std::path::Path;

/// The number in a line `NAME VALUE` (or `NAME: VALUE kB`) of `text`.
pub(crate) fn number(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| {
        let (found, value) = line.split_once([' ', ':'])?;
        (found == name).then_some(value)
    })?;
    value.split_whitespace().next()?.parse().ok()
}

/// The number in a line of the file `path`; 0 without it.
pub(crate) fn number_in(path: &str, name: &str) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| number(&text, name)).unwrap_or(0)
}

/// Name and text of each file of a folder, by name; none if there is no such folder.
pub(crate) fn texts_of(dir: &str) -> Vec<(String, String)> {
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let text = fs::read_to_string(Path::new(dir).join(&name)).ok()?;
        Some((name.to_string_lossy().into_owned(), text))
    };
    let mut texts: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().filter_map(read).collect();
    texts.sort();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "MemTotal:      1000 kB\nputs_refused 3\nputs 12\ntransport hypercall\n";
        let found = ["MemTotal", "puts", "transport", "Mem"].map(|name| number(text, name));
        assert_eq!(found, [Some(1000), Some(12), None, None]);
    }
}
