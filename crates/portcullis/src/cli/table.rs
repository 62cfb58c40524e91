//! Text in columns.

use super::paint::{Paint, Tone, plain};

/// Rows of equal length under headings, ending in a line feed. What comes from outside is escaped.
pub(super) fn columns(headings: &[&str], rows: &[Vec<String>], paint: Paint) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(headings.iter().map(|heading| (*heading).to_owned()).collect());
    let mut out = format!("{}\n", paint.tone(Tone::Strong, head));
    for row in rows {
        out.push_str(&line(row));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".into(), "long cell".into()], vec!["longer".into(), "b\n".into()]];
        assert_eq!(
            columns(&["ONE", "TWO"], &rows, Paint::OFF),
            "ONE     TWO\na       long cell\nlonger  b\\u{a}\n"
        );
    }
}
