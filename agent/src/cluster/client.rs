//! The client of the API server. Each call has a timeout and a bounded number of attempts, and is delayed when the
//! server is overloaded.

use crate::cluster::backoff::Jitter;
use crate::cluster::error::{ApiErrorKind, Error, RetryAfter};
use crate::cluster::throttle::RequestThrottle;
use http::{HeaderMap, Response, StatusCode, Uri, header};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::config::AuthInfo;
use kube::{Client, Config};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, timeout};
use tower::{BoxError, ServiceBuilder};

/// The address and the credentials that a pod uses for the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InClusterConfig {
    /// Scheme, host and port.
    pub server: Uri,
    /// The file with the certificates of the cluster's authority, as PEM. kube reads it again about once a minute.
    pub authority: PathBuf,
    /// The file with the token. kube reads it again about once a minute; the kubelet replaces it long before it
    /// expires.
    pub token: PathBuf,
}

/// The address or the credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The environment has no address: this is not a pod.
    #[error("not running in a pod: KUBERNETES_SERVICE_HOST is not set")]
    NotInPod,
    /// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` are not an address.
    #[error("`{host}` and `{port}` are not the address of an API server")]
    Address {
        /// The value of `KUBERNETES_SERVICE_HOST`.
        host: String,
        /// The value of `KUBERNETES_SERVICE_PORT`.
        port: String,
    },
    /// The certificates cannot be read.
    #[error("cannot read the cluster's certificates in `{}`", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// The token cannot be read.
    #[error("cannot read the token in `{}`", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<kube::Error>,
    },
}

impl InClusterConfig {
    /// The configuration of a pod: the address from the environment that the kubelet sets, and the folder of the
    /// service account.
    ///
    /// # Errors
    ///
    /// If `host` and `port` are not an address.
    pub fn of_pod(host: &str, port: &str, folder: &Path) -> Result<Self, AccessError> {
        if host.is_empty() {
            return Err(AccessError::NotInPod);
        }
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let server = match port.parse::<u16>() {
            Ok(number) => format!("https://{bracketed}:{number}").parse().ok(),
            Err(_) => None,
        };
        let server = server.ok_or_else(|| AccessError::Address {
            host: host.to_owned(),
            port: port.to_owned(),
        })?;
        Ok(Self {
            server,
            authority: folder.join("ca.crt"),
            token: folder.join("token"),
        })
    }
}

/// The limits of every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// The timeout of one attempt, until the end of the response.
    pub attempt: Duration,
    /// The most attempts of a call.
    pub attempts: u32,
    /// The longest delay before an attempt while the server fails. A caller that can wait longer repeats the call.
    pub max_delay: Duration,
    /// The upper bound of the random delay after the first failure. Doubles with each consecutive failure.
    pub first: Duration,
    /// The maximum of that bound. During a long outage the average delay is half of it.
    pub slowest: Duration,
}

impl Default for CallLimits {
    /// Three attempts in less than a minute and a half. A caller that can wait longer repeats the call with a
    /// [`Backoff`](crate::cluster::backoff::Backoff).
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(20),
            attempts: 3,
            max_delay: Duration::from_secs(8),
            first: Duration::from_secs(2),
            slowest: Duration::from_secs(30),
        }
    }
}

/// The rule for repeating a call whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetrySafety {
    /// Repeating it has the same effect: it only reads, or names the version that it changes.
    Idempotent,
    /// It may be repeated only if the server certainly has not applied it.
    IfNotApplied,
}

/// A client of the API server. Clones share the connection and the throttle.
#[derive(Clone)]
pub struct ApiClient {
    client: Client,
    limits: CallLimits,
    shared: Arc<Shared>,
    /// Calls wait for their turn without a deadline.
    no_deadline: bool,
}

struct Shared {
    jitter: Jitter,
    throttle: RequestThrottle,
    /// Other nodes wait for this node, so the first attempt of each call is not throttled.
    urgent: AtomicBool,
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            client: _,
            limits,
            shared: _,
            no_deadline: _,
        } = self;
        out.debug_struct("ApiClient")
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

impl ApiClient {
    /// Creates a client. It connects with its first call, so an unreachable API server is not an error here.
    ///
    /// The client uses HTTP/1. At rest it has one connection, that of the watch. It opens a second connection for
    /// calls, and closes it a minute after the last of them.
    ///
    /// # Errors
    ///
    /// If the certificates or the token cannot be read.
    pub fn new(access: &InClusterConfig, limits: CallLimits) -> Result<Self, AccessError> {
        let mut config = Config::new(access.server.clone());
        // kube uses the file. Without this empty set it would also search for the system's certificates, which a pod
        // does not have.
        config.root_cert = Some(Vec::new());
        config.root_cert_file = Some(access.authority.clone());
        config.auth_info = AuthInfo {
            token_file: Some(access.token.to_string_lossy().into_owned()),
            ..AuthInfo::default()
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(limits.attempt / 2));
        tcp.set_nodelay(true);
        // The kernel detects a lost connection of a watch, so this process needs no timer for it.
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        tcp.set_keepalive_interval(Some(Duration::from_secs(15)));
        tcp.set_keepalive_retries(Some(4));
        let https = config
            .rustls_https_connector_with_connector(tcp)
            .map_err(|source| AccessError::Authority {
                path: access.authority.clone(),
                source: Box::new(source),
            })?;
        let connections = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(1)
            .build::<_, Body>(https);
        let token = config.auth_layer().map_err(|source| AccessError::Token {
            path: access.token.clone(),
            source: Box::new(source),
        })?;
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(token)
            .map_result(record_retry_after)
            .service(connections);
        let client = Client::new(service, config.default_namespace);
        Ok(Self::with_service(client, limits, Jitter::from_os()))
    }

    /// Creates a client that uses the given kube client. Its responses must have passed through [`record_retry_after`].
    pub(crate) fn with_service(client: Client, limits: CallLimits, jitter: Jitter) -> Self {
        Self {
            client,
            limits,
            shared: Arc::new(Shared {
                jitter,
                throttle: RequestThrottle::new(limits.first, limits.slowest),
                urgent: AtomicBool::new(false),
            }),
            no_deadline: false,
        }
    }

    /// A client for calls that may wait without a deadline, such as those of a watch.
    pub(crate) fn without_deadline(&self) -> Self {
        Self {
            no_deadline: true,
            ..self.clone()
        }
    }

    /// Sets the urgent mode, in which the first attempt of each call bypasses the throttle. Only nodes that hold a slot
    /// set it, so the extra load is small.
    pub(crate) fn set_urgent(&self, urgent: bool) {
        self.shared.urgent.store(urgent, Ordering::Relaxed);
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Completes when the server answers again after a failure. A notification between this call and the first poll is
    /// not missed.
    pub(crate) fn wait_until_reachable(&self) -> Notified<'_> {
        self.shared.throttle.reachable()
    }

    pub(crate) fn jitter(&self) -> &Jitter {
        &self.shared.jitter
    }

    /// Makes a call. Each attempt waits for its turn and has a timeout. `retry` and the limits decide whether there is
    /// another attempt.
    ///
    /// # Errors
    ///
    /// The error of the last attempt, or [`ApiErrorKind::Paused`] if the throttle delays the first one for too long.
    pub(crate) async fn call<T>(
        &self,
        action: &str,
        retry: RetrySafety,
        attempt: impl AsyncFn() -> kube::Result<T>,
    ) -> Result<T, Error> {
        let Shared {
            jitter,
            throttle,
            urgent,
        } = &*self.shared;
        let limits = self.limits;
        let mut failed = None;
        for _ in 0..limits.attempts {
            let deadline = (!self.no_deadline).then(|| Instant::now() + limits.max_delay);
            let is_urgent = failed.is_none() && !self.no_deadline && urgent.load(Ordering::Relaxed);
            if !is_urgent && !throttle.wait_for_turn(deadline, jitter).await {
                break;
            }
            let error = match timeout(limits.attempt, attempt()).await {
                Ok(Ok(response)) => {
                    throttle.record_answer();
                    return Ok(response);
                }
                Ok(Err(error)) => Error::of(action, &error),
                Err(_elapsed) => Error::timed_out(action, limits.attempt),
            };
            if !error.kind.is_outage() {
                throttle.record_answer();
                return Err(error);
            }
            throttle.record_failure(error.retry_after(), jitter);
            let may_be_applied = matches!(
                error.kind,
                ApiErrorKind::Failed | ApiErrorKind::Silent | ApiErrorKind::Broken
            );
            if may_be_applied && retry == RetrySafety::IfNotApplied {
                return Err(error);
            }
            failed = Some(error);
        }
        Err(failed.unwrap_or_else(|| Error::paused(action)))
    }
}

/// Maps 429, and 503 with `Retry-After`, to an error. This must happen in the HTTP layer, because kube's errors carry
/// no headers.
pub(crate) fn record_retry_after<B, E: Into<BoxError>>(
    response: Result<Response<B>, E>,
) -> Result<Response<B>, BoxError> {
    let response = response.map_err(Into::into)?;
    let after = retry_after(response.headers());
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => {}
        StatusCode::SERVICE_UNAVAILABLE if after.is_some() => {}
        _ => return Ok(response),
    }
    Err(Box::new(RetryAfter {
        code: response.status().as_u16(),
        after,
    }))
}

/// Parses `Retry-After` in seconds. The API server never sends the other form, a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
