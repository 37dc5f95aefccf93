//! `tmem-guest selftest`: the rules of /dev/tmem, case by case, as a program meets them.
//!
//! | module | its one idea |
//! |---|---|
//! | `rules` | what put, get and flush promise |
//! | `limits` | how much the programs of one memory cgroup may have |
//! | `groups` | whose programs those are |
//! | `hostile` | mistakes, and programs that mean no good |
//! | `waiting` | pages that do not come, and signals meanwhile |
//! | `processes` | other users, children, programs of 32 bits |
//! | `cgroup`, `child`, `driver`, `raw` | what the cases work with |

mod cgroup;
mod child;
mod driver;
mod groups;
mod hostile;
mod limits;
mod processes;
mod raw;
mod rules;
mod waiting;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tmem_guest::{Key, Page};

/// Why a case failed, in words, or [`Skip`].
type Failure = Box<dyn std::error::Error>;
type Outcome = Result<(), Failure>;

/// Why a case cannot be looked at here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Skip(&'static str);

/// One case.
struct Case {
    name: &'static str,
    run: fn(&World) -> Outcome,
}

/// What the cases work on.
struct World {
    device: PathBuf,
}

/// Runs all cases; a line each, and the exit status says whether none failed.
pub(crate) fn run(device: &Path) -> ExitCode {
    let world = World { device: device.into() };
    let (mut failed, mut skipped) = (0, 0);
    let all = [rules::CASES, limits::CASES, groups::CASES, hostile::CASES, waiting::CASES, processes::CASES];
    for case in all.into_iter().flatten() {
        match (case.run)(&world) {
            Ok(()) => println!("pass  {}", case.name),
            Err(why) if why.is::<Skip>() => {
                skipped += 1;
                println!("skip  {}: {why}", case.name);
            }
            Err(why) => {
                failed += 1;
                println!("FAIL  {}: {why}", case.name);
            }
        }
    }
    println!("{failed} cases failed, {skipped} skipped");
    ExitCode::from(u8::from(failed > 0))
}

/// Fails with the text unless `fact`.
fn expect(fact: bool, text: impl Into<String>) -> Outcome {
    if fact { Ok(()) } else { Err(text.into().into()) }
}

fn expect_eq<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Outcome {
    expect(found == wanted, format!("{what}: {found:?} instead of {wanted:?}"))
}

/// A key of an object whose id uses all three words.
fn key(index: u32) -> Key {
    Key { oid: [1, u64::MAX, 3], index }
}

/// A page that is like no other page's.
fn page(number: u64) -> Page {
    let mut page = [0; tmem_guest::PAGE_SIZE];
    for (word, at) in page.chunks_mut(8).zip(0u64..) {
        let value = (number << 32 | at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&value.to_le_bytes());
    }
    page
}
