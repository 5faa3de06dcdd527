//! Whole clusters, and the tree itself: one binary, a module a topic.

mod administration;
mod annex;
mod api;
mod approvals;
mod audit;
mod backup;
mod concurrency;
mod flood;
mod keys;
mod leaders;
mod links;
mod messages;
mod migration;
mod notices;
mod one_client;
mod protection;
mod reads;
mod reminders;
mod requirements;
mod secrets;
mod standards;
mod steering;
mod tidy;
mod tokens;
mod told_once;
mod writes;
