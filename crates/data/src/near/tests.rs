//! What is found among real tickets that were changed on purpose, and what is not.

use super::*;

const TICKETS: &str = include_str!("../../../../examples/northwind/train.jsonl");

fn tickets() -> Vec<String> {
    let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["instruction"].as_str().unwrap().to_string();
    TICKETS.lines().map(row).collect()
}

/// The pairs whose both ends hold `text`, after its copy was changed by `change`.
fn found(change: impl Fn(&str) -> String) -> f64 {
    let mut texts = tickets();
    let originals: Vec<usize> = (0..texts.len()).filter(|at| at % 7 == 3 && texts[*at].split(' ').count() >= 12).collect();
    let copies: Vec<String> = originals.iter().map(|at| change(&texts[*at])).collect();
    let first = texts.len();
    texts.extend(copies);
    let pairs = pairs(&texts, &Options::default());
    let hits = originals.iter().enumerate().filter(|(at, original)| {
        let wanted = (**original as u32, (first + at) as u32);
        pairs.iter().any(|pair| (pair.a, pair.b) == wanted)
    });
    hits.count() as f64 / originals.len() as f64
}

#[test]
fn case_and_spaces_do_not_hide_a_copy() {
    assert_eq!(found(|text| text.to_uppercase().replace(' ', "   ")), 1.0);
}

#[test]
fn another_number_does_not_hide_a_copy() {
    let digits = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '7' } else { c }).collect::<String>();
    assert_eq!(found(digits), 1.0);
}

#[test]
fn half_a_text_is_found_inside_of_the_whole() {
    let half = |text: &str| text.char_indices().nth(text.chars().count() * 6 / 10).map_or(text, |(at, _)| &text[..at]).to_string();
    let share = found(half);
    assert!(share > 0.95, "{share}");
}

#[test]
fn a_greeting_and_a_signature_do_not_hide_a_copy() {
    let dressed = |text: &str| {
        format!(
            "Dear team at the service desk, I hope that you are all well today.\n{text}\nKind regards from the coast, Ada Example, Harbour Lane, and thanks again"
        )
    };
    let share = found(dressed);
    assert!(share > 0.97, "{share}");
}

#[test]
fn a_wrong_letter_in_every_twentieth_word_does_not_hide_a_copy() {
    let typos = |text: &str| {
        let word = |(at, word): (usize, &str)| if at % 20 == 7 { format!("{word}q") } else { word.to_string() };
        text.split(' ').enumerate().map(word).collect::<Vec<_>>().join(" ")
    };
    let share = found(typos);
    assert!(share > 0.97, "{share}");
}

#[test]
fn scripts_without_spaces_are_compared_by_characters() {
    let texts = [
        "我的订单还没有到，已经等了两个星期，请帮我查一下包裹在哪里。",
        "我的订单还没有到，已经等了三个星期，请帮我查一下包裹在哪里！",
        "请问怎么重置路由器的密码？我忘记了管理员账号。",
    ];
    let found = pairs(&texts, &Options::default());
    assert_eq!(found.iter().map(|pair| (pair.a, pair.b)).collect::<Vec<_>>(), [(0, 1)]);
}

#[test]
fn texts_of_a_few_words_are_compared_too() {
    let texts = ["Where's my parcel??", "wheres my parcel", "Cancel my plan", "where is my parsel", "ok", "OK.", "no"];
    let found = pairs(&texts, &Options::default());
    let ends: Vec<(u32, u32)> = found.iter().map(|pair| (pair.a, pair.b)).collect();
    assert!(ends.contains(&(0, 1)) && ends.contains(&(4, 5)), "{ends:?}");
    assert!(!ends.iter().any(|(a, b)| *a == 2 || *b == 2 || *b == 6), "{ends:?}");
}

#[test]
fn texts_without_words_are_no_copies_of_each_other() {
    assert!(pairs(&["", "…", "??", ""], &Options::default()).is_empty());
    assert!(exact(&["", "…", "??", ""]).is_empty());
}

#[test]
fn same_words_are_exact_copies_whatever_their_case() {
    assert_eq!(exact(&["Hello, World 7!", "bye", "hello world   7", "hello world 8"]), [vec![0, 2]]);
}

#[test]
fn a_chain_of_small_changes_is_no_cluster() {
    let words: Vec<String> = (0..60).map(|n| format!("word{}", char::from(b'a' + n % 26)).repeat(1 + usize::from(n / 26))).collect();
    // Each text is the last one moved on by five words: neighbours are alike, ends share nothing.
    let texts: Vec<String> = (0..9).map(|n| words[n * 5..n * 5 + 20].join(" ")).collect();
    let options = Options { least: 0.5, ..Options::default() };
    let found = pairs(&texts, &options);
    assert!(found.len() >= 8, "{found:?}");
    let clusters = clusters(&texts, &found, &options);
    assert!(clusters.iter().all(|cluster| cluster.len() < 5), "{clusters:?}");
    assert!(!clusters.iter().any(|cluster| cluster.contains(&0) && cluster.contains(&8)), "{clusters:?}");
}

#[test]
fn threads_change_nothing() {
    let texts = tickets();
    let on = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| pairs(&texts, &Options::default()))
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn a_scheme_follows_from_what_is_to_be_found() {
    assert_eq!(Scheme::default(), Scheme { bands: 32, rows: 4 });
    let wanted = Scheme::solve(0.8, 0.99, 256).unwrap();
    assert!(wanted.chance(0.8) >= 0.99 && Scheme { bands: 256 / (wanted.rows + 1), rows: wanted.rows + 1 }.chance(0.8) < 0.99);
    assert_eq!(Scheme::solve(0.1, 0.999, 16), None);
}

#[test]
fn sketches_agree_as_often_as_sets_do() {
    // Sets of 40 of which a known share is common; the chance of a band is that of the formula.
    let scheme = Scheme { bands: 64, rows: 1 };
    let set = |from: u64| (from..from + 40).map(|n| mix(n * 7919 + 13)).collect::<Vec<u64>>();
    let mut agree = 0;
    let trials = 200;
    for trial in 0..trials {
        let (a, b) = (set(trial * 1000), set(trial * 1000 + 10));
        agree += sketch::agreeing(&a, &b, scheme.values());
    }
    let share = agree as f64 / (trials * 64) as f64;
    assert!((share - 30.0 / 50.0).abs() < 0.02, "{share}");
}

#[test]
fn slots_are_named() {
    let marks = |text: &str| masked(text);
    assert_eq!(
        marks("Order NW-48213 of 3 March 2026 for £7.99, see https://x.example/a?b or write ann@x.example!"),
        "order <id> of <number> <date> <number> for <number> see <url> or write <email>"
    );
    assert_eq!(marks("Paid on 2026-03-04, XX/XX/2018 and XXXX."), "paid on <date> and <id>");
    let names: Vec<String> = parts("My neighbour Gulsen is away. She asks Northwind.")
        .into_iter()
        .filter(|p| p.slot == Some(Slot::Name))
        .map(|p| p.word)
        .collect();
    assert_eq!(names, ["gulsen", "northwind"]);
}
