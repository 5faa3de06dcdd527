//! The built program: one binary, a module a topic.

mod backup;
mod centres;
mod cluster;
mod drills;
mod fence;
mod import;
mod keys;
mod killed;
mod looking;
mod migration;
mod participant;
mod people;
mod processes;
mod protection;
mod refusals;
mod sizes;
mod verbs;
