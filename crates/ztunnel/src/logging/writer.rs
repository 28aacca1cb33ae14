//! The thread that writes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Lines that may wait; about 5 MB.
const QUEUE: usize = 10_000;
/// Bytes written in one go.
const BATCH: usize = 64 * 1024;

enum Item {
    Line(String),
    Flush(SyncSender<()>),
}

/// Takes lines without ever waiting.
#[derive(Clone)]
pub struct Lines {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

impl Lines {
    /// Queues a line (with its end); counts it as lost when the queue is full.
    pub fn send(&self, line: String) {
        if self.queue.try_send(Item::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits for what is queued.
pub struct Flush(SyncSender<Item>);

impl Flush {
    /// Returns when every line queued before has been written, or after `limit`.
    pub fn now(&self, limit: Duration) {
        let (done, written) = sync_channel(1);
        if self.0.send(Item::Flush(done)).is_ok() {
            let _ = written.recv_timeout(limit);
        }
    }
}

/// Starts the thread. It ends with the last sender.
///
/// # Errors
/// What the system says about the thread.
pub fn start(out: impl Write + Send + 'static) -> io::Result<(Lines, Flush)> {
    let (queue, items) = sync_channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lost);
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || run(&items, &counted, out))?;
    Ok((
        Lines {
            queue: queue.clone(),
            lost,
        },
        Flush(queue),
    ))
}

fn run(items: &Receiver<Item>, lost: &AtomicU64, mut out: impl Write) {
    let mut batch = String::with_capacity(BATCH);
    while let Ok(first) = items.recv() {
        let mut next = Some(first);
        let mut flushed = Vec::new();
        while let Some(item) = next {
            match item {
                Item::Line(line) => batch.push_str(&line),
                Item::Flush(done) => flushed.push(done),
            }
            next = if batch.len() < BATCH {
                items.try_recv().ok()
            } else {
                None
            };
        }
        let lines_lost = lost.swap(0, Ordering::Relaxed);
        if lines_lost > 0 {
            batch.push_str(
                &format_args!(
                    "{lines_lost} log lines were lost because the log is read too slowly\n"
                )
                .to_string(),
            );
        }
        // With nobody to read the log there is nobody to tell.
        let _ = out.write_all(batch.as_bytes()).and_then(|()| out.flush());
        batch.clear();
        for done in flushed {
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// A writer whose text can be read.
    #[derive(Clone, Default)]
    pub(in crate::logging) struct Collected(Arc<Mutex<Vec<u8>>>);

    impl Collected {
        pub(in crate::logging) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Collected {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer that waits until it is let go.
    struct Stuck(Arc<(Mutex<bool>, Condvar)>, Collected);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (free, changed) = &*self.0;
            let guard = changed
                .wait_while(free.lock().unwrap(), |free| !*free)
                .unwrap();
            drop(guard);
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order_and_a_flush_waits_for_them() {
        let out = Collected::default();
        let (lines, flush) = start(out.clone()).unwrap();
        for n in 0..100 {
            lines.send(format!("{n}\n"));
        }
        flush.now(Duration::from_secs(5));
        let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(out.text().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_reader_that_is_stuck_loses_lines_and_stops_nobody() {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let out = Collected::default();
        let (lines, flush) = start(Stuck(Arc::clone(&gate), out.clone())).unwrap();
        let sent = QUEUE * 2 + BATCH;
        for _ in 0..sent {
            lines.send("x\n".into());
        }
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        flush.now(Duration::from_secs(5));
        let text = out.text();
        let written = text.lines().filter(|line| *line == "x").count();
        let lost: usize = text
            .lines()
            .filter(|line| *line != "x")
            .map(|l| l.split(' ').next().unwrap().parse::<usize>().unwrap())
            .sum();
        assert!(lost > 0);
        assert_eq!(written + lost, sent);
    }
}
