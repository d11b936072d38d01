//! What callbacks leave for a task, up to a bound. It knows no JavaScript, so that it is tested natively.

use std::collections::VecDeque;

/// Events that wait, at most so many. More than that is the end of what they are about: the task is told, and nothing of the
/// rest is kept.
pub(crate) struct Waiting<T, const MAX: usize> {
    events: VecDeque<T>,
    is_overrun: bool,
}

/// There were more than may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overrun;

impl<T, const MAX: usize> Default for Waiting<T, MAX> {
    fn default() -> Self {
        Self { events: VecDeque::new(), is_overrun: false }
    }
}

impl<T, const MAX: usize> Waiting<T, MAX> {
    pub fn push(&mut self, event: T) {
        if self.is_overrun || self.events.len() >= MAX {
            self.is_overrun = true;
            self.events = VecDeque::new();
        } else {
            self.events.push_back(event);
        }
    }

    /// The next one.
    ///
    /// # Errors
    /// [`Overrun`], from then on.
    pub fn pop(&mut self) -> Result<Option<T>, Overrun> {
        if self.is_overrun { Err(Overrun) } else { Ok(self.events.pop_front()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_may_wait_come_out_in_order_and_one_more_is_the_end() {
        let mut waiting = Waiting::<usize, 3>::default();
        for lap in 0..2 {
            (0..3).for_each(|event| waiting.push(event));
            let events: Vec<_> = std::iter::from_fn(|| waiting.pop().unwrap()).collect();
            assert_eq!(events, [0, 1, 2], "lap {lap}");
        }
        (0..4).for_each(|event| waiting.push(event));
        assert_eq!(waiting.pop(), Err(Overrun));
        waiting.push(4);
        assert_eq!(waiting.pop(), Err(Overrun), "and it stays so");
        assert!(waiting.events.is_empty(), "nothing of it is kept");
    }
}
