//! Mails that no person wrote for this reader: bounces, receipts, auto-replies, newsletters, loops.

use mail_parser::{HeaderName, Message, MimeHeaders};

/// Beginnings of subjects that programs write when somebody is away.
const AWAY: &[&str] = &[
    "automatic reply",
    "auto reply",
    "auto-reply",
    "autoreply",
    "auto response",
    "auto-response",
    "autoresponse",
    "out of office",
    "out of the office",
    "away from my mail",
    "automatische antwort",
    "automatische rückantwort",
    "abwesenheit",
    "abwesend",
    "ich bin nicht im büro",
    "réponse automatique",
    "absence du bureau",
    "absent du bureau",
    "message d'absence",
    "respuesta automática",
    "respuesta automatica",
    "fuera de la oficina",
    "ausente de la oficina",
    "risposta automatica",
    "fuori sede",
    "fuori ufficio",
    "assenza dall'ufficio",
    "automatisch antwoord",
    "afwezig",
    "niet aanwezig",
    "resposta automática",
    "resposta automatica",
    "ausência do escritório",
    "fora do escritório",
    "autosvar",
    "automatiskt svar",
    "automatisk svar",
    "fraværende",
    "automaattinen vastaus",
    "poza biurem",
    "automatyczna odpowiedź",
    "автоответ",
    "自动回复",
    "自動回覆",
    "自動返信",
    "自動応答",
];
/// Beginnings of subjects of mails that could not be delivered.
const BOUNCED: &[&str] = &[
    "undelivered mail",
    "undeliverable",
    "delivery status notification",
    "mail delivery failed",
    "mail delivery failure",
    "delivery failure",
    "returned mail",
    "failure notice",
    "delivery has failed",
    "unzustellbar",
    "mail konnte nicht zugestellt",
    "nicht zustellbar",
    "non remis",
    "échec de la remise",
    "no se puede entregar",
    "no entregado",
    "correo no entregado",
    "non recapitabile",
    "mancato recapito",
    "onbestelbaar",
    "não entregue",
    "não é possível entregar",
    "ej levererat",
    "kan ikke leveres",
    "niedostarczone",
];
/// Beginnings of subjects of receipts.
const RECEIPTS: &[&str] = &[
    "read:",
    "gelesen:",
    "lu :",
    "leído:",
    "letto:",
    "gelezen:",
    "lida:",
    "read receipt",
    "lesebestätigung",
    "return receipt",
    "delivery receipt",
];
/// Names of mailboxes that nobody reads.
const ROBOTS: &[&str] = &[
    "mailer-daemon",
    "postmaster",
    "noreply",
    "no-reply",
    "no_reply",
    "donotreply",
    "do-not-reply",
    "nepasrepondre",
    "no-responder",
    "nicht-antworten",
];
/// A mail passes a handful of servers; one that turns in a circle passes many.
const HOPS: usize = 30;

/// Why a mail is none of a conversation.
pub fn reason(mail: &Message) -> Option<String> {
    let header = |name: &'static str| mail.header_raw(name).map(str::trim);
    let subject = mail.subject().unwrap_or_default().trim().to_lowercase();
    let begins = |forms: &[&str]| forms.iter().any(|form| subject.starts_with(form));
    bounce(mail, header("Return-Path"))
        .or_else(|| begins(BOUNCED).then(|| format!("a bounce: its subject is {subject:?}")))
        .or_else(|| looped(mail))
        .or_else(|| automatic(&header))
        .or_else(|| begins(AWAY).then(|| format!("an auto-reply: its subject is {subject:?}")))
        .or_else(|| begins(RECEIPTS).then(|| format!("a receipt: its subject is {subject:?}")))
        .or_else(|| newsletter(&header))
        .or_else(|| robot(mail))
}

fn bounce(mail: &Message, return_path: Option<&str>) -> Option<String> {
    if let Some(kind) = mail.content_type().filter(|ct| ct.ctype() == "multipart" && ct.subtype() == Some("report")) {
        return Some(match kind.attribute("report-type").unwrap_or_default() {
            "disposition-notification" => "a receipt: multipart/report; report-type=disposition-notification".to_string(),
            "feedback-report" => "a complaint by machine: multipart/report; report-type=feedback-report".to_string(),
            other => format!("a bounce: multipart/report; report-type={other}"),
        });
    }
    let from = sender(mail)?;
    let daemon = from.starts_with("mailer-daemon@") || from == "mailer-daemon" || from.starts_with("postmaster@");
    if daemon {
        return Some(format!("a bounce: it comes from {from}"));
    }
    (return_path == Some("<>")).then(|| "a bounce or auto-reply: its Return-Path is empty".to_string())
}

fn looped(mail: &Message) -> Option<String> {
    if let Some(by) = mail.header_raw("X-Loop") {
        return Some(format!("a mail loop: X-Loop: {}", by.trim()));
    }
    let hops = mail.header_values(HeaderName::Received).count();
    if hops > HOPS {
        return Some(format!("a mail loop: it passed {hops} servers, expected at most {HOPS}"));
    }
    let mut boxes: Vec<String> = mail.headers().iter().filter(|h| h.name() == "Delivered-To").map(|h| format!("{:?}", h.value())).collect();
    let count = boxes.len();
    boxes.sort();
    boxes.dedup();
    (count > boxes.len() + 1).then(|| format!("a mail loop: it was delivered {count} times to {} mailbox", boxes.len()))
}

fn automatic<'a>(header: &impl Fn(&'static str) -> Option<&'a str>) -> Option<String> {
    let told = |name: &str, value: &str| Some(format!("an auto-reply: {name}: {value}"));
    if let Some(value) = header("Auto-Submitted").filter(|v| !v.is_empty() && !v.to_lowercase().starts_with("no")) {
        return told("Auto-Submitted", value);
    }
    for name in ["X-Autoreply", "X-Autorespond", "X-Mail-Autoreply", "X-Autoreply-From", "X-AutoReply-From"] {
        if let Some(value) = header(name).filter(|v| !v.eq_ignore_ascii_case("no")) {
            return told(name, value);
        }
    }
    let precedence = header("Precedence").or_else(|| header("X-Precedence")).unwrap_or_default().to_lowercase();
    if precedence.starts_with("auto") {
        return told("Precedence", &precedence);
    }
    header("X-Failed-Recipients").map(|value| format!("a bounce: X-Failed-Recipients: {value}"))
}

fn newsletter<'a>(header: &impl Fn(&'static str) -> Option<&'a str>) -> Option<String> {
    for name in ["List-Unsubscribe", "List-Id", "X-Campaign-Id", "X-Mailchimp-Campaign", "Feedback-ID"] {
        if let Some(value) = header(name) {
            return Some(format!("a newsletter or mailing list: {name}: {value}"));
        }
    }
    let precedence = header("Precedence").unwrap_or_default().to_lowercase();
    ["bulk", "junk", "list"].contains(&precedence.as_str()).then(|| format!("a newsletter or mailing list: Precedence: {precedence}"))
}

/// A mailbox that nobody reads speaks for a person only if it says to whom an answer goes, as a form of a website does.
fn robot(mail: &Message) -> Option<String> {
    let from = sender(mail)?;
    let answers = mail.reply_to().and_then(|a| a.first()).and_then(|a| a.address()).is_some_and(|to| !to.eq_ignore_ascii_case(&from));
    (is_robot(&from) && !answers).then(|| format!("a notification: it comes from {from}"))
}

/// Whether nobody reads what is sent to this address.
pub fn is_robot(address: &str) -> bool {
    let name = address.split('@').next().unwrap_or_default();
    ROBOTS.contains(&name) || ["noreply", "no-reply", "donotreply"].iter().any(|robot| name.starts_with(robot))
}

fn sender(mail: &Message) -> Option<String> {
    Some(mail.from()?.first()?.address()?.to_lowercase())
}
