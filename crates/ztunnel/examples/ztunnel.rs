//! The node proxy as a program of its own, for tests and measurements.

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    applink_ztunnel::app::run(&arguments)
}
