//! What the service knows and how it may change.
//!
//! `apply` is arithmetic on settled facts: it reads no clock and no randomness, does no I/O and
//! cannot fail. Deliberately absent: secrets (they come sealed), sockets, threads, hash maps,
//! floats.

pub mod account;
mod apply;
pub mod approval;
pub mod attempts;
pub mod audit;
pub mod backup;
pub mod calendar;
pub mod centre;
pub mod change;
pub mod change_request;
pub mod cluster;
pub mod digest;
pub mod encoding;
pub mod envelope;
pub mod factor;
pub mod id;
pub mod initiation;
pub mod keys;
pub mod line;
pub mod login;
pub mod migration;
pub mod notice;
pub mod outcome;
pub mod participant;
pub mod planted;
pub mod policy;
pub mod portal;
pub mod promotion;
pub mod protection;
pub mod registration;
pub mod request;
pub mod revocation;
pub mod script;
pub mod session;
pub mod state;
pub mod table;
pub mod time;
pub mod token;
pub mod totp;

pub use apply::{Applied, apply};
pub use digest::Digest;
pub use envelope::{Actor, Command, Envelope};
pub use factor::Sealed;
pub use id::{
    AccountId, BackEndId, CardNumber, CentreName, ChangeRequestId, ClusterId, FrontEndId, LoginId,
    NodeId, OperatorId, ParticipantId, ProcedureId, RequestId, ScriptId, SessionId,
};
pub use line::{Carry, LineId, LineRef, LogId};
pub use outcome::{Answer, Outcome, Rejection};
pub use state::{Digests, Row, State};
pub use time::UnixMs;
