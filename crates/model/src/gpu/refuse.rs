//! What does not run on a GPU yet, known before anything is loaded.

use super::{Hold, weights};
use crate::{Dims, Error, Places};
use engine::ops::attention;

/// Refuses what does not run on a GPU yet.
///
/// # Errors
/// What it is, and what runs.
pub fn refuse(d: &Dims, places: &Places, hold: Hold) -> Result<(), Error> {
    let refused = |what: &str, found: String, supported: &str| {
        Err(Error::Unsupported { what: format!("{what} on a GPU"), found, supported: supported.into() })
    };
    if let Some(e) = &d.experts
        && (places.embed().is_some() || places.head().is_some() || places.is_dora() || places.dropout() > 0.0)
    {
        return refused(
            "full fine-tuning, modules_to_save, DoRA or dropout of a model with experts",
            format!("{} of them", e.count),
            "LoRA without dropout",
        );
    }
    if d.head_dim > attention::gpu::HEAD_MAX || d.hidden > engine::ops::rmsnorm::gpu::WIDTH_MAX {
        let found = format!("heads of {} and {} hidden", d.head_dim, d.hidden);
        return refused("a model of this width", found, "heads of up to 128, and up to 16,384 hidden");
    }
    if places.is_model() && hold != Hold::Bf16 {
        return refused("training weights that are quantised", format!("{hold:?}"), "bfloat16");
    }
    if hold == Hold::Fp8
        && let Some((outputs, inputs)) = weights::no_eight(d)
    {
        let supported = "widths that are multiples of 16 up to 32,768 (gate and up each)";
        return refused("8-bit floats of a matrix of this size", format!("{outputs} x {inputs}"), supported);
    }
    if places.len() >= 1 << 32 && !places.is_model() {
        return refused("so many parameters beside the base", places.len().to_string(), "fewer than 4,294,967,296");
    }
    if places.is_dora() && hold == Hold::Fp8 {
        return refused("DoRA beside 8-bit floats", format!("{hold:?}"), "bfloat16, NF4, int8");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{AdapterConfig, Targets};
    use crate::dims::tests::tiny;

    #[test]
    fn what_does_not_run_there_is_refused_with_what_does() {
        let d = tiny();
        let lora = |change: fn(&mut AdapterConfig)| {
            let mut config = AdapterConfig::new(2, 2.0, Targets::AllLinear);
            change(&mut config);
            refuse(&d, &Places::of_adapter(&d, &config).expect("places"), Hold::Nf4)
        };
        assert!(lora(|_| {}).is_ok());
        assert!(lora(|c| c.use_dora = true).is_ok());
        assert!(lora(|c| c.lora_dropout = 0.1).is_ok());
        assert!(refuse(&d, &Places::of_model(&d), Hold::Bf16).is_ok());
        let coded = refuse(&d, &Places::of_model(&d), Hold::Nf4).unwrap_err().to_string();
        assert!(coded.starts_with("training weights that are quantised on a GPU is not supported: found Nf4"), "{coded}");
        assert!(lora(|c| c.modules_to_save = vec!["lm_head".into(), "embed_tokens".into()]).is_ok());
        assert!(refuse(&Dims { head_dim: 256, ..d.clone() }, &Places::nothing(&d), Hold::Bf16).is_err());
    }
}
