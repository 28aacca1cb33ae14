//! What was measured, and what it may be.

use std::fmt;

/// One figure and what it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// What was measured.
    pub measured: f64,
    /// The most it may be.
    pub limit: f64,
    /// Its unit; empty for a number.
    pub unit: &'static str,
    /// Decimals shown.
    pub decimals: usize,
    /// What it should be.
    pub aim: Option<f64>,
}

impl Figure {
    /// A figure without an aim.
    pub fn new(
        name: &'static str,
        measured: f64,
        limit: f64,
        unit: &'static str,
        decimals: usize,
    ) -> Self {
        Self {
            name,
            measured,
            limit,
            unit,
            decimals,
            aim: None,
        }
    }

    fn keeps(&self) -> bool {
        self.measured <= self.limit
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            measured,
            limit,
            unit,
            decimals,
            aim,
        } = self;
        write!(
            f,
            "{name:<36}{measured:>9.decimals$} {unit:<3}  limit {limit:>6} {unit:<3}"
        )?;
        if let Some(aim) = aim {
            write!(f, "  aim {aim}")?;
        }
        if !self.keeps() {
            f.write_str("  BROKEN")?;
        }
        Ok(())
    }
}

/// What was measured of one cluster.
#[derive(Debug)]
pub struct Report {
    /// Which cluster.
    pub title: String,
    /// What has a limit.
    pub figures: Vec<Figure>,
    /// What has none, by heading: one line each.
    pub notes: Vec<(&'static str, Vec<String>)>,
}

impl Report {
    /// Whether every figure keeps its limit.
    pub fn keeps_limits(&self) -> bool {
        self.figures.iter().all(Figure::keeps)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for figure in &self.figures {
            writeln!(f, "{figure}")?;
        }
        for (heading, lines) in &self.notes {
            writeln!(f, "\n{heading}")?;
            for line in lines {
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

/// A number of things, as a figure.
pub fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Memory in MB, as a figure.
pub fn megabytes(kibibytes: u32) -> f64 {
    f64::from(kibibytes) * 1024.0 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_limit_shows_in_its_line_and_in_the_verdict() {
        let report = |measured| Report {
            title: "two nodes".to_owned(),
            figures: vec![Figure::new("CPU", measured, 0.5, "s", 2)],
            notes: Vec::new(),
        };
        assert!(report(0.5).keeps_limits() && !report(0.51).keeps_limits());
        assert!(report(0.51).to_string().contains("BROKEN"));
        assert!(!report(0.5).to_string().contains("BROKEN"));
    }
}
