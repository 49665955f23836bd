//! The other way in: events that are posted to the HTTP API of the workers, while those are killed.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::history::{Clock, Ms, Push};
use super::support::Worker;
use super::traffic::Traffic;

/// How long an answer may take; later ones count as none. A worker waits longer for Redis, so that what was given up
/// here is often taken all the same.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often an event is posted that was not acknowledged, each time to the next worker, under the same key.
const TRIES: usize = 6;
const AGAIN: Duration = Duration::from_millis(150);
/// What of a log is looked at for the address: it is told first.
const LOG_BYTES: u64 = 16 * 1024;

/// Where the workers' APIs are: of each place the log of its worker, and the address once that tells it.
#[derive(Debug)]
pub(crate) struct Apis(Vec<Mutex<(PathBuf, Option<String>)>>);

impl Apis {
    pub(crate) fn of<'a>(workers: impl Iterator<Item = &'a Worker>) -> Self {
        Self(workers.map(|worker| Mutex::new((worker.log_file(), None))).collect())
    }

    /// Another worker has taken a place.
    pub(crate) fn replace(&self, place: usize, worker: &Worker) {
        *self.0[place].lock().unwrap_or_else(PoisonError::into_inner) = (worker.log_file(), None);
    }

    fn addr(&self, number: usize) -> Option<String> {
        let mut place = self.0[number % self.0.len()].lock().unwrap_or_else(PoisonError::into_inner);
        if place.1.is_none() {
            let mut log = String::new();
            std::fs::File::open(&place.0).ok()?.take(LOG_BYTES).read_to_string(&mut log).ok()?;
            let line = log.lines().find(|line| line.contains("the HTTP API listens"))?;
            place.1 = line.split("addr=").nth(1).map(|addr| addr.trim().to_owned());
        }
        place.1.clone()
    }
}

/// What came of the events that were posted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Posted {
    pub(crate) events: usize,
    pub(crate) acknowledged: usize,
    /// Those that were posted several times until they were.
    pub(crate) again: usize,
    /// Those that had been taken by then: an answer was lost.
    pub(crate) duplicates: usize,
    /// Answers that nobody should get.
    pub(crate) strange: Vec<String>,
}

/// Posts events, each in a task of its own.
pub(crate) struct Poster {
    apis: Arc<Apis>,
    traffic: Traffic,
    clock: Clock,
    client: reqwest::Client,
    until: Instant,
    posting: JoinSet<(u32, Ended)>,
    posted: Posted,
}

/// How one event fared.
struct Ended {
    acknowledged: Option<Ms>,
    tries: usize,
    is_duplicate: bool,
    strange: Option<String>,
}

impl Poster {
    /// Tries are begun until a moment.
    pub(crate) fn new(apis: Arc<Apis>, traffic: Traffic, clock: Clock, until: Instant) -> Self {
        // Needed to build a client; installing fails where there is one already.
        _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        let (posting, posted) = (JoinSet::new(), Posted::default());
        Self { apis, traffic, clock, client, until, posting, posted }
    }

    /// Begins to post an event.
    pub(crate) fn post(&mut self, event: u32) {
        let (apis, client, clock) = (Arc::clone(&self.apis), self.client.clone(), self.clock);
        let (payload, until) = (self.traffic.payload(event), self.until);
        self.posted.events += 1;
        self.posting.spawn(async move {
            let mut ended = Ended { acknowledged: None, tries: 0, is_duplicate: false, strange: None };
            while ended.acknowledged.is_none() && ended.strange.is_none() && ended.tries < TRIES {
                if ended.tries > 0 {
                    sleep(AGAIN).await;
                    if Instant::now() >= until {
                        break;
                    }
                }
                let api = apis.addr(event as usize + ended.tries);
                ended.tries += 1;
                if let Some(api) = api {
                    attempt(&client, &api, event, &payload, clock, &mut ended).await;
                }
            }
            (event, ended)
        });
    }

    /// Waits for all answers, and notes which events were acknowledged.
    pub(crate) async fn end(mut self, pushes: &mut [Push]) -> Posted {
        while let Some(ended) = self.posting.join_next().await {
            let (event, ended) = ended.expect("posting does not panic");
            pushes[event as usize].acknowledged = ended.acknowledged;
            self.posted.acknowledged += usize::from(ended.acknowledged.is_some());
            self.posted.again += usize::from(ended.acknowledged.is_some() && ended.tries > 1);
            self.posted.duplicates += usize::from(ended.is_duplicate);
            self.posted.strange.extend(ended.strange);
        }
        self.posted
    }
}

async fn attempt(
    client: &reqwest::Client,
    api: &str,
    event: u32,
    payload: &str,
    clock: Clock,
    ended: &mut Ended,
) {
    let id = Traffic::id(event);
    let request = client.post(format!("http://{api}/events")).header("webhook-id", &id);
    // Whatever becomes of the connection, nobody knows then whether the event was taken.
    let Ok(answered) = request.body(payload.to_owned()).send().await else { return };
    let status = answered.status().as_u16();
    let Ok(body) = answered.text().await else { return };
    match status {
        202 => {
            ended.acknowledged = Some(clock.now());
            ended.is_duplicate = body.contains(r#""duplicate":true"#);
            if !body.contains(&format!(r#""id":"{id}""#)) {
                ended.strange = Some(format!("{id} was acknowledged as another: {body}"));
            }
        }
        503 => {}
        status => ended.strange = Some(format!("{id} was answered with {status}: {body}")),
    }
}
