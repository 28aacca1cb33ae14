//! Medians, spreads and ratios.

use std::fmt;

use crate::cases::Figure;

/// Everything that was measured, by contestant and round.
#[derive(Default)]
pub struct Table {
    rounds: Vec<(String, Vec<Figure>)>,
}

impl Table {
    /// Adds a round of a contestant.
    pub fn add(&mut self, contestant: &str, figures: Vec<Figure>) {
        self.rounds.push((contestant.to_owned(), figures));
    }

    /// What a contestant reached, round by round.
    fn of(&self, contestant: &str, figure: &str) -> Vec<f64> {
        self.rounds
            .iter()
            .filter(|(name, _)| name == contestant)
            .flat_map(|(_, figures)| figures)
            .filter(|measured| measured.name == figure)
            .map(|measured| measured.value)
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| figure | unit | no mesh | ours | theirs | ours / theirs, round by round |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        let Some((_, figures)) = self.rounds.iter().find(|(name, _)| name == "ours") else {
            return Ok(());
        };
        for figure in figures {
            let [direct, ours, theirs] =
                ["no mesh", "ours", "theirs"].map(|name| self.of(name, figure.name));
            let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a / b).collect();
            let better = if figure.more { "more" } else { "less" };
            writeln!(
                f,
                "| {} ({better} is better) | {} | {} | {} | {} | {} |",
                figure.name,
                figure.unit,
                spread(&direct),
                spread(&ours),
                spread(&theirs),
                spread(&ratios),
            )?;
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
