//! `tmem serve`: disks to swap to for guests of other virtual machine monitors.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::channel;

use clap::Args;

use super::outputs::{cannot_make, write_report};
use crate::config::{self, Claims, ServeConfig, Use};
use crate::serve::Server;
use crate::session::signals::{self, Signal};
use crate::session::{OutputFile, say};

/// Serve a store to guests of QEMU, libvirt, Cloud Hypervisor, Firecracker or crosvm, as they are: each gets a disk to swap to
///
/// A disk's blocks are pages of its guest in the store: compressed, under the guest's cap, without a disk behind them. Nothing is installed
/// in the guest: it does `mkswap` and `swapon -d` on a virtio disk (see the end of --help). When the front end goes its pages go with it.
///
/// Runs until it is stopped (Ctrl-C, SIGTERM). SIGUSR1 prints a report. Exit status: 0 when it was stopped, 1 when it could not serve.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ServeArgs {
    /// TOML file that describes the store and the guests (see the end of --help)
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// Write what every guest did to this file at the end, as JSON
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
}

const EXAMPLES: &str = r#"A file with one guest of everything; what is left out has the value shown, or none where it says so:
  [store]                       # as for tmem run
  size = "1G"
  codec = "lz4"                 # raw, lz4, zstd, auto

  [[guest]]
  name = "alpha"
  tmem.cap = "512M"             # none: as much as the store has
  tmem.reservation = "0"
  tmem.weight = 100
  [[guest.disk]]
  socket = "alpha.sock"         # its owner alone can connect
  size = "4G"                   # what the guest sees; only what it writes takes memory
  queues = 4                    # most that a front end may use
  backing = "alpha.img"         # none: what the store refuses is a write error, and stays in the guest's memory

QEMU needs memory that it shares, and the disk:
  -object memory-backend-memfd,id=mem,size=2G,share=on -machine q35,memory-backend=mem
  -chardev socket,id=swap,path=alpha.sock,reconnect=1 -device vhost-user-blk-pci,chardev=swap,num-queues=4

In the guest, where it is /dev/vdb; the first line, because Linux does not discard what it frees on a disk that calls itself rotating:
  echo 0 > /sys/block/vdb/queue/rotational; mkswap /dev/vdb; swapon -d /dev/vdb"#;

/// Runs it.
pub(super) fn run(args: &ServeArgs) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(format_args!("{why}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeArgs) -> Result<(), String> {
    let config = config::load_serve(&args.file).map_err(|error| error.to_string())?;
    claims(args, &config)?;
    let create =
        |path: &PathBuf| OutputFile::create(path).map_err(|error| cannot_make("--report", path, &error));
    let output = args.report.as_ref().map(create).transpose()?;
    let (sender, signals) = channel();
    let _listening = signals::listen(move |signal| {
        // Who receives lives as long as the process.
        let _ = sender.send(signal);
    })
    .map_err(|error| format!("cannot wait for signals: {error}"))?;
    let server = Server::start(&config).map_err(|error| error.to_string())?;
    for guest in &config.guests {
        for disk in &guest.disks {
            say(format_args!("{}: a disk of {} at {}", guest.name, disk.size, disk.socket.display()));
        }
    }
    while signals.recv() == Ok(Signal::Show) {
        let report = serde_json::to_string_pretty(&server.report()).expect("numbers and names are JSON");
        println!("{report}");
    }
    let report = server.report();
    drop(server);
    output.map_or(Ok(()), |file| write_report(file, &report))
}

/// Looks that no file is used for two things.
fn claims(args: &ServeArgs, config: &ServeConfig) -> Result<(), String> {
    let mut claims = Claims::default();
    let mut claim = |path: &Path, of, who: String| {
        claims.add(path, of, &who).map_err(|why| format!("{who}: {}: {why}", path.display()))
    };
    claim(&args.file, Use::Input, "the description".into())?;
    for guest in &config.guests {
        for disk in &guest.disks {
            claim(&disk.socket, Use::Output, format!("the socket of {}", guest.name))?;
            if let Some(backing) = &disk.backing {
                claim(&backing.path, Use::Disk, format!("the backing file of {}", guest.name))?;
            }
        }
    }
    args.report.as_ref().map_or(Ok(()), |report| claim(report, Use::Output, "--report".into()))
}
