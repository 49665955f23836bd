//! What most commands need: the settings, a Redis, and where results go.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, Problem};
use crate::http::ClientSettings;
use crate::model::display_url;
use crate::store::{Redis, RedisSettings, StoreError};

use super::output::Output;

/// The `.env` file that is read where there is one.
const ENV_FILE: &str = ".env";

/// A command's surroundings.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) config: Config,
    pub(super) redis: Redis,
    pub(super) out: Output,
}

impl Session {
    /// Prepares a session; nothing is connected yet.
    ///
    /// # Errors
    /// When the Redis URL cannot be used.
    pub(super) fn open(config: Config, out: Output) -> Result<Self, StoreError> {
        Ok(Self { redis: Redis::open(&redis_settings(&config))?, config, out })
    }
}

/// Reads the settings. A file that was asked for has to be there; the default one need not.
pub(super) fn settings(env_file: Option<&PathBuf>) -> Result<Config, ConfigError> {
    if let Some(path) = env_file
        && !path.exists()
    {
        let problem = Problem {
            variable: "--env-file".to_owned(),
            value: path.display().to_string(),
            allowed: "name a file that exists".to_owned(),
        };
        return Err(ConfigError { problems: vec![problem] });
    }
    Config::from_env(Some(env_file.map_or(Path::new(ENV_FILE), PathBuf::as_path)))
}

/// Where Redis is, of the settings.
pub fn redis_settings(config: &Config) -> RedisSettings {
    RedisSettings {
        url: config.redis_url.clone(),
        stream: config.stream.clone(),
        ca: config.redis_ca.clone(),
    }
}

/// How receivers are sent to, of the settings.
pub fn client_settings(config: &Config) -> ClientSettings {
    ClientSettings {
        request_timeout: config.request_timeout,
        connect_timeout: config.connect_timeout,
        permits: config.permits.clone(),
        tls: config.tls.clone(),
    }
}

/// Where Redis is, as it may be shown.
pub(super) fn shown_url(config: &Config) -> String {
    display_url(config.redis_url.expose())
}
