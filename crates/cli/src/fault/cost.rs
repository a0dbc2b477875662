//! Faults of the inputs and prices of a cost.

use super::{Fault, Kind};

impl From<advise::cost::Error> for Fault {
    fn from(e: advise::cost::Error) -> Fault {
        use advise::cost::Error as E;
        let yours = || Fault::new(Kind::Yours, &e);
        let set = |facts: &[(String, String)]| facts.iter().map(|(name, _)| format!("--set {name}=...")).collect::<Vec<_>>().join(" ");
        match &e {
            E::File { .. } => yours().hint("an example of inputs: tunesmith cost --help; of prices: tunesmith cost --print prices"),
            E::Unknown { kind: "hosted model", .. } => yours().hint("or give its prices: --set api_input=... --set api_output=..."),
            E::Unknown { kind: "base", .. } => yours()
                .hint("or give what you measured: --set decode=... --set prefill=... --set train_speed=... --set gpus=1 --set train_gpus=1"),
            E::Unknown { kind: "GPU", .. } => yours().hint(
                "or give what you measured and pay: --set gpu_hour=... --set decode=... --set prefill=... --set train_speed=... --set gpus=1 --set train_gpus=1",
            ),
            E::Unknown { kind: "managed service", .. } => {
                yours().hint("or give its prices: --set managed_train=... --set managed_input=... --set managed_output=... --set managed_hosting=0")
            }
            E::Unknown { .. } | E::Absurd { .. } => yours().hint("what each input means and may be: tunesmith cost --print inputs"),
            E::Needed { facts } => yours().hint(format!("tunesmith cost {}", set(facts))),
            E::Missing { facts, .. } => {
                yours().hint(format!("give it: {}", set(facts))).hint("or keep it with its day and source in a file of yours: --prices FILE")
            }
            E::Contradiction { .. } => yours().hint("leave one of them out"),
        }
    }
}
