//! Reads and writes as a guest's driver makes them, without one.

use std::sync::Arc;

use tmem_core::{Budget, ClientConfig, Store, StoreConfig};

use super::*;
use crate::disk::DiskSpec;

static GO: AtomicBool = AtomicBool::new(false);

fn disk_of(cap_bytes: u64, backing: Option<Image>) -> SwapDisk {
    disk_in(&store(), cap_bytes, backing)
}

fn store() -> Arc<Store> {
    Store::new(StoreConfig { capacity_bytes: 8 << 20, ..Default::default() }).unwrap()
}

fn disk_in(store: &Arc<Store>, cap_bytes: u64, backing: Option<Image>) -> SwapDisk {
    let client = store.add_client(ClientConfig { cap_bytes, ..Default::default() }).unwrap();
    SwapDisk::new(client, 64 * BLOCK, backing).unwrap()
}

fn disk() -> SwapDisk {
    disk_of(u64::MAX, None)
}

/// Bytes that no codec makes small.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut random = tmem_bare::random::Random::new(seed);
    (0..len).map(|_| random.draw() as u8).collect()
}

fn write(disk: &SwapDisk, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut bytes = bytes.to_vec();
    disk.write(&[bytes.as_mut_slice().into()], at)
}

fn read(disk: &SwapDisk, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0xee; len];
    disk.read(&[bytes.as_mut_slice().into()], at).map(|()| bytes)
}

#[test]
fn block_when_never_written_is_zeros_and_takes_no_memory() {
    let disk = disk();
    assert_eq!(read(&disk, 0, 8192).unwrap(), [0; 8192]);
    assert_eq!(disk.client().usage().persistent_pages, 0);
}

#[test]
fn bytes_when_written_in_any_cut_come_back() {
    let disk = disk();
    let content = noise(5 * 4096, 1);
    write(&disk, 8192, &content).unwrap();
    assert_eq!(read(&disk, 8192, content.len()).unwrap(), content);
    assert_eq!(disk.client().usage().persistent_pages, 5);
    // Sectors across the border of two blocks, one of which nobody has written.
    write(&disk, 4096 + 3584, &[7; 1024]).unwrap();
    assert_eq!(read(&disk, 4096, 3584).unwrap(), [0; 3584]);
    assert_eq!(read(&disk, 4096 + 3584, 1024).unwrap(), [7; 1024]);
    assert_eq!(read(&disk, 8192 + 512, 4096).unwrap(), content[512..4608]);
}

#[test]
fn buffers_that_cut_pages_are_put_together() {
    let disk = disk();
    let content = noise(3 * 4096, 2);
    let mut parts: Vec<Vec<u8>> = content.chunks(1536).map(<[u8]>::to_vec).collect();
    let slices: Vec<VolatileSlice<'_>> = parts.iter_mut().map(|part| part.as_mut_slice().into()).collect();
    disk.write(&slices, 0).unwrap();
    assert_eq!(read(&disk, 0, content.len()).unwrap(), content);
    disk.read(&slices, 4096).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn block_when_discarded_is_zeros_and_its_page_is_gone_at_once() {
    let disk = disk();
    write(&disk, 0, &noise(4 * 4096, 3)).unwrap();
    disk.discard(512, 3 * BLOCK, &GO).unwrap();
    assert_eq!(disk.client().usage().persistent_pages, 2, "blocks 0 and 3 are only touched in part");
    assert_eq!(read(&disk, BLOCK, 8192).unwrap(), [0; 8192]);
    disk.write_zeros(512, 3 * BLOCK, true, &GO).unwrap();
    assert_eq!(read(&disk, 512, 3 * 4096).unwrap(), [0; 3 * 4096]);
    assert_eq!(read(&disk, 0, 512).unwrap(), noise(4 * 4096, 3)[..512]);
    disk.write_zeros(BLOCK + 512, 512, true, &GO).unwrap();
    assert_eq!(read(&disk, BLOCK, 4096).unwrap(), [0; 4096]);
}

#[test]
fn write_when_the_store_refuses_is_an_error_and_the_old_page_never_comes_back() {
    let disk = disk_of(128 << 10, None);
    let refused = (0..64).filter(|block| write(&disk, block * BLOCK, &noise(4096, *block)).is_err()).count();
    assert!((1..64).contains(&refused), "{refused}");
    assert_eq!(disk.counters().refused.load(Ordering::Relaxed), refused as u64);
    for block in 0..64 {
        match read(&disk, block * BLOCK, 4096) {
            Ok(bytes) => assert_eq!(bytes, noise(4096, block)),
            Err(_) => assert_eq!(disk.slot(block as u32), Slot::Lost),
        }
    }
    disk.client().freeze();
    let kept = (0..64).find(|block| disk.slot(*block) == Slot::Stored).unwrap();
    assert!(write(&disk, u64::from(kept) * BLOCK, &[1; 4096]).is_err());
    assert!(read(&disk, u64::from(kept) * BLOCK, 4096).is_err(), "neither the old page nor zeros");
    disk.client().thaw();
    write(&disk, u64::from(kept) * BLOCK, &[1; 4096]).unwrap();
    assert_eq!(read(&disk, u64::from(kept) * BLOCK, 4096).unwrap(), [1; 4096]);
}

#[test]
fn page_when_refused_goes_to_the_backing_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 * BLOCK).unwrap();
    let disk = disk_of(128 << 10, Some(Image::open(&DiskSpec::new(file.path())).unwrap()));
    for block in 0..64 {
        write(&disk, block * BLOCK, &noise(4096, block)).unwrap();
    }
    assert!(disk.counters().backed.load(Ordering::Relaxed) > 0);
    write(&disk, 63 * BLOCK + 512, &[9; 512]).unwrap();
    for block in 0..63 {
        assert_eq!(read(&disk, block * BLOCK, 4096).unwrap(), noise(4096, block));
    }
    assert_eq!(read(&disk, 63 * BLOCK + 512, 512).unwrap(), [9; 512]);
    assert_eq!(read(&disk, 63 * BLOCK + 1024, 512).unwrap(), noise(4096, 63)[1024..1536]);
    disk.discard(0, 64 * BLOCK, &GO).unwrap();
    assert_eq!(read(&disk, 63 * BLOCK, 4096).unwrap(), [0; 4096]);
}

#[test]
fn disk_when_its_guest_used_it_before_reads_errors_and_never_zeros_until_written() {
    let disk = disk();
    write(&disk, 0, &[5; 4096]).unwrap();
    disk.end();
    disk.begin(true);
    assert!(read(&disk, 0, 4096).is_err() && read(&disk, BLOCK, 512).is_err());
    assert!(write(&disk, BLOCK, &[1; 512]).is_err(), "what is beside it is lost");
    write(&disk, BLOCK, &[1; 4096]).unwrap();
    disk.discard(2 * BLOCK, BLOCK, &GO).unwrap();
    assert_eq!(read(&disk, BLOCK, 8192).unwrap(), [[1; 4096], [0; 4096]].concat());
    disk.begin(false);
    assert_eq!(read(&disk, 3 * BLOCK, 4096).unwrap(), [0; 4096], "a new device");
}

#[test]
fn pages_when_the_front_end_has_gone_are_given_back() {
    let store = store();
    let disk = disk_in(&store, u64::MAX, None);
    write(&disk, 0, &noise(32 * 4096, 4)).unwrap();
    disk.end();
    while store.maintain(Budget::default()).more {}
    disk.begin(false);
    assert_eq!(read(&disk, 0, 4096).unwrap(), [0; 4096]);
    write(&disk, 0, &[3; 4096]).unwrap();
    assert_eq!(disk.client().usage().persistent_pages, 1);
}
