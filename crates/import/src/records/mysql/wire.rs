//! The connection: the handshake, who we are, and the rows of a query as they come.

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::packet::{Parts, read, write};
use crate::records::server::address::{Address, Tls};
use crate::records::server::{Failure, Reached, Stream, private, reach};

/// What we can: long passwords, a database by name, the newer protocol, TLS, transactions, proofs by plugins. Several statements
/// in one query are not among it, so the server refuses them.
const ABLE: u32 = 1 | 1 << 3 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 19;
const TLS: u32 = 1 << 11;
/// utf8mb4
const LETTERS: u8 = 45;

type Result<T> = std::result::Result<T, Failure>;

pub(super) struct Wire {
    stream: Box<dyn Stream>,
    private: bool,
    message: Vec<u8>,
    /// Whether rows are still to come.
    open: bool,
}

/// What a server says first.
struct Greeting {
    able: u32,
    plugin: Vec<u8>,
    salt: Vec<u8>,
}

impl Wire {
    pub(super) fn connect(address: &Address) -> Result<Wire> {
        let mut message = Vec::new();
        let (stream, greeting, mut number, secret) = match reach(address, "mysqld.sock")? {
            Reached::Here(mut stream) => {
                let number = read(&mut stream, &mut message)?;
                (stream, greeting(&message)?, number, true)
            }
            Reached::Network(mut stream) => {
                let number = read(&mut stream, &mut message)?;
                let greeting = greeting(&message)?;
                match (greeting.able & TLS != 0, address.tls) {
                    (false, Tls::Require) => {
                        return Err(Failure::Unable("found a server without TLS, expected one with it, as sslmode says".into()));
                    }
                    (false, _) | (_, Tls::Never) => (Box::new(stream) as Box<dyn Stream>, greeting, number, false),
                    (true, _) => {
                        write(&mut stream, number, &head(ABLE | TLS))?;
                        (private(stream, &address.host)?, greeting, number + 1, true)
                    }
                }
            }
        };
        let mut wire = Wire { stream, private: secret, message, open: false };
        let proof = wire.proof(&greeting.plugin, &greeting.salt, address)?;
        let over_tls = wire.private && !address.host.starts_with('/');
        let mut answer = head(if over_tls { ABLE | TLS } else { ABLE });
        answer.extend(address.user.as_bytes());
        answer.push(0);
        answer.push(proof.len() as u8);
        answer.extend(proof);
        answer.extend(address.database.as_bytes());
        answer.push(0);
        answer.extend(&greeting.plugin);
        answer.push(0);
        write(&mut wire.stream, number, &answer)?;
        loop {
            number = wire.read()?;
            match wire.message.first() {
                Some(0x00) => return Ok(wire),
                Some(0xFE) => {
                    let mut parts = Parts(&wire.message[1..]);
                    let (plugin, salt) = (parts.ended().to_vec(), parts.ended().to_vec());
                    let proof = wire.proof(&plugin, &salt, address)?;
                    write(&mut wire.stream, number, &proof)?;
                }
                // The server knows the password's hash already: nothing to do.
                Some(0x01) if wire.message.get(1) == Some(&3) => {}
                Some(0x01) if wire.private => {
                    let password = address.password.clone().ok_or(Failure::Password)?;
                    write(&mut wire.stream, number, &[password.as_bytes(), &[0]].concat())?;
                }
                Some(0x01) => {
                    let why = "the server wants the password itself, which is sent over TLS or a socket only, expected ?sslmode=require";
                    return Err(Failure::Unable(why.into()));
                }
                _ => return Err(unexpected()),
            }
        }
    }

    pub(super) fn is_private(&self) -> bool {
        self.private
    }

    /// What proves the password without telling it.
    fn proof(&self, plugin: &[u8], salt: &[u8], address: &Address) -> Result<Vec<u8>> {
        let Some(password) = address.password.as_deref().filter(|password| !password.is_empty()) else { return Ok(Vec::new()) };
        let password = password.as_bytes();
        match plugin {
            b"mysql_native_password" => Ok(mixed::<Sha1>(password, salt, Salt::First)),
            b"caching_sha2_password" => Ok(mixed::<Sha256>(password, salt, Salt::Last)),
            b"mysql_clear_password" if self.private => Ok([password, &[0]].concat()),
            other => {
                let other = String::from_utf8_lossy(other);
                Err(Failure::Unable(format!(
                    "found a user whose proof is `{other}`, expected mysql_native_password or caching_sha2_password"
                )))
            }
        }
    }

    /// Runs a statement of ours that gives no rows.
    pub(super) fn run(&mut self, statement: &str) -> Result<()> {
        self.ask(statement).map(|_| ())
    }

    /// Begins a query; gives names and types of its columns, none where it gives no rows.
    pub(super) fn ask(&mut self, query: &str) -> Result<Vec<(String, u8)>> {
        write(&mut self.stream, 0, &[&[3], query.as_bytes()].concat())?;
        self.read()?;
        let count = match self.message.first() {
            Some(0x00) => return Ok(Vec::new()),
            // A file of ours that the server would like to read.
            Some(0xFB) | None => return Err(unexpected()),
            Some(_) => Parts(&self.message).length()?.unwrap_or(0),
        };
        let mut columns = Vec::new();
        for _ in 0..count {
            self.read()?;
            columns.push(column(&self.message)?);
        }
        self.read()?;
        self.open = true;
        Ok(columns)
    }

    /// The next row; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Option<String>>>> {
        if !self.open {
            return Ok(None);
        }
        self.read()?;
        if self.message.first() == Some(&0xFE) && self.message.len() < 9 {
            self.open = false;
            return Ok(None);
        }
        let mut parts = Parts(&self.message);
        let mut cells = Vec::new();
        while !parts.0.is_empty() {
            cells.push(parts.text()?);
        }
        Ok(Some(cells))
    }

    /// Reads a message; one that is an error is one.
    fn read(&mut self) -> Result<u8> {
        let number = read(&mut self.stream, &mut self.message)?;
        match self.message.first() {
            Some(0xFF) => Err(refused(&self.message)?),
            _ => Ok(number),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // A server notices a connection that is gone, if later.
        let _ = write(&mut self.stream, 0, &[1]);
    }
}

/// What both the wish for TLS and the answer to the greeting begin with.
fn head(able: u32) -> Vec<u8> {
    let longest = 0x0100_0000u32;
    [&able.to_le_bytes()[..], &longest.to_le_bytes(), &[LETTERS], &[0; 23]].concat()
}

fn greeting(message: &[u8]) -> Result<Greeting> {
    if message.first() == Some(&0xFF) {
        return Err(refused(message)?);
    }
    let mut parts = Parts(message);
    if parts.byte()? != 10 {
        return Err(unexpected());
    }
    parts.ended();
    parts.take(4)?;
    let mut salt = parts.take(8)?.to_vec();
    parts.take(1)?;
    let low = parts.integer(2)? as u32;
    parts.take(3)?;
    let high = parts.integer(2)? as u32;
    let length = usize::from(parts.byte()?);
    parts.take(10)?;
    salt.extend(parts.take(length.saturating_sub(8).max(13))?);
    // It ends with a zero that is no part of it.
    salt.truncate(20);
    Ok(Greeting { able: low | high << 16, plugin: parts.ended().to_vec(), salt })
}

fn column(message: &[u8]) -> Result<(String, u8)> {
    let mut parts = Parts(message);
    // Catalogue, schema, table by its alias and by its name.
    for _ in 0..4 {
        parts.text()?;
    }
    let name = parts.text()?.unwrap_or_default();
    parts.text()?;
    // The length of what follows, letters, width.
    parts.take(1 + 2 + 4)?;
    Ok((name, parts.byte()?))
}

/// The server's words. Codes of its own that mean a lost server get the class that the standard has for it.
fn refused(message: &[u8]) -> Result<Failure> {
    let mut parts = Parts(message);
    parts.take(1)?;
    let number = parts.integer(2)?;
    let state = parts.0.strip_prefix(b"#").and_then(|rest| rest.get(..5)).map(|state| String::from_utf8_lossy(state).into_owned());
    let words = parts.0.get(if state.is_some() { 6 } else { 0 }..).unwrap_or_default();
    let code = match number {
        // Shut down, killed, too many connections.
        1053 | 1317 | 1040 | 1927 | 3024 => "57000".to_string(),
        _ => state.unwrap_or_else(|| "HY000".to_string()),
    };
    Ok(Failure::Server { code, why: format!("{} ({number})", String::from_utf8_lossy(words)) })
}

fn unexpected() -> Failure {
    Failure::Unable("found an answer out of turn, expected MySQL's protocol 10".into())
}

/// Where a proof has its salt: each plugin has its own order.
#[derive(Clone, Copy)]
enum Salt {
    First,
    Last,
}

/// The password's hash, covered by a hash of salt and twice hashed password.
fn mixed<D: Digest>(password: &[u8], salt: &[u8], order: Salt) -> Vec<u8> {
    let once = D::digest(password);
    let twice = D::digest(&once);
    let cover = match order {
        Salt::First => D::digest([salt, &twice].concat()),
        Salt::Last => D::digest([&twice, salt].concat()),
    };
    once.iter().zip(cover.iter()).map(|(a, b)| a ^ b).collect()
}
