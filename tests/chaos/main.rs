//! Chaos: workers, Redis and the network break at random while events are pushed; in the end every acknowledged event
//! was delivered or is a dead letter with a true reason, and nothing is left over.
//!
//! A short run belongs to every `cargo test`. `scripts/chaos.sh` starts a long one. See [`run::Run`] for the settings.

#![allow(clippy::print_stdout, reason = "a run prints its figures")]

#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod bounds_tests;
mod check;
mod check_tests;
mod cluster;
mod dice;
mod excuse;
mod excuse_tests;
mod history;
mod ingest;
mod machine;
mod nemesis;
mod operator;
mod producer;
mod proxy;
mod reason;
mod reason_tests;
mod receiver;
mod report;
mod run;
mod spells;
mod traffic;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_whatever_breaks() {
    let run = run::Run::from_environment();
    println!("{run}");
    let found = run::run(&run).await;
    assert!(found.is_empty(), "{} violations with seed {}; the history is above", found.len(), run.seed);
}
