//! The figures that a node gives to a monitoring system (LINES.md, "Protection": degradations are
//! counted).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeMap;

use tests::Cluster;
use tests::cast::{CHAN, WONG};
use tests::cluster::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// All that a node says, by name and labels.
async fn figures(cluster: &Cluster, node: u64) -> BTreeMap<String, f64> {
    let address = cluster.node(node).addresses().metrics.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let asked = b"GET /metrics HTTP/1.0\r\n\r\n";
    stream.write_all(asked).await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(head.contains("openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    let figures = body.lines().filter(|line| !line.starts_with('#'));
    figures
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

async fn becomes(cluster: &Cluster, node: u64, name: &str, wanted: f64) {
    until(name, async || {
        let figures = figures(cluster, node).await;
        (figures.get(name) == Some(&wanted)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_degradation_and_the_answers_of_a_node_are_counted() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    for node in 1..=3 {
        becomes(&cluster, node, "tidemark_serving", 1.0).await;
        becomes(&cluster, node, "tidemark_protection_degraded", 0.0).await;
    }
    becomes(&cluster, 4, "tidemark_serving", 0.0).await;
    let before = figures(&cluster, 1).await;
    let degradations = "tidemark_protection_degradations_total";
    assert_eq!(before["tidemark_clock_good"], 1.0);
    assert_eq!(before["tidemark_line_running{line=\"main\"}"], 1.0);

    cluster.with_card(&CHAN).await;
    let mut begun = 0.0;
    let mut called = 0.0;
    for node in 1..=3 {
        let figures = figures(&cluster, node).await;
        let of = |name: &str| figures.get(name).copied().unwrap_or(0.0);
        begun += of("tidemark_answers_total{call=\"auth.v1.AuthService/BeginLogin\",code=\"Ok\"}");
        called += of("tidemark_answer_seconds_count{call=\"auth.v1.AuthService/BeginLogin\"}");
    }
    assert_eq!((begun, called), (1.0, 1.0));

    // Nothing is named but nodes, centres and calls.
    let said = figures(&cluster, 1).await.into_keys().collect::<String>();
    for person in [CHAN.id, WONG.id] {
        assert!(!said.contains(person), "{said}");
    }

    cluster.stop(5).await;
    cluster.stop(6).await;
    cluster.with_card(&CHAN).await;
    becomes(&cluster, 1, "tidemark_protection_degraded", 1.0).await;
    let after = figures(&cluster, 1).await;
    assert_eq!(after[degradations], before[degradations] + 1.0);
    let spent = "tidemark_protection_degraded_seconds_total";
    until("the time without it is counted", async || {
        (figures(&cluster, 1).await[spent] > before[spent]).then_some(())
    })
    .await;
}
