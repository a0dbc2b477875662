//! Rotary position embedding: how the frequencies of a model are scaled.

/// The scaling of rotary frequencies. Contexts are in tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Rope {
    /// theta^(-2i/dim), unscaled.
    Plain,
    /// Every frequency divided by `factor`.
    Linear { factor: f64 },
    /// Low frequencies divided by `factor`, high ones kept, those between blended (Llama 3.1 and later).
    Llama3 { factor: f64, low_freq_factor: f64, high_freq_factor: f64, original_context: usize },
    /// Each frequency divided by its own number: `short` up to the original context, `long` beyond it (Phi-3).
    Longrope {
        short: Vec<f64>,
        long: Vec<f64>,
        original_context: usize,
        /// Extension of the context; maximum over original context if none.
        factor: Option<f64>,
        /// What cosine and sine are multiplied by; derived from the extension if none.
        attention_factor: Option<f64>,
    },
}

impl Rope {
    /// The inverse frequencies, one for each pair of rotated elements: radians per token.
    ///
    /// `rotary` is the number of rotated elements of a head, `tokens` the length of the sequence (long-context
    /// scaling switches on it).
    pub fn inverse_frequencies(&self, theta: f64, rotary: usize, tokens: usize) -> Vec<f64> {
        let plain = (0..rotary / 2).map(|i| theta.powf(-2.0 * i as f64 / rotary as f64));
        match self {
            Rope::Plain => plain.collect(),
            Rope::Linear { factor } => plain.map(|f| f / factor).collect(),
            Rope::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => plain
                .map(|f| {
                    // Waves of the original context: few for low frequencies.
                    let waves = *original_context as f64 * f / std::f64::consts::TAU;
                    let kept = ((waves - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    (1.0 - kept) * f / factor + kept * f
                })
                .collect(),
            Rope::Longrope { short, long, original_context, .. } => {
                let divisors = if tokens > *original_context { long } else { short };
                plain.zip(divisors).map(|(f, d)| f / d).collect()
            }
        }
    }

    /// What cosine and sine are multiplied by; `max_context` is the model's.
    pub fn attention_scale(&self, max_context: usize) -> f64 {
        let Rope::Longrope { original_context, factor, attention_factor, .. } = self else { return 1.0 };
        if let Some(scale) = attention_factor {
            return *scale;
        }
        let original = *original_context as f64;
        let extension = factor.unwrap_or(max_context as f64 / original);
        if extension <= 1.0 { 1.0 } else { (1.0 + extension.ln() / original.ln()).sqrt() }
    }

    /// Finds the Llama 3 parameters behind a list of divisors, as GGUF stores them; else keeps the list itself.
    pub(super) fn from_divisors(divisors: &[f64], theta: f64, max_context: usize) -> Rope {
        let rotary = divisors.len() * 2;
        let plain = Rope::Plain.inverse_frequencies(theta, rotary, 0);
        let factor = divisors.last().copied().unwrap_or(1.0);
        for original_context in [8192, 4096, 16384, 32768] {
            let guess = Rope::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context };
            let scaled = guess.inverse_frequencies(theta, rotary, 0);
            // The file holds single-precision numbers.
            let fits = |((p, s), d): ((&f64, &f64), &f64)| ((p / s) / d - 1.0).abs() < 1e-5;
            if factor > 1.0 && plain.iter().zip(&scaled).zip(divisors).all(fits) {
                return guess;
            }
        }
        // The context as its own original: one list for every length, and no attention scale.
        let list = divisors.to_vec();
        Rope::Longrope { short: list.clone(), long: list, original_context: max_context, factor: None, attention_factor: Some(1.0) }
    }

    /// Checks the numbers; `pairs` is the number of rotated pairs. The fault is field, found, expected.
    pub(super) fn check(&self, pairs: usize) -> Result<(), (&'static str, String, String)> {
        let positive = |field, x: f64| match x.is_finite() && x > 0.0 {
            true => Ok(()),
            false => Err((field, x.to_string(), "a number above 0".to_string())),
        };
        match self {
            Rope::Plain => Ok(()),
            Rope::Linear { factor } => positive("factor", *factor),
            Rope::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                positive("factor", *factor)?;
                positive("low_freq_factor", *low_freq_factor)?;
                positive("original_max_position_embeddings", *original_context as f64)?;
                if high_freq_factor > low_freq_factor {
                    return Ok(());
                }
                Err(("high_freq_factor", high_freq_factor.to_string(), format!("more than {low_freq_factor}")))
            }
            Rope::Longrope { short, long, original_context, factor, attention_factor } => {
                if *original_context < 2 {
                    let expected = "a number above 1".to_string();
                    return Err(("original_max_position_embeddings", original_context.to_string(), expected));
                }
                for (field, list) in [("short_factor", short), ("long_factor", long)] {
                    if list.len() != pairs {
                        let expected = format!("{pairs}, one for each rotated pair");
                        return Err((field, format!("{} numbers", list.len()), expected));
                    }
                    list.iter().try_for_each(|x| positive(field, *x))?;
                }
                positive("factor", factor.unwrap_or(1.0))?;
                positive("attention_factor", attention_factor.unwrap_or(1.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_bands() {
        let rope = Rope::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
        let (plain, scaled) = (Rope::Plain.inverse_frequencies(5e5, 128, 1), rope.inverse_frequencies(5e5, 128, 1));
        for (p, s) in plain.iter().zip(&scaled) {
            // The published rule, by wavelength.
            let wavelength = std::f64::consts::TAU / p;
            let expected = if wavelength > 8192.0 {
                p / 8.0
            } else if wavelength < 2048.0 {
                *p
            } else {
                let s = (8192.0 / wavelength - 1.0) / 3.0;
                (1.0 - s) * p / 8.0 + s * p
            };
            assert!((s / expected - 1.0).abs() < 1e-12);
        }
        let divisors: Vec<f64> = plain.iter().zip(&scaled).map(|(p, s)| f64::from((p / s) as f32)).collect();
        assert_eq!(Rope::from_divisors(&divisors, 5e5, 131_072), rope);
        let odd: Vec<f64> = divisors.iter().map(|d| d * 1.5).collect();
        let kept = Rope::from_divisors(&odd, 5e5, 131_072);
        let frequencies = kept.inverse_frequencies(5e5, 128, 100_000);
        assert!(frequencies.iter().zip(plain.iter().zip(&odd)).all(|(f, (p, d))| *f == p / d));
        assert_eq!(kept.attention_scale(131_072), 1.0);
    }

    #[test]
    fn longrope_switches_and_scales() {
        let rope =
            Rope::Longrope { short: vec![1.0, 2.0], long: vec![4.0, 8.0], original_context: 4096, factor: None, attention_factor: None };
        assert_eq!(rope.inverse_frequencies(100.0, 4, 4096), [1.0, 0.05]);
        assert_eq!(rope.inverse_frequencies(100.0, 4, 4097), [0.25, 0.0125]);
        // Phi-3-mini-128k: sqrt(1 + ln(32)/ln(4096)), which is sqrt(1 + 5/12).
        assert_eq!(rope.attention_scale(4096), 1.0);
        assert!((rope.attention_scale(131_072) - (17f64 / 12.0).sqrt()).abs() < 1e-12);
    }
}
