//! Tokenizers from a file and from a vocabulary, and decoding one by one.

use text::{Tokenizer, Vocab};

/// The golden tokenizer as a GGUF file would describe it.
fn tiny_vocab(pre: &str) -> Vocab {
    let json: serde_json::Value = serde_json::from_slice(super::TINY).unwrap();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let mut tokens = vec![String::new(); vocab.len()];
    for (token, id) in vocab {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    let merge = |pair: &serde_json::Value| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    let special = json["added_tokens"].as_array().unwrap().len();
    Vocab {
        model: "gpt2".into(),
        pre: pre.into(),
        token_types: (0..tokens.len()).map(|id| if id < special { 3 } else { 1 }).collect(),
        tokens,
        merges: json["model"]["merges"].as_array().unwrap().iter().map(merge).collect(),
        ..Vocab::default()
    }
}

const TEXTS: [&str; 7] = [
    "the router is broken\n\n\n  and 4711 the  camera",
    "<|im_start|>user\nno<|im_end|>",
    "ünï 🙂👩‍👧 日本語 \u{301}\u{a0}",
    "  1\n\n2\t3 \r\n",
    "",
    " ",
    "fn main() { let x = [1, 22, 333]; }",
];

#[test]
fn a_vocabulary_gives_the_same_ids_as_the_file() {
    let (file, vocab) = (super::tiny(), Tokenizer::from_vocab(&tiny_vocab("smollm")).unwrap());
    let again = Tokenizer::from_json(vocab.to_json().unwrap().as_bytes()).unwrap();
    for text in TEXTS {
        let ids = file.encode(text).unwrap();
        assert_eq!(vocab.encode(text).unwrap(), ids, "{text:?}");
        assert_eq!(again.encode(text).unwrap(), ids, "{text:?}");
        assert_eq!(vocab.decode(&ids, false).unwrap(), text);
    }
    assert_eq!(vocab.vocab_size(), file.vocab_size());
    assert_eq!(vocab.decode(&vocab.encode("<|im_start|>no<|im_end|>").unwrap(), true).unwrap(), "no");
}

#[test]
fn a_tokenizer_goes_through_a_vocabulary_and_back() {
    // Every way of splitting is found again by what it does.
    for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken", "gpt-4o"] {
        let vocab = tiny_vocab(pre);
        let file = Tokenizer::from_vocab(&vocab).unwrap();
        let mut found = file.to_vocab().unwrap();
        assert_eq!((found.model.as_str(), found.pre.as_str()), ("gpt2", pre));
        assert_eq!((&found.tokens, &found.token_types, &found.merges), (&vocab.tokens, &vocab.token_types, &vocab.merges), "{pre}");
        assert_eq!((found.add_bos, found.add_eos, found.unk), (Some(false), Some(false), None));
        found.pad_to(vocab.tokens.len() + 2);
        assert_eq!(found.tokens[vocab.tokens.len() + 1], format!("[PAD{}]", vocab.tokens.len() + 1));
        let again = Tokenizer::from_vocab(&found).unwrap();
        for text in TEXTS {
            assert_eq!(again.encode(text).unwrap(), file.encode(text).unwrap(), "{pre}: {text:?}");
        }
    }
    let odd = String::from_utf8(super::TINY.to_vec()).unwrap().replace("\"individual_digits\":true", "\"individual_digits\":false");
    let odd = odd.replace("\"individual_digits\": true", "\"individual_digits\": false");
    let error = Tokenizer::from_json(odd.as_bytes()).unwrap().to_vocab().unwrap_err().to_string();
    assert!(error.starts_with("tokenizer.json, `pre_tokenizer`: found {") && error.contains("no name in the GGUF files"), "{error}");
}

#[test]
fn the_pre_tokenizer_decides_where_digits_are_cut() {
    let mut vocab = tiny_vocab("smollm");
    vocab.tokens.extend(["12".to_string(), "123".to_string(), "1234".to_string()]);
    vocab.token_types.extend([1, 1, 1]);
    vocab.merges.extend(["1 2".to_string(), "12 3".to_string(), "123 4".to_string()]);
    let tokens = |pre: &str| {
        vocab.pre = pre.into();
        let tokenizer = Tokenizer::from_vocab(&vocab).unwrap();
        tokenizer.encode("1234").unwrap().into_iter().map(|id| tokenizer.token(id).unwrap()).collect::<Vec<_>>()
    };
    let mut tokens = tokens;
    assert_eq!(tokens("smollm"), ["1", "2", "3", "4"]);
    assert_eq!(tokens("qwen2"), ["1", "2", "3", "4"]);
    assert_eq!(tokens("llama-bpe"), ["123", "4"]);
    assert_eq!(tokens("gpt-2"), ["1234"]);
    assert_eq!(tokens(""), ["1234"]);
}

#[test]
fn an_unknown_pre_tokenizer_is_named_with_the_known_ones() {
    let message = Tokenizer::from_vocab(&tiny_vocab("made-up")).unwrap_err().to_string();
    assert!(message.starts_with("tokenizer pre-tokenizer `made-up` is unknown, expected one of: gpt-2, default, "), "{message}");
    assert!(message.contains("smollm") && message.contains("tekken"), "{message}");
}

#[test]
fn broken_vocabularies_name_the_field() {
    let good = tiny_vocab("smollm");
    let says = |vocab: Vocab| Tokenizer::from_vocab(&vocab).unwrap_err().to_string();
    let count = good.tokens.len();
    assert_eq!(
        says(Vocab { token_types: vec![1], ..good.clone() }),
        format!("tokenizer vocabulary, field `token_types`: found 1 entries, expected {count}, one a token")
    );
    assert_eq!(
        says(Vocab { bos: Some(9999), ..good.clone() }),
        format!("tokenizer vocabulary, field `bos`: found id 9999, expected an id below {count}")
    );
    assert_eq!(
        says(Vocab { merges: vec!["ab".into()], ..good.clone() }),
        "tokenizer vocabulary, field `merges`: found \"ab\" at index 0, expected two tokens with a space between"
    );
    assert!(says(Vocab { merges: vec!["qq zz".into()], ..good.clone() }).contains("field `merges`"));
    assert!(says(Vocab { model: "bert".into(), ..good }).contains("tokenizer model `bert` is unknown"));
    assert_eq!(says(Vocab::default()), "tokenizer vocabulary, field `tokens`: found 0 tokens, expected at least 1");
    assert!(Tokenizer::from_json(b"{").unwrap_err().to_string().starts_with("tokenizer.json: "));
}

/// A SentencePiece vocabulary: control tokens, 256 bytes, pieces with scores.
fn pieces() -> Vocab {
    let mut vocab = Vocab { model: "llama".into(), unk: Some(0), bos: Some(1), eos: Some(2), add_bos: Some(true), ..Vocab::default() };
    let mut add = |token: &str, score: f32, kind: u32| {
        vocab.tokens.push(token.into());
        vocab.scores.push(score);
        vocab.token_types.push(kind);
    };
    add("<unk>", 0.0, 2);
    add("<s>", 0.0, 3);
    add("</s>", 0.0, 3);
    for byte in 0..=255 {
        add(&format!("<0x{byte:02X}>"), 0.0, 6);
    }
    for (rank, token) in ["▁t", "he", "▁the", "re", "▁there", "▁", "t", "h", "e", "r", "s"].iter().enumerate() {
        add(token, -(rank as f32), 1);
    }
    vocab
}

#[test]
fn sentencepiece_merges_by_score_and_falls_back_to_bytes() {
    let tokenizer = Tokenizer::from_vocab(&pieces()).unwrap();
    let tokens = |text: &str| tokenizer.encode(text).unwrap().into_iter().map(|id| tokenizer.token(id).unwrap()).collect::<Vec<_>>();
    assert_eq!(tokens("there the"), ["▁there", "▁the"]);
    assert_eq!(tokens("tés"), ["▁t", "<0xC3>", "<0xA9>", "s"]);
    // A space is written in front of each stretch of text, as llama.cpp does it.
    assert_eq!(tokens("<s>the</s>\n"), ["<s>", "▁the", "</s>", "▁", "<0x0A>"]);
    // Through its description and back: the order of the merges becomes scores again.
    let again = tokenizer.to_vocab().unwrap();
    assert_eq!((again.model.as_str(), again.add_space_prefix, again.add_bos, again.unk), ("llama", Some(true), Some(true), Some(0)));
    assert_eq!((&again.tokens, &again.token_types), (&pieces().tokens, &pieces().token_types));
    let again = Tokenizer::from_vocab(&again).unwrap();
    for text in ["there the", "tés", "<s>the</s>\n", "hehere tt re"] {
        assert_eq!(again.encode(text).unwrap(), tokenizer.encode(text).unwrap(), "{text:?}");
    }
    let phi3 = Tokenizer::from_vocab(&Vocab { strips: true, ..pieces() }).unwrap();
    assert_eq!(phi3.encode("</s>\n the<s> the").unwrap(), tokenizer.encode("</s>the<s> the").unwrap());
    assert!(phi3.to_vocab().unwrap().strips && !tokenizer.to_vocab().unwrap().strips);
    let ids = tokenizer.encode("there é").unwrap();
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "there é");
    assert_eq!(
        Tokenizer::from_vocab(&Vocab { scores: vec![], ..pieces() }).unwrap_err().to_string().split(':').next(),
        Some("tokenizer vocabulary, field `scores`")
    );
}

#[test]
fn a_stream_gives_the_whole_text_and_never_half_a_character() {
    let byte_level = super::tiny();
    let sentencepiece = Tokenizer::from_vocab(&pieces()).unwrap();
    for tokenizer in [&byte_level, &sentencepiece] {
        for text in ["the 🙂👩‍👧 there", "日本語", "a", "  the\n\nno"] {
            let ids = tokenizer.encode(text).unwrap();
            let mut stream = tokenizer.stream(true);
            let mut shown = String::new();
            for id in &ids {
                let piece = stream.push(*id).unwrap();
                assert!(!piece.contains('\u{FFFD}'), "{text:?} gave {piece:?}");
                shown.push_str(&piece);
            }
            shown.push_str(&stream.finish().unwrap());
            assert_eq!(shown, tokenizer.decode(&ids, true).unwrap());
        }
    }
    // A text that ends inside a character still ends.
    let half = byte_level.encode("é").unwrap();
    let mut stream = byte_level.stream(true);
    assert_eq!(stream.push(half[0]).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{FFFD}");
}
