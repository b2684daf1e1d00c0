//! Starts and stops units, and waits until the job has ended. The wait is necessary because systemd answers such a call
//! immediately, before the job has begun.

use crate::systemd::bus::{Bus, MANAGER, MANAGER_PATH, PROPERTIES, SYSTEMD, call_method};
use crate::systemd::error::BusError;
use crate::systemd::value;
use futures_core::Stream;
use serde::Serialize;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, fdo};

/// A queued or running job of systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Job {
    /// The job's number.
    pub id: u32,
    /// The unit that the job starts, stops or restarts.
    pub unit: String,
    /// `start`, `stop`, `restart`, `reload`, …
    pub kind: String,
    /// `waiting` or `running`.
    pub state: String,
}

/// The interval at which the job object is polled. The signal is not sufficient: it is lost when systemd executes
/// itself again, and when the queue overflows.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The time that the signal of a finished job has to arrive. systemd sends it before it removes the job.
const SIGNAL_GRACE: Duration = Duration::from_millis(200);

impl Bus {
    /// Restarts a unit, or starts it if it does not run, and waits until the job has ended. Success means that
    /// systemd's job is done; it does not mean that CRI is served.
    ///
    /// # Errors
    /// [`BusError::Job`] if the result is not `done`, [`BusError::Unseen`] if the result was missed, and
    /// [`BusError::Late`] after `within`. The job may continue after [`BusError::Late`].
    pub fn restart(&self, unit: &str, within: Duration) -> Result<(), BusError> {
        self.run_job("restart", unit, within, "RestartUnit", &(unit, "replace"))
    }

    /// Starts a unit and waits until the job has ended. The errors are those of [`Bus::restart`].
    pub fn start(&self, unit: &str, within: Duration) -> Result<(), BusError> {
        self.run_job("start", unit, within, "StartUnit", &(unit, "replace"))
    }

    /// Stops a unit and waits until the job has ended. The errors are those of [`Bus::restart`].
    pub fn stop(&self, unit: &str, within: Duration) -> Result<(), BusError> {
        self.run_job("stop", unit, within, "StopUnit", &(unit, "replace"))
    }

    /// Lists every job that systemd has queued or runs.
    pub fn jobs(&self) -> Result<Vec<Job>, BusError> {
        type Row = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);
        let answer = self.manager("ListJobs", &())?;
        let body = answer.body();
        let rows: Vec<Row> = body.deserialize().map_err(|error| BusError::new("ListJobs", error))?;
        let job = |(id, unit, kind, state, _, _): Row| Job { id, unit, kind, state };
        Ok(rows.into_iter().map(job).collect())
    }

    /// Calls a method that queues a job, and waits until the job has ended.
    pub(crate) fn run_job<B>(
        &self,
        kind: &'static str,
        unit: &str,
        within: Duration,
        method: &'static str,
        body: &B,
    ) -> Result<(), BusError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let connection = self.connection()?;
        let result = self.wait(within, method, async {
            let signals = subscribe(connection).await?;
            let answer = call_method(connection, MANAGER_PATH, MANAGER, method, body).await?;
            let path = value::object_path(&answer, method)?;
            wait_for_end(connection, signals, &path).await
        })?;
        match result.as_deref() {
            Some("done") => Ok(()),
            Some(result) => Err(BusError::Job {
                kind,
                unit: unit.to_owned(),
                result: result.to_owned(),
            }),
            None => Err(BusError::ResultMissed {
                kind,
                unit: unit.to_owned(),
            }),
        }
    }
}

/// Subscribes to the signals of finished jobs.
pub(crate) async fn subscribe(connection: &Connection) -> Result<MessageStream, BusError> {
    let failed = |error| BusError::new("JobRemoved", error);
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender(SYSTEMD)
        .path(MANAGER_PATH)
        .interface(MANAGER)
        .member("JobRemoved")
        .build()
        .map_err(failed)?;
    let signals = MessageStream::for_match_rule(rule, connection, None)
        .await
        .map_err(failed)?;
    match call_method(connection, MANAGER_PATH, MANAGER, "Subscribe", &()).await {
        // This connection has subscribed before.
        Err(BusError::Refused { name, .. }) if name == "org.freedesktop.systemd1.AlreadySubscribed" => {}
        other => drop(other?),
    }
    Ok(signals)
}

/// Waits until a job has ended, and returns systemd's name of the result; `None` if the job is gone and its signal was
/// missed.
async fn wait_for_end(connection: &Connection, signals: MessageStream, job: &str) -> Result<Option<String>, BusError> {
    let mut ended = pin!(next_result(signals, job));
    loop {
        if let Ok(result) = tokio::time::timeout(POLL_INTERVAL, &mut ended).await {
            return result;
        }
        if !exists(connection, job).await? {
            return tokio::time::timeout(SIGNAL_GRACE, ended).await.unwrap_or(Ok(None));
        }
    }
}

/// Returns the result from the `JobRemoved` signal of `job`.
async fn next_result(signals: MessageStream, job: &str) -> Result<Option<String>, BusError> {
    let mut signals = pin!(signals);
    while let Some(signal) = poll_fn(|context| signals.as_mut().poll_next(context)).await {
        let signal = signal.map_err(|error| BusError::new("JobRemoved", error))?;
        if let Some(removed) = parse_job_removed(&signal)
            && removed.job == job
        {
            return Ok(Some(removed.result));
        }
    }
    Ok(None)
}

/// The arguments of systemd's `JobRemoved` signal.
pub(crate) struct JobRemoved {
    /// The object path.
    job: String,
    pub(crate) unit: String,
    result: String,
}

pub(crate) fn parse_job_removed(signal: &Message) -> Option<JobRemoved> {
    let body = signal.body();
    let (_, path, unit, result): (u32, OwnedObjectPath, String, String) = body.deserialize().ok()?;
    Some(JobRemoved {
        job: path.as_str().to_owned(),
        unit,
        result,
    })
}

async fn exists(connection: &Connection, job: &str) -> Result<bool, BusError> {
    let property = ("org.freedesktop.systemd1.Job", "State");
    let answer = connection
        .call_method(Some(SYSTEMD), job, Some(PROPERTIES), "Get", &property)
        .await;
    match answer {
        Ok(_) => Ok(true),
        Err(zbus::Error::FDO(error)) => match *error {
            fdo::Error::UnknownObject(_) => Ok(false),
            // systemd is executing itself again, and keeps its jobs while it does.
            fdo::Error::NoReply(_) | fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => Ok(true),
            other => Err(BusError::new("Get", zbus::Error::FDO(Box::new(other)))),
        },
        Err(error) => Err(BusError::new("Get", error)),
    }
}
