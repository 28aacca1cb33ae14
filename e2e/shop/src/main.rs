//! A shop of three services, each this program: `web` asks `cart`, `cart` asks `stock`, over plain HTTP/1.1.
//!
//! Standard library only, so that the image is one small file. Every answer names the service, its node and the address it saw
//! the caller at; every request and answer carries a marker that is easy to find on a wire.
//!
//! ```text
//! shop serve                      environment: SHOP_NAME, SHOP_PORT (8080), SHOP_NEXT (http://cart:8080, absent for the last), NODE_NAME
//! shop get URL [TIMES]            prints the answers; exit code 1 when one of them is not 200
//! shop echo PORT                  answers frames of the load
//! shop load PORT KEPT NEW TARGET...   KEPT connections to the first TARGET, NEW ones a second to each in turn; told on PORT
//! shop broken crash|mute|refuse|flake|grow [PROGRAM...]   runs PROGRAM in a way that a release can be broken
//! ```

mod broken;
mod client;
mod echo;
mod frame;
mod load;
mod server;

use std::process::ExitCode;

/// In every request and answer: whoever sees it on the wire reads the shop's traffic.
pub const MARKER: &str = "applink-shop-plain-text-marker";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => ended(server::run()),
        ["echo", port] => match port.parse() {
            Ok(port) => ended(echo::run(port)),
            Err(_) => usage(),
        },
        ["load", port, kept, fresh, targets @ ..] => {
            match (port.parse(), kept.parse(), fresh.parse()) {
                (Ok(port), Ok(kept), Ok(fresh)) => {
                    let targets = targets.iter().map(|&target| target.to_owned()).collect();
                    let load = load::Load {
                        kept,
                        fresh,
                        targets,
                    };
                    ended(load::run(&load, port))
                }
                _ => usage(),
            }
        }
        ["broken", way, program @ ..] => match broken::Way::named(way) {
            Some(way) => ended(broken::run(way, program)),
            None => usage(),
        },
        ["get", url] => get(url, 1),
        ["get", url, times] => match times.parse() {
            Ok(times) => get(url, times),
            Err(_) => usage(),
        },
        _ => usage(),
    }
}

fn ended(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: cannot serve: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: shop serve | shop get URL [TIMES] | shop echo PORT | shop load PORT KEPT NEW TARGET... | shop broken WAY [PROGRAM...]"
    );
    ExitCode::from(2)
}

fn get(url: &str, times: u32) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for _ in 0..times {
        match client::get(url) {
            Ok(answer) => {
                println!("{} {}", answer.code, answer.body.trim_end());
                if answer.code != 200 {
                    code = ExitCode::FAILURE;
                }
            }
            Err(error) => {
                println!("no answer: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
