//! What the rejections about keys are as statuses.

use domain::{NodeId, UnixMs};
use tonic::Code;

use super::shape::Shape;

pub(super) fn absent(key: u32) -> Shape {
    let text = format!("key {key} was not announced: do that first");
    Shape::new(Code::NotFound, "NO_SUCH_KEY", text).with("key", key)
}

pub(super) fn id_used(key: u32) -> Shape {
    let text = format!("the cluster knows another key {key}: add one with a new id");
    Shape::precondition("KEY_ID_USED", text).with("key", key)
}

pub(super) fn retired(key: u32) -> Shape {
    let text = format!("key {key} is retired: nothing is made with it any more");
    Shape::precondition("KEY_RETIRED", text).with("key", key)
}

pub(super) fn not_proved(key: u32, nodes: &[NodeId]) -> Shape {
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

pub(super) fn in_use(key: u32, values: u64, until: Option<UnixMs>) -> Shape {
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
