//! What is asked of a running session through its control socket, and done by the thread that listens to it: whatever takes long keeps
//! only those waiting who ask.

use std::path::Path;
use std::sync::Arc;

use tmem_core::{Client, Share as StoreShare};

use super::live::{Live, Place, Running, Standing};
use super::tmem::Share;
use crate::config::check_balloon;
use crate::control::{Request, Server, ServerError};
use crate::kvm::KvmError;

type Answer = Result<serde_json::Value, String>;

/// Listens at `path`, and answers one question at a time.
pub(super) fn listen(path: &Path, live: Arc<Live>) -> Result<Server, ServerError> {
    Server::start(path, move |request| answer(&live, &request))
}

/// Does what is asked.
fn answer(live: &Live, request: &Request) -> Answer {
    let running = match request {
        Request::Guests => return live.with_line(|line| json(line)),
        Request::Balloon { guest, bytes } => {
            let (place, running) = running(live, guest)?;
            check_balloon(*bytes, &place.config.spec.memory)?;
            if !running.guest.set_balloon(*bytes) {
                return Err(format!(
                    "guest `{guest}` has no balloon: start it with `--balloon`, or `balloon = true` in its table"
                ));
            }
            running
        }
        Request::Stop { guest } => {
            let (_, running) = running(live, guest)?;
            press(guest, running.guest.press_power_button())?;
            running
        }
        Request::Resize { guest, disk, bytes } => {
            let (_, running) = running(live, guest)?;
            running.guest.resize_disk(disk, *bytes).map_err(|why| format!("guest `{guest}`: {why}"))?;
            running
        }
        Request::Cap { guest, bytes } => with_client(live, guest, |client| {
            set_cap(client, *bytes);
            Ok(())
        })?,
        Request::Share { guest, reservation_bytes, weight } => {
            with_client(live, guest, |client| set_share(client, *reservation_bytes, *weight))?
        }
        Request::Freeze { guest } => with_client(live, guest, |client| {
            client.freeze();
            Ok(())
        })?,
        Request::Thaw { guest } => with_client(live, guest, |client| {
            client.thaw();
            Ok(())
        })?,
    };
    json(&running.line())
}

/// Does something to the client that a guest which runs with tmem is, by its name.
fn with_client(
    live: &Live,
    name: &str,
    change: impl FnOnce(&Client) -> Result<(), String>,
) -> Result<Arc<Running>, String> {
    let (_, running) = running(live, name)?;
    let share = running.share.as_deref().ok_or_else(|| format!("guest `{name}` was started without tmem"))?;
    change(Share::client(share))?;
    Ok(running)
}

/// A guest that runs, by its name.
fn running<'a>(live: &'a Live, name: &str) -> Result<(&'a Place, Arc<Running>), String> {
    let Some(place) = live.places().iter().find(|place| place.config.spec.name == name) else {
        let names: Vec<&str> = live.places().iter().map(|place| place.config.spec.name.as_str()).collect();
        return Err(format!("no guest `{name}`: there are {}", names.join(", ")));
    };
    match place.standing() {
        Standing::Running(running) => Ok((place, running)),
        Standing::Waiting => Err(format!("guest `{name}` is not started yet: ask again later")),
        Standing::Ended => Err(format!("guest `{name}` has ended: nothing of it can be changed any more")),
        Standing::Never => Err(format!("guest `{name}` was never started: what `tmem run` says tells why")),
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
}
