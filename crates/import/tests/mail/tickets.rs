//! Ticket exports of each shape: what is kept, what is left out, and what cannot begin.

use import::tickets::{Mapping, Settings, System, open, recognised};
use import::{Error, Quarantined, Row, Unanswered};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn write(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("export.json");
    std::fs::write(&path, text).unwrap();
    path
}

fn import(path: &Path, system: System) -> (Vec<Row>, Vec<Quarantined>) {
    let (mut rows, mut left) = (Vec::new(), Vec::new());
    for made in open(path, &Settings { system, unanswered: Unanswered::Leave }).unwrap() {
        match made {
            Ok(row) => rows.push(row),
            Err(out) => left.push(out),
        }
    }
    (rows, left)
}

fn turns(row: &Row) -> Vec<(&str, &str)> {
    row.content["messages"].as_array().unwrap().iter().map(|m| (m["role"].as_str().unwrap(), m["content"].as_str().unwrap())).collect()
}

fn why(left: &[Quarantined]) -> Vec<(&str, &str)> {
    left.iter().map(|q| (q.source.message.as_deref().unwrap_or("-"), q.why.split(':').next().unwrap())).collect()
}

fn zendesk_ticket(id: u64) -> Value {
    json!({
        "id": id, "subject": "Router", "requester_id": 7, "assignee_id": 9, "created_at": "2024-03-04T08:00:00Z", "status": "solved",
        "comments": [
            { "id": 1, "author_id": 7, "public": true, "body": "My router blinks.\n\nThanks,\nCarol", "created_at": "2024-03-04T08:00:00Z" },
            { "id": 2, "author_id": 8, "public": false, "body": "She is a VIP.", "created_at": "2024-03-04T08:10:00Z" },
            { "id": 3, "author_id": 9, "public": true, "html_body": "<p>Hold <b>reset</b>.</p><script>steal()</script>", "created_at": "2024-03-04T09:00:00Z",
              "attachments": [{ "file_name": "manual.pdf" }] },
            { "id": 4, "author_id": 8, "public": true, "body": "And wait a minute.", "created_at": "2024-03-04T09:01:00+00:00" },
            { "id": 5, "author_id": 55, "public": true, "body": "Who am I?", "created_at": "2024-03-04T09:30:00Z" },
            { "id": 6, "author_id": 9, "body": "Public or not?", "created_at": "2024-03-04T09:40:00Z" }
        ]
    })
}

fn judge_zendesk(rows: &[Row], left: &[Quarantined], id: u64) {
    assert_eq!(turns(&rows[0]), [("user", "My router blinks."), ("assistant", "Hold reset.\n\nAnd wait a minute.")]);
    assert_eq!(rows[0].id, format!("ticket:{id}"));
    assert_eq!(rows[0].source.message, Some(format!("{id}/1")));
    assert_eq!(rows[0].at.as_deref(), Some("2024-03-04T09:01:00Z"));
    assert_eq!(rows[0].tags["attachments"], json!(["manual.pdf"]));
    let whats: Vec<&str> = rows[0].fixed.iter().map(|f| f.what).collect();
    assert_eq!(whats, ["signature_cut", "html_to_text", "turns_merged", "message_left_out", "message_left_out", "message_left_out"]);
    let names: Vec<String> = [2, 5, 6].iter().map(|n| format!("{id}/{n}")).collect();
    let expected = [
        (names[0].as_str(), "a private note"),
        (names[1].as_str(), "it is not known whether a customer or an agent says this"),
        (names[2].as_str(), "not said to be public"),
    ];
    assert_eq!(why(&left[..3]), expected);
}

#[test]
fn zendesk_tickets_are_read_in_every_shape_of_file() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (zendesk_ticket(1), zendesk_ticket(2));
    let users = json!({ "users": [{ "id": 9, "name": "Ann", "role": "agent" }, { "id": 7, "name": "Carol", "role": "end-user" }] });
    let shapes = [
        format!("{one}\n{two}\n"),
        format!("\u{feff}[{one},\n {two}]"),
        json!({ "count": 2, "tickets": [one, two], "next_page": null }).to_string(),
        format!(
            "{}\n{}\n{users}",
            json!({ "tickets": [one], "after_cursor": "x" }),
            json!({ "meta": { "tickets": 1 }, "tickets": [two], "end_of_stream": true })
        ),
        format!("{}\n{}", serde_json::to_string_pretty(&one).unwrap(), serde_json::to_string_pretty(&two).unwrap()),
    ];
    for (n, text) in shapes.iter().enumerate() {
        let path = write(&folder, text);
        assert!(matches!(recognised(&path).unwrap(), Some(System::Zendesk)), "shape {n}");
        let (rows, left) = import(&path, System::Zendesk);
        assert_eq!((rows.len(), left.len()), (2, 6), "shape {n}: {left:?}");
        judge_zendesk(&rows[..1], &left[..3], 1);
        judge_zendesk(&rows[1..], &left[3..], 2);
        assert_eq!(rows[0].author.as_deref(), Some("8"), "shape {n}");
    }
}

#[test]
fn zendesk_events_are_joined_to_tickets() {
    let folder = tempfile::tempdir().unwrap();
    let event = |ticket: u64, id: u64, author: u64, public: bool, body: &str, at: u64| {
        let child = json!({ "id": id, "event_type": "Comment", "body": body, "public": public, "author_id": author });
        json!({ "id": id + 100, "ticket_id": ticket, "timestamp": at, "child_events": [{ "event_type": "Change", "status": "open" }, child] })
    };
    let events = json!({
        "ticket_events": [event(1, 1, 7, true, "First question?", 1_700_000_000), event(2, 2, 6, true, "Other question?", 1_700_000_010),
            event(1, 3, 9, false, "Hidden.", 1_700_000_020), event(1, 4, 9, true, "First answer.", 1_700_000_030),
            event(2, 5, 9, true, "Other answer.", 1_700_000_040), { "id": 1, "ticket_id": 3, "child_events": [] }],
        "users": [{ "id": 9, "name": "Ann", "role": "admin" }], "next_page": null, "end_time": 1
    });
    let tickets = json!({ "tickets": [{ "id": 1, "requester_id": 7, "description": "First question?" }, { "id": 2, "requester_id": 6 }] });
    for text in [events.to_string(), format!("{tickets}\n{events}")] {
        let path = write(&folder, &text);
        assert!(recognised(&path).unwrap().is_some());
        let (rows, left) = import(&path, System::Zendesk);
        assert_eq!(
            rows.iter().map(turns).collect::<Vec<_>>(),
            [[("user", "First question?"), ("assistant", "First answer.")], [("user", "Other question?"), ("assistant", "Other answer.")],]
        );
        assert_eq!(rows[0].author.as_deref(), Some("Ann"));
        assert_eq!(why(&left), [("1/3", "a private note")]);
    }
}

#[test]
fn intercom_conversations_leave_notes_robots_and_events_out() {
    let part = |id: u64, kind: &str, role: &str, body: Value, at: u64| json!({ "type": "conversation_part", "id": id.to_string(), "part_type": kind, "body": body, "created_at": at, "author": { "type": role, "id": "5", "name": "Ann" } });
    let conversation = json!({
        "type": "conversation", "id": "42", "created_at": 1_539_897_198,
        "source": { "type": "conversation", "id": "1", "subject": "<p>Hi</p>", "body": "<p>Where is my parcel&#63;</p>", "author": { "type": "user", "id": "3", "name": "Carol" } },
        "conversation_parts": { "type": "conversation_part.list", "total_count": 5, "conversation_parts": [
            part(2, "comment", "bot", json!("<p>You will be answered soon.</p>"), 1_539_897_200), part(3, "note", "admin", json!("<p>Annoying.</p>"), 1_539_897_300),
            part(4, "assignment", "admin", Value::Null, 1_539_897_310), part(5, "comment", "admin", json!("<p>It arrives <a href=\"https://t.example/9\">tomorrow</a>.</p><img src=x>"), 1_539_897_400),
            part(6, "close", "admin", json!(null), 1_539_897_500)] }
    });
    let folder = tempfile::tempdir().unwrap();
    for text in [
        conversation.to_string(),
        json!([conversation]).to_string(),
        json!({ "type": "conversation.list", "conversations": [conversation] }).to_string(),
    ] {
        let path = write(&folder, &text);
        assert!(matches!(recognised(&path).unwrap(), Some(System::Intercom)));
        let (rows, left) = import(&path, System::Intercom);
        assert_eq!(turns(&rows[0]), [("user", "Where is my parcel?"), ("assistant", "It arrives tomorrow (https://t.example/9).")]);
        assert_eq!((rows[0].author.as_deref(), rows[0].at.as_deref()), (Some("Ann"), Some("2018-10-18T21:16:40Z")));
        assert_eq!(why(&left), [("42/2", "said by a bot, not by a person"), ("42/3", "a private note")]);
    }
}

const MAPPING: &str = "
tickets = 'result.issues'
id = 'key'
subject = 'fields.summary'
first = 'fields.description'
first_time = 'fields.created'
messages = 'fields.comment.comments'
text = 'body'
role = 'author.mail'
agents = ['@firm.example']
time = 'created'
author = 'author.name'
public = 'jsdPublic'
";

#[test]
fn any_json_is_read_by_a_mapping() {
    let comment = |mail: &str, body: &str, public: bool| json!({ "author": { "mail": mail, "name": "N" }, "body": body, "jsdPublic": public, "created": "2024-03-04 10:00:00" });
    let issue = json!({ "key": "SUP-1", "fields": { "summary": "Print", "description": "It does not print.", "created": "2024-03-04T09:00:00.000+0000",
        "comment": { "comments": [comment("ann@firm.example", "Is it on?", true), comment("x@y.example", "Yes.", true), comment("ann@firm.example", "Secret.", false),
            comment("bob@firm.example", "Then restart it.", true), { "body": "no author", "jsdPublic": true }] } } });
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, &json!({ "result": { "total": 2, "issues": [issue, { "key": "SUP-2" }] } }).to_string());
    let (rows, left) = import(&path, System::Mapped(Box::new(Mapping::parse(MAPPING).unwrap())));
    assert_eq!(
        turns(&rows[0]),
        [("user", "It does not print."), ("assistant", "Is it on?"), ("user", "Yes."), ("assistant", "Then restart it.")]
    );
    assert_eq!(rows[0].at.as_deref(), Some("2024-03-04T10:00:00Z"));
    assert_eq!(why(&left), [("SUP-1/3", "a private note"), ("SUP-1/5", "no `author.mail`"), ("-", "no `fields.comment.comments`")]);
}

#[test]
fn a_mapping_that_cannot_work_says_why() {
    let wrong = |text: &str| Mapping::parse(text).unwrap_err().to_string();
    assert!(wrong("id = 'x'").contains("messages"));
    assert!(wrong(&format!("{MAPPING}\ncolour = 'red'")).contains("colour"));
    assert!(wrong(&MAPPING.replace("['@firm.example']", "[]")).contains("`agents` is empty"));
    assert!(wrong(&MAPPING.replace("'author.mail'", "'author..mail'")).contains("is no path"));
    assert!(wrong("{\"id\": 1}").starts_with("mapping: "));
}

#[test]
fn broken_files_cost_only_what_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (zendesk_ticket(1), zendesk_ticket(2));
    let half = one.to_string()[..200].to_string();
    let path = write(&folder, &format!("{one}\nnonsense here\n{half}\n{two}\n{{\"id\": 3}}\n"));
    let (rows, left) = import(&path, System::Zendesk);
    assert_eq!(rows.len(), 2);
    let broken: Vec<(Option<u64>, &str)> =
        left.iter().filter(|q| q.source.message.is_none()).map(|q| (q.source.line, q.why.as_str())).collect();
    assert_eq!(broken.iter().map(|b| b.0).collect::<Vec<_>>(), [Some(2), Some(3), Some(5)], "{broken:?}");
    assert!(broken[1].1.starts_with("no JSON") && broken[2].1.starts_with("no `comments`"));

    let whole = json!({ "tickets": [one, two] }).to_string();
    let path = write(&folder, &whole[..whole.len() - 300]);
    let (rows, left) = import(&path, System::Zendesk);
    assert_eq!(rows.len(), 1);
    assert!(left.last().unwrap().why.starts_with("the file ends within the list"));

    assert!(matches!(
        open(&write(&folder, "  "), &Settings { system: System::Intercom, unanswered: Unanswered::Leave }),
        Err(Error::NoTickets { .. })
    ));
    assert!(matches!(
        open(&write(&folder, "id,text"), &Settings { system: System::Zendesk, unanswered: Unanswered::Leave }),
        Err(Error::NoTickets { .. })
    ));
}

#[test]
fn an_export_cut_off_anywhere_neither_panics_nor_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let texts =
        [json!({ "users": [], "tickets": [zendesk_ticket(1)] }).to_string(), format!("{}\n{}", zendesk_ticket(1), zendesk_ticket(2))];
    for text in &texts {
        for end in (1..text.len()).step_by(13) {
            let path = write(&folder, &text[..end]);
            for system in [System::Zendesk, System::Intercom, System::Mapped(Box::new(Mapping::parse(MAPPING).unwrap()))] {
                let Ok(tickets) = open(&path, &Settings { system, unanswered: Unanswered::Leave }) else { continue };
                assert!(tickets.take(1000).count() < 1000);
            }
        }
    }
}
