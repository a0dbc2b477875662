//! The names of all that a cost is made of.

macro_rules! names {
    ($($variant:ident = $text:literal,)*) => {
        /// One input of the model. What it means, its unit and its bounds stand in `inputs.toml`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Name { $(#[doc = $text] $variant,)* }

        impl Name {
            /// Every name, in the order of reports.
            pub const ALL: &[Name] = &[$(Name::$variant,)*];

            /// As users write it.
            pub fn text(self) -> &'static str {
                match self { $(Name::$variant => $text,)* }
            }
        }
    };
}

names! {
    Calls = "calls",
    Growth = "growth",
    TokensIn = "tokens_in",
    TokensOut = "tokens_out",
    ExtraIn = "extra_in",
    Cached = "cached",
    ApiInput = "api_input",
    ApiCached = "api_cached",
    ApiOutput = "api_output",
    PriceDrift = "price_drift",
    ApiSetupWeeks = "api_setup_weeks",
    ApiPeople = "api_people",
    ApiRetires = "api_retires",
    RedoWeeks = "redo_weeks",
    ApiWrong = "api_wrong",
    TunedWrong = "tuned_wrong",
    Rework = "rework",
    DataWeeks = "data_weeks",
    Examples = "examples",
    Epochs = "epochs",
    Runs = "runs",
    Failed = "failed",
    EvalHours = "eval_hours",
    EvalCalls = "eval_calls",
    RetrainMonths = "retrain_months",
    RetrainWeeks = "retrain_weeks",
    ManagedTrain = "managed_train",
    ManagedInput = "managed_input",
    ManagedOutput = "managed_output",
    ManagedHosting = "managed_hosting",
    ManagedPeople = "managed_people",
    ManagedRetires = "managed_retires",
    SetupWeeks = "setup_weeks",
    People = "people",
    Engineer = "engineer",
    GpuHour = "gpu_hour",
    GpuDrift = "gpu_drift",
    Gpus = "gpus",
    TrainGpus = "train_gpus",
    Decode = "decode",
    Prefill = "prefill",
    TrainSpeed = "train_speed",
    Peak = "peak",
    Target = "target",
    Prefix = "prefix",
    OpenHours = "open_hours",
    MinReplicas = "min_replicas",
    ColdStarts = "cold_starts",
    ColdMinutes = "cold_minutes",
    Overhead = "overhead",
    Monitoring = "monitoring",
    StorageGb = "storage_gb",
    Storage = "storage",
}

impl Name {
    /// The input that is called so.
    pub fn of(text: &str) -> Option<Name> {
        Name::ALL.iter().copied().find(|name| name.text() == text)
    }

    /// Of the managed way, which is left out where nobody asked for it.
    pub(super) fn managed(self) -> bool {
        self.text().starts_with("managed_")
    }
}

/// The word of `known` that was most likely meant by `word`.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let best = known.map(|one| (distance(word, one), one)).min()?;
    (best.0 <= 2.max(word.len() / 3)).then(|| best.1.to_string())
}

/// Letters to insert, delete or replace until `a` is `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_guessed() {
        assert!(Name::ALL.iter().all(|name| Name::of(name.text()) == Some(*name)));
        let guess = |word| nearest(word, Name::ALL.iter().map(|name| name.text()));
        assert_eq!(guess("token_in").as_deref(), Some("tokens_in"));
        assert_eq!(guess("minreplicas").as_deref(), Some("min_replicas"));
        assert_eq!(guess("weather-forecast"), None);
    }
}
