//! Drills: a file says who does what and when and what must come of it; the player does it as
//! registered front ends, back ends and operators, through the gRPC API and nothing else, and
//! leaves an evidence report. Mail is read from the folder where nodes leave it, as its people
//! would read it.

pub mod action;
mod change;
pub(crate) mod clock;
mod dead;
pub(crate) mod evidence;
pub mod file;
mod initiation;
pub mod markdown;
mod operator;
mod people;
mod person;
mod play;
mod proof;
mod replay;
pub mod report;
mod stage;
pub(crate) mod words;

pub use clock::Clock;
pub use file::Drill;
pub use people::Mailbox;
pub use person::read_challenge;
pub use play::{Setting, failure, play};
pub use replay::Replayed;
pub use report::Report;
pub use stage::{Door, Stage, again, at, call, request, request_as, seen};
