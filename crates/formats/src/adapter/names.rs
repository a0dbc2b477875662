//! The names of adapter tensors, as PEFT stores them.

/// What a tensor of an adapter is to its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// [r, in]
    A,
    /// [out, r]
    B,
    /// The bias on B, [out].
    BBias,
    /// DoRA's magnitudes, [out].
    Magnitude,
    /// [r, vocabulary]
    EmbeddingA,
    /// [dim, r]
    EmbeddingB,
    /// A whole weight stored beside the adapter (`modules_to_save`).
    Saved,
    /// A whole bias stored beside the adapter.
    SavedBias,
}

const PREFIX: &str = "base_model.model.";

/// The name of a module's adapter tensor: `base_model.model.<module>.lora_A.weight`.
pub fn tensor_name(module: &str, part: Part) -> String {
    let ending = match part {
        Part::A => "lora_A.weight",
        Part::B => "lora_B.weight",
        Part::BBias => "lora_B.bias",
        Part::Magnitude => "lora_magnitude_vector",
        Part::EmbeddingA => "lora_embedding_A",
        Part::EmbeddingB => "lora_embedding_B",
        Part::Saved => "weight",
        Part::SavedBias => "bias",
    };
    format!("{PREFIX}{module}.{ending}")
}

/// The module and part behind a tensor's name; none for a name that is no adapter tensor.
///
/// Names that still carry an adapter's name (`lora_A.default.weight`) are understood too.
pub fn parse_tensor_name(name: &str) -> Option<(&str, Part)> {
    let inner = name.strip_prefix(PREFIX)?;
    for (marker, weight, bias) in [
        (".lora_A", Some(Part::A), None),
        (".lora_B", Some(Part::B), Some(Part::BBias)),
        (".lora_magnitude_vector", Some(Part::Magnitude), None),
        (".lora_embedding_A", Some(Part::EmbeddingA), None),
        (".lora_embedding_B", Some(Part::EmbeddingB), None),
    ] {
        let Some(at) = inner.find(marker) else { continue };
        let (module, rest) = (&inner[..at], &inner[at + marker.len()..]);
        let bare = matches!(weight, Some(Part::Magnitude | Part::EmbeddingA | Part::EmbeddingB));
        let part = match rest.split('.').collect::<Vec<_>>().as_slice() {
            [""] if bare => weight,
            ["", _adapter] if bare => weight,
            ["", "weight"] | ["", _, "weight"] => weight,
            ["", "bias"] | ["", _, "bias"] => bias,
            _ => None,
        };
        return part.map(|p| (module, p));
    }
    let (module, kind) = inner.rsplit_once('.')?;
    match kind {
        "weight" => Some((module, Part::Saved)),
        "bias" => Some((module, Part::SavedBias)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_both_ways() {
        let q = "model.layers.0.self_attn.q_proj";
        assert_eq!(tensor_name(q, Part::A), "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
        for part in [Part::A, Part::B, Part::BBias, Part::Magnitude, Part::EmbeddingA, Part::EmbeddingB, Part::Saved, Part::SavedBias] {
            assert_eq!(parse_tensor_name(&tensor_name(q, part)), Some((q, part)));
        }
        assert_eq!(parse_tensor_name("base_model.model.x.lora_B.default.weight"), Some(("x", Part::B)));
        assert_eq!(parse_tensor_name("base_model.model.x.lora_magnitude_vector.default.weight"), Some(("x", Part::Magnitude)));
        assert_eq!(parse_tensor_name("base_model.model.lm_head.weight"), Some(("lm_head", Part::Saved)));
        for other in
            ["model.x.lora_A.weight", "base_model.model.x.lora_A.a.b.weight", "base_model.model.x.lora_A.bias", "base_model.model.x"]
        {
            assert_eq!(parse_tensor_name(other), None, "{other}");
        }
    }
}
