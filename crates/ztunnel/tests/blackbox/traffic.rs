//! Applications in pods: a server that answers lines, and clients.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::netns::Netns;

/// Starts a server, for both families, that answers each line with its own name, the client's address as it sees it, and the line.
pub fn serve_lines(netns: &Netns, port: u16, name: &str) {
    let listener = netns.listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    let name = name.to_owned();
    std::thread::spawn(move || {
        while let Ok((stream, peer)) = listener.accept() {
            let name = name.clone();
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if writer
                        .write_all(
                            format!("{name} {} {line}\n", peer.ip().to_canonical()).as_bytes(),
                        )
                        .is_err()
                    {
                        break;
                    }
                }
            });
        }
    });
}

/// A client's connection to a line server.
#[derive(Debug)]
pub struct Talk {
    reader: BufReader<TcpStream>,
}

impl Talk {
    /// Connects from inside `netns`.
    pub fn open(netns: &Netns, to: SocketAddr) -> std::io::Result<Self> {
        Ok(Self {
            reader: BufReader::new(netns.connect(to)?),
        })
    }

    /// Says a line and hears the answer.
    pub fn say(&mut self, line: &str) -> std::io::Result<String> {
        self.reader
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        if self.reader.read_line(&mut answer)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.trim_end().to_owned())
    }

    /// Waits until the connection is ended by the other side; says how long that took.
    pub fn wait_for_end(&mut self, limit: Duration) -> Duration {
        let began = Instant::now();
        self.reader.get_mut().set_read_timeout(Some(limit)).unwrap();
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the connection is still open after {limit:?}")
            }
            _ => began.elapsed(),
        }
    }
}

/// One connection, one line, one answer.
pub fn ask(netns: &Netns, to: SocketAddr, line: &str) -> std::io::Result<String> {
    Talk::open(netns, to)?.say(line)
}

/// A DNS query by datagram to `server` from inside `netns`.
pub fn resolve(
    netns: &Netns,
    server: IpAddr,
    name: &str,
    asked: RecordType,
) -> (ResponseCode, Vec<String>) {
    let any = match server {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = netns.datagrams(SocketAddr::new(any, 0));
    let mut message = Message::new(0x4242, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), asked));
    socket
        .send_to(&message.to_vec().unwrap(), (server, 53))
        .unwrap();
    let mut packet = [0; 2048];
    let (length, from) = socket
        .recv_from(&mut packet)
        .unwrap_or_else(|e| panic!("no answer about {name}: {e}"));
    assert_eq!(
        from.ip(),
        server,
        "the answer comes from the server that was asked"
    );
    records(&packet[..length])
}

/// The same by stream.
pub fn resolve_by_stream(
    netns: &Netns,
    server: IpAddr,
    name: &str,
    asked: RecordType,
) -> (ResponseCode, Vec<String>) {
    let mut stream = netns.connect(SocketAddr::new(server, 53)).unwrap();
    let mut message = Message::new(0x4243, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), asked));
    let query = message.to_vec().unwrap();
    stream
        .write_all(&u16::try_from(query.len()).unwrap().to_be_bytes())
        .unwrap();
    stream.write_all(&query).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).unwrap();
    records(&reply)
}

fn records(reply: &[u8]) -> (ResponseCode, Vec<String>) {
    let reply = Message::from_vec(reply).unwrap();
    let mut records: Vec<String> = reply
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    records.sort();
    (reply.metadata.response_code, records)
}

/// The node's resolver: knows `outside.example.org` and nothing else, by datagram and by stream.
pub fn serve_names(netns: &Netns, at: SocketAddr) {
    let answer = |query: &[u8]| {
        let mut reply = Message::from_vec(query).unwrap().into_response();
        match reply.queries[0].name.to_ascii().as_str() {
            "outside.example.org." => {
                let record = RData::A(A(Ipv4Addr::new(192, 0, 2, 7)));
                reply.add_answer(Record::from_rdata(
                    reply.queries[0].name.clone(),
                    60,
                    record,
                ));
            }
            _ => reply.metadata.response_code = ResponseCode::NXDomain,
        }
        reply.to_vec().unwrap()
    };
    let (udp, tcp) = (netns.datagrams(at), netns.listen(at));
    udp.set_read_timeout(None).unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 2048];
        while let Ok((length, from)) = udp.recv_from(&mut packet) {
            udp.send_to(&answer(&packet[..length]), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).unwrap();
                let reply = answer(&query);
                stream
                    .write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes())
                    .unwrap();
                stream.write_all(&reply).unwrap();
            }
        }
    });
}
