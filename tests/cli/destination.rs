//! `posthaste destination …`.

use crate::support::{RedisServer, run_command};

#[tokio::test]
async fn a_destination_is_paused_and_goes_on() {
    let redis = RedisServer::start();
    let run = |args: &[&str]| run_command(&redis, args);
    assert_eq!(run(&["destination", "pause", "instance:a b"]), "instance:a b is paused\n");
    assert_eq!(run(&["destination", "pause", "instance:a b"]), "instance:a b was paused before\n");
    assert!(run(&["status"]).contains("instance:a b ("));
    let told: serde_json::Value =
        serde_json::from_str(&run(&["destination", "resume", "instance:a b", "--json"])).unwrap();
    let expected = serde_json::json!({ "destination": "instance:a b", "paused": false, "changed": true });
    assert_eq!(told, expected);
    assert_eq!(run(&["destination", "resume", "instance:a b"]), "instance:a b was not paused\n");
    assert!(run(&["status"]).contains("paused      none"));
}
