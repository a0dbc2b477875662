//! What the readers of database servers share: where a server is, who asks, how it is reached, and what can go wrong.

pub(super) mod address;
mod tls;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use self::address::Address;
use crate::error::Error;
use crate::source::Kind;

/// How long an address may take to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a query may think. Longer silence means that nobody is there any more.
const SILENCE: Duration = Duration::from_secs(1800);

/// Who asks, where an address does not say so.
#[derive(Clone, Default)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// An address without its password.
pub(super) fn shown(name: &str, kind: Kind) -> String {
    Address::parse(name, &Login::default()).map_or_else(|_| format!("{}://…", kind.name()), |address| address.shown())
}

/// What went wrong.
pub(super) enum Failure {
    Io(io::Error),
    /// The server's own words, with its code of five signs.
    Server {
        code: String,
        why: String,
    },
    /// One is wanted, and none was given.
    Password,
    /// What the server wants, and we cannot.
    Unable(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl Failure {
    /// As the import tells it, after so many rows.
    pub(super) fn told(self, name: &str, rows: u64) -> Error {
        let name = name.to_string();
        match self {
            // Connection failures, operator interventions, lack of resources.
            Failure::Server { code, why } if ["08", "57", "53"].iter().any(|class| code.starts_with(class)) => {
                Error::Away { name, why: format!("the server ended the connection ({why})"), rows }
            }
            Failure::Server { code, why } => Error::Database { name, why: format!("{why} (SQLSTATE {code})") },
            Failure::Password => Error::Database { name, why: "the server asks for a password, and none was given".into() },
            Failure::Unable(why) => Error::Database { name, why },
            Failure::Io(error) => Error::Away { name, why: format!("the connection failed ({error})"), rows },
        }
    }
}

/// A connection, private or not.
pub(super) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// How a server is reached.
pub(super) enum Reached {
    /// By a socket of this machine.
    Here(Box<dyn Stream>),
    Network(TcpStream),
}

/// Reaches the server of an address; `socket` is the file that it would have in the folder that stands for a host.
pub(super) fn reach(address: &Address, socket: &str) -> Result<Reached, Failure> {
    #[cfg(unix)]
    if address.host.starts_with('/') {
        let folder = std::path::Path::new(&address.host);
        let file = if folder.is_dir() { folder.join(socket) } else { folder.to_path_buf() };
        let stream = std::os::unix::net::UnixStream::connect(file)?;
        stream.set_read_timeout(Some(SILENCE))?;
        return Ok(Reached::Here(Box::new(stream)));
    }
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for place in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, CONNECT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(SILENCE))?;
                stream.set_nodelay(true)?;
                return Ok(Reached::Network(stream));
            }
            Err(error) => failure = error,
        }
    }
    Err(Failure::Io(failure))
}

/// Makes a connection private.
pub(super) fn private(stream: TcpStream, host: &str) -> Result<Box<dyn Stream>, Failure> {
    Ok(Box::new(tls::private(stream, host)?))
}
