//! A line's log as a file, for a third party to replay (I4).

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use proto::operator::v1 as operator;
use tokio::io::AsyncReadExt;
use tonic::Status;
use uuid::Uuid;

use super::cluster::running;
use crate::edge::Edge;
use crate::status::Refusal;

/// Bytes in one part.
const PART_BYTES: usize = 256 * 1024;

type Exported = Pin<Box<dyn Stream<Item = Result<operator::ExportLogResponse, Status>> + Send>>;

/// Writes the log up to the last entry applied here to a file, and streams that.
pub(super) async fn log(edge: &Edge, line: &str) -> Result<Exported, Refusal> {
    let line = running(edge, line)?;
    let fault = |what: &dyn std::fmt::Display| Refusal::Internal(format!("export: {what}"));
    let path = edge
        .node()
        .data()
        .join(format!("export-{}", Uuid::new_v4()));
    edge.node()
        .export_log(&line, &path)
        .await
        .map_err(|error| fault(&error))?;
    let file = tokio::fs::File::open(&path).await;
    // Once it is open the name is not needed; a crash before leaves a file that nothing reads.
    let removed = tokio::fs::remove_file(&path).await;
    removed.map_err(|error| fault(&error))?;
    let file = file.map_err(|error| fault(&error))?;
    let parts = stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut chunk = vec![0; PART_BYTES];
        match file.read(&mut chunk).await {
            Ok(0) => None,
            Ok(bytes) => {
                chunk.truncate(bytes);
                Some((Ok(operator::ExportLogResponse { chunk }), Some(file)))
            }
            Err(error) => Some((Err(Status::internal(error.to_string())), None)),
        }
    });
    Ok(parts.boxed())
}
