//! Medians, spreads and ratios.

use std::collections::BTreeSet;
use std::fmt;

use crate::cases::Figure;
use crate::{NO_MESH, OURS};

/// Everything that was measured, by contestant and round.
#[derive(Default)]
pub struct Table {
    measured: Vec<(String, Figure)>,
}

impl Table {
    /// Adds what a contestant reached in a round.
    pub fn add(&mut self, contestant: &str, figures: Vec<Figure>) {
        let named = |figure| (contestant.to_owned(), figure);
        self.measured.extend(figures.into_iter().map(named));
    }

    /// The contestants beside ours, sorted.
    fn others(&self) -> BTreeSet<&str> {
        let names = self.measured.iter().map(|(name, _)| name.as_str());
        names
            .filter(|name| *name != OURS && *name != NO_MESH)
            .collect()
    }

    /// What was measured of ours, once each.
    fn figures(&self) -> Vec<&Figure> {
        let mut seen = BTreeSet::new();
        self.measured
            .iter()
            .filter(|(name, figure)| name == OURS && seen.insert(figure.name))
            .map(|(_, figure)| figure)
            .collect()
    }

    /// What a contestant reached, round by round.
    fn of(&self, contestant: &str, figure: &str) -> Vec<f64> {
        self.measured
            .iter()
            .filter(|(name, measured)| name == contestant && measured.name == figure)
            .map(|(_, measured)| measured.value)
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.others();
        write!(f, "| figure | unit | no mesh | ours |")?;
        for other in &others {
            write!(f, " {other} | ours / {other} |")?;
        }
        writeln!(f, "\n|---|---|---|---|{}", "---|---|".repeat(others.len()))?;
        for figure in self.figures() {
            let better = if figure.more { "more" } else { "less" };
            let [direct, ours] = [NO_MESH, OURS].map(|name| self.of(name, figure.name));
            write!(
                f,
                "| {} ({better} is better) | {} | {} | {} |",
                figure.name,
                figure.unit,
                spread(&direct),
                spread(&ours),
            )?;
            for other in &others {
                let theirs = self.of(other, figure.name);
                // Round by round: what the machine did in a round hit both.
                let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a / b).collect();
                write!(f, " {} | {} |", spread(&theirs), spread(&ratios))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// `median (least-most)`, or a dash.
fn spread(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
        return "-".to_owned();
    };
    let median = sorted[sorted.len() / 2];
    format!("{} ({}-{})", short(median), short(*least), short(*most))
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
