//! Fill, touch, verify: what is done to memory, and what is found in it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::content::{Contents, PAGE_WORDS, Page};
use crate::pattern::Pattern;

/// How many pages are done between two updates of the shared count of steps.
const STRIDE: u64 = 64;

/// One step over all pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Every page gets its first content.
    Fill,
    /// Every page is checked, in the pattern's order; those whose turn it is are rewritten. Counted from 1.
    Touch(u64),
    /// Every page is checked to be as this many passes have left it.
    Verify(u64),
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Checks of a page; a page that a pattern touches twice counts twice.
    pub(crate) checked: u64,
    /// Pages written, the first fill included.
    pub(crate) written: u64,
    /// Pages that did not hold what they should. A page found corrupt is repaired, so that one corruption counts once.
    pub(crate) corrupt: u64,
    /// The first of them, in the order in which they were found.
    pub(crate) first: Option<Corruption>,
}

/// One page that did not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Corruption {
    pub(crate) page: u64,
    /// The first wrong byte in the page.
    pub(crate) offset: u64,
    /// The pass after which the page should have been unchanged.
    pub(crate) generation: u64,
}

impl Tally {
    /// This and another, which came later.
    pub(crate) fn and(self, later: Self) -> Self {
        Self {
            checked: self.checked + later.checked,
            written: self.written + later.written,
            corrupt: self.corrupt + later.corrupt,
            first: self.first.or(later.first),
        }
    }
}

/// How the work is done.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) contents: Contents,
    pub(crate) pattern: Pattern,
    pub(crate) threads: usize,
    /// Pages done in the current phase, for whoever shows progress.
    pub(crate) done: AtomicU64,
}

impl Engine {
    /// Does one phase over `memory`, each thread its own part of it.
    pub(crate) fn run(&self, phase: Phase, memory: &mut [Page]) -> Tally {
        self.done.store(0, Ordering::Relaxed);
        let part = memory.len().div_ceil(self.threads.max(1)).max(1);
        thread::scope(|scope| {
            let workers: Vec<_> = memory
                .chunks_mut(part)
                .enumerate()
                .map(|(number, pages)| {
                    let worker = Worker::new(self, (number * part) as u64, pages);
                    scope.spawn(move || worker.run(phase))
                })
                .collect();
            let tallies = workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
            tallies.fold(Tally::default(), Tally::and)
        })
    }
}

/// One thread's part.
struct Worker<'a> {
    engine: &'a Engine,
    /// The number of its first page.
    first: u64,
    pages: &'a mut [Page],
    /// A page's content is rendered here and compared.
    expected: Box<Page>,
    tally: Tally,
    steps: u64,
}

impl<'a> Worker<'a> {
    fn new(engine: &'a Engine, first: u64, pages: &'a mut [Page]) -> Self {
        Self { engine, first, pages, expected: Box::new([0; PAGE_WORDS]), tally: Tally::default(), steps: 0 }
    }

    fn run(mut self, phase: Phase) -> Tally {
        let count = self.pages.len() as u64;
        match phase {
            Phase::Fill => (0..count).for_each(|page| self.write(page, 0)),
            Phase::Touch(pass) => self.touch(count, pass),
            Phase::Verify(pass) => (0..count).for_each(|page| self.check(page, pass)),
        }
        self.engine.done.fetch_add(self.steps, Ordering::Relaxed);
        self.tally
    }

    fn touch(&mut self, count: u64, pass: u64) {
        let mut seen = vec![false; self.pages.len()];
        let seed = self.engine.contents.seed ^ self.first;
        for page in self.engine.pattern.touches(count, seed, pass) {
            self.visit(page, pass, &mut seen);
        }
        // What the pattern did not reach is checked too, once.
        for page in 0..count {
            if self.at(page).and_then(|at| seen.get(at)) == Some(&false) {
                self.visit(page, pass, &mut seen);
            }
        }
    }

    /// The first visit in a pass finds what earlier passes left and rewrites it if it is the page's turn.
    fn visit(&mut self, page: u64, pass: u64, seen: &mut [bool]) {
        let Some(seen) = self.at(page).and_then(|at| seen.get_mut(at)) else { return };
        if *seen {
            self.check(page, pass);
            return;
        }
        *seen = true;
        self.check(page, pass - 1);
        if self.engine.contents.is_rewritten(self.first + page, pass) {
            self.write(page, pass);
        }
    }

    fn write(&mut self, page: u64, generation: u64) {
        let number = self.first + page;
        let Some(memory) = self.at(page).and_then(|at| self.pages.get_mut(at)) else { return };
        self.engine.contents.render(number, generation, memory);
        self.tally.written += 1;
        self.step();
    }

    /// Compares a page with what `pass` passes should have left in it.
    fn check(&mut self, page: u64, pass: u64) {
        let number = self.first + page;
        let Some(memory) = self.at(page).and_then(|at| self.pages.get_mut(at)) else { return };
        let generation = self.engine.contents.generation(number, pass);
        self.engine.contents.render(number, generation, &mut self.expected);
        self.tally.checked += 1;
        if let Some(offset) = first_difference(memory, &self.expected) {
            self.tally.corrupt += 1;
            self.tally.first.get_or_insert(Corruption { page: number, offset, generation });
            memory.copy_from_slice(&*self.expected);
        }
        self.step();
    }

    fn at(&self, page: u64) -> Option<usize> {
        usize::try_from(page).ok().filter(|&at| at < self.pages.len())
    }

    fn step(&mut self) {
        self.steps += 1;
        if self.steps == STRIDE {
            self.engine.done.fetch_add(self.steps, Ordering::Relaxed);
            self.steps = 0;
        }
    }
}

/// The first byte in which two pages differ.
fn first_difference(memory: &Page, expected: &Page) -> Option<u64> {
    if memory == expected {
        return None;
    }
    let (word, bits) =
        memory.iter().zip(expected).map(|(have, want)| have ^ want).enumerate().find(|(_, x)| *x != 0)?;
    Some(word as u64 * 8 + u64::from(bits.trailing_zeros() / 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Mix;

    const PAGES: usize = 300;

    fn engine(pattern: Pattern, threads: usize) -> Engine {
        let contents = Contents { seed: 11, mix: Mix::USUAL, write_share: 30 };
        Engine { contents, pattern, threads, done: AtomicU64::new(0) }
    }

    fn memory() -> Vec<Page> {
        vec![[0; PAGE_WORDS]; PAGES]
    }

    #[test]
    fn whole_memory_stays_whole_under_every_pattern_and_number_of_threads() {
        for pattern in [Pattern::Sequential, Pattern::Looping, Pattern::Uniform, Pattern::Zipf] {
            for threads in [1, 3] {
                let engine = engine(pattern, threads);
                let mut memory = memory();
                let filled = engine.run(Phase::Fill, &mut memory);
                let touched = (1..=4).map(|pass| engine.run(Phase::Touch(pass), &mut memory));
                let touched = touched.fold(Tally::default(), Tally::and);
                let verified = engine.run(Phase::Verify(4), &mut memory);

                assert_eq!(filled.written, PAGES as u64);
                assert!(touched.checked >= 4 * PAGES as u64 && touched.written > 0);
                assert_eq!(verified.checked, PAGES as u64);
                assert_eq!(filled.and(touched).and(verified).corrupt, 0, "{pattern:?} {threads}");
            }
        }
    }

    #[test]
    fn one_flipped_bit_is_found_counted_once_and_located() {
        for pattern in [Pattern::Sequential, Pattern::Zipf] {
            let engine = engine(pattern, 2);
            let mut memory = memory();
            engine.run(Phase::Fill, &mut memory);
            memory[217][100] ^= 1 << 37;

            let first = engine.run(Phase::Touch(1), &mut memory);
            let second = engine.run(Phase::Touch(2), &mut memory);

            assert_eq!(first.corrupt, 1);
            assert_eq!(first.first, Some(Corruption { page: 217, offset: 804, generation: 0 }));
            assert_eq!(second.corrupt, 0);
        }
    }

    #[test]
    fn an_old_generation_of_a_page_is_corrupt() {
        let engine = engine(Pattern::Sequential, 1);
        let mut memory = memory();
        engine.run(Phase::Fill, &mut memory);
        let before = memory.clone();
        let written = engine.run(Phase::Touch(1), &mut memory).written;
        let changed = memory.iter().zip(&before).filter(|(now, then)| now != then).count() as u64;

        let stale = engine.run(Phase::Verify(1), &mut before.clone());

        assert_eq!(stale.corrupt, changed);
        assert!(changed > 0 && changed <= written);
    }

    #[test]
    fn two_pages_swapped_are_two_corrupt_pages() {
        let engine = engine(Pattern::Sequential, 1);
        let mut memory = memory();
        engine.run(Phase::Fill, &mut memory);
        let pair: Vec<usize> = (0..PAGES).filter(|&page| memory[page] != [0; PAGE_WORDS]).take(2).collect();
        memory.swap(pair[0], pair[1]);

        assert_eq!(engine.run(Phase::Verify(0), &mut memory).corrupt, 2);
    }

    #[test]
    fn all_steps_are_counted_for_progress() {
        let engine = engine(Pattern::Sequential, 2);

        engine.run(Phase::Fill, &mut memory());

        assert_eq!(engine.done.load(Ordering::Relaxed), PAGES as u64);
    }
}
