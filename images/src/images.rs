//! The one thing callers hold: asks for images and gets them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::apt::{self, Package, StockPackages};
use crate::cache::{self, Cache, Recipe};
use crate::closure;
use crate::command::Progress;
use crate::disk::{self, DiskSpec};
use crate::driver::{self, DriverKind};
use crate::error::Result;
use crate::guest::{self, GuestSpec};
use crate::initramfs::Initramfs;
use crate::kernel::{BuildTree, Kernel, KernelId};
use crate::lab::{self, LabSpec};
use crate::manifest::{Lock, Manifest, Series};
use crate::modules::Module;
use crate::packaged;
use crate::patches::Patches;
use crate::small::Small;
use crate::source;
use crate::stock::Stock;
use crate::tools::{self, Programs};

/// Makes images of one repository, with one cache.
///
/// ```no_run
/// use std::path::Path;
/// use tmem_images::{Cache, GuestSpec, Images, KernelId, Progress};
///
/// let images = Images::open(Path::new("."), Cache::from_env()?, Progress::stderr())?;
/// let kernel = images.kernel(KernelId::Small)?;
/// let initrd = images.guest_initramfs(&GuestSpec::new(KernelId::Small))?;
/// println!("tmem run --kernel {} --initrd {}", kernel.boot_file().display(), initrd.display());
/// # Ok::<(), tmem_images::Error>(())
/// ```
#[derive(Debug)]
pub struct Images {
    repo: PathBuf,
    cache: Cache,
    progress: Progress,
    manifest: Manifest,
    lock: Lock,
    state: Mutex<State>,
}

/// What was looked up in the archive by this process.
#[derive(Debug, Default)]
struct State {
    lists_are_fresh: bool,
    single: BTreeMap<String, Package>,
    stock: BTreeMap<Series, StockPackages>,
    used: BTreeSet<Package>,
}

impl Images {
    /// For the repository whose root is `repo`.
    ///
    /// # Errors
    /// If the manifest or its lock file is not valid.
    pub fn open(repo: &Path, cache: Cache, progress: Progress) -> Result<Self> {
        let images = repo.join("images");
        Ok(Self {
            repo: repo.canonicalize().map_err(crate::Error::io("resolve", repo))?,
            cache,
            progress,
            manifest: Manifest::read(&images)?,
            lock: Lock::read(&images)?,
            state: Mutex::default(),
        })
    }

    /// Where things are kept.
    pub const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The archive's packages that were used so far, for a report.
    pub fn used(&self) -> Vec<Package> {
        self.state().used.iter().cloned().collect()
    }

    /// Writes what was used so far to `images/manifest.lock` as the tested versions.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_lock(&self) -> Result<()> {
        Lock::write(&self.repo.join("images"), self.used())
    }

    /// A kernel with its modules. The small one takes about 13 minutes of processor time when it is not in the cache, its flavours up to 25.
    ///
    /// # Errors
    /// If a package cannot be had, or the build fails.
    pub fn kernel(&self, id: KernelId) -> Result<Kernel> {
        self.with_fresh_lists(|| match id {
            KernelId::Stock(series) => self.with_stock(series, |stock| stock.kernel()),
            _ => self.with_small(id, |small| small.kernel()),
        })
    }

    /// Whether [`kernel`](Self::kernel) would return at once, for tests that must not start a long build or a download.
    ///
    /// # Errors
    /// If that cannot be found out: no apt, no compiler.
    pub fn is_cached(&self, id: KernelId) -> Result<bool> {
        match id {
            KernelId::Stock(series) => self.with_stock(series, |stock| Ok(stock.is_cached())),
            _ => self.with_small(id, |small| small.is_cached()),
        }
    }

    /// Where modules for a kernel are built.
    ///
    /// # Errors
    /// As for [`kernel`](Self::kernel).
    pub fn build_tree(&self, id: KernelId) -> Result<BuildTree> {
        self.with_fresh_lists(|| match id {
            KernelId::Stock(series) => self.with_stock(series, |stock| stock.tree()),
            _ => self.with_small(id, |small| small.tree()),
        })
    }

    /// The tmem driver built for a kernel.
    ///
    /// # Errors
    /// As for [`kernel`](Self::kernel); with the compiler's output if the driver does not build.
    pub fn driver(&self, id: KernelId) -> Result<Module> {
        self.driver_of_kind(id, DriverKind::Real)
    }

    /// The driver or one of its relatives for tests, built for a kernel.
    ///
    /// # Errors
    /// As for [`driver`](Self::driver).
    pub fn driver_of_kind(&self, id: KernelId, kind: DriverKind) -> Result<Module> {
        driver::module(&self.progress, &self.cache, &self.repo, &self.build_tree(id)?, kind)
    }

    /// The static busybox.
    ///
    /// # Errors
    /// If its package cannot be had.
    pub fn busybox(&self) -> Result<PathBuf> {
        self.with_fresh_lists(|| {
            let package = self.package(&self.manifest.tools.busybox)?;
            tools::busybox(&self.progress, &self.cache, &package)
        })
    }

    /// The static programs of this repository that guests run.
    ///
    /// # Errors
    /// If they do not build.
    pub fn programs(&self) -> Result<Programs> {
        tools::programs(&self.progress, &self.cache, &self.repo)
    }

    /// A folder in the cache with Debian's programs of the manifest and their libraries, as parts of a disk for guests. They
    /// come from the archive's packages, not from this machine.
    ///
    /// # Errors
    /// If a package cannot be had, or does not hold what the manifest keeps of it.
    pub fn debian_programs(&self) -> Result<PathBuf> {
        self.with_fresh_lists(|| {
            let spec = &self.manifest.programs;
            let packages = closure::of(&spec.packages)?;
            packages.iter().try_for_each(|package| self.lock.check(package))?;
            let (folder, from) = packaged::folder(&self.progress, &self.cache, spec, &packages)?;
            self.note(&from)?;
            Ok(folder)
        })
    }

    /// The initramfs of a guest, in the cache.
    ///
    /// # Errors
    /// If one of its parts cannot be made.
    pub fn guest_initramfs(&self, spec: &GuestSpec) -> Result<PathBuf> {
        let kernel = self.kernel(spec.kernel)?;
        let mut modules = kernel.modules.load_order(&names(&guest::MODULES, &spec.modules))?;
        if spec.driver {
            modules.push(self.driver(spec.kernel)?);
        }
        let root = guest::initramfs(&guest::Parts {
            busybox: &self.busybox()?,
            programs: &self.programs()?,
            modules: &modules,
            builtin: kernel.modules.builtin(),
            files: &spec.files,
        })?;
        self.keep(&format!("initramfs-{}", spec.kernel), &root)
    }

    /// A folder of the small kernel's source as Debian has it, in the cache.
    ///
    /// # Errors
    /// If the package cannot be had, or there is no such folder in it.
    pub fn kernel_source(&self, folder: &str) -> Result<PathBuf> {
        self.with_fresh_lists(|| {
            let name = &self.manifest.small.source;
            source::folder(&self.progress, &self.cache, &self.package(name)?, name, folder)
        })
    }

    /// A disk of programs for guests, in the cache; they mount it read-only.
    ///
    /// # Errors
    /// If one of its parts cannot be made, or a file is not there.
    pub fn disk(&self, spec: &DiskSpec) -> Result<PathBuf> {
        let root = disk::tree(spec, &self.busybox()?, &self.programs()?.workload)?;
        disk::image(&self.progress, &self.cache, spec, &root)
    }

    /// The kernel of the lab's host, and a root for it to which the caller adds an init.
    ///
    /// # Errors
    /// If one of its parts cannot be made.
    pub fn lab(&self, spec: &LabSpec) -> Result<(Kernel, Initramfs)> {
        let kernel = self.kernel(KernelId::Stock(lab::SERIES))?;
        let modules = kernel.modules.load_order(&names(&lab::MODULES, &spec.modules))?;
        let root = lab::initramfs(spec, &self.busybox()?, &modules)?;
        Ok((kernel, root))
    }

    /// Puts an archive in the cache under the hash of its content.
    fn keep(&self, kind: &str, root: &Initramfs) -> Result<PathBuf> {
        let bytes = root.to_bytes()?;
        let recipe = Recipe::new(kind, 1).with("content", cache::sha256(&bytes));
        let dir = self
            .cache
            .artifact(&self.progress, &recipe, |work| cache::write(&work.join("initramfs.cpio"), &bytes))?;
        Ok(dir.join("initramfs.cpio"))
    }

    /// Does `make` with the small kernel or the flavour of it that is `id`.
    fn with_small<T>(&self, id: KernelId, make: impl FnOnce(&Small<'_>) -> Result<T>) -> Result<T> {
        let spec = &self.manifest.small;
        let config = |name: &Path| self.repo.join("images").join(name);
        make(&Small {
            id,
            progress: &self.progress,
            cache: &self.cache,
            spec,
            source: &self.package(&spec.source)?,
            config: config(&spec.config),
            overlays: spec.flavour(id).iter().map(|name| config(name)).collect(),
            patches: Patches::read(&self.repo.join(&spec.patches))?,
        })
    }

    fn with_stock<T>(&self, series: Series, make: impl FnOnce(&Stock<'_>) -> Result<T>) -> Result<T> {
        make(&Stock {
            progress: &self.progress,
            cache: &self.cache,
            series,
            spec: self.manifest.stock(series),
            packages: &self.stock_packages(series)?,
        })
    }

    fn package(&self, name: &str) -> Result<Package> {
        if let Some(package) = self.state().single.get(name) {
            return Ok(package.clone());
        }
        let package = apt::newest(name)?;
        self.note(std::slice::from_ref(&package))?;
        self.state().single.insert(name.to_owned(), package.clone());
        Ok(package)
    }

    fn stock_packages(&self, series: Series) -> Result<StockPackages> {
        if let Some(packages) = self.state().stock.get(&series) {
            return Ok(packages.clone());
        }
        let packages = apt::newest_stock(self.manifest.stock(series))?;
        self.note(std::slice::from_ref(&packages.image))?;
        self.note(&packages.headers)?;
        self.state().stock.insert(series, packages.clone());
        Ok(packages)
    }

    /// Checks packages against the lock file and records that they are used.
    fn note(&self, packages: &[Package]) -> Result<()> {
        for package in packages {
            self.lock.check(package)?;
            self.state().used.insert(package.clone());
        }
        let used = serde_json::to_string_pretty(&self.used()).unwrap_or_default();
        cache::write(&self.cache.root().join("used.json"), used.as_bytes())
    }

    /// Does `make`; if it fails because apt's lists are missing or older than the archive, refreshes them once and does
    /// it again.
    fn with_fresh_lists<T>(&self, make: impl Fn() -> Result<T>) -> Result<T> {
        match make() {
            Err(error) if error.may_be_stale_lists() && !self.state().lists_are_fresh => {
                self.progress.say(&format!("{error}"));
                apt::refresh_lists(&self.progress, &self.cache)?;
                *self.state() = State { lists_are_fresh: true, ..State::default() };
                make()
            }
            other => other,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain data, whole after every statement: a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names<'a>(always: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    always.iter().copied().chain(more.iter().map(String::as_str)).collect()
}
