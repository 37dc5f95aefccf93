use super::*;
use std::time::{Duration, Instant};

const TOTAL: u64 = 65536;

fn calm(used: u64) -> Seen {
    Seen { used, swap: 1000, swap_free: 1000, ..Seen::default() }
}

/// An interval that cost something, for each kind of cost.
fn costly() -> [(Seen, Cost); 4] {
    let calm = calm(TOTAL);
    [
        (Seen { refused: 1, ..calm }, Cost::Refused),
        (Seen { evicted: 1, ..calm }, Cost::Evicted),
        (Seen { cut_short: true, ..calm }, Cost::CutShort),
        (Seen { waited: 10_000, ..calm }, Cost::Waited),
    ]
}

/// Calm intervals until something is asked for.
fn rests(pace: &mut Pace) -> usize {
    (0..100).take_while(|_| !matches!(pace.next(&calm(TOTAL)), Next::Reclaim(_))).count()
}

#[test]
fn calm_guest_gives_more_each_time_up_to_a_limit_and_never_below_the_floor() {
    let mut pace = Pace::new(TOTAL, 20, 1);
    let mut used = TOTAL;
    let mut given = Vec::new();
    while let Next::Reclaim(pages) = pace.next(&calm(used)) {
        used -= pages;
        given.push(pages);
    }
    assert!(given[0] < given[1] && given[1] < given[2]);
    assert_eq!(given.iter().max(), Some(&(TOTAL / LARGEST)));
    assert_eq!((used, pace.next(&calm(used))), (TOTAL / 5, Next::Enough));
}

#[test]
fn each_cost_stops_it_at_once_and_is_named() {
    for (seen, cost) in costly() {
        let mut pace = Pace::new(TOTAL, 20, 1);
        assert_eq!(pace.next(&seen), Next::Stop(cost));
        assert_eq!(pace.next(&calm(TOTAL)), Next::Rest);
        assert!(matches!(pace.next(&calm(TOTAL)), Next::Reclaim(_)));
    }
}

#[test]
fn less_waiting_than_was_allowed_costs_nothing() {
    let mut pace = Pace::new(TOTAL, 20, 2);
    assert!(matches!(pace.next(&Seen { waited: 19_999, ..calm(TOTAL) }), Next::Reclaim(_)));
    assert_eq!(pace.next(&Seen { waited: 20_000, ..calm(TOTAL) }), Next::Stop(Cost::Waited));
}

#[test]
fn request_that_costs_something_each_time_comes_ever_more_rarely_and_gets_smaller() {
    for (seen, cost) in costly() {
        let mut pace = Pace::new(TOTAL, 20, 1);
        let (mut waits, mut asked) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            waits.push(
                (0..100)
                    .take_while(|_| match pace.next(&calm(TOTAL)) {
                        Next::Reclaim(pages) => {
                            asked.push(pages);
                            false
                        }
                        _ => true,
                    })
                    .count(),
            );
            assert_eq!(pace.next(&seen), Next::Stop(cost));
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 32]);
        assert_eq!(asked, [128, 64, 32, 16, 8, 4, 2, 1]);
    }
}

#[test]
fn request_that_cost_nothing_halves_the_next_rest_again() {
    let mut pace = Pace::new(TOTAL, 20, 1);
    let pressed = Seen { waited: 10_000, ..calm(TOTAL) };
    (0..3).for_each(|_| assert_eq!(pace.next(&pressed), Next::Stop(Cost::Waited)));
    assert_eq!(rests(&mut pace), 4);
    // The first judges that request, and asks again.
    (0..2).for_each(|_| assert!(matches!(pace.next(&calm(TOTAL)), Next::Reclaim(_))));
    assert_eq!(pace.next(&pressed), Next::Stop(Cost::Waited));
    assert_eq!(rests(&mut pace), 2);
}

#[test]
fn steps_shrink_with_a_cost_and_recover() {
    let mut pace = Pace::new(TOTAL, 20, 1);
    (0..50).for_each(|_| _ = pace.next(&calm(TOTAL)));
    let before = pace.step;
    pace.next(&Seen { waited: 1_000_000, ..calm(TOTAL) });
    assert_eq!(pace.step, before / 2);
    (0..50).for_each(|_| _ = pace.next(&calm(TOTAL)));
    assert_eq!(pace.step, before);
}

#[test]
fn swap_that_is_nearly_full_is_enough_and_none_at_all_is_no_obstacle() {
    let mut pace = Pace::new(TOTAL, 20, 1);
    assert_eq!(pace.next(&Seen { swap_free: 10, ..calm(TOTAL) }), Next::Enough);
    assert!(matches!(pace.next(&Seen { swap: 0, swap_free: 0, ..calm(TOTAL) }), Next::Reclaim(_)));
}

#[test]
fn interval_is_the_difference_of_its_ends_and_its_waiting_a_share_of_its_time() {
    let at = Instant::now();
    let before = Sample { at, waited_us: 500, refused: 3, evicted: 40, used: 900, swap: 100, swap_free: 90 };
    let after = Sample {
        at: at + Duration::from_secs(2),
        waited_us: 20_500,
        refused: 5,
        evicted: 47,
        used: 800,
        swap: 100,
        swap_free: 80,
    };
    let seen = Seen::between(&before, &after, true);
    assert_eq!((seen.waited, seen.refused, seen.evicted, seen.cut_short), (10_000, 2, 7, true));
    assert_eq!((seen.used, seen.swap, seen.swap_free), (800, 100, 80));
}
