//! What can go wrong with a call to the API server, by what is to be done about it.

use kube::core::Status;
use std::time::Duration;
use thiserror::Error;

/// A call that did not do what it was to do.
#[derive(Debug, Error)]
#[error("cannot {doing}")]
pub struct Error {
    /// What was tried, as in `create Lease slot-0`.
    pub doing: String,
    /// What it means.
    pub kind: ApiErrorKind,
    #[source]
    cause: Cause,
}

/// What an error means. The name of each is the label of `mirrorshift_api_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiErrorKind {
    /// There is no such object.
    Absent,
    /// There is one of that name already.
    Exists,
    /// It was changed by somebody else meanwhile.
    Conflict,
    /// The admission policy or RBAC says no.
    Forbidden,
    /// The token is not taken: expired, or of another cluster.
    Unauthorized,
    /// The API server does not take the object: its definition is older than the agent, or newer.
    Invalid,
    /// What a watch wants to go on from is no longer known.
    Expired,
    /// The server has too much to do, and did nothing. Perhaps it said for how long.
    Busy(Option<Duration>),
    /// The server failed; what was asked may have been done.
    Failed,
    /// No whole answer came in time; what was asked may have been done.
    Silent,
    /// Nothing was sent: there was no connection to be had.
    Unreachable,
    /// Nothing was sent: what was sent before failed, and it is too early to ask again.
    Paused,
    /// The connection broke; what was asked may have been done.
    Broken,
    /// An answer that cannot be read.
    Unreadable,
    /// The cluster's Node of this name is not the one that the pod was started on.
    OtherNode,
}

impl ApiErrorKind {
    /// As a metric's label.
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

    /// Whether the API server as a whole is away or overloaded, so that any call would fail.
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

/// Why, for people. Never holds a request's headers.
#[derive(Debug, Error)]
enum Cause {
    #[error("the API server answers {code}: {message}")]
    Answer { code: u16, message: String },
    #[error("no whole answer within {}", humantime::format_duration(*.0))]
    Silence(Duration),
    #[error("{0}")]
    Words(String),
}

/// An answer that says when to come again. Made where headers can be seen, as kube tells of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the API server asks to come again later")]
pub(super) struct RetryAfter {
    pub(super) code: u16,
    pub(super) after: Option<Duration>,
}

impl Error {
    /// What the server asked to wait, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            ApiErrorKind::Busy(after) => after,
            _ => None,
        }
    }

    pub(super) fn timed_out(doing: &str, limit: Duration) -> Self {
        Self {
            doing: doing.to_owned(),
            kind: ApiErrorKind::Silent,
            cause: Cause::Silence(limit),
        }
    }

    pub(super) fn paused(doing: &str) -> Self {
        let words = "not asked: the API server failed a moment ago";
        Self::new(doing, ApiErrorKind::Paused, words)
    }

    pub(super) fn new(doing: &str, kind: ApiErrorKind, words: impl Into<String>) -> Self {
        Self {
            doing: doing.to_owned(),
            kind,
            cause: Cause::Words(words.into()),
        }
    }

    pub(super) fn from_status(doing: &str, status: &Status) -> Self {
        Self {
            doing: doing.to_owned(),
            kind: kind_of(status),
            cause: Cause::Answer {
                code: status.code,
                message: status.message.clone(),
            },
        }
    }

    pub(super) fn of(doing: &str, error: &kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            return Self::from_status(doing, status);
        }
        let mut kind = match error {
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => ApiErrorKind::Unreadable,
            _ => ApiErrorKind::Broken,
        };
        // The innermost error says what happened, those around it where; kube's repeat what they hold.
        let mut innermost: &dyn std::error::Error = error;
        let mut next = Some(innermost);
        while let Some(current) = next {
            if let Some(again) = current.downcast_ref::<RetryAfter>() {
                kind = match again.code {
                    429 => ApiErrorKind::Busy(again.after),
                    _ => again
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
        Self::new(doing, kind, innermost.to_string())
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
        Status::failure("said so", reason).with_code(code)
    }

    #[test]
    fn answers_are_told_apart() {
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
                format!("the API server answers {code}: said so")
            );
        }
    }

    #[test]
    fn when_to_come_again_is_found_below_what_kube_makes_of_it() {
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
    fn every_kind_has_a_label_of_its_own() {
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
