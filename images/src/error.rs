//! What can go wrong while an image is made, each with what to do about it.

use std::path::PathBuf;

/// The result of everything that makes an image.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "read", "create".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// There is no place for what is made.
    #[error("cannot use {} as a cache: {source}; set TMEM_CACHE to a folder that can be made and written to", root.display())]
    Cache {
        /// The cache's folder.
        root: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot start `{program}`: {source}; if it is not installed, run `cargo xtask setup`")]
    Start {
        /// The program's name.
        program: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A program ran and failed.
    #[error("`{command}` failed ({status}); the end of its output{}:\n{tail}", log_hint(log))]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// Where all of its output is, if it was kept.
        log: Option<PathBuf>,
        /// The last lines of its output.
        tail: String,
    },
    /// The archive has no such package.
    #[error(
        "no package {name} in apt's lists; this needs the Debian 12 archive (bookworm and bookworm-security, \
         component main) as an apt source, and a run of `apt-get update`"
    )]
    NoPackage {
        /// The name or pattern that was looked for.
        name: String,
    },
    /// A package could not be downloaded.
    #[error(
        "cannot download {package}: {tail}\nif the archive has moved on, run `apt-get update` and try again"
    )]
    Download {
        /// Name and version.
        package: String,
        /// The last lines that apt-get printed.
        tail: String,
    },
    /// A downloaded file is not what the archive, or the lock file, says it is.
    #[error("{package} has SHA-256 {found} but {source_of_truth} says {expected}; it was not used")]
    Checksum {
        /// Name and version.
        package: String,
        /// The checksum computed from the file.
        found: String,
        /// The checksum it should have.
        expected: String,
        /// Who says so.
        source_of_truth: String,
    },
    /// The manifest or its lock file is not valid.
    #[error("{}: {message}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with line and key.
        message: String,
    },
    /// Lines of a kernel configuration did not survive `make olddefconfig`.
    #[error(
        "the kernel's configuration did not keep these lines of {}: {lost}; an option they depend on is missing, or \
         this kernel does not have them",
        config.display()
    )]
    ConfigLost {
        /// The fragment.
        config: PathBuf,
        /// The lines.
        lost: String,
    },
    /// A kernel module is not among those kept.
    #[error("kernel {kernel} has no module {name} here; add it to its `modules` in images/manifest.toml")]
    NoModule {
        /// The module's name.
        name: String,
        /// The kernel's release.
        kernel: String,
    },
    /// The driver's source is missing.
    #[error("no driver source in {}: a Makefile or Kbuild file is needed there", path.display())]
    NoDriver {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A package does not hold what it should.
    #[error("{what} is missing in {}; the package's layout has changed, and images/src has to follow", path.display())]
    Layout {
        /// What was looked for.
        what: String,
        /// Where.
        path: PathBuf,
    },
    /// An initramfs entry is impossible.
    #[error("initramfs: {0}")]
    Initramfs(String),
}

impl Error {
    /// A closure for `map_err` on an [`std::io::Error`].
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Whether fresher package lists may cure it.
    pub(crate) const fn may_be_stale_lists(&self) -> bool {
        matches!(self, Self::NoPackage { .. } | Self::Download { .. })
    }
}

fn log_hint(log: &Option<PathBuf>) -> String {
    log.as_ref().map(|path| format!(" (all of it: {})", path.display())).unwrap_or_default()
}
