//! Plain tables for people; JSON beside every one of them is for programs.

/// Renders rows under headings. Columns are as wide as their widest cell; numbers are aligned to the right.
pub(crate) fn render(headings: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heading.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let numeric: Vec<bool> = (0..headings.len())
        .map(|column| {
            !rows.is_empty() && rows.iter().filter_map(|row| row.get(column)).all(|cell| is_number(cell))
        })
        .collect();
    let mut text = String::new();
    let heading_cells: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    for row in std::iter::once(&heading_cells).chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .zip(&numeric)
            .map(
                |((cell, &width), &right)| {
                    if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                },
            )
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn is_number(cell: &str) -> bool {
    cell == "-" || cell.trim_end_matches([' ', '%', 's']).parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_aligned_left_and_numbers_right() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["bbb".to_owned(), "100".to_owned()]];
        assert_eq!(render(&["name", "n"], &rows), "name    n\na       1\nbbb   100\n");
    }

    #[test]
    fn a_column_with_a_word_in_it_is_no_number_column() {
        let rows = vec![vec!["7".to_owned()], vec!["many".to_owned()]];
        assert_eq!(render(&["count"], &rows), "count\n7\nmany\n");
    }

    #[test]
    fn an_empty_table_is_its_headings() {
        assert_eq!(render(&["a", "b"], &[]), "a  b\n");
    }
}
