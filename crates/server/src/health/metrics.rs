//! How a node is, in figures, for a monitoring system: `GET /metrics` over plain HTTP in the
//! OpenMetrics text format. The state and the lines are read at each call; what is counted here is
//! the answers that this process has given.
//!
//! Names nobody but nodes, centres and calls. Deliberately absent: figures of the whole cluster,
//! which are sums over its nodes.

use std::sync::Arc;
use std::time::Duration;

use consensus::Line;
use consensus::facts::VERSION;
use domain::{LineId, UnixMs};
use http::{HeaderMap, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tonic::{Code, Status};

use super::plain::Page;
use crate::edge::Edge;
use crate::table::Rpc;

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Bounds of the times that answers take, in seconds: a hash takes some 20 ms, and an answer that
/// gives the secondary up some seconds.
const BOUNDS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    call: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCall {
    call: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLine {
    line: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNode {
    node: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCertificate {
    certificate: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMode {
    mode: String,
}

/// The answers that a node has given since its start. Clones count together. There is a figure for
/// each call that exists, and for no other.
#[derive(Debug, Clone)]
pub struct Answers {
    counts: Family<Answered, Counter>,
    seconds: Family<OfCall, Histogram, fn() -> Histogram>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            counts: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BOUNDS)),
        }
    }
}

impl Answers {
    /// Counts an answer by its head: one without a code there is good, or a stream that began.
    pub(crate) fn note(&self, rpc: &Rpc, head: &HeaderMap, took: Duration) {
        let code = head
            .get(Status::GRPC_STATUS)
            .map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        let call = rpc.path.trim_start_matches("/tidemark.").to_owned();
        let of_call = OfCall { call: call.clone() };
        self.seconds
            .get_or_create(&of_call)
            .observe(took.as_secs_f64());
        let code = format!("{code:?}");
        self.counts.get_or_create(&Answered { call, code }).inc();
    }
}

/// The page with a node's figures.
#[must_use]
pub fn page(edge: &Edge, answers: &Answers) -> Page {
    let (edge, answers) = (edge.clone(), answers.clone());
    Page {
        path: "/metrics",
        kind: KIND,
        text: Arc::new(move || {
            let mut text = String::new();
            match text::encode(&mut text, &registry(&edge, &answers)) {
                Ok(()) => (StatusCode::OK, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }),
    }
}

fn gauge(figures: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(value);
    figures.register(name, help, gauge);
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn registry(edge: &Edge, answers: &Answers) -> Registry {
    let mut figures = Registry::with_prefix("tidemark");
    let node = edge.node();
    let state = node.main().state();
    let centres = node.centres();
    let centre = centres
        .of_node(node.id())
        .map_or_else(String::new, |centre| centre.name.to_string());
    let build = Info::new([
        ("version", VERSION.to_owned()),
        ("node", node.id().to_string()),
        ("centre", centre),
    ]);
    figures.register("node", "This node and its program", build);
    gauge(
        &mut figures,
        "serving",
        "1 if people can log in at this node now",
        i64::from(edge.people().is_ok()),
    );
    gauge(
        &mut figures,
        "clock_good",
        "1 if this node's clock is near its peers'",
        i64::from(node.clock_verdict().is_good()),
    );
    protection(&mut figures, &state, edge.now(&state));
    lines(&mut figures, edge);
    peers(&mut figures, edge);
    machine(&mut figures, edge);
    gauge(
        &mut figures,
        "notices_waiting",
        "Notices of the main line that wait for their mail",
        i64::try_from(state.outbox().len()).unwrap_or(i64::MAX),
    );
    figures.register(
        "answers",
        "Answers given, by call and gRPC code",
        answers.counts.clone(),
    );
    figures.register(
        "answer_seconds",
        "From a call's head to its answer's",
        answers.seconds.clone(),
    );
    figures
}

/// What the main line promises of its answers, and how often and how long it could not.
fn protection(figures: &mut Registry, state: &domain::State, now: UnixMs) {
    let protection = state.header().protection;
    gauge(
        figures,
        "protection_degraded",
        "1 while the secondary is given up",
        i64::from(protection.degraded_since.is_some()),
    );
    figures.register(
        "protection_degradations",
        "How often the secondary was given up",
        ConstCounter::new(protection.degraded_count),
    );
    figures.register(
        "protection_degraded_seconds",
        "For how long in all, a spell that goes on included",
        ConstCounter::new(Duration::from_millis(protection.degraded_ms_at(now)).as_secs_f64()),
    );
    let mode: Family<OfMode, Gauge> = Family::default();
    let name = state.policy().protection.name().to_owned();
    mode.get_or_create(&OfMode { mode: name }).set(1);
    figures.register("protection_mode", "What answers wait for", mode);
}

/// A line's figure: its name, what it is, and its value.
type Figure = (&'static str, &'static str, fn(&Line) -> u64);

fn lines(figures: &mut Registry, edge: &Edge) {
    let all: [Figure; 5] = [
        ("line_running", "1 while the line runs here", |line| {
            u64::from(crate::edge::fault(line).is_none() && line.running().is_ok())
        }),
        ("line_leader", "1 if this node leads the line", |line| {
            u64::from(line.is_leader())
        }),
        ("line_term", "The term", Line::term),
        ("line_applied_index", "The last entry applied", |line| {
            let applied = *line.applied().borrow();
            applied.map_or(0, |at| at.index)
        }),
        ("line_last_index", "The last entry in the log", |line| {
            line.last_log_index().unwrap_or(0)
        }),
    ];
    let node = edge.node();
    for (name, help, value) in all {
        let family: Family<OfLine, Gauge> = Family::default();
        for line in std::iter::once(node.main()).chain(node.branch()) {
            let of = match line.reference().line {
                LineId::Main => "main".to_owned(),
                LineId::Branch { session, .. } => session.to_string(),
            };
            let gauge = family.get_or_create(&OfLine { line: of });
            gauge.set(signed(value(&line)));
        }
        figures.register(name, help, family);
    }
}

fn peers(figures: &mut Registry, edge: &Edge) {
    let node = edge.node();
    let heard: Family<OfNode, Gauge> = Family::default();
    for peer in node.peers().others() {
        if let Some((ago, _)) = node.heard().from(peer.node) {
            let ago_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
            let of = OfNode { node: peer.node.0 };
            heard.get_or_create(&of).set(ago_ms);
        }
    }
    let help = "How long ago a node was heard; none that never was";
    figures.register("peer_heard_milliseconds", help, heard);
}

fn machine(figures: &mut Registry, edge: &Edge) {
    let facts = edge.node().facts();
    if let Some(room) = facts.room {
        for (name, help, value) in [
            ("disk_free_bytes", "Room where the data is", room.free_bytes),
            ("disk_total_bytes", "Its file system's", room.total_bytes),
        ] {
            gauge(figures, name, help, signed(value));
        }
    }
    let ends: Family<OfCertificate, Gauge> = Family::default();
    for one in facts.certificates {
        let of = OfCertificate {
            certificate: one.name,
        };
        ends.get_or_create(&of).set(signed(one.not_after.0 / 1_000));
    }
    let help = "When a certificate expires, in Unix time";
    figures.register("certificate_expiry_seconds", help, ends);
}
