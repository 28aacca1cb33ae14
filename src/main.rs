//! The applink binary: the operator, the node proxy and the command line in one program.

use std::process::ExitCode;

fn main() -> ExitCode {
    applink::cli::main()
}
