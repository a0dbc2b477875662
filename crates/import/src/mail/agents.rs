//! Who answers for the firm.

use super::head::{Head, Names};
use crate::error::Error;
use std::collections::HashMap;

/// A domain, with `@` in front, or one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agents {
    named: Vec<String>,
    /// Where they were guessed: the mails that they answered, and those that the next best domain did.
    pub guessed: Option<Guess>,
}

/// How sure a guess is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    pub answers: u64,
    pub next: Option<(String, u64)>,
}

/// Hosts at which everybody has a mailbox: there one address is an agent, never the domain.
const PUBLIC: &[&str] = &[
    "gmail.com",
    "googlemail.com",
    "yahoo.com",
    "hotmail.com",
    "outlook.com",
    "live.com",
    "msn.com",
    "aol.com",
    "icloud.com",
    "me.com",
    "gmx.de",
    "gmx.net",
    "gmx.at",
    "gmx.ch",
    "web.de",
    "t-online.de",
    "freenet.de",
    "posteo.de",
    "mailbox.org",
    "proton.me",
    "protonmail.com",
    "orange.fr",
    "wanadoo.fr",
    "free.fr",
    "laposte.net",
    "sfr.fr",
    "yahoo.fr",
    "hotmail.fr",
    "libero.it",
    "virgilio.it",
    "tiscali.it",
    "alice.it",
    "ziggo.nl",
    "kpnmail.nl",
    "planet.nl",
    "telefonica.net",
    "hotmail.es",
    "yahoo.es",
    "sapo.pt",
    "uol.com.br",
    "bol.com.br",
    "yandex.ru",
    "mail.ru",
    "qq.com",
    "163.com",
    "126.com",
];

impl Agents {
    /// Agents as they were given: `@firm.example` or `help@firm.example`.
    pub fn given(named: &[String]) -> Result<Agents, Error> {
        let mut all = Vec::new();
        for name in named {
            let plain = name.trim().to_lowercase();
            let well = plain.split_once('@').is_some_and(|(_, host)| !host.is_empty() && !host.contains(['@', ' ', ',']));
            if !well {
                return Err(Error::BadAgent { given: name.clone() });
            }
            all.push(plain);
        }
        Ok(Agents { named: all, guessed: None })
    }

    /// The domain from which most mails of others are answered; none if nobody answers.
    pub fn guess(heads: &[Head], threads: &[Vec<u32>], people: &Names) -> Option<Agents> {
        let mut answers: HashMap<String, u64> = HashMap::new();
        for thread in threads {
            let ordinary = thread.iter().map(|n| &heads[*n as usize]).filter(|head| !head.automatic);
            let speakers: Vec<String> = ordinary.filter_map(|head| Some(house(people.get(head.from?)))).collect();
            for two in speakers.windows(2).filter(|two| two[0] != two[1]) {
                *answers.entry(two[1].clone()).or_default() += 1;
            }
        }
        let mut ranked: Vec<(String, u64)> = answers.into_iter().collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut ranked = ranked.into_iter();
        let (best, answers) = ranked.next()?;
        Some(Agents { named: vec![best], guessed: Some(Guess { answers, next: ranked.next() }) })
    }

    /// As given or guessed.
    pub fn named(&self) -> &[String] {
        &self.named
    }

    /// Whether an address is an agent's.
    pub fn has(&self, address: &str) -> bool {
        let host = address.split_once('@').map_or("", |(_, host)| host);
        self.named.iter().any(|name| match name.strip_prefix('@') {
            Some(domain) => host == domain || host.strip_suffix(domain).is_some_and(|sub| sub.ends_with('.')),
            None => name == address,
        })
    }
}

/// A domain, or at a public host the address.
fn house(address: &str) -> String {
    match address.split_once('@') {
        Some((_, host)) if !PUBLIC.contains(&host) => format!("@{host}"),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_take_their_subdomains_and_no_lookalikes() {
        let agents = Agents::given(&["@firm.example".into(), " Help@Other.example ".into()]).unwrap();
        assert!(agents.has("ann@firm.example") && agents.has("ann@mail.firm.example") && agents.has("help@other.example"));
        assert!(!agents.has("ann@notfirm.example") && !agents.has("ann@other.example") && !agents.has("firm.example"));
        for wrong in ["firm.example", "@", "a@b@c", "a@b, c@d"] {
            assert!(Agents::given(&[wrong.into()]).is_err(), "{wrong}");
        }
    }
}
