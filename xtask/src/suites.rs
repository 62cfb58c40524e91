//! Reads what `cargo test` says: which suites ran, and how many tests of each passed.

/// One test program and its counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

/// The suites seen so far.
#[derive(Default)]
pub(crate) struct Suites {
    current: String,
    pub(crate) all: Vec<Suite>,
}

impl Suites {
    /// Takes one line of the output.
    pub(crate) fn see(&mut self, line: &str) {
        let line = line.trim();
        if let Some(program) = line.strip_prefix("Running ") {
            self.current = suite_name(program);
        } else if let Some(name) = line.strip_prefix("Doc-tests ") {
            self.current = format!("{name} (documentation)");
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let count = |word| count_before(result, word);
            self.all.push(Suite {
                name: self.current.clone(),
                passed: count(" passed"),
                failed: count(" failed"),
                ignored: count(" ignored"),
            });
        }
    }

    /// The sum of all suites.
    pub(crate) fn total(&self) -> Suite {
        let sum = |count: fn(&Suite) -> u64| self.all.iter().map(count).sum();
        Suite {
            name: String::from("total"),
            passed: sum(|suite| suite.passed),
            failed: sum(|suite| suite.failed),
            ignored: sum(|suite| suite.ignored),
        }
    }

    /// Prints the suites that have tests, then the sum in the words of `cargo test`.
    pub(crate) fn print(&self) {
        println!("\n{:<48} {:>7} {:>7}", "suite", "passed", "failed");
        for suite in self.all.iter().filter(|suite| suite.passed + suite.failed > 0) {
            println!("{:<48} {:>7} {:>7}", suite.name, suite.passed, suite.failed);
        }
        let Suite { passed, failed, ignored, .. } = self.total();
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        println!("\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored");
    }
}

/// `unittests src/lib.rs (target/debug/deps/wire-0a1b)` is `wire src/lib.rs`.
fn suite_name(program: &str) -> String {
    let (what, file) = program.split_once(" (").unwrap_or((program, ""));
    let what = what.trim_start_matches("unittests ").trim();
    let file = file.rsplit('/').next().unwrap_or_default();
    let (name, _hash) = file.rsplit_once('-').unwrap_or((file, ""));
    format!("{name} {what}")
}

/// The number that stands before `word`; 0 without one.
fn count_before(text: &str, word: &str) -> u64 {
    let Some((before, _)) = text.split_once(word) else { return 0 };
    before.rsplit([' ', ';']).next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_named_by_crate_and_file_and_summed() {
        let mut suites = Suites::default();
        for line in [
            "     Running unittests src/lib.rs (target/debug/deps/wire-0a1b)",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            "     Running tests/tidy.rs (target/debug/deps/tidy-77)",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            suites.see(line);
        }
        let names: Vec<&str> = suites.all.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(names, ["wire src/lib.rs", "tidy tests/tidy.rs"]);
        let total = suites.total();
        assert_eq!((total.passed, total.failed, total.ignored), (15, 2, 1));
    }
}
