//! Attacks its host: wrong registers of every sort, and races of all vCPUs on the same keys, pages and batches.
//!
//! It knows nothing that its host must answer to most of this. What it checks is that an answer is one of the ABI's, and
//! that a page of a key which is only ever put whole never comes back mixed of two.
#![no_std]
#![no_main]

mod runtime;

use core::sync::atomic::Ordering::Relaxed;

use tmem_abi::{Errno, Key, ObjectId, PoolFlags, PoolId, Registers, Request, Uuid};
use tmem_bare::Host;
use tmem_bare::boot::BootInfo;
use tmem_bare::control::{Command, Mailbox};
use tmem_bare::memory::WorkPage;
use tmem_bare::random::Random;

/// Objects whose pages are only put whole, so that they may be checked.
const CLEAN_OBJECTS: u64 = 2;
/// Keys of each object.
const INDEXES: u64 = 8;
/// Pages of vCPU 0's area that all vCPUs use at the same time: for puts, gets and arrays of batches.
const COMMON_PAGES: u64 = 12;
/// A page of each vCPU's own.
const OWN: usize = 100;

fn main(vcpu: u32) {
    let info = BootInfo::read();
    let [iterations, ..] = info.parameters;
    let host = match Host::discover(&info) {
        Ok(host) => host,
        Err(why) => panic!("{why}"),
    };
    let mailbox = Mailbox::new(vcpu);
    if vcpu == 0 {
        // Pools 0, 1 and 2, which the others expect.
        for flags in [PoolFlags::Persistent, PoolFlags::Ephemeral, PoolFlags::Persistent] {
            host.ask(Request::NewPool { flags, uuid: Uuid::default() });
        }
    }
    mailbox.tell(Command::Barrier);
    let random = Random::new(info.seed ^ u64::from(vcpu) << 48);
    let mut attack = Attack { host, vcpu, random, ram_bytes: info.ram_bytes, hole: info.hole };
    for _ in 0..iterations {
        match attack.random.below(8) {
            0..=2 => attack.whole_pages(),
            3..=5 => attack.near_miss(),
            6 => attack.spoil(),
            _ => attack.garbage(),
        }
    }
}

struct Attack {
    host: Host,
    vcpu: u32,
    random: Random,
    ram_bytes: u64,
    hole: u64,
}

impl Attack {
    /// Puts, gets and flushes of whole pages on keys that every vCPU uses.
    fn whole_pages(&mut self) {
        let pool = PoolId(self.random.below(2) as u32);
        let key = Key {
            object: ObjectId([self.random.below(CLEAN_OBJECTS), 0, 0]),
            index: self.random.below(INDEXES) as u32,
        };
        let page = WorkPage::new(self.vcpu, OWN);
        match self.random.below(4) {
            0 => {
                page.fill(self.random.draw());
                self.ask(Request::Put { pool, key, page: page.gpa() });
            }
            1 => {
                self.ask(Request::FlushPage { pool, key });
            }
            _ => {
                if self.ask(Request::Get { pool, key, page: page.gpa() }) == 1 {
                    // The second word of the content is its seed.
                    let seed = page.words().get(1).map_or(0, |word| word.load(Relaxed));
                    assert!(page.holds(seed), "a page came back that nobody put");
                }
            }
        }
    }

    /// A call that is nearly right, on pages that every vCPU writes. The pool of the whole pages is left alone.
    fn near_miss(&mut self) {
        let registers = self.registers();
        self.call(&registers);
    }

    /// Rewrites a common page under the feet of whoever uses it: contents, or entries of a batch.
    fn spoil(&mut self) {
        let page = WorkPage::new(0, self.random.below(COMMON_PAGES) as usize);
        for entry in page.words().chunks(8) {
            let Registers { rdi, rsi, rdx, r10, r8, r9 } = self.registers();
            for (word, value) in entry.iter().zip([rdi, rsi, rdx, r10, r8, r9]) {
                word.store(value, Relaxed);
            }
        }
    }

    /// No call at all. The addresses stay outside this guest's RAM, or it would overwrite itself.
    fn garbage(&mut self) {
        let mut next = || self.random.draw();
        let registers = Registers {
            rdi: next(),
            rsi: next(),
            rdx: next(),
            r10: next(),
            r8: next(),
            r9: next() | 1 << 63,
        };
        self.call(&registers);
        let number = self.random.draw() | 1 << 32;
        self.host.raw(number, &registers);
    }

    fn registers(&mut self) -> Registers {
        let operation = self.random.below(20);
        // Whole pages live in pools 0 and 1: here neither is destroyed, and their clean objects are not written.
        let pool = match (operation, self.random.below(8)) {
            (2, _) => 2 + self.random.below(6),
            (1 | 17 | 18, _) => 0,
            (_, 7) => self.random.draw() >> 32,
            (_, pool) => pool % 4,
        };
        let object = CLEAN_OBJECTS + self.random.below(3);
        let (rsi, rdx, r10) = match operation {
            1 => (self.random.below(4), 0, 0),
            17 | 18 => (0, 0, 0),
            _ => (object, 0, 0),
        };
        let index = self.random.below(INDEXES);
        let r8 = match operation {
            8 | 9 => index | self.random.below(5000) << 32 | self.random.below(5000) << 48,
            17 => self.random.below(600),
            _ => index,
        };
        let mut registers =
            Registers { rdi: operation | pool << 32, rsi, rdx, r10, r8, r9: self.address(operation) };
        if self.random.below(8) == 0 {
            // Bits 0-2 of the object stay, as they keep the clean objects apart; so does the address, which might come to
            // name this guest's own code.
            let bit = 8 << self.random.below(61);
            let Registers { rdi, rsi, rdx, r10, r8, .. } = &mut registers;
            let words = [rdi, rsi, rdx, r10, r8];
            let flipped = self.random.below(words.len() as u64) as usize;
            words.into_iter().skip(flipped).take(1).for_each(|word| *word ^= bit);
        }
        registers
    }

    fn address(&mut self, operation: u64) -> u64 {
        if operation == 16 {
            return self.random.below(1 << 33);
        }
        let common = WorkPage::new(0, self.random.below(COMMON_PAGES) as usize).gpa().0;
        match self.random.below(8) {
            0 => common + 1 + self.random.below(4095),
            1 => self.ram_bytes + self.random.below(1 << 20) * 4096,
            2 => self.hole + self.random.below(16) * 4096,
            3 => self.random.draw() | 1 << 63,
            _ => common,
        }
    }

    fn ask(&self, request: Request) -> i64 {
        self.call(&request.encode())
    }

    fn call(&self, registers: &Registers) -> i64 {
        let answer = self.host.call(registers);
        assert!(answer >= 0 || Errno::from_answer(answer).is_some(), "{registers:x?} were answered {answer}");
        answer
    }
}
