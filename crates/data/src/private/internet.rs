//! E-mail addresses, addresses of machines, and links that let their holder in.

use core::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::context::{alone, before, has_any, pattern};
use super::{Found, Kind};

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[\p{L}\p{N}][\p{L}\p{N}._%+'\-]{0,63}@(?:[\p{L}\p{N}](?:[\p{L}\p{N}\-]{0,61}[\p{L}\p{N}])?\.)+\p{L}{2,24}"));
/// As people write it to cheat robots, and as it is heard.
static SPELT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b[a-z0-9][a-z0-9._+\-]{0,63}(?:\s?[\(\[]\s?at\s?[\)\]]\s?|\sat\s)[a-z0-9\-]{2,40}(?:\s?[\(\[]\s?dot\s?[\)\]]\s?|\sdot\s)[a-z]{2,10}\b",
    )
});
/// Without its signs, as chats and transcripts lose them: the name of a mail service, then what was its ending.
static BARE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)\b[a-z0-9][a-z0-9._]*(?:[ ]\d{1,6})?[ ]?(?:at[ ]?)?(?:",
        r"(?:g?mail|yahoo|hotmail|rediffmail|ymail|rocketmail|protonmail|icloud|gmx)(?:[ ]?\.?(?:com|cpm|con|cmo|net|org|co[ ]?uk|co[ ]?in)|in|de|fr|es|it)",
        r"|(?:outlook|live|aol|msn|zoho)\.?com)\b"
    ))
});
static BARE_HEARD: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b[a-z][a-z0-9]{3,}(?:[ ]\d{1,6})?[ ]?(?:com|net|org|edu|coin)\b"));
static IPV4: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d{1,3}(?:\.\d{1,3}){3}"));
static IPV6: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:%[a-z0-9]+)?"));
static MAC: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5})|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}"));
static LINK: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?i)\b(?:https?|wss?|ftp)://[^\s<>"'\\`]+"#));
static KEYED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)[?&;#](?:access_?token|token|auth|sig|signature|key|api_?key|secret|session|sid|jwt|code|otp|password|pwd|reset|invite|user|uid|userid|email|phone)=[^&#]{6,}|/(?:reset|verify|invite|unsubscribe|confirm|magic)[a-z\-]*/[a-z0-9_\-]{16,}|://[^/@\s:]+:[^/@\s]+@",
    )
});

const MAIL_WORDS: [&str; 8] = ["email", "e-mail", "mail", "mail id", "emailid", "correo", "courriel", "e mail"];

/// E-mail addresses.
pub(super) fn emails(text: &str, found: &mut Vec<Found>) {
    if text.contains('@') {
        for one in EMAIL.find_iter(text).filter(|one| !office(one.as_str())) {
            found.push(Found::new(one.range(), Kind::Email, 0.99, "form of an e-mail address"));
        }
    }
    let spelt = SPELT.find_iter(text).map(|one| (one.range(), "an e-mail address, spelt out"));
    let bare = BARE.find_iter(text).map(|one| (trimmed(text, one.range()), "an e-mail address that lost its signs"));
    for (range, why) in spelt.chain(bare) {
        found.push(Found::new(range, Kind::Email, 0.9, why));
    }
    for one in BARE_HEARD.find_iter(text).filter(|one| has_any(&before(text, one.start(), 24), &MAIL_WORDS)) {
        found.push(Found::new(trimmed(text, one.range()), Kind::Email, 0.85, "behind the word e-mail"));
    }
}

/// Whether the address is an office's: it belongs to nobody.
fn office(address: &str) -> bool {
    const OFFICES: &str = "support info noreply no-reply donotreply do-not-reply sales help helpdesk contact admin office service customerservice \
        customercare care billing press jobs careers hr privacy security webmaster postmaster abuse team feedback orders returns kontakt kundenservice";
    let local = address.split('@').next().unwrap_or_default().to_lowercase();
    OFFICES.split_whitespace().any(|office| office == local)
}

/// Without the words that lead to the address: the part before the service is one word, and a number where it ends with one.
fn trimmed(text: &str, range: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let said = &text[range.clone()];
    let lead = ["is ", "id ", "email ", "mail ", "and ", "my ", "address "];
    let skipped = lead.iter().filter(|word| said.to_ascii_lowercase().starts_with(**word)).map(|word| word.len()).max().unwrap_or(0);
    range.start + skipped..range.end
}

/// Addresses of machines; of versions and sections the words before tell.
pub(super) fn machines(text: &str, found: &mut Vec<Found>) {
    const VERSION: [&str; 9] = ["version", "v", "firmware", "release", "build", "section", "chapter", "ver", "rev"];
    if text.contains('.') {
        for one in IPV4.find_iter(text).filter(|one| alone(text, one.range())) {
            let whole = one.as_str().parse::<core::net::Ipv4Addr>();
            let versioned = has_any(&before(text, one.start(), 14), &VERSION);
            if whole.is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_broadcast() && ip.octets()[0] > 0) && !versioned {
                found.push(Found::new(one.range(), Kind::Ip, 0.95, "form of an IPv4 address"));
            }
        }
    }
    if text.contains(':') {
        for one in IPV6.find_iter(text) {
            let plain = one.as_str().split('%').next().unwrap_or_default();
            let groups = plain.split(':').filter(|group| !group.is_empty()).count();
            let parsed = matches!(plain.parse::<IpAddr>(), Ok(IpAddr::V6(ip)) if !ip.is_loopback() && ip != Ipv6Addr::UNSPECIFIED);
            if parsed && groups >= 3 && alone(text, one.range()) {
                found.push(Found::new(one.range(), Kind::Ip, 0.97, "form of an IPv6 address"));
            }
        }
    }
    for one in MAC.find_iter(text).filter(|one| alone(text, one.range())) {
        if one.as_str().bytes().any(|byte| byte.is_ascii_digit()) {
            found.push(Found::new(one.range(), Kind::Mac, 0.95, "form of a MAC address"));
        }
    }
}

/// Links that carry a token, a password or a person.
pub(super) fn links(text: &str, found: &mut Vec<Found>) {
    if !text.contains("://") {
        return;
    }
    for one in LINK.find_iter(text).filter(|one| KEYED.is_match(one.as_str())) {
        let end = one.as_str().trim_end_matches(['.', ',', ')', ';', '!', '?']).len();
        found.push(Found::new(one.start()..one.start() + end, Kind::Url, 0.997, "a link with a token, a password or a person in it"));
    }
}
