//! `history`: the last moves of a member, newest first.

use std::process::ExitCode;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::releases::{Output, columns};
use super::{Failure, block_on, connect, output, print, request};
use crate::api::v1alpha1::HistoryEntry;

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The member [default: the only one there is]
    member: Option<String>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Reads a member and prints where it has been.
///
/// # Errors
/// The member cannot be read, or the text cannot be printed.
pub fn run(args: &Args, cluster: &connect::Flags) -> Result<ExitCode, Failure> {
    let member = block_on(async {
        let client = connect::client(cluster).await?;
        request::one(&client, "history", args.member.as_deref()).await
    })?;
    let history = member.status.unwrap_or_default().history;
    let text = match args.output {
        Output::Table => table(&history),
        Output::Json => output::json("the history", &history)?,
        Output::Yaml => output::yaml("the history", &history)?,
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The moves as aligned columns, newest first.
pub fn table(history: &[HistoryEntry]) -> String {
    if history.is_empty() {
        return "nothing has moved yet\n".to_owned();
    }
    let head = ["ENDED", "STARTED", "FROM", "TO", "BY", "RESULT", "REASON"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head)
        .chain(history.iter().map(row))
        .collect();
    columns(&rows)
}

fn row(entry: &HistoryEntry) -> [String; 7] {
    let or_dash = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".to_owned());
    let time = |time: Option<&Time>| time.map_or_else(|| "-".to_owned(), |time| time.0.to_string());
    [
        time(entry.ended.as_ref()),
        time(entry.started.as_ref()),
        or_dash(entry.from.as_ref()),
        entry.to.clone(),
        or_dash(entry.initiated_by.as_ref()),
        entry.result.clone(),
        or_dash(entry.reason.as_ref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_told_with_who_asked_and_why_they_ended() {
        let entries: Vec<HistoryEntry> = serde_json::from_value(serde_json::json!([
            {"from": "1.5.4", "to": "1.6.0", "started": "2026-11-21T09:00:00Z", "ended": "2026-11-21T09:10:00Z", "initiatedBy": "Channel", "result": "RolledBack", "reason": "node a: it restarted"},
            {"to": "1.5.4", "result": "Succeeded"}
        ]))
        .unwrap();
        let expected = "\
ENDED                  STARTED                FROM    TO      BY        RESULT       REASON
2026-11-21T09:10:00Z   2026-11-21T09:00:00Z   1.5.4   1.6.0   Channel   RolledBack   node a: it restarted
-                      -                      -       1.5.4   -         Succeeded    -
";
        assert_eq!(table(&entries), expected);
        assert_eq!(table(&[]), "nothing has moved yet\n");
    }
}
