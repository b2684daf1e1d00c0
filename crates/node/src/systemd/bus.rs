//! The connection to systemd over the system D-Bus. Every call has a deadline, and every error has a hint.

use crate::containerd::blocking::BlockingRuntime;
use crate::containerd::peer::dial;
use crate::systemd::error::BusError;
use crate::systemd::unit::Unit;
use crate::systemd::{unit, value};
use std::path::Path;
use std::time::Duration;
use zbus::connection::Builder;
use zbus::{Connection, Message};

/// The socket of the system D-Bus on every distribution. `DBUS_SYSTEM_BUS_ADDRESS` is ignored: an environment variable
/// must not decide which program root trusts.
const SOCKET: &str = "/run/dbus/system_bus_socket";
pub(crate) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(crate) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub(crate) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(crate) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The oldest systemd release that is supported. `PrivateMounts=` needs 239, `TemporaryFileSystem=` 238.
const OLDEST_SUPPORTED: u32 = 239;

/// A connection to systemd over the system D-Bus.
#[derive(Debug)]
pub struct Bus {
    /// `None` only while the value is dropped.
    connection: Option<Connection>,
    pub(crate) within: Duration,
    version: String,
    pub(crate) runtime: BlockingRuntime,
}

impl Bus {
    /// Connects to the system D-Bus and reads systemd's version. `within` bounds this call, and each later call that
    /// takes no deadline.
    ///
    /// # Errors
    /// A [`BusError`] with its [`hint`](BusError::hint). [`BusError::TooOld`] means that systemd is older than 239.
    pub fn connect(within: Duration) -> Result<Self, BusError> {
        Self::connect_at(Path::new(SOCKET), within)
    }

    /// Connects like [`Bus::connect`], to the D-Bus socket at `socket`.
    pub fn connect_at(socket: &Path, within: Duration) -> Result<Self, BusError> {
        let unreachable = |source| BusError::Unreachable {
            socket: socket.to_owned(),
            source,
        };
        let runtime = BlockingRuntime::new().map_err(unreachable)?;
        // zbus does not connect by itself, because its error does not distinguish a missing socket from a refused one.
        let stream = dial(socket).map_err(unreachable)?;
        let handshake = async { Builder::unix_stream(stream).build().await };
        let connection = runtime
            .wait(within, handshake)
            .map_err(|_| BusError::Late { call: "Hello", within })?
            .map_err(|error| BusError::new("Hello", error))?;
        let mut bus = Self {
            connection: Some(connection),
            within,
            version: String::new(),
            runtime,
        };
        bus.version = bus.manager_string("Version")?;
        match version_number(&bus.version) {
            Some(number) if number >= OLDEST_SUPPORTED => Ok(bus),
            Some(_) => Err(BusError::TooOld(bus.version.clone())),
            None => Err(BusError::Unexpected("Version")),
        }
    }

    /// Returns systemd's version as systemd prints it, such as `252.36-1~deb12u1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the name of the unit that a process belongs to, or `None` if it belongs to no unit.
    pub fn unit_of_process(&self, pid: u32) -> Result<Option<String>, BusError> {
        let answer = match self.manager("GetUnitByPID", &pid) {
            Ok(answer) => answer,
            Err(BusError::NoUnit(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let path = value::object_path(&answer, "GetUnitByPID")?;
        let id = self.property(&path, "org.freedesktop.systemd1.Unit", "Id")?;
        value::text(&id)
            .map(|id| Some(id.to_owned()))
            .ok_or(BusError::Unexpected("Id"))
    }

    /// Reads a service by its unit name. systemd loads the unit if necessary and starts nothing. A unit that does not
    /// exist has the load state `not-found`.
    pub fn unit(&self, name: &str) -> Result<Unit, BusError> {
        let answer = self.manager("LoadUnit", &name)?;
        let path = value::object_path(&answer, "LoadUnit")?;
        let mut all = self.properties(&path, "org.freedesktop.systemd1.Unit")?;
        let service_properties = if name.ends_with(".service") {
            self.properties(&path, "org.freedesktop.systemd1.Service")?
        } else {
            return Err(BusError::NotAService(name.to_owned()));
        };
        all.extend(service_properties);
        unit::parse_unit(&all)
    }

    /// Makes systemd read its unit files again, and waits until it has done so.
    pub fn reload(&self, within: Duration) -> Result<(), BusError> {
        self.call(within, MANAGER_PATH, MANAGER, "Reload", &()).map(drop)
    }

    /// Clears a unit's failed state and its counter of starts.
    pub fn reset_failed(&self, name: &str) -> Result<(), BusError> {
        self.manager("ResetFailedUnit", &name).map(drop)
    }

    /// Sends a signal, given by its number, to every process of a unit.
    pub fn kill(&self, name: &str, signal: i32) -> Result<(), BusError> {
        self.manager("KillUnit", &(name, "all", signal)).map(drop)
    }

    fn manager_string(&self, name: &'static str) -> Result<String, BusError> {
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
        body.deserialize().map_err(|error| BusError::new(name, error))
    }

    fn properties(&self, path: &str, interface: &str) -> Result<value::Properties, BusError> {
        let answer = self.call(self.within, path, PROPERTIES, "GetAll", &interface)?;
        let body = answer.body();
        body.deserialize().map_err(|error| BusError::new("GetAll", error))
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
        let answer = call_method(self.connection()?, path, interface, method, body);
        self.wait(within, method, answer)
    }

    pub(crate) fn wait<T>(
        &self,
        within: Duration,
        call: &'static str,
        answer: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        self.runtime
            .wait(within, answer)
            .map_err(|_| BusError::Late { call, within })?
    }

    pub(crate) fn connection(&self) -> Result<&Connection, BusError> {
        self.connection.as_ref().ok_or(BusError::Unexpected("connection"))
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // zbus ends the tasks of a connection on the runtime that started them, so the runtime must be current.
        let _entered = self.runtime.enter();
        self.connection = None;
    }
}

/// Calls a method of systemd. The caller bounds it with a deadline.
pub(crate) async fn call_method<B>(
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
        .map_err(|error| BusError::new(method, error))
}

/// Returns the leading number of a version such as `252.36-1~deb12u1`, `v255.4-1ubuntu8` or `239 (239-82.el8)`.
pub(crate) fn version_number(version: &str) -> Option<u32> {
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
    fn version_number_is_read_as_distributions_print_it() {
        for (text, expected) in [
            ("252.36-1~deb12u1", Some(252)),
            ("v255.4-1ubuntu8", Some(255)),
            ("239 (239-82.el8_10.3)", Some(239)),
            ("257~rc1", Some(257)),
            ("237", Some(237)),
            ("", None),
            ("rolling", None),
        ] {
            assert_eq!(version_number(text), expected, "{text}");
        }
    }

    #[test]
    fn connect_to_a_missing_socket_fails_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let error = Bus::connect_at(&folder.path().join("socket"), Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, BusError::Unreachable { .. }), "{error}");
        assert!(error.hint().contains("dbus"), "{}", error.hint());
    }

    #[test]
    fn connect_to_a_silent_socket_ends_at_its_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let start = std::time::Instant::now();
        let error = Bus::connect_at(&path, Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, BusError::Late { call: "Hello", .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
