//! The least of an HTTP server: one thread a connection, one request each.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::client;

/// How long a caller may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a request.
const REQUEST_MAX: u64 = 16 * 1024;
/// Most callers served at a time; more wait in the kernel.
const CALLERS: usize = 64;

/// One service of the shop.
#[derive(Debug, Clone)]
struct Service {
    name: String,
    node: String,
    next: Option<String>,
}

/// Serves until killed, as the environment says.
///
/// # Errors
/// The port cannot be listened on.
pub fn run() -> Result<()> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let service = Service {
        name: variable("SHOP_NAME").unwrap_or_else(|| "shop".to_owned()),
        node: variable("NODE_NAME").unwrap_or_else(|| "unknown".to_owned()),
        next: variable("SHOP_NEXT"),
    };
    let port: u16 = variable("SHOP_PORT")
        .and_then(|port| port.parse().ok())
        .unwrap_or(8080);
    // Both families where the kernel has them.
    let listener =
        TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    println!("{} listens on {}", service.name, listener.local_addr()?);
    let workers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (listener, service) = (listener.try_clone(), service.clone());
            std::thread::spawn(move || listener.map(|listener| accept(&listener, &service)))
        })
        .collect();
    for worker in workers {
        let _ = worker.join();
    }
    Ok(())
}

fn accept(listener: &TcpListener, service: &Service) {
    loop {
        // A caller that hangs up is its own affair.
        let _ = listener
            .accept()
            .and_then(|(stream, peer)| serve(stream, peer, service));
    }
}

fn serve(mut stream: TcpStream, peer: SocketAddr, service: &Service) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new((&stream).take(REQUEST_MAX));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 0 && header.trim_end() != "" {
        header.clear();
    }
    let (code, body) = answer(&request, peer, service);
    let reason = if code == 200 { "OK" } else { "Bad Gateway" };
    write!(
        stream,
        "HTTP/1.1 {code} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nX-Marker: {}\r\nConnection: close\r\n\r\n{body}",
        body.len(),
        crate::MARKER
    )
}

fn answer(request: &str, peer: SocketAddr, service: &Service) -> (u16, String) {
    let path = request.split(' ').nth(1).unwrap_or("/");
    let me = format!(
        "{} on {} (asked by {})",
        service.name,
        service.node,
        peer.ip().to_canonical()
    );
    if path == "/healthz" {
        return (200, "ok\n".to_owned());
    }
    match &service.next {
        None => (200, format!("{me}\n")),
        Some(next) => match client::get(&format!("{next}{path}")) {
            Ok(answer) if answer.code == 200 => {
                (200, format!("{me} -> {}\n", answer.body.trim_end()))
            }
            Ok(answer) => (
                502,
                format!("{me} -> {} {}\n", answer.code, answer.body.trim_end()),
            ),
            Err(error) => (502, format!("{me} -> no answer: {error}\n")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve_in_background(next: Option<String>, callers: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Service {
            name: "cart".to_owned(),
            node: "b".to_owned(),
            next,
        };
        std::thread::spawn(move || {
            for _ in 0..callers {
                let (stream, peer) = listener.accept().unwrap();
                serve(stream, peer, &service).unwrap();
            }
        });
        url
    }

    #[test]
    fn a_chain_of_services_names_every_hop() {
        let stock = serve_in_background(None, 1);
        let cart = serve_in_background(Some(stock), 1);
        let answer = client::get(&format!("{cart}/buy")).unwrap();
        assert_eq!(answer.code, 200);
        assert_eq!(
            answer.body,
            "cart on b (asked by 127.0.0.1) -> cart on b (asked by 127.0.0.1)\n"
        );
    }

    #[test]
    fn a_broken_hop_is_reported_with_its_place() {
        let cart = serve_in_background(Some("http://127.0.0.1:1".to_owned()), 1);
        let answer = client::get(&cart).unwrap();
        assert_eq!(answer.code, 502);
        assert!(
            answer
                .body
                .starts_with("cart on b (asked by 127.0.0.1) -> no answer: "),
            "{}",
            answer.body
        );
    }

    #[test]
    fn health_does_not_ask_the_next_service() {
        let cart = serve_in_background(Some("http://127.0.0.1:1".to_owned()), 1);
        assert_eq!(
            client::get(&format!("{cart}/healthz")).unwrap().body,
            "ok\n"
        );
    }
}
