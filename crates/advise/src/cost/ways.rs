//! The model: what each way costs in each month, line by line.

use super::case::Facts;
use super::money::Cents;
use super::name::Name as N;

/// Hours of a month, as clouds count them: 8,760 / 12.
pub const HOURS: f64 = 730.0;
/// Weeks of a working year and hours of a working week.
pub const WEEKS: f64 = 52.0;
/// Hours of a working week.
pub const WEEK_HOURS: f64 = 40.0;
/// A load is rounded up to replicas unless it is above a whole number by less than this.
pub const SLACK: f64 = 1e-9;

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A prompt for a hosted model.
    Api,
    /// A model tuned and served by a vendor.
    Managed,
    /// A model tuned here and served on GPUs that the team runs.
    Hosted,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 3] = [Way::Api, Way::Managed, Way::Hosted];

    /// As titles have it.
    pub fn title(self) -> &'static str {
        match self {
            Way::Api => "API",
            Way::Managed => "managed fine-tuning",
            Way::Hosted => "self-hosted",
        }
    }

    /// As programs have it.
    pub fn text(self) -> &'static str {
        match self {
            Way::Api => "api",
            Way::Managed => "managed",
            Way::Hosted => "hosted",
        }
    }
}

/// One line of a way's bill: what it is, and how it follows from the inputs in a month.
pub struct Line {
    /// Of which way.
    pub way: Way,
    /// What is paid for.
    pub title: &'static str,
    /// In US dollars, unrounded.
    pub(super) cost: fn(&Facts, &Month) -> f64,
    /// The same as a spreadsheet says it; `{m}` is the column of the month.
    pub(super) formula: &'static str,
}

/// What all lines of a month need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Month {
    /// From 1.
    pub number: f64,
    /// Calls.
    pub calls: f64,
    /// Hosted token prices over today's.
    pub drift: f64,
    /// GPU prices over today's.
    pub gpu_drift: f64,
    /// 1 in a month that retrains, else 0.
    pub retrains: f64,
    /// Replicas at the peak.
    pub replicas: f64,
    /// Hours of GPUs that are paid for.
    pub gpu_hours: f64,
}

impl Month {
    /// The month after `index` others.
    pub fn at(f: &Facts, index: usize) -> Month {
        let number = index as f64 + 1.0;
        let every = f[N::RetrainMonths];
        let retrains = if every > 0.0 && index > 0 && (index as f64 % every) == 0.0 { 1.0 } else { 0.0 };
        let calls = f[N::Calls] * growth(f, index);
        let replicas = replicas(f, calls * load(f));
        Month {
            number,
            calls,
            drift: (1.0 + f[N::PriceDrift]).powf(index as f64 / 12.0),
            gpu_drift: (1.0 + f[N::GpuDrift]).powf(index as f64 / 12.0),
            retrains,
            replicas,
            gpu_hours: gpu_hours(f, replicas),
        }
    }
}

/// Calls of a month over those of the first.
pub fn growth(f: &Facts, index: usize) -> f64 {
    (1.0 + f[N::Growth]).powf(index as f64)
}

/// Replicas that one call a month asks for at the peak: its seconds of prefill and decode, by the peak, over the seconds that a
/// replica may work.
pub fn load(f: &Facts) -> f64 {
    let seconds = f[N::TokensIn] * (1.0 - f[N::Prefix]) / f[N::Prefill] + f[N::TokensOut] / f[N::Decode];
    seconds * f[N::Peak] / (f[N::OpenHours] * 3600.0 * f[N::Target])
}

/// Replicas for a load, the staircase.
pub fn replicas(f: &Facts, load: f64) -> f64 {
    (load - SLACK).ceil().max(f[N::MinReplicas])
}

/// Hours that replicas are paid for in a month: those that always run, and the others while calls come.
pub fn gpu_hours(f: &Facts, replicas: f64) -> f64 {
    f[N::Gpus] * (f[N::MinReplicas] * HOURS + (replicas - f[N::MinReplicas]) * awake(f))
}

/// Hours a month in which a replica that may sleep is awake.
pub fn awake(f: &Facts) -> f64 {
    let starts = if f[N::MinReplicas] == 0.0 { f[N::ColdStarts] * f[N::ColdMinutes] / 60.0 } else { 0.0 };
    (f[N::OpenHours] + starts).min(HOURS)
}

fn week(f: &Facts) -> f64 {
    f[N::Engineer] / WEEKS
}

fn call_price(f: &Facts) -> f64 {
    ((f[N::TokensIn] + f[N::ExtraIn]) * f[N::ApiInput] + f[N::TokensOut] * f[N::ApiOutput]) / 1e6
}

/// Models that are made in a month.
pub fn rounds(m: &Month) -> f64 {
    m.retrains + if m.number == 1.0 { 1.0 } else { 0.0 }
}

fn managed_rounds(f: &Facts, m: &Month) -> f64 {
    rounds(m) + if m.number == f[N::ManagedRetires] { 1.0 } else { 0.0 }
}

/// Tokens that are learned from for one model that is put to use.
pub fn learned(f: &Facts) -> f64 {
    f[N::Examples] * (f[N::TokensIn] + f[N::TokensOut]) * f[N::Epochs] * f[N::Runs] * (1.0 + f[N::Failed])
}

/// What it costs to judge a new model.
pub fn judging(f: &Facts) -> f64 {
    f[N::EvalHours] * week(f) / WEEK_HOURS + f[N::EvalCalls] * call_price(f)
}

fn first(m: &Month, usd: f64) -> f64 {
    if m.number == 1.0 { usd } else { 0.0 }
}

fn serving(f: &Facts, m: &Month) -> f64 {
    m.gpu_hours * f[N::GpuHour] * m.gpu_drift
}

/// All lines of all ways.
pub const LINES: &[Line] = &[
    Line {
        way: Way::Api,
        title: "input tokens",
        cost: |f, m| m.calls * (f[N::TokensIn] + f[N::ExtraIn]) * (1.0 - f[N::Cached]) * f[N::ApiInput] * m.drift / 1e6,
        formula: "{m}$calls*(tokens_in+extra_in)*(1-cached)*api_input*{m}$drift/1000000",
    },
    Line {
        way: Way::Api,
        title: "cached input tokens",
        cost: |f, m| m.calls * (f[N::TokensIn] + f[N::ExtraIn]) * f[N::Cached] * f[N::ApiCached] * m.drift / 1e6,
        formula: "{m}$calls*(tokens_in+extra_in)*cached*api_cached*{m}$drift/1000000",
    },
    Line {
        way: Way::Api,
        title: "output tokens",
        cost: |f, m| m.calls * f[N::TokensOut] * f[N::ApiOutput] * m.drift / 1e6,
        formula: "{m}$calls*tokens_out*api_output*{m}$drift/1000000",
    },
    Line {
        way: Way::Api,
        title: "writing the prompt",
        cost: |f, m| first(m, f[N::ApiSetupWeeks] * week(f)),
        formula: "IF({m}$number=1,api_setup_weeks*engineer/52,0)",
    },
    Line { way: Way::Api, title: "engineers", cost: |f, _| f[N::ApiPeople] * f[N::Engineer] / 12.0, formula: "api_people*engineer/12" },
    Line {
        way: Way::Api,
        title: "redo when the model retires",
        cost: |f, m| if m.number == f[N::ApiRetires] { f[N::RedoWeeks] * week(f) } else { 0.0 },
        formula: "IF({m}$number=api_retires,redo_weeks*engineer/52,0)",
    },
    Line {
        way: Way::Api,
        title: "mending wrong answers",
        cost: |f, m| m.calls * f[N::ApiWrong] * f[N::Rework],
        formula: "{m}$calls*api_wrong*rework",
    },
    Line {
        way: Way::Managed,
        title: "preparing data",
        cost: |f, m| first(m, f[N::DataWeeks] * week(f)),
        formula: "IF({m}$number=1,data_weeks*engineer/52,0)",
    },
    Line {
        way: Way::Managed,
        title: "training",
        cost: |f, m| managed_rounds(f, m) * learned(f) * f[N::ManagedTrain] * m.drift / 1e6,
        formula: "({m}$rounds+IF({m}$number=managed_retires,1,0))*learned*managed_train*{m}$drift/1000000",
    },
    Line {
        way: Way::Managed,
        title: "evaluation",
        cost: |f, m| managed_rounds(f, m) * judging(f),
        formula: "({m}$rounds+IF({m}$number=managed_retires,1,0))*judging",
    },
    Line {
        way: Way::Managed,
        title: "work of retraining",
        cost: |f, m| m.retrains * f[N::RetrainWeeks] * week(f),
        formula: "{m}$retrains*retrain_weeks*engineer/52",
    },
    Line {
        way: Way::Managed,
        title: "hosting",
        cost: |f, m| f[N::ManagedHosting] * HOURS * m.drift,
        formula: "managed_hosting*730*{m}$drift",
    },
    Line {
        way: Way::Managed,
        title: "input tokens",
        cost: |f, m| m.calls * f[N::TokensIn] * f[N::ManagedInput] * m.drift / 1e6,
        formula: "{m}$calls*tokens_in*managed_input*{m}$drift/1000000",
    },
    Line {
        way: Way::Managed,
        title: "output tokens",
        cost: |f, m| m.calls * f[N::TokensOut] * f[N::ManagedOutput] * m.drift / 1e6,
        formula: "{m}$calls*tokens_out*managed_output*{m}$drift/1000000",
    },
    Line {
        way: Way::Managed,
        title: "engineers",
        cost: |f, _| f[N::ManagedPeople] * f[N::Engineer] / 12.0,
        formula: "managed_people*engineer/12",
    },
    Line {
        way: Way::Managed,
        title: "redo when the base retires",
        cost: |f, m| if m.number == f[N::ManagedRetires] { f[N::RedoWeeks] * week(f) } else { 0.0 },
        formula: "IF({m}$number=managed_retires,redo_weeks*engineer/52,0)",
    },
    Line {
        way: Way::Managed,
        title: "mending wrong answers",
        cost: |f, m| m.calls * f[N::TunedWrong] * f[N::Rework],
        formula: "{m}$calls*tuned_wrong*rework",
    },
    Line {
        way: Way::Hosted,
        title: "preparing data",
        cost: |f, m| first(m, f[N::DataWeeks] * week(f)),
        formula: "IF({m}$number=1,data_weeks*engineer/52,0)",
    },
    Line {
        way: Way::Hosted,
        title: "setting up serving",
        cost: |f, m| first(m, f[N::SetupWeeks] * week(f)),
        formula: "IF({m}$number=1,setup_weeks*engineer/52,0)",
    },
    Line {
        way: Way::Hosted,
        title: "GPUs for training",
        cost: |f, m| rounds(m) * learned(f) / f[N::TrainSpeed] / 3600.0 * f[N::TrainGpus] * f[N::GpuHour] * m.gpu_drift,
        formula: "{m}$rounds*learned/train_speed/3600*train_gpus*gpu_hour*{m}$gpu_drift",
    },
    Line { way: Way::Hosted, title: "evaluation", cost: |f, m| rounds(m) * judging(f), formula: "{m}$rounds*judging" },
    Line {
        way: Way::Hosted,
        title: "work of retraining",
        cost: |f, m| m.retrains * f[N::RetrainWeeks] * week(f),
        formula: "{m}$retrains*retrain_weeks*engineer/52",
    },
    Line { way: Way::Hosted, title: "GPUs for serving", cost: serving, formula: "{m}$gpu_hours*gpu_hour*{m}$gpu_drift" },
    Line {
        way: Way::Hosted,
        title: "disks, network, support",
        cost: |f, m| f[N::Overhead] * serving(f, m),
        formula: "overhead*{m}$gpu_hours*gpu_hour*{m}$gpu_drift",
    },
    Line { way: Way::Hosted, title: "monitoring", cost: |f, _| f[N::Monitoring], formula: "monitoring" },
    Line { way: Way::Hosted, title: "storage", cost: |f, _| f[N::StorageGb] * f[N::Storage], formula: "storage_gb*storage" },
    Line { way: Way::Hosted, title: "engineers", cost: |f, _| f[N::People] * f[N::Engineer] / 12.0, formula: "people*engineer/12" },
    Line {
        way: Way::Hosted,
        title: "mending wrong answers",
        cost: |f, m| m.calls * f[N::TunedWrong] * f[N::Rework],
        formula: "{m}$calls*tuned_wrong*rework",
    },
];

/// One line with its amounts.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What is paid for.
    pub title: &'static str,
    /// In each month.
    pub months: Vec<Cents>,
}

impl Row {
    /// Of all months.
    pub fn total(&self) -> Cents {
        self.months.iter().copied().sum()
    }
}

/// The bill of one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Bill {
    /// Which way.
    pub way: Way,
    /// Line by line.
    pub rows: Vec<Row>,
    /// The total of each month.
    pub months: Vec<Cents>,
    /// The total of all.
    pub total: Cents,
}

impl Bill {
    /// What has been paid by the end of each month.
    pub fn paid(&self) -> Vec<Cents> {
        self.months
            .iter()
            .scan(Cents(0), |sum, month| {
                *sum = *sum + *month;
                Some(*sum)
            })
            .collect()
    }
}

/// The bill of `way`: every amount is rounded to the cent once, and all totals are sums of these.
pub fn bill(f: &Facts, way: Way, months: usize) -> Bill {
    let all: Vec<Month> = (0..months).map(|index| Month::at(f, index)).collect();
    let lines = LINES.iter().filter(|line| line.way == way);
    let rows: Vec<Row> =
        lines.map(|line| Row { title: line.title, months: all.iter().map(|m| Cents::round((line.cost)(f, m))).collect() }).collect();
    let months: Vec<Cents> = (0..months).map(|at| rows.iter().map(|row| row.months[at]).sum()).collect();
    let total = months.iter().copied().sum();
    Bill { way, rows, months, total }
}

/// What `way` costs in all, unrounded.
pub fn exact(f: &Facts, way: Way, months: usize) -> f64 {
    let month = |index| {
        let m = Month::at(f, index);
        LINES.iter().filter(|line| line.way == way).map(|line| (line.cost)(f, &m)).sum::<f64>()
    };
    (0..months).map(month).sum()
}
