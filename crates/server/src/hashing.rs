//! The hashing threads. A password costs 19 MiB and tens of milliseconds (S20): it must neither
//! hold up the runtime nor, asked often enough, take the machine's memory. So there are as many
//! threads as cores, each with one block of memory that it uses again, and a queue with an end;
//! what does not fit is shed at once (LOGIN.md, "Login").

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use credential::Entropy;
use credential::password::{self, Memory, Verdict, Verifier};
use credential::phc::Params;
use credential::secret::Password;
use tokio::sync::oneshot;

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

type Answer<T> = oneshot::Sender<Result<T, password::Error>>;

enum Job {
    Verify(Box<Check>, Answer<Verdict>),
    Hash(Box<Password>, Answer<Verifier>),
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
pub struct Pool {
    jobs: SyncSender<Job>,
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
        let (jobs, waiting) = sync_channel(queue);
        let waiting = Arc::new(Mutex::new(waiting));
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
        Ok(Self { jobs })
    }

    /// Whether the password fits the verifier. Without a verifier it never does, and takes as
    /// long to find out; with one that costs less than ours, the rest is worked off (S23).
    ///
    /// After the answer, a right password whose verifier costs less than ours is hashed `anew`
    /// (S21); in all other cases nothing is sent.
    ///
    /// # Errors
    /// `QueueFull` at once when too many wait.
    pub async fn verify(
        &self,
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
        self.enqueue(Job::Verify(Box::new(check), answer))?;
        Ok(asked.await.map_err(|_| Error::Stopped)??)
    }

    /// A new verifier.
    ///
    /// # Errors
    /// `QueueFull` at once when too many wait.
    pub async fn hash(&self, password: Password) -> Result<Verifier, Error> {
        let (answer, asked) = oneshot::channel();
        self.enqueue(Job::Hash(Box::new(password), answer))?;
        Ok(asked.await.map_err(|_| Error::Stopped)??)
    }

    fn enqueue(&self, job: Job) -> Result<(), Error> {
        self.jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => Error::QueueFull,
            TrySendError::Disconnected(_) => Error::Stopped,
        })
    }
}

struct Worker {
    waiting: Arc<Mutex<Receiver<Job>>>,
    params: Params,
    memory: Memory,
    nobodys: Verifier,
    entropy: Arc<dyn Entropy>,
}

impl Worker {
    fn run(&mut self) {
        loop {
            // The lock is held while waiting: one thread waits for the job, the others for it.
            let job = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            match job {
                Ok(job) => self.work(job),
                Err(_) => return,
            }
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
                let _gone = answer.send(verdict);
                // Only now: how long the answer took must not tell that the password was right.
                if let (true, Some(anew)) = (due, anew) {
                    self.renew(&password, anew);
                }
            }
            Job::Hash(password, answer) => {
                let _gone = answer.send(self.hash(&password));
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
        let (_, waiting) = sync_channel(1);
        let mut worker = Worker {
            waiting: Arc::new(Mutex::new(waiting)),
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
        let pool = pool(1, 4);
        for (text, params, expected) in [
            ("low tide at noon", cheaper(), true),
            ("high tide at noon", cheaper(), false),
            ("low tide at noon", ours(), false),
        ] {
            let (sender, anew) = oneshot::channel();
            let verdict = pool.verify(password(text), Some(kept(params)), Some(sender));
            verdict.await.unwrap();
            let anew = anew.await.ok();
            assert_eq!(anew.is_some(), expected, "{text}");
            if let Some(anew) = anew {
                assert_eq!(anew.params(), ours());
                let verdict = pool.verify(password(text), Some(anew), None).await;
                assert_eq!(verdict, Ok(Verdict::Right));
            }
        }
    }

    #[tokio::test]
    async fn a_hashed_password_is_verified_and_another_is_not() {
        let pool = pool(1, 4);
        let verifier = || async { pool.hash(password("low tide at noon")).await.ok() };
        let right = pool.verify(password("low tide at noon"), verifier().await, None);
        assert_eq!(right.await, Ok(Verdict::Right));
        let wrong = pool.verify(password("high tide at noon"), verifier().await, None);
        assert_eq!(wrong.await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn nothing_fits_where_there_is_no_verifier_s23() {
        let pool = pool(1, 4);
        let verdict = pool.verify(password("whatever it is"), None, None).await;
        assert_eq!(verdict, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn a_full_queue_sheds_at_once() {
        // No thread takes a job off this queue.
        let (jobs, _waiting) = sync_channel(1);
        let pool = Pool { jobs };
        let first = pool.verify(password("the first one"), None, None);
        let second = pool.hash(password("the second one"));
        tokio::select! {
            biased;
            _ = first => panic!("nobody answers the first"),
            shed = second => assert_eq!(shed.err(), Some(Error::QueueFull)),
        }
    }
}
