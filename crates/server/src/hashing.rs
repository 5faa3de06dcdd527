//! The hashing threads. A password costs 19 MiB and tens of milliseconds (S20): it must neither
//! hold up the runtime nor, asked often enough, take the machine's memory. So there are as many
//! threads as cores, each with one block of memory that it uses again, and room for so many that
//! wait, in turns; what does not fit is shed at once (LOGIN.md, "Login").

use std::sync::Arc;
use std::thread;

use credential::Entropy;
use credential::password::{self, Memory, Verdict, Verifier};
use credential::phc::Params;
use credential::secret::Password;
use tokio::sync::oneshot;

mod lanes;

pub use lanes::Lane;
use lanes::{Refused, Waiting};

/// Why a password was not hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many wait already.
    #[error("too many passwords are being checked; try again in a moment")]
    QueueFull,
    /// The threads are gone.
    #[error("the hashing threads have stopped")]
    Stopped,
    /// The hash failed.
    #[error(transparent)]
    Failed(#[from] password::Error),
}

type Answer<T> = oneshot::Sender<Result<T, Error>>;

enum Job {
    Verify(Box<Check>, Answer<Verdict>),
    Hash(Box<Password>, Answer<Verifier>),
}

impl Job {
    /// Tells who asked that there is no answer.
    fn refuse(self, why: Error) {
        // Who went away need not be told.
        match self {
            Self::Verify(_, answer) => drop(answer.send(Err(why))),
            Self::Hash(_, answer) => drop(answer.send(Err(why))),
        }
    }
}

/// A password to compare with a verifier; with one that nothing fits where there is none (S23).
struct Check {
    password: Password,
    verifier: Option<Verifier>,
    /// Who wants the same password's verifier at today's cost, if it is right and kept at less.
    anew: Option<oneshot::Sender<Verifier>>,
}

/// The threads. Clones share them; they end with the last clone.
#[derive(Clone)]
pub struct Pool(Arc<Desk>);

/// Where jobs are handed in; the threads end when it is gone.
struct Desk {
    waiting: Arc<Waiting<Job>>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.waiting.close();
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts the threads: `threads` of them, one a core when 0, with room for `queue` that wait.
    ///
    /// # Errors
    /// `Failed` when the memory cannot be had, `Stopped` when a thread cannot be started.
    pub fn start(
        threads: usize,
        queue: usize,
        params: Params,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Error> {
        let count = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            some => some,
        };
        let waiting = Arc::new(Waiting::new(queue));
        let pool = Self(Arc::new(Desk {
            waiting: Arc::clone(&waiting),
        }));
        for index in 0..count {
            let mut memory = Memory::new(params)?;
            let nobodys = Verifier::dummy(params, entropy.as_ref(), &mut memory)?;
            let mut worker = Worker {
                waiting: Arc::clone(&waiting),
                params,
                memory,
                nobodys,
                entropy: Arc::clone(&entropy),
            };
            thread::Builder::new()
                .name(format!("hashing-{index}"))
                .spawn(move || worker.run())
                .map_err(|_| Error::Stopped)?;
        }
        Ok(pool)
    }

    /// Whether the password fits the verifier. Without a verifier it never does, and takes as
    /// long to find out; with one that costs less than ours, the rest is worked off (S23).
    ///
    /// After the answer, a right password whose verifier costs less than ours is hashed `anew`
    /// (S21); in all other cases nothing is sent.
    ///
    /// # Errors
    /// `QueueFull` when too many wait, at once or when a shorter lane takes the place.
    pub async fn verify(
        &self,
        lane: &Lane,
        password: Password,
        verifier: Option<Verifier>,
        anew: Option<oneshot::Sender<Verifier>>,
    ) -> Result<Verdict, Error> {
        let (answer, asked) = oneshot::channel();
        let check = Check {
            password,
            verifier,
            anew,
        };
        self.enqueue(lane, Job::Verify(Box::new(check), answer))?;
        asked.await.map_err(|_| Error::Stopped)?
    }

    /// A new verifier.
    ///
    /// # Errors
    /// `QueueFull` when too many wait, at once or when a shorter lane takes the place.
    pub async fn hash(&self, lane: &Lane, password: Password) -> Result<Verifier, Error> {
        let (answer, asked) = oneshot::channel();
        self.enqueue(lane, Job::Hash(Box::new(password), answer))?;
        asked.await.map_err(|_| Error::Stopped)?
    }

    fn enqueue(&self, lane: &Lane, job: Job) -> Result<(), Error> {
        match self.0.waiting.push(lane, job) {
            Ok(None) => Ok(()),
            Ok(Some(shed)) => {
                shed.refuse(Error::QueueFull);
                Ok(())
            }
            Err((_, Refused::Full)) => Err(Error::QueueFull),
            Err((_, Refused::Closed)) => Err(Error::Stopped),
        }
    }
}

struct Worker {
    waiting: Arc<Waiting<Job>>,
    params: Params,
    memory: Memory,
    nobodys: Verifier,
    entropy: Arc<dyn Entropy>,
}

impl Worker {
    fn run(&mut self) {
        while let Some(job) = self.waiting.pop() {
            self.work(job);
        }
    }

    fn work(&mut self, job: Job) {
        // A caller that went away needs no answer. One that comes late is no fault either, so
        // that what sending says is left aside.
        match job {
            Job::Verify(_, answer) if answer.is_closed() => {}
            Job::Hash(_, answer) if answer.is_closed() => {}
            Job::Verify(check, answer) => {
                let Check {
                    password,
                    verifier,
                    anew,
                } = *check;
                let verdict = self.verify(&password, verifier.as_ref());
                let due = verdict == Ok(Verdict::Right)
                    && verifier.is_some_and(|verifier| verifier.needs_rehash(&self.params));
                let _gone = answer.send(verdict.map_err(Error::from));
                // Only now: how long the answer took must not tell that the password was right.
                if let (true, Some(anew)) = (due, anew) {
                    self.renew(&password, anew);
                }
            }
            Job::Hash(password, answer) => {
                let _gone = answer.send(self.hash(&password).map_err(Error::from));
            }
        }
    }

    fn verify(
        &mut self,
        password: &Password,
        verifier: Option<&Verifier>,
    ) -> Result<Verdict, password::Error> {
        let Some(verifier) = verifier else {
            return password::verify(password, &self.nobodys, &mut self.memory)
                .map(|_| Verdict::Wrong);
        };
        let verdict = password::verify(password, verifier, &mut self.memory)?;
        if let Some(missing) = verifier.params().missing_of(&self.params) {
            password::spend(password, missing, &mut self.memory)?;
        }
        Ok(verdict)
    }

    fn hash(&mut self, password: &Password) -> Result<Verifier, password::Error> {
        password::hash(
            password,
            self.params,
            self.entropy.as_ref(),
            &mut self.memory,
        )
    }

    fn renew(&mut self, password: &Password, anew: oneshot::Sender<Verifier>) {
        match self.hash(password) {
            Ok(verifier) => {
                let _gone = anew.send(verifier);
            }
            // The next login tries again.
            Err(error) => tracing::warn!(%error, "a password was not hashed anew"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use credential::SeededEntropy;

    fn password(text: &str) -> Password {
        Password::parse(text).ok().unwrap()
    }

    fn lane() -> Lane {
        Lane {
            caller: "front-end/web".to_owned(),
            person: "U1".to_owned(),
        }
    }

    fn ours() -> Params {
        Params::new(256, 2, 1).unwrap_or(Params::STANDARD)
    }

    fn pool(threads: usize, queue: usize) -> Pool {
        Pool::start(threads, queue, ours(), Arc::new(SeededEntropy::new(1))).unwrap()
    }

    /// A verifier of "low tide at noon" with these parameters.
    fn kept(params: Params) -> Verifier {
        let mut memory = Memory::new(params).unwrap();
        let entropy = SeededEntropy::new(2);
        let kept = password::hash(&password("low tide at noon"), params, &entropy, &mut memory);
        kept.ok().unwrap()
    }

    fn cheaper() -> Params {
        Params::new(96, 1, 1).unwrap_or(Params::STANDARD)
    }

    #[test]
    fn a_check_costs_the_same_for_every_verifier_and_for_none_s23() {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let mut memory = Memory::new(ours()).unwrap();
        let mut worker = Worker {
            waiting: Arc::new(Waiting::new(1)),
            params: ours(),
            nobodys: Verifier::dummy(ours(), entropy.as_ref(), &mut memory)
                .ok()
                .unwrap(),
            memory,
            entropy,
        };
        for verifier in [None, Some(kept(ours())), Some(kept(cheaper()))] {
            for text in ["low tide at noon", "high tide at noon"] {
                let before = worker.memory.worked_kib();
                worker.verify(&password(text), verifier.as_ref()).unwrap();
                let worked = worker.memory.worked_kib() - before;
                assert_eq!(worked, ours().work_kib());
            }
        }
    }

    #[tokio::test]
    async fn a_right_password_kept_at_less_than_our_cost_is_hashed_anew_s21() {
        let lane = lane();
        let pool = pool(1, 4);
        for (text, params, expected) in [
            ("low tide at noon", cheaper(), true),
            ("high tide at noon", cheaper(), false),
            ("low tide at noon", ours(), false),
        ] {
            let (sender, anew) = oneshot::channel();
            let verdict = pool.verify(&lane, password(text), Some(kept(params)), Some(sender));
            verdict.await.unwrap();
            let anew = anew.await.ok();
            assert_eq!(anew.is_some(), expected, "{text}");
            if let Some(anew) = anew {
                assert_eq!(anew.params(), ours());
                let verdict = pool.verify(&lane, password(text), Some(anew), None).await;
                assert_eq!(verdict, Ok(Verdict::Right));
            }
        }
    }

    #[tokio::test]
    async fn a_hashed_password_is_verified_and_another_is_not() {
        let lane = lane();
        let pool = pool(1, 4);
        let verifier = || async { pool.hash(&lane, password("low tide at noon")).await.ok() };
        let right = pool.verify(&lane, password("low tide at noon"), verifier().await, None);
        assert_eq!(right.await, Ok(Verdict::Right));
        let wrong = pool.verify(&lane, password("high tide at noon"), verifier().await, None);
        assert_eq!(wrong.await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn nothing_fits_where_there_is_no_verifier_s23() {
        let lane = lane();
        let pool = pool(1, 4);
        let verdict = pool
            .verify(&lane, password("whatever it is"), None, None)
            .await;
        assert_eq!(verdict, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn a_full_queue_sheds_at_once() {
        // No thread takes a job from this desk.
        let pool = Pool(Arc::new(Desk {
            waiting: Arc::new(Waiting::new(1)),
        }));
        let lane = lane();
        let first = pool.verify(&lane, password("the first one"), None, None);
        let second = pool.hash(&lane, password("the second one"));
        tokio::select! {
            biased;
            _ = first => panic!("nobody answers the first"),
            shed = second => assert_eq!(shed.err(), Some(Error::QueueFull)),
        }
    }
}
