//! Does what the conformance suite asks, on the public helper alone: one JSON object a line on
//! standard input and output, the daemon by `ASSETD_ADDRESS`. It knows nothing of what is expected.
mod actions;
mod words;

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use assetd::Client;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::words::Request;

/// Whether a line could not be written, which nobody hears then.
static IS_UNHEARD: AtomicBool = AtomicBool::new(false);

/// Has the actions that go on.
struct Runner {
    client: Client,
    running: Mutex<HashMap<String, Arc<Action>>>,
}

/// One request that goes on, or what it holds.
struct Action {
    request: Request,
    cancelled: Notify,
    released: Notify,
}

#[tokio::main]
async fn main() -> ExitCode {
    let served = match Client::connect() {
        Ok(client) => serve(client, lines()).await,
        Err(failure) => Err(failure.to_string()),
    };
    match served {
        Ok(()) if IS_UNHEARD.load(Ordering::Relaxed) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the lines of standard input, read by a thread that does not outlive `main`.
fn lines() -> mpsc::UnboundedReceiver<io::Result<String>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::spawn(move || io::stdin().lock().lines().try_for_each(|line| sender.send(line)));
    receiver
}

/// Does what the requests ask, until they end or say so, and returns when nothing goes on any more.
async fn serve(
    client: Client,
    mut lines: mpsc::UnboundedReceiver<io::Result<String>>,
) -> Result<(), String> {
    let runner = Arc::new(Runner { client, running: Mutex::default() });
    let mut tasks = JoinSet::new();
    write(json!({"ready": {"language": "rust", "fast_path": true}}));
    let read = loop {
        match lines.recv().await {
            None => break Ok(()),
            Some(Err(failure)) => break Err(failure.to_string()),
            Some(Ok(line)) if line.is_empty() => (),
            Some(Ok(line)) => match serde_json::from_str::<Request>(&line) {
                Err(failure) => break Err(format!("{line:?} is no request: {failure}")),
                Ok(request) if request.action == "close" => break Ok(()),
                Ok(request) => runner.take(request, &mut tasks),
            },
        }
    };
    for action in runner.running().values() {
        action.cancelled.notify_one();
    }
    let mut ended = Ok(());
    while let Some(done) = tasks.join_next().await {
        ended = ended.and(done.map_err(|cause| format!("an action did not end well: {cause}")));
    }
    runner.client.close();
    read.and(ended)
}

impl Runner {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Action>>> {
        self.running.lock().expect("nobody panics with it")
    }

    fn take(self: &Arc<Self>, request: Request, tasks: &mut JoinSet<()>) {
        let of = self.running().get(&request.of).cloned();
        match request.action.as_str() {
            "cancel" => {
                if let Some(of) = of {
                    of.cancelled.notify_one();
                }
            }
            "release" => {
                if let Some(of) = of {
                    of.released.notify_one();
                }
            }
            _ => return self.start(request, tasks),
        }
        if !request.id.is_empty() {
            write(json!({"id": request.id, "answer": {}}));
        }
    }

    fn start(self: &Arc<Self>, request: Request, tasks: &mut JoinSet<()>) {
        let id = request.id.clone();
        let action = Action { request, cancelled: Notify::new(), released: Notify::new() };
        let action = Arc::new(action);
        self.running().insert(id.clone(), action.clone());
        let runner = self.clone();
        tasks.spawn(async move {
            let cancelled = async {
                action.cancelled.notified().await;
                Err(words::cancelled())
            };
            let ended = tokio::select! {
                biased;
                ended = actions::perform(&runner.client, &action) => ended,
                ended = cancelled => ended,
            };
            match ended {
                Ok(Some(answer)) => write(json!({"id": id, "answer": answer})),
                Ok(None) => (),
                Err(error) => write(json!({"id": id, "error": error})),
            }
            runner.running().remove(&id);
        });
    }
}

fn write(line: Value) {
    let mut output = io::stdout().lock();
    if let Err(failure) = writeln!(output, "{line}").and_then(|()| output.flush()) {
        IS_UNHEARD.store(true, Ordering::Relaxed);
        eprintln!("{failure}");
    }
}
