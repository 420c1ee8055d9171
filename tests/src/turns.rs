//! Labs take turns: two small ones may run side by side, a test with load or floods has the machine to itself.

use std::sync::{Condvar, Mutex, PoisonError};

const PLACES: usize = 2;

static TAKEN: Mutex<usize> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(usize);

impl Turn {
    /// Waits for one place.
    pub(crate) fn shared() -> Self {
        Self::take(1)
    }

    /// Waits until nobody else has one.
    pub(crate) fn alone() -> Self {
        Self::take(PLACES)
    }

    fn take(places: usize) -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |taken: &mut usize| *taken + places > PLACES;
        *CHANGED.wait_while(taken, free).unwrap_or_else(PoisonError::into_inner) += places;
        Self(places)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        CHANGED.notify_all();
    }
}
