//! The connection to the API server, and the one way in which it is called: within a time, a bounded number of times, and
//! slower when the server says so.

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

/// Where the API server is and what a pod shows to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InClusterConfig {
    /// Scheme, host and port.
    pub server: Uri,
    /// The certificates of the cluster's authority, as PEM. Read again about once a minute, as they may be replaced.
    pub authority: PathBuf,
    /// The token. Read again about once a minute: the kubelet replaces it long before it expires.
    pub token: PathBuf,
}

/// What a pod was given cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` make no address.
    #[error("`{host}` and `{port}` make no address of an API server")]
    Address {
        /// The host.
        host: String,
        /// The port.
        port: String,
    },
    /// The authority's certificates cannot be used.
    #[error("cannot use the cluster's certificates in `{}`", path.display())]
    Authority {
        /// Where they were looked for.
        path: PathBuf,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// The token cannot be read.
    #[error("cannot use the token in `{}`", path.display())]
    Token {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        source: Box<kube::Error>,
    },
}

impl InClusterConfig {
    /// That of a pod: the address as the kubelet sets it in the environment, and the folder of its service account.
    pub fn of_pod(host: &str, port: &str, folder: &Path) -> Result<Self, AccessError> {
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let server = match port.parse::<u16>() {
            Ok(number) if !host.is_empty() => format!("https://{bracketed}:{number}").parse().ok(),
            _ => None,
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

/// Bounds of every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// How long one attempt may take, its whole answer included.
    pub attempt: Duration,
    /// How often a call is tried in all.
    pub attempts: u32,
    /// How long a call waits before an attempt, when the server fails. Whoever calls waits longer.
    pub patience: Duration,
    /// Within this the next request is made after the first that failed; doubled with each that fails.
    pub first: Duration,
    /// The most that becomes of it: a server that is away for long is asked every half of it, on average.
    pub slowest: Duration,
}

impl Default for CallLimits {
    /// At most three attempts in less than a minute and a half. Whoever calls waits longer by a
    /// [`Backoff`](crate::cluster::backoff::Backoff) of its own.
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(20),
            attempts: 3,
            patience: Duration::from_secs(8),
            first: Duration::from_secs(2),
            slowest: Duration::from_secs(30),
        }
    }
}

/// Whether a call may be made again when nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetrySafety {
    /// It comes to the same: it reads, or says of which version it speaks.
    Idempotent,
    /// Only when it is known that nothing was done.
    IfNotApplied,
}

/// The API server, as this program calls it. Clones share the connection, and the pace of a server that fails.
#[derive(Clone)]
pub struct ApiClient {
    client: Client,
    limits: CallLimits,
    shared: Arc<Shared>,
    patient: bool,
}

struct Shared {
    jitter: Jitter,
    pace: RequestThrottle,
    /// Others wait for this node: it does not wait for its turn to ask.
    hurries: AtomicBool,
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            client: _,
            limits,
            shared: _,
            patient: _,
        } = self;
        out.debug_struct("Cluster")
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

impl ApiClient {
    /// Prepares a client; it connects with its first call, so an API server that is away is no error here.
    ///
    /// HTTP/1: at rest there is one connection, that of the watch. Another one is made for calls and closed a minute after
    /// the last of them.
    pub fn new(access: &InClusterConfig, limits: CallLimits) -> Result<Self, AccessError> {
        let mut config = Config::new(access.server.clone());
        // The file is what counts; an empty set beside it keeps kube from looking for the system's, of which a pod has none.
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
        // Finds out that the other end of a watch is gone; done by the kernel, so that nothing here wakes up for it.
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

    /// Calls by a client of kube's; answers that ask to come again must have gone through [`come_again`].
    pub(crate) fn with_service(client: Client, limits: CallLimits, jitter: Jitter) -> Self {
        Self {
            client,
            limits,
            shared: Arc::new(Shared {
                jitter,
                pace: RequestThrottle::new(limits.first, limits.slowest),
                hurries: AtomicBool::new(false),
            }),
            patient: false,
        }
    }

    /// The same, for calls that nobody waits for: they wait for their turn however late it comes.
    pub(crate) fn without_deadline(&self) -> Self {
        Self {
            patient: true,
            ..self.clone()
        }
    }

    /// Whether others wait for this node, so that it asks a server that fails as well, once for each call. For a few of many.
    pub(crate) fn set_urgent(&self, hurries: bool) {
        self.shared.hurries.store(hurries, Ordering::Relaxed);
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Ends when the server, having failed, answers again. From now on, whether it is waited for or not.
    pub(crate) fn wait_until_reachable(&self) -> Notified<'_> {
        self.shared.pace.back()
    }

    pub(crate) fn jitter(&self) -> &Jitter {
        &self.shared.jitter
    }

    /// Makes a call: each attempt within its time and at its turn, another one as `again` and the number of attempts allow.
    ///
    /// # Errors
    ///
    /// The last attempt's; [`Kind::Paused`] when its turn would have come too late for the first.
    pub(crate) async fn call<T>(
        &self,
        doing: &str,
        again: RetrySafety,
        attempt: impl AsyncFn() -> kube::Result<T>,
    ) -> Result<T, Error> {
        let Shared { jitter, pace, hurries } = &*self.shared;
        let limits = self.limits;
        let mut failed = None;
        for _ in 0..limits.attempts {
            let until = (!self.patient).then(|| Instant::now() + limits.patience);
            let at_once = failed.is_none() && !self.patient && hurries.load(Ordering::Relaxed);
            if !at_once && !pace.turn(until, jitter).await {
                break;
            }
            let error = match timeout(limits.attempt, attempt()).await {
                Ok(Ok(answer)) => {
                    pace.answered();
                    return Ok(answer);
                }
                Ok(Err(error)) => Error::of(doing, &error),
                Err(_elapsed) => Error::timed_out(doing, limits.attempt),
            };
            if !error.kind.is_outage() {
                pace.answered();
                return Err(error);
            }
            pace.failed(error.retry_after(), jitter);
            let may_be_done = matches!(
                error.kind,
                ApiErrorKind::Failed | ApiErrorKind::Silent | ApiErrorKind::Broken
            );
            if may_be_done && again == RetrySafety::IfNotApplied {
                return Err(error);
            }
            failed = Some(error);
        }
        Err(failed.unwrap_or_else(|| Error::paused(doing)))
    }
}

/// Turns an answer that asks to come again into an error, as only here its headers are seen.
pub(crate) fn record_retry_after<B, E: Into<BoxError>>(
    answer: Result<Response<B>, E>,
) -> Result<Response<B>, BoxError> {
    let answer = answer.map_err(Into::into)?;
    let after = retry_after(answer.headers());
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => {}
        StatusCode::SERVICE_UNAVAILABLE if after.is_some() => {}
        _ => return Ok(answer),
    }
    Err(Box::new(RetryAfter {
        code: answer.status().as_u16(),
        after,
    }))
}

/// The API server gives seconds; the header's other form, a date, is nobody's here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
