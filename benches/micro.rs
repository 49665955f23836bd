//! Micro: what the pure parts of a delivery cost, each by itself.
//!
//! Their sum is what a worker can spend less on without speaking less to Redis and receivers. Criterion's arguments are
//! understood: part of a name, `--quick`, `--save-baseline NAME`, `--baseline NAME`.

#![allow(clippy::unwrap_used, reason = "a program that measures")]

use std::collections::HashSet;
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use posthaste::decide::fan_out::{self, GlobalRule};
use posthaste::decide::lane::{BreakerSettings, Lane, Sign};
use posthaste::decide::request;
use posthaste::decide::route::{Routes, join_url};
use posthaste::decide::sign::{bearer, parse_secret, signature_header};
use posthaste::decide::strip::base64_cuts;
use posthaste::decide::webhook;
use posthaste::model::{
    Delivery, Destination, DestinationMember, EntryId, Envelope, Event, EventId, EventKey, EventName, Held,
    Receipt, Secret, Signer, Source, Target, Webhook,
};

const ID: &str = "1767225600000-0";
const NOW_S: u64 = 1_767_225_600;
const NOW_MS: u64 = 1000 * NOW_S;
const URL: &str = "https://receiver.example/webhook-test/code?key=value";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const KEY: &str = "a key of any kind";
/// The sizes of events: a short message, a long one, and one with media.
const SIZES: [(&str, usize); 3] = [("600 B", 600), ("10 KB", 10_000), ("1 MB", 1_000_000)];

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    for measure in [parse, strip, body, route, sign, post, lane] {
        measure(&mut criterion);
    }
    criterion.final_summary();
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (size, bytes) in SIZES {
        let payload = payload(bytes);
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(size, |b| b.iter(|| Envelope::parse(black_box(&payload).clone())));
    }
}

fn strip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("strip");
    let small = Envelope::parse(payload(SIZES[0].1)).unwrap();
    let medias = SIZES.map(|(size, bytes)| (format!("media of {size}"), with_media(bytes)));
    for (name, envelope) in [("nothing in 600 B".to_owned(), small)].iter().chain(&medias) {
        group.throughput(Throughput::Bytes(envelope.payload().len() as u64));
        group.bench_function(name, |b| b.iter(|| base64_cuts(black_box(envelope))));
    }
}

fn body(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("body");
    let destination = DestinationMember::new(URL);
    for (size, bytes) in SIZES {
        let envelope = Envelope::parse(payload(bytes)).unwrap();
        group.throughput(Throughput::Bytes(envelope.payload().len() as u64));
        group.bench_function(size, |b| b.iter(|| black_box(&envelope).body(&destination, &[])));
    }
    let envelope = with_media(SIZES[2].1);
    let cuts = base64_cuts(&envelope);
    group.bench_function("1 MB, media cut", |b| b.iter(|| black_box(&envelope).body(&destination, &cuts)));
}

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    let names = ["MESSAGES_UPSERT", "CONNECTION_UPDATE"].map(|name| EventName::parse(name).unwrap());
    let rule = GlobalRule::new(true, true, HashSet::from(names.clone()));
    let (routes, webhook) = (Routes::default(), webhook(&names));
    let [name, _] = &names;
    group.bench_function("global alone", |b| b.iter(|| fan_out::global(black_box(&rule), black_box(name))));
    group.bench_function("global and instance", |b| {
        b.iter(|| {
            let global = fan_out::global(black_box(&rule), black_box(name));
            (global, fan_out::instance(Some(black_box(&webhook)), Some("sales"), black_box(name)))
        });
    });
    group.bench_function("instance without a webhook", |b| {
        b.iter(|| fan_out::instance(None, Some(black_box("sales")), black_box(name)));
    });
    group.bench_function("name", |b| b.iter(|| EventName::parse(black_box("messages.upsert"))));
    let of_unknown = EventName::parse("order.paid").unwrap();
    for (what, name) in [("known", name), ("unknown", &of_unknown)] {
        group.bench_function(format!("URL, {what} event"), |b| {
            b.iter(|| join_url(black_box(URL), &routes.suffix(black_box(name))));
        });
    }
}

fn sign(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sign");
    let signers = [parse_secret(SECRET).unwrap()];
    for (size, bytes) in SIZES {
        let body = payload(bytes);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("Standard Webhooks, {size}"), |b| {
            b.iter(|| signature_header(black_box(&signers), ID, NOW_S, black_box(&body)));
        });
    }
    let key = Signer::new(KEY.into());
    group.throughput(Throughput::Elements(1));
    group.bench_function("JWT", |b| b.iter(|| bearer(black_box(&key), black_box(NOW_S))));
}

fn post(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    let routes = Routes::default();
    let plain = plain();
    let by_events = Webhook { by_events: true, base64: false, ..plain.clone() };
    let signed = Webhook { secrets: vec![Secret::new(SECRET)], ..plain.clone() };
    let with = |headers: &[(&str, &str)]| Webhook {
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect(),
        ..plain.clone()
    };
    let with_jwt = with(&[("jwt_key", KEY)]);
    let with_headers = with(&[("authorization", "Bearer 0123456789abcdef"), ("x-tenant", "sales")]);
    for (name, webhook) in [
        ("plain", plain.clone()),
        ("by events, without media", by_events),
        ("signed", signed),
        ("with a JWT", with_jwt),
        ("with two headers", with_headers),
    ] {
        let (delivery, target) = delivery(payload(SIZES[0].1), webhook::target(&webhook).unwrap());
        group.bench_function(name, |b| {
            b.iter(|| request::post(black_box(&delivery), black_box(&target), &routes, NOW_S));
        });
    }
}

fn lane(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lane");
    let (gap, took) = (Duration::from_micros(100), Duration::from_millis(1));
    for in_flight in [1, 64] {
        let mut now = Duration::from_secs(1);
        let mut lane = Lane::new(128, BreakerSettings::default());
        // Until it has learnt that the receiver bears so many.
        while lane.limit() < in_flight {
            let tickets: Vec<_> = (0..lane.limit()).map(|_| lane.begin(now)).collect();
            now += took;
            for ticket in tickets {
                lane.end(ticket, Some(Sign::Alive), now, 0.5);
            }
        }
        let _others: Vec<_> = (1..in_flight).map(|_| lane.begin(now)).collect();
        group.bench_function(format!("an attempt, {in_flight} in flight"), |b| {
            b.iter(|| {
                now += gap;
                assert_eq!(lane.may_begin(black_box(now)), Ok(()));
                let ticket = lane.begin(now);
                lane.end(ticket, Some(Sign::Alive), now + took, 0.5)
            });
        });
    }
}

/// An event as Evolution API pushes messages: so many bytes, most of them in members a level or two deep; of more than
/// 100 KB, in media.
fn payload(bytes: usize) -> Bytes {
    let mut json = start();
    if bytes > 100_000 {
        return Bytes::copy_from_slice(with_media(bytes).payload());
    }
    json.push_str(r#""conversation":"hello"},"contextInfo":{"mentions":["#);
    let mut number = 0;
    while json.len() + END.len() + 60 < bytes {
        write!(json, r#"{{"jid":"55119{number:08}@s.whatsapp.net","n":{number}}},"#).unwrap();
        number += 1;
    }
    let rest = bytes.saturating_sub(json.len() + END.len() + r#"""]}"#.len());
    json.push_str(&format!(r#""{}"]}}"#, "x".repeat(rest)));
    json.push_str(END);
    json.into()
}

/// The same with media, which makes up for the bytes.
fn with_media(bytes: usize) -> Envelope {
    let mut json = start();
    json.push_str(r#""imageMessage":{"mimetype":"image/jpeg"},"base64":""#);
    let media = bytes.saturating_sub(json.len() + END.len() + 2);
    json.extend("QWxs/+9z".chars().cycle().take(media));
    json.push_str("\"}");
    json.push_str(END);
    Envelope::parse(json.into()).unwrap()
}

fn start() -> String {
    concat!(
        r#"{"event":"messages.upsert","instance":"sales","data":{"key":{"remoteJid":"5511999990000@s.whatsapp.net","#,
        r#""fromMe":false,"id":"3EB0C767D26A1B3F0C5D"},"pushName":"Ana","messageTimestamp":1767225600,"message":{"#
    )
    .to_owned()
}

const END: &str = concat!(
    r#"},"date_time":"2026-01-01T00:00:00.000Z","sender":"5500999990000@s.whatsapp.net","#,
    r#""server_url":"https://evolution.example","apikey":"0123456789abcdef"}"#
);

fn webhook(events: &[EventName]) -> Webhook {
    Webhook {
        enabled: true,
        disabled_reason: None,
        disabled_at_ms: None,
        url: URL.to_owned(),
        by_events: false,
        base64: false,
        events: events.to_vec(),
        headers: Vec::new(),
        secrets: Vec::new(),
        rate_limit: None,
        insecure_tls: false,
    }
}

/// One that wants everything as it was pushed.
fn plain() -> Webhook {
    Webhook { base64: true, ..webhook(&[]) }
}

fn delivery(payload: Bytes, target: Target) -> (Delivery, Arc<Target>) {
    let target = Arc::new(target);
    let entry = EntryId::new(ID);
    let event = Event {
        key: EventKey::new(ID),
        id: EventId::parse(ID).unwrap(),
        pushed_ms: NOW_MS,
        traceparent: None,
        envelope: Envelope::parse(payload).unwrap(),
    };
    let receipt = Receipt::new(&Held::default(), Source::Stream, entry, "worker".into(), 1, 0);
    let (destination, own) = (Destination::Instance("sales".into()), Ok(Arc::clone(&target)));
    (Delivery::first(Arc::new(receipt), Arc::new(event), destination, own), target)
}
