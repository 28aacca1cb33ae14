//! Runs a program to its end and reports a failure with what it said.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// The last lines of a failed program's output that an error carries.
const TAIL: usize = 20;

/// A program could not be run, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not start.
    #[error("cannot run {line:?}; is the program installed?")]
    Start {
        /// The command line.
        line: String,
        /// The reason.
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("{line:?} ended with {status}: {output}")]
    Failed {
        /// The command line.
        line: String,
        /// Exit code or signal.
        status: std::process::ExitStatus,
        /// The end of what it wrote to standard error, else to standard output.
        output: String,
    },
}

/// A command line, ready to be changed further.
pub fn command<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs to the end; the standard output.
pub fn output(command: &mut Command) -> Result<String, Error> {
    command.stdin(Stdio::null());
    let output = command.output().map_err(|source| Error::Start {
        line: line(command),
        source,
    })?;
    conclude(command, &output)
}

/// As [`output`], with text for the standard input.
pub fn feed(command: &mut Command, input: &str) -> Result<String, Error> {
    let start = |source| Error::Start {
        line: line(command),
        source,
    };
    let mut child = Command::new(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early says so by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(start)?;
    conclude(command, &output)
}

/// Whether a program with that name can be found.
pub fn exists(program: &str) -> bool {
    let administrative = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Into::into);
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(administrative)
            .any(|folder| folder.join(program).is_file())
    })
}

/// An error with its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn conclude(command: &Command, output: &std::process::Output) -> Result<String, Error> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = if stderr.trim().is_empty() {
        tail(&stdout, TAIL)
    } else {
        tail(&stderr, TAIL)
    };
    Err(Error::Failed {
        line: line(command),
        status: output.status,
        output: said,
    })
}

/// The command line, as one would type it in a shell.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A word as a shell reads it: in quotes where it would read something else.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_reported_with_what_it_said() {
        let error = output(&mut command(
            "sh",
            ["-c", "echo said; echo why >&2; exit 3"],
        ))
        .unwrap_err()
        .to_string();
        assert!(error.contains("exit status: 3: why"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut command("no-such-program", ["a"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot run \"no-such-program a\"; is the program installed?"
        );
        assert!(!exists("no-such-program") && exists("sh"));
    }

    #[test]
    fn a_shell_reads_a_line_as_the_words_that_it_is_made_of() {
        let words = ["a-b=c", "", "two words", "it's", "$HOME", "~"];
        let typed = line(&command("printf", ["%s|"].into_iter().chain(words)));
        let read = output(&mut command("sh", ["-c", &typed])).unwrap();
        assert_eq!(read, words.join("|") + "|");
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(feed(&mut command("cat", ["-"]), "text").unwrap(), "text");
    }

    #[test]
    fn a_tail_keeps_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
