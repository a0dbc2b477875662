//! A few rendered examples with the learned text marked, to be looked at before training.

use text::{Chat, RenderOptions};

use crate::error::Result;
use crate::example::{Example, Source};
use crate::pack::render;

/// A stretch of text that is learned as a whole, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub text: String,
    pub learned: bool,
}

/// One example as text. The segments, joined, are the text that the model reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub source: Source,
    pub segments: Vec<Segment>,
    pub tokens: usize,
    pub learned_tokens: usize,
}

/// Up to `count` examples from all over the data: the first, the last, and others evenly between.
pub fn sample(examples: &[Example], chat: &Chat, options: &RenderOptions, count: usize) -> Result<Vec<Sample>> {
    let count = count.min(examples.len());
    let mut samples = Vec::with_capacity(count);
    for pick in 0..count {
        let example = &examples[if count == 1 { 0 } else { pick * (examples.len() - 1) / (count - 1) }];
        // Where the template rewrites history the last part is the whole conversation.
        if let Some(part) = render(example, chat, options)?.pop() {
            samples.push(Sample {
                source: example.source.clone(),
                segments: segments(&part.text, &part.spans),
                tokens: part.ids.len(),
                learned_tokens: part.learned.iter().filter(|learned| **learned).count(),
            });
        }
    }
    Ok(samples)
}

fn segments(text: &str, spans: &[std::ops::Range<usize>]) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(2 * spans.len() + 1);
    let mut from = 0;
    for span in spans {
        segments.push(Segment { text: text[from..span.start].to_string(), learned: false });
        segments.push(Segment { text: text[span.clone()].to_string(), learned: true });
        from = span.end;
    }
    segments.push(Segment { text: text[from..].to_string(), learned: false });
    segments.retain(|segment| !segment.text.is_empty());
    segments
}
