//! Judges of cleaning: each repair, pseudonyms that are consistent and can be taken back, and the planted faults of Northwind.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::private::Talk;

fn options() -> CleanOptions {
    CleanOptions {
        repair: true,
        quotes: false,
        boilerplate: false,
        hide: Hide::Pseudonyms,
        kinds: Kind::ALL.to_vec(),
        valid: false,
        show: true,
    }
}

fn go(file: &Path, out: &Path, key: Option<&Path>, options: &CleanOptions) -> Cleaned {
    clean(file, out, key, options, &mut |_, _, _| true).unwrap()
}

/// Rows through the whole command, and back as values.
fn cleaned(rows: &[Value], options: &CleanOptions) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("in.jsonl"), dir.path().join("out.jsonl"));
    std::fs::write(&file, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    go(&file, &out, None, options);
    lines_of(&out)
}

fn lines_of(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn repaired(text: &str) -> String {
    let options = CleanOptions { hide: Hide::Nothing, ..options() };
    cleaned(&[json!({ "text": text })], &options)[0]["text"].as_str().unwrap().to_string()
}

#[test]
fn texts_are_repaired() {
    let cases = [
        ("I donâ€™t know. CafÃ© â€“ MÃ¼nchen", "I don’t know. Café – München"),
        ("twice: MÃƒÂ¼nchen and donÃ¢â‚¬â„¢t", "twice: München and don’t"),
        ("said â€œyesâ€\u{9d} ðŸ˜€", "said “yes” 😀"),
        ("zero\u{200b}width, e\u{301}, \u{7}bell, a\u{a0}b", "zerowidth, é, bell, a b"),
        ("one\r\ntwo\rthree   \n\n\n\nfour ", "one\ntwo\nthree\n\nfour"),
        ("<p>It&#x27;s &amp; stays &euro;5</p><div class=\"sig\">&nbsp;</div>", "It's & stays €5"),
        ("<ul><li>one</li><li>two<br>lines</li></ul><script>alert(1)</script>", "- one\n- two\nlines"),
        ("Fish &amp; chips, 5 &lt; 6", "Fish & chips, 5 < 6"),
        ("It won\\'t\\n\\nstop \\\"now\\\" f\\u00fcr \\ud83d\\ude00", "It won't\n\nstop \"now\" für 😀"),
        ("Field: message\nValue: It is broken.\nField: consent\nValue: on", "It is broken."),
        ("Please help.\n\n-----Original Message-----\nFrom: X\nSent: Tuesday\n\nOld.", "Please help."),
        ("Danke.\n\nAm 3. Mai 2024 um 10:00 schrieb Anna <a@b.de>:\n> alt", "Danke."),
        ("Thanks.\n\n> old\n> older", "Thanks."),
        ("Hello.\n-- \nJane\nACME", "Hello."),
        (
            "Off again.\n\nThis e-mail may contain confidential information. If you are not the intended recipient please delete it.",
            "Off again.",
        ),
    ];
    for (before, after) in cases {
        assert_eq!(repaired(before), after, "{before:?}");
        assert_eq!(repaired(after), after, "{after:?} is sound");
    }
}

#[test]
fn sound_texts_stay_as_they_are() {
    let sound = [
        "Über «IRMÃ» und É» – naïve café, “quotes” stay",
        "C:\\new\\table and \\d+ are meant so",
        "x < y and y > z; a<b",
        "```\n<p>code</p> &amp; \\n\n```",
        "> Have you tried another phone?\n\nYes: four phones.",
        "नमस्ते \u{d9f}\u{d4d}\u{200d} 👩\u{200d}💻",
    ];
    for text in sound {
        assert_eq!(repaired(text), text);
    }
}

#[test]
fn answers_keep_their_form() {
    let row = json!({ "instruction": "<p>hi</p>", "response": "{\"intent\":\"x\",\"note\":\"<b>call</b> 4111 1111 1111 1111\"}" });
    let out = &cleaned(&[row], &options())[0];
    assert_eq!(out["instruction"], "hi");
    let answer: Value = serde_json::from_str(out["response"].as_str().unwrap()).unwrap();
    assert_eq!(answer["intent"], "x");
    let note = answer["note"].as_str().unwrap();
    assert!(note.starts_with("<b>call</b> 4") && !note.contains("1111 1111") && note.len() == 31, "{note}");
}

#[test]
fn calls_of_tools_stay_json() {
    let arguments =
        json!({ "name": "Priya Raman", "email": "priya@example.org", "account_number": 48129077, "when": "2024-05-01" }).to_string();
    let row = json!({ "id": 7, "messages": [
        { "role": "user", "content": "I am Priya Raman, mail priya@example.org" },
        { "role": "assistant", "content": null, "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "find_customer", "arguments": arguments } }] },
    ] });
    let out = &cleaned(&[row], &options())[0];
    let call = &out["messages"][1]["tool_calls"][0];
    assert_eq!((&call["function"]["name"], &call["id"], &out["id"]), (&json!("find_customer"), &json!("c1"), &json!(7)));
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    let said = out["messages"][0]["content"].as_str().unwrap();
    let name = arguments["name"].as_str().unwrap();
    assert!(name != "Priya Raman" && said.contains(name), "{said} {arguments}");
    assert!(said.contains(arguments["email"].as_str().unwrap()), "{said} {arguments}");
    let account = arguments["account_number"].as_u64().unwrap();
    assert!(account != 48129077 && account.to_string().len() == 8, "{arguments}");
    assert_eq!(arguments["when"], "2024-05-01");
}

/// Rows of all kinds of data, each written in two ways and said in several rows, as Python writes JSON and as Rust does.
fn varied(count: usize, python: bool) -> String {
    let mut stream = draw::Stream::new([7; 32], &["rows"], 0);
    let names = ["Priya Raman", "Tom Prydderch", "josé garcía", "Zoë McDonald", "EOIN MENSAH", "Ana-Lucía Ortega"];
    let mut rows = String::new();
    for at in 0..count {
        let name = names[stream.below(names.len())];
        let phone = format!("+44 7700 9{:05}", stream.below(100_000));
        let account = stream.below(9_000) + 1_000;
        let text = format!(
            "My name is {name}, phone {phone}, card 4000 0027 3544 7607 or 4000002735447607, born 7 October 1976, account number {account}. \
             Pay GB83NWND12646128006520, mail a{at}@corp.test, from 10.1.{}.7. I live at {} Quay Street, Port Elsin 15045.",
            stream.below(256),
            1 + stream.below(300)
        );
        let row = if python {
            format!("{{\"id\": \"r{at}\", \"text\": {}, \"n\": 1.50}}\n", splice::encoded(&text, true))
        } else {
            format!("{{\"text\":{},\"id\":\"r{at}\"}}\r\n", splice::encoded(&text, false))
        };
        rows.push_str(&row);
    }
    rows
}

#[test]
fn what_was_hidden_comes_back_to_the_same_bytes() {
    comes_back(&varied(200, true));
    comes_back(&varied(200, false));
}

fn comes_back(rows: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("in.jsonl"), rows).unwrap();
    let options = CleanOptions { repair: false, ..options() };
    let done = go(&path("in.jsonl"), &path("out.jsonl"), Some(&path("key")), &options);
    assert!(done.new_key && done.changed == 200, "{done:?}");
    let hidden = std::fs::read_to_string(path("out.jsonl")).unwrap();
    for secret in [
        "Priya",
        "Raman",
        "4000 0027 3544 7607",
        "4000002735447607",
        "GB83NWND12646128006520",
        "7 October 1976",
        "@corp.test",
        "Quay Street",
    ] {
        assert!(!hidden.contains(secret), "{secret} is still there");
    }
    let map = done.map.unwrap();
    let sealed = std::fs::read(&map).unwrap();
    assert!(!sealed.windows(5).any(|part| part == b"Priya"), "the map is readable");
    let back = restore(&path("out.jsonl"), &path("back.jsonl"), &path("key"), &map, &mut |_, _, _| true).unwrap();
    let again = std::fs::read_to_string(path("back.jsonl")).unwrap();
    let other = rows.split('\n').zip(again.split('\n')).find(|(before, after)| before != after);
    assert_eq!((back.rows, other), (200, None));
    assert_eq!(again, rows);
    // Another key does not open it, and nothing is written.
    go(&path("in.jsonl"), &path("other.jsonl"), Some(&path("key2")), &options);
    let error = restore(&path("out.jsonl"), &path("none.jsonl"), &path("key2"), &map, &mut |_, _, _| true).unwrap_err();
    assert!(matches!(error, Error::WrongKey { .. }) && !path("none.jsonl").exists(), "{error}");
}

#[test]
fn a_pseudonym_is_consistent_and_never_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let rows = varied(200, false);
    std::fs::write(path("in.jsonl"), &rows).unwrap();
    let options = CleanOptions { repair: false, ..options() };
    let key = path("key");
    let done = go(&path("in.jsonl"), &path("a.jsonl"), Some(&key), &options);
    let (mut of, mut stands): (HashMap<String, String>, HashMap<String, String>) = (HashMap::new(), HashMap::new());
    let originals: BTreeSet<String> = lines_of(&done.list).iter().map(|change| change["before"].as_str().unwrap().to_string()).collect();
    for change in lines_of(&done.list) {
        let (before, after) = (change["before"].as_str().unwrap().to_string(), change["after"].as_str().unwrap().to_string());
        assert!(!originals.contains(&after), "{after} is an original");
        assert_eq!(of.entry(before.clone()).or_insert(after.clone()), &after, "{before} is not always the same");
        assert_eq!(stands.entry(after.clone()).or_insert(before.clone()), &before, "{after} stands for two");
    }
    let digits = |text: &str| text.replace(' ', "");
    assert_eq!(digits(&of["4000 0027 3544 7607"]), of["4000002735447607"]);
    assert_eq!(of["4000002735447607"].len(), 16);
    // The same key gives the same pseudonyms, another one gives others.
    go(&path("in.jsonl"), &path("b.jsonl"), Some(&key), &options);
    go(&path("in.jsonl"), &path("c.jsonl"), None, &options);
    let bytes = |name: &str| std::fs::read(path(name)).unwrap();
    assert_eq!(bytes("a.jsonl"), bytes("b.jsonl"));
    assert_ne!(bytes("a.jsonl"), bytes("c.jsonl"));
}

#[test]
fn check_digits_are_as_chosen() {
    let row = [json!({ "text": "Card 4000 0027 3544 7607, IBAN GB83NWND12646128006520." })];
    let kinds = |text: &str| Talk::single().find(text).iter().map(|one| one.kind).collect::<Vec<_>>();
    for _ in 0..20 {
        let right = cleaned(&row, &CleanOptions { valid: true, ..options() });
        assert_eq!(kinds(right[0]["text"].as_str().unwrap()), [Kind::Card, Kind::Iban], "{right:?}");
        let wrong = cleaned(&row, &options());
        let wrong = kinds(wrong[0]["text"].as_str().unwrap());
        assert!(!wrong.contains(&Kind::Card) && !wrong.contains(&Kind::Iban), "{wrong:?}");
    }
}

#[test]
fn tags_can_be_written_and_kinds_chosen() {
    let row = [json!({ "text": "I am Priya Raman, priya@corp.test." })];
    let tags = cleaned(&row, &CleanOptions { hide: Hide::Tags, ..options() });
    assert_eq!(tags[0]["text"], "I am [NAME], [EMAIL].");
    let some = cleaned(&row, &CleanOptions { hide: Hide::Tags, kinds: vec![Kind::Email], ..options() });
    assert_eq!(some[0]["text"], "I am Priya Raman, [EMAIL].");
}

#[test]
fn the_list_masks_what_is_personal() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("in.jsonl"), "{\"text\":\"<p>Mail priya@corp.test&nbsp;or Priya Raman</p>\"}\n").unwrap();
    let done = go(&path("in.jsonl"), &path("out.jsonl"), None, &CleanOptions { show: false, ..options() });
    let list = std::fs::read_to_string(&done.list).unwrap();
    assert!(
        list.contains("html_to_text") && list.contains("\"email\"") && !list.contains("priya@corp") && !list.contains("Raman"),
        "{list}"
    );
}

#[test]
fn lines_that_repeat_are_told_and_cut_when_asked() {
    let foot = "Our opening hours are nine to five.";
    let rows: Vec<Value> = (0..30).map(|at| json!({ "text": format!("Question {at} about my order\n{foot}") })).collect();
    let kept = cleaned(&rows, &CleanOptions { hide: Hide::Nothing, ..options() });
    assert!(kept[3]["text"].as_str().unwrap().ends_with(foot));
    let cut = cleaned(&rows, &CleanOptions { hide: Hide::Nothing, boilerplate: true, ..options() });
    assert_eq!(cut[3]["text"], "Question 3 about my order");
}

#[test]
fn bad_input_is_one_error_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let fails = |bytes: &[u8]| -> String {
        std::fs::write(path("in.jsonl"), bytes).unwrap();
        let error = clean(&path("in.jsonl"), &path("out.jsonl"), None, &options(), &mut |_, _, _| true).unwrap_err().to_string();
        let left: Vec<PathBuf> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(left, [path("in.jsonl")], "something was written");
        error
    };
    assert!(fails(b"{\"text\":\"a\"}\n{\"text\":\n").contains("1 of 2 rows cannot be used\n  line 2: column"));
    assert!(fails(b"{\"text\":\"a\xff\"}\n").contains("found 0xff, expected UTF-8"));
    assert!(fails(b"[1]\n").contains("line 1: found a number, expected a JSON object"));
    assert!(fails(b"\n\n").contains("found no row"));
    assert!(fails(b"\x1f\x8b\x08").contains("gzip"));
    std::fs::write(path("in.jsonl"), "{\"text\":\"a\"}\n").unwrap();
    std::fs::write(path("key"), "no key\n").unwrap();
    let error = clean(&path("in.jsonl"), &path("out.jsonl"), Some(&path("key")), &options(), &mut |_, _, _| true).unwrap_err();
    assert!(matches!(error, Error::NotAKey { .. }), "{error}");
    let error = clean(&path("in.jsonl"), &path("in.jsonl"), None, &options(), &mut |_, _, _| true).unwrap_err();
    assert!(matches!(error, Error::SameFile { .. }), "{error}");
    let error = clean(&path("in.jsonl"), &path("out.jsonl"), None, &options(), &mut |part, _, _| part == "reading").unwrap_err();
    assert!(matches!(error, Error::Stopped) && !path("out.jsonl").exists() && !path("out.jsonl.changes.jsonl").exists(), "{error}");
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_a_new_key() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    assert!(Key::open_or_make(&path).unwrap().1);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!Key::open_or_make(&path).unwrap().1);
}

/// What was planted in Northwind's tickets, and what was found beside it.
#[test]
fn every_planted_datum_and_piece_of_debris_of_northwind_is_found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/northwind");
    let dir = tempfile::tempdir().unwrap();
    let done = go(&folder.join("train.jsonl"), &dir.path().join("out.jsonl"), None, &options());
    let changes = lines_of(&done.list);
    let of = |id: &Value| changes.iter().filter(|change| change["id"] == *id).collect::<Vec<_>>();
    let (mut private, mut debris) = (BTreeSet::new(), BTreeSet::new());
    for truth in lines_of(&folder.join("truth.jsonl")) {
        let (how, found) = (truth["how"].as_str().unwrap_or_default(), of(&truth["id"]));
        let has = |what: &str| found.iter().any(|change| change["what"] == what);
        let covers = |what: &str, value: &str| {
            let value = value.trim_start_matches("born ");
            found.iter().any(|change| change["what"] == what && change["before"].as_str().unwrap().contains(value))
        };
        match truth["kind"].as_str().unwrap() {
            "personal_data" => {
                private.insert(truth["id"].to_string());
                assert!(covers(how, truth["value"].as_str().unwrap()), "missed {truth}: {found:?}");
                let name = truth["name"].as_str().unwrap();
                let named = lines_of(&folder.join("train.jsonl"))
                    .iter()
                    .any(|row| row["id"] == truth["id"] && row["instruction"].as_str().unwrap().contains(name));
                assert!(!named || covers("name", name), "missed the name of {truth}: {found:?}");
            }
            "debris" => {
                debris.insert(truth["id"].to_string());
                let what = match how {
                    "quoted_reply" => "quote_cut",
                    "disclaimer" => "notice_cut",
                    "form_field" => "form_cut",
                    "html" => "html_to_text",
                    other => other,
                };
                assert!(has(what), "missed {truth}: {found:?}");
            }
            _ => {}
        }
    }
    assert_eq!((private.len(), debris.len()), (26, 24));
    // False alarms: a repair other than of blanks where nothing was planted; a number or address in a ticket that has none.
    let repairs = ["mojibake", "unicode", "html_to_text", "escapes", "form_cut", "quote_cut", "notice_cut", "signature_cut"];
    let alarms: Vec<&Value> = changes
        .iter()
        .filter(|change| repairs.contains(&change["what"].as_str().unwrap()) && !debris.contains(&change["id"].to_string()))
        .collect();
    assert!(alarms.is_empty(), "{alarms:?}");
    let kinds = ["card", "iban", "national_id", "birth_date", "secret", "ip", "mac", "url"];
    let alarms: Vec<&Value> = changes
        .iter()
        .filter(|change| kinds.contains(&change["what"].as_str().unwrap()) && !private.contains(&change["id"].to_string()))
        .collect();
    assert!(alarms.is_empty(), "{alarms:?}");
}
