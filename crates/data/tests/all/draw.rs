//! Samples that are drawn, filled, changed on the way and read back; rates and their intervals over many samples.

use std::path::{Path, PathBuf};

use data::draw::{
    DrawOptions, Drawn, Noted, Reviewed, Stratum, Verdict, csv, draw, estimate, jsonl, page, read_draw, read_findings, read_review, ref_of,
};
use data::items;
use serde_json::{Value, json};

/// A file of `count` rows of three labels, a tenth of them bad, more so of the rarest label.
fn file(folder: &Path, count: usize) -> PathBuf {
    let path = folder.join("rows.jsonl");
    let row = |n: usize| {
        let label = ["refund", "delay", "praise"][if n.is_multiple_of(10) { 2 } else { n % 2 }];
        json!({ "id": format!("r{n}"), "instruction": format!("question {n} of {label}"), "response": format!("answer {n}"), "label": label })
    };
    std::fs::write(&path, (0..count).map(|n| format!("{}\n", row(n))).collect::<String>()).unwrap();
    path
}

fn options(size: usize, seed: u64) -> DrawOptions {
    DrawOptions { size, risk: None, seed, label: Some("label".into()) }
}

fn noted(check: &str, severity: u8, score: f64, examples: &[&str]) -> Noted {
    Noted { check: check.into(), severity, score, examples: examples.iter().map(ToString::to_string).collect(), evidence: "seen".into() }
}

fn drawn(folder: &Path, count: usize, findings: &[Noted], options: &DrawOptions) -> Drawn {
    let path = file(folder, count);
    draw(&path, &items(&path).unwrap(), findings, options).unwrap()
}

/// Whether a row is bad, by its number.
fn bad(id: &str) -> bool {
    let n: usize = id[1..].parse().unwrap();
    n.is_multiple_of(10) && !n.is_multiple_of(20) || n % 17 == 3
}

fn judged(drawn: &Drawn) -> Reviewed {
    let verdicts = drawn.rows.iter().map(|row| Some(if bad(&row.id) { Verdict::Defect } else { Verdict::Ok })).collect();
    Reviewed { verdicts, kinds: vec!["other".into(); drawn.rows.len()], comments: vec![String::new(); drawn.rows.len()] }
}

#[test]
fn parts_are_drawn_in_proportion_and_the_two_reasons_never_mix() {
    let dir = tempfile::tempdir().unwrap();
    let findings = [
        noted("contradiction", 3, 0.9, &["r5", "r6", "r404404"]),
        noted("contradiction", 3, 0.95, &["r7"]),
        noted("length", 1, 1.0, &["r8", "r9", "r10", "r11"]),
        noted("secret", 2, 0.1, &["r12", "r5"]),
    ];
    let drawn = drawn(dir.path(), 1000, &findings, &DrawOptions { risk: Some(6), ..options(106, 4) });
    let (random, risk): (Vec<_>, Vec<_>) = drawn.rows.iter().partition(|row| row.stratum == Stratum::Random);
    assert_eq!((random.len(), risk.len(), drawn.of), (100, 6, 1000));
    let ids: std::collections::BTreeSet<&str> = drawn.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), 106, "no row twice");
    for cell in &drawn.cells {
        assert!((cell.drawn as f64 - cell.rows as f64 / 10.0).abs() < 1.0, "{cell:?}");
    }
    // Each check in turn, its worst first; what no row is called is passed over.
    let whys: Vec<&str> = risk.iter().map(|row| row.why.split(':').next().unwrap()).collect();
    for check in ["contradiction", "length", "secret"] {
        assert!(whys.contains(&check), "{whys:?}");
    }
    assert!(risk.iter().any(|row| row.id == "r7") || random.iter().any(|row| row.id == "r7"));
    // The same again, and with another seed others.
    let again = super::draw::drawn(dir.path(), 1000, &findings, &DrawOptions { risk: Some(6), ..options(106, 4) });
    assert_eq!((drawn.hash.clone(), csv(&drawn)), (again.hash.clone(), csv(&again)));
    assert_ne!(super::draw::drawn(dir.path(), 1000, &findings, &DrawOptions { risk: Some(6), ..options(106, 5) }).hash, drawn.hash);
}

#[test]
fn the_interval_holds_the_truth_as_often_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), 300);
    let all = items(&path).unwrap();
    let truth = all.iter().filter(|item| bad(&item.id)).count() as f64 / all.len() as f64;
    let (mut held, mut sum) = (0, 0.0);
    const SEEDS: u64 = 40;
    for seed in 0..SEEDS {
        let drawn = draw(&path, &all, &[], &options(60, seed)).unwrap();
        let found = estimate(&drawn, &judged(&drawn), 0.03);
        held += usize::from((found.random.interval.0..=found.random.interval.1).contains(&truth));
        sum += found.random.share;
    }
    let mean = sum / SEEDS as f64;
    assert!(held as f64 >= 0.9 * SEEDS as f64, "{held} of {SEEDS} hold {truth}");
    assert!((mean - truth).abs() < 0.02, "{mean} against {truth}");
}

#[test]
fn rates_are_weighted_back_where_rows_are_without_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let drawn = drawn(dir.path(), 400, &[], &options(100, 1));
    let mut reviewed = judged(&drawn);
    let whole = estimate(&drawn, &reviewed, 0.01);
    assert!((whole.effective - 100.0).abs() < 0.5 && whole.more > 0, "{whole:?}");
    let enough = data::interval::needed(whole.random.share, 0.01);
    assert!(whole.more.abs_diff(enough - 100) <= 1, "{} {enough}", whole.more);
    // Half of the largest part is open: its rows count twice, and the sample for less.
    let largest = drawn.cells.iter().enumerate().max_by_key(|(_, cell)| cell.rows).unwrap().0;
    let of_largest: Vec<usize> = (0..drawn.rows.len()).filter(|at| drawn.rows[*at].cell == Some(largest)).collect();
    of_largest.iter().step_by(2).for_each(|at| reviewed.verdicts[*at] = None);
    let half = estimate(&drawn, &reviewed, 0.01);
    assert!(half.open > 0 && half.effective < whole.effective - 10.0, "{half:?}");
    let kinds: f64 = half.kinds.iter().map(|kind| kind.share).sum();
    assert!((kinds - half.random.share).abs() < 1e-9);
    // A part of which nothing was seen is named.
    of_largest.iter().for_each(|at| reviewed.verdicts[*at] = None);
    assert_eq!(estimate(&drawn, &reviewed, 0.01).unseen, [drawn.cells[largest].name.clone()]);
}

/// The sheet's cells, by a reader of its own: none of these cells has a quote that is not doubled.
fn cells(sheet: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut within) = (Vec::new(), Vec::new(), String::new(), false);
    for part in sheet.trim_start_matches('\u{feff}').split_inclusive(['"', ',', '\n']) {
        let (text, sign) = part.split_at(part.len() - 1);
        cell.push_str(text);
        match sign {
            "\"" => {
                within = {
                    cell.push('"');
                    !within
                }
            }
            _ if within => cell.push_str(sign),
            _ => {
                let bare = cell.trim_end_matches('\r');
                let bare = bare.strip_prefix('"').and_then(|bare| bare.strip_suffix('"')).unwrap_or(bare);
                row.push(bare.replace("\"\"", "\""));
                cell.clear();
                if sign == "\n" {
                    rows.push(std::mem::take(&mut row));
                }
            }
        }
    }
    rows
}

/// A sheet of cells as a spreadsheet saves it, every cell quoted.
fn saved(rows: &[Vec<String>], between: &str, end: &str) -> String {
    let quoted = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
    rows.iter().map(|row| format!("{}{end}", row.iter().map(quoted).collect::<Vec<_>>().join(between))).collect()
}

#[test]
fn sheets_come_back_from_spreadsheets_and_what_was_changed_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("odd.jsonl");
    let odd = [
        "=1+1",
        "'=quoted",
        "+44 20",
        "@home",
        "-5 degrees",
        "\tindented",
        "plain, with comma",
        "two\nlines \"quoted\"",
        "007",
        &"long ".repeat(8000),
    ];
    let rows: String = odd.iter().map(|text| format!("{}\n", json!({ "instruction": text, "response": format!("{text}!") }))).collect();
    std::fs::write(&path, rows).unwrap();
    let drawn = draw(&path, &items(&path).unwrap(), &[], &DrawOptions { label: None, ..options(10, 1) }).unwrap();
    let sheet = csv(&drawn);
    // No cell begins like a formula.
    let mut rows = cells(&sheet);
    assert_eq!((rows.len(), rows[0].len()), (11, 7));
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.chars().count() < 32_767, "{cell:.40}");
    }
    rows.iter_mut().skip(1).enumerate().for_each(|(n, row)| row[4] = if n == 3 { " Defect".into() } else { "ok".into() });
    let read = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_review(&path, &drawn)
    };
    let reviewed = read("a.csv", &saved(&rows, ",", "\n")).unwrap();
    assert_eq!(reviewed.verdicts.iter().filter(|v| **v == Some(Verdict::Defect)).count(), 1);
    assert!(drawn.hash.starts_with(&ref_of(&dir.path().join("a.csv")).unwrap()));
    // A German spreadsheet, Windows lines, a number without its zeros, and the columns in another order.
    for row in &mut rows {
        row.reverse();
        row.iter_mut().filter(|cell| *cell == "007").for_each(|cell| *cell = "7".into());
    }
    assert_eq!(read("b.csv", &saved(&rows, ";", "\r\n")).unwrap(), reviewed);
    // JSON lines are the same sheet.
    let lines: String = jsonl(&drawn)
        .lines()
        .enumerate()
        .map(|(n, line)| {
            let mut row: Value = serde_json::from_str(line).unwrap();
            row["verdict"] = json!(if n == 3 { "defect" } else { "ok" });
            format!("{row}\n")
        })
        .collect();
    assert_eq!(read("c.jsonl", &lines).unwrap(), reviewed);

    let says = |text: &str| read("x.csv", text).unwrap_err().to_string();
    let first = &drawn.rows[0].name;
    let error = says(&lines.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>());
    assert!(error.contains(&format!("the row {first} (example")) && error.contains("is missing"), "{error}");
    let error = says(&lines.replacen("plain, with", "plain with", 1));
    assert!(error.contains("was changed: found `plain with"), "{error}");
    let twice = format!("{lines}{}\n", lines.lines().next().unwrap());
    assert!(says(&twice).contains("line 11: the row s"), "{}", says(&twice));
    assert!(says(&lines.replacen("\"verdict\":\"ok\"", "\"verdict\":\"maybe\"", 1)).contains("is `maybe`, expected ok or defect"));
    assert!(says(&lines.replace(&drawn.hash[..8], "00000000")).contains("is none of this sample's"));
    assert!(says(&jsonl(&drawn)).contains("none of 10 rows has a verdict"));
    assert!(says("a,b\n1,2\n").contains("expected `ref` among them"));
}

#[test]
fn what_was_drawn_is_remembered_and_changes_of_it_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let drawn = drawn(dir.path(), 50, &[noted("length", 2, 0.5, &["r1", "r2"])], &DrawOptions { risk: Some(2), ..options(20, 1) });
    let path = dir.path().join("rows.sample.json");
    let text = drawn.to_json().to_string();
    std::fs::write(&path, &text).unwrap();
    assert_eq!(read_draw(&path).unwrap(), drawn);
    std::fs::write(&path, text.replacen("answer ", "ansWer ", 1)).unwrap();
    assert!(read_draw(&path).unwrap_err().to_string().contains("it was changed"));
    std::fs::write(&path, "{}").unwrap();
    assert!(read_draw(&path).unwrap_err().to_string().contains("is no drawn sample"));
    std::fs::write(&path, r#"{"findings": [{"check": "secret", "severity": "error", "examples": ["a", 7], "score": 1}]}"#).unwrap();
    assert_eq!(read_findings(&path).unwrap(), [Noted { evidence: String::new(), ..noted("secret", 3, 1.0, &["a", "7"]) }]);
    std::fs::write(&path, "[]").unwrap();
    assert!(read_findings(&path).unwrap_err().to_string().contains("found no list `findings`"));
}

#[test]
fn the_page_holds_texts_as_texts_and_loads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("html.jsonl");
    let row = json!({ "instruction": "</script><script>alert(1)</script><img src=x onerror=alert(2)>", "response": "a & b \u{2028}" });
    std::fs::write(&path, format!("{row}\n")).unwrap();
    let drawn = draw(&path, &items(&path).unwrap(), &[], &DrawOptions { label: None, ..options(1, 1) }).unwrap();
    let page = page(&drawn);
    assert_eq!(page.matches("</script>").count(), 2, "the page's own two scripts");
    assert!(!page.contains("<img") && !page.contains("://") && page.contains("default-src 'none'"));
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["rows"][0]["prompt"], row["instruction"]);
}
