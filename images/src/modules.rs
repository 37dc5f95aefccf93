//! Kernel modules kept beside a kernel, with what they depend on.
//!
//! On disk: `NAME.ko` each, uncompressed; `order`, a line `NAME: DEPENDENCY...` each, dependencies in the order in
//! which they are loaded; `builtin`, the names that are part of the kernel itself. Names have `_` for `-`, as in
//! `/sys/module`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::command;
use crate::error::{Error, Result};

/// One module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name as `lsmod` shows it.
    pub name: String,
    /// Its file, uncompressed.
    pub path: PathBuf,
    /// The modules to be loaded before it, in that order.
    pub needs: Vec<String>,
}

/// The modules kept for one kernel.
#[derive(Debug, Clone)]
pub struct ModuleSet {
    kernel: String,
    modules: BTreeMap<String, Module>,
    builtin: BTreeSet<String>,
}

impl ModuleSet {
    /// The modules called `names` and everything that they need, in load order, each once. What is built into the
    /// kernel is left out.
    ///
    /// # Errors
    /// [`Error::NoModule`] for a name that is neither kept nor built in.
    pub fn load_order(&self, names: &[&str]) -> Result<Vec<Module>> {
        let mut order: Vec<Module> = Vec::new();
        for name in names {
            let name = plain(name);
            if self.builtin.contains(&name) {
                continue;
            }
            let module = self.get(&name)?;
            for needed in &module.needs {
                push_once(&mut order, self.get(needed)?);
            }
            push_once(&mut order, module);
        }
        Ok(order)
    }

    /// The names of what is built into the kernel, one a line.
    pub(crate) fn builtin(&self) -> String {
        self.builtin.iter().map(|name| format!("{name}\n")).collect()
    }

    fn get(&self, name: &str) -> Result<&Module> {
        self.modules
            .get(name)
            .ok_or_else(|| Error::NoModule { name: name.to_owned(), kernel: self.kernel.clone() })
    }

    /// Reads what [`keep`] has written.
    pub(crate) fn open(dir: &Path, kernel: &str) -> Result<Self> {
        let mut modules = BTreeMap::new();
        for line in cache::read_text(&dir.join("order"))?.lines() {
            let Some((name, needs)) = line.split_once(':') else { continue };
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            let path = dir.join(format!("{name}.ko"));
            modules.insert(name.to_owned(), Module { name: name.to_owned(), path, needs });
        }
        let builtin = cache::read_text(&dir.join("builtin"))?.lines().map(str::to_owned).collect();
        Ok(Self { kernel: kernel.to_owned(), modules, builtin })
    }
}

fn push_once(order: &mut Vec<Module>, module: &Module) {
    if !order.contains(module) {
        order.push(module.clone());
    }
}

/// Copies the modules called `names`, and what they need, from `root/lib/modules/RELEASE` to `into`.
pub(crate) fn keep(root: &Path, release: &str, names: &[String], into: &Path) -> Result<()> {
    let tree = root.join("lib/modules").join(release);
    command::output(Command::new("/sbin/depmod").arg("-b").arg(root).arg(release))?;
    let known = Dependencies::parse(&cache::read_text(&tree.join("modules.dep"))?);
    let builtin = builtin_names(&cache::read_text(&tree.join("modules.builtin"))?);

    cache::make_dir(into)?;
    let mut order = String::new();
    for name in known.closure(names, &builtin, release)? {
        let (file, needs) = known.entry(&name, release)?;
        copy_plain(&tree.join(file), &into.join(format!("{name}.ko")))?;
        order.push_str(&format!("{name}: {}\n", needs.join(" ")));
    }
    cache::write(&into.join("order"), order.as_bytes())?;
    let builtin: Vec<String> = builtin.into_iter().collect();
    cache::write(&into.join("builtin"), builtin.join("\n").as_bytes())
}

/// `modules.dep`, as depmod(8) writes it: `FILE: FILE...`, each line complete (dependencies of dependencies too), the
/// one to load first at the end.
struct Dependencies(BTreeMap<String, (String, Vec<String>)>);

impl Dependencies {
    fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let (file, needs) = line.split_once(':')?;
            let needs = needs.split_whitespace().rev().map(module_name).collect();
            Some((module_name(file), (file.to_owned(), needs)))
        };
        Self(text.lines().filter_map(entry).collect())
    }

    fn entry(&self, name: &str, release: &str) -> Result<&(String, Vec<String>)> {
        self.0.get(name).ok_or_else(|| Error::NoModule { name: name.to_owned(), kernel: release.to_owned() })
    }

    fn closure(
        &self,
        names: &[String],
        builtin: &BTreeSet<String>,
        release: &str,
    ) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for name in names.iter().map(|name| plain(name)).filter(|name| !builtin.contains(name)) {
            all.extend(self.entry(&name, release)?.1.iter().cloned());
            all.insert(name);
        }
        Ok(all)
    }
}

fn builtin_names(text: &str) -> BTreeSet<String> {
    text.lines().map(module_name).collect()
}

/// `kernel/drivers/block/virtio-blk.ko.xz` is the module `virtio_blk`.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    plain(base.split(".ko").next().unwrap_or(base))
}

fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn copy_plain(from: &Path, to: &Path) -> Result<()> {
    if from.extension().is_some_and(|extension| extension == "xz") {
        let file = fs::File::create(to).map_err(Error::io("create", to))?;
        let mut unpack = Command::new("xz");
        unpack.arg("-dc").arg(from).stdout(file);
        let status = unpack.status().map_err(|source| Error::Start { program: "xz".to_owned(), source })?;
        if status.success() {
            return Ok(());
        }
        return Err(Error::Failed {
            command: format!("xz -dc {}", from.display()),
            status: status.to_string(),
            log: None,
            tail: String::new(),
        });
    }
    fs::copy(from, to).map(|_| ()).map_err(Error::io("copy", from))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set as it is on disk: `blk` needs `ring`, which needs `core`; `mmio` needs the same two.
    fn set() -> (tempfile::TempDir, ModuleSet) {
        let dir = tempfile::tempdir().unwrap();
        let order = "core: \nring: core\nblk: core ring\nmmio: core ring\n";
        fs::write(dir.path().join("order"), order).unwrap();
        fs::write(dir.path().join("builtin"), "ext4\n").unwrap();
        let set = ModuleSet::open(dir.path(), "6.12").unwrap();
        (dir, set)
    }

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let (_dir, set) = set();

        assert_eq!(names(&set.load_order(&["mmio", "blk"]).unwrap()), ["core", "ring", "mmio", "blk"]);
    }

    #[test]
    fn what_is_built_in_is_left_out_and_what_is_missing_is_named() {
        let (_dir, set) = set();

        assert_eq!(names(&set.load_order(&["ext4", "core"]).unwrap()), ["core"]);
        assert!(set.load_order(&["nvme"]).unwrap_err().to_string().contains("nvme"));
    }

    #[test]
    fn depmods_order_is_turned_round() {
        let known = Dependencies::parse("a/virtio-blk.ko.xz: a/ring.ko.xz a/core.ko.xz\na/core.ko.xz:\n");

        let (file, needs) = known.entry("virtio_blk", "6.12").unwrap();

        assert_eq!(
            (file.as_str(), needs.as_slice()),
            ("a/virtio-blk.ko.xz", &["core".to_owned(), "ring".to_owned()][..])
        );
    }
}
