//! The cluster's clock: moved ahead where it is simulated, waited for where it is not.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use domain::UnixMs;
use proto::operator::v1::clock_service_client::ClockServiceClient;
use proto::operator::v1::{AdvanceClockRequest, GetClockRequest};

use super::stage::{Door, call, request};
use super::words;
use crate::exit::Failure;
use crate::refusal::{self, Asked};

/// How long nodes may take to follow.
const FOLLOW_DEADLINE: Duration = Duration::from_secs(20);
/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The clock, as an operator sees it.
pub struct Clock {
    doors: Vec<Door>,
    /// How far the cluster's clock is ahead of this machine's, as last seen.
    ahead_ms: AtomicI64,
    /// Whether it was ever seen.
    seen: AtomicBool,
}

impl Clock {
    /// The clock behind these doors; nothing is asked yet.
    /// The clock as these operator doors show it; nothing is asked yet.
    #[must_use]
    pub fn new(doors: Vec<Door>) -> Self {
        Self {
            doors,
            ahead_ms: AtomicI64::new(0),
            seen: AtomicBool::new(false),
        }
    }

    /// A new request id. It carries the cluster's time, by which its age is judged (LINES.md).
    pub fn request_id(&self) -> String {
        mint(self.ahead_ms.load(Ordering::Relaxed)).to_string()
    }

    /// The latest time that a node has shown, and what has passed since.
    pub async fn now(&self) -> Result<UnixMs, Failure> {
        self.read(&self.doors).await?;
        Ok(time(self.ahead_ms.load(Ordering::Relaxed)))
    }

    /// Returns once every node's clock shows `at` or later.
    pub async fn until(&self, at: UnixMs) -> Result<(), Failure> {
        let (_, simulated) = self.read(&self.doors).await?;
        let now = time(self.ahead_ms.load(Ordering::Relaxed));
        if now >= at {
            return Ok(());
        }
        if !simulated {
            tokio::time::sleep(Duration::from_millis(at.since(now))).await;
            return Ok(());
        }
        let id = self.request_id();
        call(&self.doors, |channel| {
            let message = AdvanceClockRequest {
                request_id: id.clone(),
                clock_time: Some(words::timestamp(at)),
            };
            async move {
                ClockServiceClient::new(channel)
                    .advance_clock(request(message))
                    .await
            }
        })
        .await
        .map_err(|status| refusal::failure(&status, Asked::Read))?;
        for door in &self.doors {
            self.follows(door, at).await?;
        }
        Ok(())
    }

    /// Waits until a node shows `at`. A node that is down follows when it is back.
    async fn follows(&self, door: &Door, at: UnixMs) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + FOLLOW_DEADLINE;
        loop {
            let one = std::slice::from_ref(door);
            match tokio::time::timeout_at(deadline, self.read(one)).await {
                Ok(Ok((now, _))) if now >= at => return Ok(()),
                Ok(Ok(_)) => tokio::time::sleep(LOOK).await,
                // It is not reached: whatever it serves later, it has followed by then.
                Ok(Err(_)) => return Ok(()),
                Err(_) => {
                    return Err(Failure::pre_check(format!(
                        "the clock of node {} did not follow to {at} within {} s",
                        door.node,
                        FOLLOW_DEADLINE.as_secs()
                    )));
                }
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(Failure::pre_check(format!(
                    "the clock of node {} did not follow to {at}",
                    door.node
                )));
            }
        }
    }

    /// The time, and whether it is simulated.
    async fn read(&self, doors: &[Door]) -> Result<(UnixMs, bool), Failure> {
        let answer = call(doors, |channel| async move {
            ClockServiceClient::new(channel)
                .get_clock(request(GetClockRequest {}))
                .await
        })
        .await
        .map_err(|status| refusal::failure(&status, Asked::Read))?;
        let now = words::unix_ms(answer.clock_time.as_ref());
        // The cluster's clock never goes back: a node that shows less has yet to catch up.
        let ahead = ahead(now);
        if !self.seen.swap(true, Ordering::Relaxed) {
            self.ahead_ms.store(ahead, Ordering::Relaxed);
        }
        self.ahead_ms.fetch_max(ahead, Ordering::Relaxed);
        Ok((now, answer.simulated))
    }
}

/// How far a time is ahead of this machine's clock.
pub(crate) fn ahead(now: UnixMs) -> i64 {
    let now = i64::try_from(now.0).unwrap_or(i64::MAX);
    now.saturating_sub(jiff::Timestamp::now().as_millisecond())
}

/// The time that is so far ahead of this machine's clock.
pub(crate) fn time(ahead_ms: i64) -> UnixMs {
    let now = jiff::Timestamp::now()
        .as_millisecond()
        .saturating_add(ahead_ms);
    UnixMs(u64::try_from(now).unwrap_or(0))
}

/// A request id of a time that is so far ahead of this machine's clock.
pub(crate) fn mint(ahead_ms: i64) -> uuid::Uuid {
    let now = time(ahead_ms).0;
    let nanos = u32::try_from(now % 1_000 * 1_000_000).unwrap_or(0);
    let at = uuid::Timestamp::from_unix(uuid::NoContext, now / 1_000, nanos);
    uuid::Uuid::new_v7(at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_carries_the_cluster_s_time() {
        let saturday = UnixMs(1_686_390_900_000);
        let id: domain::RequestId = mint(ahead(saturday)).to_string().parse().unwrap();
        assert!(id.minted_at().unwrap().since(saturday) < 1_000);
        assert!(saturday.since(id.minted_at().unwrap()) < 1_000);
    }
}
