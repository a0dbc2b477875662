//! Settings that contradict each other, all in one place; and what is allowed but worth a word.

use super::{Device, Method, Objective, Origin, Recipe, Storage};
use crate::error::{Error, Result};

/// Full fine-tuning and preference training diverge, or forget, at the rates that LoRA takes.
const GENTLE: f64 = 5e-5;

impl Recipe {
    /// Refuses what cannot work together. Called when all overrides are in, so that an override can mend a file.
    ///
    /// # Errors
    /// [`Error::Contradiction`] with what would end it.
    pub fn check(&self) -> Result<()> {
        self.check_method()?;
        self.check_objective()?;
        self.check_validation()
    }

    fn check_method(&self) -> Result<()> {
        let (a, full) = (&self.adapter, self.train.method == Method::Full);
        if full && self.model.storage != Storage::Full {
            let why = "a weight that is trained must be a number that can change a little, not a code";
            return self.contradiction("train.method", "model.storage", why, &["model.storage=full", "train.method=lora"]);
        }
        let eight = self.model.storage == Storage::Fp8;
        if eight && self.train.device == Device::Cpu {
            let why = "no CPU here multiplies 8-bit floats";
            return self.contradiction("model.storage", "train.device", why, &["train.device=cuda", "model.storage=int8"]);
        }
        if eight && self.train.method == Method::Dora {
            let why = "DoRA needs the lengths of rows, which are not measured in 8-bit floats";
            return self.contradiction("model.storage", "train.method", why, &["train.method=lora", "model.storage=full"]);
        }
        if self.train.method == Method::Dora && a.dropout > 0.0 {
            let why = "DoRA's length is that of the whole row, which a dropped input would make another one";
            return self.contradiction("train.method", "adapter.dropout", why, &["adapter.dropout=0", "train.method=lora"]);
        }
        let of_adapters = [
            ("adapter.from", a.from.is_some(), "adapter.from=none"),
            ("adapter.dropout", a.dropout > 0.0, "adapter.dropout=0"),
            ("adapter.modules_to_save", !a.modules_to_save.is_empty(), "adapter.modules_to_save=[]"),
            ("adapter.rank_pattern", !a.rank_pattern.is_empty(), "adapter.rank_pattern={}"),
            ("adapter.alpha_pattern", !a.alpha_pattern.is_empty(), "adapter.alpha_pattern={}"),
        ];
        if let Some((key, _, without)) = of_adapters.into_iter().find(|(_, set, _)| full && *set) {
            return self.contradiction("train.method", key, "full fine-tuning has no adapter", &[without, "train.method=lora"]);
        }
        Ok(())
    }

    fn check_objective(&self) -> Result<()> {
        if self.train.objective == Objective::Dpo && self.train.router_loss > 0.0 {
            let why = "the preference loss has no term for the router";
            return self.contradiction("train.objective", "train.router_loss", why, &["train.router_loss=0", "train.objective=sft"]);
        }
        Ok(())
    }

    fn check_validation(&self) -> Result<()> {
        let (d, t) = (&self.data, &self.train);
        if d.validation.is_some() && d.validation_share > 0.0 {
            let why = "validation examples come from a file of their own or are held out of the training data";
            return self.contradiction(
                "data.validation",
                "data.validation_share",
                why,
                &["data.validation_share=0", "data.validation=none"],
            );
        }
        if self.validates() {
            return Ok(());
        }
        for (key, off) in [("train.patience", "train.patience=0"), ("train.validate_every", "train.validate_every=0")] {
            let set = if key == "train.patience" { t.patience > 0 } else { t.validate_every > 0 };
            if set {
                let why = "there is nothing to validate on";
                return self.contradiction(key, "data.validation", why, &["data.validation_share=0.1", off]);
            }
        }
        Ok(())
    }

    /// Whether loss is measured on held-out examples during training.
    pub fn validates(&self) -> bool {
        self.data.validation.is_some() || self.data.validation_share > 0.0
    }

    /// What is allowed and mostly not meant, each in one sentence with what to do.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let t = &self.train;
        let gentle = match (t.method, t.objective) {
            (_, Objective::Dpo) => Some("dpo"),
            (Method::Full, _) => Some("full fine-tuning"),
            _ => None,
        };
        if let Some(what) = gentle.filter(|_| t.lr > GENTLE) {
            notes.push(format!(
                "train.lr is {:e}, and {what} mostly wants 1e-5 to 5e-5; a higher rate forgets or diverges: --set train.lr=2e-5",
                t.lr
            ));
        }
        if self.adapter.dropout > 0.0 && t.share_prefix {
            notes.push(
                "adapter.dropout is above 0, so common beginnings are not shared: what is dropped in one would be dropped for all its examples"
                    .to_string(),
            );
        }
        let own = [
            "train.method",
            "adapter.rank",
            "adapter.alpha",
            "adapter.rslora",
            "adapter.targets",
            "adapter.rank_pattern",
            "adapter.alpha_pattern",
        ];
        if let Some(key) = own.iter().find(|key| self.adapter.from.is_some() && self.origins.contains_key(**key)) {
            notes.push(format!("{key} has no effect beside adapter.from: an older adapter brings its own form"));
        }
        if self.data.replay.is_none() && self.origins.contains_key("data.replay_weight") {
            notes.push("data.replay_weight has no effect without data.replay".to_string());
        }
        if t.objective == Objective::Sft && self.origins.get("train.beta").is_some_and(|from| *from != Origin::Default) {
            notes.push("train.beta has no effect without train.objective = \"dpo\"".to_string());
        }
        notes
    }

    fn contradiction(&self, one: &str, other: &str, why: &'static str, mends: &[&str]) -> Result<()> {
        let value = |name: &str| self.explain().into_iter().find(|line| line.key == name).map_or(String::new(), |line| line.value);
        let settings = [one, other].map(|name| format!("{name}={}", value(name)));
        Err(Error::Contradiction { settings, why, mends: mends.iter().map(|mend| (*mend).to_string()).collect() })
    }
}
