//! `posthaste run`, as far as the command line goes; and what a Redis that is of no use is called.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;

use crate::support::RedisServer;
use crate::{Running, finish, posthaste, run};

#[test]
fn the_log_is_json_where_json_is_wanted() {
    let redis = RedisServer::start();
    let mut command = posthaste(&redis.url(), &["run", "--json"]);
    let mut running = Running::start(command.env("LOG_LEVEL", "info").stderr(Stdio::piped()));
    let mut log = BufReader::new(running.child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let logged: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(logged["message"].is_string(), "{line}");
}

#[tokio::test]
async fn a_full_redis_is_told_once_with_what_to_do() {
    let redis = RedisServer::start_with(&["--save", "", "--maxmemory", "1"]);
    for args in [&["publish", "--event", "call"][..], &["webhook", "set", "a", "--url", "https://h.example/"]]
    {
        let ran = run(&redis, args).ended(1);
        let says = format!("error: redis at {} is full: raise its maxmemory", redis.url());
        assert!(ran.stderr.starts_with(&says) && ran.stderr.lines().count() == 1, "{ran:?}");
        assert!(!ran.stderr.contains("OOM"), "{ran:?}");
    }
}

#[test]
fn a_server_that_is_not_redis_is_told_as_such() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", server.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            std::thread::spawn(move || {
                _ = stream.read(&mut [0; 1024]);
                _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
                _ = stream.read(&mut [0; 1024]);
            });
        }
    });
    for args in [&["publish", "--event", "call"][..], &["status"], &["check"]] {
        let ran = finish(&mut posthaste(&url, args)).ended(69);
        let says = format!("error: what answers at {url} is not Redis");
        assert!(ran.stderr.starts_with(&says) && ran.stderr.lines().count() == 1, "{ran:?}");
    }
}
