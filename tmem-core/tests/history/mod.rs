//! Is a recorded history of one register linearizable?
//!
//! Every put writes a value of its own, so a get names the put that it saw, and a history of one key can be checked in
//! polynomial time (Gibbons & Korach, "Testing shared memories", SIAM J. Comput. 1997, for the case of unique writes).
//! Here in the plain form of a search over the orders that the intervals allow, with the states already tried cut off
//! (Wing & Gong 1993, Lowe 2017); histories are kept short enough per key for it.

use std::collections::HashSet;

/// What an operation did to the key. Value 0 is absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Stored a value.
    Put(u64),
    /// Saw a value or absence, and left it.
    Get(u64),
    /// Saw a value and removed it, or saw absence.
    Take(u64),
    /// Removed what was there; true when something was.
    Flush(bool),
    /// Stored the second value and saw the first.
    Swap(u64, u64),
    /// Removed what was there, if anything (a refused put).
    Clear,
}

/// An operation and the interval in which it took effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) act: Act,
}

/// The value after the action, if the action is possible before.
fn apply(act: Act, value: u64) -> Option<u64> {
    match act {
        Act::Put(new) => Some(new),
        Act::Get(seen) => (seen == value).then_some(value),
        Act::Take(seen) => (seen == value).then_some(0),
        Act::Flush(had) => (had == (value != 0)).then_some(0),
        Act::Swap(seen, new) => (seen == value).then_some(new),
        Act::Clear => Some(0),
    }
}

/// True when some order of the events, respecting their intervals, explains every answer, starting from absence.
pub(crate) fn linearizable(events: &[Event]) -> bool {
    let mut events = events.to_vec();
    events.sort_by_key(|event| event.from);
    // State: how many events of the sorted list are all done, which later ones are done too, and the value.
    let mut seen = HashSet::new();
    let mut stack = vec![(0usize, Vec::<usize>::new(), 0u64)];
    while let Some((first, done, value)) = stack.pop() {
        if first == events.len() {
            return true;
        }
        // An event may be next if no other undone event ended before it began.
        let undone = || (first..events.len()).filter(|n| !done.contains(n));
        let limit = undone().take(64).map(|n| events[n].to).min().unwrap_or(0);
        for n in undone().take_while(|n| events[*n].from <= limit) {
            let Some(value) = apply(events[n].act, value) else { continue };
            let mut done = done.clone();
            done.push(n);
            done.sort_unstable();
            let mut first = first;
            while done.first() == Some(&first) {
                done.remove(0);
                first += 1;
            }
            if seen.insert((first, done.clone(), value)) {
                stack.push((first, done, value));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(from: u64, to: u64, act: Act) -> Event {
        Event { from, to, act }
    }

    #[test]
    fn sequential_histories_are_judged_by_the_register() {
        let good = [event(1, 2, Act::Put(5)), event(3, 4, Act::Get(5)), event(5, 6, Act::Flush(true))];
        assert!(linearizable(&good));
        let stale = [event(1, 2, Act::Put(5)), event(3, 4, Act::Put(6)), event(5, 6, Act::Get(5))];
        assert!(!linearizable(&stale), "a get of old data");
        let lost = [event(1, 2, Act::Put(5)), event(3, 4, Act::Get(0))];
        assert!(!linearizable(&lost), "a lost page");
    }

    #[test]
    fn overlapping_operations_may_take_any_order_but_only_one() {
        let either =
            |seen| [event(1, 9, Act::Put(5)), event(2, 8, Act::Put(6)), event(10, 11, Act::Get(seen))];
        assert!(linearizable(&either(5)) && linearizable(&either(6)));
        let both = [event(1, 9, Act::Put(5)), event(2, 3, Act::Get(5)), event(4, 5, Act::Get(0))];
        assert!(!linearizable(&both), "a value that was seen cannot be unseen");
        let twice = [event(1, 2, Act::Put(5)), event(3, 9, Act::Take(5)), event(3, 9, Act::Take(5))];
        assert!(!linearizable(&twice), "an exclusive get twice");
        let swapped =
            [event(1, 9, Act::Swap(0, 5)), event(1, 9, Act::Swap(5, 6)), event(10, 11, Act::Get(6))];
        assert!(linearizable(&swapped));
    }
}
