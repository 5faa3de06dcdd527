//! Files on their way from node to node: cut into parts, and counted when they arrive.

use std::io;

use futures::stream::{self, Stream};

use crate::blocking;
use crate::peers::CHUNK_BYTES;

/// The first `length` bytes in parts. `read` reads at an offset, as much as there is and fits; a
/// file that is shorter than it was yields an error, and the receiver refuses what it has.
pub(crate) fn chunks<R>(read: R, length: u64) -> impl Stream<Item = io::Result<Vec<u8>>> + Send
where
    R: Fn(u64, &mut [u8]) -> io::Result<usize> + Clone + Send + 'static,
{
    stream::unfold(Some(0_u64), move |offset| {
        let read = read.clone();
        async move {
            let offset = offset.filter(|offset| *offset < length)?;
            let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
            let chunk = blocking::run(move || {
                let mut chunk = vec![0_u8; left.min(CHUNK_BYTES)];
                let count = read(offset, &mut chunk)?;
                chunk.truncate(count);
                if chunk.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(chunk)
            })
            .await
            .unwrap_or_else(Err);
            let next = chunk
                .as_ref()
                .ok()
                .map(|chunk| offset.saturating_add(chunk.len() as u64));
            Some((chunk, next))
        }
    })
}

/// Counts received bytes against what was announced.
#[derive(Debug)]
pub(crate) struct Count {
    left: u64,
}

impl Count {
    /// `length` bytes are to come.
    pub(crate) fn new(length: u64) -> Self {
        Self { left: length }
    }

    /// Some came.
    pub(crate) fn add(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(chunk.len() as u64)
            .ok_or_else(|| refused("more bytes came than were announced"))?;
        Ok(())
    }

    /// No more come.
    pub(crate) fn finish(self) -> io::Result<()> {
        if self.left > 0 {
            return Err(refused("fewer bytes came than were announced"));
        }
        Ok(())
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
