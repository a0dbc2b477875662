//! The result as a workbook whose formulas are live: a manager changes an input and everything follows.

use super::book::Book;
use super::case::Facts;
use super::money::Cents;
use super::name::Name;
use super::ways::{self, LINES, Line, Month, Way};
use super::{Cost, hash, named, words};
use rust_xlsxwriter::{Chart, ChartType, Color, Format, Formula, Workbook, Worksheet, XlsxError};

/// Volumes of the sheet with the curves.
const VOLUMES: usize = 60;

/// Rows of the months that all lines use, in this order from [`TOP`] on; `{m}` is the column.
const SHARED: &[(&str, &str)] = &[
    ("number", ""),
    ("growth", "POWER(1+growth,{m}$number-1)"),
    ("calls", "calls*{m}$growth"),
    ("drift", "POWER(1+price_drift,({m}$number-1)/12)"),
    ("gpu_drift", "POWER(1+gpu_drift,({m}$number-1)/12)"),
    ("retrains", "IF(AND(retrain_months>0,{m}$number>1),IF(MOD({m}$number-1,retrain_months)=0,1,0),0)"),
    ("rounds", "{m}$retrains+IF({m}$number=1,1,0)"),
    ("replicas", "MAX(ROUNDUP({m}$calls*load-0.000000001,0),min_replicas)"),
    ("gpu_hours", "gpus*(min_replicas*730+({m}$replicas-min_replicas)*awake)"),
];

/// Figures below the inputs that follow from them.
const DERIVED: &[(&str, &str, &str)] = &[
    ("learned", "tokens that one round of training learns from", "examples*(tokens_in+tokens_out)*epochs*runs*(1+failed)"),
    (
        "judging",
        "cost of judging one new model, USD",
        "eval_hours*engineer/52/40+eval_calls*((tokens_in+extra_in)*api_input+tokens_out*api_output)/1000000",
    ),
    (
        "load",
        "replicas that one call a month asks for at the peak",
        "(tokens_in*(1-prefix)/prefill+tokens_out/decode)*peak/(open_hours*3600*target)",
    ),
    ("awake", "hours a month of a replica that may sleep", "MIN(open_hours+IF(min_replicas=0,cold_starts*cold_minutes/60,0),730)"),
];

/// The first row of the months, from 0.
const TOP: u32 = 3;

struct Look {
    title: Format,
    head: Format,
    money: Format,
    total: Format,
    input: Format,
    plain: Format,
    wrap: Format,
}

impl Look {
    fn new() -> Look {
        let bold = || Format::new().set_bold();
        Look {
            title: bold().set_font_size(15),
            head: bold().set_background_color(Color::RGB(0xE3E6E9)),
            money: Format::new().set_num_format("#,##0.00"),
            total: bold().set_num_format("#,##0.00").set_border_top(rust_xlsxwriter::FormatBorder::Thin),
            input: Format::new().set_font_color(Color::RGB(0x0F3FB5)).set_background_color(Color::RGB(0xFFF9DB)),
            plain: Format::new().set_num_format("#,##0.######"),
            wrap: Format::new().set_text_wrap(),
        }
    }
}

/// The bytes of the workbook.
///
/// # Errors
/// What the writer of workbooks says.
pub fn workbook(cost: &Cost, book: &Book) -> Result<Vec<u8>, XlsxError> {
    let look = Look::new();
    let mut file = Workbook::new();
    // A fixed day, so that the same result is the same file.
    file.set_properties(
        &rust_xlsxwriter::DocProperties::new()
            .set_title("Cost of using a model")
            .set_creation_datetime(&rust_xlsxwriter::ExcelDateTime::parse_from_str(&cost.day)?),
    );
    let (mut summary, mut inputs, mut months, mut volumes) = (Worksheet::new(), Worksheet::new(), Worksheet::new(), Worksheet::new());
    summary.set_name("Summary")?;
    inputs.set_name("Inputs")?;
    months.set_name("Months")?;
    volumes.set_name("Volumes")?;
    let names = fill_inputs(&mut inputs, cost, book, &look)?;
    let places = fill_months(&mut months, cost, &look)?;
    fill_volumes(&mut volumes, cost, &places, &look)?;
    fill_summary(&mut summary, cost, &places, &look)?;
    for sheet in [summary, inputs, months, volumes] {
        file.push_worksheet(sheet);
    }
    names.iter().try_for_each(|(name, row)| file.define_name(name, &format!("=Inputs!$B${row}")).map(|_| ()))?;
    file.save_to_buffer()
}

/// Every input with its name; the rows of the names, from 1.
fn fill_inputs(sheet: &mut Worksheet, cost: &Cost, book: &Book, look: &Look) -> Result<Vec<(String, u32)>, XlsxError> {
    sheet.write_with_format(0, 0, "Inputs: change the yellow ones, everything follows", &look.title)?;
    for (column, (title, width)) in
        [("name", 18), ("value", 16), ("unit", 24), ("meaning", 56), ("range", 30), ("from", 90)].into_iter().enumerate()
    {
        sheet.write_with_format(2, column as u16, title, &look.head)?;
        sheet.set_column_width(column as u16, f64::from(width))?;
    }
    let mut names = Vec::new();
    let mut row = 3;
    for value in cost.case.values.iter().filter(|value| cost.case.counts(value.name)) {
        let meaning = book.meaning(value.name);
        sheet.write(row, 0, value.name.text())?;
        sheet.write_with_format(row, 1, value.value, &look.input)?;
        sheet.write(row, 2, &meaning.unit)?;
        sheet.write(row, 3, &meaning.what)?;
        sheet.write(row, 4, words::range(value))?;
        sheet.write(row, 5, words::origin(value))?;
        row += 1;
        names.push((value.name.text().to_string(), row));
    }
    row += 1;
    let facts = cost.case.facts();
    for (name, what, formula) in DERIVED {
        sheet.write(row, 0, *name)?;
        sheet.write_formula_with_format(row, 1, live(formula, derived(&facts, name)), &look.plain)?;
        sheet.write(row, 3, *what)?;
        row += 1;
        names.push((name.to_string(), row));
    }
    sheet.set_freeze_panes(3, 1)?;
    Ok(names)
}

fn derived(f: &Facts, name: &str) -> f64 {
    match name {
        "learned" => ways::learned(f),
        "judging" => ways::judging(f),
        "load" => ways::load(f),
        _ => ways::awake(f),
    }
}

/// Where the sheets find what they add up, rows from 1.
struct Places {
    /// Total row of each way.
    totals: Vec<(Way, u32)>,
    /// Rows of what does not depend on calls, and of what one call costs.
    straight: Vec<(Way, u32, u32)>,
    /// The first and the last column of months, and that of the totals.
    columns: [String; 3],
}

/// The months: what all lines share, then a block for each way.
fn fill_months(sheet: &mut Worksheet, cost: &Cost, look: &Look) -> Result<Places, XlsxError> {
    let (facts, count) = (cost.case.facts(), cost.case.months);
    let last = count as u16;
    sheet.write_with_format(0, 0, "Month by month, USD", &look.title)?;
    sheet.set_column_width(0, 30)?;
    sheet.set_column_range_width(1, last + 1, 12)?;
    for (at, (name, formula)) in SHARED.iter().enumerate() {
        let row = TOP + at as u32;
        sheet.write(row, 0, *name)?;
        for index in 0..count {
            let (column, value) = (index as u16 + 1, shared(&facts, index, name));
            match *formula {
                "" => sheet.write_with_format(row, column, value, &look.head)?,
                formula => sheet.write_formula_with_format(row, column, live(&placed(formula, column), value), &look.plain)?,
            };
        }
    }
    let mut row = TOP + SHARED.len() as u32 + 1;
    let mut places = Places { totals: Vec::new(), straight: Vec::new(), columns: [name_of(1), name_of(last), name_of(last + 1)] };
    for bill in &cost.bills {
        sheet.write_with_format(row, 0, named(cost, bill.way), &look.head)?;
        sheet.write_with_format(row, last + 1, "all", &look.head)?;
        row += 1;
        let first = row;
        let lines: Vec<&Line> = LINES.iter().filter(|line| line.way == bill.way).collect();
        for (line, ours) in lines.iter().zip(&bill.rows) {
            sheet.write(row, 0, line.title)?;
            for (index, amount) in ours.months.iter().enumerate() {
                let column = index as u16 + 1;
                let formula = format!("ROUND({},2)", placed(line.formula, column));
                sheet.write_formula_with_format(row, column, live(&formula, amount.usd()), &look.money)?;
            }
            across(sheet, row, last, ours.total(), &look.money)?;
            row += 1;
        }
        sheet.write_with_format(row, 0, "total", &look.total)?;
        for (index, amount) in bill.months.iter().enumerate() {
            let column = index as u16 + 1;
            let formula = format!("SUM({0}{1}:{0}{2})", name_of(column), first + 1, row);
            sheet.write_formula_with_format(row, column, live(&formula, amount.usd()), &look.total)?;
        }
        across(sheet, row, last, bill.total, &look.total)?;
        places.totals.push((bill.way, row + 1));
        row += 2;
    }
    sheet.write_with_format(row, 0, "Unrounded, for the sheet Volumes", &look.head)?;
    row += 1;
    for bill in &cost.bills {
        let lines = || LINES.iter().filter(|line| line.way == bill.way && !line.formula.contains("gpu_hours"));
        let by_calls = |line: &&Line| line.formula.contains("{m}$calls");
        let fixed: Vec<String> = lines().filter(|line| !by_calls(line)).map(|line| line.formula.to_string()).collect();
        let called: Vec<String> = lines().filter(by_calls).map(|line| line.formula.replace("{m}$calls", "{m}$growth")).collect();
        for (what, parts) in [("without calls", fixed), ("a call of the first month", called)] {
            sheet.write(row, 0, format!("{}: {what}", bill.way.title()))?;
            for column in 1..=last {
                sheet.write_formula_with_format(row, column, Formula::new(placed(&parts.join("+"), column)), &look.plain)?;
            }
            row += 1;
        }
        places.straight.push((bill.way, row - 1, row));
    }
    sheet.set_freeze_panes(TOP + 1, 1)?;
    Ok(places)
}

fn across(sheet: &mut Worksheet, row: u32, last: u16, total: Cents, format: &Format) -> Result<(), XlsxError> {
    let formula = format!("SUM({}{2}:{}{2})", name_of(1), name_of(last), row + 1);
    sheet.write_formula_with_format(row, last + 1, live(&formula, total.usd()), format)?;
    Ok(())
}

fn shared(f: &Facts, index: usize, name: &str) -> f64 {
    let m = Month::at(f, index);
    match name {
        "number" => m.number,
        "growth" => ways::growth(f, index),
        "calls" => m.calls,
        "drift" => m.drift,
        "gpu_drift" => m.gpu_drift,
        "retrains" => m.retrains,
        "rounds" => ways::rounds(&m),
        "replicas" => m.replicas,
        _ => m.gpu_hours,
    }
}

/// Costs over volume, with a chart.
fn fill_volumes(sheet: &mut Worksheet, cost: &Cost, places: &Places, look: &Look) -> Result<(), XlsxError> {
    let facts = cost.case.facts();
    sheet.write_with_format(0, 0, "What other volumes would cost, USD over all months", &look.title)?;
    sheet.write_with_format(2, 0, "calls in the first month", &look.head)?;
    sheet.set_column_width(0, 24)?;
    for (at, bill) in cost.bills.iter().enumerate() {
        sheet.write_with_format(2, at as u16 + 1, bill.way.title(), &look.head)?;
        sheet.set_column_width(at as u16 + 1, 20)?;
    }
    let [from, to, _] = &places.columns;
    let line = |row: u32| format!("Months!${from}${row}:${to}${row}");
    let shared_row = |name: &str| SHARED.iter().position(|row| row.0 == name).map_or(TOP, |at| TOP + at as u32) + 1;
    for (at, volume) in super::plot::volumes(cost, VOLUMES).into_iter().enumerate() {
        let row = at as u32 + 3;
        sheet.write_with_format(row, 0, volume as f64, &look.input)?;
        for (column, (way, fixed, called)) in places.straight.iter().enumerate() {
            let mut sum = format!("SUM({})+$A{}*SUM({})", line(*fixed), row + 1, line(*called));
            if *way == Way::Hosted {
                let replicas = format!("ROUNDUP($A{}*load*{}-0.000000001,0)", row + 1, line(shared_row("growth")));
                let extra = format!("({replicas}-min_replicas+ABS({replicas}-min_replicas))/2");
                let hour = format!("gpu_hour*(1+overhead)*{}", line(shared_row("gpu_drift")));
                sum.push_str(&format!("+SUMPRODUCT(gpus*(min_replicas*730+{extra}*awake)*{hour})"));
            }
            let ours = Cents::round(ways::exact(&facts.with(Name::Calls, volume as f64), *way, cost.case.months));
            sheet.write_formula_with_format(row, column as u16 + 1, live(&format!("ROUND({sum},2)"), ours.usd()), &look.money)?;
        }
    }
    let mut chart = Chart::new(ChartType::ScatterStraight);
    let end = VOLUMES as u32 + 2;
    for column in 1..=cost.bills.len() as u16 {
        chart
            .add_series()
            .set_name(("Volumes", 2, column))
            .set_categories(("Volumes", 3, 0, end, 0))
            .set_values(("Volumes", 3, column, end, column));
    }
    chart.title().set_name("Cost over volume");
    chart.x_axis().set_name("calls in the first month").set_log_base(10).set_min(cost_floor(cost)).set_num_format("#,##0");
    chart.y_axis().set_name("USD over all months").set_num_format("#,##0");
    chart.set_width(820).set_height(420);
    sheet.insert_chart(2, cost.bills.len() as u16 + 2, &chart)?;
    Ok(())
}

fn cost_floor(cost: &Cost) -> f64 {
    let first = super::plot::volumes(cost, VOLUMES).first().copied().unwrap_or(1) as f64;
    10f64.powf(first.max(1.0).log10().floor())
}

/// The totals, live; and what formulas cannot say, as of the day of the file.
fn fill_summary(sheet: &mut Worksheet, cost: &Cost, places: &Places, look: &Look) -> Result<(), XlsxError> {
    sheet.set_column_width(0, 44)?.set_column_width(1, 20)?.set_column_width(2, 20)?.set_column_width(3, 20)?;
    sheet.write_with_format(0, 0, format!("What it costs to use a model, over {} months", cost.case.months), &look.title)?;
    sheet.write_with_format(2, 0, "live: follows the sheet Inputs", &look.head)?.write_with_format(2, 1, "USD", &look.head)?;
    let all = &places.columns[2];
    for (at, (way, row)) in places.totals.iter().enumerate() {
        let at = at as u32 + 3;
        sheet.write(at, 0, named(cost, *way))?;
        sheet.write_formula_with_format(at, 1, live(&format!("Months!${all}${row}"), cost.total(*way).usd()), &look.money)?;
    }
    let (first, last) = (4, 3 + places.totals.len() as u32);
    let mut row = last + 1;
    sheet.write(row, 0, "costs least")?;
    let least = format!("INDEX(A{first}:A{last},MATCH(MIN(B{first}:B{last}),B{first}:B{last},0))");
    sheet.write_formula(row, 1, Formula::new(least).set_result(named(cost, cost.cheapest())))?;
    row += 1;
    sheet.write(row, 0, "self-hosting saves over the API")?;
    let saved = cost.total(Way::Api) - cost.total(Way::Hosted);
    sheet.write_formula_with_format(row, 1, live(&format!("B{first}-B{last}"), saved.usd()), &look.money)?;
    row += 2;
    sheet.write_with_format(row, 0, format!("as of {}: does not follow the inputs", cost.day), &look.head)?;
    for line in std::iter::once(words::headline(cost)).chain(words::details(cost)).chain(cost.warnings.iter().cloned()) {
        row += 1;
        sheet.merge_range(row, 0, row, 8, &line, &look.wrap)?.set_row_height(row, 32)?;
    }
    row += 2;
    sheet.write_with_format(row, 0, "SHA-256 of the inputs", &look.head)?;
    sheet.write(row + 1, 0, hash(&cost.case))?;
    Ok(())
}

/// A formula with what it gives for the inputs as they are, for programs that only show.
fn live(formula: &str, result: f64) -> Formula {
    Formula::new(formula).set_result(result.to_string())
}

/// `{m}$name` as the cell of that row in this column.
fn placed(formula: &str, column: u16) -> String {
    // The longest names first: one begins like another.
    let mut rows: Vec<(usize, &str)> = SHARED.iter().map(|row| row.0).enumerate().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.1.len()));
    rows.iter().fold(formula.to_string(), |text, (at, name)| {
        text.replace(&format!("{{m}}${name}"), &format!("{}${}", name_of(column), TOP as usize + at + 1))
    })
}

/// A column as spreadsheets call it: `A`, `Z`, `AA`.
fn name_of(column: u16) -> String {
    rust_xlsxwriter::utility::column_number_to_name(column)
}
