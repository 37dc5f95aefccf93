//! The small guest kernel and its flavours: Debian's source, the patches that make it tmem-aware, a short configuration,
//! about 13 to 25 minutes of processor time, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::apt::{self, Package};
use crate::cache::{self, Cache, Recipe};
use crate::command::{self, Progress};
use crate::error::{Error, Result};
use crate::kernel::{BuildTree, Kernel, KernelId};
use crate::manifest::SmallSpec;
use crate::modules::{self, ModuleSet};
use crate::patches::Patches;

/// Changes with what this file does.
const RECIPE: u32 = 1;

/// Names fixed so that the same source and configuration give the same kernel on every machine.
const FIXED: [(&str, &str); 4] = [
    ("KBUILD_BUILD_USER", "tmem"),
    ("KBUILD_BUILD_HOST", "images"),
    ("KBUILD_BUILD_VERSION", "1"),
    ("KBUILD_BUILD_TIMESTAMP", "1970-01-01 00:00:00 UTC"),
];

/// What the kernel is made from and where.
pub(crate) struct Small<'a> {
    /// Itself or a flavour.
    pub(crate) id: KernelId,
    pub(crate) progress: &'a Progress,
    pub(crate) cache: &'a Cache,
    pub(crate) spec: &'a SmallSpec,
    pub(crate) source: &'a Package,
    /// The configuration fragment.
    pub(crate) config: PathBuf,
    /// Fragments whose lines replace those of the ones before.
    pub(crate) overlays: Vec<PathBuf>,
    /// Applied to the source.
    pub(crate) patches: Patches,
}

impl Small<'_> {
    /// The kernel, built if it is not in the cache.
    pub(crate) fn kernel(&self) -> Result<Kernel> {
        let dir = self.artifact()?.0;
        let release = release(&dir)?;
        Ok(Kernel {
            id: self.id,
            vmlinux: Some(dir.join("vmlinux")),
            bzimage: dir.join("bzImage"),
            modules: ModuleSet::open(&dir.join("modules"), &release)?,
            release,
        })
    }

    /// Where modules for it are built.
    pub(crate) fn tree(&self) -> Result<BuildTree> {
        let (dir, key) = self.artifact()?;
        Ok(BuildTree { id: self.id, release: release(&dir)?, dir: dir.join("tree"), key })
    }

    /// Whether it is in the cache.
    pub(crate) fn is_cached(&self) -> Result<bool> {
        Ok(self.cache.has(&self.recipe()?))
    }

    fn recipe(&self) -> Result<Recipe> {
        let mut recipe = Recipe::new(&format!("kernel-{}", self.id), RECIPE)
            .with("source", self.source.to_string())
            .with("source sha256", &self.source.sha256)
            .with("modules", self.spec.modules.join(" "))
            .with("compiler", compiler()?)
            .with_file("config", &self.config)?;
        for overlay in &self.overlays {
            recipe = recipe.with_file("overlay", overlay)?;
        }
        self.patches.add_to(recipe)
    }

    fn artifact(&self) -> Result<(PathBuf, String)> {
        let recipe = self.recipe()?;
        let dir = self.cache.artifact(self.progress, &recipe, |work| self.build(work))?;
        Ok((dir, recipe.key()))
    }

    fn build(&self, work: &Path) -> Result<()> {
        let (source, build) = (work.join("source"), work.join("build"));
        self.unpack(work, &source)?;
        self.patches.apply(self.progress, &source)?;
        self.configure(&source, &build)?;
        self.compile(work, &build)?;
        self.collect(work, &build)?;
        for scratch in ["source", "build", "root"] {
            let path = work.join(scratch);
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    fn unpack(&self, work: &Path, source: &Path) -> Result<()> {
        let deb = apt::fetch(self.progress, self.cache, self.source)?;
        let package = work.join("package");
        apt::unpack(&deb, &package)?;
        cache::make_dir(source)?;
        let archive = package.join("usr/src").join(format!("{}.tar.xz", self.spec.source));
        let mut untar = Command::new("tar");
        untar.arg("-xJf").arg(&archive).arg("-C").arg(source).arg("--strip-components=1");
        command::long(self.progress, "unpacking the kernel's source", &mut untar, &work.join("unpack.log"))?;
        fs::remove_dir_all(&package).map_err(Error::io("remove", &package))
    }

    /// tinyconfig, the fragment over it, and a check that every line of it is still there: kconfig drops what it cannot
    /// have without a word.
    fn configure(&self, source: &Path, build: &Path) -> Result<()> {
        let mut fragment = cache::read_text(&self.config)?;
        for overlay in &self.overlays {
            fragment = laid_over(&fragment, &cache::read_text(overlay)?);
        }
        let make = |target: &str| {
            let mut make = Command::new("make");
            make.arg("-C").arg(source).arg(format!("O={}", build.display())).arg(target);
            command::output(&mut make)
        };
        make("tinyconfig")?;
        let dot_config = build.join(".config");
        let merged = cache::read_text(&dot_config)? + &fragment;
        cache::write(&dot_config, merged.as_bytes())?;
        make("olddefconfig")?;

        let lost = lost_lines(&fragment, &cache::read_text(&dot_config)?);
        if lost.is_empty() {
            return Ok(());
        }
        Err(Error::ConfigLost { config: self.config.clone(), lost: lost.join(", ") })
    }

    fn compile(&self, work: &Path, build: &Path) -> Result<()> {
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        let mut make = Command::new("nice");
        make.arg("make")
            .arg("-C")
            .arg(build)
            .arg(format!("-j{jobs}"))
            .args(["bzImage", "modules"])
            .envs(FIXED);
        let what = format!(
            "building the {} kernel (once; about {} minutes of processor time, 1550 steps)",
            self.id,
            if self.overlays.is_empty() { "13" } else { "14 to 25" }
        );
        command::long(self.progress, &what, &mut make, &work.join("build.log"))
    }

    /// Keeps what is booted, what modules are built against, and what explains an address in an oops.
    fn collect(&self, work: &Path, build: &Path) -> Result<()> {
        let release = cache::read_text(&build.join("include/config/kernel.release"))?.trim().to_owned();
        cache::write(&work.join("release"), release.as_bytes())?;
        for (from, to) in
            [("arch/x86/boot/bzImage", "bzImage"), ("System.map", "System.map"), (".config", "config")]
        {
            let from = build.join(from);
            fs::copy(&from, work.join(to)).map_err(Error::io("copy", &from))?;
        }
        let mut strip = Command::new("strip");
        command::output(strip.arg("-s").arg("-o").arg(work.join("vmlinux")).arg(build.join("vmlinux")))?;

        let make = || {
            let mut make = Command::new("make");
            make.arg("-C").arg(build).envs(FIXED);
            make
        };
        let root = work.join("root");
        let install = format!("INSTALL_MOD_PATH={}", root.display());
        command::output(make().args(["modules_install", "INSTALL_MOD_STRIP=1"]).arg(install))?;
        modules::keep(&root, &release, &self.spec.modules, &work.join("modules"))?;

        // The kernel's own script for its -headers and -devel packages knows what a module build needs.
        let script = format!(
            "KBUILD_RUN_COMMAND=$(srctree)/scripts/package/install-extmod-build {}",
            work.join("tree").display()
        );
        command::output(make().arg("run-command").arg(script)).map(|_| ())
    }
}

/// The compiler's version: its output is part of the artifact, and a module must come from the same one.
pub(crate) fn compiler() -> Result<String> {
    command::output(Command::new("gcc").arg("-dumpfullversion"))
        .map(|version| format!("gcc {}", version.trim()))
}

fn release(dir: &Path) -> Result<String> {
    cache::read_text(&dir.join("release"))
}

/// The option that a line sets or turns off; none if it is a comment.
fn option_of(line: &str) -> Option<&str> {
    match line.strip_prefix("# ") {
        Some(rest) => rest.strip_suffix(" is not set").filter(|option| option.starts_with("CONFIG_")),
        None => line.split_once('=').map(|(option, _)| option),
    }
}

/// `fragment` without what `overlay` sets again, and `overlay`.
fn laid_over(fragment: &str, overlay: &str) -> String {
    let again: Vec<&str> = overlay.lines().filter_map(option_of).collect();
    let kept = fragment.lines().filter(|line| !option_of(line).is_some_and(|option| again.contains(&option)));
    kept.chain(overlay.lines()).map(|line| format!("{line}\n")).collect()
}

/// The option lines of `fragment` that `config` does not have.
fn lost_lines<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let is_option = |line: &&str| option_of(line).is_some();
    // An option that is off because nothing offers it leaves no line behind at all, which is as good.
    let is_absent = |option: &str| !config.lines().any(|have| have.starts_with(&format!("{option}=")));
    let holds = |line: &str| {
        config.lines().any(|have| have == line)
            || line.starts_with('#') && option_of(line).is_some_and(is_absent)
    };
    fragment.lines().filter(is_option).filter(|line| !holds(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_replaces_what_it_sets_again() {
        let fragment = "# words\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_AA=y\n";

        assert_eq!(
            laid_over(fragment, "# CONFIG_A is not set\nCONFIG_C=y\n"),
            "# words\nCONFIG_B=m\nCONFIG_AA=y\n# CONFIG_A is not set\nCONFIG_C=y\n"
        );
    }

    #[test]
    fn a_line_that_kconfig_dropped_is_found() {
        let fragment = "# words\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n# CONFIG_D is not set\n";
        let config = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n";

        assert_eq!(lost_lines(fragment, config), ["CONFIG_B=m", "# CONFIG_C is not set"]);
    }
}
