//! Makes one measurement in this process, which does nothing else: so heaps are as new as they should be.

use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};
use tmem_core::{Codec, PAGE_SIZE, Page};

use super::spec::{Core, Spec, What};
use crate::bare::Bare;
use crate::churn::{Churn, rate, with_maintenance};
use crate::first_core::Pages;
use crate::made_up::made_up;
use crate::ours::Ours;
use crate::peers::{FirstCorePeer, Peer};

/// Measures.
pub(super) fn measure(spec: &Spec) -> Value {
    keep_freed_memory();
    let contents: Vec<Page> = made_up();
    match spec.what {
        What::Copy => json!({ "copy_ns": copy(&contents, spec.pages) }),
        What::Seq => {
            let peer = peer(spec);
            with_maintenance(&*peer, || seq(&*peer, &contents, spec))
        }
        What::Churn => {
            let peer = peer(spec);
            let rate = rate(&Churn::new(&*peer, spec.pages, contents), spec.threads, spec.seconds);
            let mut measured = json!({ "million_ops_per_s": rate.million_ops_per_s, "cores": rate.cores });
            if let Some((compressed, pages)) = peer.compressed() {
                measured["pages"] = pages.into();
                measured["compressed_pages"] = compressed.into();
            }
            measured
        }
    }
}

fn peer(spec: &Spec) -> Box<dyn Peer> {
    match spec.core {
        Core::Ours => Box::new(Ours::new(spec.codec, spec.pages, spec.objects, spec.clients)),
        Core::First if spec.codec == Codec::Raw => Box::new(FirstCorePeer::new(Pages::Malloc, spec.objects)),
        Core::First => Box::new(FirstCorePeer::new(Pages::Lz4, spec.objects)),
        Core::Frames => Box::new(FirstCorePeer::new(Pages::Frames, spec.objects)),
        Core::Bare => Box::new(Bare::new(spec.pages)),
    }
}

/// What is freed stays in the heap, and the heap grows in large steps: malloc's best case.
fn keep_freed_memory() {
    let most = 1 << 30;
    for (name, value) in
        [(libc::M_TRIM_THRESHOLD, most), (libc::M_MMAP_THRESHOLD, 32 << 20), (libc::M_TOP_PAD, 64 << 20)]
    {
        // SAFETY: it takes two numbers, and no other thread is there yet.
        let set = unsafe { libc::mallopt(name, value) };
        assert_eq!(set, 1, "malloc does not take option {name}: this comparison is written for glibc");
    }
}

/// Nanoseconds a page that something takes for all pages in order.
fn time(pages: u32, each: impl FnMut(u32)) -> f64 {
    let start = Instant::now();
    (0..pages).for_each(each);
    start.elapsed().as_nanos() as f64 / f64::from(pages)
}

fn content(contents: &[Page], n: u32) -> &Page {
    &contents[n as usize % contents.len()]
}

/// A bare copy of the same pages into memory of the same size that is already there.
fn copy(contents: &[Page], pages: u32) -> f64 {
    let mut target = vec![[1u8; PAGE_SIZE]; pages as usize];
    let mut places = target.iter_mut();
    time(pages, |n| {
        if let Some(target) = places.next() {
            *target = *content(contents, n);
            black_box(target);
        }
    })
}

/// Ours once: its memory is committed. The first core twice, so that its memory is new the first time and not the second.
fn seq(peer: &dyn Peer, contents: &[Page], spec: &Spec) -> Value {
    let put = || time(spec.pages, |n| peer.put(n.into(), content(contents, n)));
    let flush = || time(spec.pages, |n| assert!(peer.flush(n.into()), "page {n} was not there"));
    let mut page = [0; PAGE_SIZE];
    let mut get =
        || time(spec.pages, |n| assert!(peer.get(n.into(), &mut page), "page {n} did not come back"));
    let mut measured = json!({});
    if spec.core != Core::Ours {
        measured["fresh_put_ns"] = put().into();
        flush();
    }
    measured["put_ns"] = put().into();
    measured["get_ns"] = get().into();
    measured["flush_ns"] = flush().into();
    measured
}
