//! Traffic that notices everything: connections that are kept, each with a checksummed frame ten times a second, and new
//! ones all the while, each tried once and within two seconds.
//!
//! What happened is told on a port of its own, as JSON: `GET /` for everything since the start, `GET /ask/HOST:PORT` for one
//! new connection to somebody else.

mod record;

use std::fmt;
use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::frame::Frame;
use record::Record;

/// Within this a new connection is made, its frame sent, and the answer read.
const LIMIT: Duration = Duration::from_secs(2);
/// Between two frames of a kept connection.
const BEAT: Duration = Duration::from_millis(100);
/// How long a kept connection may be silent before it counts as cut.
const SILENCE: Duration = Duration::from_secs(30);
/// A connection needs little.
const STACK: usize = 128 * 1024;

/// What is sent where.
#[derive(Clone, Debug)]
pub struct Load {
    /// Kept connections to the first target.
    pub kept: u64,
    /// New connections a second, to each target in turn.
    pub fresh: u32,
    /// `host:port` of those that answer frames.
    pub targets: Vec<String>,
}

/// Runs until killed.
///
/// # Errors
/// There is no target, or the port cannot be listened on.
pub fn run(load: &Load, port: u16) -> Result<()> {
    let Some(first) = load.targets.first() else {
        return Err(Error::new(ErrorKind::InvalidInput, "no target"));
    };
    let listener =
        TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    let record = Arc::new(Record::default());
    for number in 0..load.kept {
        let (target, record) = (first.clone(), Arc::clone(&record));
        spawn(move || keep(number, &target, &record))?;
    }
    let (paced, record) = (load.clone(), Arc::clone(&record));
    let pacing = Arc::clone(&record);
    spawn(move || pace(&paced, &pacing))?;
    loop {
        // A caller that hangs up is its own affair.
        let _ = listener.accept().and_then(|(stream, _)| {
            let record = Arc::clone(&record);
            spawn(move || drop(tell(stream, &record)))
        });
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(work)
        .map(drop)
}

/// One connection that stays; when it is cut, that is noted, and another takes its place.
fn keep(number: u64, target: &str, record: &Record) {
    loop {
        match kept(number, target, record) {
            // Nobody is there yet: not a connection that was cut.
            Err(_) => std::thread::sleep(BEAT),
            Ok(cut) => record.cut(&cut),
        }
    }
}

/// Makes a connection and uses it until it is cut; why.
fn kept(number: u64, target: &str, record: &Record) -> Result<String> {
    let mut stream = connect(target, SILENCE)?;
    // One answer: whoever is connected to a proxy only is not served yet.
    exchange(&mut stream, &Frame::new(number, 0))?;
    record.opened();
    let mut next = Instant::now();
    let mut count = 0;
    let cut = loop {
        count += 1;
        match exchange(&mut stream, &Frame::new(number, count)) {
            Ok(took) => record.beat(took),
            Err(error) => {
                if error.kind() == ErrorKind::InvalidData {
                    record.wrong();
                }
                break format!("connection {number}: {error}");
            }
        }
        next += BEAT;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    };
    Ok(cut)
}

/// Begins new connections at the rate asked for, whether or not earlier ones have been answered.
fn pace(load: &Load, record: &Arc<Record>) {
    let Some(period) = Duration::from_secs(1).checked_div(load.fresh) else {
        return;
    };
    let mut next = Instant::now();
    for (number, target) in (0..).zip(load.targets.iter().cycle()) {
        next += period;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let (target, theirs) = (target.clone(), Arc::clone(record));
        record.begun();
        let begun = spawn(move || match ask(&target, number) {
            Ok(took) => {
                let all = took.answer.unwrap_or(LIMIT);
                theirs.answered(all, || format!("{target}: {took}"));
            }
            Err(why) => theirs.failed(&format!("{target}: {why}")),
        });
        if let Err(error) = begun {
            record.failed(&format!("no thread: {error}"));
        }
    }
}

/// What the parts of a new connection took, each from the beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    name: Option<Duration>,
    connection: Option<Duration>,
    answer: Option<Duration>,
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("name", self.name),
            ("connection", self.connection),
            ("answer", self.answer),
        ];
        let done = parts.iter().map_while(|(what, at)| Some((what, (*at)?)));
        let done: Vec<String> = done
            .map(|(what, at)| format!("{what} after {} ms", at.as_millis()))
            .collect();
        match &done[..] {
            [] => f.write_str("no name"),
            done => f.write_str(&done.join(", ")),
        }
    }
}

/// One new connection, once, within the limit; the time for the name counts.
///
/// # Errors
/// What failed, and what had been done until then.
fn ask(target: &str, number: u64) -> std::result::Result<Took, String> {
    let begun = Instant::now();
    let mut took = Took::default();
    match try_ask(target, number, begun, &mut took) {
        Ok(()) => Ok(took),
        Err(error) => Err(format!("{error} ({took})")),
    }
}

fn try_ask(target: &str, number: u64, begun: Instant, took: &mut Took) -> Result<()> {
    let left = || {
        let left = LIMIT.saturating_sub(begun.elapsed());
        if left.is_zero() {
            let text = format!("no answer within {} s", LIMIT.as_secs());
            return Err(Error::new(ErrorKind::TimedOut, text));
        }
        Ok(left)
    };
    let address = resolve(target)?;
    took.name = Some(begun.elapsed());
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    took.connection = Some(begun.elapsed());
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(left()?))?;
    exchange(&mut stream, &Frame::new(u64::MAX, number))?;
    took.answer = Some(begun.elapsed());
    left().map(drop)
}

fn resolve(target: &str) -> Result<std::net::SocketAddr> {
    let mut found = target
        .to_socket_addrs()
        .map_err(|error| Error::new(error.kind(), format!("name: {error}")))?;
    found
        .next()
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "name: no address"))
}

fn connect(target: &str, silence: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&resolve(target)?, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(silence))?;
    stream.set_write_timeout(Some(silence))?;
    Ok(stream)
}

/// Sends a frame and reads the answer, which must be the same; how long that took.
fn exchange(stream: &mut TcpStream, frame: &Frame) -> Result<Duration> {
    let begun = Instant::now();
    frame.write(stream)?;
    match Frame::read(stream)? {
        Some(answer) if answer == *frame => Ok(begun.elapsed()),
        Some(answer) => {
            let what = if answer.is_whole() {
                "another frame"
            } else {
                "a damaged frame"
            };
            Err(Error::new(
                ErrorKind::InvalidData,
                format!("{what} instead of its own"),
            ))
        }
        None => Err(Error::new(ErrorKind::UnexpectedEof, "closed by the peer")),
    }
}

/// Answers one request for what happened.
fn tell(mut stream: TcpStream, record: &Record) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut request = String::new();
    BufReader::new((&stream).take(1024)).read_line(&mut request)?;
    let path = request.split(' ').nth(1).unwrap_or("/");
    let (code, body) = match path.strip_prefix("/ask/") {
        None => (200, record.json()),
        Some(target) => match ask(target, 0) {
            Ok(_) => (200, "answered".to_owned()),
            Err(why) => (502, why),
        },
    };
    write!(
        stream,
        "HTTP/1.1 {code} Said\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers with what `answer` makes of each frame, for one connection.
    fn serve(answer: impl Fn(Frame) -> Option<Frame> + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while let Ok(Some(frame)) = Frame::read(&mut stream) {
                match answer(frame) {
                    Some(frame) => frame.write(&mut stream).unwrap(),
                    None => return,
                }
            }
        });
        target
    }

    #[test]
    fn a_new_connection_is_good_only_with_its_own_frame() {
        ask(&serve(Some), 5).unwrap();
        for (answer, words) in [
            (None, "closed by the peer"),
            (Some(Frame::new(9, 9)), "another frame"),
        ] {
            let error = ask(&serve(move |_| answer.clone()), 5).unwrap_err();
            assert!(
                error.contains(words) && error.contains("connection after"),
                "{error}"
            );
        }
        let error = ask("127.0.0.1:1", 5).unwrap_err();
        assert!(error.contains("(name after "), "{error}");
        assert!(!error.contains("connection after"), "{error}");
    }

    #[test]
    fn a_kept_connection_tells_how_it_was_cut_and_what_was_wrong() {
        let record = Record::default();
        let last = Frame::new(1, 2);
        let theirs = last.clone();
        let target = serve(move |frame| (frame != theirs).then_some(frame));
        let cut = kept(1, &target, &record).unwrap();
        assert_eq!(cut, "connection 1: closed by the peer");
        let target = serve(move |frame| {
            Some(if frame == last {
                Frame::new(1, 1)
            } else {
                frame
            })
        });
        kept(1, &target, &record).unwrap();
        let told = record.json();
        assert!(told.contains(r#""opened":2,"frames":2,"#), "{told}");
        assert!(told.contains(r#""wrong":1,"#), "{told}");
        // Nobody there: not a connection that was cut.
        assert!(kept(1, "127.0.0.1:1", &record).is_err());
    }
}
