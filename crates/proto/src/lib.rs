//! The generated gRPC types, one module a package (`proto::auth::v1`).
//!
//! The sources are in `/proto`; nothing is written by hand here but the way to
//! the descriptors. Conversions to and from domain types live at the edge.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    clippy::large_futures,
    reason = "generated from /proto, where the documentation is"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/modules.rs"));
}

pub use generated::tidemark::*;

/// Messages with a secret are told by name alone: nothing prints what they hold (R52).
mod kept {
    use crate::*;

    include!(concat!(env!("OUT_DIR"), "/kept.rs"));
}

/// The compiled descriptors of every package, with our method options, for
/// reflection and for the table of lines.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
