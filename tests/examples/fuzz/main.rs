//! Feeds the service what nobody should send: messages, CSV files, certificates and stored records,
//! altered at random. `cargo run -p tests --example fuzz -- SECONDS [SEED] [TARGET]`; each target
//! runs for that long, and the seed that is printed gives the same inputs again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a fuzzer fails loudly, and prints"
)]

mod certificates;
mod csv;
mod dice;
mod messages;
mod records;

use std::time::{Duration, Instant};

use dice::Dice;

/// For how long a target goes on, and what it throws.
struct Run {
    until: Instant,
    dice: Dice,
    /// Inputs tried, and how many of them were taken rather than refused.
    tried: u64,
    taken: u64,
}

impl Run {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    fn count(&mut self, taken: bool) {
        self.tried += 1;
        self.taken += u64::from(taken);
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(30, |text| text.parse().unwrap());
    let seed = arguments.next().filter(|text| text != "-");
    let seed: u64 = seed.map_or_else(dice::any_seed, |text| text.parse().unwrap());
    let only = arguments.next();
    for target in ["messages", "csv", "certificates", "records"] {
        if only.as_deref().is_some_and(|only| only != target) {
            continue;
        }
        println!("{target}: seed {seed}");
        let mut cluster = match target {
            "messages" | "records" => Some(Box::pin(tests::Cluster::start()).await),
            _ => None,
        };
        let mut run = Run {
            until: Instant::now() + Duration::from_secs(seconds),
            dice: Dice::new(seed),
            tried: 0,
            taken: 0,
        };
        match (target, &mut cluster) {
            ("messages", Some(cluster)) => messages::throw(cluster, &mut run).await,
            ("records", Some(cluster)) => records::throw(cluster, &mut run).await,
            ("csv", _) => csv::throw(&mut run),
            _ => certificates::throw(&mut run),
        }
        let Run { tried, taken, .. } = run;
        println!("{target}: {tried} inputs, {taken} taken, the others refused");
        assert!(tried > 0, "nothing was tried");
        assert!(
            taken > 0,
            "nothing was taken: what was thrown was of no use"
        );
        if let Some(cluster) = cluster {
            cluster.end().await;
        }
    }
}
