//! `tmem control`: what a running `tmem run --control` is asked.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::wrong;
use crate::config::Size;
use crate::control::{Request, ask};
use crate::memory::PAGE_SIZE;

/// Ask a running `tmem run --control SOCKET`: show its guests, have one of them end, or change what it may have
///
/// What is changed holds until it is changed again or the guest ends; the guest's state after the change is printed. A balloon follows
/// its target in the guest's own time: see how far it is with `guests`. Exit status: 0 when it was done, 1 when it was not; what
/// was refused has changed nothing, and what was not answered may be done yet.
///
/// The socket speaks JSON, a line each way and one request a connection (see the end of --help).
#[derive(Debug, Args)]
#[command(after_long_help = REQUESTS)]
pub(super) struct ControlArgs {
    /// The socket that `tmem run --control` was given
    #[arg(value_name = "SOCKET")]
    socket: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

const REQUESTS: &str = r#"What the socket is asked, one line each; sizes are in bytes:
  {"do":"guests"}
  {"do":"stop","guest":"a"}
  {"do":"balloon","guest":"a","bytes":16777216}
  {"do":"resize","guest":"a","disk":"disk0","bytes":1073741824}
  {"do":"cap","guest":"a","bytes":33554432}
  {"do":"cap","guest":"a","bytes":null}
  {"do":"share","guest":"a","reservation_bytes":33554432,"weight":200}
  {"do":"freeze","guest":"a"}
  {"do":"thaw","guest":"a"}
A cap of null is none. Without bytes a disk gets the size that its file has grown to. Of a share, reservation_bytes or weight may be left out: it stays as it is.
The answer is a line too: {"ok":...}, or {"error":"why"} when nothing was done."#;

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what the store and every running guest hold and have done
    Guests,
    /// Ask a guest to end, by its power button: a distribution shuts itself down, in its own time and only if it wants to
    Stop {
        /// The guest's name
        guest: String,
    },
    /// Have a guest put so much memory into its balloon: all that it takes is the host's; less than before gives it back
    Balloon {
        /// The guest's name
        guest: String,
        /// Size of the balloon, such as 16M; 0 empties it
        size: Size,
    },
    /// Make a disk larger, and tell the guest; the file grows with it
    Resize {
        /// The guest's name
        guest: String,
        /// The disk's serial number: its `id=`, or disk0, disk1, ... in order
        disk: String,
        /// Its new size, such as 2G; without it as large as its file or device has grown meanwhile. A disk never shrinks
        size: Option<Size>,
    },
    /// Limit what a guest may hold in the store
    Cap {
        /// The guest's name
        guest: String,
        /// Most bytes, such as 32M, or `none`
        #[arg(value_parser = cap)]
        size: Cap,
    },
    /// Set what a guest is owed of a full store
    #[command(arg_required_else_help = true)]
    Share {
        /// The guest's name
        guest: String,
        /// Bytes that no other guest's puts push out
        #[arg(long, value_name = "SIZE")]
        reservation: Option<Size>,
        /// Its part of the rest, against the other guests' weights
        #[arg(long, value_name = "N")]
        weight: Option<u32>,
    },
    /// Refuse a guest's puts from now on; what it has stored it can still get
    Freeze {
        /// The guest's name
        guest: String,
    },
    /// Accept a guest's puts again
    Thaw {
        /// The guest's name
        guest: String,
    },
    /// Anything else, to be refused by its name.
    #[command(external_subcommand)]
    Unknown(Vec<OsString>),
}

/// A limit, or none.
#[derive(Clone, Copy, Debug)]
struct Cap(Option<u64>);

fn cap(text: &str) -> Result<Cap, String> {
    match text {
        "none" => Ok(Cap(None)),
        size => size.parse().map(|Size(bytes)| Cap(Some(bytes))).map_err(|why| format!("{why}, or `none`")),
    }
}

impl Action {
    /// What the session is asked.
    ///
    /// # Errors
    /// A mistake on the command line that clap does not look for.
    fn request(&self) -> Result<Request, clap::Error> {
        Ok(match self {
            Self::Guests => Request::Guests,
            Self::Stop { guest } => Request::Stop { guest: guest.clone() },
            Self::Balloon { guest, size } => Request::Balloon { guest: guest.clone(), bytes: size.0 },
            Self::Resize { guest, disk, size } => {
                Request::Resize { guest: guest.clone(), disk: disk.clone(), bytes: size.map(|size| size.0) }
            }
            Self::Cap { guest, size } => Request::Cap { guest: guest.clone(), bytes: size.0 },
            Self::Share { reservation: None, weight: None, .. } => {
                let path = ["control", "share"];
                return Err(wrong(&path, ErrorKind::MissingRequiredArgument, |_| {
                    "give --reservation or --weight, or both".into()
                }));
            }
            Self::Share { guest, reservation, weight } => Request::Share {
                guest: guest.clone(),
                reservation_bytes: reservation.map(|size| size.0),
                weight: *weight,
            },
            Self::Freeze { guest } => Request::Freeze { guest: guest.clone() },
            Self::Thaw { guest } => Request::Thaw { guest: guest.clone() },
            Self::Unknown(words) => return Err(unknown(words)),
        })
    }
}

fn unknown(words: &[OsString]) -> clap::Error {
    let word = words.first().map(|word| word.display().to_string()).unwrap_or_default();
    wrong(&["control"], ErrorKind::InvalidSubcommand, |command| {
        let known: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        let known: Vec<_> = known.into_iter().filter(|name| *name != "help").collect();
        format!("no command `{word}`: {}", known.join(", "))
    })
}

/// Asks, and prints the answer.
pub(super) fn run(args: &ControlArgs) -> ExitCode {
    let request = args.action.request().unwrap_or_else(|error| error.exit());
    let answer = match ask(&args.socket, &request) {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("tmem control: {error}");
            return ExitCode::FAILURE;
        }
    };
    let text = if args.json { format!("{answer}\n") } else { text(&answer) };
    // It was done, whether somebody reads about it or not.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// An answer for people: a line about the store, if it is about all, and one about each guest.
fn text(answer: &Value) -> String {
    let mut text = String::new();
    let Some(guests) = answer.get("guests").and_then(Value::as_array) else { return guest(answer) };
    let store = |name: &str| number(answer, &format!("/store/{name}"));
    let _ = writeln!(
        text,
        "store: {} MiB used, {} persistent pages, {} ephemeral",
        store("used_bytes") >> 20,
        store("persistent_pages"),
        store("ephemeral_pages")
    );
    guests.iter().for_each(|each| text.push_str(&guest(each)));
    text
}

fn guest(of: &Value) -> String {
    let name = of.get("name").and_then(Value::as_str).unwrap_or_default();
    let count = |path: &str| number(of, path);
    let mut text =
        format!("{name}: {} sectors read, {} written", count("/sectors_read"), count("/sectors_written"));
    for disk in of.get("disks").and_then(Value::as_array).into_iter().flatten() {
        let id = disk.get("id").and_then(Value::as_str).unwrap_or_default();
        let _ = write!(text, "; {id} {}", Size(number(disk, "/bytes")));
    }
    if of.get("tmem").is_some_and(Value::is_object) {
        let cap = of.pointer("/rights/cap_bytes").and_then(Value::as_u64);
        let _ = write!(
            text,
            "; {} puts, {} refused, {} gets; holds {} KiB, cap {}, reservation {}, weight {}",
            count("/tmem/puts"),
            count("/tmem/puts_refused"),
            count("/tmem/gets"),
            count("/tmem/bytes") >> 10,
            cap.map_or("none".into(), |bytes| Size(bytes).to_string()),
            Size(count("/rights/reservation_bytes")),
            count("/rights/weight"),
        );
        if of.pointer("/rights/frozen") == Some(&Value::Bool(true)) {
            text.push_str(", frozen");
        }
    }
    if of.get("balloon").is_some_and(Value::is_object) {
        let size = |path: &str| Size(count(path).saturating_mul(PAGE_SIZE as u64));
        let _ = write!(
            text,
            "; balloon {} of {}, {} MiB given back",
            size("/balloon/actual_pages"),
            size("/balloon/target_pages"),
            count("/balloon/given_back_bytes") >> 20
        );
    }
    text + "\n"
}

fn number(of: &Value, path: &str) -> u64 {
    of.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_when_about_all_guests_has_a_line_for_each_with_what_it_has() {
        let answer = serde_json::json!({
            "store": {"used_bytes": 3 << 20, "persistent_pages": 5, "ephemeral_pages": 6},
            "guests": [
                {"name": "a", "sectors_read": 1, "sectors_written": 2, "balloon": null,
                 "disks": [{"id": "disk0", "bytes": 1 << 30}, {"id": "root", "bytes": 512}],
                 "tmem": {"puts": 7, "puts_refused": 8, "gets": 9, "bytes": 2048},
                 "rights": {"cap_bytes": 1 << 20, "reservation_bytes": 0, "weight": 100, "frozen": true}},
                {"name": "b", "sectors_read": 0, "sectors_written": 0, "tmem": null, "rights": null,
                 "balloon": {"actual_pages": 256, "target_pages": 512, "given_back_bytes": 1 << 20}},
            ]
        });
        assert_eq!(
            text(&answer),
            "store: 3 MiB used, 5 persistent pages, 6 ephemeral\n\
             a: 1 sectors read, 2 written; disk0 1G; root 512; 7 puts, 8 refused, 9 gets; holds 2 KiB, cap 1M, reservation 0, weight 100, frozen\n\
             b: 0 sectors read, 0 written; balloon 1M of 2M, 1 MiB given back\n"
        );
    }

    #[test]
    fn help_when_long_has_a_request_for_each_command_that_a_session_reads() {
        let lines = REQUESTS.lines().map(str::trim).filter(|line| line.starts_with('{'));
        let mut asked: Vec<String> = lines
            .map(|line| {
                serde_json::from_str::<Request>(line).unwrap();
                let words: Value = serde_json::from_str(line).unwrap();
                words["do"].as_str().unwrap().to_owned()
            })
            .collect();
        asked.dedup();
        let command = Action::augment_subcommands(clap::Command::new("control"));
        let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(asked, known);
    }

    #[test]
    fn cap_when_no_size_and_not_none_is_refused() {
        assert!(matches!(cap("none"), Ok(Cap(None))));
        assert!(matches!(cap("1M"), Ok(Cap(Some(1_048_576)))));
        assert!(cap("all").unwrap_err().ends_with("or `none`"));
    }
}
