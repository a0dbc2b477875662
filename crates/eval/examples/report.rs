//! Writes a report of invented figures, to look at the page: `cargo run -p eval --example report > report.html`.

use eval::arms::{Arm, Example, Output, Role, Scores, Task};
use eval::report::{Point, Report, html};
use eval::score::Schema;
use serde_json::{Value, json};

const INTENTS: [&str; 20] = [
    "delivery_delay",
    "damaged_in_transit",
    "wrong_or_missing_item",
    "order_change",
    "return_request",
    "refund_status",
    "billing_error",
    "invoice_copy",
    "promo_code",
    "cancel_plan",
    "change_plan",
    "login_problem",
    "account_update",
    "privacy_request",
    "setup_help",
    "connection_drop",
    "hardware_fault",
    "app_bug",
    "installation_visit",
    "safety_hazard",
];
const PRODUCTS: [&str; 8] = ["router", "thermostat", "camera", "doorbell", "home_battery", "plus_plan", "app", "none"];
const PRIORITIES: [&str; 3] = ["low", "normal", "high"];

const TICKETS: [&str; 10] = [
    "the box was soaked through when it came, and the thing inside rattles. what now?",
    "Subject: two payments\n\nMy bank shows your fee twice on the 3rd. I have one home and one plan. Please put one of them back.\n\nKind regards,\nE. Thorne",
    "Third night running that it goes offline at about two and only comes back when I pull the plug. It behaved from March until last Sunday.",
    "cant log in. code never arrives. tried 5 times!!!",
    "We moved to Ghent last week; could you change the address before the next invoice goes out? And by the way, the app is much nicer now.",
    "Hello, I unpacked it this morning and am stuck at the blinking blue light. I have read the leaflet twice, and the little booklet too, and my neighbour (who knows about such things) has had a look. We pressed the reset for ten seconds as it says on page 4. It blinks, then goes red, then blinks again. My old one took two minutes to install. Is there somebody who can ring me?",
    "there is a burning smell from the unit in the garage and it is hot on the left side",
    "I ordered white. Got bronze. Order NW-365208.",
    "Since the update on Tuesday the heating page shows 0 degrees in every room although the radiators are warm.",
    "Où est mon colis ? Sorry: where is my parcel, the tracking has said « in transit » for nine days.",
];

/// A small deterministic generator, so that the page is the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
}

fn answer(dice: &mut Dice) -> Value {
    // Squaring makes some labels frequent and some rare.
    let intent = INTENTS[dice.roll(20) * (dice.roll(20) + 1) / 20];
    json!({ "intent": intent, "product": PRODUCTS[dice.roll(8)], "priority": PRIORITIES[dice.roll(3)], "needs_human": dice.roll(2) == 0 })
}

fn spoiled(dice: &mut Dice, expected: &Value, percent_wrong: usize) -> Value {
    let mut answer = expected.clone();
    if dice.roll(100) < percent_wrong {
        let at = INTENTS.iter().position(|intent| answer["intent"] == *intent).unwrap_or(0);
        answer["intent"] = json!(INTENTS[(at + 1 + dice.roll(2)) % 20]);
    }
    if dice.roll(100) < percent_wrong {
        answer["priority"] = json!(PRIORITIES[dice.roll(3)]);
    }
    if dice.roll(100) < percent_wrong {
        answer["product"] = json!(PRODUCTS[dice.roll(8)]);
    }
    answer
}

fn arms(dice: &mut Dice, expected: &[Value]) -> Vec<Arm> {
    let output = |text: String, stopped: bool| Output { tokens: text.len() / 3, text, stopped };
    let plain = expected.iter().map(|value| match dice.roll(4) {
        0 => output(
            "Thank you for contacting Northwind! I am sorry to hear that. Could you please tell me more about <the problem>, so that I"
                .into(),
            false,
        ),
        1 => output(format!("Here is the classification:\n```json\n{}\n```", spoiled(dice, value, 70)), true),
        2 => output(r#"{"intent": "complaint", "summary": "The customer is unhappy.", "priority": "High"}"#.into(), true),
        _ => output("{\"intent\": \"billing\", \"product\": ".into(), false),
    });
    let plain = plain.collect();
    let shots = expected.iter().map(|value| match dice.roll(12) {
        0 => output("Ticket: another one\n{\"intent\"".into(), false),
        _ => output(spoiled(dice, value, 55).to_string(), true),
    });
    let shots = shots.collect();
    let tuned = expected.iter().map(|value| output(spoiled(dice, value, 11).to_string(), true)).collect();
    let arm = |name: &str, role, outputs, seconds| Arm { name: name.into(), role, outputs, seconds };
    vec![
        arm("Base, plain prompt", Role::Base, plain, 71.2),
        arm("Base, 8 examples in the prompt", Role::Base, shots, 164.9),
        arm("Tuned", Role::Tuned, tuned, 38.4),
    ]
}

fn rows(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn main() -> Result<(), eval::Error> {
    let mut dice = Dice(42);
    let expected: Vec<Value> = (0..200).map(|_| answer(&mut dice)).collect();
    let examples: Vec<Example> = expected
        .iter()
        .enumerate()
        .map(|(at, value)| Example {
            id: format!("heldout.jsonl:{}", at + 1),
            prompt: TICKETS[at % 10].into(),
            expected: value.to_string(),
        })
        .collect();
    let arms = arms(&mut dice, &expected);
    let schema = Schema::new(
        "schema.json",
        &json!({ "type": "object", "required": ["intent", "product", "priority", "needs_human"], "additionalProperties": false,
            "properties": { "intent": { "enum": INTENTS }, "product": { "enum": PRODUCTS }, "priority": { "enum": PRIORITIES }, "needs_human": { "type": "boolean" } } }),
    )?;
    let scores = Scores::of(&examples, &arms, Task { schema: Some(&schema), label: Some("intent") })?;
    let steps = (1..=228u64).map(|step| {
        let at = step as f64 / 228.0;
        let rate = if step <= 11 { step as f64 / 11.0 } else { 0.5 + 0.5 * (std::f64::consts::PI * (step - 11) as f64 / 217.0).cos() };
        let loss = 0.12 + 2.9 * (-at * 9.0).exp() + 0.25 * (-at * 1.5).exp() * (0.5 + dice.roll(1000) as f64 / 1000.0);
        Point { step, loss, rate: 1e-3 * rate }
    });
    let steps = steps.collect();
    let report = Report {
        title: "Northwind support tickets".into(),
        subtitle: "SmolLM2-135M-Instruct with a LoRA adapter of rank 16 · 23 November 2026".into(),
        noun: "tickets".into(),
        scores,
        examples,
        arms,
        steps,
        held_out: vec![(76, 0.401), (152, 0.294), (228, 0.271)],
        settings: rows(&[
            ("Epochs", "3"),
            ("Batch", "16 examples"),
            ("Learning rate", "1e-3, cosine, 5 % warm-up"),
            ("Rank, alpha", "16, 32"),
            ("Layers", "all linear"),
            ("Seed", "1"),
            ("Training time", "8 min 41 s, 2 threads"),
        ]),
        data: rows(&[
            ("Training tickets", "1,206"),
            ("Held-out tickets", "200, none of them a copy"),
            ("Labels", "20 intents"),
            ("Learned tokens", "33,411 (12.4 %)"),
            ("Cut-off answers", "0"),
        ]),
        hashes: rows(&[
            ("base model", "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"),
            ("adapter", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("held-out tickets", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ]),
        next: rows(&[
            ("tunesmith chat runs/northwind", "talk to the tuned model"),
            ("tunesmith merge runs/northwind", "one folder that other programs load"),
        ]),
    };
    println!("{}", html(&report));
    Ok(())
}
