//! The connection: its messages, who we are, and a portal that gives rows a few at a time.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{DataRowBody, ErrorFields, Message};
use postgres_protocol::message::frontend;

use crate::records::server::address::{Address, Tls};
use crate::records::server::{Failure, Reached, Stream, private, reach};

type Result<T> = std::result::Result<T, Failure>;

pub(super) struct Wire {
    stream: Box<dyn Stream>,
    private: bool,
    received: BytesMut,
}

impl Wire {
    pub(super) fn connect(address: &Address) -> Result<Wire> {
        let (stream, private) = stream(address)?;
        let mut wire = Wire { stream, private, received: BytesMut::new() };
        let parameters =
            [("user", &address.user[..]), ("database", &address.database), ("client_encoding", "UTF8"), ("application_name", "tunesmith")];
        wire.send(|out| frontend::startup_message(parameters, out))?;
        wire.sign_in(address)?;
        wire.settle()?;
        Ok(wire)
    }

    pub(super) fn is_private(&self) -> bool {
        self.private
    }

    fn sign_in(&mut self, address: &Address) -> Result<()> {
        let password = || address.password.as_deref().map(str::as_bytes).ok_or(Failure::Password);
        loop {
            match self.receive()? {
                Message::AuthenticationOk => return Ok(()),
                Message::AuthenticationCleartextPassword => {
                    let password = password()?;
                    self.send(|out| frontend::password_message(password, out))?;
                }
                Message::AuthenticationMd5Password(asked) => {
                    let hash = md5_hash(address.user.as_bytes(), password()?, asked.salt());
                    self.send(|out| frontend::password_message(hash.as_bytes(), out))?;
                }
                Message::AuthenticationSasl(asked) => {
                    if !asked.mechanisms().any(|name| Ok(name == SCRAM_SHA_256))? {
                        return Err(Failure::Unable("found a server that asks for another proof than SCRAM-SHA-256 or a password".into()));
                    }
                    self.scram(password()?)?;
                }
                _ => {
                    return Err(Failure::Unable(
                        "found a server that asks for Kerberos, SSPI or the like, expected one with passwords".into(),
                    ));
                }
            }
        }
    }

    fn scram(&mut self, password: &[u8]) -> Result<()> {
        let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
        self.send(|out| frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out))?;
        let Message::AuthenticationSaslContinue(answer) = self.receive()? else { return Err(unexpected()) };
        scram.update(answer.data())?;
        self.send(|out| frontend::sasl_response(scram.message(), out))?;
        let Message::AuthenticationSaslFinal(answer) = self.receive()? else { return Err(unexpected()) };
        Ok(scram.finish(answer.data())?)
    }

    /// Runs a statement of ours; gives the first cell of each row.
    pub(super) fn ask(&mut self, statement: &str) -> Result<Vec<String>> {
        self.send(|out| frontend::query(statement, out))?;
        let mut found = Vec::new();
        loop {
            match self.receive()? {
                Message::DataRow(row) => found.extend(cells(&row)?.into_iter().next().flatten()),
                Message::ReadyForQuery(_) => return Ok(found),
                _ => {}
            }
        }
    }

    /// Begins a query, which is one statement by the protocol's own rules; gives names and types of its columns.
    pub(super) fn open_portal(&mut self, query: &str) -> Result<Vec<(String, u32)>> {
        self.send(|out| {
            frontend::parse("", query, [], out)?;
            // No parameters; all columns as text.
            let bound = frontend::bind("", "", [], [0i16; 0], |_: i16, _: &mut BytesMut| Ok(IsNull::Yes), [0i16], out);
            bound.map_err(|_| io::Error::other("a query that cannot be sent"))?;
            frontend::describe(b'P', "", out)?;
            frontend::sync(out);
            Ok(())
        })?;
        let mut columns = Vec::new();
        loop {
            match self.receive()? {
                Message::RowDescription(about) => {
                    columns = about.fields().map(|field| Ok((field.name().to_string(), field.type_oid()))).collect()?;
                }
                Message::ReadyForQuery(_) => return Ok(columns),
                _ => {}
            }
        }
    }

    /// The next rows; says whether there are more.
    pub(super) fn fetch(&mut self, count: i32, rows: &mut VecDeque<Vec<Option<String>>>) -> Result<bool> {
        self.send(|out| {
            frontend::execute("", count, out)?;
            frontend::sync(out);
            Ok(())
        })?;
        let mut more = false;
        loop {
            match self.receive()? {
                Message::DataRow(row) => rows.push_back(cells(&row)?),
                Message::PortalSuspended => more = true,
                Message::ReadyForQuery(_) => return Ok(more),
                _ => {}
            }
        }
    }

    fn settle(&mut self) -> Result<()> {
        loop {
            if let Message::ReadyForQuery(_) = self.receive()? {
                return Ok(());
            }
        }
    }

    fn send(&mut self, fill: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<()> {
        let mut out = BytesMut::new();
        fill(&mut out)?;
        self.stream.write_all(&out)?;
        Ok(self.stream.flush()?)
    }

    /// The next message that is an answer.
    fn receive(&mut self) -> Result<Message> {
        let mut piece = [0u8; 1 << 14];
        loop {
            match Message::parse(&mut self.received)? {
                Some(Message::ErrorResponse(error)) => return Err(refused(error.fields())?),
                Some(Message::NoticeResponse(_) | Message::ParameterStatus(_) | Message::NotificationResponse(_)) => {}
                Some(message) => return Ok(message),
                None => match self.stream.read(&mut piece)? {
                    0 => return Err(Failure::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"))),
                    got => self.received.extend_from_slice(&piece[..got]),
                },
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // A server notices a connection that is gone, if later.
        let _ = self.send(|out| {
            frontend::terminate(out);
            Ok(())
        });
    }
}

fn cells(row: &DataRowBody) -> io::Result<Vec<Option<String>>> {
    let bytes = row.buffer();
    row.ranges().map(|range| Ok(range.map(|range| String::from_utf8_lossy(&bytes[range]).into_owned()))).collect()
}

fn refused(mut fields: ErrorFields<'_>) -> io::Result<Failure> {
    let (mut code, mut why) = (String::new(), String::new());
    while let Some(field) = fields.next()? {
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => code = text,
            b'M' => why = text,
            _ => {}
        }
    }
    Ok(Failure::Server { code, why })
}

fn unexpected() -> Failure {
    Failure::Unable("found an answer out of turn, expected PostgreSQL's".into())
}

fn stream(address: &Address) -> Result<(Box<dyn Stream>, bool)> {
    let mut stream = match reach(address, &format!(".s.PGSQL.{}", address.port))? {
        Reached::Here(stream) => return Ok((stream, false)),
        Reached::Network(stream) => stream,
    };
    if address.tls == Tls::Never {
        return Ok((Box::new(stream), false));
    }
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    stream.write_all(&out)?;
    let mut answer = [0u8];
    stream.read_exact(&mut answer)?;
    match (answer[0], address.tls) {
        (b'S', _) => private(stream, &address.host).map(|stream| (stream, true)),
        (_, Tls::Require) => Err(Failure::Unable("found a server without TLS, expected one with it, as sslmode says".into())),
        _ => Ok((Box::new(stream), false)),
    }
}
