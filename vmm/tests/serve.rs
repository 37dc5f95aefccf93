//! `tmem serve`'s disks over the real protocol: the front end is the one of the crate `vhost`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may fail loudly

mod front_end;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use front_end::{DATA, DISCARD, Guest, OUT, READ, config, connect, guest};
use tmem_vmm::config::{ServeConfig, ServedDisk, ServedGuest, Size, StoreSettings, TmemConfig};
use tmem_vmm::serve::Server;

const OK: u8 = 0;
const IOERR: u8 = 1;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("alpha.sock")
    }

    fn serve(&self, queues: u16) -> Server {
        let disk = ServedDisk { socket: self.socket(), size: Size(16 << 20), backing: None, queues };
        let guest = ServedGuest { name: "alpha".into(), tmem: TmemConfig::default(), disks: vec![disk] };
        let store = StoreSettings { size: Size(16 << 20), ..StoreSettings::default() };
        Server::start(&ServeConfig { store, guests: vec![guest] }).unwrap()
    }
}

/// Pages 1 to n, each full of its number, written by one request.
fn write_pages(guest: &mut Guest, queue: usize, pages: u8) {
    (0..pages).for_each(|n| guest.fill(DATA + u64::from(n) * 4096, &[n + 1; 4096]));
    assert_eq!(guest.request(queue, OUT, 8, &[(DATA, u32::from(pages) * 4096)]), OK);
}

#[test]
fn disk_says_what_it_can_and_keeps_what_is_written() {
    let place = Place::new();
    let server = place.serve(2);
    let mut guest = guest(2);
    let mut front = connect(&place.socket(), &guest);
    let space = config(&mut front);
    assert_eq!(space[..8], (16u64 << 20 >> 9).to_le_bytes(), "capacity in sectors");
    assert_eq!(space[20..24], 4096u32.to_le_bytes(), "block size");
    assert_eq!(space[34..36], 2u16.to_le_bytes(), "queues");
    write_pages(&mut guest, 0, 16);
    assert_eq!(server.report().guests[0].tmem.persistent_pages, 16);
    guest.fill(DATA, &[0; 65536]);
    // By the other queue, in two buffers that cut a page.
    assert_eq!(guest.request(1, READ, 8, &[(DATA, 6144), (DATA + 0x8000, 59392)]), OK);
    let all = [guest.bytes(DATA, 6144), guest.bytes(DATA + 0x8000, 59392)].concat();
    for (n, page) in all.chunks(4096).enumerate() {
        assert_eq!(page, [n as u8 + 1; 4096]);
    }
    let range = [8u64.to_le_bytes().to_vec(), 64u32.to_le_bytes().to_vec(), vec![0; 4]].concat();
    guest.fill(DATA, &range);
    assert_eq!(guest.request(0, DISCARD, 0, &[(DATA, 16)]), OK);
    assert_eq!(server.report().guests[0].tmem.persistent_pages, 8);
    assert_eq!(guest.request(0, READ, 8, &[(DATA, 4096)]), OK);
    assert_eq!(guest.bytes(DATA, 4096), [0; 4096]);
    assert_eq!(guest.request(0, READ, 16 << 11, &[(DATA, 512)]), IOERR, "beyond the end");
}

#[test]
fn pages_go_with_the_front_end_and_the_next_guest_finds_a_new_disk() {
    let place = Place::new();
    let server = place.serve(1);
    let mut first = guest(1);
    let front = connect(&place.socket(), &first);
    write_pages(&mut first, 0, 4);
    drop(front);
    let mut second = guest(1);
    let _front = connect(&place.socket(), &second);
    assert_eq!(second.request(0, READ, 8, &[(DATA, 4096)]), OK);
    assert_eq!(second.bytes(DATA, 4096), [0; 4096]);
    // Memory of a pool that is gone is given back in the background.
    while server.report().guests[0].tmem.persistent_pages > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn guest_that_outlives_the_server_reads_errors_until_it_writes() {
    let place = Place::new();
    let server = place.serve(2);
    let mut guest = guest(2);
    let front = connect(&place.socket(), &guest);
    write_pages(&mut guest, 0, 4);
    drop(server);
    drop(front);
    let _server = place.serve(2);
    let _front = connect(&place.socket(), &guest);
    // By the queue that was never used.
    assert_eq!(guest.request(1, READ, 8, &[(DATA, 4096)]), IOERR);
    write_pages(&mut guest, 1, 2);
    assert_eq!(guest.request(0, READ, 8, &[(DATA, 8192)]), OK);
    assert_eq!(guest.request(0, READ, 24, &[(DATA, 4096)]), IOERR);
}

#[test]
fn second_front_end_is_sent_away_and_the_first_goes_on() {
    let place = Place::new();
    let _server = place.serve(1);
    let mut guest = guest(1);
    let _front = connect(&place.socket(), &guest);
    let mut other = UnixStream::connect(place.socket()).unwrap();
    assert_eq!(std::io::Read::read(&mut other, &mut [0; 1]).unwrap(), 0, "closed without a word");
    write_pages(&mut guest, 0, 4);
}

#[test]
fn front_ends_that_come_and_go_a_thousand_times_leave_nothing_behind() {
    let place = Place::new();
    let _server = place.serve(1);
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut guest = guest(1);
    drop(connect(&place.socket(), &guest));
    let before = descriptors();
    (0..1000).for_each(|_| drop(UnixStream::connect(place.socket()).unwrap()));
    // Served after all of them.
    let _front = connect(&place.socket(), &guest);
    write_pages(&mut guest, 0, 1);
    assert!(descriptors() <= before + 16, "{} descriptors, {before} before", descriptors());
}

#[test]
fn ring_that_its_guest_broke_stops_that_queue_alone() {
    let place = Place::new();
    let _server = place.serve(2);
    let mut guest = guest(2);
    let _front = connect(&place.socket(), &guest);
    // An index that runs ahead of what the ring holds.
    guest.fill(Guest::ring(0) + 0x1002, &5000u16.to_le_bytes());
    guest.kick(0);
    write_pages(&mut guest, 1, 4);
    assert_eq!(guest.request(1, READ, 8, &[(DATA, 4096)]), OK);
}

#[test]
fn requests_outside_of_the_guest_s_memory_are_refused() {
    let place = Place::new();
    let _server = place.serve(1);
    let mut guest = guest(1);
    let _front = connect(&place.socket(), &guest);
    for at in [front_end::MEMORY, front_end::MEMORY - 512, 1 << 40, u64::MAX - 4095] {
        assert_eq!(guest.request(0, OUT, 8, &[(at, 4096)]), IOERR);
        assert_eq!(guest.request(0, READ, 8, &[(at, 4096)]), IOERR);
    }
    write_pages(&mut guest, 0, 4);
}
