//! "Did you mean": the known word nearest to an unknown one.

/// The shortest candidate that has the word as a part; else the one that takes fewest edits to
/// reach, if that is few for the word's length.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let allowed = (word.len() / 3).clamp(1, 4);
    let candidates: Vec<&str> = candidates.into_iter().collect();
    whole_part(word, &candidates).or_else(|| {
        candidates
            .iter()
            .map(|candidate| (edits(word, candidate), *candidate))
            .filter(|(edits, _)| *edits <= allowed)
            .min_by_key(|(edits, _)| *edits)
            .map(|(_, candidate)| candidate)
    })
}

/// The shortest candidate of which a word of some length is a part: `head-timeout` in
/// `request-head-timeout`.
fn whole_part<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let holds = candidates.iter().filter(|candidate| word.len() >= 4 && candidate.contains(word));
    holds.min_by_key(|candidate| candidate.len()).copied()
}

/// Insertions, deletions, substitutions and swaps of neighbours between two words
/// (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let words = ["manifests", "head-timeout", "http"];
        assert_eq!(nearest("manifets", words), Some("manifests"));
        assert_eq!(nearest("haed-timeout", words), Some("head-timeout"));
        assert_eq!(nearest("htp", words), Some("http"));
    }

    #[test]
    fn a_part_of_a_word_stands_for_it() {
        let words = ["request-head-timeout", "connect-timeout"];
        assert_eq!(nearest("head-timeout", words), Some("request-head-timeout"));
        assert_eq!(nearest("nec", words), None);
    }

    #[test]
    fn another_word_is_not() {
        assert_eq!(nearest("certificate", ["manifests", "http"]), None);
        assert_eq!(nearest("", ["http"]), None);
    }

    #[test]
    fn a_swap_is_one_edit() {
        assert_eq!(edits("ab", "ba"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
