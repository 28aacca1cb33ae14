//! A tunnel client of our own: speaks HBONE as a broken or hostile proxy could.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;

use crate::netns::Netns;

/// Opens a tunnel to `pod` on 15008 and asks; the status, or why there is none.
pub fn request(
    runtime: &tokio::runtime::Handle,
    netns: &Netns,
    tls: Arc<ClientConfig>,
    pod: IpAddr,
    method: Method,
    authority: &str,
) -> Result<u16, String> {
    let stream = netns
        .connect(SocketAddr::new(pod, 15008))
        .map_err(|e| format!("connect: {e}"))?;
    stream.set_nonblocking(true).unwrap();
    let uri = if method == Method::CONNECT {
        authority.to_owned()
    } else {
        format!("http://{authority}/")
    };
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    runtime.block_on(async move {
        let asked = async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let name = ServerName::IpAddress(pod.into());
            let tls = tokio_rustls::TlsConnector::from(tls)
                .connect(name, stream)
                .await
                .map_err(|e| format!("tls: {e}"))?;
            let (mut client, connection) = h2::client::handshake(tls)
                .await
                .map_err(|e| format!("h2: {e}"))?;
            let driver = tokio::spawn(connection);
            let (response, _send) = client
                .send_request(request, false)
                .map_err(|e| format!("request: {e}"))?;
            let response = response.await.map_err(|e| format!("response: {e}"))?;
            driver.abort();
            Ok(response.status().as_u16())
        };
        timeout(Duration::from_secs(10), asked)
            .await
            .unwrap_or_else(|_| Err("no answer in 10 s".into()))
    })
}
