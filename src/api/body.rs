//! Bodies that are read whole: small ones, within a bounded time.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode, header};

use super::ApiError;

/// The longest body that is read whole.
const MOST_BYTES: usize = 256 * 1024;
/// How long a whole body may take, however steadily it drips.
const WHOLE: Duration = Duration::from_secs(20);

/// A body of at most 256 KiB. A longer one is refused before it is read where its length is told, and otherwise as soon
/// as it is too long.
#[derive(Debug)]
pub(super) struct Small(pub(super) Bytes);

impl<S: Sync> FromRequest<S> for Small {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        if told_length(request.headers()).is_some_and(|length| length > MOST_BYTES as u64) {
            return Err(too_large());
        }
        match tokio::time::timeout(WHOLE, read(request)).await {
            Ok(read) => read.map(Self),
            Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive")),
        }
    }
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    let mut chunks = request.into_body().into_data_stream();
    let mut body = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| ApiError::bad_request("the body broke off, or nothing came of it for 10 s"))?;
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn told_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large() -> ApiError {
    let message = format!("the body is too large: at most {} KiB are taken here", MOST_BYTES / 1024);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}
