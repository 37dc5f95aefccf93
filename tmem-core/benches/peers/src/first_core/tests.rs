//! Against a map, and at the edges.

use std::collections::HashMap;
use std::thread;

use super::*;
use crate::random::Random;

fn page(seed: u64) -> Page {
    let mut random = Random(seed);
    let mut page = [seed as u8; PAGE_SIZE];
    // Every third page is noise, which LZ4 makes no smaller.
    let noise = if seed.is_multiple_of(3) { PAGE_SIZE } else { 64 };
    page[..noise].fill_with(|| random.next() as u8);
    page
}

fn name(object: u64, index: u32) -> Name {
    ([object, 7, object << 60], index)
}

fn got(core: &FirstCore, name: &Name) -> Option<Page> {
    let mut page = [0xee; PAGE_SIZE];
    core.get(name, &mut page).then_some(page)
}

/// Random operations on few names, so that they meet.
fn agrees_with_a_map(pages: Pages, seed: u64) {
    const INDEXES: [u32; 12] =
        [0, 1, 63, 64, 65, 4095, 4096, 262_143, 262_144, 1 << 30, (1 << 30) - 1, u32::MAX];
    let (core, mut map) = (FirstCore::new(pages), HashMap::new());
    let mut random = Random(seed);
    for step in 0..20_000 {
        let name = name(random.next() % 40, INDEXES[random.next() as usize % INDEXES.len()]);
        match random.next() % 10 {
            0..4 => {
                assert!(core.put(&name, &page(step)));
                map.insert(name, page(step));
            }
            4..7 => assert_eq!(core.flush(&name) == 1, map.remove(&name).is_some(), "flush of {name:?}"),
            _ => assert_eq!(got(&core, &name).as_ref(), map.get(&name), "get of {name:?}"),
        }
    }
    for (name, page) in &map {
        assert_eq!(got(&core, name).as_ref(), Some(page), "{name:?} at the end");
    }
    for name in map.keys() {
        assert_eq!(core.flush(name), 1);
    }
    assert!(map.keys().all(|name| got(&core, name).is_none()));
}

#[test]
fn raw_pages_agree_with_a_map() {
    (1..4).for_each(|seed| agrees_with_a_map(Pages::Malloc, seed));
}

#[test]
fn compressed_pages_agree_with_a_map() {
    (1..4).for_each(|seed| agrees_with_a_map(Pages::Lz4, seed));
}

#[test]
fn pages_in_frames_agree_with_a_map() {
    (1..4).for_each(|seed| agrees_with_a_map(Pages::Frames, seed));
}

#[test]
fn a_get_keeps_the_page() {
    let core = FirstCore::new(Pages::Malloc);
    core.put(&name(1, 2), &page(3));
    assert_eq!([got(&core, &name(1, 2)), got(&core, &name(1, 2))], [Some(page(3)); 2]);
}

#[test]
fn a_put_replaces_the_page() {
    let core = FirstCore::new(Pages::Lz4);
    core.put(&name(1, 2), &page(3));
    core.put(&name(1, 2), &page(4));
    assert_eq!(got(&core, &name(1, 2)), Some(page(4)));
}

#[test]
fn a_tree_grows_from_its_pages_and_is_gone_with_them() {
    let core = FirstCore::new(Pages::Malloc);
    core.put(&name(1, u32::MAX), &page(1));
    core.put(&name(1, 0), &page(2));
    assert_eq!((core.flush(&name(1, u32::MAX)), core.flush(&name(1, u32::MAX))), (1, 0));
    assert_eq!((got(&core, &name(1, u32::MAX)), got(&core, &name(1, 0))), (None, Some(page(2))));
    assert_eq!((core.flush(&name(1, 0)), got(&core, &name(1, 0))), (1, None));
}

#[test]
fn ids_that_differ_in_one_word_are_different() {
    let core = FirstCore::new(Pages::Malloc);
    let ids = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]];
    ids.iter().zip(1..).for_each(|(id, seed)| assert!(core.put(&(*id, 0), &page(seed))));
    let pages = ids.map(|id| got(&core, &(id, 0)));
    assert_eq!(pages, [Some(page(1)), Some(page(2)), Some(page(3)), Some(page(4))]);
}

fn threads_get_whole_pages_of_one_object(pages: Pages) {
    let core = &FirstCore::new(pages);
    let work = move |seed: u64| {
        let mut random = Random(seed);
        for _ in 0..5_000 {
            let name = name(1, (random.next() % 8) as u32);
            assert!(core.put(&name, &[random.next() as u8; PAGE_SIZE]));
            let page = got(core, &name).unwrap_or([0; PAGE_SIZE]);
            assert!(page.iter().all(|byte| *byte == page[0]), "half a page of {name:?}");
            core.flush(&name);
        }
    };
    thread::scope(|scope| (0..4).for_each(|seed| drop(scope.spawn(move || work(seed)))));
}

#[test]
fn threads_get_whole_pages_from_malloc() {
    threads_get_whole_pages_of_one_object(Pages::Malloc);
}

#[test]
fn threads_get_whole_compressed_pages() {
    threads_get_whole_pages_of_one_object(Pages::Lz4);
}

#[test]
fn threads_get_whole_pages_in_frames() {
    threads_get_whole_pages_of_one_object(Pages::Frames);
}
