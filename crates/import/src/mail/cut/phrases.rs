//! What mail programs and people write around what they say, in the languages that they write it in.

use regex::Regex;
use std::sync::LazyLock;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of ours")
}

/// "On … wrote:", joined to one line.
pub static ATTRIBUTION: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?ix)^[>\s*_]* (?:
          on\b.+\b(?:wrote|sent) | .+\bwrote | .+\b(?:said|writes)
        | (?:am|den|um)\b.+\bschrieb(?:en)?(?:\ssie)?\b.* | .+\bschrieb(?:\s.*)? | .+\bhat\b.*\bgeschrieben
        | le\b.+\ba\s+écrit | .+\ba\s+écrit
        | el\b.+\bescribió | .+\bescribió
        | il\b.+\bha\s+scritto | .+\bha\s+scritto
        | op\b.+\b(?:schreef|geschreven)\b.* | .+\bschreef(?:\s.*)?
        | (?:em|a|no\sdia)\b.+\bescreveu | .+\bescreveu
        | (?:den|på|le)?\b.+\bskrev\b.*
        | w\sdniu\b.+\bnapisał(?:\(a\)|a)? | .+\b(?:pisze|napisał(?:\(a\)|a)?)
        | .+\bkirjoitti\b.* | .+\bnapsal(?:\(a\)|a)?\b.* | .+\byazdı\b.* | .+\bírta\b.*
        | .+(?:пишет|написал(?:\(а\)|а)?)
        | .+(?:写道|寫道|のメール|書きました|のメッセージ)
        | .+\bđã\sviết
        ) \s* [::]? \s* [*-]* $",
    )
});

/// Own words with an attribution behind them on one line.
pub static PARTED: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^(?P<own>.*?[^\s>*_-])(?:\s+|\s*-{2,}\s*)(?P<quote>On (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .*\d.*\bwrote:)$")
});

/// How an attribution begins that may go on for more lines: "On 4 March", "2014-10-17 11:28".
pub static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)^[>\s*_-]*(?:(?:on|am|den|um|le|el|il|op|em|a|no dia|på|w dniu|dne|dnia|pada|tarihinde)\b.*\d|\d{4}[-/.]\d{1,2}[-/.]\d{1,2}\s)",
    )
});

/// Without a verb: a date, a name and an address, such as `2012/10/12 Name <name@host>`.
pub static BARE_ATTRIBUTION: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^[>\s]*(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}\s[^<>]{0,80}<\s*[^<>@\s]+@[^<>\s]+>\s*:?|[^<>]{0,60}\b\d{1,2}:\d{2}\b[^<>]{0,80}<\s*[^<>@\s]+@[^<>\s]+>\s*:)\s*$",
    )
});

/// A time, an address or a year: a person who says "he wrote:" gives none.
pub static WHEN_OR_WHO: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\d{1,2}[:.h]\d{2}\b|@|\b(?:19|20)\d{2}\b|\d{1,2}[./-]\d{1,2}[./-]\d{2}\b"));

/// What only a program gives: a time of day or an address.
pub static EXACT: LazyLock<Regex> = LazyLock::new(|| regex(r"\d{1,2}[:h]\d{2}\b|(?:^|[^\d.])\d{1,2}\.\d{2}(?:[^\d.]|$)|\S@\S"));

/// "-----Original Message-----".
pub static ORIGINAL: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?ix)^[>\s*_]* -{2,}\s* (?: original\s(?:message|appointment|e-?mail) | ursprüngliche\s(?:nachricht|mail) | original-?\s?nachricht | antwort\snachricht | originalmail
        | message\sd['’]origine | message\soriginal | mensaje\soriginal | messaggio\soriginale | (?:oorspronkelijk|origineel)\sbericht
        | mensagem\soriginal | ursprungligt\smeddelande | (?:oprindelig|original)\smeddelelse | opprinnelig\smelding | alkuperäinen\sviesti
        | (?:oryginalna\swiadomość|wiadomość\soryginalna) | původní\szpráva | исходное\sсообщение | reply\smessage | 原始邮件 | 原始郵件 | 元のメッセージ | \S.{1,60}\swrote ) \s*-{2,}",
    )
});

/// Marks above a mail that is passed on.
pub static FORWARDED: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?ix)^[>\s*_]* (?: -{2,}\s* (?: forwarded\s(?:message|by\b.*) | weitergeleitete\s(?:nachricht|mail) | (?:message\s)?(?:transféré|transmis)e?(?:\smessage)?
        | mensaje\sreenviado | messaggio\sinoltrato | doorgestuurd\sbericht | mensagem\s(?:encaminhada|reencaminhada) | vidarebefordrat\smeddelande
        | videresendt\smeddelelse | przekazana\swiadomość | přeposlaná\szpráva | пересылаемое\sсообщение | 转发的?邮件 | 転送メッセージ ) \s*-{2,}
        | (?: begin\sforwarded\smessage | anfang\sder\sweitergeleiteten\s(?:nachricht|e-?mail) | début\sdu\smessage\s(?:transféré|réexpédié)
        | inicio\sdel\smensaje\sreenviado | inizio\smessaggio\sinoltrato | begin\sdoorgestuurd\sbericht | início\sda\smensagem\s(?:reencaminhada|encaminhada) )
        \s*: ) \s*$",
    )
});

/// A line that help desks put above or below what is answered.
pub static REPLY_LINE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?ix)^\W* (?: (?:please\s)?(?:type|write|reply|add)\s.{0,40}\babove\sthis\sline | reply\sabove\sthis\sline | above\sthis\sline\sto\sreply
        | bitte\s.{0,40}oberhalb\sdieser\s(?:zeile|linie) | .{0,20}\bau[-\s]dessus\sde\scette\sligne | .{0,40}\bencima\sde\sesta\slínea
        | .{0,40}\bsopra\squesta\sriga | .{0,40}\bboven\sdeze\s(?:regel|lijn) | .{0,40}\bacima\sdesta\slinha ).*$",
    )
});

/// A line of a mail's header in a text: its name.
pub static LABEL: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?ix)^[>\s]* [*_]* \s* (?:
          (?P<from> from | von | de | da | van | från | fra | od | lähettäjä | от | gönderen | feladó | 发件人 | 差出人 | expéditeur | remitente | mittente | afzender )
        | (?P<date> sent | date | gesendet(?:\sam)? | datum | envoyé(?:\sle)? | enviado(?:\sel|\sem)? | enviada(?:\sem)? | fecha | data | inviato | inviata
          | verzonden | skickat | sendt | dato | wysłano | odesláno | отправлено | дата | 发送时间 | 日期 | 送信日時 | lähetetty | tarih )
        | (?P<to> to | an | à | a | para | aan | till | til | do | komu | кому | 收件人 | 宛先 | destinataire | vastaanottaja | kime | cc | kopie | копия | 抄送 | reply-to )
        | (?P<subject> subject | betreff | objet | sujet | asunto | oggetto | onderwerp | assunto | ämne | emne | temat | předmět | тема | 主题 | 件名 | aihe | konu | tárgy )
        ) \s* [*_]* \s* [::] \s* [*_]* \s* (?P<value> .* ) $",
    )
});

/// Closings after which only a name comes.
pub const CLOSINGS: &[&str] = &[
    "best regards",
    "kind regards",
    "kindest regards",
    "warm regards",
    "warmest regards",
    "with kind regards",
    "with best regards",
    "regards",
    "many regards",
    "best wishes",
    "all the best",
    "yours sincerely",
    "yours faithfully",
    "yours truly",
    "sincerely",
    "sincerely yours",
    "respectfully",
    "cheers",
    "many thanks and best regards",
    "thanks and regards",
    "thanks and best regards",
    "thanks & regards",
    "thank you and best regards",
    "thank you and kind regards",
    "with thanks",
    "have a great day",
    "have a nice day",
    "mit freundlichen grüßen",
    "mit freundlichen grüssen",
    "mit freundlichem gruß",
    "mit freundlichem gruss",
    "freundliche grüße",
    "freundliche grüsse",
    "mit besten grüßen",
    "mit besten grüssen",
    "beste grüße",
    "beste grüsse",
    "viele grüße",
    "viele grüsse",
    "liebe grüße",
    "liebe grüsse",
    "herzliche grüße",
    "herzliche grüsse",
    "schöne grüße",
    "schöne grüsse",
    "sonnige grüße",
    "hochachtungsvoll",
    "mfg",
    "lg",
    "vg",
    "gruß",
    "gruss",
    "grüße",
    "grüsse",
    "vielen dank und beste grüße",
    "vielen dank und viele grüße",
    "mit freundlichen gruessen",
    "cordialement",
    "bien cordialement",
    "très cordialement",
    "bien à vous",
    "sincères salutations",
    "meilleures salutations",
    "salutations distinguées",
    "salutations cordiales",
    "amicalement",
    "veuillez agréer",
    "je vous prie d'agréer",
    "je vous prie de croire",
    "bonne journée",
    "bien à toi",
    "un saludo",
    "saludos",
    "saludos cordiales",
    "un cordial saludo",
    "cordiales saludos",
    "atentamente",
    "muy atentamente",
    "un abrazo",
    "reciba un cordial saludo",
    "le saluda atentamente",
    "gracias y saludos",
    "cordiali saluti",
    "distinti saluti",
    "cordialmente",
    "saluti",
    "un saluto",
    "un cordiale saluto",
    "buona giornata",
    "tanti saluti",
    "grazie e cordiali saluti",
    "met vriendelijke groet",
    "met vriendelijke groeten",
    "vriendelijke groet",
    "vriendelijke groeten",
    "hartelijke groet",
    "hartelijke groeten",
    "met hartelijke groet",
    "groeten",
    "groet",
    "groetjes",
    "mvg",
    "hoogachtend",
    "com os melhores cumprimentos",
    "melhores cumprimentos",
    "atenciosamente",
    "cumprimentos",
    "os meus cumprimentos",
    "abraços",
    "um abraço",
    "obrigado e cumprimentos",
    "respeitosamente",
    "med vänliga hälsningar",
    "vänliga hälsningar",
    "hälsningar",
    "med venlig hilsen",
    "venlig hilsen",
    "med vennlig hilsen",
    "vennlig hilsen",
    "mvh",
    "hilsen",
    "z poważaniem",
    "pozdrawiam",
    "s pozdravem",
    "с уважением",
    "此致敬礼",
    "よろしくお願いいたします",
    "よろしくお願いします",
    "ystävällisin terveisin",
];

/// Thanks that close a mail only where a name follows.
pub const THANKS: &[&str] = &[
    "thanks",
    "thank you",
    "many thanks",
    "thanks a lot",
    "thanks again",
    "thanks in advance",
    "thank you in advance",
    "thank you very much",
    "best",
    "thx",
    "danke",
    "vielen dank",
    "besten dank",
    "herzlichen dank",
    "danke im voraus",
    "vielen dank im voraus",
    "danke und gruß",
    "merci",
    "merci d'avance",
    "merci beaucoup",
    "merci par avance",
    "gracias",
    "muchas gracias",
    "gracias de antemano",
    "grazie",
    "grazie mille",
    "molte grazie",
    "bedankt",
    "alvast bedankt",
    "dank u",
    "hartelijk dank",
    "obrigado",
    "obrigada",
    "muito obrigado",
    "muito obrigada",
    "desde já obrigado",
    "tack",
    "tak",
    "dziękuję",
    "спасибо",
];

/// What telephones add.
pub static DEVICE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?ix)^[\s*_]* (?: via\smobile | sent\s(?:from|via|with|using)\s(?:my\s)?[\w\s.'’]{2,40} | get\soutlook\sfor\s\w+.* | (?:von\smeinem|gesendet\svon|gesendet\smit)\s.{2,40}
        | (?:envoyé|télécharg\w+)\s(?:de|depuis|à\spartir\sde)\s.{2,50} | (?:enviado|enviada)\s(?:desde|do|de|a\spartir\sdo)\s.{2,50} | inviato\sda\s.{2,50}
        | verzonden\s(?:vanaf|vanuit|met)\s.{2,50} | verstuurd\svanaf\s.{2,50} | skickat\sfrån\s.{2,40} | sendt\sfra\s.{2,40} | wysłane\sz\s.{2,40} | отправлено\s(?:с|из)\s.{2,40} ) $",
    )
});

/// A telephone number, with or without its name.
pub static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?ix)\b(?: t | m | f | tel(?:efon|efoon|éfono|éphone|efono|efone)? | tél | ph(?:one)? | fon | fax | mobil?e?(?:l|nummer)? | cell | cel | móvil | gsm | handy | direct | durchwahl | office | portable | cellulare )
        \b\s*[.:]*\s*[+(]?\d[\d\s()/.\-–]{5,} | (?:^|\s)\+\d[\d\s()/.\-–]{7,} | ^\s*\(?0\d[\d\s()/.\-–]{6,}$ | ^\W*\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}\b",
    )
});

/// Other signs of a block of contact details.
pub static CONTACT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?x) ^\W*(?:(?i:e-?mail|mail|courriel|correo|web|website|internet)\s*[:\s]\s*)?[\w.+-]+@[\w-]+\.[\w.-]+\W*$
        | ^\W*(?:(?i:web|website|internet|url)\s*[:\s]\s*)?(?:https?://)?(?:www\.)[\w-]+\.[\w./-]+\W*$ | ^\W*https?://[\w./-]+\W*$
        | \b(?:GmbH|AG|KG|UG|SE|OHG|S\.?A\.?R?\.?L?\.?|SAS|S\.?L\.?|S\.?p\.?A\.?|S\.?r\.?l\.?|B\.?V\.?|N\.?V\.?|Ltda?\.?|Inc\.?|LLC|PLC|plc|Oy|AB|ApS|Lda\.?)(?:\W|$)
        | \b(?:HRB|HRA|Amtsgericht|Registergericht|Geschäftsführ\w+|USt-?Id\S*|VAT|SIRET|SIREN|P\.?\s?IVA|C\.?I\.?F\.?|N\.?I\.?F\.?|KvK|BTW|TVA)\b
        | ^\W*\S.{2,40}\b(?:straße|strasse|str\.|weg|platz|allee|street|road|avenue|ave\.|lane|rue|calle|via|straat|laan|rua)\b.{0,30}\d | ^\W*\d{1,4},?\s(?:rue|avenue|boulevard|[A-Z]\w+\s(?:Street|St\.?|Road|Rd\.?|Avenue|Ave\.?|Lane))\b
        | (?:^|\s)[A-Z]{0,2}-?\d{4,5}\s[A-ZÄÖÜ][\w-]+$",
    )
});
