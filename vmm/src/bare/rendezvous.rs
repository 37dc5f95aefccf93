//! A barrier that may be left and called off: a guest may die before it gets there.

use parking_lot::{Condvar, Mutex};

/// Where the vCPUs of a run wait for each other.
#[derive(Debug)]
pub(super) struct Rendezvous {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug)]
struct State {
    members: usize,
    waiting: usize,
    meetings: u64,
    called_off: bool,
}

impl Rendezvous {
    /// For this many.
    pub(super) fn new(members: usize) -> Self {
        let state = State { members, waiting: 0, meetings: 0, called_off: false };
        Self { state: Mutex::new(state), moved: Condvar::new() }
    }

    /// Waits until all members wait, or the meeting is called off.
    pub(super) fn wait(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        let meeting = state.meetings;
        self.meet_if_complete(&mut state);
        while state.meetings == meeting && !state.called_off {
            self.moved.wait(&mut state);
        }
    }

    /// One member less: it has ended.
    pub(super) fn leave(&self) {
        let mut state = self.state.lock();
        state.members -= 1;
        self.meet_if_complete(&mut state);
    }

    /// Lets everybody go, now and later.
    pub(super) fn call_off(&self) {
        self.state.lock().called_off = true;
        self.moved.notify_all();
    }

    fn meet_if_complete(&self, state: &mut State) {
        if state.waiting >= state.members {
            state.waiting = 0;
            state.meetings += 1;
            self.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_meet_also_when_one_leaves_instead() {
        let place = Rendezvous::new(3);
        std::thread::scope(|scope| {
            scope.spawn(|| place.wait());
            scope.spawn(|| place.wait());
            scope.spawn(|| place.leave());
        });
    }

    #[test]
    fn nobody_waits_once_it_is_called_off() {
        let place = Rendezvous::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| place.wait());
            place.call_off();
        });
        place.wait();
    }
}
