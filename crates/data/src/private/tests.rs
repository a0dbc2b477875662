//! Judges of the recognisers: published examples of every check digit, forms of every kind, and what is none.

use super::*;
use crate::item::parse_items;

fn kinds(text: &str) -> Vec<(Kind, String)> {
    Talk::single().find(text).into_iter().map(|one| (one.kind, text[one.start..one.end].to_string())).collect()
}

#[track_caller]
fn finds(text: &str, kind: Kind, value: &str) {
    let found = kinds(text);
    assert!(found.contains(&(kind, value.to_string())), "{text:?}: expected {kind:?} {value:?}, found {found:?}");
}

#[track_caller]
fn finds_none(text: &str, kind: Kind) {
    let found = kinds(text);
    assert!(found.iter().all(|(other, _)| *other != kind), "{text:?}: {found:?}");
}

/// Numbers that issuers and standards publish for tests and examples.
const CARDS: [&str; 9] = [
    "4111 1111 1111 1111",
    "5555-5555-5555-4444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "3056 930902 5904",
    "3530111333300000",
    "4222222222222",
    "6250941006528599",
];
const IBANS: [&str; 6] = [
    "GB82 WEST 1234 5698 7654 32",
    "DE89370400440532013000",
    "FR14 2004 1010 0505 0001 3M02 606",
    "NL91ABNA0417164300",
    "NO9386011117947",
    "MT84MALT011000012345MTLCAST001S",
];

#[test]
fn published_cards_and_accounts_are_found() {
    CARDS.iter().for_each(|card| finds(&format!("pay with {card}, please"), Kind::Card, card));
    IBANS.iter().for_each(|iban| finds(&format!("to {iban}."), Kind::Iban, iban));
}

/// Both schemes find every single wrong digit, and 97 every two neighbours that changed places.
#[test]
fn a_digit_that_is_changed_is_found_out() {
    for (numbers, kind) in [(&CARDS[..], Kind::Card), (&IBANS[..], Kind::Iban)] {
        for number in numbers {
            for at in number.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at) {
                for digit in '0'..='9' {
                    let mut other = number.to_string();
                    other.replace_range(at..=at, &digit.to_string());
                    if other != *number {
                        finds_none(&other, kind);
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_of_twelve_and_more_countries_are_found() {
    let lawful = [
        "my ssn is 536-90-4399",
        "NINO QQ 12 34 56 C is only shown; AB 12 34 56 C",
        "NHS number 943 476 5919",
        "Steuer-ID 86 095 742 719",
        "1 84 12 76 451 089 46",
        "DNI 12345678Z",
        "NIE X1234567L",
        "RSSMRA85T10A562S",
        "BSN 111222333",
        "44051401359",
        "811228-9874",
        "756.9217.0769.85",
        "CPF 529.982.247-25",
        "Aadhaar 2341 2341 2346",
        "SIN 046 454 286",
        "131052-308T",
        "85.07.30-033.28",
    ];
    for text in lawful {
        let found = kinds(text);
        assert!(found.iter().any(|(kind, _)| *kind == Kind::NationalId), "{text:?}: {found:?}");
    }
}

#[test]
fn wrong_check_digits_and_forbidden_numbers_are_none() {
    let unlawful = [
        "000-12-3456 666-12-3456 900-12-3456 536-00-4399 536-90-0000",
        "NHS number 943 476 5918",
        "Steuer-ID 86 095 742 718",
        "1 84 12 76 451 089 47",
        "12345678A",
        "X1234567A",
        "RSSMRA85T10A562T",
        "44051401358",
        "811228-9875",
        "756.9217.0769.84",
        "529.982.247-26",
        "2341 2341 2347",
        "131052-308U",
        "85.07.30-033.29",
    ];
    for text in unlawful {
        finds_none(text, Kind::NationalId);
    }
    assert!(checksum::verhoeff(&[2, 3, 6, 3]) && !checksum::verhoeff(&[2, 3, 6, 4]), "the example of Verhoeff's paper");
    assert!(checksum::luhn(&checksum::digits("79927398713")) && checksum::luhn_check(&checksum::digits("7992739871")) == 3);
    assert_eq!(checksum::iban_check("GB", "WEST12345698765432"), Some(82));
}

#[test]
fn the_internet_is_found() {
    finds("write to Jane.Doe+x@mail.example.co.uk.", Kind::Email, "Jane.Doe+x@mail.example.co.uk");
    finds("jane.doe (at) example (dot) com", Kind::Email, "jane.doe (at) example (dot) com");
    finds("it is robydude 234 hotmailcom", Kind::Email, "robydude 234 hotmailcom");
    finds_none("write to support@acme.com, @handle or a@b", Kind::Email);
    finds("from 84.23.1.200, twice", Kind::Ip, "84.23.1.200");
    finds("host 2001:db8:85a3::8a2e:370:7334 is down", Kind::Ip, "2001:db8:85a3::8a2e:370:7334");
    finds_none("firmware 2.4.7.1, version 10.0.1.2, 127.0.0.1, at 12:30:45, 1.2.3.4.5", Kind::Ip);
    finds("MAC 00:1B:44:11:3A:B7", Kind::Mac, "00:1B:44:11:3A:B7");
    finds("see https://a.test/reset?token=abcdef123456.", Kind::Url, "https://a.test/reset?token=abcdef123456");
    finds_none("see https://a.test/help?page=2", Kind::Url);
}

#[test]
fn telephones_are_found_and_orders_are_not() {
    for (text, number) in [
        ("Eoin, +44 7700 900320", "+44 7700 900320"),
        ("(902) 555-0127 in Truro", "(902) 555-0127"),
        ("or 416-555-0163", "416-555-0163"),
        ("phone me at 22 555 014", "22 555 014"),
        ("06 55 50 11 92", "06 55 50 11 92"),
        ("my mobile is 9876543210", "9876543210"),
    ] {
        finds(text, Kind::Phone, number);
    }
    for text in
        ["order 0123 456789", "purchase 00123842", "on 17.05.2024 at 10", "invoice no 0800-123-4567", "NW-190455 costs 1,234,567.00"]
    {
        finds_none(text, Kind::Phone);
    }
}

#[test]
fn dates_of_birth_need_their_word() {
    finds("born 7 October 1976.", Kind::BirthDate, "7 October 1976");
    finds("DOB: 1976-10-07", Kind::BirthDate, "1976-10-07");
    finds("geboren am 07.10.1976", Kind::BirthDate, "07.10.1976");
    finds_none("delivered on 7 October 2024", Kind::BirthDate);
}

#[test]
fn names_are_found_by_what_stands_around_them() {
    for (text, name) in [
        ("my name is john smith and I wait", "john smith"),
        ("hello, this is Ximena Lindqvist", "Ximena Lindqvist"),
        ("Mrs Thelma Boateng rang", "Thelma Boateng"),
        ("See you.\nKind regards,\nRosalind Peake", "Rosalind Peake"),
        ("Ich heiße Jürgen Müller.", "Jürgen Müller"),
        ("je m'appelle Aurélie Fontaine", "Aurélie Fontaine"),
        ("Hi Priya, thanks", "Priya"),
        ("the owner, Tom Prydderch, said", "Tom Prydderch"),
        ("to J. Okonkwo or Mr. Finch", "Finch"),
    ] {
        finds(text, Kind::Name, name);
    }
    for text in [
        "My ATM got stuck",
        "Hi there, will you help me in May?",
        "The Order Was Sent To The Depot",
        "I am happy. Thanks a lot",
        "this is great",
    ] {
        finds_none(text, Kind::Name);
    }
}

#[test]
fn a_chat_remembers_what_was_asked_and_said() {
    let mut talk = Talk::chat();
    assert!(talk.find("Could I have your full name, please?").is_empty());
    assert_eq!(talk.find("rose miller").len(), 1);
    assert!(talk.find("And the last four digits of your card?").is_empty());
    assert_eq!(talk.find("4500")[0].kind, Kind::Account);
    assert_eq!(talk.find("akila kannan")[0].kind, Kind::Name);
    assert_eq!(talk.find("as I said, Akila")[0].kind, Kind::Name);
    assert!(Talk::single().find("4512").is_empty(), "an answer of one number is none of a person's");
}

#[test]
fn addresses_are_found_in_several_languages() {
    for (text, address) in [
        ("160 Quay Street, Port Elsin 15045", "160 Quay Street, Port Elsin 15045"),
        ("I moved to 12 main street springfield il 62704", "12 main street springfield il 62704"),
        ("Hauptstraße 12, 10115 Berlin", "Hauptstraße 12, 10115 Berlin"),
        ("12 rue de la Paix, 75002 Paris", "12 rue de la Paix, 75002 Paris"),
        ("Calle Mayor 5, 28013 Madrid", "Calle Mayor 5, 28013 Madrid"),
        ("Via Roma 12", "Via Roma 12"),
        ("Kerkstraat 7", "Kerkstraat 7"),
        ("London SW1A 1AA", "SW1A 1AA"),
    ] {
        finds(text, Kind::Address, address);
    }
    for text in ["5 minutes down the road", "2 hours each way", "1 February. New street", "it is 30 percent of the way"] {
        finds_none(text, Kind::Address);
    }
}

/// Keys are put together here, so that no scanner takes this file for a leak.
#[test]
fn secrets_are_found_by_form_and_randomness() {
    let random = "q7Rz4kXw9LmB2vTn8YcH5sJdP3gFa6ZeU1oK";
    let keys = [
        format!("AKIA{}", "Z3QX7RWL2MKT5NBV"),
        format!("ghp_{random}"),
        format!("glpat-{}", &random[..20]),
        format!("xoxb-{}-{}", "123456789012", &random[..24]),
        format!("sk_live_{}", &random[..24]),
        format!("sk-ant-api03-{random}"),
        format!("sk-proj-{random}"),
        format!("AIza{}", &random[..35]),
        format!("-----BEGIN RSA PRIVATE KEY-----\n{random}\n-----END RSA PRIVATE KEY-----"),
        format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{random}"),
    ];
    keys.iter().for_each(|key| finds(&format!("use {key} then"), Kind::Secret, key));
    finds(&format!("API_KEY = \"{random}\""), Kind::Secret, random);
    finds("postgres://app:hunter2!@db.internal/x", Kind::Secret, "hunter2!");
    finds("my password is Xk9$tulip", Kind::Secret, "Xk9$tulip");
    for text in [
        "api_key = YOUR_API_KEY_GOES_HERE",
        "the token = identifier_of_something",
        "I forgot my password and cannot log in",
        "reset password please",
    ] {
        finds_none(text, Kind::Secret);
    }
}

#[test]
fn a_dataset_has_one_finding_for_each_kind() {
    let rows = concat!(
        "{\"id\":\"a\",\"text\":\"mail priya@corp.test\"}\n{\"id\":\"b\",\"text\":\"nothing here\"}\n",
        "{\"id\":\"c\",\"instruction\":\"card 4111 1111 1111 1111\",\"response\":\"{\\\"email\\\":\\\"x.y@corp.test\\\"}\"}\n"
    );
    let findings = private_findings(&parse_items(rows.as_bytes(), std::path::Path::new("x.jsonl")).unwrap());
    let told: Vec<(&str, Vec<String>)> = findings.iter().map(|one| (one.check.name(), one.examples.clone())).collect();
    assert_eq!(told, [("personal_data", vec!["c".to_string()]), ("personal_data", vec!["a".to_string(), "c".to_string()])]);
    assert!(findings.iter().all(|one| !one.evidence.contains("priya@corp") && !one.evidence.contains("1111 1111")), "{findings:?}");
}
