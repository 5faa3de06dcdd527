//! What this node says of itself beside its lines: how much room its disk has, when the
//! certificates that it uses expire, whether its key file is in order.
//!
//! The node's certificates are those that it was started with: a newer file counts from the next
//! start on. Beside them are those that callers showed.

use std::path::PathBuf;
use std::time::Duration;

use consensus::facts::{Certificate, Facts, Room};

use crate::edge::Edge;
use crate::shown::Shown;

/// How often a node looks at its disk and its key file.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Notes them until the node stops.
pub(crate) async fn keep(edge: Edge, certificates: Vec<Certificate>, shown: Shown) {
    let mut stopping = edge.parts().stopping.clone();
    loop {
        let data = edge.node().data().to_owned();
        // A disk that hangs must not hold up anything else.
        let room = tokio::task::spawn_blocking(move || room(data)).await;
        let mut certificates = certificates.clone();
        certificates.extend(shown.all(&edge.node().main().state()));
        edge.node().note_facts(Facts {
            room: room.ok().flatten(),
            certificates,
            key_problem: edge.keys().problem(),
        });
        let stopped = stopping.wait_for(|stop| *stop);
        // The sender is gone only when the node is.
        if tokio::time::timeout(LOOK_EVERY, stopped).await.is_ok() {
            return;
        }
    }
}

fn room(data: PathBuf) -> Option<Room> {
    let found = rustix::fs::statvfs(&data)
        .inspect_err(|error| tracing::warn!(%error, "the room on the disk is unknown"))
        .ok()?;
    Some(Room {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
    })
}
