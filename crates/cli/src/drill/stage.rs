//! The connections of a drill: a registered front end, a back end and operators, at every node.
//! Calls go to one node after another until one answers, as a load balancer would have it; a
//! change keeps its request id on the way, so it is carried out once at most.

use std::future::Future;
use std::time::Duration;

use domain::{CentreName, OperatorId};
use proto::operator::v1::GetStatusRequest;
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::approval::{Pen, Seen};
use crate::client;
use crate::exit::Failure;
use crate::profile::{Node, Profile};
use crate::refusal;

/// How long a call is tried anew, while nodes restart or elect a leader.
const CALL_DEADLINE: Duration = Duration::from_secs(20);
/// How long one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(8);
/// Pause between two rounds over the nodes.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// One listener of one node.
#[derive(Debug, Clone)]
pub struct Door {
    /// The node.
    pub node: u64,
    /// Its centre.
    pub centre: CentreName,
    /// The connection.
    pub channel: Channel,
}

/// Every door that the drill's identities have.
#[derive(Debug, Clone)]
pub struct Stage {
    front: Vec<Door>,
    back: Vec<Door>,
    operators: Vec<(OperatorId, Vec<Door>)>,
    pens: Vec<Pen>,
}

impl Stage {
    /// Dials every node as every identity.
    pub fn dial(profile: &Profile) -> Result<Self, Failure> {
        let doors = |identity: &crate::profile::Identity, address: fn(&Node) -> &str| {
            profile
                .nodes()
                .iter()
                .map(|node| {
                    Ok(Door {
                        node: node.id,
                        centre: node.centre.clone(),
                        channel: client::dial(profile, identity, address(node))?,
                    })
                })
                .collect::<Result<Vec<Door>, Failure>>()
        };
        let missing = |what: &str| {
            Failure::pre_check(format!("the profile has no {what}"))
                .next("use the profile that `tidemark init` wrote: it has every identity")
        };
        let file = profile.file();
        let front = file.front_ends.values().next();
        let back = file.back_ends.values().next();
        let operators = file
            .operators
            .iter()
            .map(|(id, identity)| Ok((id.clone(), doors(identity, |node| &node.operator)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let pens = file
            .operators
            .values()
            .map(|identity| Pen::read(profile, identity))
            .collect::<Result<Vec<_>, Failure>>()?;
        if operators.is_empty() {
            return Err(missing("operator"));
        }
        Ok(Self {
            front: doors(front.ok_or_else(|| missing("front end"))?, |node| {
                &node.front
            })?,
            back: doors(back.ok_or_else(|| missing("back end"))?, |node| &node.back)?,
            operators,
            pens,
        })
    }

    /// The front-end doors of a centre.
    pub fn front(&self, centre: &CentreName) -> Vec<Door> {
        at(&self.front, centre)
    }

    /// The back-end doors of every node.
    pub fn back(&self) -> &[Door] {
        &self.back
    }

    /// The operator doors of every node, of this operator or the first.
    pub fn operator(&self, id: Option<&OperatorId>) -> Result<&[Door], Failure> {
        let found = match id {
            Some(id) => self.operators.iter().find(|(known, _)| known == id),
            None => self.operators.first(),
        };
        found
            .map(|(_, doors)| doors.as_slice())
            .ok_or_else(|| Failure::pre_check("the profile has no such operator"))
    }

    /// The operator of this number, from 1.
    pub fn operator_number(&self, number: usize) -> Result<&[Door], Failure> {
        number
            .checked_sub(1)
            .and_then(|index| self.operators.get(index))
            .map(|(_, doors)| doors.as_slice())
            .ok_or_else(|| Failure::pre_check(format!("the profile has no {number} operators")))
    }
}

impl Stage {
    /// What the operator of this number, from 1, signs with.
    ///
    /// # Errors
    /// If the profile has fewer operators.
    pub fn pen(&self, number: usize) -> Result<&Pen, Failure> {
        number
            .checked_sub(1)
            .and_then(|index| self.pens.get(index))
            .ok_or_else(|| Failure::pre_check(format!("the profile has no {number} operators")))
    }
}

/// What the first node that answers shows of the main line.
///
/// # Errors
/// The refusal, or that there is no main line yet.
pub async fn seen(doors: &[Door]) -> Result<Seen, Status> {
    let status = call(doors, |channel| async move {
        ClusterServiceClient::new(channel)
            .get_status(request(GetStatusRequest {}))
            .await
    })
    .await?;
    Seen::of(&status).map_err(|failure| Status::failed_precondition(failure.what))
}

/// The doors of one centre.
pub fn at(doors: &[Door], centre: &CentreName) -> Vec<Door> {
    doors
        .iter()
        .filter(|door| door.centre == *centre)
        .cloned()
        .collect()
}

/// Calls one door after another until one answers or refuses for good.
pub async fn call<T, F, Fut>(doors: &[Door], make: F) -> Result<T, Status>
where
    F: Fn(Channel) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let deadline = Instant::now() + CALL_DEADLINE;
    let mut last = Status::unavailable("there is no node to ask");
    loop {
        for door in doors {
            match make(door.channel.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if again(&status) => last = status,
                Err(status) => return Err(status),
            }
        }
        if doors.is_empty() || Instant::now() >= deadline {
            return Err(last);
        }
        tokio::time::sleep(ROUND_PAUSE).await;
    }
}

/// Whether another node, or the same one later, may answer what this one did not.
pub fn again(status: &Status) -> bool {
    refusal::passing(status)
        || refusal::reason(status).as_deref() == Some("OUTCOME_UNKNOWN")
        || status.code() == tonic::Code::DeadlineExceeded
        // A connection that broke during the call.
        || (status.code() == tonic::Code::Unknown && refusal::reason(status).is_none())
        || status.code() == tonic::Code::Cancelled
}

/// A request with a time limit.
pub fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TRY_TIMEOUT);
    request
}

/// A request on behalf of whoever holds the token.
pub fn request_as<T>(message: T, token: &str) -> Request<T> {
    let mut request = request(message);
    if let Ok(bearer) = format!("Bearer {token}").parse() {
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}
