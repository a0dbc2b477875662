//! Where a server is, and who asks.

use url::Url;

use super::Login;

/// Whether the connection is private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::records) enum Tls {
    Never,
    /// Where the server can.
    Prefer,
    Require,
}

pub(in crate::records) struct Address {
    scheme: &'static str,
    /// A host, or a socket or its folder.
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: Option<String>,
    pub tls: Tls,
}

impl Address {
    /// Takes a `postgres://` or `mysql://` address apart; says what was found where it is none.
    pub(in crate::records) fn parse(text: &str, login: &Login) -> Result<Address, String> {
        let url = Url::parse(text).map_err(|error| format!("an address that cannot be read ({error})"))?;
        let decoded = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
        let option = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let user = Some(decoded(url.username())).filter(|user| !user.is_empty()).or_else(|| login.user.clone());
        let (scheme, port, boss) = match url.scheme() {
            "mysql" | "mariadb" => ("mysql", 3306, "root"),
            _ => ("postgres", 5432, "postgres"),
        };
        let user = user.unwrap_or_else(|| boss.to_string());
        let tls = match option("sslmode").as_deref() {
            Some("disable") => Tls::Never,
            None | Some("prefer" | "allow") => Tls::Prefer,
            Some("require" | "verify-ca" | "verify-full") => Tls::Require,
            Some(other) => return Err(format!("sslmode={other}")),
        };
        let database = Some(decoded(url.path().trim_matches('/'))).filter(|name| !name.is_empty());
        Ok(Address {
            scheme,
            host: option("host")
                .or_else(|| url.host_str().map(decoded))
                .filter(|host| !host.is_empty())
                .unwrap_or_else(|| "localhost".into()),
            port: url.port().or_else(|| option("port").and_then(|port| port.parse().ok())).unwrap_or(port),
            database: database.unwrap_or_else(|| user.clone()),
            user,
            password: url.password().map(decoded).or_else(|| login.password.clone()),
            tls,
        })
    }

    /// Without password.
    pub(in crate::records) fn shown(&self) -> String {
        let Address { scheme, host, port, database, user, .. } = self;
        format!("{scheme}://{user}@{host}:{port}/{database}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_shown_without_its_password() {
        let login = Login { user: Some("me".into()), password: Some("from outside".into()) };
        let address = Address::parse("postgres://anna:s%40cret@db.example:6432/tickets?sslmode=require", &login).unwrap();
        assert_eq!((address.host.as_str(), address.port, address.database.as_str()), ("db.example", 6432, "tickets"));
        assert_eq!((address.user.as_str(), address.password.as_deref(), address.tls), ("anna", Some("s@cret"), Tls::Require));
        assert_eq!(address.shown(), "postgres://anna@db.example:6432/tickets");

        let address = Address::parse("postgresql:///tickets?host=/run/postgresql", &login).unwrap();
        assert_eq!((address.host.as_str(), address.port, address.user.as_str()), ("/run/postgresql", 5432, "me"));
        assert_eq!(address.password.as_deref(), Some("from outside"));
        assert!(Address::parse("postgres://h/d?sslmode=maybe", &login).is_err());
    }
}
