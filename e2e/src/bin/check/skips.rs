//! The list of what may be skipped, and why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; restore it from the repository", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not `name: reason`.
    #[error("line {line} of the skip list is not `name: reason`: {text}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
}

/// Names of tests and suites, each with the reason why it may be skipped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Skips {
    reasons: BTreeMap<String, String>,
}

impl Skips {
    /// Reads the list.
    ///
    /// # Errors
    /// [`Error`] names the file or the line.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let mut reasons = BTreeMap::new();
        for (index, line) in text
            .lines()
            .map(str::trim)
            .enumerate()
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            match line.split_once(": ") {
                Some((name, reason)) if !name.is_empty() && !reason.trim().is_empty() => {
                    reasons.insert(name.to_owned(), reason.trim().to_owned());
                }
                _ => {
                    return Err(Error::Line {
                        line: index + 1,
                        text: line.to_owned(),
                    });
                }
            }
        }
        Ok(Self { reasons })
    }

    /// Why this one may be skipped, if it may.
    pub fn reason(&self, name: &str) -> Option<&str> {
        self.reasons.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_needs_a_reason() {
        let skips = Skips::parse("# comment\n\nadvisories: the database is not here\n").unwrap();
        assert_eq!(skips.reason("advisories"), Some("the database is not here"));
        assert_eq!(skips.reason("other"), None);
        assert!(matches!(
            Skips::parse("a: b\nadvisories\n"),
            Err(Error::Line { line: 2, .. })
        ));
        assert!(matches!(
            Skips::parse("advisories:  \n"),
            Err(Error::Line { line: 1, .. })
        ));
    }

    #[test]
    fn the_list_in_the_repository_can_be_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/skips.txt");
        assert!(Skips::read(&path).is_ok());
    }
}
