//! Faults of imports: what to do about a source.

use super::files::named;
use super::{Fault, Kind};

impl From<import::Error> for Fault {
    fn from(e: import::Error) -> Fault {
        use import::Error as E;
        let yours = || Fault::new(Kind::Yours, &e);
        match e {
            E::Io { ref path, ref source, .. } => named(&e, source, path),
            E::Record(inner) => inner.into(),
            E::Unreadable { ref found, .. } if found.contains("password") => {
                yours().hint("open it in its program, save it as .xlsx without a password, or export it as CSV")
            }
            E::Unreadable { ref found, .. } if found.contains("cut") || found.contains("damaged") => {
                yours().hint("get a whole copy of it: compare its size with the original's")
            }
            E::Unreadable { .. } => yours().hint("see what can be read: tunesmith data import --help"),
            E::Cut { .. } => yours().hint("get a whole copy of it, then import again"),
            E::Roles { ref found, .. } => {
                let first = found.first().map_or("COLUMN", String::as_str);
                let second = found.get(1).map_or("COLUMN", String::as_str);
                yours().hint(format!("say which: --role question={first:?} --role answer={second:?}"))
            }
            E::NoColumn { .. } => yours().hint("see the columns and what they are taken for: --dry-run"),
            E::NoQuery { ref tables, .. } => {
                let table = tables.first().map_or("TABLE", String::as_str);
                yours().hint(format!("say which: --query \"select * from {table}\""))
            }
            E::Database { ref why, .. } if why.contains("password") || why.contains("authentication") => yours()
                .hint("give it outside of the command: export PGPASSWORD=...; the user is in the address: postgres://USER@HOST/DATABASE"),
            E::Database { ref why, .. } if why.contains("private connection") => {
                yours().hint("the server's certificate must be trusted here; in a network of your own, without TLS: ...?sslmode=disable")
            }
            E::Database { .. } => yours().hint("try the query in the database's own client; it must only read"),
            E::Away { rows, .. } if rows > 0 => {
                Fault::new(Kind::Machine, &e).hint("what was read is kept: run the same command again, and it goes on")
            }
            E::Away { .. } => Fault::new(Kind::Machine, &e).hint("see that the server runs and that host and port are right"),
            E::Exists { .. } => yours().hint("name another one: --out FILE.jsonl"),
            E::Other { ref differs, .. } if differs == "sources" => {
                yours().hint("a source was changed or replaced since; begin anew: --fresh")
            }
            E::Other { .. } => yours().hint("run the command as it was, or begin anew: --fresh"),
            E::NoMail { .. } => yours().hint("name an .mbox or .eml file, a Maildir, or a folder of them"),
            E::NoAgent { .. } => yours().hint("say who answers: --agents @your-firm.example"),
            E::BadAgent { .. } => yours().hint("--agents @firm.example or --agents help@firm.example, once for each"),
            E::NoTickets { .. } => yours().hint("of a system that is not known, name the fields: --from mapped --mapping FILE.toml"),
            E::Mapping { .. } => yours().hint("a mapping names the fields of an export: see tunesmith data import --help"),
            E::Journal { ref found, .. } if found.contains("now") => yours().hint("wait until it has finished"),
            E::Journal { .. } => yours().hint("begin anew: --fresh"),
        }
    }
}
