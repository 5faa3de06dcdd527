//! `docs/api.md` says what the protos say. `TIDEMARK_WRITE_DOCS=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fmt::Write as _;
use std::path::Path;

use prost_reflect::{DescriptorPool, ServiceDescriptor};
use server::table::{Table, Target};

const HEAD: &str = "# The gRPC surface\n\n\
    Written from the protos in [proto/](../proto) by a test; there is more in them: every message \
    and field has its comment. `serving` is the line of the centre that serves, a branch during a \
    session at the secondary; `main` is the line of record; `none` reads what the node has. What \
    writes takes a `request_id` (UUIDv7) and may be repeated with it. Every refusal has an \
    `ErrorInfo` with a stable reason; UNAVAILABLE alone is retried by clients themselves.\n";

/// The comment before something in a file, in one line.
fn comment(service: &ServiceDescriptor, path: &[i32]) -> String {
    let file = service.parent_file().file_descriptor_proto().clone();
    let info = file.source_code_info.unwrap_or_default();
    let found = info.location.iter().find(|location| location.path == path);
    let text = found.and_then(|location| location.leading_comments.clone());
    let text = text.unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn written() -> String {
    /// Field numbers of `service` in a file and `method` in a service (descriptor.proto).
    const SERVICE: i32 = 6;
    const METHOD: i32 = 2;
    let pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    let table = Table::read().unwrap();
    let mut services: Vec<ServiceDescriptor> = pool
        .services()
        .filter(|service| service.full_name().starts_with("tidemark."))
        .filter(|service| !service.full_name().starts_with("tidemark.peer."))
        .collect();
    services.sort_by_key(|service| service.full_name().to_owned());
    let mut text = HEAD.to_owned();
    for service in services {
        let file = service.parent_file();
        let place = file.services().position(|other| other == service);
        let place = i32::try_from(place.unwrap()).unwrap();
        let about = comment(&service, &[SERVICE, place]);
        write!(
            text,
            "\n## {}\n\n{about}\n\n| Rpc | Line | Writes | What it does |\n|---|---|---|---|\n",
            service.full_name()
        )
        .unwrap();
        for (index, method) in (0..).zip(service.methods()) {
            let about = comment(&service, &[SERVICE, place, METHOD, index]);
            assert!(!about.is_empty(), "{} has no comment", method.full_name());
            let path = format!("/{}/{}", service.full_name(), method.name());
            let rpc = table.get(&path).unwrap();
            let line = match rpc.line {
                Target::Serving => "serving",
                Target::Main => "main",
                Target::None => "none",
            };
            let writes = if rpc.writes { "yes" } else { "" };
            let streams = if method.is_server_streaming() {
                " (stream)"
            } else {
                ""
            };
            writeln!(
                text,
                "| `{}`{streams} | {line} | {writes} | {} |",
                method.name(),
                about.replace('|', "\\|")
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn docs_api_says_what_the_protos_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let wanted = written();
    if std::env::var_os("TIDEMARK_WRITE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == wanted,
        "docs/api.md is not what the protos say: TIDEMARK_WRITE_DOCS=1 cargo test -p tests api::"
    );
}
