//! Planted truth: mails put together from texts, quotes, signatures and notices, so that it is known what must go and what must stay.

use import::mail::cut::{About, cut};
use std::collections::BTreeMap;

/// Texts that must stay, to the last line; some look like what is cut.
const SAID: &[&str] = &[
    "Your order leaves on Monday.\nPlease send us the number of the meter.",
    "Bitte starten Sie das Gerät neu und warten Sie zwei Minuten.\n\nBleibt der Fehler, rufen Sie uns an.",
    "Vous pouvez annuler jusqu'à 18 h.\n\n- par courriel\n- par téléphone",
    "Sí, la garantía cubre dos años.\n\n1. Envíe la factura.\n2. Espere la etiqueta.",
    "Il rimborso arriva entro cinque giorni lavorativi.",
    "De monteur komt donderdag tussen 8 en 12 uur.",
    "Pode trocar o tamanho na loja sem custo.",
    "On Monday he wrote: we will call you. Nobody did.",
    "I thank you for your patience.\n\nThe parcel is on its way.\n\nThanks for the photos!",
    "My journey:\nFrom: Berlin\nTo: Paris\nDate: 12 May\n\nCan I change it?",
    "Use this text:\n\nDear customer,\nyour account is open.\n\nIs that right?",
    "Prices:\n-- small: 5\n-- large: 9\n\nBoth include postage.",
    "Ist diese E-Mail vertraulich?\n\nDarf ich sie weitergeben?",
    "a -> b > c\n\nThe arrow above is a part of the path.",
    "Call us at +49 30 1234567 and name the ticket 4711.",
    "We are open:\nMonday 9-17\nTuesday 9-17\n\nAnd on Saturdays.",
    "Best regards to your team, they did well.\n\nHow do I pay?",
    "In your mail of 12.05.2024 your colleague wrote:\nthe part is ordered.\n\nWhen does it come?",
    "Der Vertrag läuft bis 31.12.2025.\nDanke für die schnelle Hilfe, das war sehr freundlich!",
    "The sender must sign here:\n\n_______________\n\nThen scan the page and send it.",
];

/// Quotes below an answer. Those behind `>` may also stand above it.
const QUOTES: &[&str] = &[
    "On Mon, Mar 4, 2024 at 9:15 AM Carol Jones <carol@customer.example> wrote:\n> Hello,\n> where is it?\n>\n> Carol",
    "On Mon, Mar 4, 2024 at 9:15 AM Carol Jones <\ncarol@customer.example> wrote:\n\n> Hello,\n>> deeper",
    "On 4. Mar 2024, at 09:15, Carol <carol@customer.example> wrote:\n\nHello, where is it?",
    "Am 04.03.2024 um 09:15 schrieb Carol Jones:\n> Hallo\n> wo ist es?",
    "Am Mo., 4. März 2024 um 09:15 Uhr schrieb Carol Jones <\ncarol@customer.example>:\n\n> Hallo",
    "Le lun. 4 mars 2024 à 09:15, Carol <carol@customer.example> a écrit :\n\n> Bonjour",
    "El lun, 4 mar 2024 a las 9:15, Carol (<carol@customer.example>) escribió:\n\n> Hola\n> buenas",
    "Il giorno lun 4 mar 2024 alle ore 09:15 Carol <carol@customer.example> ha scritto:\n\n> Ciao",
    "Op ma 4 mrt 2024 om 09:15 schreef Carol <carol@customer.example>:\n\n> Hallo",
    "Em seg., 4 de mar. de 2024 às 09:15, Carol <carol@customer.example> escreveu:\n\n> Olá",
    "Den mån 4 mars 2024 kl 09:15 skrev Carol <carol@customer.example>:\n\n> Hej",
    "W dniu pon., 4 mar 2024 o 09:15 Carol <carol@customer.example> napisał(a):\n\n> Dzień dobry",
    "From: Carol Jones <carol@customer.example>\nSent: Monday, March 4, 2024 9:15 AM\nTo: Help <help@firm.example>\nSubject: Order\n\nHello,\nwhere is it?\n\nBest regards\nCarol",
    "________________________________\nVon: Carol Jones <carol@customer.example>\nGesendet: Montag, 4. März 2024 09:15\nAn: help@firm.example\nBetreff: Bestellung\n\nHallo, wo ist es?",
    "De : Carol Jones <carol@customer.example>\nEnvoyé : lundi 4 mars 2024 09:15\nÀ : help@firm.example\nObjet : Commande\n\nBonjour",
    "De: Carol Jones <carol@customer.example>\nEnviado: lunes, 4 de marzo de 2024 9:15\nPara: help@firm.example\nAsunto: Pedido\n\nHola",
    "Da: Carol Jones <carol@customer.example>\nInviato: lunedì 4 marzo 2024 09:15\nA: help@firm.example\nOggetto: Ordine\n\nCiao",
    "Van: Carol Jones <carol@customer.example>\nVerzonden: maandag 4 maart 2024 09:15\nAan: help@firm.example\nOnderwerp: Bestelling\n\nHallo",
    "De: Carol Jones <carol@customer.example>\nEnviada em: segunda-feira, 4 de março de 2024 09:15\nPara: help@firm.example\nAssunto: Pedido\n\nOlá",
    "-----Original Message-----\nFrom: Carol\nSent: Monday\n\nHello",
    "-----Ursprüngliche Nachricht-----\nVon: Carol\nGesendet: Montag\n\nHallo",
    "-----Message d'origine-----\nDe : Carol\n\nBonjour",
    "-----Mensaje original-----\nDe: Carol\n\nHola",
    "*From:* Carol Jones\n*Sent:* Monday, March 4, 2024 9:15 AM\n*To:* Help\n*Subject:* Order\n\nHello",
    "2024-03-04 9:15 GMT+01:00 Carol Jones <carol@customer.example>:\n\n> Hello\n> there",
    "> Hello,\n> where is it?\n> Carol",
    "",
];

/// Signatures, by a person called Ann Agent.
const SIGNATURES: &[&str] = &[
    "-- \nAnn Agent\nFirm GmbH",
    "--\nAnn Agent | Support | www.firm.example",
    "Best regards,\nAnn Agent",
    "Kind regards\n\nAnn Agent\nCustomer Care\nPhone: +49 30 1234567\nann@firm.example",
    "Mit freundlichen Grüßen\n\ni. A. Ann Agent\nFirm GmbH\nHauptstraße 5\n10115 Berlin\nTel.: 030 / 123456-0\nGeschäftsführer: Max Muster, Amtsgericht Berlin HRB 12345",
    "Viele Grüße\nAnn",
    "Cordialement,\n\nAnn Agent\nService clients\nTél. : 01 23 45 67 89",
    "Un saludo,\nAnn Agent\nAtención al cliente\nTel: +34 912 345 678",
    "Cordiali saluti\nAnn Agent",
    "Met vriendelijke groet,\n\nAnn Agent\nKlantenservice",
    "Com os melhores cumprimentos,\nAnn Agent",
    "Thanks,\nAnn",
    "Ann Agent\nSupport Engineer\nMobile: +1 (555) 123-4567\nwww.firm.example",
    "Ann",
    "Sent from my iPhone",
    "Von meinem iPhone gesendet",
    "Regards, Ann Agent",
    "LG Ann",
    "Atenciosamente,\n\nAnn Agent\nGet Outlook for Android",
    "",
];

const NOTICES: &[&str] = &[
    "This e-mail and any attachments are confidential and intended solely for the addressee. If you have received it in error, please notify the sender and delete it.",
    "Diese E-Mail enthält vertrauliche und/oder rechtlich geschützte Informationen. Wenn Sie nicht der richtige Adressat sind,\ninformieren Sie bitte sofort den Absender und vernichten Sie diese Mail.",
    "Ce message est confidentiel et destiné à ses seuls destinataires. Si vous l'avez reçu par erreur, merci de le détruire.",
    "Este mensaje es confidencial y va dirigido a su destinatario. Si lo ha recibido por error, bórrelo; su divulgación está prohibida.",
    "Please consider the environment before printing this e-mail.",
    "AVISO LEGAL: este correo es confidencial. Si no es el destinatario, bórrelo.",
    "",
];

#[derive(Default, Clone, Copy)]
struct Count {
    hit: usize,
    missed: usize,
    wrong: usize,
}

/// Whether `line` stands alone in the text.
fn has(text: &str, line: &str) -> bool {
    text.lines().any(|l| l == line)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty())
}

#[test]
fn planted_quotes_signatures_and_notices_are_cut_and_nothing_else() {
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    let mut failed = BTreeMap::<String, String>::new();
    let mut mails = 0;
    for (s, said) in SAID.iter().enumerate() {
        for (q, quote) in QUOTES.iter().enumerate() {
            // Every pair of two kinds occurs; all of four would only take longer.
            for (g, signature) in SIGNATURES.iter().enumerate().filter(|(g, _)| (s + q + g) % 3 == 0) {
                let notice = NOTICES[(s + q + g) % NOTICES.len()];
                let above = q % 3 == 1 && quote.lines().last().is_some_and(|l| l.starts_with('>'));
                let body = [*said, signature, notice].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n\n");
                let text = if above { format!("{quote}\n\n{body}") } else { format!("{body}\n\n{quote}") };
                let clean = cut(&text, About { sender: Some("Ann Agent"), reply: true, forward: false });
                mails += 1;
                for (kind, planted) in [("quote", *quote), ("signature", *signature), ("notice", notice)] {
                    for line in lines(planted).filter(|line| !lines(said).any(|l| l == *line)) {
                        let count = counts.entry(kind).or_default();
                        if has(&clean.text, line) {
                            count.missed += 1;
                            failed.entry(format!("{kind} missed: {line}")).or_insert_with(|| text.clone());
                        } else {
                            count.hit += 1;
                        }
                    }
                }
                for line in lines(said).filter(|line| !has(&clean.text, line)) {
                    counts.entry("said").or_default().wrong += 1;
                    failed.entry(format!("wrongly cut: {line}")).or_insert_with(|| text.clone());
                }
            }
        }
    }
    let planted: usize = counts.values().map(|c| c.hit + c.missed).sum();
    let hit: usize = counts.values().map(|c| c.hit).sum();
    let wrong: usize = counts.values().map(|c| c.wrong).sum();
    let (recall, precision) = (hit as f64 / planted as f64, hit as f64 / (hit + wrong) as f64);
    for (kind, count) in &counts {
        println!("{kind}: {} cut, {} missed, {} wrongly cut", count.hit, count.missed, count.wrong);
    }
    println!("{mails} mails, {planted} planted lines: recall {recall:.5}, precision {precision:.5}");
    for (what, text) in failed.iter().take(12) {
        println!("--- {what}\n{text}");
    }
    assert!(counts.values().map(|c| c.hit + c.missed).filter(|n| *n > 0).count() == 3);
    assert!(recall >= 0.995, "recall {recall}");
    assert!(precision >= 0.995, "precision {precision}");
    for (kind, count) in counts.iter().filter(|(_, c)| c.hit + c.missed > 0) {
        let recall = count.hit as f64 / (count.hit + count.missed) as f64;
        assert!(recall >= 0.99, "{kind}: {recall}");
    }
}

#[test]
fn warnings_help_desk_lines_and_postscripts() {
    let about = About { sender: Some("Ann Agent"), reply: true, forward: false };
    let text = |t: &str| cut(t, about).text;
    assert_eq!(
        text("CAUTION: This email originated from outside of the organization. Do not click links.\n\nHello there."),
        "Hello there."
    );
    assert_eq!(text("Hello there.\n\n##- Please type your reply above this line -##\n\nOld text."), "Hello there.");
    assert_eq!(text("##- Bitte geben Sie Ihre Antwort oberhalb dieser Zeile ein -##\n\nNeuer Text."), "Neuer Text.");
    assert_eq!(text("It works.\n\nBest regards\nAnn\n\nP.S. The manual is attached."), "It works.\n\nP.S. The manual is attached.");
    assert_eq!(text("> Does it work?\nYes.\n> And on Mac?\nAlso.\n\n-- \nAnn"), "Yes.\n\nAlso.");
    assert_eq!(text("Yes, it is. On Wed, Apr 3, 2024 at 3:59 PM, bob@example.com wrote:\n> Is it?"), "Yes, it is.");
    assert_eq!(text("Yes.\n\n_______________________________________________\nusers mailing list\nusers@list.example"), "Yes.");
}

#[test]
fn forwards_keep_what_is_passed_on() {
    let about = About { sender: None, reply: false, forward: true };
    let outlook = "FYI\n\nFrom: Carol <carol@customer.example>\nSent: Monday, March 4, 2024 9:15 AM\nTo: sales@firm.example\nSubject: Order\n\nWhere is my order?\n\nFrom: old@x.example\nSent: Sunday, March 3, 2024 9:15 AM\nTo: c@d.example\nSubject: Older\n\nOlder text";
    let clean = cut(outlook, about);
    assert_eq!(clean.text, "FYI\n\nWhere is my order?");
    assert_eq!(clean.forwarded_from.as_deref(), Some("Carol <carol@customer.example>"));
    assert!(!clean.only_forwards);
    let apple = "Begin forwarded message:\n\n> From: Carol <carol@customer.example>\n> Subject: Order\n> Date: 4 March 2024 at 09:15\n> To: sales@firm.example\n> \n> Where is my order?\n> Thank you.";
    let clean = cut(apple, about);
    assert_eq!(clean.text, "Where is my order?\nThank you.");
    assert!(clean.only_forwards && clean.forwarded_from.is_some());
}
