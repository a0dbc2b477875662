//! What a recipe accepts, refuses, explains and writes.

use super::*;

fn parse(text: &str) -> Result<Recipe> {
    Recipe::parse(text, Path::new("work/tunesmith.toml"))
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_all_defaults() {
    let recipe = parse("").unwrap();
    assert_eq!(recipe.train, Recipe::default().train);
    assert!(recipe.explain().iter().all(|line| line.from == Origin::Default && line.reason.len() > 10));
    assert_eq!(recipe.explain().len(), KEYS.len());
}

#[test]
fn reads_every_kind_of_value() {
    let recipe = parse(
        "[model]\nbase = \"org/name\"\n[data]\ntrain = \"a.jsonl\"\nsystem = \"/abs/s.txt\"\nmax_tokens = 512\n\
         over_long = \"drop\"\n[adapter]\nalpha = 8\nrslora = true\ntargets = [\"q_proj\", \"v_proj\"]\n\
         [train]\nlr = 1e-3\nschedule = \"linear\"\nbetas = [0.8, 0.95]\nseed = 0x10\n",
    )
    .unwrap();
    assert_eq!(recipe.model.base, "org/name");
    assert_eq!(recipe.data.train, Path::new("work/a.jsonl"));
    assert_eq!(recipe.data.eval, Path::new("work/data/eval.jsonl"));
    assert_eq!(recipe.data.system.as_deref(), Some(Path::new("/abs/s.txt")));
    assert_eq!((recipe.data.max_tokens, recipe.data.over_long), (Some(512), OverLong::Drop));
    assert_eq!((recipe.adapter.alpha, recipe.adapter.rslora), (8.0, true));
    assert_eq!(recipe.adapter.targets, Targets::Suffixes(vec!["q_proj".into(), "v_proj".into()]));
    assert_eq!((recipe.train.lr, recipe.train.schedule), (1e-3, Schedule::Linear));
    assert_eq!((recipe.train.betas, recipe.train.seed), ([0.8, 0.95], 16));
}

#[test]
fn unknown_keys_name_file_line_and_the_nearest() {
    let cases = [
        ("\n[train]\nlearning_rate = 1\n", "work/tunesmith.toml:3: unknown key `train.learning_rate`", "`train.lr`"),
        ("[train]\nepoch = 1\n", "work/tunesmith.toml:2: unknown key `train.epoch`", "`train.epochs`"),
        ("[trian]\nlr = 1\n", "work/tunesmith.toml:1: unknown key `trian`", "`train`"),
        ("[train]\nrank = 8\n", "work/tunesmith.toml:2: unknown key `train.rank`", "`adapter.rank`"),
        ("lr = 1\n", "work/tunesmith.toml:1: unknown key `lr`", "`train.lr`"),
    ];
    for (text, start, nearest) in cases {
        let message = refusal(text);
        assert!(message.starts_with(start) && message.contains(nearest), "{message}");
    }
    assert_eq!(
        refusal("[train]\nzzzzzzzzzzzzzzzzzz = 1\n"),
        "work/tunesmith.toml:2: unknown key `train.zzzzzzzzzzzzzzzzzz`, expected a known one"
    );
}

#[test]
fn wrong_kinds_say_what_was_found_and_expected() {
    let cases = [
        ("[train]\nlr = \"high\"\n", "`train.lr` is the text \"high\", expected a number above 0 and at most 1"),
        ("[train]\nbatch = 2.5\n", "`train.batch` is 2.5, expected a whole number from 1 to 1048576"),
        ("[train]\nshare_prefix = 1\n", "`train.share_prefix` is 1, expected true or false"),
        ("[model]\nbase = 1979-05-27\n", "`model.base` is a date, expected a model's name"),
        ("train = 3\n", "`train` is 3, expected a section, as in [train]"),
        ("[train.lr]\nx = 1\n", "`train.lr` is a table, expected a number"),
        ("[adapter]\ntargets = [1]\n", "`adapter.targets` is the list [1], expected \"all-linear\""),
    ];
    for (text, part) in cases {
        let message = refusal(text);
        assert!(message.contains(part), "{message}");
        assert!(message.starts_with("work/tunesmith.toml:"), "{message}");
    }
}

#[test]
fn values_that_cannot_work_are_refused() {
    let cases = [
        ("train.epochs=0", "a number above 0"),
        ("train.batch=0", "from 1 to"),
        ("train.batch=-4", "is -4, expected a whole number from 1"),
        ("train.lr=0", "above 0"),
        ("train.lr=-1e-4", "above 0"),
        ("train.lr=nan", "above 0"),
        ("train.lr=inf", "above 0"),
        ("train.warmup=1.5", "from 0 to 1"),
        ("train.betas=[0.9]", "two numbers"),
        ("train.betas=[0.9, 1.0]", "below 1"),
        ("train.eps=0", "above 0"),
        ("train.micro_tokens=0", "from 16"),
        ("train.keep=0", "from 1"),
        ("train.checkpoint_every=0", "from 1"),
        ("train.clip=-1", "at least 0"),
        ("train.schedule=sine", "\"cosine\" or \"linear\" or \"constant\""),
        ("train.epochs=99999999999999999999", "a number beyond 64 bits"),
        ("adapter.rank=0", "from 1 to"),
        ("adapter.alpha=0", "above 0"),
        ("adapter.dropout=1", "from 0 to below 1"),
        ("adapter.rank_pattern=8", "a table from names"),
        ("adapter.rank_pattern={q_proj = 0}", "from 1 to 4096"),
        ("adapter.alpha_pattern={q_proj = -1.0}", "above 0"),
        ("adapter.modules_to_save=lm_head", "a list of names"),
        ("model.storage=int4", "\"full\" or \"nf4\" or \"int8\" or \"fp8\" or \"stored\""),
        ("train.method=qlora", "\"lora\" or \"dora\" or \"full\""),
        ("train.objective=ppo", "\"sft\" or \"dpo\""),
        ("train.on_spike=stop", "\"skip\" or \"rewind\" or \"keep\""),
        ("train.spike=1", "from 3 on"),
        ("train.beta=0", "above 0"),
        ("data.replay_weight=1", "above 0 and below 1"),
        ("data.validation_share=0.6", "from 0 to 0.5"),
        ("data.clock=2026-02-29", "a day, as in"),
        ("data.clock=yesterday", "a day, as in"),
        ("adapter.targets=[]", "an empty list"),
        ("train.recompute=some", "\"auto\" or \"none\" or \"all\", or a number of layers"),
        ("train.recompute=true", "or a number of layers"),
        ("train.recompute=-1", "a whole number from 0"),
        ("data.over_long=cut", "\"refuse\" or \"drop\""),
        ("data.max_tokens=0", "from 1"),
        ("data.train=\"\"", "a path"),
        ("eval.max_new_tokens=0", "from 1"),
        ("track.mlflow=mlflow:5000", "an address as in"),
        ("track.mlflow=http://me:secret@mlflow", "without user and password"),
        ("track.mlflow_model=a/b", "a model's name of letters"),
        ("track.tensorboard=yes", "true or false"),
        ("model.base=none", "is none, expected a model's name"),
    ];
    for (change, part) in cases {
        let mut recipe = Recipe::default();
        let message = recipe.set(change).unwrap_err().to_string();
        assert!(message.starts_with("override: `") && message.contains(part), "{change}: {message}");
        assert_eq!(recipe, Recipe::default(), "{change} must change nothing");
    }
}

#[test]
fn overrides_need_no_quotes_and_can_clear() {
    let mut recipe = parse("[data]\nsystem = \"s.txt\"\n").unwrap();
    for change in ["train.lr=1e-3", "model.base=org/name@main", "data.system=none", "adapter.targets = all-linear"] {
        recipe.set(change).unwrap();
    }
    assert_eq!((recipe.train.lr, recipe.model.base.as_str()), (1e-3, "org/name@main"));
    assert_eq!(recipe.data.system, None);
    let lines = recipe.explain();
    let lr = lines.iter().find(|line| line.key == "train.lr").unwrap();
    assert_eq!((lr.value.as_str(), lr.from), ("0.001", Origin::Flag));
    let message = recipe.set("train.lr").unwrap_err().to_string();
    assert!(message.contains("expected `section.key=value`"), "{message}");
    let message = recipe.set("train.lerning_rate=1").unwrap_err().to_string();
    assert!(message.starts_with("override: unknown key"), "{message}");
}

#[test]
fn broken_toml_names_the_line() {
    let message = refusal("[train]\nlr = 1e-3\nlr = 2e-3\n");
    assert!(message.starts_with("cannot read the recipe work/tunesmith.toml:3: "), "{message}");
}

#[test]
fn a_written_recipe_reads_back_the_same() {
    let mut recipe = Recipe::default();
    for change in ["data.train=/x/\"a b\".jsonl", "adapter.targets=['a', 'b']", "train.eps=1e-7", "data.label=intent"] {
        recipe.set(change).unwrap();
    }
    let text = recipe.with_absolute_paths().unwrap().to_toml();
    let again = Recipe::parse(&text, Path::new("/elsewhere/recipe.toml")).unwrap();
    assert_eq!(again.to_toml(), text);
    assert_eq!(again.fingerprint(), recipe.fingerprint());
    assert!(again.data.eval.is_absolute() && !again.data.eval.starts_with("/elsewhere"));
    assert_eq!(again.data.train, Path::new("/x/\"a b\".jsonl"));
}

#[test]
fn the_fingerprint_follows_the_bits_and_nothing_else() {
    let start = Recipe::default().fingerprint();
    let after = |change: &str| {
        let mut recipe = Recipe::default();
        recipe.set(change).unwrap();
        recipe.fingerprint()
    };
    for change in ["train.lr=1e-3", "train.seed=1", "adapter.rank=8", "train.share_prefix=false", "model.base=x"] {
        assert_ne!(after(change), start, "{change}");
    }
    for change in [
        "train.keep=5",
        "train.checkpoint_every=1",
        "eval.batch=1",
        "data.train=x",
        "train.lr=2e-4",
        "train.recompute=all",
        "train.recompute=3",
        "track.mlflow=http://h:5000",
        "track.tensorboard=true",
    ] {
        assert_eq!(after(change), start, "{change}");
    }
}

#[test]
fn a_dotted_base_is_a_path() {
    let recipe = parse("[model]\nbase = \"./m.gguf\"\n").unwrap();
    assert_eq!(recipe.model.base, "work/./m.gguf");
}

fn changed(changes: &[&str]) -> Recipe {
    let mut recipe = Recipe::default();
    changes.iter().for_each(|change| recipe.set(change).unwrap());
    recipe
}

#[test]
fn contradictions_are_refused_and_their_mends_end_them() {
    let cases: [(&[&str], &str); 11] = [
        (&["train.method=full", "model.storage=nf4"], "`train.method=\"full\"` and `model.storage=\"nf4\"` contradict each other"),
        (&["train.method=full", "model.storage=stored"], "`model.storage=full` or `train.method=lora`"),
        (&["train.method=dora", "adapter.dropout=0.1"], "DoRA's length"),
        (&["train.method=full", "adapter.from=old"], "full fine-tuning has no adapter; expected `adapter.from=none`"),
        (&["train.method=full", "adapter.dropout=0.5"], "no adapter"),
        (&["train.method=full", "adapter.modules_to_save=[\"lm_head\"]"], "no adapter"),
        (&["train.method=full", "adapter.rank_pattern={a = 1}"], "`adapter.rank_pattern={ \"a\" = 1 }`"),
        (&["train.objective=dpo", "train.router_loss=0.01"], "no term for the router"),
        (&["data.validation=v.jsonl", "data.validation_share=0.1"], "held out of the training data"),
        (&["train.patience=2"], "nothing to validate on; expected `data.validation_share=0.1` or `train.patience=0`"),
        (&["train.validate_every=5"], "nothing to validate on"),
    ];
    for (changes, part) in cases {
        let recipe = changed(changes);
        let error = recipe.check().unwrap_err();
        assert!(error.to_string().contains(part), "{changes:?}: {error}");
        let Error::Contradiction { mends, .. } = error else { panic!("{error}") };
        for mend in mends {
            let mut mended = recipe.clone();
            mended.set(&mend).unwrap();
            mended.check().unwrap_or_else(|error| panic!("{changes:?} with {mend}: {error}"));
        }
    }
    for fine in [&["train.method=full"][..], &["train.method=dora"], &["adapter.dropout=0.1"], &["data.validation=v", "train.patience=2"]] {
        changed(fine).check().unwrap();
    }
}

#[test]
fn what_is_mostly_not_meant_is_noted() {
    let notes = |changes: &[&str]| changed(changes).notes().join("\n");
    assert_eq!(notes(&[]), "");
    assert_eq!(notes(&["train.method=full", "train.lr=1e-5"]), "");
    assert!(notes(&["train.method=full"]).contains("train.lr is 2e-4, and full fine-tuning mostly wants 1e-5 to 5e-5"));
    assert!(notes(&["train.objective=dpo"]).contains("and dpo mostly wants"));
    assert!(notes(&["adapter.dropout=0.1"]).contains("not shared"));
    assert_eq!(notes(&["adapter.dropout=0.1", "train.share_prefix=false"]), "");
    assert!(notes(&["data.replay_weight=0.2"]).contains("no effect without data.replay"));
    assert!(notes(&["train.beta=0.2"]).contains("no effect"));
}

#[test]
fn tables_and_lists_are_written_as_they_are_read() {
    let text = "[adapter]\nmodules_to_save = [\"lm_head\"]\n[adapter.rank_pattern]\n\"layers\\\\.0\\\\..*\" = 4\ndown_proj = 32\n[adapter.alpha_pattern]\ndown_proj = 64\n";
    let recipe = parse(text).unwrap().with_absolute_paths().unwrap();
    assert_eq!(recipe.adapter.rank_pattern, [("down_proj".to_string(), 32), ("layers\\.0\\..*".to_string(), 4)]);
    assert_eq!(recipe.adapter.alpha_pattern, [("down_proj".to_string(), 64.0)]);
    let again = parse(&recipe.to_toml()).unwrap();
    assert_eq!((again.to_toml(), again.fingerprint()), (recipe.to_toml(), recipe.fingerprint()));
    assert_eq!(again.adapter, recipe.adapter);
    assert_ne!(recipe.fingerprint(), Recipe::default().fingerprint());
}

#[test]
fn a_day_may_stand_without_quotes() {
    let recipe = parse("[data]\nclock = 2026-03-31\n").unwrap();
    assert_eq!(
        (recipe.data.clock.as_deref(), changed(&["data.clock=2024-02-29"]).data.clock.as_deref()),
        (Some("2026-03-31"), Some("2024-02-29"))
    );
    assert_eq!(parse(&recipe.to_toml()).unwrap().data.clock, recipe.data.clock);
    assert!(refusal("[data]\nclock = 2026-03-31T10:00:00\n").contains("a day, as in"));
}

#[test]
fn what_is_computed_again_is_a_word_or_a_number_of_layers() {
    let of = |change| changed(&[change]).train.recompute;
    let words = ["train.recompute=auto", "train.recompute=none", "train.recompute=all", "train.recompute=7"];
    assert_eq!(words.map(of), [Recompute::Auto, Recompute::None, Recompute::All, Recompute::First(7)]);
    for change in words {
        let recipe = changed(&[change]);
        assert_eq!(parse(&recipe.to_toml()).unwrap().train.recompute, recipe.train.recompute);
    }
}

#[test]
fn names_of_other_trainers_lead_to_ours() {
    for (theirs, ours) in [
        ("load_in_4bit", "model.storage"),
        ("use_dora", "train.method"),
        ("early_stopping_patience", "train.patience"),
        ("val_set_size", "data.validation_share"),
        ("router_aux_loss_coef", "train.router_loss"),
        ("adapter_name_or_path", "adapter.from"),
        ("dpo_beta", "train.beta"),
        ("gradient_checkpointing", "train.recompute"),
    ] {
        let message = refusal(&format!("[train]\n{theirs} = 1\n"));
        assert!(message.contains(&format!("`{ours}`")), "{message}");
    }
}
