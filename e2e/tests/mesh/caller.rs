//! A pod that asks another one all the while, and what it is answered.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use e2e::stage::{self, Stage};
use jiff::Timestamp;

use crate::fixture::PATIENT;

/// Between two requests of a caller, in milliseconds.
const PAUSE: &str = "100";
/// More than a rollout takes.
const MANY: &str = "100000";

/// One answer, or none.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When the answer before it came: it was asked after that.
    pub asked: Timestamp,
    /// When it came.
    pub at: Timestamp,
    pub good: bool,
    pub text: String,
}

impl Answer {
    pub fn seconds(&self) -> f64 {
        self.at.duration_since(self.asked).as_secs_f64()
    }
}

/// A pod that asks all the while, each time by a new connection.
pub struct Caller {
    pub node: String,
    child: Child,
    answers: Arc<Mutex<Vec<Answer>>>,
    reader: JoinHandle<()>,
}

fn lock(answers: &Mutex<Vec<Answer>>) -> MutexGuard<'_, Vec<Answer>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Caller {
    pub fn start(stage: &Stage, namespace: &str, pod: &str, node: &str, url: &str) -> Self {
        let mut child = Command::new(stage.cluster.programs().join("kubectl"))
            .arg(format!(
                "--kubeconfig={}",
                stage.cluster.kubeconfig().display()
            ))
            .args(["exec", "-n", namespace, pod, "--"])
            .args(["/usr/local/bin/shop", "get", url, MANY, PAUSE])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
        let kept = Arc::clone(&answers);
        let reader = std::thread::spawn(move || {
            let mut asked = Timestamp::now();
            for text in lines.map_while(Result::ok) {
                let at = Timestamp::now();
                let good = text.starts_with("200 ");
                lock(&kept).push(Answer {
                    asked,
                    at,
                    good,
                    text,
                });
                asked = at;
            }
        });
        let node = node.to_owned();
        Self {
            node,
            child,
            answers,
            reader,
        }
    }

    /// Waits for some good answers in a row.
    pub async fn until_answered(&self) {
        stage::eventually(&format!("{} is answered", self.node), PATIENT, || async {
            let answers = lock(&self.answers);
            let good = answers
                .iter()
                .rev()
                .take_while(|answer| answer.good)
                .count();
            if good >= 5 {
                Ok(())
            } else {
                Err(format!("{:?}", answers.last()))
            }
        })
        .await
        .unwrap();
    }

    /// Every answer, after some more good ones.
    pub async fn end(mut self) -> Vec<Answer> {
        self.until_answered().await;
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.join().unwrap();
        lock(&self.answers).clone()
    }
}
