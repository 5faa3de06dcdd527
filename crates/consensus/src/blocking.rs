//! Work that blocks, off the threads that must not.

use std::io;

/// Runs it in a thread that may block.
///
/// # Errors
/// When it panicked.
#[cfg(not(simulation))]
pub(crate) async fn run<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
}

/// Runs it here: a simulation has one thread, and files that do not block.
///
/// # Errors
/// Never.
#[cfg(simulation)]
#[allow(clippy::unused_async, reason = "elsewhere it waits for a thread")]
pub(crate) async fn run<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    Ok(work())
}
