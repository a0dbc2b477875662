//! Mails in the structures that RFC 2046, 3464, 3676, 3834 and 5322 show, in the forms in which mail programs write them.

/// A mail, and what it shows.
pub struct Sample {
    pub name: &'static str,
    pub raw: &'static [u8],
}

macro_rules! samples {
    ($($name:literal: $raw:literal),+ $(,)?) => {
        /// All samples, in the order of the mailbox.
        pub const SAMPLES: &[Sample] = &[$(Sample { name: $name, raw: $raw }),+];
    };
}

samples! {
    // English: multipart/alternative, quoted-printable; the answer in base64 and Gmail's HTML.
    "question": b"From: Carol Jones <carol@customer.example>\r\nTo: Help <help@firm.example>\r\nSubject: =?utf-8?Q?Invoice_=E2=84=96_4711?=\r\nDate: Mon, 4 Mar 2024 09:15:00 +0100\r\nMessage-ID: <q1@customer.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"b1\"\r\n\r\nThis is a multi-part message in MIME format.\r\n--b1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHello,\r\n\r\nthe invoice says =E2=82=AC 120, but my contract says =E2=82=AC 100 and this=\r\n line is long.\r\n\r\nBest regards,\r\nCarol Jones\r\nTel. +49 30 1234567\r\n--b1\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello,</p>\r\n--b1--\r\nEpilogue.\r\n",
    "answer": b"From: Ann Agent <ann@firm.example>\r\nTo: Carol Jones <carol@customer.example>\r\nSubject: Re: Invoice\r\nDate: Mon, 4 Mar 2024 11:00:00 +0000\r\nMessage-ID: <a1@firm.example>\r\nIn-Reply-To: <q1@customer.example>\r\nReferences: <q1@customer.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPGRpdiBkaXI9Imx0ciI+PHA+RGVhciBDYXJvbCw8L3A+PHA+eW91IGFyZSByaWdodDog4oKsIDEwMC48L3A+PHNjcmlwdD5h\r\nbGVydCgxKTwvc2NyaXB0PjxpbWcgc3JjPSJodHRwczovL3QuZXhhbXBsZS9wIiB3aWR0aD0iMSIgaGVpZ2h0PSIxIj48L2Rp\r\ndj48ZGl2IGNsYXNzPSJnbWFpbF9xdW90ZSI+T24gTW9uLCA0IE1hciAyMDI0IENhcm9sIHdyb3RlOjxibG9ja3F1b3RlPkhl\r\nbGxvPC9ibG9ja3F1b3RlPjwvZGl2Pg==\r\n",
    "thanks": b"From: Carol Jones <carol@customer.example>\r\nTo: help@firm.example\r\nSubject: Re: Invoice\r\nDate: Mon, 4 Mar 2024 12:00:00 +0000\r\nMessage-ID: <q2@customer.example>\r\nReferences: <q1@customer.example> <a1@firm.example>\r\n\r\nPerfect, thank you!\r\n\r\nOn Mon, Mar 4, 2024 at 12:00 PM Ann Agent <ann@firm.example>\r\nwrote:\r\n> Dear Carol,\r\n> you are right.\r\n",
    // German: Latin-1, Outlook's header block, register data, a notice.
    "frage": b"From: =?iso-8859-1?Q?J=FCrgen_M=FCller?= <jm@kunde.example>\nTo: help@firm.example\nSubject: Passwort\nDate: Tue, 5 Mar 2024 08:00:00 +0100\nMessage-ID: <q3@kunde.example>\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\nGuten Tag,\n\nwie \xe4ndere ich mein Passwort?\n\nMit freundlichen Gr\xfc\xdfen\nJ\xfcrgen M\xfcller\n-- \nM\xfcller GmbH\n",
    "antwort": b"From: Bernd Berater <bernd@firm.example>\nTo: jm@kunde.example\nSubject: AW: Passwort\nDate: Tue, 5 Mar 2024 09:00:00 +0100\nMessage-ID: <a3@firm.example>\nIn-Reply-To: <q3@kunde.example>\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGuten Tag Herr M\xc3\xbcller,\n\nunter Konto > Sicherheit.\n\nViele Gr\xc3\xbc\xc3\x9fe\nBernd Berater\nFirm GmbH | Amtsgericht Berlin HRB 12345\n\nDiese E-Mail enth\xc3\xa4lt vertrauliche Informationen. Wenn Sie nicht der richtige Adressat sind, informieren Sie uns und vernichten Sie sie.\n\nVon: J\xc3\xbcrgen M\xc3\xbcller <jm@kunde.example>\nGesendet: Dienstag, 5. M\xc3\xa4rz 2024 08:00\nAn: help@firm.example\nBetreff: Passwort\n\nGuten Tag,\nwie \xc3\xa4ndere ich mein Passwort?\n",
    // French: format=flowed, an answer below the quote.
    "demande": b"From: Luc <luc@client.example>\nTo: help@firm.example\nSubject: Livraison\nDate: Wed, 6 Mar 2024 10:00:00 +0100\nMessage-ID: <q4@client.example>\nContent-Type: text/plain; charset=utf-8; format=flowed\nContent-Transfer-Encoding: 8bit\n\nBonjour, o\xc3\xb9 est \nma commande ?\n\nCordialement,\nLuc\n",
    "reponse": b"From: claire@firm.example\nTo: luc@client.example\nSubject: RE: Livraison\nDate: Wed, 6 Mar 2024 11:00:00 +0100\nMessage-ID: <a4@firm.example>\nReferences: <q4@client.example>\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nLe mer. 6 mars 2024 \xc3\xa0 10:00, Luc <luc@client.example> a \xc3\xa9crit :\n> Bonjour, o\xc3\xb9 est\n> ma commande ?\n\nElle arrive demain.\n\nBien cordialement\nClaire\n",
    // Spanish, passed on to the help desk by an agent; the customer speaks.
    "reenviado": b"From: ventas@firm.example\nTo: help@firm.example\nSubject: Fwd: Factura\nDate: Thu, 7 Mar 2024 10:00:00 +0100\nMessage-ID: <f5@firm.example>\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n---------- Forwarded message ---------\nDe: Pablo <pablo@cliente.example>\nDate: jue, 7 mar 2024 a las 9:00\nSubject: Factura\nTo: <ventas@firm.example>\n\n\xc2\xbfPueden enviarme la factura de enero?\n\nUn saludo,\nPablo\n",
    "respuesta": b"From: ann@firm.example\nTo: pablo@cliente.example\nCc: help@firm.example\nSubject: Re: Factura\nDate: Thu, 7 Mar 2024 12:00:00 +0100\nMessage-ID: <a5@firm.example>\nReferences: <f5@firm.example>\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nClaro, va adjunta.\n--x\nContent-Type: application/pdf; name=\"enero.pdf\"\nContent-Disposition: attachment; filename=\"enero.pdf\"\nContent-Transfer-Encoding: base64\n\nJVBERi0=\n--x--\n",
    // A whole mail attached (RFC 2046, 5.2.1).
    "attached": b"From: sales@firm.example\nTo: help@firm.example\nSubject: FW: Broken\nDate: Fri, 8 Mar 2024 10:00:00 +0000\nMessage-ID: <f6@firm.example>\nContent-Type: message/rfc822\n\nFrom: dora@buyer.example\nTo: sales@firm.example\nSubject: Broken\nDate: Fri, 8 Mar 2024 09:00:00 +0000\nMessage-ID: <q6@buyer.example>\n\nThe lamp came broken.\n",
    "replaced": b"From: help@firm.example\nTo: dora@buyer.example\nSubject: Re: Broken\nDate: Fri, 8 Mar 2024 11:00:00 +0000\nMessage-ID: <a6@firm.example>\nReferences: <f6@firm.example>\n\nWe send a new one today.\n",
    // An unknown charset and a date that is none; a server knows better.
    "charset": b"Received: from mx.firm.example by in.firm.example; Sat, 9 Mar 2024 10:00:00 +0000\nFrom: eve@old.example\nTo: help@firm.example\nSubject: Umlaut\nDate: yesterday\nMessage-ID: <q7@old.example>\nContent-Type: text/plain; charset=x-mac-fantasy\nContent-Transfer-Encoding: 8bit\n\nIst das Caf\xe9 offen?\n",
    "open": b"From: help@firm.example\nTo: eve@old.example\nSubject: Re: Umlaut\nDate: Sat, 9 Mar 2024 11:00:00 +0000\nMessage-ID: <a7@firm.example>\nReferences: <q7@old.example>\n\nJa, bis 18 Uhr.\n",
    // No Message-ID, no references: the subject and the two people join them.
    "nameless": b"From: finn@shop.example\nTo: help@firm.example\nSubject: Keys\nDate: Sun, 10 Mar 2024 10:00:00 +0000\n\nWhere are my keys?\n",
    "by subject": b"From: help@firm.example\nTo: finn@shop.example\nSubject: Re: Keys\nDate: Sun, 10 Mar 2024 11:00:00 +0000\nMessage-ID: <a8@firm.example>\n\nAt the front desk.\n",
    // A part that is not what it is said to be.
    "broken part": b"From: gus@shop.example\nTo: help@firm.example\nSubject: Broken part\nDate: Mon, 11 Mar 2024 10:00:00 +0000\nMessage-ID: <q9@shop.example>\nContent-Type: multipart/mixed; boundary=y\n\n--y\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nSGVsbG8!!$$%%&&\n--y--\n",
    // Machines.
    "auto-reply": b"From: carol@customer.example\nTo: ann@firm.example\nSubject: Automatic reply: Invoice\nDate: Mon, 4 Mar 2024 11:00:05 +0000\nMessage-ID: <o1@customer.example>\nIn-Reply-To: <a1@firm.example>\nAuto-Submitted: auto-replied\n\nI am away until Monday.\n",
    "abwesenheit": b"From: jm@kunde.example\nTo: bernd@firm.example\nSubject: Abwesenheitsnotiz: Passwort\nDate: Tue, 5 Mar 2024 09:00:05 +0100\nMessage-ID: <o3@kunde.example>\nIn-Reply-To: <a3@firm.example>\n\nIch bin nicht da.\n",
    "bounce": b"Return-Path: <>\nFrom: Mail Delivery System <MAILER-DAEMON@mx.example>\nTo: ann@firm.example\nSubject: Undelivered Mail Returned to Sender\nDate: Tue, 12 Mar 2024 10:00:00 +0000\nMessage-ID: <b1@mx.example>\nContent-Type: multipart/report; report-type=delivery-status; boundary=z\n\n--z\nContent-Type: text/plain\n\nI could not deliver your mail.\n--z\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; nobody@gone.example\nAction: failed\nStatus: 5.1.1\n--z--\n",
    "newsletter": b"From: news@vendor.example\nTo: help@firm.example\nSubject: Spring sale\nDate: Tue, 12 Mar 2024 11:00:00 +0000\nMessage-ID: <n1@vendor.example>\nList-Unsubscribe: <https://vendor.example/u>\n\nEverything must go.\n",
    // A loop: each names the other, and two machines say the same for ever.
    "loop 1": b"From: robot@a.example\nTo: help@firm.example\nSubject: Your message\nDate: Wed, 13 Mar 2024 10:00:00 +0000\nMessage-ID: <l1@a.example>\nReferences: <l2@firm.example>\n\nYour message was received and will be handled soon by one of us.\n",
    "loop 2": b"From: help@firm.example\nTo: robot@a.example\nSubject: Re: Your message\nDate: Wed, 13 Mar 2024 10:00:01 +0000\nMessage-ID: <l2@firm.example>\nReferences: <l1@a.example>\n\nThank you for your message, which will be answered within two days.\n",
    "loop 3": b"From: robot@a.example\nTo: help@firm.example\nSubject: Re: Your message\nDate: Wed, 13 Mar 2024 10:00:02 +0000\nMessage-ID: <l3@a.example>\nReferences: <l2@firm.example>\n\nYour message was received and will be handled soon by one of us.\n",
    "loop 4": b"From: help@firm.example\nTo: robot@a.example\nSubject: Re: Your message\nDate: Wed, 13 Mar 2024 10:00:03 +0000\nMessage-ID: <l4@firm.example>\nReferences: <l3@a.example>\n\nThank you for your message, which will be answered within two days.\n",
    "x-loop": b"From: list@b.example\nTo: help@firm.example\nSubject: Round\nDate: Wed, 13 Mar 2024 11:00:00 +0000\nMessage-ID: <l5@b.example>\nX-Loop: help@firm.example\n\nAnd round.\n",
    // The same mail from another folder; agents among themselves; a question that nobody answered; a mail with quotes alone; no sender.
    "copy": b"Received: by other.example; Mon, 4 Mar 2024 09:15:09 +0100\nFrom: Bernd Berater <bernd@firm.example>\nTo: jm@kunde.example\nSubject: AW: Passwort\nDate: Tue, 5 Mar 2024 09:00:00 +0100\nMessage-ID: <a3@firm.example>\nIn-Reply-To: <q3@kunde.example>\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGuten Tag Herr M\xc3\xbcller,\n\nunter Konto > Sicherheit.\n\nViele Gr\xc3\xbc\xc3\x9fe\nBernd Berater\n",
    "internal": b"From: bernd@firm.example\nTo: ann@firm.example\nSubject: Re: Invoice\nDate: Mon, 4 Mar 2024 10:30:00 +0000\nMessage-ID: <i1@firm.example>\nReferences: <q1@customer.example>\n\nAnn, this one always complains.\n",
    "unanswered": b"From: hugo@shop.example\nTo: help@firm.example\nSubject: Hello?\nDate: Thu, 14 Mar 2024 10:00:00 +0000\nMessage-ID: <q10@shop.example>\n\nIs anybody there?\n",
    "only quotes": b"From: carol@customer.example\nTo: help@firm.example\nSubject: Re: Invoice\nDate: Mon, 4 Mar 2024 12:30:00 +0000\nMessage-ID: <q11@customer.example>\nReferences: <a1@firm.example>\n\n> Dear Carol,\n> you are right.\n",
    "no sender": b"To: help@firm.example\nSubject: ?\nMessage-ID: <q12@nowhere.example>\n\nWho am I?\n",
}

/// The samples as an mbox, with its escapes.
pub fn mbox() -> Vec<u8> {
    let mut all = Vec::new();
    for sample in SAMPLES {
        all.extend_from_slice(b"From someone@host.example Mon Mar  4 09:15:00 2024\n");
        for line in sample.raw.split_inclusive(|b| *b == b'\n') {
            let marks = line.iter().take_while(|b| **b == b'>').count();
            if line[marks..].starts_with(b"From ") {
                all.push(b'>');
            }
            all.extend_from_slice(line);
        }
        all.extend_from_slice(b"\n\n");
    }
    all
}
