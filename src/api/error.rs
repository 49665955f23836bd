//! Errors, in one shape, which is Evolution API's: `{"status", "error", "response": {"message": [...]}}`.

use std::any::Any;

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::store::{ErrorKind, StoreError};

/// After how many seconds a client should ask again while Redis is away.
const RETRY_AFTER_SECONDS: u64 = 1;

/// A refusal: a status, and in words what is wrong and what to do.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    messages: Vec<String>,
    /// Beside the messages, for programs.
    details: Option<Value>,
    retry_after_seconds: Option<u64>,
}

impl ApiError {
    /// A refusal for one reason.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, messages: vec![message.into()], details: None, retry_after_seconds: None }
    }

    /// The request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What it names is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// It is understood, and cannot be taken.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// Nothing is wrong with it, but it cannot be done now.
    pub fn unavailable(message: impl Into<String>, retry_after_seconds: u64) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, message);
        Self { retry_after_seconds: Some(retry_after_seconds), ..error }
    }

    /// Adds what programs may want to know; it is beside the messages.
    #[must_use]
    pub fn with_details(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let mut response = json!({ "message": self.messages });
        if let Some(details) = self.details {
            response["details"] = details;
        }
        let body = json!({ "status": self.status.as_u16(), "error": reason, "response": response });
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            ErrorKind::Unreachable => {
                Self::unavailable(format!("redis cannot be reached: {error}"), RETRY_AFTER_SECONDS)
            }
            _ => Self::unavailable(format!("redis refused: {error}"), RETRY_AFTER_SECONDS),
        }
    }
}

/// What axum could not extract, in our shape and its words.
macro_rules! from_rejection {
    ($($rejection:ty),*) => {
        $(impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                Self::new(rejection.status(), rejection.body_text())
            }
        })*
    };
}
from_rejection!(BytesRejection, JsonRejection, PathRejection, QueryRejection);

/// No such path.
pub(super) async fn no_route(method: Method, uri: Uri) -> ApiError {
    ApiError::not_found(format!("Cannot {method} {}", uri.path()))
}

/// The path is there, but not with this method.
pub(super) async fn no_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("Cannot {method} {}", uri.path()))
}

/// A handler panicked: a fault in posthaste, which costs one request.
#[allow(clippy::needless_pass_by_value, reason = "the layer hands it over")]
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(said, "a request could not be served: a fault in posthaste, please report it");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "a fault in posthaste; see its log").into_response()
}
