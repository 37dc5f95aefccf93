//! The TOML file of `tmem run FILE.toml`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use tmem_core::{MAX_WEIGHT, UnknownEviction};

use super::options::{
    CodecChoice, LendingChoice, PoolKind, TransportChoice, check_balloon, check_vcpus, parse_uuid,
};
use super::{
    ConfigError, DEFAULT_CMDLINE, DEFAULT_MEMORY, DEFAULT_WEIGHT, FileRole, GuestConfig, RunConfig, Size,
    StoreSettings, TmemConfig, check, parse_disk, text,
};
use crate::arch::layout::RamLayout;
use crate::disk::DiskSpec;
use crate::guest::GuestSpec;
use crate::loader::LinuxImage;

/// Longest start delay (seconds): a day.
const DELAY_MAX: f64 = 86_400.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawFile {
    #[serde(default)]
    store: RawStore,
    #[serde(default)]
    guest: Vec<RawGuest>,
}

#[derive(Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "one [store] table, with one bracket on each side"
)]
pub(super) struct RawStore {
    size: Option<Spanned<Size>>,
    committed: Option<Spanned<Size>>,
    codec: Option<CodecChoice>,
    eviction: Option<Spanned<String>>,
    lending: Option<LendingChoice>,
    verify: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a [[guest]] table")]
struct RawGuest {
    name: Spanned<String>,
    kernel: Spanned<PathBuf>,
    initrd: Option<Spanned<PathBuf>>,
    cmdline: Option<String>,
    memory: Option<Spanned<Size>>,
    vcpus: Option<Spanned<u32>>,
    disks: Option<Spanned<Vec<Spanned<String>>>>,
    balloon: Option<Spanned<RawBalloon>>,
    start_delay: Option<Spanned<f64>>,
    console: Option<Spanned<PathBuf>>,
    #[serde(default)]
    transport: TransportChoice,
    tmem: Option<RawTmem>,
}

/// Where the keys of a guest are that may be at fault beside others.
struct Places {
    name: Range<usize>,
    others: [(&'static str, Option<Range<usize>>); 4],
}

impl Places {
    fn of(guest: &RawGuest) -> Self {
        let others = [
            ("kernel", Some(guest.kernel.span())),
            ("initrd", guest.initrd.as_ref().map(Spanned::span)),
            ("disks", guest.disks.as_ref().map(Spanned::span)),
            ("console", guest.console.as_ref().map(Spanned::span)),
        ];
        Self { name: guest.name.span(), others }
    }

    fn at(&self, key: &str) -> Option<Range<usize>> {
        let other = self.others.iter().find(|(name, _)| *name == key);
        other.map_or_else(|| Some(self.name.clone()), |(_, at)| at.clone())
    }
}

/// `true`, `false`, or how much shall be in it.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "neither true, false, nor a size such as \"16M\"")]
enum RawBalloon {
    Wanted(bool),
    Target(Size),
}

impl RawBalloon {
    fn bytes(self) -> Option<u64> {
        match self {
            Self::Wanted(wanted) => wanted.then_some(0),
            Self::Target(size) => Some(size.0),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { cap = \"64M\" }, or { enabled = false }"
)]
pub(super) struct RawTmem {
    enabled: Option<bool>,
    cap: Option<Spanned<Size>>,
    reservation: Option<Spanned<Size>>,
    weight: Option<Spanned<u32>>,
    pools: Option<Vec<PoolKind>>,
    #[serde(default)]
    shared: Vec<Spanned<String>>,
}

/// Reads a configuration. Relative paths in it count from the file's own folder.
///
/// # Errors
/// [`ConfigError`] naming file, line and key.
pub fn load(path: &Path) -> Result<RunConfig, ConfigError> {
    let text = read(path)?;
    Reader { path, text: &text }.read()
}

/// The text of a description.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    text::read(path).map_err(|why| ConfigError { file: Some(path.into()), line: None, key: None, why })
}

/// A file's text, and what is said of it.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Reader<'_> {
    pub(super) fn error(
        &self,
        at: Option<Range<usize>>,
        key: Option<&str>,
        why: impl Into<String>,
    ) -> ConfigError {
        let line = at.and_then(|at| self.text.get(..at.start)).map(|before| before.matches('\n').count() + 1);
        ConfigError { file: Some(self.path.into()), line, key: key.map(Into::into), why: why.into() }
    }

    /// The key whose value begins at `at`, if that is where a value begins.
    fn key_before(&self, at: usize) -> Option<&str> {
        let line = self.text.get(..at)?.rsplit('\n').next()?;
        let (before, _) = line.rsplit_once('=')?;
        before.rsplit(['{', ',']).next().map(str::trim).filter(|key| !key.is_empty())
    }

    /// What is wrong with the brackets of a table, of which the parser says only what it met in their place.
    fn brackets(&self) -> Option<ConfigError> {
        let tables: toml::Table = toml::from_str(self.text).ok()?;
        let tmem_is_list = |guest: &toml::Value| guest.get("tmem").is_some_and(toml::Value::is_array);
        let disk_is_table = |guest: &toml::Value| guest.get("disk").is_some_and(toml::Value::is_table);
        let (header, why) = match (tables.get("guest"), tables.get("store")) {
            (Some(guest), _) if guest.is_table() => {
                ("[guest]", "there may be several guests: write [[guest]], with two brackets on each side")
            }
            (_, Some(store)) if store.is_array() => {
                ("[[store]]", "there is one store: write [store], with one bracket on each side")
            }
            (Some(guests), _) if guests.as_array()?.iter().any(tmem_is_list) => {
                ("[[guest.tmem]]", "a guest has it once: write [guest.tmem], with one bracket on each side")
            }
            (Some(guests), _) if guests.as_array()?.iter().any(disk_is_table) => (
                "[guest.disk]",
                "a guest may have several: write [[guest.disk]], with two brackets on each side",
            ),
            _ => return None,
        };
        let at = self.text.find(header)?;
        Some(self.error(Some(at..at), None, why))
    }

    /// What the text says in TOML.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|e| {
            if let Some(error) = self.brackets() {
                return error;
            }
            let key = e.span().and_then(|at| self.key_before(at.start));
            let value = e.span().and_then(|at| self.text.get(at));
            let why = match (key, value) {
                // Of every list here, whose items are all texts.
                (Some(key), Some(value)) if e.message().ends_with("expected a sequence") => {
                    format!("{}: write {key} = [{value}]", e.message())
                }
                _ => e.message().into(),
            };
            self.error(e.span(), key, why)
        })
    }

    fn read(&self) -> Result<RunConfig, ConfigError> {
        let raw: RawFile = self.parse()?;
        if raw.guest.is_empty() {
            return Err(self.error(None, Some("guest"), "no guest is described: add a [[guest]] table"));
        }
        let store = self.store(raw.store)?;
        let places: Vec<Places> = raw.guest.iter().map(Places::of).collect();
        let guests = raw.guest.into_iter().map(|guest| self.guest(guest)).collect::<Result<Vec<_>, _>>()?;
        let config = RunConfig { store, guests };
        check(&config, Some(self.path)).map_err(|(index, key, why)| {
            let at = places.get(index).and_then(|places| places.at(key));
            self.error(at, Some(key), why)
        })?;
        Ok(config)
    }

    pub(super) fn store(&self, raw: RawStore) -> Result<StoreSettings, ConfigError> {
        let default = StoreSettings::default();
        let place = |value: &Option<Spanned<Size>>| value.as_ref().map(Spanned::span);
        let (size_at, committed_at) = (place(&raw.size), place(&raw.committed));
        let eviction = raw.eviction.map(|name| {
            let policy = name.get_ref().parse();
            policy
                .map_err(|e: UnknownEviction| self.error(Some(name.span()), Some("eviction"), e.to_string()))
        });
        let store = StoreSettings {
            size: raw.size.map_or(default.size, Spanned::into_inner),
            committed: raw.committed.map_or(default.committed, Spanned::into_inner),
            codec: raw.codec.unwrap_or(default.codec),
            eviction: eviction.transpose()?.unwrap_or(default.eviction),
            lending: raw.lending.unwrap_or(default.lending),
            verify: raw.verify.unwrap_or(default.verify),
        };
        store.check().map_err(|(key, why)| {
            self.error(if key == "size" { size_at } else { committed_at }, Some(key), why)
        })?;
        Ok(store)
    }

    fn guest(&self, raw: RawGuest) -> Result<GuestConfig, ConfigError> {
        let memory = raw.memory.unwrap_or_else(|| Spanned::new(0..0, DEFAULT_MEMORY));
        let layout = RamLayout::new(memory.get_ref().0)
            .map_err(|e| self.error(Some(memory.span()), Some("memory"), e.to_string()))?;
        let vcpus = raw.vcpus.unwrap_or_else(|| Spanned::new(0..0, 1));
        check_vcpus(*vcpus.get_ref()).map_err(|why| self.error(Some(vcpus.span()), Some("vcpus"), why))?;
        let start_delay = match raw.start_delay {
            Some(s) if !(0.0..=DELAY_MAX).contains(s.get_ref()) => {
                return Err(self.error(Some(s.span()), Some("start-delay"), "a delay is 0 to 86400 seconds"));
            }
            Some(s) => Duration::from_secs_f64(s.into_inner()),
            None => Duration::ZERO,
        };
        let disks = raw.disks.map(Spanned::into_inner).unwrap_or_default();
        Ok(GuestConfig {
            spec: GuestSpec {
                name: raw.name.into_inner(),
                image: LinuxImage {
                    kernel: self.file("kernel", FileRole::Kernel, &raw.kernel)?,
                    initrd: raw
                        .initrd
                        .map(|initrd| self.file("initrd", FileRole::Initrd, &initrd))
                        .transpose()?,
                    cmdline: raw.cmdline.unwrap_or_else(|| DEFAULT_CMDLINE.into()),
                },
                memory: layout,
                vcpus: vcpus.into_inner(),
                disks: disks.iter().map(|disk| self.disk(disk)).collect::<Result<_, _>>()?,
                balloon: match raw.balloon {
                    Some(balloon) => self.balloon(&balloon, &layout)?,
                    None => None,
                },
            },
            start_delay,
            console: raw.console.map(|console| self.resolve(console.get_ref())),
            transport: raw.transport,
            tmem: self.tmem(raw.tmem.unwrap_or_default())?,
        })
    }

    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A file that must be there.
    pub(super) fn file(
        &self,
        key: &str,
        role: FileRole,
        path: &Spanned<PathBuf>,
    ) -> Result<PathBuf, ConfigError> {
        let resolved = self.resolve(path.get_ref());
        match std::fs::metadata(&resolved) {
            Ok(_) => Ok(resolved),
            Err(error) => {
                let why = format!("{}: {}", resolved.display(), role.trouble(&resolved, &error));
                Err(self.error(Some(path.span()), Some(key), why))
            }
        }
    }

    fn disk(&self, text: &Spanned<String>) -> Result<DiskSpec, ConfigError> {
        let disk =
            parse_disk(text.get_ref()).map_err(|why| self.error(Some(text.span()), Some("disks"), why))?;
        let path = self.file("disks", FileRole::Disk, &Spanned::new(text.span(), disk.path.clone()))?;
        Ok(DiskSpec { path, ..disk })
    }

    fn balloon(&self, raw: &Spanned<RawBalloon>, memory: &RamLayout) -> Result<Option<u64>, ConfigError> {
        let Some(target) = raw.get_ref().bytes() else { return Ok(None) };
        check_balloon(target, memory).map_err(|why| self.error(Some(raw.span()), Some("balloon"), why))?;
        Ok(Some(target))
    }

    pub(super) fn tmem(&self, raw: RawTmem) -> Result<Option<TmemConfig>, ConfigError> {
        let shared = raw.shared.iter().map(|uuid| {
            parse_uuid(uuid.get_ref()).map_err(|why| self.error(Some(uuid.span()), Some("shared"), why))
        });
        let weight = match raw.weight {
            Some(n) if !(1..=MAX_WEIGHT).contains(n.get_ref()) => {
                let why = format!("a weight is 1 to {MAX_WEIGHT}; an ordinary guest has {DEFAULT_WEIGHT}");
                return Err(self.error(Some(n.span()), Some("weight"), why));
            }
            Some(n) => n.into_inner(),
            None => DEFAULT_WEIGHT,
        };
        let reservation = match (raw.reservation, &raw.cap) {
            (Some(size), Some(cap)) if size.get_ref().0 > cap.get_ref().0 => {
                let why = format!("a guest cannot hold more than its cap of {}: reserve less", cap.get_ref());
                return Err(self.error(Some(size.span()), Some("reservation"), why));
            }
            (Some(size), _) => size.into_inner(),
            (None, _) => Size(0),
        };
        let tmem = TmemConfig {
            cap: raw.cap.map(Spanned::into_inner),
            reservation,
            weight,
            pools: raw.pools.unwrap_or_else(|| TmemConfig::default().pools),
            shared: shared.collect::<Result<_, _>>()?,
        };
        Ok(raw.enabled.unwrap_or(true).then_some(tmem))
    }
}

#[cfg(test)]
mod tests;
