//! Who may ask the signer next: a bounded number at once, the most urgent first, in order among equals.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::Priority;

/// The queue. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Mutex<Waiting>>);

#[derive(Debug)]
struct Waiting {
    free: usize,
    /// Background, warm-up, real time.
    lines: [VecDeque<oneshot::Sender<Turn>>; 3],
}

/// Permission to ask. Dropping it lets the next one ask.
#[derive(Debug)]
pub(super) struct Turn(Option<Queue>);

impl Queue {
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(Waiting {
            free: at_once,
            lines: Default::default(),
        })))
    }

    /// Takes a place in the line. Dropping the receiver gives the place up.
    pub(super) fn line_up(&self, priority: Priority) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match priority {
            Priority::Background => 0,
            Priority::Warmup => 1,
            Priority::RealTime => 2,
        };
        waiting.lines[line].retain(|other| !other.is_closed());
        waiting.lines[line].push_back(sender);
        drop(waiting);
        self.serve();
        receiver
    }

    /// Gives free turns to those who wait.
    fn serve(&self) {
        loop {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.free == 0 {
                return;
            }
            let Some(next) = waiting.lines.iter_mut().rev().find_map(VecDeque::pop_front) else {
                return;
            };
            waiting.free -= 1;
            drop(waiting);
            // The lock is not held: a turn that nobody takes is dropped here and comes back through `drop`.
            if let Err(mut turn) = next.send(Turn(Some(self.clone()))) {
                turn.0 = None;
                self.give_back();
            }
        }
    }

    fn give_back(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).free += 1;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.give_back();
            queue.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_goes_first_and_equals_keep_their_order() {
        let queue = Queue::new(1);
        let mut first = queue.line_up(Priority::Background);
        let turn = first.try_recv().unwrap();
        let mut background = queue.line_up(Priority::Background);
        let mut warm_one = queue.line_up(Priority::Warmup);
        let mut warm_two = queue.line_up(Priority::Warmup);
        let mut urgent = queue.line_up(Priority::RealTime);
        assert!(urgent.try_recv().is_err());
        drop(turn);
        let turn = urgent.try_recv().unwrap();
        assert!(warm_one.try_recv().is_err());
        drop(turn);
        let turn = warm_one.try_recv().unwrap();
        drop(turn);
        let turn = warm_two.try_recv().unwrap();
        assert!(background.try_recv().is_err());
        drop(turn);
        background.try_recv().unwrap();
    }

    #[test]
    fn places_that_are_given_up_cost_no_turn() {
        let queue = Queue::new(1);
        let turn = queue.line_up(Priority::Warmup).try_recv().unwrap();
        drop(queue.line_up(Priority::RealTime));
        let mut second = queue.line_up(Priority::Warmup);
        // A turn that was sent but never taken comes back too.
        let sent = queue.line_up(Priority::Warmup);
        drop(turn);
        drop(second.try_recv().unwrap());
        drop(sent);
        queue.line_up(Priority::Background).try_recv().unwrap();
    }

    #[test]
    fn only_so_many_ask_at_once() {
        let queue = Queue::new(8);
        let turns: Vec<_> = (0..8)
            .map(|_| queue.line_up(Priority::Warmup).try_recv().unwrap())
            .collect();
        let mut ninth = queue.line_up(Priority::RealTime);
        assert!(ninth.try_recv().is_err());
        drop(turns);
        ninth.try_recv().unwrap();
    }
}
