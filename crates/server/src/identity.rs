//! Who calls: a client certificate's one URI SAN, the listener it came in by, and the record that
//! the state has of the caller (LOGIN.md, "Who calls").
//!
//! That the certificate leads to the listener's own anchor was checked before, by TLS. Here the
//! role must fit the listener, and the key must be the registered one. Deliberately absent: the
//! person behind a front end, whom only a token names.

use std::fmt;

use credential::certificate::{self, Holder};
use domain::cluster::Founding;
use domain::id::{BackEndId, FrontEndId, NodeId, OperatorId, ScriptId};
use domain::portal::Portal;
use domain::registration::{self, Registration};
use domain::{Actor, State};

/// The four listeners. Each has its own anchors, and takes one role; scripts call at the operators'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// For front ends.
    Front,
    /// For back ends.
    Back,
    /// For operators.
    Operator,
    /// For other nodes.
    Peer,
}

impl Listener {
    /// The role that calls there, as certificates write it.
    #[must_use]
    pub fn role(self) -> &'static str {
        match self {
            Self::Front => "front-end",
            Self::Back => "back-end",
            Self::Operator => "operator",
            Self::Peer => "node",
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Front => "front",
            Self::Back => "back",
            Self::Operator => "operator",
            Self::Peer => "peer",
        })
    }
}

/// Who called, once everything was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A registered front end, with the portals it serves.
    FrontEnd(FrontEndId, Vec<Portal>),
    /// A registered back end.
    BackEnd(BackEndId),
    /// A registered operator.
    Operator(OperatorId),
    /// A node of the cluster.
    Node(NodeId),
    /// A registered script.
    Script(ScriptId),
}

impl Caller {
    /// The caller as the log names it.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
            Self::FrontEnd(id, _) => Actor::FrontEnd(id.clone()),
            Self::BackEnd(id) => Actor::BackEnd(id.clone()),
            Self::Operator(id) => Actor::Operator(id.clone()),
            Self::Node(id) => Actor::Node(*id),
            Self::Script(id) => Actor::Script(id.clone()),
        }
    }
}

/// Why a caller is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// TLS gave no certificate.
    #[error("the caller showed no certificate")]
    NoCertificate,
    /// The certificate names nobody.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// The certificate is of another cluster.
    #[error("the caller's certificate is of another cluster")]
    OtherCluster,
    /// The caller does not call at this listener.
    #[error("{holder} does not call at the {listener} listener")]
    WrongListener {
        /// Who called.
        holder: String,
        /// Where it called.
        listener: Listener,
    },
    /// The cluster has no record of the caller.
    #[error("{holder} is not registered")]
    NotRegistered {
        /// Who called.
        holder: String,
    },
    /// The record names another key.
    #[error("{holder} is registered with another key")]
    OtherKey {
        /// Who called.
        holder: String,
    },
    /// The state does not know yet who is registered.
    #[error("the cluster is being founded")]
    NotFounded,
}

/// Who called, by the first certificate of the chain that TLS accepted.
///
/// # Errors
/// [`Error`], which names what does not fit; `NotFounded` before the state knows anybody.
pub fn identify(
    chain: Option<&[impl AsRef<[u8]>]>,
    listener: Listener,
    founding: Option<&Founding>,
    state: &State,
) -> Result<Caller, Error> {
    let first = chain.and_then(|chain| chain.first());
    let peer = certificate::peer(first.ok_or(Error::NoCertificate)?.as_ref())?;
    let founding = founding.ok_or(Error::NotFounded)?;
    if peer.identity.cluster != founding.cluster {
        return Err(Error::OtherCluster);
    }
    let holder = peer.identity.holder;
    let name = holder.to_string();
    let unknown = || Error::NotRegistered {
        holder: name.clone(),
    };
    // A retired caller is one that is not registered.
    let known = |holder: &registration::Holder| -> Result<&Registration, Error> {
        state.registered(holder).ok_or_else(unknown)
    };
    let (caller, key) = match (listener, holder) {
        (Listener::Front, Holder::FrontEnd(id)) => {
            let record = known(&registration::Holder::FrontEnd(id.clone()))?;
            (Caller::FrontEnd(id, record.portals.clone()), record.key)
        }
        (Listener::Back, Holder::BackEnd(id)) => {
            let record = known(&registration::Holder::BackEnd(id.clone()))?;
            (Caller::BackEnd(id), record.key)
        }
        (Listener::Operator, Holder::Operator(id)) => {
            let record = known(&registration::Holder::Operator(id.clone()))?;
            (Caller::Operator(id), record.key)
        }
        (Listener::Operator, Holder::Script(id)) => {
            let record = known(&registration::Holder::Script(id.clone()))?;
            (Caller::Script(id), record.key)
        }
        (Listener::Peer, Holder::Node(id)) => {
            // Nodes are not pinned: their anchor signs nothing else, and their keys are renewed
            // without an entry in the log.
            if !is_place(id, founding, state) {
                return Err(unknown());
            }
            return Ok(Caller::Node(id));
        }
        (
            Listener::Front | Listener::Back | Listener::Operator | Listener::Peer,
            Holder::FrontEnd(_)
            | Holder::BackEnd(_)
            | Holder::Operator(_)
            | Holder::Node(_)
            | Holder::Script(_),
        ) => {
            return Err(Error::WrongListener {
                holder: name,
                listener,
            });
        }
    };
    if key != peer.key {
        return Err(Error::OtherKey { holder: name });
    }
    Ok(caller)
}

/// Whether a node is or was at this place. A node that joins knows nobody yet who came after the
/// founding.
fn is_place(place: NodeId, founding: &Founding, state: &State) -> bool {
    let Some(centres) = state.centres() else {
        return true;
    };
    let mut retired = centres.retired.keys();
    founding.centre_of(place).is_some()
        || centres.at_place(place).is_some()
        || retired.any(|id| id.place() == place)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use credential::authority::{Authority, Validity};
    use credential::certificate::Identity;
    use domain::cluster::{Centre, FrontEnd, KeyPin, Node, Operator};
    use domain::id::{CentreName, ClusterId};
    use domain::{UnixMs, calendar, policy};

    use super::*;

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    fn issue(cluster: ClusterId, holder: Holder) -> credential::authority::Issued {
        let validity = Validity {
            not_before: UnixMs(1_600_000_000_000),
            not_after: UnixMs(1_900_000_000_000),
        };
        let authority = Authority::create("test", validity).unwrap();
        let identity = Identity { cluster, holder };
        authority.issue_client(&identity, validity).unwrap()
    }

    fn front_end() -> Holder {
        Holder::FrontEnd(FrontEndId::parse("www").unwrap())
    }

    fn operator() -> Holder {
        Holder::Operator(OperatorId::parse("kay").unwrap())
    }

    fn founding(front: &credential::authority::Issued) -> Founding {
        Founding {
            cluster: CLUSTER,
            title: "test".to_owned(),
            primary: Centre {
                name: CentreName::parse("east").unwrap(),
                nodes: vec![Node {
                    id: NodeId(1),
                    address: "127.0.0.1:1".to_owned(),
                }],
            },
            secondary: None,
            operators: ["kay", "lee"]
                .map(|id| Operator {
                    id: OperatorId::parse(id).unwrap(),
                    key: KeyPin([id.as_bytes()[0]; 32]),
                })
                .to_vec(),
            front_ends: vec![FrontEnd {
                id: FrontEndId::parse("www").unwrap(),
                key: front.key,
                portals: vec![Portal::Ccms],
            }],
            back_ends: Vec::new(),
            policy: policy::Policy::default(),
            calendar: calendar::Calendar::default(),
            simulated_clock: false,
            clock_offset_ms: 0,
            keys: Vec::new(),
            restored: None,
        }
    }

    fn called(
        shown: &credential::authority::Issued,
        listener: Listener,
        founding: Option<&Founding>,
    ) -> Result<Caller, Error> {
        let mut state = State::unfounded();
        if let Some(founding) = founding {
            let envelope = domain::Envelope {
                at: UnixMs(1_700_000_000_000),
                actor: Actor::Node(NodeId(1)),
                line: domain::LineId::Main,
                request: None,
                command: domain::Command::Cluster(domain::cluster::Command::Found(Box::new(
                    founding.clone(),
                ))),
            };
            let at = domain::LogId::default();
            domain::apply(&mut state, &domain::LineId::Main, at, &envelope);
        }
        identify(
            Some(std::slice::from_ref(&shown.certificate)),
            listener,
            founding,
            &state,
        )
    }

    #[test]
    fn a_registered_front_end_is_known_with_its_portals() {
        let front = issue(CLUSTER, front_end());
        let caller = called(&front, Listener::Front, Some(&founding(&front))).unwrap();
        let id = FrontEndId::parse("www").unwrap();
        assert_eq!(caller, Caller::FrontEnd(id, vec![Portal::Ccms]));
    }

    #[test]
    fn a_role_calls_at_its_own_listener_alone() {
        let front = issue(CLUSTER, front_end());
        for listener in [Listener::Back, Listener::Operator, Listener::Peer] {
            let refused = called(&front, listener, Some(&founding(&front)));
            assert!(matches!(refused, Err(Error::WrongListener { .. })));
        }
    }

    #[test]
    fn another_key_or_cluster_or_nobody_registered_is_refused() {
        let front = issue(CLUSTER, front_end());
        let founding = founding(&front);
        let other_key = called(
            &issue(CLUSTER, front_end()),
            Listener::Front,
            Some(&founding),
        );
        assert!(matches!(other_key, Err(Error::OtherKey { .. })));
        let wrong_key = called(
            &issue(CLUSTER, operator()),
            Listener::Operator,
            Some(&founding),
        );
        assert!(matches!(wrong_key, Err(Error::OtherKey { .. })));
        let elsewhere = issue(ClusterId([8; 16]), front_end());
        let other = called(&elsewhere, Listener::Front, Some(&founding));
        assert_eq!(other, Err(Error::OtherCluster));
        let nobody = issue(CLUSTER, Holder::BackEnd(BackEndId::parse("x").unwrap()));
        let unknown = called(&nobody, Listener::Back, Some(&founding));
        assert!(matches!(unknown, Err(Error::NotRegistered { .. })));
        let early = called(&front, Listener::Front, None);
        assert_eq!(early, Err(Error::NotFounded));
    }
}
