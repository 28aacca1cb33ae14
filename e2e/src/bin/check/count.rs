//! What a suite ran, read from what it printed.

/// What ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that failed.
    pub failed: u32,
    /// Names of tests that were not run.
    pub skipped: Vec<String>,
}

impl Count {
    /// Takes one line of output into account.
    ///
    /// Understood are the summary of Rust's test harness (`test result: ok. 3 passed; 0 failed; ...`), its line of an ignored
    /// test (`test name ... ignored`), and from any other program `skipped: NAME` and `3 passed, 0 failed, 0 skipped`.
    pub fn line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(summary) = line.strip_prefix("test result: ") {
            self.passed += number_before(summary, " passed");
            self.failed += number_before(summary, " failed");
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... ignored"))
            .map(|(name, _)| name)
        {
            self.skipped.push(name.to_owned());
        } else if let Some(name) = line.strip_prefix("skipped: ") {
            self.skipped
                .push(name.split(": ").next().unwrap_or(name).to_owned());
        } else if is_plain_summary(line) {
            self.passed += number_before(line, " passed");
            self.failed += number_before(line, " failed");
        }
    }

    /// The count when the command has ended: a bad end without a counted failure is one, and so is a suite that ran nothing.
    pub fn ended(mut self, success: bool) -> Self {
        if (!success && self.failed == 0)
            || (success && self.passed == 0 && self.skipped.is_empty())
        {
            self.failed += 1;
        }
        self
    }
}

fn is_plain_summary(line: &str) -> bool {
    let parts: Vec<&str> = line.split(", ").collect();
    matches!(parts.as_slice(), [passed, failed, skipped]
        if passed.ends_with(" passed") && failed.ends_with(" failed") && skipped.ends_with(" skipped")
            && line.starts_with(|c: char| c.is_ascii_digit()))
}

/// The number directly in front of a word, 0 when there is none.
fn number_before(text: &str, word: &str) -> u32 {
    let Some(at) = text.find(word) else { return 0 };
    let digits = text[..at]
        .rsplit(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or_default();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(lines: &[&str]) -> Count {
        let mut count = Count::default();
        for line in lines {
            count.line(line);
        }
        count
    }

    #[test]
    fn summaries_of_several_binaries_add_up() {
        let count = counted(&[
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 25 passed; 0 failed; 0 ignored; 0 measured; 6 filtered out; finished in 0.00s",
            "test result: FAILED. 8 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.28s",
        ]);
        assert_eq!(
            count,
            Count {
                passed: 33,
                failed: 1,
                skipped: vec![]
            }
        );
    }

    #[test]
    fn what_is_not_run_is_named() {
        let count = counted(&[
            "test api::slow ... ignored, needs a moon",
            "skipped: upstream-ztunnel: no path",
            "4 passed, 1 failed, 1 skipped",
        ]);
        assert_eq!(
            count,
            Count {
                passed: 4,
                failed: 1,
                skipped: vec!["api::slow".to_owned(), "upstream-ztunnel".to_owned()]
            }
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        let lines = [
            "",
            "12 passed the gate, nothing else",
            "note: 3 failed, 4 passed",
            "the test passed, it failed, it skipped",
            "test x ... FAILED",
        ];
        assert_eq!(counted(&lines), Count::default());
    }

    #[test]
    fn a_bad_end_and_an_empty_suite_are_failures() {
        let passed = Count {
            passed: 3,
            ..Count::default()
        };
        assert_eq!(passed.clone().ended(true).failed, 0);
        assert_eq!(passed.clone().ended(false).failed, 1);
        assert_eq!(
            Count {
                failed: 2,
                ..passed
            }
            .ended(false)
            .failed,
            2
        );
        assert_eq!(Count::default().ended(true).failed, 1);
    }
}
