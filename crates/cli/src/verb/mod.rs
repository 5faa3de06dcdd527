//! The verbs: flags resolved, nodes asked, answers shown. One file a noun.

pub mod account;
pub mod audit;
pub mod calendar;
pub mod demo;
pub mod drill;
pub mod init;
pub mod log;
pub mod serve;
pub mod session;
pub mod status;
