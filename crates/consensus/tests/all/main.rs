//! Lines under faults: one binary, a module a topic.

mod boundary;
mod branch;
mod cluster;
mod contest;
mod crash;
mod disaster;
mod harness;
mod joint;
mod nodes;
mod promotion;
mod protection;
mod session;
mod sizes;
mod switchover;
mod tls;
mod unplanned;
mod upgrade;
