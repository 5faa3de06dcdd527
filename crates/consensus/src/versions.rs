//! What a program understands, so that nodes of neighbouring versions run together while a cluster
//! is upgraded (DESIGN.md): the protocols that it speaks with its peers, and the rules
//! by which it can apply entries.
//!
//! Every message to a peer names the protocols of its sender, and is refused in words where the two
//! have none in common. The rules are in the state: the leader raises them once every node of both
//! centres knows them, and a program that does not know them stops at that entry.

use std::ops::RangeInclusive;

use domain::cluster;
use domain::state::RULES_VERSION;
use domain::{Actor, Command, NodeId};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::clockwatch::WORD_AGE_MAX;
use crate::line::{Error, Line};
use crate::node::Node;
use crate::propose::Proposal;

/// Names the protocols of the sender, as `1-2`. One that is not there is the first.
const PROTOCOLS: &str = "tidemark-peer-protocols";

/// What one program understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The peer protocols that it speaks.
    pub protocols: RangeInclusive<u32>,
    /// The latest rules by which it can apply entries.
    pub rules: u32,
}

impl Default for Versions {
    /// What this program understands.
    fn default() -> Self {
        Self {
            protocols: 1..=1,
            rules: RULES_VERSION,
        }
    }
}

impl Versions {
    fn named(&self) -> String {
        format!("{}-{}", self.protocols.start(), self.protocols.end())
    }

    /// Whether the sender of a message speaks a protocol that is spoken here.
    fn check(&self, message: &MetadataMap) -> Result<(), Status> {
        let theirs = match message.get(PROTOCOLS) {
            None => 1..=1,
            Some(named) => read(named).ok_or_else(|| {
                Status::invalid_argument(format!("{PROTOCOLS} is two numbers, as 1-2"))
            })?,
        };
        if theirs.start() <= self.protocols.end() && self.protocols.start() <= theirs.end() {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "this node speaks peer protocols {}, the caller {}-{}: upgrade the older of the two, \
             version by version",
            self.named(),
            theirs.start(),
            theirs.end()
        )))
    }
}

fn read(named: &MetadataValue<Ascii>) -> Option<RangeInclusive<u32>> {
    let (least, greatest) = named.to_str().ok()?.split_once('-')?;
    Some(least.parse().ok()?..=greatest.parse().ok()?)
}

/// Names our protocols in each message that goes out.
#[derive(Debug, Clone)]
pub struct Speaks(Option<MetadataValue<Ascii>>);

impl Speaks {
    pub(crate) fn new(versions: &Versions) -> Self {
        Self(versions.named().parse().ok())
    }
}

impl Interceptor for Speaks {
    fn call(&mut self, mut message: Request<()>) -> Result<Request<()>, Status> {
        if let Some(named) = &self.0 {
            message.metadata_mut().insert(PROTOCOLS, named.clone());
        }
        Ok(message)
    }
}

/// Refuses messages whose sender speaks none of our protocols.
#[derive(Debug, Clone)]
pub struct Understands(pub(crate) Versions);

impl Interceptor for Understands {
    fn call(&mut self, message: Request<()>) -> Result<Request<()>, Status> {
        self.0.check(message.metadata())?;
        Ok(message)
    }
}

/// Raises the rules to the latest that every node of both centres knows, as the leader.
pub(crate) async fn raise(node: &Node, main: &Line) -> Result<(), Error> {
    let state = main.state();
    let (now, own) = (state.header().rules_version, node.versions().rules);
    if own <= now || state.founding().is_none() {
        return Ok(());
    }
    let centres = node.centres();
    let others = centres.all().flat_map(|centre| &centre.nodes);
    let others = others.map(|one| one.id).filter(|id| *id != node.id());
    // A node that was not heard lately may be the one that is not upgraded.
    let known = others
        .map(|id| rules_of(node, id))
        .collect::<Option<Vec<u32>>>();
    let Some(to) = known.map(|known| known.into_iter().fold(own, u32::min)) else {
        return Ok(());
    };
    if to <= now {
        return Ok(());
    }
    tracing::warn!(from = now, to, "every node knows these rules: raising them");
    main.propose(Proposal {
        actor: Actor::Node(node.id()),
        request: None,
        command: Command::Cluster(cluster::Command::RaiseRules { to }),
    })
    .await?;
    Ok(())
}

fn rules_of(node: &Node, id: NodeId) -> Option<u32> {
    let (ago, said) = node.heard().from(id)?;
    (ago <= WORD_AGE_MAX).then_some(said.rules)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn speaking(protocols: RangeInclusive<u32>) -> Versions {
        Versions {
            protocols,
            ..Versions::default()
        }
    }

    #[test]
    fn neighbours_understand_each_other_and_strangers_are_told_why_not() {
        let (old, new, newer) = (speaking(1..=1), speaking(1..=2), speaking(2..=3));
        for (from, to, understood) in [
            (&old, &new, true),
            (&new, &old, true),
            (&new, &newer, true),
            (&old, &newer, false),
            (&newer, &old, false),
        ] {
            let sent = Speaks::new(from).call(Request::new(())).unwrap();
            let heard = Understands(to.clone()).call(sent);
            assert_eq!(heard.is_ok(), understood, "{from:?} to {to:?}");
            if let Err(refused) = heard {
                assert!(refused.message().contains("upgrade the older"), "{refused}");
            }
        }
        // A program that names none speaks the first.
        assert!(old.check(&MetadataMap::new()).is_ok());
        assert!(newer.check(&MetadataMap::new()).is_err());
        let mut garbage = MetadataMap::new();
        garbage.insert(PROTOCOLS, "2".parse().unwrap());
        assert!(old.check(&garbage).is_err());
    }
}
