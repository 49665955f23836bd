//! The binary.
use posthaste::{app, config::Config, telemetry};
fn main() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let config = Config::from_env(None)?;
    telemetry::init(&config.log_level, config.log_format).map_err(|e| anyhow::anyhow!("{e}"))?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let stop = tokio_util::sync::CancellationToken::new();
            let s = stop.clone();
            tokio::spawn(async move {
                let mut term =
                    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
                term.recv().await;
                s.cancel();
            });
            app::run(&config, stop).await
        })?;
    Ok(())
}
