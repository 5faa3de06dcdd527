//! The server through its gRPC surface: one binary, a module a topic.

mod breached;
mod card;
mod node;
mod password;
mod policy;
mod rollover;
mod session;
mod smtp;
mod web;
mod web_client;
mod world;
