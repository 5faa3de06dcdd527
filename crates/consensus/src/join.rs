//! Who a node is: its place is configured, its id is what the main line says (`centre::nodes`).
//!
//! A node with nothing on its disk asks the others before it takes part in anything. One that
//! hears that its place has another id now gives up what is on its disk, all but the audit, and
//! comes back as that. Deliberately absent: who decides it (two operators, in the log).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use domain::centre::Centres;
use domain::cluster::Founding;
use domain::promotion::Certificate;
use domain::{CentreName, ClusterId, LineId, NodeId, encoding};
use futures::future::join_all;
use proto::peer::v1 as peer;
use tonic::{Code, Status};

use crate::clockwatch::WORD_AGE_MAX;
use crate::node::{Error, FIRST_EPOCH, Node, blocking};
use crate::peers::{Dialer, Peer, Peers};
use crate::standing::{self, Standing};
use crate::versions::Versions;
use crate::{files, identity, place, store, wire};

const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How often a node asks that nobody knows yet.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What a node without anything on its disk is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Told {
    /// Its id; none where the centres have no node at its place.
    node: Option<NodeId>,
    epoch: u64,
    certificate: Option<Certificate>,
    nodes: Vec<Peer>,
    had_log: bool,
}

/// The directory that the founding record gives, and who is asked first: where other machines came
/// since, those that the configuration names.
pub(crate) fn founders(founding: &Founding) -> Vec<Peer> {
    peers_of(&Centres::founded(founding))
}

/// The nodes of both centres.
fn peers_of(centres: &Centres) -> Vec<Peer> {
    let nodes = centres.all().flat_map(|centre| {
        centre.nodes.iter().map(|node| Peer {
            node: node.id,
            centre: centre.name.clone(),
            address: node.address.clone(),
        })
    });
    nodes.collect()
}

/// The node that the folder belongs to, or that it is to belong to, with the nodes that it begins
/// to talk to. Waits for as long as the cluster runs and knows no node at this place, and after a
/// wipe until somebody says who it is.
pub(crate) async fn settle(
    data: &Path,
    place: NodeId,
    founding: &Founding,
    dialer: &Dialer,
    versions: &Versions,
    others: Vec<Peer>,
) -> Result<(NodeId, Vec<Peer>), Error> {
    let data = data.to_owned();
    let owner = {
        let data = data.clone();
        blocking(move || {
            finish_wipe(&data)?;
            Ok(identity::of(&data)?)
        })
        .await?
    };
    let mut directory = founders(founding);
    let former = {
        let data = data.clone();
        blocking(move || Ok(place::former_lives(&data)?)).await?
    };
    // Whose disk was given up has promised what it does not know any more: it begins as nobody
    // that it was, and not by itself.
    let is_founder = former.is_empty() && directory.iter().any(|peer| peer.node == place);
    directory.extend(others);
    if let Some(owner) = owner {
        // Another cluster's or machine's folder is refused when it is claimed.
        let same_place = owner.place() == place;
        return Ok((if same_place { owner } else { place }, directory));
    }
    let asked = directory.clone().into_iter();
    let asked = asked.filter(|peer| peer.node.place() != place);
    let peers = Peers::new(founding.cluster, place, dialer.clone(), versions, asked)?;
    loop {
        let mut told = ask(&peers, place).await;
        // Who says that has not heard yet.
        told.retain(|told| told.node.is_none_or(|node| !former.contains(&node)));
        let lost = told.iter().find(|told| told.had_log);
        if let Some(node) = lost.and_then(|told| told.node) {
            // As if it had never promised anything, it could vote twice.
            tracing::error!(
                "the disk of node {node} is lost: it does not come back under this id; \
                 tidemark node replace {node}"
            );
            tokio::time::sleep(ASK_EVERY).await;
            continue;
        }
        let told = told.into_iter().max_by_key(|told| told.epoch);
        let node = told.as_ref().and_then(|told| told.node);
        match (told, node) {
            (Some(told), Some(node)) => {
                if told.epoch > FIRST_EPOCH || node != place {
                    take(&data, &told).await?;
                }
                return Ok((node, told.nodes));
            }
            // The cluster begins, or nobody can be asked: a founder begins as the record says.
            (None, _) if is_founder => return Ok((place, directory)),
            (None, _) => {
                tracing::warn!(%place, "nobody says yet who the node at this place is now");
                tokio::time::sleep(ASK_EVERY).await;
            }
            (Some(_), None) => {
                tracing::warn!(%place, "the centres have no node at this place: register it");
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    }
}

/// Keeps what was told: the node belongs to the main line of that epoch.
async fn take(data: &Path, told: &Told) -> Result<(), Error> {
    let standing = Standing {
        accepted: told.certificate.clone(),
        joined: told.epoch,
        ..Standing::default()
    };
    let data = data.to_owned();
    blocking(move || {
        place::create_folder(&data)?;
        Ok(standing::write(&data, &standing)?)
    })
    .await
}

/// What the founded nodes say that answer.
async fn ask(peers: &Peers, place: NodeId) -> Vec<Told> {
    let asked = peers.others().into_iter().map(|peer| async move {
        let mut client = peers.client(peer.node)?;
        let request = peer::JoinRequest {
            cluster: peers.cluster().0.to_vec().into(),
            place: place.0,
        };
        let answer = tokio::time::timeout(ANSWER_MAX, client.join(request)).await;
        let answer = match answer.ok()? {
            // Nobody is let in whom the centres do not have. Whoever knows more is believed.
            Err(status) if status.code() == Code::PermissionDenied => return Some(Told::default()),
            answer => answer.ok()?,
        };
        match read(answer.into_inner()) {
            Ok(told) => Some(told),
            Err(error) => {
                tracing::warn!(node = %peer.node, %error, "answers in another form");
                None
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn read(answer: peer::JoinResponse) -> Result<Told, Status> {
    let malformed = |error: &dyn std::fmt::Display| Status::data_loss(error.to_string());
    let certificate = match answer.certificate.as_ref() {
        [] => None,
        bytes => Some(encoding::decode(bytes).map_err(|error| malformed(&error))?),
    };
    let nodes = answer.nodes.into_iter().map(|node| {
        Ok(Peer {
            node: NodeId(node.node),
            centre: CentreName::parse(&node.centre).map_err(|error| malformed(&error))?,
            address: node.address,
        })
    });
    Ok(Told {
        node: (answer.node != 0).then_some(NodeId(answer.node)),
        epoch: answer.epoch,
        certificate,
        nodes: nodes.collect::<Result<_, Status>>()?,
        had_log: answer.had_log,
    })
}

impl Node {
    /// What a node at this place is told that has nothing on its disk.
    pub(crate) fn told(&self, place: NodeId) -> Result<peer::JoinResponse, Status> {
        let main = self.main();
        let state = main.state();
        let epoch = main.reference().epoch;
        let centres = state.centres().filter(|_| state.header().epoch == epoch);
        let (Some(centres), false) = (centres, self.stands_still()) else {
            return Err(Status::unavailable("this node is in no main line now"));
        };
        let certificate = self.standing().accepted;
        let certificate = certificate.filter(|one| one.terms.epoch == epoch);
        if certificate.is_none() && epoch > FIRST_EPOCH {
            return Err(Status::unavailable(
                "this node has no certificate of its epoch",
            ));
        }
        let nodes = peers_of(centres).into_iter().map(|node| peer::JoinPeer {
            node: node.node.0,
            centre: node.centre.to_string(),
            address: node.address,
        });
        let node = centres.at_place(place).map(|node| node.id);
        Ok(peer::JoinResponse {
            node: node.map_or(0, |node| node.0),
            had_log: node.is_some_and(|node| self.has_seen(node)),
            epoch,
            certificate: certificate
                .map(|one| encoding::encode(&one).into())
                .unwrap_or_default(),
            nodes: nodes.collect(),
        })
    }

    /// Keeps the directory that of the centres as the main line has them.
    pub(crate) fn follow_centres(&self) {
        let state = self.main().state();
        let Some(centres) = state.centres() else {
            return;
        };
        // Who has its place now is not the node that is gone.
        let gone = centres.retired.iter().filter_map(|(node, was)| {
            let left = centres.at_place(*node).is_none();
            left.then(|| Peer {
                node: *node,
                centre: was.centre.clone(),
                address: was.address.clone(),
            })
        });
        // Of two lives at one place the last is there, if any.
        let gone: BTreeMap<NodeId, Peer> = gone.map(|peer| (peer.node.place(), peer)).collect();
        self.peers()
            .follow(peers_of(centres), gone.into_values().collect());
    }

    /// The id that the main line has for this node's place, if it is another than its own: by the
    /// word of a node that runs the main line of this node's epoch or a later one.
    pub(crate) fn another_life_heard(&self) -> Option<NodeId> {
        let epoch = self.standing().epoch().max(self.main().reference().epoch);
        let others = self.peers().others().into_iter();
        let words = others.filter_map(|peer| self.heard().from(peer.node));
        let mut lives = words
            .filter(|(ago, _)| *ago <= WORD_AGE_MAX)
            .filter(|(_, said)| leads_to(said, self.cluster(), epoch))
            .flat_map(|(_, said)| said.registered)
            .map(NodeId)
            .filter(|node| node.place() == self.id().place());
        lives.find(|node| *node > self.id())
    }

    /// Begins to give up what is on this node's disk: whichever process opens the folder next
    /// finishes it, and the node comes back under its new id.
    pub(crate) async fn begin_wipe(&self) -> Result<(), Error> {
        let (data, own) = (self.data().to_owned(), self.id());
        blocking(move || {
            Ok(identity::write_record(
                &data.join(WIPING),
                WIPING_CONTEXT,
                &own,
            )?)
        })
        .await
    }
}

/// Whether what a node says of itself is the word of the main line of this epoch or a later one.
fn leads_to(said: &peer::GetNodeStatusResponse, cluster: ClusterId, epoch: u64) -> bool {
    said.lines.iter().any(|line| {
        let of = line.line.clone();
        let of = of.and_then(|of| wire::read_line_ref(Some(of)).ok());
        line.running
            && of.is_some_and(|of| {
                of.line == LineId::Main && of.cluster == cluster && of.epoch >= epoch
            })
    })
}

const WIPING: &str = "wiping";
const WIPING_CONTEXT: &[u8] = b"wiping";

/// Ends what `begin_wipe` began, if it did. The audit trails stay, under the former id. Blocks.
fn finish_wipe(data: &Path) -> Result<(), Error> {
    let marker = data.join(WIPING);
    let Some(former) = identity::read_record::<NodeId>(&marker, WIPING_CONTEXT)? else {
        return Ok(());
    };
    // Another process may still have it open.
    let _lock = store::take_lock(data)?;
    let audit = data.join("audit");
    let kept = place::former_audit(data, former);
    if files::is_dir(&audit) {
        place::rename(&audit, &kept)?;
    } else {
        // It also says whose the folder was.
        place::create_folder(&kept)?;
    }
    for folder in ["store", "snapshots", "genesis"] {
        place::remove_folder(&data.join(folder))?;
    }
    for file in ["acknowledged", "standing", "identity"] {
        place::remove_file(&data.join(file))?;
    }
    place::sync_folder(data)?;
    place::remove_file(&marker)?;
    place::sync_folder(data)?;
    tracing::warn!(%former, "what this node had is gone, all but its audit: it asks who it is");
    Ok(())
}
