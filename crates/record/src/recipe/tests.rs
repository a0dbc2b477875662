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
        ("adapter.dropout=0.1", "expected 0, since"),
        ("adapter.targets=[]", "an empty list"),
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
