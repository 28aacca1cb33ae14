//! Completion scripts, made from the same definition that parses the arguments.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Failure, print};

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script of the shell.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args, called_as: &str) -> Result<ExitCode, Failure> {
    // Shells complete by file name; kubectl asks plug-ins through `kubectl_complete-applink`, which calls this binary.
    let name = if called_as == "applink" {
        "applink"
    } else {
        "kubectl-applink"
    };
    print(&script(args.shell, name))?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell, name: &str) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_the_visible_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = script(shell, "applink");
            for command in ["install", "status", "releases", "support-bundle", "version"] {
                assert!(text.contains(command), "{shell}: {command}");
            }
        }
    }
}
