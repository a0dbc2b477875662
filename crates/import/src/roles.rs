//! What columns mean: told by the user, else guessed by their names, else by what they hold.

mod look;
mod names;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::look::{Look, look};
use crate::error::{Error, Result};
use crate::shape::Shape;

/// What a column can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Question,
    Answer,
    System,
    Id,
    /// A thread, ticket or customer: rows that a split keeps together.
    Group,
    Time,
    /// Who answered.
    Author,
    Label,
}

/// All roles, in the order in which they are shown.
pub const ROLES: [Role; 8] = [Role::Question, Role::Answer, Role::System, Role::Id, Role::Group, Role::Time, Role::Author, Role::Label];

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Question => "question",
            Role::Answer => "answer",
            Role::System => "system",
            Role::Id => "id",
            Role::Group => "group",
            Role::Time => "time",
            Role::Author => "author",
            Role::Label => "label",
        }
    }

    /// The role of this name, or of one that means the same.
    pub fn named(name: &str) -> Option<Role> {
        match name {
            "thread" | "customer" | "ticket" => Some(Role::Group),
            "at" => Some(Role::Time),
            _ => ROLES.into_iter().find(|role| role.name() == name),
        }
    }
}

/// How a role was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    You,
    Name,
    Contents,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            By::You => "you",
            By::Name => "name",
            By::Contents => "contents",
        }
    }
}

/// The columns of a source by their roles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles(pub BTreeMap<Role, (String, By)>);

impl Roles {
    pub(crate) fn column(&self, role: Role) -> Option<&str> {
        self.0.get(&role).map(|(column, _)| column.as_str())
    }

    /// The role that a column has.
    pub(crate) fn role(&self, column: &str) -> Option<Role> {
        self.0.iter().find(|(_, (name, _))| name == column).map(|(role, _)| *role)
    }

    /// As the account has it.
    pub fn to_json(&self) -> Value {
        self.0.iter().map(|(role, (column, by))| (role.name().to_string(), json!({ "column": column, "by": by.name() }))).collect()
    }
}

/// Finds the roles in a sample of a source's records.
///
/// `told` is what the user said; an empty column takes a role away. Where the rows have a `shape`, question and answer are
/// in it, and what it reads has no role.
///
/// # Errors
/// A column that is not there, or a source in which nobody finds a question.
pub(crate) fn find(name: &str, sample: &[&Map<String, Value>], shape: Option<&Shape>, told: &[(Role, String)]) -> Result<Roles> {
    let mut columns = look(sample);
    let all: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    if let Some(shape) = shape {
        columns.retain(|column| !shape.reads(&column.name));
    }
    let mut roles = Roles::default();
    for (role, column) in told.iter().filter(|(_, column)| !column.is_empty()) {
        if !all.contains(column) {
            return Err(Error::NoColumn { name: name.to_string(), column: column.clone(), role: role.name(), found: all });
        }
        roles.0.insert(*role, (column.clone(), By::You));
    }
    let settled = |role: Role| told.iter().any(|(one, _)| *one == role) || (shape.is_some() && spoken(role));
    let open = |role: Role| !settled(role);
    by_name(&mut roles, &columns, open);
    if shape.is_some() {
        return Ok(roles);
    }
    by_contents(&mut roles, &columns, open);
    if roles.column(Role::Question).is_none() {
        let missing = if roles.column(Role::Answer).is_some() { "the question" } else { "question or answer" };
        return Err(Error::Roles { name: name.to_string(), found: all, missing });
    }
    Ok(roles)
}

/// Whether a shape says it already.
fn spoken(role: Role) -> bool {
    matches!(role, Role::Question | Role::Answer | Role::System)
}

fn by_name(roles: &mut Roles, columns: &[Look], open: impl Fn(Role) -> bool) {
    let name = |roles: &mut Roles, role: Role| {
        let free: Vec<&Look> = columns.iter().filter(|column| roles.role(&column.name).is_none() && fits(role, column)).collect();
        if let Some(column) = names::best(role, &free) {
            roles.0.insert(role, (column.name.clone(), By::Name));
        }
    };
    ROLES.into_iter().filter(|role| open(*role)).for_each(|role| name(roles, role));
    // A ticket's number names the row where nothing else does, and no other row has it.
    if open(Role::Id)
        && roles.column(Role::Id).is_none()
        && let Some((column, by)) = roles.0.get(&Role::Group).cloned()
        && columns.iter().any(|one| one.name == column && one.unique)
    {
        roles.0.remove(&Role::Group);
        roles.0.insert(Role::Id, (column, by));
        // The customer, if there is one.
        if open(Role::Group) {
            name(roles, Role::Group);
        }
    }
}

/// Whether what a column holds can have the role.
fn fits(role: Role, column: &Look) -> bool {
    match role {
        Role::Question | Role::Answer => column.filled > 0 && !column.times,
        Role::System => column.filled > 0,
        Role::Id => column.unique && column.longest < 200,
        Role::Group | Role::Author | Role::Label => column.filled > 0 && column.longest < 200,
        Role::Time => column.times,
    }
}

fn by_contents(roles: &mut Roles, columns: &[Look], open: impl Fn(Role) -> bool) {
    let free: Vec<String> =
        columns.iter().filter(|column| column.prose && roles.role(&column.name).is_none()).map(|column| column.name.clone()).collect();
    let missing: Vec<Role> =
        [Role::Question, Role::Answer].into_iter().filter(|role| open(*role) && roles.column(*role).is_none()).collect();
    let labelled = roles.column(Role::Label).is_some();
    let found = match (&missing[..], &free[..]) {
        // Text and label: the label is the answer.
        ([Role::Question, Role::Answer], [text]) => vec![(Role::Question, text)],
        ([Role::Question, Role::Answer], [question, answer]) => vec![(Role::Question, question), (Role::Answer, answer)],
        ([Role::Question], [text]) => vec![(Role::Question, text)],
        ([Role::Answer], [text]) if !labelled => vec![(Role::Answer, text)],
        _ => Vec::new(),
    };
    for (role, column) in found {
        roles.0.insert(role, (column.clone(), By::Contents));
    }
    if open(Role::Time)
        && roles.column(Role::Time).is_none()
        && let [column] = &columns.iter().filter(|c| c.times && roles.role(&c.name).is_none()).collect::<Vec<_>>()[..]
    {
        roles.0.insert(Role::Time, (column.name.clone(), By::Contents));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: &[Value], told: &[(Role, &str)]) -> Result<Vec<(&'static str, String, &'static str)>> {
        let rows: Vec<&Map<String, Value>> = rows.iter().map(|row| row.as_object().unwrap()).collect();
        let told: Vec<(Role, String)> = told.iter().map(|(role, column)| (*role, column.to_string())).collect();
        let roles = find("x.csv", &rows, None, &told)?;
        Ok(roles.0.into_iter().map(|(role, (column, by))| (role.name(), column, by.name())).collect())
    }

    #[test]
    fn names_in_several_languages_are_known() {
        let rows = [
            json!({"Ticket-Nr": "7", "Frage": "Wo ist meine Bestellung?", "Antwort": "Unterwegs.", "Bearbeiter": "Anna", "Datum": "1.3.2024", "Kundennummer": "K1"}),
            json!({"Ticket-Nr": "8", "Frage": "Wie lange noch?", "Antwort": "Zwei Tage.", "Bearbeiter": "Bert", "Datum": "2.3.2024", "Kundennummer": "K1"}),
        ];
        let expected = [
            ("question", "Frage"),
            ("answer", "Antwort"),
            ("id", "Ticket-Nr"),
            ("group", "Kundennummer"),
            ("time", "Datum"),
            ("author", "Bearbeiter"),
        ];
        let names: Vec<_> = found(&rows, &[]).unwrap().into_iter().map(|(role, column, _)| (role, column)).collect();
        assert_eq!(names, expected.map(|(role, column)| (role, column.to_string())));
    }

    #[test]
    fn two_columns_of_prose_are_question_and_answer() {
        let rows = [
            json!({"a": "1", "b": "Where is my parcel today?", "c": "It will come tomorrow.", "d": "2024-01-01"}),
            json!({"a": "2", "b": "How do I pay the invoice?", "c": "With a card or by transfer.", "d": "2024-01-02"}),
        ];
        let expected =
            [("question", "b".to_string(), "contents"), ("answer", "c".to_string(), "contents"), ("time", "d".to_string(), "contents")];
        assert_eq!(found(&rows, &[]).unwrap(), expected);
        let told = found(&rows, &[(Role::Question, "c"), (Role::Answer, "b"), (Role::Time, "")]).unwrap();
        assert_eq!(told, [("question", "c".to_string(), "you"), ("answer", "b".to_string(), "you")]);
    }

    #[test]
    fn what_is_not_sure_is_refused_with_the_columns() {
        let rows = [json!({"b": "Where is my parcel today?", "c": "It will come tomorrow.", "d": "I do not know what this is."})];
        let error = found(&rows, &[]).unwrap_err().to_string();
        assert_eq!(error, "x.csv: found the columns [b, c, d], and none of them is surely question or answer");
        let error = found(&rows, &[(Role::Answer, "Antwort")]).unwrap_err().to_string();
        assert_eq!(error, "x.csv: no column `Antwort` for the role answer; found [b, c, d]");
    }

    #[test]
    fn a_text_with_a_label_is_a_question_whose_answer_is_the_label() {
        let rows = [json!({"text": "Where is my card?", "label": "card_arrival"}), json!({"text": "It is lost!", "label": "lost_card"})];
        let names: Vec<_> = found(&rows, &[]).unwrap().into_iter().map(|(role, column, _)| (role, column)).collect();
        assert_eq!(names, [("question", "text".to_string()), ("label", "label".to_string())]);
    }
}
