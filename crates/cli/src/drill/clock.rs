//! The cluster's clock: moved ahead where it is simulated, waited for where it is not.

use std::time::Duration;

use domain::UnixMs;
use proto::operator::v1::clock_service_client::ClockServiceClient;
use proto::operator::v1::{AdvanceClockRequest, GetClockRequest};

use super::stage::{Door, call, request, request_id};
use super::words;
use crate::exit::Failure;
use crate::refusal::{self, Asked};

/// How long nodes may take to follow.
const FOLLOW_DEADLINE: Duration = Duration::from_secs(20);
/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The clock, as an operator sees it.
pub(super) struct Clock {
    doors: Vec<Door>,
}

impl Clock {
    pub(super) fn new(doors: Vec<Door>) -> Self {
        Self { doors }
    }

    /// The time at the node that answers first.
    pub(super) async fn now(&self) -> Result<UnixMs, Failure> {
        Ok(read(&self.doors).await?.0)
    }

    /// Returns once every node's clock shows `at` or later.
    pub(super) async fn until(&self, at: UnixMs) -> Result<(), Failure> {
        let (now, simulated) = read(&self.doors).await?;
        if now >= at {
            return Ok(());
        }
        if !simulated {
            tokio::time::sleep(Duration::from_millis(at.since(now))).await;
            return Ok(());
        }
        let id = request_id();
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
            match tokio::time::timeout_at(deadline, read(one)).await {
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
}

/// The time, and whether it is simulated.
async fn read(doors: &[Door]) -> Result<(UnixMs, bool), Failure> {
    let answer = call(doors, |channel| async move {
        ClockServiceClient::new(channel)
            .get_clock(request(GetClockRequest {}))
            .await
    })
    .await
    .map_err(|status| refusal::failure(&status, Asked::Read))?;
    Ok((words::unix_ms(answer.clock_time.as_ref()), answer.simulated))
}
