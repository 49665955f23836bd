//! The settings: what is read, what is refused, and that `config/.env.example` says the same as the code.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use posthaste::config::{Config, ConfigError, EVENT_PREFIX, LogFormat, VARIABLES};
use posthaste::model::{EventName, KNOWN_EVENTS};
use posthaste::telemetry;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Files that can be used: a CA's, and a certificate with its key.
const CA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls/ca.pem");
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls/localhost.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls/localhost.key.pem");

fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_pairs(owned(pairs))
}

fn config(pairs: &[(&str, &str)]) -> Config {
    read(pairs).unwrap()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The one problem of one variable, as text.
fn problem(name: &str, value: &str) -> String {
    let error = read(&[(name, value)]).expect_err(&format!("{name}={value} is accepted"));
    assert_eq!(error.problems.len(), 1, "{error}");
    assert_eq!(error.problems[0].variable, name);
    error.problems[0].to_string()
}

fn event(name: &str) -> EventName {
    EventName::parse(name).unwrap()
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

struct EnvFile(#[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir, PathBuf);

fn env_file(content: impl AsRef<[u8]>) -> EnvFile {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    std::fs::write(&path, content).unwrap();
    EnvFile(directory, path)
}

fn read_with_file(environment: &[(&str, &str)], file: &EnvFile) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::from_sources(environment, Some(&file.1))
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/.env.example");
    std::fs::read_to_string(path).unwrap()
}

/// A value for each variable that is not its default.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("REDIS_URL", "rediss://user:p%40ss@redis.example:6380/2"),
    ("REDIS_CA_FILE", CA_FILE),
    ("STREAM", "events"),
    ("WORKER_CONCURRENCY", "65536"),
    ("MAX_EVENT_BYTES", "1024"),
    ("MEMORY_BUDGET_BYTES", "1048576"),
    ("SHUTDOWN_GRACE_SECONDS", "0"),
    ("WEBHOOK_GLOBAL_ENABLED", "true"),
    ("WEBHOOK_GLOBAL_URL", "https://example.com/a?token=1"),
    ("WEBHOOK_GLOBAL_WEBHOOK_BY_EVENTS", "true"),
    ("WEBHOOK_GLOBAL_BASE64", "false"),
    ("WEBHOOK_GLOBAL_HEADERS", r#"{"x-a":"1"}"#),
    ("WEBHOOK_GLOBAL_SECRET", SECRET),
    ("WEBHOOK_GLOBAL_RATE_LIMIT", "0.5"),
    ("WEBHOOK_EVENTS_ERRORS", "true"),
    ("WEBHOOK_EVENTS_ERRORS_WEBHOOK", "http://localhost:1"),
    ("WEBHOOK_ROUTES", "FOO=bar"),
    ("WEBHOOK_CUSTOM_EVENTS", "*"),
    ("WEBHOOK_ALLOW_HOSTS", "n8n, *.lan"),
    ("WEBHOOK_ALLOW_CIDRS", "10.0.0.0/8,::1"),
    ("WEBHOOK_ALLOW_INSECURE_TLS", "true"),
    ("WEBHOOK_CA_FILE", CA_FILE),
    ("WEBHOOK_CLIENT_CERT", CERTIFICATE),
    ("WEBHOOK_CLIENT_KEY", KEY),
    ("WEBHOOK_REQUEST_TIMEOUT_MS", "1"),
    ("WEBHOOK_CONNECT_TIMEOUT_MS", "3600000"),
    ("WEBHOOK_RETRY_MAX_ATTEMPTS", "1"),
    ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.25"),
    ("WEBHOOK_RETRY_USE_EXPONENTIAL_BACKOFF", "false"),
    ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "0"),
    ("WEBHOOK_RETRY_JITTER_FACTOR", "1"),
    ("WEBHOOK_RETRY_NON_RETRYABLE_STATUS_CODES", "none"),
    ("WEBHOOK_RETRY_MAX_AGE_SECONDS", "315360000"),
    ("DEAD_LETTER_MAX_AGE_SECONDS", "1"),
    ("DEAD_LETTER_MAX_LEN", "18446744073709551615"),
    ("ADMIN_ADDR", "localhost:1"),
    ("AUTHENTICATION_API_KEY", "0123456789abcdef"),
    ("BACKLOG_LIMIT", "1"),
    ("DEDUP_WINDOW_SECONDS", "0"),
    ("LOG_LEVEL", "warn,posthaste::flow=debug"),
    ("LOG_FORMAT", "JSON"),
];

#[test]
fn an_empty_environment_yields_the_documented_defaults() {
    let default = config(&[]);
    assert_eq!(default, Config::default());
    let written = VARIABLES.iter().filter_map(|v| Some((v.name.to_owned(), v.default?.to_owned())));
    assert_eq!(Config::from_pairs(written).unwrap(), default);
}

#[test]
fn every_variable_has_an_effect() {
    let names: Vec<_> = VARIABLES.iter().map(|variable| variable.name).collect();
    assert_eq!(OTHER_VALUES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    for (name, value) in OTHER_VALUES {
        match read(&[(name, value)]) {
            Ok(changed) => {
                let changed = Config { warnings: Vec::new(), ..changed };
                assert_ne!(changed, Config::default(), "{name}={value}");
            }
            // Each of the two is nothing without the other.
            Err(error) => assert!(name.starts_with("WEBHOOK_CLIENT_"), "{error}"),
        }
    }
}

#[test]
fn values_are_read_into_their_types() {
    let config = config(OTHER_VALUES);
    assert_eq!(config.redis_url.expose(), "rediss://user:p%40ss@redis.example:6380/2");
    assert_eq!(config.stream, "events");
    assert_eq!(config.worker_concurrency, 65_536);
    assert_eq!(config.max_event_bytes, 1024);
    assert_eq!(config.memory_budget_bytes, 1_048_576);
    assert_eq!(config.shutdown_grace, Duration::ZERO);
    assert!(config.global.enabled && config.global.by_events && !config.global.base64);
    assert_eq!(config.global.url.as_deref(), Some("https://example.com/a?token=1"));
    let header = &config.global.headers[0];
    assert_eq!((header.0.as_str(), header.1.expose()), ("x-a", "1"));
    assert_eq!(config.global.secrets[0].expose(), SECRET);
    assert_eq!(config.global.rate_limit, Some(0.5));
    assert!(config.errors.enabled);
    assert_eq!(config.errors.url.as_deref(), Some("http://localhost:1"));
    assert_eq!(config.routes.suffix(&event("foo")), "bar");
    assert!(config.custom_events.allow(&event("anything")));
    let texts = |them: &[&dyn ToString]| them.iter().map(|it| it.to_string()).collect::<Vec<_>>();
    let [first, second] = &config.permits.hosts[..] else { panic!("{:?}", config.permits) };
    assert_eq!(texts(&[first, second]), ["n8n", "*.lan"]);
    let [first, second] = &config.permits.networks[..] else { panic!("{:?}", config.permits) };
    assert_eq!(texts(&[first, second]), ["10.0.0.0/8", "::1/128"]);
    assert!(config.permits.insecure_tls);
    let file = |path: &str| std::fs::read_to_string(path).unwrap();
    assert_eq!(config.tls.ca.as_deref(), Some(file(CA_FILE).as_str()));
    assert_eq!(config.redis_ca.as_deref(), Some(file(CA_FILE).as_str()));
    let identity = config.tls.identity.as_ref().unwrap().expose();
    assert!(identity.contains(&file(CERTIFICATE)) && identity.contains(&file(KEY)));
    assert_eq!(config.request_timeout, Duration::from_millis(1));
    assert_eq!(config.connect_timeout, Duration::from_secs(3600));
    assert_eq!(config.retry.max_attempts, 1);
    assert_eq!(config.retry.initial_delay, Duration::from_millis(250));
    assert!(!config.retry.exponential);
    assert_eq!(config.retry.max_delay, Duration::ZERO);
    assert!((config.retry.jitter_factor - 1.0).abs() < f64::EPSILON);
    assert_eq!(config.retry.non_retryable, BTreeSet::new());
    assert_eq!(config.retry.max_age, seconds(315_360_000.0));
    assert_eq!(config.dead_letter_max_age, Some(seconds(1.0)));
    assert_eq!(config.dead_letter_max_len, Some(u64::MAX));
    assert_eq!(config.log_level, "warn,posthaste::flow=debug");
    assert_eq!(config.log_format, LogFormat::Json);
}

#[test]
fn lists_may_hold_spaces_and_empty_parts() {
    let config = config(&[
        ("WEBHOOK_RETRY_NON_RETRYABLE_STATUS_CODES", " 404, 400 ,,404 "),
        ("WEBHOOK_GLOBAL_SECRET", &format!("{SECRET} , YWJjZA==\tYWJjZA")),
        ("WEBHOOK_CUSTOM_EVENTS", "order.paid, ,Order-Sent"),
    ]);
    assert_eq!(config.retry.non_retryable, BTreeSet::from([400, 404]));
    assert_eq!(config.global.secrets.len(), 3);
    assert!(config.custom_events.allow(&event("ORDER_SENT")));
    assert!(!config.custom_events.allow(&event("ORDER_LOST")));
}

#[test]
fn booleans_are_read_in_every_spelling() {
    let enabled = |value| config(&[("WEBHOOK_GLOBAL_ENABLED", value)]).global.enabled;
    for value in ["true", "TRUE", "True", "1", "yes", "YES", "on", "On", " true "] {
        assert!(enabled(value), "{value}");
    }
    for value in ["false", "FALSE", "0", "no", "No", "off", "OFF"] {
        assert!(!enabled(value), "{value}");
    }
    for value in ["yeah", "2", "t", "-", "true false", "null"] {
        let problem = problem("WEBHOOK_GLOBAL_ENABLED", value);
        assert!(problem.contains("write true or false"), "{problem}");
    }
}

#[test]
fn an_empty_value_means_unset() {
    for empty in ["", " ", "\t\r\n "] {
        let pairs: Vec<_> = VARIABLES.iter().map(|variable| (variable.name, empty)).collect();
        assert_eq!(config(&pairs), Config::default());
        assert_eq!(config(&[("WEBHOOK_EVENTS_CALL", empty), ("WEBHOOK_TYPO", empty)]), Config::default());
    }
    assert_eq!(config(&[("STREAM", " events\t")]).stream, "events");
}

#[test]
fn wrong_whole_numbers_are_refused_with_what_is_allowed() {
    let whole = ["-1", "+1", "1.0", "1e3", "ten", "0x10", "1_000", "1 000", "99999999999999999999999"];
    for (name, wrong, allowed) in [
        ("WORKER_CONCURRENCY", &["0", "65537"][..], "a whole number from 1 to 65536"),
        ("MAX_EVENT_BYTES", &["1023", "536870913", "16MiB"], "a whole number from 1024 to 536870912"),
        (
            "MEMORY_BUDGET_BYTES",
            &["0", "1048575", "1099511627777", "64MiB"],
            "a whole number from 1048576 to 1099511627776",
        ),
        ("WEBHOOK_REQUEST_TIMEOUT_MS", &["0", "3600001"], "milliseconds from 1 to 3600000"),
        ("WEBHOOK_CONNECT_TIMEOUT_MS", &["0", "5s"], "milliseconds from 1 to 3600000"),
        ("WEBHOOK_RETRY_MAX_ATTEMPTS", &["0", "10001"], "a whole number from 1 to 10000"),
        ("DEAD_LETTER_MAX_LEN", &["0"], "a whole number from 1 to 18446744073709551615"),
    ] {
        for value in whole.iter().chain(wrong) {
            let problem = problem(name, value);
            assert!(problem.contains(&format!("'{value}'")) && problem.contains(allowed), "{problem}");
        }
    }
}

#[test]
fn wrong_decimals_are_refused_with_what_is_allowed() {
    let decimal = ["-1", "+1", "1e3", "1,5", "inf", "NaN", ".", "1.2.3", "five", "5s"];
    for (name, wrong, allowed) in [
        ("SHUTDOWN_GRACE_SECONDS", "3600.1", "seconds from 0 to 3600"),
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "315360001", "seconds from 0 to 315360000"),
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "315360001", "seconds from 0 to 315360000"),
        ("WEBHOOK_RETRY_MAX_AGE_SECONDS", "0", "seconds from 1 to 315360000"),
        ("DEAD_LETTER_MAX_AGE_SECONDS", "0.5", "seconds from 1 to 315360000"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "1.01", "a number from 0 to 1"),
        ("WEBHOOK_GLOBAL_RATE_LIMIT", "0", "a number from 0.001 to 1000000"),
        ("WEBHOOK_GLOBAL_RATE_LIMIT", "1000000.1", "a number from 0.001 to 1000000"),
    ] {
        for value in decimal.iter().chain([&wrong, &"9".repeat(400).as_str()]) {
            let problem = problem(name, value);
            assert!(problem.contains(allowed), "{problem}");
        }
    }
}

#[test]
fn wrong_texts_and_lists_are_refused_with_what_is_allowed() {
    for value in ["4oo", "99", "600", "400;404", ",", "400.0", "none,400", "-400"] {
        let problem = problem("WEBHOOK_RETRY_NON_RETRYABLE_STATUS_CODES", value);
        assert!(problem.contains("from 100 to 599"), "{problem}");
    }
    for value in ["a b", "a{b", "}", "ä", "a\u{7f}", "a\nb"] {
        assert!(problem("STREAM", value).contains("visible ASCII"), "{value}");
    }
    assert!(problem("LOG_LEVEL", "loud").contains("trace, debug, info, warn, error"));
    assert!(problem("LOG_FORMAT", "xml").contains("text or json"));
    assert!(problem("WEBHOOK_ROUTES", "FOO").contains("write EVENT=route"));
    assert!(problem("WEBHOOK_EVENTS_CALL", "maybe").contains("write true or false"));
    assert!(problem("WEBHOOK_EVENTS_MADE_UP", "maybe").contains("write true or false"));
}

#[test]
fn a_redis_url_is_one_that_can_be_used() {
    for url in [
        "redis://localhost",
        "redis://:p%2Fss@[::1]:6379/",
        "REDIS://h/15?protocol=resp3",
        "rediss://h:1/#insecure",
        "unix:///run/redis.sock?db=1&pass=a%23b",
        "redis+unix:///run/redis.sock",
    ] {
        assert_eq!(config(&[("REDIS_URL", url)]).redis_url.expose(), url);
    }
    for (url, why) in [
        ("localhost:6379", "the scheme"),
        ("localhost", "not a URL"),
        ("http://h", "the scheme"),
        ("redis://", "the host is missing"),
        ("redis:///0", "the host is missing"),
        ("redis:h", "the scheme"),
        ("redis://h:99999", "not a URL"),
        ("redis://h/db", "the number of a database"),
        ("redis://h/-1", "the number of a database"),
        ("redis://0.0.0.0", "wildcard"),
        ("redis://h#x", "there is a #"),
        ("rediss://h#x", "there is a #"),
        ("redis://:hunter#2@h", "not a URL"),
        ("unix://redis.sock", "the path of the socket is missing"),
        ("unix:///", "the path of the socket is missing"),
        ("unix:///run/redis.sock?db=x", "the number of a database"),
        ("redis-cluster://h", "redis-cluster:// is not supported yet"),
        ("redis-sentinel://h", "redis-sentinel:// is not supported yet"),
    ] {
        let problem = problem("REDIS_URL", url);
        assert!(problem.contains(why), "{problem}");
        assert!(problem.contains("write redis://"), "{problem}");
    }
}

#[test]
fn webhook_urls_headers_and_secrets_are_ones_that_can_be_used() {
    for name in ["WEBHOOK_GLOBAL_URL", "WEBHOOK_EVENTS_ERRORS_WEBHOOK"] {
        for url in ["example.com/a", "ftp://h", "https://", "https://h/a b", "/a", "https:///a"] {
            assert!(problem(name, url).contains(": it "), "{url}");
        }
    }
    for headers in ["x", "[]", "5", r#"{"a":1}"#, r#"{"a b":"c"}"#, r#"{"a":"b\r\nc"}"#, "{a:b}"] {
        assert!(problem("WEBHOOK_GLOBAL_HEADERS", headers).contains("write a JSON object"), "{headers}");
    }
    for secret in ["not base64!", "whsec_", ",", "YWJjZA== ?"] {
        assert!(problem("WEBHOOK_GLOBAL_SECRET", secret).contains("base64"), "{secret}");
    }
}

#[test]
fn the_api_listens_beyond_this_machine_with_a_key_only() {
    for (text, addr) in
        [("127.0.0.1:1", "127.0.0.1:1"), ("localhost:80", "127.0.0.1:80"), ("[::1]:2", "[::1]:2")]
    {
        assert_eq!(config(&[("ADMIN_ADDR", text)]).admin_addr, Some(addr.parse().unwrap()));
    }
    for off in ["off", "OFF", "none"] {
        assert_eq!(config(&[("ADMIN_ADDR", off)]).admin_addr, None);
    }
    let key = ("AUTHENTICATION_API_KEY", "0123456789abcdef");
    for open in ["0.0.0.0:8090", "[::]:8090", "192.0.2.1:8090", "[::ffff:127.0.0.1]:1"] {
        assert!(problem("ADMIN_ADDR", open).contains("AUTHENTICATION_API_KEY"), "{open}");
        let config = config(&[("ADMIN_ADDR", open), key]);
        assert_eq!((config.admin_addr, config.warnings.len()), (Some(open.parse().unwrap()), 0));
    }
    for wrong in ["8090", ":8090", "localhost", "127.0.0.1", "example.com:80", "127.0.0.1:99999"] {
        assert!(problem("ADMIN_ADDR", wrong).contains("write an address"), "{wrong}");
    }
    assert!(problem("AUTHENTICATION_API_KEY", "two words").contains("visible ASCII"));
    let warnings = config(&[("AUTHENTICATION_API_KEY", "short")]).warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("5 characters"), "{warnings:?}");
    assert!(
        !format!("{:?}", config(&[("AUTHENTICATION_API_KEY", "hunter2hunter2hunter2")])).contains("hunter")
    );
}

#[test]
fn all_problems_are_listed_at_once() {
    let wrong: Vec<(&str, &str)> = VARIABLES
        .iter()
        // Where any text is a list of names, or a key.
        .filter(|variable| !["WEBHOOK_CUSTOM_EVENTS", "AUTHENTICATION_API_KEY"].contains(&variable.name))
        .map(|variable| (variable.name, "{wrong"))
        .chain([("WEBHOOK_EVENTS_CALL", "perhaps")])
        .collect();
    let error = read(&wrong).unwrap_err();
    let named: BTreeSet<_> = error.problems.iter().map(|problem| problem.variable.as_str()).collect();
    assert_eq!(named, wrong.iter().map(|(name, _)| *name).collect());
    assert_eq!(error.problems.len(), wrong.len());
    let text = error.to_string();
    assert!(text.starts_with(&format!("{} settings are wrong:\n", wrong.len())), "{text}");
    for problem in &error.problems {
        assert!(text.contains(&format!("\n  {} is '{}': ", problem.variable, problem.value)), "{text}");
        assert!(!problem.allowed.is_empty());
    }
}

#[test]
fn problems_show_no_secret() {
    for (name, value) in [
        ("REDIS_URL", "redis://user:hunter2@h/x"),
        ("REDIS_URL", "redis://:hunter2/@h"),
        ("REDIS_URL", "user:hunter2@h:6379"),
        ("REDIS_URL", "redis-sentinel://:hunter2@h"),
        ("REDIS_URL", "unix:///run/redis.sock?pass=hunter2&db=x"),
        ("WEBHOOK_GLOBAL_URL", "ftp://user:hunter2@h/a?token=hunter2"),
        ("WEBHOOK_GLOBAL_URL", "user:hunter2@h"),
        ("WEBHOOK_EVENTS_ERRORS_WEBHOOK", "ftp://h/?hunter2"),
        ("WEBHOOK_GLOBAL_HEADERS", r#"{"authorization":"hunter2""#),
        ("WEBHOOK_GLOBAL_HEADERS", r#"{"authorization":["hunter2"]}"#),
        ("WEBHOOK_GLOBAL_HEADERS", "\"hunter2\""),
        ("WEBHOOK_GLOBAL_SECRET", "hunter2!"),
    ] {
        let error = read(&[(name, value)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter"), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let secret = "whsec_aHVudGVyMmh1bnRlcjI=";
    let config = config(&[
        ("REDIS_URL", "redis://user:hunter2@h"),
        ("WEBHOOK_GLOBAL_URL", "https://user:hunter2@h/a?token=hunter2"),
        ("WEBHOOK_EVENTS_ERRORS_WEBHOOK", "https://h/b?token=hunter2"),
        ("WEBHOOK_GLOBAL_HEADERS", r#"{"authorization":"hunter2"}"#),
        ("WEBHOOK_GLOBAL_SECRET", secret),
    ]);
    for shown in [format!("{config:?}"), format!("{config:#?}")] {
        assert!(!shown.contains("hunter") && !shown.contains(secret), "{shown}");
        assert!(shown.contains("https://h/a") && shown.contains("authorization"), "{shown}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let file = env_file("STREAM=file\nLOG_FORMAT=json\nWEBHOOK_RETRY_MAX_ATTEMPTS=3\nHOST=file\n");
    let config = read_with_file(&[("STREAM", "environment"), ("LOG_FORMAT", "")], &file).unwrap();
    assert_eq!(config.stream, "environment");
    assert_eq!(config.log_format, LogFormat::Text, "an empty variable brings the default back");
    assert_eq!(config.retry.max_attempts, 3);
}

#[test]
fn a_missing_file_is_fine_and_an_unreadable_one_a_problem() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join(".env");
    assert_eq!(Config::from_sources([], Some(&missing)).unwrap(), Config::default());
    assert_eq!(Config::from_sources([], None).unwrap(), Config::default());
    let error = Config::from_sources([], Some(directory.path())).unwrap_err().to_string();
    assert!(error.contains("the .env file") && error.contains("readable file"), "{error}");
    let error = read_with_file(&[], &env_file(b"STREAM=\xff\n")).unwrap_err().to_string();
    assert!(error.contains("UTF-8"), "{error}");
}

#[test]
fn a_broken_line_is_named_beside_the_other_problems() {
    let file = env_file("STREAM=ok\nWEBHOOK_GLOBAL_SECRET=hunter2 hunter3\nLOG_FORMAT=xml\n");
    let error = read_with_file(&[("WORKER_CONCURRENCY", "0")], &file).unwrap_err();
    let named: Vec<_> = error.problems.iter().map(|problem| problem.variable.as_str()).collect();
    assert_eq!(named[1..], ["WORKER_CONCURRENCY", "LOG_FORMAT"]);
    assert!(named[0].starts_with("line 2 of "), "{error}");
    assert!(!error.to_string().contains("hunter"), "{error}");
}

#[test]
fn a_file_made_for_evolution_api_can_be_used_as_it_is() {
    let file = env_file(
        "SERVER_URL=http://localhost:8080\nLOG_LEVEL=ERROR,WARN,DEBUG,INFO,LOG,VERBOSE,DARK,WEBHOOKS,WEBSOCKET\n\
         LOG_COLOR=true\nLOG_BAILEYS=error\nCACHE_REDIS_URI=redis://localhost:6379/6\n\
         CONFIG_SESSION_PHONE_CLIENT=Evolution API\nRABBITMQ_URI=amqp://localhost\n\
         # Global Webhook Settings\nWEBHOOK_GLOBAL_ENABLED=true\nWEBHOOK_GLOBAL_URL='https://h/w'\n\
         WEBHOOK_GLOBAL_WEBHOOK_BY_EVENTS=false\nWEBHOOK_EVENTS_MESSAGES_UPSERT=true\n\
         WEBHOOK_EVENTS_GROUPS_UPDATE=true\nWEBHOOK_EVENTS_ERRORS=false\nWEBHOOK_EVENTS_ERRORS_WEBHOOK=\n\
         WEBHOOK_REQUEST_TIMEOUT_MS=60000\nWEBHOOK_RETRY_MAX_ATTEMPTS=10\nWEBHOOK_RETRY_JITTER_FACTOR=0.2\n\
         WEBHOOK_RETRY_NON_RETRYABLE_STATUS_CODES=400,401,403,404,422\n\
         AUTHENTICATION_API_KEY=429683C4C977415CAAFCCE10F7D57E11\nADMIN_ADDR=127.0.0.1:1\n",
    );
    let config = read_with_file(&[], &file).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(config.global.url.as_deref(), Some("https://h/w"));
    assert_eq!(config.global.events.len(), 2);
    assert_eq!(config.request_timeout, Duration::from_secs(60));
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf_8_is_a_problem_only_where_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;

    let odd = || OsString::from_vec(b"hunter\xff".to_vec());
    let others = [("PATH".into(), odd()), (odd(), "x".into()), (odd(), odd())];
    assert_eq!(Config::from_sources(others, None).unwrap(), Config::default());
    for name in ["STREAM", "WEBHOOK_GLOBAL_SECRET", "WEBHOOK_EVENTS_CALL"] {
        let error = Config::from_sources([(name.into(), odd())], None).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        assert_eq!(error.problems[0].variable, name);
        assert!(error.to_string().contains("UTF-8"), "{error}");
        assert_eq!(error.to_string().contains("hunter"), name != "WEBHOOK_GLOBAL_SECRET", "{error}");
    }
}

#[test]
fn events_are_switched_on_by_any_of_their_names() {
    let config = config(&[
        ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "TRUE"),
        ("WEBHOOK_EVENTS_CALL", "false"),
        ("WEBHOOK_EVENTS_GROUP_UPDATE", "yes"),
        ("WEBHOOK_EVENTS_GROUPS_UPDATE", "no"),
        ("WEBHOOK_EVENTS_NEW_JWT_TOKEN", "1"),
        ("WEBHOOK_EVENTS_ERRORS", "false"),
    ]);
    let expected = ["MESSAGES_UPSERT", "GROUPS_UPDATE", "NEW_TOKEN"].map(event);
    assert_eq!(config.global.events, expected.into());
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn an_unknown_event_is_switched_on_with_a_warning() {
    for (variable, hint) in [
        ("WEBHOOK_EVENTS_MESSAGE_UPSERT", "did you mean WEBHOOK_EVENTS_MESSAGES_UPSERT?"),
        ("WEBHOOK_EVENTS_ERROR", "did you mean WEBHOOK_EVENTS_ERRORS?"),
        ("WEBHOOK_EVENTS_ORDER_PAID", "WEBHOOK_CUSTOM_EVENTS"),
    ] {
        let switched_on = config(&[(variable, "true")]);
        assert!(switched_on.global.events.contains(&event(&variable[EVENT_PREFIX.len()..])));
        assert_eq!(switched_on.warnings.len(), 1, "{:?}", switched_on.warnings);
        assert!(switched_on.warnings[0].starts_with(variable), "{:?}", switched_on.warnings);
        assert!(switched_on.warnings[0].contains(hint), "{:?}", switched_on.warnings);
        assert_eq!(config(&[(variable, "false")]).warnings, [""; 0]);
    }
    let listed = config(&[("WEBHOOK_EVENTS_ORDER_PAID", "true"), ("WEBHOOK_CUSTOM_EVENTS", "order.paid")]);
    assert_eq!(listed.warnings, [""; 0]);
}

#[test]
fn a_mistyped_variable_gets_a_warning() {
    for (name, meant) in [
        ("WEBHOOK_RETRY_MAX_ATEMPTS", "WEBHOOK_RETRY_MAX_ATTEMPTS"),
        ("WEBHOOK_EVENT_MESSAGES_UPSERT", "WEBHOOK_EVENTS_MESSAGES_UPSERT"),
        ("webhook_global_url", "WEBHOOK_GLOBAL_URL"),
        ("WEBHOOKS_GLOBAL_ENABLED", "WEBHOOK_GLOBAL_ENABLED"),
        ("WORKER_CONCURENCY", "WORKER_CONCURRENCY"),
        ("REDIS_URI", "REDIS_URL"),
        ("log_level", "LOG_LEVEL"),
    ] {
        let warnings = config(&[(name, "x")]).warnings;
        assert_eq!(warnings, [format!("{name} is not a setting; did you mean {meant}?")]);
    }
    assert_eq!(
        config(&[("WEBHOOK_SOMETHING_ELSE", "x")]).warnings,
        ["WEBHOOK_SOMETHING_ELSE is not a setting"]
    );
    assert_eq!(config(&[("WEBHOOK_EVENTS_", "x")]).warnings.len(), 1);
    let others =
        ["PATH", "HOME", "REDIS_PORT", "REDIS_HOST", "SHELL", "LOGNAME", "LOG_COLOR", "STEAM", "TERM"];
    assert_eq!(config(&others.map(|name| (name, "x"))).warnings, [""; 0]);
}

#[test]
fn an_event_that_exceeds_the_memory_gets_a_warning() {
    let sizes =
        |event, memory| config(&[("MAX_EVENT_BYTES", event), ("MEMORY_BUDGET_BYTES", memory)]).warnings;
    assert_eq!(sizes("2097152", "2097152"), [""; 0]);
    let warnings = sizes("2097153", "2097152");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("MAX_EVENT_BYTES is larger than MEMORY_BUDGET_BYTES"), "{warnings:?}");
}

#[test]
fn what_sends_nothing_gets_a_warning() {
    let url = ("WEBHOOK_GLOBAL_URL", "https://h");
    let (enabled, event) = (("WEBHOOK_GLOBAL_ENABLED", "true"), ("WEBHOOK_EVENTS_CALL", "true"));
    for (pairs, expected) in [
        (&[enabled, event][..], &["WEBHOOK_GLOBAL_URL is not set"][..]),
        (&[enabled, url], &["no WEBHOOK_EVENTS_<EVENT>"]),
        (&[enabled], &["WEBHOOK_GLOBAL_URL is not set", "no WEBHOOK_EVENTS_<EVENT>"]),
        (&[enabled, url, event], &[]),
        (&[url, event], &[]),
        (&[("WEBHOOK_EVENTS_ERRORS", "true")], &["WEBHOOK_EVENTS_ERRORS_WEBHOOK is not set"]),
        (&[("WEBHOOK_EVENTS_ERRORS", "true"), ("WEBHOOK_EVENTS_ERRORS_WEBHOOK", "http://h")], &[]),
    ] {
        let warnings = config(pairs).warnings;
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, part) in warnings.iter().zip(expected) {
            assert!(warning.contains(part), "{warning}");
        }
    }
}

#[test]
fn the_example_file_names_every_variable_with_its_default_and_help() {
    let example = example();
    for variable in VARIABLES {
        let assignment = match variable.default {
            Some(default) => format!("{}={default}\n", variable.name),
            None => format!("#{}=", variable.name),
        };
        let entry = format!("\n# {}\n{assignment}", variable.help);
        assert!(example.contains(&entry), "config/.env.example lacks:{entry}");
    }
    for event in KNOWN_EVENTS {
        let entry = format!("\n{EVENT_PREFIX}{event}=false\n");
        assert!(example.contains(&entry), "config/.env.example lacks:{entry}");
    }
}

#[test]
fn the_example_file_names_nothing_else() {
    let events = KNOWN_EVENTS.iter().map(|event| format!("{EVENT_PREFIX}{event}"));
    let mut known: BTreeSet<_> =
        VARIABLES.iter().map(|variable| variable.name.to_owned()).chain(events).collect();
    for line in example().lines() {
        // A comment begins with a space, a setting that is commented out does not.
        let Some((name, _)) = line.trim_start_matches('#').split_once('=') else {
            continue;
        };
        if !name.starts_with(' ') {
            assert!(known.remove(name), "{name} is unknown, or there twice");
        }
    }
    assert_eq!(known, BTreeSet::new());
}

#[test]
fn the_example_file_yields_the_defaults() {
    assert_eq!(read_with_file(&[], &env_file(example())).unwrap(), Config::default());
}

#[test]
fn the_examples_in_the_example_file_are_valid() {
    let mut example = example();
    for (named, there) in [
        ("/etc/posthaste/redis-ca.pem", CA_FILE),
        ("/etc/posthaste/ca.pem", CA_FILE),
        ("/etc/posthaste/client.pem", CERTIFICATE),
        ("/etc/posthaste/client.key", KEY),
    ] {
        assert_eq!(example.matches(named).count(), 1, "{named}");
        example = example.replace(named, there);
    }
    let uncommented: String = example
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '='])).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = read_with_file(&[], &env_file(uncommented)).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    let unset = VARIABLES.iter().filter(|variable| variable.default.is_none()).count();
    assert_eq!(unset, 17);
    assert!(config.global.url.is_some() && !config.global.secrets.is_empty());
    assert_eq!(config.global.headers[0].0, "authorization");
}

#[test]
fn logging_is_set_up_once_per_process() {
    assert!(matches!(telemetry::init("loud", LogFormat::Text), Err(telemetry::TelemetryError::BadLevel)));
    telemetry::init("off", LogFormat::Text).unwrap();
    let again = telemetry::init("info", LogFormat::Json);
    assert!(matches!(again, Err(telemetry::TelemetryError::AlreadyInitialised)));
}
