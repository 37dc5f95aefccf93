//! `tmem run`: guests from flags or from a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::ErrorKind;

use super::outputs::{OutputArgs, Outputs, write_report};
use super::wrong;
use crate::arch::layout::RamLayout;
use crate::config::{
    self, Claims, CodecChoice, ConfigError, DEFAULT_CMDLINE, DEFAULT_MEMORY, DEFAULT_NAME, DEFAULT_STORE,
    DISK_SYNTAX, FileRole, GuestConfig, PoolKind, RunConfig, Size, StoreSettings, TmemConfig,
    TransportChoice, parse_disk,
};
use crate::disk::DiskSpec;
use crate::guest::GuestSpec;
use crate::loader::LinuxImage;
use crate::session::{self, Options, SessionReport, say};

/// Nothing was run: a mistake in what was asked for, or a machine that cannot.
const STATUS_NOTHING_RUN: u8 = 1;

/// Boot one guest described by flags, or many described by a TOML file
///
/// One guest has the terminal: its console is yours, every key but Ctrl-A is the guest's, Ctrl-A x stops it, Ctrl-A Ctrl-A is a
/// Ctrl-A for it. From a pipe or a file every byte is the guest's. The output of several guests comes as lines that start with
/// `name| `, in which control characters are shown as \xNN. Of output that nobody reads in time the beginning and the end are kept, and
/// a line says how much is left out.
///
/// SIGTERM stops all guests within 5 seconds, and Ctrl-C where the terminal is not a guest's; a second one at once. SIGQUIT (Ctrl-\) or
/// SIGUSR1 shows the registers of every vCPU and the end of every console.
///
/// Exit status: 0 when all guests powered off, 1 when nothing was run, 2 for a wrong command line, 3 when a guest reset
/// itself or halted, 4 when a guest's kernel panicked, a guest died or was not started, 130 when stopped.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct RunArgs {
    /// TOML file that describes the guests (see the end of --help)
    #[arg(value_name = "FILE.toml", value_parser = PathBufValueParser::new().try_map(toml_file), conflicts_with_all = ["kernel", "initrd", "cmdline",
        "memory", "vcpus", "disk", "balloon", "name", "transport", "tmem_cap", "no_tmem", "pools", "console", "store", "codec"])]
    file: Option<PathBuf>,
    /// Kernel: a bzImage (/boot/vmlinuz-*), an ELF vmlinux, or any ELF with a PVH entry
    #[arg(long, value_name = "FILE", help_heading = "One guest")]
    kernel: Option<PathBuf>,
    /// Initial ramdisk
    #[arg(long, value_name = "FILE", help_heading = "One guest")]
    initrd: Option<PathBuf>,
    /// Kernel command line; with `acpi=off` in it, a word is added for each disk and balloon, which no table names then
    #[arg(long, value_name = "TEXT", default_value = DEFAULT_CMDLINE, help_heading = "One guest")]
    cmdline: String,
    /// Memory, such as 64M: a whole number of 4 KiB pages, at least 16M
    #[arg(long, value_name = "SIZE", default_value_t = DEFAULT_MEMORY, help_heading = "One guest")]
    memory: Size,
    /// Virtual processors
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "One guest")]
    vcpus: u32,
    /// Disk (vda, vdb, ... in order): a raw image or block device, with words behind it
    ///
    /// `,ro` for read-only, `,rw` to end a name with a comma in it; `,id=SERIAL` is what the guest is told as its serial number (up to
    /// 20 characters, `disk0`, `disk1`, ... without it); `,format=raw` insists where the file looks like a qcow2 or other image;
    /// `,queues=N` (up to 16) where one for each vCPU is not wanted.
    ///
    /// A disk that one guest may write is locked: no other guest of `tmem`, QEMU or Cloud Hypervisor can have it at the same
    /// time. Any number may read one. What the guest discards becomes holes in the image.
    #[arg(long, value_name = DISK_SYNTAX, value_parser = parse_disk, help_heading = "One guest")]
    disk: Vec<DiskSpec>,
    /// Balloon through which the guest gives memory back that it does not use; with SIZE it is asked to give up that much
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "0",
        help_heading = "One guest")]
    balloon: Option<Size>,
    /// Name in reports
    #[arg(long, default_value = DEFAULT_NAME, help_heading = "One guest")]
    name: String,
    /// File for the console's output, instead of the terminal: a new file, of which at most 64 MiB are kept, beginning and end; a
    /// FIFO; or a terminal
    #[arg(long, value_name = "FILE", help_heading = "One guest")]
    console: Option<PathBuf>,
    /// How hypercalls travel
    #[arg(long, value_enum, default_value_t, help_heading = "One guest")]
    transport: TransportChoice,
    /// Most bytes that the guest may hold in the store, such as 32M; without it as many as the store has
    #[arg(long, value_name = "SIZE", help_heading = "One guest")]
    tmem_cap: Option<Size>,
    /// Kinds of pools that the guest may make
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "persistent,ephemeral",
        help_heading = "One guest"
    )]
    pools: Vec<PoolKind>,
    /// Offer the guest no tmem at all
    #[arg(long, help_heading = "One guest")]
    no_tmem: bool,
    /// Bytes that the store may hold, such as 1G
    #[arg(long, value_name = "SIZE", default_value_t = DEFAULT_STORE)]
    store: Size,
    /// How the store keeps pages once they are no longer young
    #[arg(long, value_enum, default_value_t)]
    codec: CodecChoice,
    #[command(flatten)]
    outputs: OutputArgs,
    /// Write each guest's console output to DIR/NAME.log
    #[arg(long, value_name = "DIR")]
    console_dir: Option<PathBuf>,
    /// Show every so many seconds where each guest stands: registers of every vCPU, end of the console
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    watch: Option<u32>,
    /// Run on any KVM, also where Linux does not boot: for kernels of a few instructions
    #[arg(long, hide = true)]
    any_kvm: bool,
}

const EXAMPLES: &str = r#"One guest:
  tmem run --kernel /boot/vmlinuz-6.12 --initrd initrd.img --memory 64M --vcpus 2 --disk swap.img

A file, with all its keys (only name and kernel are required):
  [store]
  size = "512M"                 # of all guests together
  committed = "64M"             # gets its memory at the start and keeps it; 0 unless given
  codec = "lz4"                 # or "raw", "zstd", "auto"
  eviction = "adaptive"         # or "lru", "lirs", "s3-fifo", "w-tinylfu"
  lending = "ephemeral"         # pages that may fill what other guests are owed and do not use; or "persistent"
  verify = false                # true: the checksum of every page that is read

  [[guest]]
  name = "alpha"
  kernel = "vmlinuz"            # paths count from this file's folder
  initrd = "initrd.img"
  cmdline = "console=ttyS0 panic=-1"
  memory = "64M"
  vcpus = 2
  disks = ["swap.img", "root.img,ro,id=root"]  # words as behind --disk
  balloon = true                # it gives back what it does not use; "16M" asks for that much more
  start-delay = 1.5             # seconds
  console = "alpha.log"         # else lines on the terminal
  transport = "auto"            # or "xen", "port"
  tmem = { cap = "128M", pools = ["persistent"], shared = ["00000000-0000-0001-0000-000000000002"] }
  # tmem = { reservation = "32M", weight = 200 }  # what it is owed of a full store; a weight is 100 unless given
  # tmem = { enabled = false }  # a guest that is offered none"#;

/// Why nothing was run.
enum Refused {
    /// A mistake that clap does not look for.
    CommandLine(clap::Error),
    /// Anything else.
    Said(String),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::Said(why)
    }
}

/// Does what the flags say.
pub(super) fn run(args: &RunArgs) -> ExitCode {
    match try_run(args) {
        Ok(report) => ExitCode::from(report.exit_status()),
        Err(Refused::CommandLine(error)) => error.exit(),
        Err(Refused::Said(why)) => {
            say(format_args!("tmem: {why}"));
            ExitCode::from(STATUS_NOTHING_RUN)
        }
    }
}

fn try_run(args: &RunArgs) -> Result<SessionReport, Refused> {
    let (config, claims) = prepare(args)?;
    let Outputs { report: file, series } = Outputs::prepare(&args.outputs, claims)?;
    let watch = args.watch.map(|seconds| Duration::from_secs(seconds.into()));
    let control = args.outputs.control.clone();
    let report = session::run(&config, Options { watch, series, control, any_kvm: args.any_kvm })
        .map_err(|error| error.to_string())?;
    let written = file.map_or(Ok(()), |file| write_report(file, &report));
    for guest in &report.guests {
        say(format_args!("{guest}"));
    }
    written?;
    Ok(report)
}

/// A description of guests, or the size that was meant for an option which takes one only behind `=`.
fn toml_file(path: PathBuf) -> Result<PathBuf, String> {
    match path.to_str().map(|text| (text, text.parse::<Size>())) {
        Some((text, Ok(_))) if !path.exists() => Err(format!(
            "`{text}` was taken as FILE.toml; if it is the size of the balloon, write --balloon={text}"
        )),
        _ => Ok(path),
    }
}

/// What is to be run, and which files it uses.
fn prepare(args: &RunArgs) -> Result<(RunConfig, Claims), Refused> {
    let mut config = match (&args.file, &args.kernel) {
        (Some(file), _) => config::load(file).map_err(|e| e.to_string())?,
        (None, Some(kernel)) => from_flags(args, kernel).map_err(|e| e.to_string())?,
        (None, None) => {
            return Err(Refused::CommandLine(wrong(&["run"], ErrorKind::MissingRequiredArgument, |_| {
                "give a TOML file or --kernel: `tmem run FILE.toml` or `tmem run --kernel FILE`".into()
            })));
        }
    };
    if let Some(dir) = &args.console_dir {
        std::fs::create_dir_all(dir).map_err(|e| format!("--console-dir: {}: {e}", dir.display()))?;
        for guest in &mut config.guests {
            guest.console.get_or_insert_with(|| dir.join(format!("{}.log", guest.spec.name)));
        }
    }
    let claims = config::check(&config, args.file.as_deref()).map_err(|(_, key, why)| {
        // A file's own mistakes have been found where it was read.
        let key = match key {
            "console" if args.console.is_none() => "--console-dir",
            "console" => "--console",
            "kernel" => "--kernel",
            "initrd" => "--initrd",
            "disks" => "--disk",
            _ => "--name",
        };
        flag(key, why).to_string()
    })?;
    Ok((config, claims))
}

pub(super) fn flag(key: &str, why: impl ToString) -> ConfigError {
    ConfigError { file: None, line: None, key: Some(key.into()), why: why.to_string() }
}

fn from_flags(args: &RunArgs, kernel: &Path) -> Result<RunConfig, ConfigError> {
    let store = StoreSettings { size: args.store, codec: args.codec, ..StoreSettings::default() };
    store.check().map_err(|(_, why)| flag("--store", why))?;
    let disks = args.disk.iter().map(|disk| ("--disk", FileRole::Disk, disk.path.as_path()));
    let initrd = args.initrd.iter().map(|initrd| ("--initrd", FileRole::Initrd, initrd.as_path()));
    let kernel_file = std::iter::once(("--kernel", FileRole::Kernel, kernel));
    for (key, role, file) in kernel_file.chain(initrd).chain(disks) {
        std::fs::metadata(file)
            .map_err(|error| flag(key, format!("{}: {}", file.display(), role.trouble(file, &error))))?;
    }
    config::check_vcpus(args.vcpus).map_err(|why| flag("--vcpus", why))?;
    let memory = RamLayout::new(args.memory.0).map_err(|e| flag("--memory", e))?;
    if let Some(target) = args.balloon {
        config::check_balloon(target.0, &memory).map_err(|why| flag("--balloon", why))?;
    }
    let tmem = TmemConfig { cap: args.tmem_cap, pools: args.pools.clone(), ..TmemConfig::default() };
    let guest = GuestConfig {
        spec: GuestSpec {
            name: args.name.clone(),
            image: LinuxImage {
                kernel: kernel.into(),
                initrd: args.initrd.clone(),
                cmdline: args.cmdline.clone(),
            },
            memory,
            vcpus: args.vcpus,
            disks: args.disk.clone(),
            balloon: args.balloon.map(|size| size.0),
        },
        start_delay: Duration::ZERO,
        console: args.console.clone(),
        transport: args.transport,
        tmem: (!args.no_tmem).then_some(tmem),
    };
    Ok(RunConfig { store, guests: vec![guest] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    #[test]
    fn pools_when_not_given_are_those_of_a_file_that_gives_none() {
        let line = Line::try_parse_from(["run", "--kernel", "vmlinuz"]).unwrap();
        assert_eq!(line.args.pools, TmemConfig::default().pools);
    }

    #[test]
    fn file_when_it_is_there_may_be_named_like_a_size() {
        let dir = tempfile::tempdir().unwrap();
        assert!(toml_file("32M".into()).is_err());
        assert!(toml_file(dir.path().join("32M")).is_ok());
        assert!(toml_file("guests.toml".into()).is_ok(), "whoever reads it says that it is not there");
    }
}
