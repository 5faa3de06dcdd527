//! What the rejections about keys are as statuses.

use domain::{NodeId, Rejection, UnixMs};
use tonic::Code;

use super::shape::Shape;

/// The status of a rejection about keys; of any other one an internal fault.
pub(super) fn of(rejection: &Rejection) -> Shape {
    if let Rejection::NoSuchKey { key } = rejection {
        let text = format!("key {key} was not announced: do that first");
        return Shape::new(Code::NotFound, "NO_SUCH_KEY", text).with("key", key);
    }
    if let Rejection::KeyIdUsed { key } = rejection {
        let text = format!("the cluster knows another key {key}: add one with a new id");
        return Shape::precondition("KEY_ID_USED", text).with("key", key);
    }
    if let Rejection::KeyNotProved { key, nodes } = rejection {
        return not_proved(*key, nodes);
    }
    if let Rejection::KeyInUse { key, values, until } = rejection {
        return in_use(*key, *values, *until);
    }
    if let Rejection::KeyRetired { key } = rejection {
        let text = format!("key {key} is retired: nothing is made with it any more");
        return Shape::precondition("KEY_RETIRED", text).with("key", key);
    }
    Shape::new(Code::Internal, "INTERNAL", "the service failed")
}

fn not_proved(key: u32, nodes: &[NodeId]) -> Shape {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    Shape::precondition(
        "KEY_NOT_PROVED",
        format!("key {key} is not proved by node {names}: a key is used once every node holds it"),
    )
    .about("key")
    .with("key", key)
    .with("nodes", names)
    .with(
        "next",
        "bring the key file to those nodes and see that they run: tidemark key list",
    )
}

fn in_use(key: u32, values: u64, until: Option<UnixMs>) -> Shape {
    let why = match (values, until) {
        (0, None) => "it is the key in use".to_owned(),
        (0, Some(until)) => format!("what it made is recognised until {until}"),
        (values, _) => format!("it seals {values} values"),
    };
    let shape = Shape::precondition("KEY_IN_USE", format!("key {key} cannot be retired: {why}"))
        .about("key")
        .with("key", key)
        .with("values", values);
    match until {
        Some(until) => shape.with("until", until),
        None => shape,
    }
}
