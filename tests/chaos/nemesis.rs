//! The nemesis: breaks one or two things at a time, heals them, and leaves some quiet between.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use super::dice::Dice;
use super::history::{Fault, FaultKind};
use super::proxy::{Link, Proxy};

/// What is broken next, and for how long.
#[derive(Clone, Copy, Debug)]
struct Strike {
    kind: FaultKind,
    /// Which worker, where it is one.
    worker: usize,
    length: Duration,
    /// How late things come, where they come late.
    delay: Duration,
    /// Whether it ends more harshly than it has to.
    harsh: bool,
    /// Whether it waits for a moment in which many deliveries are parked or come back.
    waits: bool,
}

/// Draws strikes: every kind once, in any order, then anew.
#[derive(Debug)]
struct Deck {
    dice: Dice,
    kinds: Vec<FaultKind>,
    workers: u64,
}

impl Deck {
    fn new(seed: u64, workers: usize) -> Self {
        Self { dice: Dice::new(seed), kinds: Vec::new(), workers: workers as u64 }
    }

    fn draw(&mut self) -> Strike {
        if self.kinds.is_empty() {
            self.kinds = FaultKind::ALL.to_vec();
            self.dice.shuffle(&mut self.kinds);
        }
        let kind = self.kinds.pop().expect("it has just been filled");
        let dice = &mut self.dice;
        let length = match kind {
            FaultKind::KillWorker | FaultKind::KillAllWorkers | FaultKind::TermWorker => dice.ms(0..=2000),
            FaultKind::PauseWorker => dice.ms(500..=6000),
            FaultKind::KillRedis => dice.ms(0..=3500),
            FaultKind::PauseRedis | FaultKind::CutRedis | FaultKind::StallRedis => dice.ms(200..=5000),
            FaultKind::KillClients | FaultKind::FlushScripts => Duration::ZERO,
            FaultKind::CutReceivers | FaultKind::StallReceivers => dice.ms(0..=2500),
            FaultKind::DelayRedis | FaultKind::DelayReceivers => dice.ms(1000..=3000),
            FaultKind::CutProducer => dice.ms(0..=1000),
            FaultKind::StallProducer | FaultKind::MuteProducer => dice.ms(100..=2500),
            FaultKind::Stall => unreachable!("the machine stands still by itself"),
        };
        Strike {
            kind,
            worker: dice.within(0..=self.workers - 1) as usize,
            length,
            delay: dice.ms(10..=100),
            harsh: dice.one_in(2),
            waits: kind.ends_leases() && dice.one_in(2),
        }
    }
}

/// Breaks things until a moment; everything is whole again when it returns.
pub(crate) async fn rage(cluster: &Cluster, seed: u64, until: Instant) -> Vec<Fault> {
    let mut deck = Deck::new(seed, cluster.posts.len());
    let mut faults = Vec::new();
    let mut quiet = Dice::new(!seed);
    while Instant::now() < until {
        if quiet.one_in(4) {
            let (one, other) = (deck.draw(), deck.draw());
            let (one, other) = tokio::join!(strike(cluster, one), strike(cluster, other));
            faults.extend([one, other]);
        } else {
            let one = deck.draw();
            faults.push(strike(cluster, one).await);
        }
        let rest = if quiet.one_in(8) { quiet.ms(4000..=8000) } else { quiet.ms(100..=2000) };
        let left = until.saturating_duration_since(Instant::now());
        sleep(rest.min(left)).await;
    }
    // Of two at a time either may have had to wait for what it breaks.
    faults.sort_by_key(|fault| fault.from);
    faults
}

async fn strike(cluster: &Cluster, strike: Strike) -> Fault {
    use FaultKind::{
        CutProducer, CutReceivers, CutRedis, DelayReceivers, DelayRedis, FlushScripts, KillAllWorkers,
        KillClients, KillRedis, KillWorker, MuteProducer, PauseRedis, PauseWorker, Stall, StallProducer,
        StallReceivers, StallRedis, TermWorker,
    };
    if strike.waits {
        cluster.until_parks_are_busy().await;
    }
    match strike.kind {
        KillWorker | PauseWorker | TermWorker => on_worker(cluster, strike).await,
        KillAllWorkers => on_all_workers(cluster, strike).await,
        KillRedis | PauseRedis | KillClients | FlushScripts => on_redis(cluster, strike).await,
        CutRedis | StallRedis | DelayRedis => {
            let way = cluster.to_redis[strike.worker].lock().await;
            on_way(cluster, strike, &way, format!("of worker {}", strike.worker)).await
        }
        CutReceivers | StallReceivers | DelayReceivers => {
            let way = cluster.to_receivers.lock().await;
            on_way(cluster, strike, &way, "of all workers".to_owned()).await
        }
        CutProducer | StallProducer | MuteProducer => {
            let way = cluster.of_producer.lock().await;
            on_producer(cluster, strike, &way).await
        }
        Stall => unreachable!("the machine stands still by itself"),
    }
}

async fn on_worker(cluster: &Cluster, strike: Strike) -> Fault {
    let mut post = cluster.posts[strike.worker].lock().await;
    let pid = post.worker.pid();
    let in_flight = cluster.in_flight(Some(pid)).await;
    let from = cluster.clock.now();
    let mut ended = None;
    match strike.kind {
        FaultKind::PauseWorker => {
            post.worker.signal("STOP");
            sleep(strike.length).await;
            post.worker.signal("CONT");
        }
        FaultKind::TermWorker => {
            post.worker.signal("TERM");
            post.worker.ended().await;
            ended = Some(cluster.clock.now());
            sleep(strike.length).await;
            cluster.replace(strike.worker, &mut post);
        }
        _ => {
            post.worker.kill();
            ended = Some(cluster.clock.now());
            sleep(strike.length).await;
            cluster.replace(strike.worker, &mut post);
        }
    }
    let target = format!("worker {} (pid {pid})", strike.worker);
    let worker = Some(strike.worker);
    Fault { kind: strike.kind, target, worker, from, to: cluster.clock.now(), ended, in_flight }
}

async fn on_all_workers(cluster: &Cluster, strike: Strike) -> Fault {
    let in_flight = cluster.in_flight(None).await;
    let mut posts = Vec::new();
    for post in &cluster.posts {
        posts.push(post.lock().await);
    }
    let from = cluster.clock.now();
    posts.iter_mut().for_each(|post| post.worker.kill());
    let ended = Some(cluster.clock.now());
    sleep(strike.length).await;
    for (place, post) in posts.iter_mut().enumerate() {
        cluster.replace(place, post);
    }
    let (kind, target, to) = (strike.kind, "all".to_owned(), cluster.clock.now());
    Fault { kind, target, worker: None, from, to, ended, in_flight }
}

async fn on_redis(cluster: &Cluster, strike: Strike) -> Fault {
    let mut redis = cluster.redis.lock().await;
    let in_flight = cluster.in_flight(None).await;
    let from = cluster.clock.now();
    match strike.kind {
        FaultKind::KillRedis => {
            redis.kill();
            sleep(strike.length).await;
            tokio::task::block_in_place(|| redis.restart());
        }
        FaultKind::PauseRedis => {
            redis.signal("STOP");
            sleep(strike.length).await;
            redis.signal("CONT");
        }
        FaultKind::KillClients => {
            cluster.try_command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        }
        _ => cluster.try_command(&["SCRIPT", "FLUSH"]).await,
    }
    let (kind, target, to) = (strike.kind, "redis".to_owned(), cluster.clock.now());
    Fault { kind, target, worker: None, from, to, ended: None, in_flight }
}

async fn on_way(cluster: &Cluster, strike: Strike, way: &Proxy, target: String) -> Fault {
    // The way to Redis is one worker's; of one that is being replaced nobody can tell, so it counts for all.
    let worker = match strike.kind {
        FaultKind::CutRedis | FaultKind::StallRedis | FaultKind::DelayRedis => Some(strike.worker),
        _ => None,
    };
    let post = worker.and_then(|worker| cluster.posts[worker].try_lock().ok());
    let concerned = post.map(|post| post.worker.pid());
    let in_flight = cluster.in_flight(concerned).await;
    let from = cluster.clock.now();
    way.set(match strike.kind {
        FaultKind::CutRedis | FaultKind::CutReceivers => Link::Cut,
        FaultKind::StallRedis | FaultKind::StallReceivers => Link::Stalled,
        _ => Link::Slow(strike.delay),
    });
    sleep(strike.length).await;
    match strike.kind {
        // What was sent before must not reach a receiver long after its sender gave up: that would be an attempt that
        // nobody makes any more. Redis has to live with that.
        FaultKind::StallReceivers => way.reset(),
        FaultKind::StallRedis if strike.harsh => way.reset(),
        _ => way.set(Link::Open),
    }
    Fault { kind: strike.kind, target, worker, from, to: cluster.clock.now(), ended: None, in_flight }
}

/// What breaks between the producer and Redis is no worker's business.
async fn on_producer(cluster: &Cluster, strike: Strike, way: &Proxy) -> Fault {
    let from = cluster.clock.now();
    way.set(match strike.kind {
        FaultKind::CutProducer => Link::Cut,
        FaultKind::StallProducer => Link::Stalled,
        _ => Link::Mute,
    });
    sleep(strike.length).await;
    // What was held back comes late, or never.
    if strike.harsh {
        way.reset()
    } else {
        way.set(Link::Open)
    }
    let (kind, target, to) = (strike.kind, "the producer".to_owned(), cluster.clock.now());
    Fault { kind, target, worker: None, from, to, ended: None, in_flight: 0 }
}
