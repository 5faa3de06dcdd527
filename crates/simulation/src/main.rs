//! Simulates six nodes in two centres, with the real code of `consensus` and `domain`, in one
//! thread: network and time are turmoil's, disks are `consensus::simulated`'s, and all chance is
//! from one seed. One seed gives one trace. Run it by `scripts/sim`.
//!
//! Deliberately absent: the edge (`server`), sessions, and the operators' acts (docs/reliability.md).

#![cfg_attr(
    simulation,
    allow(
        clippy::print_stdout,
        reason = "what a run found is this program's output"
    )
)]

#[cfg(simulation)]
mod chaos;
#[cfg(simulation)]
mod checks;
#[cfg(simulation)]
mod client;
#[cfg(simulation)]
mod net;
#[cfg(simulation)]
mod run;
#[cfg(simulation)]
mod trace;
#[cfg(simulation)]
mod world;

#[cfg(simulation)]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(simulation))]
fn main() {
    eprintln!("this program is empty without the cfg `simulation`: run scripts/sim");
}
