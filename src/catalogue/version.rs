//! Versions: of our releases, of Istio, of Kubernetes.

use std::fmt;
use std::str::FromStr;

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct NotAVersion {
    /// The text, cut to what is worth showing.
    pub text: String,
    /// What was expected.
    pub expected: &'static str,
}

impl NotAVersion {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(32).collect(),
            expected,
        }
    }
}

/// `major.minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minor {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
}

impl Minor {
    /// A minor from its two numbers.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// The Kubernetes minor a cluster reports, whatever its distribution appends: `v1.33.4-gke.1`, `1.33+`.
    pub fn of_kubernetes(git_version: &str) -> Option<Self> {
        let (major, rest) = git_version.trim_start_matches('v').split_once('.')?;
        let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self {
            major: number(major)?,
            minor: number(minor)?,
        })
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Minor {
    type Err = NotAVersion;
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        match parse(text) {
            Some((major, minor, None)) => Ok(Self { major, minor }),
            _ => Err(NotAVersion::new(
                text,
                "a version of the form major.minor, such as 1.6",
            )),
        }
    }
}

/// `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number.
    pub patch: u16,
}

impl Version {
    /// A version from its three numbers.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// The line this version belongs to.
    pub const fn line(self) -> Minor {
        Minor {
            major: self.major,
            minor: self.minor,
        }
    }

    /// The version with hyphens, as object names contain it: `1-6-0`.
    pub fn dashed(self) -> String {
        format!("{}-{}-{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = NotAVersion;
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        match parse(text) {
            Some((major, minor, Some(patch))) => Ok(Self {
                major,
                minor,
                patch,
            }),
            _ => Err(NotAVersion::new(
                text,
                "a version of the form major.minor.patch, such as 1.6.0",
            )),
        }
    }
}

/// What `upgrade.version` pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pin {
    /// A line: patches follow by themselves.
    Line(Minor),
    /// One version: nothing moves.
    Exact(Version),
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => line.fmt(f),
            Self::Exact(version) => version.fmt(f),
        }
    }
}

impl FromStr for Pin {
    type Err = NotAVersion;
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        match parse(text) {
            Some((major, minor, None)) => Ok(Self::Line(Minor { major, minor })),
            Some((major, minor, Some(patch))) => Ok(Self::Exact(Version {
                major,
                minor,
                patch,
            })),
            None => Err(NotAVersion::new(
                text,
                "a minor such as 1.5 or an exact version such as 1.5.2",
            )),
        }
    }
}

/// Two or three numbers with dots between them, nothing else.
fn parse(text: &str) -> Option<(u16, u16, Option<u16>)> {
    let mut parts = text.split('.');
    let major = number(parts.next()?)?;
    let minor = number(parts.next()?)?;
    let patch = parts.next().map(number);
    match (patch, parts.next()) {
        (None, None) => Some((major, minor, None)),
        (Some(Some(patch)), None) => Some((major, minor, Some(patch))),
        _ => None,
    }
}

/// A decimal number without sign or leading zeros.
fn number(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0')))
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_with_dots_are_versions() {
        assert_eq!("1.6.0".parse(), Ok(Version::new(1, 6, 0)));
        assert_eq!("1.36".parse(), Ok(Minor::new(1, 36)));
        assert_eq!("1.5".parse(), Ok(Pin::Line(Minor::new(1, 5))));
        assert_eq!("1.5.2".parse(), Ok(Pin::Exact(Version::new(1, 5, 2))));
        for text in [
            "",
            ".",
            "1",
            "1.",
            "1..2",
            "v1.5",
            "1.5.2-rc.1",
            "01.5",
            "1.05",
            "1.5.2.3",
            "+1.5",
            "1.99999",
            "1. 5",
        ] {
            assert!(text.parse::<Pin>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn kubernetes_minors_are_read_through_what_distributions_append() {
        for text in [
            "v1.33.4",
            "1.33",
            "v1.33.4-gke.1200",
            "v1.33.0+k3s1",
            "1.33+",
        ] {
            assert_eq!(
                Minor::of_kubernetes(text),
                Some(Minor::new(1, 33)),
                "{text}"
            );
        }
        for text in ["", "v", "unknown", "v1", "one.two", "1-33", "0¡0"] {
            assert_eq!(Minor::of_kubernetes(text), None, "{text}");
        }
    }

    #[test]
    fn versions_sort_by_number_and_not_by_text() {
        let ten: Version = "1.10.0".parse().unwrap();
        let nine: Version = "1.9.11".parse().unwrap();
        assert!(ten > nine);
        assert_eq!(ten.dashed(), "1-10-0");
    }
}
