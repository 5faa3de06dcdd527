//! The built program: one binary, a module a topic.

mod backup;
mod centres;
mod cluster;
mod desk;
mod drills;
mod dry_runs;
mod fence;
mod import;
mod keys;
mod killed;
mod looking;
mod migration;
mod participant;
mod people;
mod processes;
mod promotion;
mod protection;
mod refusals;
mod sizes;
mod verbs;
