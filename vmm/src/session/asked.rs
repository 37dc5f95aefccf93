//! What is asked of a running session through its control socket, and done in its main loop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::time::Duration;

use tmem_core::{Client, Share as StoreShare};

use super::supervise::{Event, Session, Slot, State};
use super::tmem::Share;
use crate::config::check_balloon;
use crate::control::{Request, Server, ServerError};
use crate::guest::Guest;
use crate::kvm::KvmError;

/// How long the main loop may take to begin with an answer. It may be asking a vCPU that does not answer itself for its registers.
const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Result<serde_json::Value, String>;

/// A request, and where its answer is waited for.
pub(super) struct Question {
    request: Request,
    to: SyncSender<Answer>,
    /// Set by who is first: the main loop, which does it, or who asked and gives up, so that it is not done.
    settled: Arc<AtomicBool>,
}

impl Question {
    /// Answers it with what `answer` says, unless whoever asked has given up.
    pub(super) fn answer(self, answer: impl FnOnce(&Request) -> Answer) {
        if !self.settled.swap(true, Ordering::AcqRel) {
            // There is room for one.
            let _ = self.to.try_send(answer(&self.request));
        }
    }
}

/// Listens at `path`. There is one question at a time, so that whoever asks without a pause fills no queue and delays no other event
/// by more than one answer.
pub(super) fn listen(path: &Path, events: Sender<Event>) -> Result<Server, ServerError> {
    Server::start(path, move |request| put(request, &events, PATIENCE))
}

/// Puts a question to the main loop.
fn put(request: Request, events: &Sender<Event>, patience: Duration) -> Answer {
    let over = || Err("the session is over: its guests have ended".into());
    let (to, from) = sync_channel(1);
    let settled = Arc::new(AtomicBool::new(false));
    let question = Question { request, to, settled: settled.clone() };
    if events.send(Event::Asked(question)).is_err() {
        return over();
    }
    match from.recv_timeout(patience) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Disconnected) => over(),
        Err(RecvTimeoutError::Timeout) if settled.swap(true, Ordering::AcqRel) => {
            // It is being done.
            match from.recv_timeout(patience) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Disconnected) => over(),
                Err(RecvTimeoutError::Timeout) => {
                    Err("it takes long, and will be done: look at the guests".into())
                }
            }
        }
        Err(RecvTimeoutError::Timeout) => Err("the session is busy, and nothing was done: ask again".into()),
    }
}

impl Session {
    /// Does what is asked.
    pub(super) fn answer(&self, request: &Request) -> Answer {
        let slot = match request {
            Request::Guests => return json(&self.line()),
            Request::Balloon { guest, bytes } => {
                let (slot, running, _) = self.running(guest)?;
                check_balloon(*bytes, &slot.config.spec.memory)?;
                if !running.set_balloon(*bytes) {
                    return Err(format!(
                        "guest `{guest}` has no balloon: start it with `--balloon`, or `balloon = true` in its table"
                    ));
                }
                slot
            }
            Request::Stop { guest } => {
                let (slot, running, _) = self.running(guest)?;
                press(guest, running.press_power_button())?;
                slot
            }
            Request::Resize { guest, disk, bytes } => {
                let (slot, running, _) = self.running(guest)?;
                running.resize_disk(disk, *bytes).map_err(|why| format!("guest `{guest}`: {why}"))?;
                slot
            }
            Request::Cap { guest, bytes } => {
                let (slot, client) = self.client(guest)?;
                set_cap(client, *bytes);
                slot
            }
            Request::Share { guest, reservation_bytes, weight } => {
                let (slot, client) = self.client(guest)?;
                set_share(client, *reservation_bytes, *weight)?;
                slot
            }
            Request::Freeze { guest } => {
                let (slot, client) = self.client(guest)?;
                client.freeze();
                slot
            }
            Request::Thaw { guest } => {
                let (slot, client) = self.client(guest)?;
                client.thaw();
                slot
            }
        };
        json(&slot.line())
    }

    /// A guest that runs with tmem, by its name, and its client.
    fn client(&self, name: &str) -> Result<(&Slot, &Client), String> {
        let (slot, _, share) = self.running(name)?;
        let share = share.ok_or_else(|| format!("guest `{name}` was started without tmem"))?;
        Ok((slot, share.client()))
    }

    /// A guest that runs, by its name.
    fn running(&self, name: &str) -> Result<(&Slot, &Guest, Option<&Share>), String> {
        let Some(slot) = self.slots.iter().find(|slot| slot.config.spec.name == name) else {
            let names: Vec<&str> = self.slots.iter().map(|slot| slot.config.spec.name.as_str()).collect();
            return Err(format!("no guest `{name}`: there are {}", names.join(", ")));
        };
        match &slot.state {
            State::Running { guest, share } => Ok((slot, guest, share.as_ref())),
            State::Waiting => Err(format!("guest `{name}` is not started yet: ask again later")),
            State::Ended(_) => {
                Err(format!("guest `{name}` has ended: nothing of it can be changed any more"))
            }
            State::Failed(_) | State::Cancelled => {
                Err(format!("guest `{name}` was never started: what `tmem run` says tells why"))
            }
        }
    }
}

/// What is said of a power button that was pressed.
fn press(guest: &str, heard: Result<bool, KvmError>) -> Result<(), String> {
    match heard {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "guest `{guest}` does not listen to its power button: its kernel has not come so far yet, or has no ACPI"
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// Sets how many bytes a client may hold; without a number, as many as the store has.
fn set_cap(client: &Client, bytes: Option<u64>) {
    client.set_cap(bytes.unwrap_or(u64::MAX));
}

/// Sets what a client is owed of a full store; what is left out stays as it is.
fn set_share(client: &Client, reservation_bytes: Option<u64>, weight: Option<u32>) -> Result<(), String> {
    if (reservation_bytes, weight) == (None, None) {
        return Err("a share needs reservation_bytes, weight or both: nothing was changed".into());
    }
    let now = client.share();
    let share = StoreShare {
        reservation_bytes: reservation_bytes.unwrap_or(now.reservation_bytes),
        weight: weight.unwrap_or(now.weight),
    };
    client.set_share(share).map_err(|error| error.to_string())
}

fn json(of: &impl serde::Serialize) -> Answer {
    serde_json::to_value(of).map_err(|error| format!("the answer cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tmem_core::{ClientConfig, Store, StoreConfig};

    fn client() -> Client {
        let store = Store::new(StoreConfig { capacity_bytes: 4 << 20, ..Default::default() }).unwrap();
        store.add_client(ClientConfig::default()).unwrap()
    }

    #[test]
    fn cap_when_left_out_is_none() {
        let client = client();
        set_cap(&client, Some(4096));
        assert_eq!(client.usage().cap_bytes, 4096);
        set_cap(&client, None);
        assert_eq!(client.usage().cap_bytes, u64::MAX);
    }

    #[test]
    fn share_when_a_part_is_left_out_keeps_it_and_when_impossible_is_refused() {
        let client = client();
        set_share(&client, Some(1 << 20), None).unwrap();
        set_share(&client, None, Some(7)).unwrap();
        assert_eq!(client.share(), StoreShare { reservation_bytes: 1 << 20, weight: 7 });
        assert!(set_share(&client, Some(1 << 40), None).unwrap_err().contains("reserve less"));
        assert!(set_share(&client, None, Some(0)).is_err());
        assert!(set_share(&client, None, None).unwrap_err().contains("needs reservation_bytes, weight"));
        assert_eq!(client.share(), StoreShare { reservation_bytes: 1 << 20, weight: 7 }, "nothing changed");
    }

    #[test]
    fn question_when_given_up_is_not_done_later() {
        let (events, received) = std::sync::mpsc::channel();
        let error = put(Request::Guests, &events, Duration::ZERO).unwrap_err();
        assert!(error.contains("nothing was done"), "{error}");
        let Ok(Event::Asked(question)) = received.recv() else { panic!("it was put") };
        question.answer(|request| panic!("{request:?} was done"));
    }

    #[test]
    fn question_when_the_session_is_gone_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let (events, received) = std::sync::mpsc::channel();
        let _server = listen(&path, events).unwrap();
        drop(received);
        let error = crate::control::ask(&path, &Request::Guests).unwrap_err().to_string();
        assert!(error.starts_with("the session is over"), "{error}");
    }
}
