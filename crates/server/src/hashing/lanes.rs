//! Who waits for the hashing threads. Callers take turns, and of one caller the people: whoever
//! floods waits behind itself. When the room is full, the longest lane gives up its newest place
//! to a shorter one, so that a flood through one front end, or on one account, is what is shed.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Whose password it is that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// The front end or operator that asks.
    pub caller: String,
    /// The account that it asks for, there or not.
    pub person: String,
}

/// Why there is no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too many wait, and none of them in a longer lane.
    Full,
    /// Nobody works any more.
    Closed,
}

struct Person<J> {
    name: String,
    jobs: VecDeque<J>,
}

struct Caller<J> {
    name: String,
    people: VecDeque<Person<J>>,
}

impl<J> Caller<J> {
    fn count(&self) -> usize {
        self.people.iter().map(|person| person.jobs.len()).sum()
    }

    fn person(&mut self, name: &str) -> Option<&mut Person<J>> {
        self.people.iter_mut().find(|person| person.name == name)
    }

    fn longest(&mut self) -> Option<&mut Person<J>> {
        self.people
            .iter_mut()
            .max_by_key(|person| person.jobs.len())
    }
}

struct Room<J> {
    callers: VecDeque<Caller<J>>,
    count: usize,
    open: bool,
}

/// The jobs that wait.
pub(super) struct Waiting<J> {
    room: Mutex<Room<J>>,
    arrived: Condvar,
    most: usize,
}

impl<J> Waiting<J> {
    /// Room for `most` that wait.
    pub(super) fn new(most: usize) -> Self {
        Self {
            room: Mutex::new(Room {
                callers: VecDeque::new(),
                count: 0,
                open: true,
            }),
            arrived: Condvar::new(),
            most,
        }
    }

    fn room(&self) -> MutexGuard<'_, Room<J>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place; gives the job that lost its own for it, if one did.
    pub(super) fn push(&self, lane: &Lane, job: J) -> Result<Option<J>, (J, Refused)> {
        let mut room = self.room();
        if !room.open {
            return Err((job, Refused::Closed));
        }
        let mut shed = None;
        if room.count >= self.most {
            shed = room.shed_for(lane);
            if shed.is_none() {
                return Err((job, Refused::Full));
            }
        }
        room.add(lane, job);
        drop(room);
        self.arrived.notify_one();
        Ok(shed)
    }

    /// The next job, as soon as there is one; none once nobody will send any.
    pub(super) fn pop(&self) -> Option<J> {
        let mut room = self.room();
        loop {
            if let Some(job) = room.take() {
                return Some(job);
            }
            if !room.open {
                return None;
            }
            room = self
                .arrived
                .wait(room)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets those that wait for a job go.
    pub(super) fn close(&self) {
        self.room().open = false;
        self.arrived.notify_all();
    }
}

impl<J> Room<J> {
    fn caller(&mut self, name: &str) -> Option<&mut Caller<J>> {
        self.callers.iter_mut().find(|caller| caller.name == name)
    }

    fn add(&mut self, lane: &Lane, job: J) {
        self.count += 1;
        if self.caller(&lane.caller).is_none() {
            self.callers.push_back(Caller {
                name: lane.caller.clone(),
                people: VecDeque::new(),
            });
        }
        let Some(caller) = self.caller(&lane.caller) else {
            return;
        };
        match caller.person(&lane.person) {
            Some(person) => person.jobs.push_back(job),
            None => caller.people.push_back(Person {
                name: lane.person.clone(),
                jobs: VecDeque::from([job]),
            }),
        }
    }

    /// The caller whose turn it is, and of its people the one whose turn it is, give their oldest.
    fn take(&mut self) -> Option<J> {
        let mut caller = self.callers.pop_front()?;
        let mut person = caller.people.pop_front()?;
        let job = person.jobs.pop_front();
        if !person.jobs.is_empty() {
            caller.people.push_back(person);
        }
        if !caller.people.is_empty() {
            self.callers.push_back(caller);
        }
        self.count = self.count.saturating_sub(1);
        job
    }

    /// Takes the newest job out of a lane that is longer than this one would be with one more.
    fn shed_for(&mut self, lane: &Lane) -> Option<J> {
        let own = self.caller(&lane.caller).map_or(0, |caller| caller.count());
        let longest = self
            .callers
            .iter_mut()
            .max_by_key(|caller| caller.count())?;
        let person = if longest.count() > own + 1 {
            longest.longest()?
        } else {
            let caller = self.caller(&lane.caller)?;
            let own = caller.person(&lane.person).map_or(0, |one| one.jobs.len());
            caller
                .longest()
                .filter(|longest| longest.jobs.len() > own + 1)?
        };
        let shed = person.jobs.pop_back();
        self.count = self.count.saturating_sub(1);
        // A lane from which everything was shed has no turn.
        for caller in &mut self.callers {
            caller.people.retain(|person| !person.jobs.is_empty());
        }
        self.callers.retain(|caller| !caller.people.is_empty());
        shed
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn lane(caller: &str, person: &str) -> Lane {
        Lane {
            caller: caller.to_owned(),
            person: person.to_owned(),
        }
    }

    fn drained(waiting: &Waiting<&'static str>) -> Vec<&'static str> {
        waiting.close();
        std::iter::from_fn(|| waiting.pop()).collect()
    }

    #[test]
    fn callers_take_turns_and_their_people_too() {
        let waiting = Waiting::new(16);
        for (caller, person, job) in [
            ("a", "x", "ax1"),
            ("a", "x", "ax2"),
            ("a", "x", "ax3"),
            ("a", "y", "ay1"),
            ("b", "z", "bz1"),
        ] {
            assert_eq!(waiting.push(&lane(caller, person), job), Ok(None));
        }
        assert_eq!(drained(&waiting), ["ax1", "bz1", "ay1", "ax2", "ax3"]);
    }

    #[test]
    fn a_full_room_sheds_the_newest_of_the_longest_lane() {
        let waiting = Waiting::new(3);
        for job in ["a1", "a2", "a3"] {
            waiting.push(&lane("a", "x"), job).unwrap();
        }
        // Its own flood has no place, another caller takes one from it.
        let own = waiting.push(&lane("a", "x"), "a4");
        assert_eq!(own, Err(("a4", Refused::Full)));
        assert_eq!(waiting.push(&lane("b", "y"), "b1"), Ok(Some("a3")));
        // Another person of the same caller does too, and no flood of its own.
        assert_eq!(waiting.push(&lane("a", "z"), "z1"), Ok(Some("a2")));
        let flood = waiting.push(&lane("a", "z"), "z2");
        assert_eq!(flood, Err(("z2", Refused::Full)));
        assert_eq!(drained(&waiting), ["a1", "b1", "z1"]);
    }

    #[test]
    fn a_flood_on_one_account_gives_way_to_the_others_of_its_front_end() {
        let waiting = Waiting::new(4);
        for job in ["x1", "x2", "x3", "x4"] {
            waiting.push(&lane("a", "x"), job).unwrap();
        }
        assert_eq!(waiting.push(&lane("a", "y"), "y1"), Ok(Some("x4")));
        assert_eq!(drained(&waiting), ["x1", "y1", "x2", "x3"]);
    }

    #[test]
    fn nobody_waits_in_a_closed_room() {
        let waiting = Waiting::new(4);
        waiting.close();
        let refused = waiting.push(&lane("a", "x"), "x1");
        assert_eq!(refused, Err(("x1", Refused::Closed)));
        assert_eq!(waiting.pop(), None);
    }
}
