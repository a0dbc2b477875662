//! PEFT's own configuration files and choices of modules.

use std::fs;

use formats::{AdapterConfig, Targets};
use serde_json::{Value, json};

use crate::{golden, words};

#[test]
fn same_modules_ranks_and_scales_as_peft() {
    let folder = tempfile::tempdir().unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&fs::read(golden("adapters.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 12);
    for (i, case) in cases.iter().enumerate() {
        let path = folder.path().join("adapter_config.json");
        fs::write(&path, case["config"].to_string()).unwrap();
        let config = AdapterConfig::read(folder.path()).unwrap();
        let mut adapted = 0;
        for module in case["linear"].as_array().unwrap() {
            let module = module.as_str().unwrap();
            let judge = &case["adapted"][module];
            assert_eq!(config.matches(module), !judge.is_null(), "case {i}: {module}");
            if !judge.is_null() {
                adapted += 1;
                assert_eq!(json!(config.rank_of(module)), judge[0], "case {i}: {module}");
                assert!((config.scale_of(module) - judge[1].as_f64().unwrap()).abs() < 1e-12, "case {i}: {module}");
            }
        }
        assert_eq!(adapted, case["adapted"].as_object().unwrap().len(), "case {i}");
        config.write(&path).unwrap();
        assert_eq!(
            AdapterConfig::read(&path).unwrap().matches("model.layers.1.self_attn.q_proj"),
            config.matches("model.layers.1.self_attn.q_proj")
        );
    }
}

#[test]
fn peft_s_own_file_comes_back_as_it_was() {
    let config = AdapterConfig::read(&golden("adapter_config.json")).unwrap();
    assert_eq!((config.r, config.lora_alpha, config.use_rslora), (16, 32.0, true));
    assert_eq!(config.target_modules, Targets::List(vec!["k_proj".into(), "v_proj".into(), "q_proj".into()]));
    assert_eq!(config.scale_of("model.layers.1.self_attn.k_proj"), 4.0);
    assert_eq!(config.scale_of("model.layers.1.self_attn.q_proj"), 8.0);
    assert_eq!(config.unsupported(), Vec::<String>::new());
    let folder = tempfile::tempdir().unwrap();
    config.write(folder.path()).unwrap();
    let json = |path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let mut expected = json(golden("adapter_config.json"));
    expected["inference_mode"] = json!(true);
    assert_eq!(json(folder.path().join("adapter_config.json")), expected);
    // A configuration of our own has the same keys.
    AdapterConfig::new(8, 16.0, Targets::AllLinear).write(folder.path()).unwrap();
    let ours = json(folder.path().join("adapter_config.json"));
    assert_eq!(ours.as_object().unwrap().keys().collect::<Vec<_>>(), expected.as_object().unwrap().keys().collect::<Vec<_>>());
    assert_eq!((&ours["target_modules"], &ours["lora_alpha"]), (&json!("all-linear"), &json!(16)));
}

#[test]
fn what_is_wrong_or_not_ours_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let path = at.join("adapter_config.json");
    let read = |changes: Value| {
        let mut config = json!({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]});
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        fs::write(&path, config.to_string()).unwrap();
        AdapterConfig::read(at)
    };
    let cases = [
        (json!({"peft_type": "IA3"}), "field `peft_type`: found \"IA3\", expected \"LORA\""),
        (json!({"r": 0}), "field `r`: found 0, expected a whole number above 0"),
        (json!({"r": "4"}), "field `r`: found \"4\", expected a whole number"),
        (json!({"target_modules": null}), "field `target_modules`: found nothing, expected a list of module names"),
        (json!({"target_modules": "(q_proj"}), "field `target_modules`: found \"(q_proj\" ("),
        (json!({"rank_pattern": {"q[": 2}}), "field `rank_pattern`: found \"q[\" ("),
        (json!({"rank_pattern": {"q": 0}}), "field `rank_pattern`: found {\"q\":0}, expected whole numbers above 0"),
        (json!({"lora_dropout": 2}), "field `lora_dropout`: found 2, expected a share from 0 to 1"),
        (json!({"layers_to_transform": "all"}), "field `layers_to_transform`: found \"all\", expected a layer number"),
    ];
    for (change, expected) in cases {
        let found = words(read(change), at);
        assert!(found.starts_with("adapter_config.json: ") && found.contains(expected), "{found}\n  wanted {expected}");
    }
    let odd = read(json!({
        "bias": "all", "fan_in_fan_out": true, "layer_replication": [[0, 1]], "alora_invocation_tokens": [5],
        "init_lora_weights": "pissa_niter_16", "loftq_config": {}, "lora_bias": false, "of_the_future": 1,
    }));
    assert_eq!(
        odd.as_ref().unwrap().unsupported(),
        [
            "bias = \"all\"",
            "fan_in_fan_out = true",
            "init_lora_weights = \"pissa_niter_16\" (changes the base weights)",
            "layer_replication = [[0,1]]",
            "alora_invocation_tokens = [5]",
        ]
    );
    assert_eq!(odd.unwrap().extra["of_the_future"], 1);
    let mut broken = AdapterConfig::new(4, 8.0, Targets::Regex("(".into()));
    assert!(!broken.matches("q_proj"));
    assert!(words(broken.write(at), at).contains("expected a regular expression"));
    broken.target_modules = Targets::List(vec!["q_proj".into()]);
    assert!(broken.matches("q_proj") && broken.matches("a.q_proj") && !broken.matches("aq_proj"));
}
