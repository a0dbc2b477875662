//! `quantization_config` of config.json: which way a folder's linear layers are quantised.

use serde_json::{Value, json};

use crate::Error;
use crate::bnb::Scheme;
use crate::fields::Fields;

/// What config.json says of quantised weights. Which tensors are quantised is told by the tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantization {
    pub scheme: Scheme,
    /// `llm_int8_skip_modules`: modules that are left as they are, whatever the scheme.
    pub skip: Vec<String>,
}

const FIELD: &str = "quantization_config";

impl Quantization {
    /// Reads the field, if it is there.
    ///
    /// # Errors
    /// `Field` for another method than bitsandbytes, for FP4, and for a contradiction.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Option<Quantization>, Error> {
        let Some(object) = fields.object(FIELD)? else { return Ok(None) };
        let fields = Fields { path: fields.path, prefix: "quantization_config.", object };
        let [four, eight] = [fields.bool("load_in_4bit")?, fields.bool("load_in_8bit")?].map(|b| b.unwrap_or(false));
        match fields.text("quant_method")? {
            Some("bitsandbytes") => {}
            // Early files name no method.
            None if four || eight => {}
            _ => return Err(fields.fault("quant_method", "\"bitsandbytes\", or weights that are not quantised")),
        }
        let skip = fields.texts("llm_int8_skip_modules")?.unwrap_or_default();
        let scheme = match (four, eight) {
            (true, true) => return Err(fields.fault("load_in_8bit", "false, since `load_in_4bit` is true")),
            (false, false) => return Err(fields.fault("load_in_4bit", "true, or `load_in_8bit` true")),
            (false, true) => Scheme::Int8,
            (true, false) => {
                // The class of transformers has FP4 for a file that leaves it out.
                if fields.text("bnb_4bit_quant_type")? != Some("nf4") {
                    return Err(fields.fault("bnb_4bit_quant_type", "\"nf4\""));
                }
                Scheme::Nf4 { double: fields.bool("bnb_4bit_use_double_quant")?.unwrap_or(false) }
            }
        };
        Ok(Some(Quantization { scheme, skip }))
    }

    /// The field as transformers writes it; `dtype` is the type of the weights that are not quantised.
    pub(super) fn json(&self, dtype: &str) -> Value {
        let (four, double) = match self.scheme {
            Scheme::Nf4 { double } => (true, double),
            Scheme::Int8 => (false, false),
        };
        json!({
            "bnb_4bit_compute_dtype": dtype,
            "bnb_4bit_quant_storage": "uint8",
            "bnb_4bit_quant_type": if four { "nf4" } else { "fp4" },
            "bnb_4bit_use_double_quant": double,
            "llm_int8_enable_fp32_cpu_offload": false,
            "llm_int8_has_fp16_weight": false,
            "llm_int8_skip_modules": if self.skip.is_empty() { Value::Null } else { json!(self.skip) },
            "llm_int8_threshold": 6.0,
            "load_in_4bit": four,
            "load_in_8bit": !four,
            "quant_method": "bitsandbytes",
        })
    }
}
