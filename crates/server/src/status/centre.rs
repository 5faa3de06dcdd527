//! What the rejections about centres are as statuses.

use domain::{CentreName, UnixMs};
use tonic::Code;

use super::RETRY_SOON;
use super::shape::Shape;

pub(super) fn switching(to: &CentreName) -> Shape {
    Shape::retry(
        Code::Unavailable,
        "CENTRE_CHANGING",
        RETRY_SOON,
        format!("the service is moving to {to}; nothing was done, try again"),
    )
    .with("to", to)
}

pub(super) fn absent() -> Shape {
    Shape::new(
        Code::NotFound,
        "NO_SUCH_CENTRE",
        "there is no such centre, or it has no nodes: `tidemark status` names them",
    )
    .about("centre")
}

pub(super) fn degraded(since: UnixMs) -> Shape {
    Shape::precondition(
        "DEGRADED",
        format!(
            "the secondary has confirmed nothing since {since}, and lacks what was answered since; \
             nothing was changed: bring its nodes back first"
        ),
    )
    .with("since", since)
}
