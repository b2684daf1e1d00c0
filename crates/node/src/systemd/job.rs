//! Starts and stops units, and waits for the job to end: systemd answers such a call at once, when nothing has happened
//! yet.

use crate::systemd::bus::{Bus, MANAGER, MANAGER_PATH, PROPERTIES, SYSTEMD, ask};
use crate::systemd::error::BusError;
use crate::systemd::value;
use futures_core::Stream;
use serde::Serialize;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, fdo};

/// A job that systemd has queued or runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Job {
    /// Its number.
    pub id: u32,
    /// The unit that it is for.
    pub unit: String,
    /// `start`, `stop`, `restart`, `reload`, …
    pub kind: String,
    /// `waiting` or `running`.
    pub state: String,
}

/// A signal may be lost (systemd executes itself again, the queue overflows), so the job itself is looked at too.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A job that is gone has sent its signal before; this is for the signal to arrive.
const STRAGGLER: Duration = Duration::from_millis(200);

impl Bus {
    /// Restarts a unit, or starts it when it does not run, and waits for the job's end.
    ///
    /// # Errors
    /// [`BusError::Job`] when it ended in another way than `done`, [`BusError::Unseen`] when its end was not seen, and
    /// [`BusError::Late`] after `within`; the job may go on then. Success means that systemd is content, and nothing about CRI.
    pub fn restart(&self, unit: &str, within: Duration) -> Result<(), BusError> {
        self.job("restart", unit, within, "RestartUnit", &(unit, "replace"))
    }

    /// Starts a unit and waits for the job's end. Errors as of [`Bus::restart`].
    pub fn start(&self, unit: &str, within: Duration) -> Result<(), BusError> {
        self.job("start", unit, within, "StartUnit", &(unit, "replace"))
    }

    /// Stops a unit and waits for the job's end. Errors as of [`Bus::restart`].
    pub fn stop(&self, unit: &str, within: Duration) -> Result<(), BusError> {
        self.job("stop", unit, within, "StopUnit", &(unit, "replace"))
    }

    /// Every job that systemd has queued or runs.
    pub fn jobs(&self) -> Result<Vec<Job>, BusError> {
        type Row = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);
        let answer = self.manager("ListJobs", &())?;
        let body = answer.body();
        let rows: Vec<Row> = body.deserialize().map_err(|error| BusError::of("ListJobs", error))?;
        let job = |(id, unit, kind, state, _, _): Row| Job { id, unit, kind, state };
        Ok(rows.into_iter().map(job).collect())
    }

    pub(crate) fn job<B>(
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
            let answer = ask(connection, MANAGER_PATH, MANAGER, method, body).await?;
            let path = value::object(&answer, method)?;
            end(connection, signals, &path).await
        })?;
        match result.as_deref() {
            Some("done") => Ok(()),
            Some(result) => Err(BusError::Job {
                kind,
                unit: unit.to_owned(),
                result: result.to_owned(),
            }),
            None => Err(BusError::Unseen {
                kind,
                unit: unit.to_owned(),
            }),
        }
    }
}

/// The ends of jobs, from now on.
pub(crate) async fn subscribe(connection: &Connection) -> Result<MessageStream, BusError> {
    let failed = |error| BusError::of("JobRemoved", error);
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
    match ask(connection, MANAGER_PATH, MANAGER, "Subscribe", &()).await {
        // This connection has asked for signals before.
        Err(BusError::Refused { name, .. }) if name == "org.freedesktop.systemd1.AlreadySubscribed" => {}
        other => drop(other?),
    }
    Ok(signals)
}

/// How a job ended, in systemd's word; `None` when it is gone and nothing said how.
async fn end(connection: &Connection, signals: MessageStream, job: &str) -> Result<Option<String>, BusError> {
    let mut ended = pin!(result(signals, job));
    loop {
        if let Ok(result) = tokio::time::timeout(LOOK_EVERY, &mut ended).await {
            return result;
        }
        if !exists(connection, job).await? {
            return tokio::time::timeout(STRAGGLER, ended).await.unwrap_or(Ok(None));
        }
    }
}

/// The result in the signal that a job is removed.
async fn result(signals: MessageStream, job: &str) -> Result<Option<String>, BusError> {
    let mut signals = pin!(signals);
    while let Some(signal) = poll_fn(|context| signals.as_mut().poll_next(context)).await {
        let signal = signal.map_err(|error| BusError::of("JobRemoved", error))?;
        if let Some(removed) = removed(&signal)
            && removed.job == job
        {
            return Ok(Some(removed.result));
        }
    }
    Ok(None)
}

/// A job that is gone.
pub(crate) struct JobRemoved {
    /// Its path.
    job: String,
    /// The unit that it was for.
    pub(crate) unit: String,
    /// How it ended.
    result: String,
}

pub(crate) fn removed(signal: &Message) -> Option<JobRemoved> {
    let body = signal.body();
    let (_, path, unit, result): (u32, OwnedObjectPath, String, String) = body.deserialize().ok()?;
    Some(JobRemoved {
        job: path.as_str().to_owned(),
        unit,
        result,
    })
}

async fn exists(connection: &Connection, job: &str) -> Result<bool, BusError> {
    let asked = ("org.freedesktop.systemd1.Job", "State");
    let answer = connection
        .call_method(Some(SYSTEMD), job, Some(PROPERTIES), "Get", &asked)
        .await;
    match answer {
        Ok(_) => Ok(true),
        Err(zbus::Error::FDO(error)) => match *error {
            fdo::Error::UnknownObject(_) => Ok(false),
            // systemd is executing itself again; its jobs come with it.
            fdo::Error::NoReply(_) | fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => Ok(true),
            other => Err(BusError::of("Get", zbus::Error::FDO(Box::new(other)))),
        },
        Err(error) => Err(BusError::of("Get", error)),
    }
}
