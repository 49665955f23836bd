//! Making a connection: to where, and as whom. The errors are those that the client has for the same.

use futures_util::future::select_ok;
use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisConnectionInfo, RedisResult, ServerErrorKind, Value,
};
use tokio::net::TcpStream;

use super::Carrier;
use super::values::Values;

const SERVER_ERROR: ErrorKind = ErrorKind::Server(ServerErrorKind::ResponseError);

/// Connects; to whichever of a host's addresses answers first.
pub(super) async fn carrier(info: &ConnectionInfo) -> RedisResult<Box<dyn Carrier>> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await?;
            let tries: Vec<_> = found.map(|addr| Box::pin(TcpStream::connect(addr))).collect();
            if tries.is_empty() {
                return Err((ErrorKind::InvalidClientConfig, "No address found for host").into());
            }
            let (stream, _) = select_ok(tries).await?;
            stream.set_nodelay(info.tcp_settings().nodelay())?;
            Ok(Box::new(stream))
        }
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        _ => Err((ErrorKind::InvalidClientConfig, "not an address for a plain connection").into()),
    }
}

/// AUTH and SELECT, with the errors that the client has for their answers.
pub(super) async fn greet<C: Carrier>(values: &mut Values<C>, info: &RedisConnectionInfo) -> RedisResult<()> {
    let select = (info.db() != 0).then(|| redis::cmd("SELECT").arg(info.db()).get_packed_command());
    for username in [info.username(), None] {
        let auth = info.password().map(|password| auth(username, password).get_packed_command());
        let commands: Vec<u8> = [&auth, &select].into_iter().flatten().flatten().copied().collect();
        if commands.is_empty() {
            return Ok(());
        }
        values.send(&commands).await?;
        let authenticated = if auth.is_some() { values.value().await? } else { Value::Okay };
        let selected = if select.is_some() { values.value().await? } else { Value::Okay };
        match authenticated {
            Value::Okay => {}
            // Redis before 6 knows no users.
            Value::ServerError(error) if username.is_some() && error.details().is_some_and(is_too_many) => {
                continue;
            }
            Value::ServerError(_) => {
                return Err((ErrorKind::AuthenticationFailed, "Password authentication failed").into());
            }
            _ => return Err((SERVER_ERROR, "Redis server refused to authenticate").into()),
        }
        return match selected {
            Value::ServerError(error) => {
                let details = error.details().unwrap_or_default().to_owned();
                Err((SERVER_ERROR, "Redis server refused to switch database", details).into())
            }
            _ => Ok(()),
        };
    }
    Ok(())
}

fn auth(username: Option<&str>, password: &str) -> Cmd {
    let mut auth = redis::cmd("AUTH");
    if let Some(username) = username {
        auth.arg(username);
    }
    auth.arg(password);
    auth
}

fn is_too_many(details: &str) -> bool {
    details.contains("wrong number of arguments for 'auth' command")
}
