//! The README's requests, as they are printed.

use std::process::Command;

use crate::caller::{Caller, KEY};
use crate::support::RedisServer;

const MARK: &str = "<!-- run: api -->\n```sh\n";

#[tokio::test]
async fn the_requests_of_the_readme_work() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks: Vec<&str> =
        readme.split(MARK).skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    let redis = RedisServer::start();
    // A proxy that is not there: nothing is sent to example.com.
    let nowhere = "http://127.0.0.1:9";
    let caller = Caller::start_with_key(&redis, &[("HTTP_PROXY", nowhere), ("HTTPS_PROXY", nowhere)]).await;
    caller.until_ready().await;
    for block in blocks {
        let mut shell = Command::new("sh");
        shell.args(["-euc", block]).env("API", &caller.base).env("KEY", KEY).env("NO_PROXY", "*");
        let output = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().expect("a shell");
        assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains(r#""instanceId":"sales""#), "{output:?}");
    }
    assert_eq!(caller.get("/webhook/find/sales").await.json(), serde_json::Value::Null);
}
