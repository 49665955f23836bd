//! What a run prints: its figures, and of each violation the history.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::{Figures, Violation, by_kind};
use super::cluster::Cluster;
use super::history::{Fault, FaultKind, History, Ms, Why};
use super::ingest::Posted;
use super::operator::Parked;
use super::traffic::Traffic;

/// How many violations are told with their history.
const TOLD: usize = 5;
/// How long before and after a delivery's requests faults are told.
const AROUND: Ms = 8000;
/// How many lines of logs are told of an event.
const LOG_LINES: usize = 40;

/// Prints the figures.
pub(crate) fn figures(figures: &Figures, history: &History, settled_after: Option<Duration>) {
    let Figures { pushed, acknowledged, deliveries, delivered, attempts, duplicates, .. } = figures;
    let is_stall = |fault: &&Fault| fault.kind == FaultKind::Stall;
    let stalls: Vec<&Fault> = history.faults.iter().filter(is_stall).collect();
    let stalled: Ms = stalls.iter().map(|stall| stall.to - stall.from).sum();
    let faults = history.faults.len() - stalls.len();
    println!("events      {pushed} pushed, {acknowledged} acknowledged");
    println!("            {} of the others were in the stream all the same", figures.unsure_and_there);
    println!("deliveries  {deliveries} of these events; {delivered} arrived");
    println!("attempts    {attempts} seen by receivers; {} ran back in number", figures.ran_back);
    println!("dead        {:?}; {} of them had arrived", figures.dead, figures.dead_and_delivered);
    println!(
        "duplicates  {duplicates}, of {} deliveries that a fault could have repeated",
        figures.repeatable
    );
    println!("overlaps    {} after lost leases", figures.overlaps);
    println!("faults      {faults}: {:?}", by_kind(&history.faults));
    println!("machine     stood still {} times, {stalled} ms in all", stalls.len());
    let (slowest, event) = figures.slowest;
    println!(
        "slowest     {} ms from push to first attempt at a steady receiver ({})",
        slowest,
        Traffic::id(event)
    );
    println!("down        {}", figures.while_down[0]);
    println!("            {}", figures.while_down[1]);
    println!("rate limit  {}", figures.in_a_second);
    match settled_after {
        Some(after) => println!("settled     {} ms after everything was healed", after.as_millis()),
        None => println!("settled     never"),
    }
}

/// Prints what came of the events that were posted to the workers.
pub(crate) fn posted(posted: &Posted) {
    let Posted { events, acknowledged, again, duplicates, .. } = posted;
    println!(
        "over HTTP   {events} of the events, {acknowledged} acknowledged; {again} of them after several tries,"
    );
    println!("            which found {duplicates} taken already");
}

/// Prints how much was parked, and what became of webhooks while deliveries waited. `came_back`: about how many were
/// parked and came back.
pub(crate) fn parks(parked: &Parked, history: &History, came_back: Option<u64>) {
    let Parked { came, most, seen } = parked;
    let came_back = came_back.map_or_else(|| "?".to_owned(), |count| count.to_string());
    println!(
        "parks       about {came_back} deliveries came back; at least {came} seen parked, {most} at a time"
    );
    println!("            parks seen by reason: {seen:?}");
    let letters = |why| history.letters.iter().filter(move |letter| letter.reason == why);
    for (why, reason) in [(Why::Removed, "removed"), (Why::Gone, "gone")] {
        let absences = || history.absences.iter().filter(|absence| absence.why == why);
        let waited: usize = absences().map(|absence| absence.waiting.len()).sum();
        let after = |died: Ms| {
            let since = absences().filter_map(|absence| died.checked_sub(absence.from)).min();
            since.unwrap_or(0)
        };
        let waited_for = letters(reason).filter(|letter| letter.status != Some(410));
        let last = waited_for.map(|letter| after(letter.died)).max().unwrap_or(0);
        let (times, dead) = (absences().count(), letters(reason).count());
        println!(
            "{reason:<11} {times} times, {waited} parked then; {dead} dead of it, the last after {last} ms"
        );
    }
}

/// Prints violations, the first few with their history.
pub(crate) async fn violations(found: &[Violation], history: &History, cluster: &Cluster) {
    if !found.is_empty() {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        found.iter().for_each(|violation| *kinds.entry(violation.wrong.kind()).or_default() += 1);
        println!("violations  {}: {kinds:?}", found.len());
    }
    for violation in found.iter().take(TOLD * 4) {
        println!("VIOLATION {violation}");
    }
    for violation in found.iter().filter(|violation| violation.delivery.is_some()).take(TOLD) {
        let Some((event, place)) = violation.delivery else { continue };
        println!("\n--- {violation}");
        let push = history.pushes.get(event as usize);
        println!("{push:?}");
        let mut requests: Vec<_> = history.requests.iter().filter(|request| request.event == event).collect();
        requests.sort_by_key(|request| request.from);
        for request in &requests {
            let to = request.place.destination();
            println!(
                "{:>7}–{:<7} attempt {} to {to}: {:?}",
                request.from, request.to, request.attempt, request.end
            );
        }
        let letters = history.letters.iter().filter(|letter| (letter.event, letter.place) == (event, place));
        letters.for_each(|letter| println!("{letter:?}"));
        let times = || requests.iter().map(|request| request.from).chain(push.map(|push| push.sent));
        let (from, to) = (times().min().unwrap_or(0), times().max().unwrap_or(Ms::MAX));
        for fault in history.faults.iter().filter(|fault| fault.touches(from, to, AROUND)) {
            println!("{fault}");
        }
        in_redis(event, cluster).await;
        in_logs(event, cluster).await;
    }
}

/// What Redis holds of an event.
async fn in_redis(event: u32, cluster: &Cluster) {
    let redis = cluster.redis.lock().await;
    let id = Traffic::id(event);
    for (entry, fields) in redis.entries("webhooks").await {
        if fields.iter().any(|(field, value)| field == b"id" && value == id.as_bytes()) {
            println!("in the stream: {entry}");
        }
    }
    for key in redis.keys().await.iter().filter(|key| key.contains(":event:")) {
        let hash: Vec<(String, String)> = redis.command(&["HGETALL", key]).await;
        let is_it =
            |(field, words): &(String, String)| field == "event" && words.split(' ').next() == Some(&id);
        if hash.iter().any(is_it) {
            println!("in {key}: {hash:?}");
        }
    }
}

/// What the workers logged of an event.
async fn in_logs(event: u32, cluster: &Cluster) {
    let named = format!("id={}", Traffic::id(event));
    let mut lines = Vec::new();
    for post in &cluster.posts {
        let post = post.lock().await;
        for worker in post.past.iter().chain([&post.worker]) {
            let log = worker.log();
            let of_event = log.lines().filter(|line| line.split_whitespace().any(|word| word == named));
            lines.extend(of_event.map(|line| format!("{line} [pid {}]", worker.pid())));
        }
    }
    lines.sort();
    lines.iter().take(LOG_LINES).for_each(|line| println!("{line}"));
}
