//! A line's log as a file, for a third party to replay (I4).

use std::path::Path;
use std::pin::Pin;

use consensus::{Line, Node, place};
use futures::{Stream, StreamExt, stream};
use proto::operator::v1 as operator;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tonic::Status;
use uuid::Uuid;

use super::cluster::running;
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::Refusal;

/// Bytes in one part.
const PART_BYTES: usize = 256 * 1024;
/// How the names of exports in the data folder begin; nothing else's do.
const PREFIX: &str = "export-";

type Exported = Pin<Box<dyn Stream<Item = Result<operator::ExportLogResponse, Status>> + Send>>;

/// Writes the log up to the last entry applied here to a file, and streams that.
pub(super) async fn log(
    edge: &Edge,
    ask: Ask<operator::ExportLogRequest>,
) -> Result<Exported, Refusal> {
    let line = running(edge, &ask.body.line)?;
    // Its end is noted when the export is dropped, told to its end or not.
    let watch = edge.note_watch(&ask, &line.state(), format!("line={}", ask.body.line))?;
    let file = unnamed(edge.node(), &line)
        .await
        .map_err(|error| Refusal::Internal(format!("export: {error}")))?;
    let parts = stream::unfold(Some((file, watch)), |export| async move {
        let (mut file, mut watch) = export?;
        let mut chunk = vec![0; PART_BYTES];
        match file.read(&mut chunk).await {
            Ok(0) => None,
            Ok(bytes) => {
                chunk.truncate(bytes);
                watch.count(bytes);
                let part = operator::ExportLogResponse { chunk };
                Some((Ok(part), Some((file, watch))))
            }
            Err(error) => Some((Err(Status::internal(error.to_string())), None)),
        }
    });
    Ok(parts.boxed())
}

/// The log as an open file that has no name any more: it is gone once it was read.
async fn unnamed(node: &Node, line: &Line) -> Result<File, consensus::node::Error> {
    let (node, line) = (node.clone(), line.clone());
    // A task of its own: what a caller that goes away began is removed all the same.
    let written = tokio::spawn(async move {
        let name = format!("{PREFIX}{}", Uuid::new_v4());
        let path = node.data().join(&name);
        let file = match node.export_log(&line, &path).await {
            Ok(_) => File::open(&path)
                .await
                .map_err(consensus::node::Error::from),
            Err(error) => Err(error),
        };
        remove(node.data(), &name)?;
        file
    });
    written.await.map_err(std::io::Error::other)?
}

/// Removes exports that a crash left behind. Nothing may be exporting yet.
pub(crate) fn sweep(data: &Path) -> std::io::Result<()> {
    remove(data, PREFIX)
}

/// Removes the files whose names begin so; an export that was not finished has a longer one.
fn remove(data: &Path, prefix: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            place::remove_file(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use consensus::clock::WallClock;
    use consensus::peers::Dialer;
    use domain::NodeId;
    use domain::cluster::{Centre, Founding};

    use super::*;

    async fn node(data: &Path) -> Node {
        let founding = Founding {
            cluster: domain::ClusterId([7; 16]),
            title: "test".to_owned(),
            primary: Centre {
                name: "east".parse().unwrap(),
                nodes: vec![domain::cluster::Node {
                    id: NodeId(1),
                    address: "127.0.0.1:1".to_owned(),
                }],
            },
            secondary: None,
            operators: [("kay", 1), ("lee", 2)]
                .map(|(name, key)| domain::cluster::Operator {
                    id: name.parse().unwrap(),
                    key: domain::cluster::KeyPin([key; 32]),
                })
                .to_vec(),
            front_ends: Vec::new(),
            back_ends: Vec::new(),
            policy: domain::policy::Policy::default(),
            calendar: domain::calendar::Calendar::default(),
            simulated_clock: false,
            clock_offset_ms: 0,
            keys: Vec::new(),
            restored: None,
        };
        let node = Node::open(consensus::node::Config {
            others: Vec::new(),
            data: data.to_owned(),
            node: NodeId(1),
            founding,
            base: domain::State::unfounded(),
            dialer: Dialer::plaintext(),
            base_clock: Arc::new(WallClock),
            judge: Arc::new(|_, _| Ok(())),
            mails_notices: false,
            versions: consensus::versions::Versions::default(),
        })
        .await
        .unwrap();
        let mut applied = node.main().applied();
        let applied = applied.wait_for(Option::is_some);
        tokio::time::timeout(Duration::from_secs(20), applied)
            .await
            .unwrap()
            .unwrap();
        node
    }

    fn exports(data: &Path) -> usize {
        let names = std::fs::read_dir(data).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with(PREFIX))
            .count()
    }

    #[test]
    fn an_export_whose_caller_goes_away_leaves_no_file() {
        // One thread for what blocks: the second export is written after the first.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let node = node(folder.path()).await;
            let line = node.main();
            let mut first = Box::pin(unnamed(&node, &line));
            assert!(futures::poll!(&mut first).is_pending());
            // It has begun once this task has let others run.
            tokio::task::yield_now().await;
            drop(first);
            let mut file = unnamed(&node, &line).await.unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).await.unwrap();
            assert!(!bytes.is_empty());
            tokio::time::timeout(Duration::from_secs(20), async {
                while exports(folder.path()) > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await
            .unwrap_or_else(|_| panic!("an export is left in the data folder"));
            node.stop().await;
        });
    }

    #[test]
    fn what_a_crash_left_of_exports_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["export-1", "export-2.unfinished", "keys.json"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        sweep(folder.path()).unwrap();
        assert_eq!(exports(folder.path()), 0);
        assert!(folder.path().join("keys.json").exists());
    }
}
