//! `tunesmith data import`: sources to one file of rows, and an account of every row.

use crate::fault::{Fault, Kind};
use crate::stop;
use crate::ui::Ui;
use import::tickets::Mapping;
use import::{Account, Asking, Counts, Done, Login, Options, Out, Plan, Planned, Progress, ROLES, Role, Talk, Unanswered};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

const EXAMPLE: &str = "\
Examples:
  tunesmith data import tickets.csv --out tickets.jsonl
  tunesmith data import export.xlsx logs.jsonl.gz faq.parquet --out all.jsonl
  tunesmith data import tickets.csv --role question=Betreff --role answer=Antwort --out tickets.jsonl
  tunesmith data import help.db --query \"select question, answer from faq\" --out faq.jsonl
  tunesmith data import postgres://reader@db:5432/support --out support.jsonl \\
      --query \"select id, question, answer, closed_at from tickets\"
  tunesmith data import support.mbox --agents @firm.example --out mail.jsonl
  tunesmith data import zendesk.json --out tickets.jsonl
  tunesmith data import export.json --from mapped --mapping fields.toml --out tickets.jsonl

A mapping names the fields of another ticket system's JSON, with dots between the levels:
  tickets = \"data.cases\"      # where the list is; left out where the file is the list
  id = \"number\"
  messages = \"thread\"         # of a ticket; the rest is of a message
  text = \"body\"
  role = \"from.kind\"
  agents = [\"staff\"]          # values of role; also: customers, subject, time, author, private, public

A password comes from the address, from PGPASSWORD or from MYSQL_PWD; it is written nowhere.
Exit code 1 with all files written: a source was cut or damaged, and what came before was read.";

/// Import logs, tables, databases, mail and tickets
///
/// Reads JSONL and JSON in all common shapes, CSV, TSV, text (each also as .gz), XLSX, Parquet,
/// SQLite, PostgreSQL and MySQL into one file of rows; what columns mean is guessed, shown, and can be set.
/// Of mailboxes (mbox, Maildir, folders of .eml) and of exports of Zendesk, Intercom and others it
/// makes conversations: threads are rebuilt, quotes and signatures cut, questions paired with answers.
/// Beside OUT.jsonl come OUT.quarantine.jsonl, with every row that could not be kept and the reason,
/// and OUT.import.json, the account of all rows. An interrupted import goes on by the same command.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct ImportArgs {
    /// Files, and addresses of databases; `book.xlsx#Sheet` is one sheet
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// The file of rows that is made
    #[arg(long, value_name = "OUT.jsonl")]
    out: PathBuf,
    /// What a column means (can be repeated): question, answer, system, id, group, time, author or label; `author=` for none
    #[arg(long = "role", value_name = "ROLE=COLUMN", value_parser = role)]
    roles: Vec<(Role, String)>,
    /// Which rows of a database, as one SELECT
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// Who answers mails: a domain such as @firm.example, or an address (can be repeated); else the domain that answers most
    #[arg(long, value_name = "AGENT")]
    agents: Vec<String>,
    /// Keep what no agent answered, as rows of text
    #[arg(long)]
    unanswered: bool,
    /// The kind of the sources, where their contents do not tell it
    #[arg(long, value_name = "KIND", value_parser = kind)]
    from: Option<import::Kind>,
    /// The fields of another ticket system's export, as TOML or JSON
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Show what would be read and what the columns mean; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Begin anew, even if an interrupted import could go on
    #[arg(long)]
    fresh: bool,
}

fn role(text: &str) -> Result<(Role, String), String> {
    let names = || ROLES.map(Role::name).join(", ");
    let (name, column) = text.split_once('=').ok_or_else(|| "expected ROLE=COLUMN, such as answer=Antwort".to_string())?;
    let role = Role::named(name).ok_or_else(|| format!("no role `{name}`; expected one of {}", names()))?;
    Ok((role, column.to_string()))
}

fn kind(name: &str) -> Result<import::Kind, String> {
    import::Kind::named(name).ok_or_else(|| format!("expected one of {}", import::KINDS.map(import::Kind::name).join(", ")))
}

/// How conversations are put together.
fn talk(args: &ImportArgs) -> Result<Talk, Fault> {
    let mapping = match &args.mapping {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|why| {
                Fault::new(Kind::Yours, format!("cannot read {}: {why}", path.display())).hint("name a file with the fields of the export")
            })?;
            Some(Mapping::parse(&text)?)
        }
    };
    if args.from == Some(import::Kind::Mapped) && mapping.is_none() {
        let what = "--from mapped: found no mapping, expected the fields of the export";
        return Err(Fault::new(Kind::Usage, what).hint("--mapping FILE.toml; see tunesmith data import --help"));
    }
    let unanswered = if args.unanswered { Unanswered::Text } else { Unanswered::Leave };
    Ok(Talk { agents: args.agents.clone(), unanswered, mapping })
}

pub fn run(args: &ImportArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let out = out(args)?;
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let postgres = Login { user: set("PGUSER").or_else(|| set("USER")), password: set("PGPASSWORD") };
    let mysql = Login { user: set("USER"), password: set("MYSQL_PWD") };
    // A mapping alone says what the sources are.
    let kind_given = args.from.or(args.mapping.as_ref().map(|_| import::Kind::Mapped));
    let asking = Asking { query: args.query.clone(), postgres, mysql };
    let options = Options { roles: args.roles.clone(), asking, talk: talk(args)?, kind: kind_given };

    // Plan.
    let plan = import::plan(&args.sources, &options)?;
    for planned in &plan.sources {
        understood(planned).iter().for_each(|line| ui.tell(line));
    }
    if args.dry_run {
        ui.json(json!({ "sources": plan.sources.iter().map(figures).collect::<Vec<_>>() }));
        return Ok(());
    }

    // Do.
    let done = follow(plan, &out, args.fresh, ui)?;

    // Say.
    match done {
        Done::Stopped { rows } => {
            let what = format!("stopped after {rows} rows, which are kept");
            Err(Fault::new(Kind::Yours, what).hint("the same command goes on; --fresh begins anew"))
        }
        Done::Finished(account) => say(&account, &out, ui),
    }
}

/// The output, which must not be a source.
fn out(args: &ImportArgs) -> Result<Out, Fault> {
    let same =
        |source: &String| args.out.canonicalize().is_ok_and(|out| PathBuf::from(source).canonicalize().is_ok_and(|path| path == out));
    if let Some(source) = args.sources.iter().find(|source| same(source)) {
        return Err(
            Fault::new(Kind::Usage, format!("--out {source} is one of the sources")).hint("name another file: --out imported.jsonl")
        );
    }
    if args.out.extension().is_none_or(|extension| extension != "jsonl") {
        let what = format!("--out {}: expected a name that ends with .jsonl", args.out.display());
        return Err(Fault::new(Kind::Usage, what).hint(format!("--out {}", args.out.with_extension("jsonl").display())));
    }
    Ok(Out::of(&args.out))
}

fn follow(plan: Plan, out: &Out, fresh: bool, ui: &mut Ui) -> Result<Done, Fault> {
    let of: u64 = plan.sources.iter().map(|planned| planned.bytes).sum();
    let began = Instant::now();
    // Of an import that goes on, what an earlier one did says nothing about the rate.
    let mut first: Option<Progress> = None;
    let stop = stop::hear();
    ui.begin_bytes("importing", of);
    let done = import::import(plan, out, fresh, stop, &mut |at| {
        let from = *first.get_or_insert(at);
        let seconds = began.elapsed().as_secs_f64().max(1e-3);
        let rate = (at.rows - from.rows) as f64 / seconds;
        ui.at(at.bytes, &format!("{} rows  {rate:.0} rows/s", at.rows));
    });
    stop::unheard();
    ui.end_bytes();
    Ok(done?)
}

/// What a source turned out to be.
fn understood(planned: &Planned) -> Vec<String> {
    let fact = |name: &str| planned.facts.get(name).and_then(Value::as_str).map(str::to_string);
    let shape = planned.shape.map(|shape| format!("shape {shape}"));
    let delimiter = fact("delimiter").map(|sign| format!("delimiter {sign:?}"));
    let header = (planned.facts.get("header") == Some(&Value::Bool(false))).then(|| "no header".to_string());
    let parts = [Some(planned.kind.name().to_string()), fact("encoding"), delimiter, header, shape];
    let mut lines = vec![format!("{}: {}", planned.name, parts.into_iter().flatten().collect::<Vec<_>>().join(", "))];
    if let Some(agents) = planned.facts.get("agents").and_then(Value::as_array) {
        let named: Vec<&str> = agents.iter().filter_map(Value::as_str).collect();
        let guessed = planned.facts.get("agents_guessed") == Some(&Value::Bool(true));
        let by = if guessed { "they answer most; --agents says otherwise" } else { "as you said" };
        let mails = planned.facts.get("mails").and_then(Value::as_u64).unwrap_or_default();
        lines.push(format!("  {mails} mails; agents    {}   ({by})", named.join(", ")));
    }
    for (role, (column, by)) in &planned.roles.0 {
        let by = match by {
            import::By::You => "as you said",
            import::By::Name => "by its name",
            import::By::Contents => "by its contents",
        };
        lines.push(format!("  {:9} {column}   ({by})", role.name()));
    }
    lines
}

fn figures(planned: &Planned) -> Value {
    json!({
        "name": planned.name, "kind": planned.kind.name(), "columns": planned.columns, "shape": planned.shape,
        "roles": planned.roles.to_json(), "found": planned.facts,
    })
}

fn say(account: &Account, out: &Out, ui: &mut Ui) -> Result<(), Fault> {
    let several = account.sources.len() > 1;
    for (name, counts) in account.sources.iter().filter(|_| several) {
        ui.say(format!("{name}: {}", summed(counts)));
    }
    ui.say(format!("{}{}", if several { "Together: " } else { "" }, summed(&account.all)));
    for (what, count) in &account.all.fixes {
        ui.say(format!("  {count:>8}  {what}"));
    }
    ui.say(format!("{} and {}", out.rows.display(), out.account.display()));
    let look = || format!("look at them: head {}", out.quarantine.display());
    let cut: Vec<&str> = account.sources.iter().filter(|(_, counts)| counts.cut.is_some()).map(|(name, _)| name.as_str()).collect();
    if !cut.is_empty() {
        let what = format!("not read to the end: {}; all rows before are in {}", cut.join(", "), out.rows.display());
        let fault = Fault::new(Kind::Yours, what).hint("get a whole copy of it, then import again");
        return Err(account.sources.iter().filter_map(|(_, counts)| counts.cut.clone()).fold(fault, Fault::cause));
    }
    if account.all.kept == 0 {
        return Err(Fault::new(Kind::Yours, format!("none of the {} rows could be kept", account.all.rows)).hint(look()));
    }
    ui.json(account.json.clone());
    let check = (format!("tunesmith data check {}", out.rows.display()), "what is wrong with it");
    let quarantine = (format!("head {}", out.quarantine.display()), "what was not kept, and why");
    ui.next(&if account.all.quarantined > 0 { vec![check, quarantine] } else { vec![check] });
    Ok(())
}

fn summed(counts: &Counts) -> String {
    let Counts { rows, kept, fixed, quarantined, .. } = counts;
    format!("{rows} rows: {kept} kept ({fixed} of them fixed), {quarantined} quarantined")
}
