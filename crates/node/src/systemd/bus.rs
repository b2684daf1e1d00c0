//! systemd over the system bus. One connection, every call within a deadline; whoever is denied is told what to do.

use crate::containerd::blocking::BlockingRuntime;
use crate::containerd::peer::dial;
use crate::systemd::error::BusError;
use crate::systemd::unit::Unit;
use crate::systemd::{unit, value};
use std::path::Path;
use std::time::Duration;
use zbus::connection::Builder;
use zbus::{Connection, Message};

/// Where D-Bus listens on every distribution; the variable that moves it is not read, as root's environment should not
/// decide whom root trusts.
const SOCKET: &str = "/run/dbus/system_bus_socket";
pub(crate) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(crate) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub(crate) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(crate) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// `PrivateMounts=`, `TemporaryFileSystem=` and `StartTransientUnit` with both came with systemd 238 and 239.
const OLDEST: u32 = 239;

/// A connection to systemd.
#[derive(Debug)]
pub struct Bus {
    /// Taken by `drop` alone.
    connection: Option<Connection>,
    pub(crate) within: Duration,
    version: String,
    pub(crate) patience: BlockingRuntime,
}

impl Bus {
    /// Connects to the machine's own bus and asks systemd for its version. `within` bounds this and every later call
    /// that does not say otherwise.
    ///
    /// # Errors
    /// [`BusError`], each with a [`hint`](BusError::hint); [`BusError::TooOld`] below systemd 239.
    pub fn connect(within: Duration) -> Result<Self, BusError> {
        Self::connect_at(Path::new(SOCKET), within)
    }

    /// As [`Bus::connect`], to a socket elsewhere.
    pub fn connect_at(socket: &Path, within: Duration) -> Result<Self, BusError> {
        let unreachable = |source| BusError::Unreachable {
            socket: socket.to_owned(),
            source,
        };
        let patience = BlockingRuntime::new().map_err(unreachable)?;
        // Connected here and not by the library, so that a missing socket is told from a refused one.
        let stream = dial(socket).map_err(unreachable)?;
        let greeting = async { Builder::unix_stream(stream).build().await };
        let connection = patience
            .wait(within, greeting)
            .map_err(|_| BusError::Late { call: "Hello", within })?
            .map_err(|error| BusError::of("Hello", error))?;
        let mut bus = Self {
            connection: Some(connection),
            within,
            version: String::new(),
            patience,
        };
        bus.version = bus.text_of_manager("Version")?;
        match number(&bus.version) {
            Some(number) if number >= OLDEST => Ok(bus),
            Some(_) => Err(BusError::TooOld(bus.version.clone())),
            None => Err(BusError::Unexpected("Version")),
        }
    }

    /// systemd's version as it says it, such as `252.36-1~deb12u1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The unit that a process belongs to, by name; `None` for a process outside every unit.
    pub fn unit_of(&self, pid: u32) -> Result<Option<String>, BusError> {
        let answer = match self.manager("GetUnitByPID", &pid) {
            Ok(answer) => answer,
            Err(BusError::NoUnit(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let path = value::object(&answer, "GetUnitByPID")?;
        let id = self.property(&path, "org.freedesktop.systemd1.Unit", "Id")?;
        value::text(&id)
            .map(|id| Some(id.to_owned()))
            .ok_or(BusError::Unexpected("Id"))
    }

    /// A unit by name. One that is on no disk has the load state `not-found`; so this loads, and starts nothing.
    pub fn unit(&self, name: &str) -> Result<Unit, BusError> {
        let answer = self.manager("LoadUnit", &name)?;
        let path = value::object(&answer, "LoadUnit")?;
        let mut all = self.properties(&path, "org.freedesktop.systemd1.Unit")?;
        let of_service = if name.ends_with(".service") {
            self.properties(&path, "org.freedesktop.systemd1.Service")?
        } else {
            return Err(BusError::NotAService(name.to_owned()));
        };
        all.extend(of_service);
        unit::read(&all)
    }

    /// Has systemd read its unit files again. It answers when that is done.
    pub fn reload(&self, within: Duration) -> Result<(), BusError> {
        self.call(within, MANAGER_PATH, MANAGER, "Reload", &()).map(drop)
    }

    /// Makes a unit forget that it failed, and that it was started too often.
    pub fn reset_failed(&self, name: &str) -> Result<(), BusError> {
        self.manager("ResetFailedUnit", &name).map(drop)
    }

    /// Sends a signal, by its number, to every process of a unit.
    pub fn kill(&self, name: &str, signal: i32) -> Result<(), BusError> {
        self.manager("KillUnit", &(name, "all", signal)).map(drop)
    }

    fn text_of_manager(&self, name: &'static str) -> Result<String, BusError> {
        let value = self.property(MANAGER_PATH, MANAGER, name)?;
        value::text(&value).map(str::to_owned).ok_or(BusError::Unexpected(name))
    }

    pub(crate) fn property(
        &self,
        path: &str,
        interface: &str,
        name: &'static str,
    ) -> Result<zbus::OwnedVariant, BusError> {
        let answer = self.call(self.within, path, PROPERTIES, "Get", &(interface, name))?;
        let body = answer.body();
        body.deserialize().map_err(|error| BusError::of(name, error))
    }

    fn properties(&self, path: &str, interface: &str) -> Result<value::Properties, BusError> {
        let answer = self.call(self.within, path, PROPERTIES, "GetAll", &interface)?;
        let body = answer.body();
        body.deserialize().map_err(|error| BusError::of("GetAll", error))
    }

    pub(crate) fn manager<B>(&self, method: &'static str, body: &B) -> Result<Message, BusError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.call(self.within, MANAGER_PATH, MANAGER, method, body)
    }

    fn call<B>(
        &self,
        within: Duration,
        path: &str,
        interface: &str,
        method: &'static str,
        body: &B,
    ) -> Result<Message, BusError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let answer = ask(self.connection()?, path, interface, method, body);
        self.wait(within, method, answer)
    }

    pub(crate) fn wait<T>(
        &self,
        within: Duration,
        call: &'static str,
        answer: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        self.patience
            .wait(within, answer)
            .map_err(|_| BusError::Late { call, within })?
    }

    pub(crate) fn connection(&self) -> Result<&Connection, BusError> {
        self.connection.as_ref().ok_or(BusError::Unexpected("connection"))
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // The connection ends its tasks on the runtime that it was made on.
        let _entered = self.patience.enter();
        self.connection = None;
    }
}

pub(crate) async fn ask<B>(
    connection: &Connection,
    path: &str,
    interface: &str,
    method: &'static str,
    body: &B,
) -> Result<Message, BusError>
where
    B: serde::Serialize + zbus::DynamicType,
{
    connection
        .call_method(Some(SYSTEMD), path, Some(interface), method, body)
        .await
        .map_err(|error| BusError::of(method, error))
}

/// The number in `252.36-1~deb12u1`, `v255.4-1ubuntu8`, `239 (239-82.el8)`.
pub(crate) fn number(version: &str) -> Option<u32> {
    let version = version.trim().trim_start_matches('v');
    let end = version
        .find(|digit: char| !digit.is_ascii_digit())
        .unwrap_or(version.len());
    version[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_distributions_print_them() {
        for (text, expected) in [
            ("252.36-1~deb12u1", Some(252)),
            ("v255.4-1ubuntu8", Some(255)),
            ("239 (239-82.el8_10.3)", Some(239)),
            ("257~rc1", Some(257)),
            ("237", Some(237)),
            ("", None),
            ("rolling", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn an_absent_bus_is_told_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let error = Bus::connect_at(&folder.path().join("socket"), Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, BusError::Unreachable { .. }), "{error}");
        assert!(error.hint().contains("dbus"), "{}", error.hint());
    }

    #[test]
    fn a_bus_that_says_nothing_is_late_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let begun = std::time::Instant::now();
        let error = Bus::connect_at(&path, Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, BusError::Late { call: "Hello", .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
