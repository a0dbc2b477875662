//! Legal notices below a mail, and the warnings that gateways put above it.

use super::{Cut, Lines};
use regex::Regex;
use std::sync::LazyLock;

/// Words that speak of the mail itself.
static THIS_MAIL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix) \bth(?:is|e\sabove)\s(?:e-?mail|message|communication|transmission|electronic\s\w+) | information\s(?:contained|transmitted)\b | contents?\sof\sthis
        | \bdiese[rn]?\s(?:e-?mail|nachricht|mitteilung) | \bce(?:t|tte)?\s(?:message|courriel|e-?mail|courrier|communication) | \beste\s(?:mensaje|correo|e-?mail)
        | \besta\s(?:mensagem|comunicación|comunicação) | \bquest[oa]\s(?:messaggio|e-?mail|comunicazione) | presente\s(?:messaggio|mensaje|mensagem|correo|e-?mail)
        | \bdit\s(?:bericht|e-?mail\S*) | \bdeze\s(?:e-?mail|boodschap) | \beste\se-?mail ",
    )
    .expect("a pattern of ours")
});

/// Words of lawyers.
static LEGAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix) confidential\w* | privileged | intended\s(?:solely|only|for|recipient) | (?:un)?authori[sz]ed | in\serror | notify\s(?:the\ssender|us) | \bliab\w+ | \bvirus\w* | disclos\w+
        | dissemination | vertraulich\w* | rechtlich\sgeschützt\w* | (?:richtige|beabsichtigte|adressat|empfänger)\w* | irrtümlich | vernichten | unbefugt\w* | nicht\sgestattet
        | confidentiel\w* | destinataires? | par\serreur | détrui\w+ | divulg\w+ | confidencial\w* | destinatari[oa]s? | por\serror | por\sengano | por\serro\b | prohibid\w+ | proibid\w+
        | riservat\w+ | per\serrore | cancell\w+ | vietat\w+ | vertrouwelijk\w* | bestemd | geadresseerde | abusievelijk | verwijder\w+ | ten\sonrechte ",
    )
    .expect("a pattern of ours")
});

/// What is a notice by its first words.
static HEADING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)^\W*(?: confidentiality(?:\snotice)? | disclaimer | legal\snotice | important\snotice | haftungsausschluss | vertraulichkeits?\w* | wichtiger\shinweis | rechtlicher\shinweis
        | avis\sde\sconfidentialité | aviso\s(?:legal|de\sconfidenci\w+) | avvertenza | nota\sdi\sriservatezza | avviso\sdi\sriservatezza )\b",
    )
    .expect("a pattern of ours")
});

/// What needs no second sign.
static CERTAIN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix) (?:consider|think\s(?:of|about))\s(?:the\s|our\s)?environment\sbefore\sprint | think\sbefore\syou\sprint | (?:denken\ssie|umwelt)\b.{0,60}(?:ausdruck|drucken)
        | environnement\b.{0,40}\bimprimer | antes\sde\simprimir | prima\sdi\sstampare | denk\saan\shet\smilieu | virus-free\.\s*www | virenfrei\.\s*www | checked\sby\savg
        | scanned\s(?:for\sviruses\s)?by\s | (?:this\s(?:e-?mail|message)\s(?:has\sbeen|was)\s(?:checked|scanned)\b.{0,40}(?:virus|avast)) ",
    )
    .expect("a pattern of ours")
});

/// A gateway's warning.
static BANNER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ixs)^\W* (?: \[?ext(?:ern(?:al)?|erne|erno|erna)?(?:\s(?:email|sender|mail))?\]\W*$ | (?:caution|warning|attention|achtung|vorsicht|avertissement|atención|attenzione|let\sop|atenção|external|externe?)\b
        .{0,120}\b(?:outside|external\w*|extern\w*|extérieur\w*|esterno|esterna|fora)\b.{0,300} ) $",
    )
    .expect("a pattern of ours")
});

/// What mailing lists put below each mail.
static LIST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)mailing list|listinfo|unsubscribe|to stop receiving|abmelden|abbestellen|désabonner|désinscri|darse de baja|disiscri|uitschrijven").expect("a pattern of ours")
});

/// How many paragraphs at the end may be notices.
const LAST: usize = 6;

/// Marks notices.
pub fn mark(lines: &mut Lines) {
    let paragraphs = paragraphs(lines);
    let text = |range: &std::ops::Range<usize>| lines.lines[range.clone()].join(" ");
    let banner = paragraphs.first().filter(|range| is_banner(&text(range)) && paragraphs.len() > 1).cloned();
    let notices: Vec<_> = paragraphs.iter().rev().take(LAST).filter(|range| is_notice(&text(range))).cloned().collect();
    let footer = footer(lines);
    if let Some(at) = footer {
        lines.mark(at..lines.lines.len(), Cut::Disclaimer);
    }
    if let Some(range) = banner {
        lines.mark(range, Cut::Banner);
    }
    for range in notices {
        lines.mark(range, Cut::Disclaimer);
    }
}

/// Where a list's footer begins: a rule, then a few lines that name the list.
fn footer(lines: &Lines) -> Option<usize> {
    let said = lines.said();
    let last = &said[said.len().saturating_sub(8)..];
    let rule = last.iter().position(|n| {
        let line = lines.lines[*n].trim();
        line.len() >= 8 && line.chars().all(|c| matches!(c, '_' | '-' | '='))
    })?;
    last[rule + 1..].iter().any(|n| LIST.is_match(lines.lines[*n])).then_some(last[rule])
}

fn is_banner(text: &str) -> bool {
    text.len() <= 500 && BANNER.is_match(text)
}

fn is_notice(text: &str) -> bool {
    let legal = LEGAL.find_iter(text).count();
    CERTAIN.is_match(text) && text.len() < 400 || HEADING.is_match(text) && legal >= 2 || THIS_MAIL.is_match(text) && legal >= 3
}

/// Runs of lines that are still there, without blank ones.
fn paragraphs(lines: &Lines) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for n in 0..lines.lines.len() {
        if lines.cut[n].is_some() || lines.lines[n].trim().is_empty() {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == n => run.end = n + 1,
            _ => runs.push(n..n + 1),
        }
    }
    runs
}
