//! Splits over many seeds, frozen folders that are touched, and versions that are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use data::freeze::{Error, Loaded, Piece, Settings, Side, Size, Split, SplitOptions, diff, freeze, load, page, source, split, verify};
use data::{Item, near, parse_items};
use serde_json::{Map, Value, json};

/// Numbers by chance, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    /// A text of many different words, so that two are near each other only where that is meant.
    fn text(&mut self) -> String {
        // Letters alone: digits would be masked as ids.
        let mut word = || (0..6).map(|_| char::from(b'a' + self.below(26) as u8)).collect::<String>();
        (0..14).map(|_| word()).collect::<Vec<_>>().join(" ")
    }
}

const LABELS: [&str; 6] = ["refund", "login", "delay", "damage", "praise", "other"];

fn row(prompt: &str, label: &str) -> Value {
    json!({ "instruction": prompt, "response": format!("It is about {label}."), "label": label })
}

fn items(rows: &[Value]) -> Vec<Item> {
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    parse_items(text.as_bytes(), Path::new("rows.jsonl")).unwrap()
}

/// Rows with threads of up to six and near-duplicates across threads.
fn tangled(count: usize, seed: u64) -> Vec<Value> {
    let mut dice = Dice(seed);
    let mut rows: Vec<Value> = Vec::new();
    while rows.len() < count {
        let thread = dice.below(3) == 0;
        let size = if thread { 1 + dice.below(6) } else { 1 };
        let group = format!("thread {}", rows.len());
        for _ in 0..size {
            let mut prompt = dice.text();
            if !rows.is_empty() && dice.below(8) == 0 {
                let other = dice.below(rows.len());
                prompt = format!("{} please", rows[other]["instruction"].as_str().unwrap());
            }
            let mut row = row(&prompt, LABELS[dice.below(dice.0 as usize % 6 + 1)]);
            if thread {
                row["group"] = json!(group);
            }
            rows.push(row);
        }
    }
    rows
}

fn options(seed: u64, size: Size) -> SplitOptions {
    SplitOptions { size, seed, group: None, label: Some("label".into()), by_time: false }
}

fn sides(items: &[Item], split: &Split, name: impl Fn(&Item) -> Option<String>) -> BTreeMap<String, BTreeSet<bool>> {
    let mut sides: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for (item, held) in items.iter().zip(&split.held) {
        if let Some(name) = name(item) {
            sides.entry(name).or_default().insert(*held);
        }
    }
    sides
}

#[test]
fn no_thread_and_no_near_duplicate_stands_on_both_sides_for_any_seed() {
    let mut crossed = 0;
    for data in 0..4 {
        let items = items(&tangled(240, data));
        let prompts: Vec<String> = items.iter().map(Item::prompt).collect();
        let pairs = near::pairs(&prompts, &near::Options { least: 0.6, ..near::Options::default() });
        assert!(pairs.len() > 10, "{}", pairs.len());
        for seed in 0..6 {
            let split = split(&items, &options(seed, Size::Rows(60))).unwrap();
            let groups = sides(&items, &split, |item| item.tag("group").map(ToString::to_string));
            assert!(groups.values().all(|sides| sides.len() == 1), "data {data}, seed {seed}");
            assert!(pairs.iter().all(|pair| split.held[pair.a as usize] == split.held[pair.b as usize]), "data {data}, seed {seed}");
            assert!(split.facts.eval.abs_diff(60) <= split.facts.largest, "{:?}", split.facts);
            crossed += groups.len();
        }
    }
    assert!(crossed > 500, "there are threads to be kept together: {crossed}");
}

#[test]
fn every_label_has_its_share_within_one_example() {
    for seed in 0..8 {
        let mut dice = Dice(seed + 99);
        let count = 120 + dice.below(400);
        let rows: Vec<Value> = (0..count).map(|_| row(&dice.text(), LABELS[dice.below(6).min(dice.below(6))])).collect();
        let items = items(&rows);
        let wanted = count / 5 + dice.below(20);
        let split = split(&items, &options(seed, Size::Rows(wanted))).unwrap();
        assert_eq!(split.facts.eval, wanted);
        for label in &split.facts.labels {
            let exact = (label.train + label.eval) as f64 * wanted as f64 / count as f64;
            assert!((label.eval as f64 - exact).abs() < 1.0, "seed {seed}: {label:?}, expected {exact}");
        }
        // With another seed others are held out.
        let other = super::freeze::split(&items, &options(seed + 1, Size::Rows(wanted))).unwrap();
        assert_ne!(split.held, other.held);
    }
}

#[test]
fn added_rows_move_few_and_the_order_of_rows_moves_none() {
    let rows = tangled(600, 5);
    let before = items(&rows);
    let split_before = split(&before, &options(3, Size::Share(0.2))).unwrap();
    // Thirty new rows among the old ones, and all turned round.
    let mut dice = Dice(77);
    let mut more = rows.clone();
    (0..30).for_each(|_| {
        let at = dice.below(more.len());
        let text = dice.text();
        more.insert(at, row(&text, LABELS[dice.below(6)]));
    });
    more.reverse();
    let after = items(&more);
    let split_after = split(&after, &options(3, Size::Share(0.2))).unwrap();
    let held = |items: &[Item], split: &Split| {
        items.iter().zip(&split.held).filter(|(_, held)| **held).map(|(item, _)| item.prompt()).collect::<BTreeSet<_>>()
    };
    let (a, b) = (held(&before, &split_before), held(&after, &split_after));
    let moved = a.difference(&b).count();
    assert!(moved <= 12, "{moved} of {} left the held-out side for 30 new rows", a.len());
    let turned = items(&rows.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(held(&turned, &split(&turned, &options(3, Size::Share(0.2))).unwrap()), a);
}

#[test]
fn by_time_training_sees_nothing_of_what_comes_later() {
    let mut rows = tangled(200, 8);
    let mut dice = Dice(4);
    for row in &mut rows {
        row["at"] = json!(format!("2026-{:02}-{:02}T10:00:00+02:00", 1 + dice.below(9), 1 + dice.below(28)));
    }
    let timed = items(&rows);
    let options = SplitOptions { by_time: true, ..options(1, Size::Rows(40)) };
    let split_by_time = split(&timed, &options).unwrap();
    let at = |item: &Item| item.tag("at").unwrap().as_str().unwrap().to_string();
    let side = |held: bool| timed.iter().zip(&split_by_time.held).filter(move |(_, h)| **h == held).map(|(item, _)| at(item));
    let cutoff = split_by_time.facts.cutoff.unwrap();
    assert!(cutoff > 0 && split_by_time.facts.eval >= 40);
    let newest_unit_holds = side(true).max().unwrap();
    assert!(side(false).max().unwrap() < newest_unit_holds);
    // What is trained on is older than the newest of every held-out unit, so older than the cutoff.
    assert!(side(false).all(|time| time < side(true).max().unwrap()));
    let missing = items(&[
        json!({ "instruction": "a b c", "response": "d" }),
        json!({ "instruction": "e", "response": "f" }),
        json!({"instruction": "g", "response": "h"}),
    ]);
    let error = split(&missing, &SplitOptions { label: None, size: Size::Rows(1), ..options.clone() }).unwrap_err().to_string();
    assert!(error.contains("3 of 3 examples have no time in `at`, such as rows.jsonl line 1"), "{error}");
}

#[test]
fn what_cannot_be_split_is_refused_with_its_reason() {
    let says = |rows: &[Value], options: SplitOptions| split(&items(rows), &options).unwrap_err().to_string();
    let same: Vec<Value> = (0..30).map(|_| row("where is my parcel now", "delay")).collect();
    assert!(says(&same, options(1, Size::Rows(5))).contains("30 examples hang together"));
    let rows = tangled(60, 1);
    assert!(says(&rows, options(1, Size::Rows(50))).contains("50 examples are to be held out of"));
    assert!(
        says(&rows, SplitOptions { group: Some("team".into()), ..options(1, Size::Rows(9)) }).contains("no example has the field `team`")
    );
    assert!(
        says(&rows, SplitOptions { label: Some("kind".into()), ..options(1, Size::Rows(9)) }).contains("no example has the field `kind`")
    );
    let broken = [rows, vec![json!({ "question": "?" })]].concat();
    let error = says(&broken, options(1, Size::Rows(9)));
    assert!(error.contains("1 of ") && error.contains("line 6"), "{error}");
}

#[test]
fn the_size_follows_the_wanted_width_and_leaves_most_to_train() {
    for (rows, expected) in [(2000, 193), (600, 120), (200, 50), (60, 20)] {
        let mut dice = Dice(rows as u64);
        let rows: Vec<Value> = (0..rows).map(|_| row(&dice.text(), "x")).collect();
        let split = split(&items(&rows), &SplitOptions { label: None, ..options(1, Size::Auto { half_width: 0.07 }) }).unwrap();
        assert_eq!(split.facts.eval, expected);
    }
}

fn settings() -> Settings {
    Settings { tool: "tunesmith 1".into(), all: Map::from_iter([("seed".to_string(), json!(3))]) }
}

/// A file of rows with the account of an import beside it, frozen.
fn frozen(folder: &Path, rows: &[Value], out: &str) -> Result<data::freeze::Frozen, Error> {
    let file = folder.join("tickets.jsonl");
    std::fs::write(&file, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    std::fs::write(folder.join("tickets.import.json"), r#"{"kept": 200, "quarantined": [{"raw": "secret"}]}"#).unwrap();
    let items = data::items(&file).unwrap();
    let split = split(&items, &options(3, Size::Rows(50))).unwrap();
    freeze(&items, &split, &[source(&file, items.len()).unwrap()], &settings(), &folder.join(out))
}

#[test]
fn a_frozen_folder_is_the_same_each_time_and_notices_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let rows = tangled(200, 2);
    let one = frozen(dir.path(), &rows, "one").unwrap();
    let two = frozen(dir.path(), &rows, "two").unwrap();
    for name in ["train.jsonl", "eval.jsonl", "manifest.json"] {
        assert_eq!(std::fs::read(one.folder.join(name)).unwrap(), std::fs::read(two.folder.join(name)).unwrap(), "{name}");
    }
    assert!(frozen(dir.path(), &rows, "one").unwrap().unchanged);
    let account = &one.manifest["sources"][0]["steps"][0];
    assert_eq!(
        (&account["step"], &account["account"]["kept"], &account["account"]["quarantined"]),
        (&json!("import"), &json!(200), &json!("1 entries"))
    );
    assert_eq!(verify(&one.folder).unwrap().problems, Vec::<String>::new());
    // Training reads it, and every row is in one of the two files.
    let read = |name: &str| data::read(&one.folder.join(name), &data::ReadOptions::default()).unwrap().len();
    assert_eq!(
        (read("train.jsonl") + read("eval.jsonl"), read("eval.jsonl")),
        (rows.len(), one.manifest["files"]["eval"]["rows"].as_u64().unwrap() as usize)
    );

    let train = one.folder.join("train.jsonl");
    let whole = std::fs::read_to_string(&train).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let problem = |text: &str| {
        std::fs::write(&train, text).unwrap();
        let problems = verify(&one.folder).unwrap().problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].clone()
    };
    assert!(problem(&whole.replacen("It is", "It was", 1)).contains("some of them were changed"));
    assert!(problem(&(lines[1..].join("\n") + "\n")).contains(&format!("found {} rows, expected {}", lines.len() - 1, lines.len())));
    let turned = [&lines[1..], &lines[..1]].concat().join("\n") + "\n";
    assert!(problem(&turned).contains("the rows are the same"));
    assert!(problem(&(lines[..3].join("\n") + "\n{\"cut")).contains("line 4 is no JSON any more"));
    std::fs::remove_file(&train).unwrap();
    assert!(verify(&one.folder).unwrap().problems[0].contains("No such file"));
    std::fs::write(&train, &whole).unwrap();
    let manifest = std::fs::read_to_string(one.folder.join("manifest.json")).unwrap();
    std::fs::write(one.folder.join("manifest.json"), manifest.replace("\"seed\": 3", "\"seed\": 4")).unwrap();
    assert!(verify(&one.folder).unwrap().problems[0].contains("seal"));
    // The source may change; that is told and is no problem of the folder.
    let other = frozen(dir.path(), &tangled(200, 3), "other").unwrap();
    assert!(verify(&two.folder).unwrap().notes[0].contains("has changed since"));
    assert!(matches!(frozen(dir.path(), &rows, "other"), Err(Error::Taken { .. })));
    assert_eq!(verify(&other.folder).unwrap().problems, Vec::<String>::new());
    assert!(matches!(verify(dir.path()), Err(Error::NotFrozen { .. })));
}

fn version(rows: &[(Value, Side)]) -> Loaded {
    let all = items(&rows.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>());
    Loaded { name: "v".into(), rows: all.into_iter().zip(rows).map(|(item, (_, side))| (item, *side)).collect() }
}

#[test]
fn versions_are_compared_by_id_then_content_then_prompt() {
    let told = |id: &str, prompt: &str, answer: &str| json!({ "id": id, "instruction": prompt, "response": answer, "label": answer });
    let plain = |prompt: &str, answer: &str| json!({ "instruction": prompt, "response": answer });
    let (train, eval) = (Side::Train, Side::Eval);
    let old = version(&[
        (told("1", "how long", "It takes 12 months."), train),
        (told("2", "where", "here"), train),
        (told("3", "gone", "gone"), eval),
        (plain("no id", "stays"), eval),
        (plain("same prompt", "old answer"), train),
        (told("9", "renumbered", "r"), train),
    ]);
    let new = version(&[
        (told("1", "how long", "It takes 24 months."), train),
        (told("2", "where", "here"), eval),
        (plain("no id", "stays"), eval),
        (plain("same prompt", "new answer"), train),
        (told("10", "renumbered", "r"), train),
        (told("4", "<b>added</b>", "a"), train),
    ]);
    let found = diff(&old, &new, Some("label"));
    let ids = |items: &[Item]| items.iter().map(|item| item.id.clone()).collect::<Vec<_>>();
    assert_eq!((ids(&found.added), ids(&found.removed), found.same), (vec!["4".to_string()], vec!["3".to_string()], 3));
    assert_eq!(found.changed.iter().map(|c| c.lines).collect::<Vec<_>>(), [[1, 1], [5, 4]]);
    let answer = &found.changed[0].answer;
    assert!(answer.contains(&Piece::Gone("12".into())) && answer.contains(&Piece::New("24".into())), "{answer:?}");
    assert_eq!(
        found.changed[0].fields,
        ["response", "label"].map(String::from).into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    );
    assert_eq!((found.moved.len(), found.moved[0].id.as_str(), found.moved[0].to), (1, "2", eval));
    assert!((found.shift - 2.0 / 6.0).abs() < 1e-12, "{}", found.shift);
    let html = page(&found);
    assert!(
        html.contains("<del>12</del><ins>24</ins>")
            && html.contains("&lt;b&gt;added")
            && !html.contains("<b>added")
            && !html.contains("://"),
        "{html}"
    );
    assert!(diff(&old, &old, None).is_empty());
    assert_eq!(found.to_json()["changed"][0]["answer"][1], json!({ "gone": "12" }));
}

#[test]
fn a_frozen_folder_compares_with_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let rows = tangled(200, 2);
    let folder = frozen(dir.path(), &rows, "one").unwrap().folder;
    let found = diff(&load(&folder).unwrap(), &load(&dir.path().join("tickets.jsonl")).unwrap(), None);
    assert!(found.is_empty() && found.same == rows.len(), "{} of {}", found.same, rows.len());
    assert!(load(dir.path()).is_err());
}
