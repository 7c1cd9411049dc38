//! What a service tells the supervisor that started it (systemd's `sd_notify`). Without one, nobody is told.
//! It must never fail a service that nobody supervises.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

const SOCKET: &str = "NOTIFY_SOCKET";

/// The socket of the supervisor, if there is one.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
}

impl Supervisor {
    /// The one that started this process.
    pub fn of_this_process() -> Self {
        let Some(path) = std::env::var_os(SOCKET).filter(|path| !path.is_empty()) else { return Self { socket: None } };
        match connect(path.as_bytes()) {
            Ok(socket) => Self { socket: Some(socket) },
            Err(error) => {
                tracing::warn!(%error, "the supervisor at {SOCKET} can't be reached");
                Self { socket: None }
            }
        }
    }

    /// The service does its work from now on.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// It is alive: said more often than the watchdog's limit.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, state: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(state.as_bytes())) {
            tracing::warn!(%error, state, "the supervisor was not told");
        }
    }
}

/// A name that begins with `@` is in the abstract namespace.
fn connect(path: &[u8]) -> io::Result<UnixDatagram> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // Whoever does not read it must not hold up a service.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("ringfleet-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let cases = [
            (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}"), UnixDatagram::bind_addr(&abstract_name).unwrap()),
        ];
        for (address, listening) in cases {
            let supervisor = Supervisor { socket: Some(connect(address.as_bytes()).unwrap()) };
            supervisor.ready();
            supervisor.alive();
            for expect in ["READY=1", "WATCHDOG=1"] {
                let mut buffer = [0; 64];
                let length = listening.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], expect.as_bytes(), "{address}");
            }
        }
    }

    #[test]
    fn without_one_nobody_is_told() {
        Supervisor { socket: None }.ready();
        assert!(connect(b"/nonexistent/socket").is_err());
    }
}
