//! Debian's stock cloud kernels, and the headers that modules for them are built against.
//!
//! Both are unpacked in the cache, not installed: installing an image would make this machine boot it, its headers
//! would run hooks, and neither can be done twice in different versions side by side without trouble. The headers
//! package names the place of its other half in one line of its Makefile; that line is rewritten, everything else in
//! it is relative.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{self, Package, StockPackages};
use crate::cache::{self, Cache, Recipe};
use crate::command::Progress;
use crate::error::{Error, Result};
use crate::kernel::{BuildTree, Kernel, KernelId};
use crate::manifest::{Series, StockSpec};
use crate::modules::{self, ModuleSet};
use crate::small;

/// Changes with what this file does.
const RECIPE: u32 = 1;

/// One series, resolved.
pub(crate) struct Stock<'a> {
    pub(crate) progress: &'a Progress,
    pub(crate) cache: &'a Cache,
    pub(crate) series: Series,
    pub(crate) spec: &'a StockSpec,
    pub(crate) packages: &'a StockPackages,
}

impl Stock<'_> {
    /// The kernel with the modules that the manifest lists.
    pub(crate) fn kernel(&self) -> Result<Kernel> {
        let dir = self.cache.artifact(self.progress, &self.recipe(), |work| self.unpack_image(work))?;
        let release = cache::read_text(&dir.join("release"))?;
        Ok(Kernel {
            id: KernelId::Stock(self.series),
            vmlinux: None,
            bzimage: dir.join("vmlinuz"),
            modules: ModuleSet::open(&dir.join("modules"), &release)?,
            release,
        })
    }

    /// Whether it is in the cache.
    pub(crate) fn is_cached(&self) -> bool {
        self.cache.has(&self.recipe())
    }

    fn recipe(&self) -> Recipe {
        let image = &self.packages.image;
        Recipe::new(&format!("kernel-stock-{}", self.series), RECIPE)
            .with("image", image.to_string())
            .with("image sha256", &image.sha256)
            .with("modules", self.spec.modules.join(" "))
    }

    /// Where modules for it are built.
    pub(crate) fn tree(&self) -> Result<BuildTree> {
        let mut recipe = Recipe::new(&format!("headers-{}", self.series), RECIPE);
        for package in &self.packages.headers {
            recipe = recipe.with("package", package.to_string()).with("sha256", &package.sha256);
        }
        let dir = self.cache.artifact(self.progress, &recipe, |work| self.unpack_headers(work))?;
        // The module also depends on the compiler, which is this machine's.
        let key = recipe.with("compiler", small::compiler()?).key();
        let main = self.packages.headers.first().map(|package| package.name.as_str()).unwrap_or_default();
        Ok(BuildTree {
            id: KernelId::Stock(self.series),
            release: main.trim_start_matches("linux-headers-").to_owned(),
            dir: dir.join("usr/src").join(main),
            key,
        })
    }

    fn unpack_image(&self, work: &Path) -> Result<()> {
        let root = work.join("root");
        apt::unpack(&self.fetch(&self.packages.image)?, &root)?;
        let release = only_entry(&root.join("lib/modules"))?;
        let vmlinuz = root.join("boot").join(format!("vmlinuz-{release}"));
        fs::copy(&vmlinuz, work.join("vmlinuz")).map_err(Error::io("copy", &vmlinuz))?;
        modules::keep(&root, &release, &self.spec.modules, &work.join("modules"))?;
        cache::write(&work.join("release"), release.as_bytes())?;
        fs::remove_dir_all(&root).map_err(Error::io("remove", &root))
    }

    fn unpack_headers(&self, work: &Path) -> Result<()> {
        for package in &self.packages.headers {
            apt::unpack(&self.fetch(package)?, work)?;
        }
        let main = self.packages.headers.first().map(|package| package.name.as_str()).unwrap_or_default();
        let makefile = work.join("usr/src").join(main).join("Makefile");
        cache::write(&makefile, relative_include(&cache::read_text(&makefile)?, &makefile)?.as_bytes())
    }

    fn fetch(&self, package: &Package) -> Result<PathBuf> {
        apt::fetch(self.progress, self.cache, package)
    }
}

/// Debian's `include /usr/src/X/Makefile`, relative to the including Makefile so that the tree can be anywhere.
fn relative_include(text: &str, makefile: &Path) -> Result<String> {
    let other = text.trim().strip_prefix("include /usr/src/").ok_or_else(|| Error::Layout {
        what: "the line `include /usr/src/...`".to_owned(),
        path: makefile.to_path_buf(),
    })?;
    Ok(format!("include $(dir $(lastword $(MAKEFILE_LIST)))../{other}\n"))
}

fn only_entry(dir: &Path) -> Result<String> {
    let mut names = fs::read_dir(dir)
        .map_err(Error::io("list", dir))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        _ => Err(Error::Layout { what: "exactly one folder".to_owned(), path: dir.to_path_buf() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_half_of_the_headers_is_found_beside_the_first() {
        let text =
            relative_include("include /usr/src/linux-headers-1-common/Makefile\n", Path::new("M")).unwrap();

        assert_eq!(text, "include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-1-common/Makefile\n");
    }

    #[test]
    fn another_layout_of_the_headers_is_an_error_not_a_guess() {
        let error = relative_include("all:\n", Path::new("some/Makefile")).unwrap_err().to_string();

        assert!(error.contains("some/Makefile"), "{error}");
    }
}
