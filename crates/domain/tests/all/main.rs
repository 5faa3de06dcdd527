//! What `apply` does: one binary, a module a topic.

mod account_life;
mod approval;
mod backup;
mod carry;
mod centre;
mod change_request;
mod codes;
mod encoding;
mod initiation;
mod keys;
mod login;
mod migration;
mod notice;
mod participant;
mod plan;
mod policy;
mod reminder;
mod request;
mod rollover;
mod script;
mod standards;
mod taken;
mod unplanned;
mod world;
