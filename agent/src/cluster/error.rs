//! Errors of calls to the API server, classified by what the caller can do about them.

use kube::core::Status;
use std::time::Duration;
use thiserror::Error;

/// A failed call.
#[derive(Debug, Error)]
#[error("cannot {action}")]
pub struct Error {
    /// The attempted action, for example `create Lease slot-0`.
    pub action: String,
    /// The class.
    pub kind: ApiErrorKind,
    #[source]
    cause: Cause,
}

/// The class of an error. Its name is the `kind` label of `mirrorshift_api_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiErrorKind {
    /// The object does not exist.
    Absent,
    /// An object of this name exists already.
    Exists,
    /// Another client has changed the object.
    Conflict,
    /// The admission policy or RBAC denies the call.
    Forbidden,
    /// The token is rejected: it has expired, or belongs to another cluster.
    Unauthorized,
    /// The API server rejects the object: its definition is older or newer than the agent.
    Invalid,
    /// The server has expired the resource version from which a watch resumes.
    Expired,
    /// The server is overloaded and did not apply the call. Perhaps it sent a time to wait.
    Busy(Option<Duration>),
    /// The server failed. It may have applied the call.
    Failed,
    /// The response did not arrive in time. The server may have applied the call.
    Silent,
    /// Nothing was sent, because no connection could be opened.
    Unreachable,
    /// Nothing was sent, because earlier requests failed and the delay after them is not over.
    Paused,
    /// The connection was closed. The server may have applied the call.
    Broken,
    /// The response cannot be parsed.
    Unreadable,
    /// The pod was started on another Node of the same name.
    OtherNode,
}

impl ApiErrorKind {
    /// The name as a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Exists => "exists",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Busy(_) => "busy",
            Self::Failed => "failed",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
            Self::Paused => "paused",
            Self::Broken => "broken",
            Self::Unreadable => "unreadable",
            Self::OtherNode => "other_node",
        }
    }

    /// Returns true if the API server as a whole is unreachable or overloaded, so that any call would fail.
    pub fn is_outage(self) -> bool {
        match self {
            Self::Busy(_) | Self::Failed | Self::Silent | Self::Unreachable | Self::Paused | Self::Broken => true,
            Self::Absent
            | Self::Exists
            | Self::Conflict
            | Self::Forbidden
            | Self::Unauthorized
            | Self::Invalid
            | Self::Expired
            | Self::Unreadable
            | Self::OtherNode => false,
        }
    }
}

/// The cause, for people. It never contains request headers.
#[derive(Debug, Error)]
enum Cause {
    #[error("the API server answers {code}: {message}")]
    Status { code: u16, message: String },
    #[error("no complete response within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error("{0}")]
    Text(String),
}

/// A response that asks the client to retry later. It is created in the HTTP layer, because kube's errors carry no
/// headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the API server asks the client to retry later")]
pub(super) struct RetryAfter {
    pub(super) code: u16,
    pub(super) after: Option<Duration>,
}

impl Error {
    /// The time that the server asked the client to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            ApiErrorKind::Busy(after) => after,
            _ => None,
        }
    }

    pub(super) fn timed_out(action: &str, limit: Duration) -> Self {
        Self {
            action: action.to_owned(),
            kind: ApiErrorKind::Silent,
            cause: Cause::Timeout(limit),
        }
    }

    pub(super) fn paused(action: &str) -> Self {
        let text = "not sent, because earlier requests to the API server failed";
        Self::new(action, ApiErrorKind::Paused, text)
    }

    pub(super) fn new(action: &str, kind: ApiErrorKind, text: impl Into<String>) -> Self {
        Self {
            action: action.to_owned(),
            kind,
            cause: Cause::Text(text.into()),
        }
    }

    pub(super) fn from_status(action: &str, status: &Status) -> Self {
        Self {
            action: action.to_owned(),
            kind: kind_of(status),
            cause: Cause::Status {
                code: status.code,
                message: status.message.clone(),
            },
        }
    }

    pub(super) fn of(action: &str, error: &kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            return Self::from_status(action, status);
        }
        let mut kind = match error {
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => ApiErrorKind::Unreadable,
            _ => ApiErrorKind::Broken,
        };
        // The innermost error has the cause. kube's errors repeat the text of their source.
        let mut innermost: &dyn std::error::Error = error;
        let mut next = Some(innermost);
        while let Some(current) = next {
            if let Some(retry) = current.downcast_ref::<RetryAfter>() {
                kind = match retry.code {
                    429 => ApiErrorKind::Busy(retry.after),
                    _ => retry
                        .after
                        .map_or(ApiErrorKind::Failed, |after| ApiErrorKind::Busy(Some(after))),
                };
            }
            let legacy = current.downcast_ref::<hyper_util::client::legacy::Error>();
            if legacy.is_some_and(hyper_util::client::legacy::Error::is_connect) {
                kind = ApiErrorKind::Unreachable;
            }
            innermost = current;
            next = current.source();
        }
        Self::new(action, kind, innermost.to_string())
    }
}

fn kind_of(status: &Status) -> ApiErrorKind {
    match status.code {
        401 => ApiErrorKind::Unauthorized,
        403 => ApiErrorKind::Forbidden,
        404 => ApiErrorKind::Absent,
        409 if status.is_already_exists() => ApiErrorKind::Exists,
        409 => ApiErrorKind::Conflict,
        410 => ApiErrorKind::Expired,
        429 => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            ApiErrorKind::Busy((seconds > 0).then(|| Duration::from_secs(seconds.into())))
        }
        400..=499 => ApiErrorKind::Invalid,
        _ => ApiErrorKind::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    fn status(code: u16, reason: &str) -> Status {
        Status::failure("denied", reason).with_code(code)
    }

    #[test]
    fn status_codes_map_to_kinds() {
        for (code, reason, kind) in [
            (401, "Unauthorized", ApiErrorKind::Unauthorized),
            (403, "Forbidden", ApiErrorKind::Forbidden),
            (404, "NotFound", ApiErrorKind::Absent),
            (409, "AlreadyExists", ApiErrorKind::Exists),
            (409, "Conflict", ApiErrorKind::Conflict),
            (410, "Expired", ApiErrorKind::Expired),
            (422, "Invalid", ApiErrorKind::Invalid),
            (429, "TooManyRequests", ApiErrorKind::Busy(None)),
            (500, "InternalError", ApiErrorKind::Failed),
            (504, "Timeout", ApiErrorKind::Failed),
        ] {
            let error = Error::of("get it", &kube::Error::Api(status(code, reason).boxed()));
            assert_eq!(error.kind, kind, "{code}");
            assert_eq!(error.to_string(), "cannot get it");
            assert_eq!(
                error.source().unwrap().to_string(),
                format!("the API server answers {code}: denied")
            );
        }
    }

    #[test]
    fn retry_after_is_found_inside_a_kube_error() {
        let after = Some(Duration::from_secs(7));
        for (code, after, kind) in [
            (429, after, ApiErrorKind::Busy(after)),
            (429, None, ApiErrorKind::Busy(None)),
            (503, after, ApiErrorKind::Busy(after)),
            (503, None, ApiErrorKind::Failed),
        ] {
            let error = Error::of("get it", &kube::Error::Service(Box::new(RetryAfter { code, after })));
            assert_eq!((error.kind, error.retry_after()), (kind, after));
        }
    }

    #[test]
    fn labels_of_kinds_are_distinct() {
        let kinds = [
            ApiErrorKind::Absent,
            ApiErrorKind::Exists,
            ApiErrorKind::Conflict,
            ApiErrorKind::Forbidden,
            ApiErrorKind::Unauthorized,
            ApiErrorKind::Invalid,
            ApiErrorKind::Expired,
            ApiErrorKind::Busy(None),
            ApiErrorKind::Failed,
            ApiErrorKind::Silent,
            ApiErrorKind::Unreachable,
            ApiErrorKind::Paused,
            ApiErrorKind::Broken,
            ApiErrorKind::Unreadable,
            ApiErrorKind::OtherNode,
        ];
        let names: std::collections::BTreeSet<_> = kinds.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), kinds.len());
    }
}
