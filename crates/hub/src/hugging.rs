//! A repository of a Hugging Face hub, in the cache that all Hugging Face tools share:
//! `models--ORG--NAME/{blobs,snapshots/COMMIT,refs}`.

use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::fetch::{Wanted, Web};
use crate::name::{Id, is_plain};
use crate::options::Options;
use crate::sum::Sum;
use crate::{Kind, ModelPath, Progress, Source};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// What is taken besides the weights, when it is there.
const SMALL: &[&str] =
    &["config.json", "generation_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json"];

/// A file of the repository.
#[derive(Debug, Clone, PartialEq)]
struct Remote {
    name: String,
    bytes: Option<u64>,
    sum: Option<Sum>,
}

/// A whole snapshot in the cache; no network.
pub(crate) fn cached(id: &Id, options: &Options) -> Option<ModelPath> {
    let repo = cache(id, options);
    // A branch or tag goes by its ref; a commit is a snapshot's own name.
    let by_ref = repo.get("config.json").and_then(|config| config.parent().map(Path::to_path_buf));
    let by_commit = || Some(repo.pointer_path(&id.revision)).filter(|path| path.is_dir());
    let path = by_ref.or_else(by_commit)?;
    is_complete(&path).then_some(ModelPath { path, kind: Kind::Folder, source: Source::Cache })
}

/// From the cache, else from the hub.
pub(crate) fn get(id: &Id, options: &Options, progress: &mut dyn Progress) -> Result<ModelPath> {
    let at_hand = if options.fresh { None } else { cached(id, options) };
    if let Some(found) = at_hand {
        return Ok(found);
    }
    if options.offline {
        return Err(Error::Offline { name: id.to_string(), cache: options.hub_cache.clone() });
    }
    let web = Web::new(options);
    let repo = cache(id, options);
    let (commit, files) = list(&web, id, options)?;
    let snapshot = repo.pointer_path(&commit);
    let mut chosen = choose(id, &files)?;
    complete_facts(&web, id, options, &commit, &mut chosen)?;
    progress.start(chosen.iter().filter_map(|file| file.bytes).sum());
    for file in &chosen {
        place(&web, id, options, &commit, &snapshot, file, progress)?;
    }
    if !is_complete(&snapshot) {
        let files = names(&files);
        return Err(Error::Incomplete { name: id.to_string(), missing: "shard that its index names", files });
    }
    if commit != id.revision {
        repo.create_ref(&commit).map_err(|source| Error::io("note the revision in", &snapshot, source))?;
    }
    progress.finish();
    Ok(ModelPath { path: snapshot, kind: Kind::Folder, source: Source::Hub })
}

fn cache(id: &Id, options: &Options) -> CacheRepo {
    Cache::new(options.hub_cache.clone()).repo(repository(id))
}

fn repository(id: &Id) -> Repo {
    Repo::with_revision(id.repo.clone(), RepoType::Model, id.revision.clone())
}

/// The commit of the revision, and every file of it that could be wanted.
fn list(web: &Web, id: &Id, options: &Options) -> Result<(String, Vec<Remote>)> {
    let revision = id.revision.replace('/', "%2F");
    let url = format!("{}/api/models/{}/revision/{revision}?blobs=true", options.endpoint, id.repo);
    let answer = web.json(&id.to_string(), &url)?;
    let refuse = |what: &str, expected: &str| Error::Answer {
        url: url.clone(),
        what: what.to_string(),
        found: "missing or of another kind".to_string(),
        expected: expected.to_string(),
    };
    let commit = answer["sha"].as_str().filter(|sha| is_plain(sha)).ok_or_else(|| refuse("`sha`", "a commit"))?;
    let siblings = answer["siblings"].as_array().ok_or_else(|| refuse("`siblings`", "a list of files"))?;
    // Names become paths on this machine: what is not plain is left where it is.
    let files = siblings.iter().filter_map(remote).filter(|file| is_plain(&file.name)).collect();
    Ok((commit.to_string(), files))
}

fn remote(sibling: &Value) -> Option<Remote> {
    let lfs = &sibling["lfs"];
    let hash = lfs["sha256"].as_str().or_else(|| lfs["oid"].as_str()).or_else(|| match lfs {
        Value::Null => sibling["blobId"].as_str(),
        _ => None,
    });
    Some(Remote {
        name: sibling["rfilename"].as_str()?.to_string(),
        bytes: lfs["size"].as_u64().or_else(|| sibling["size"].as_u64()),
        sum: hash.and_then(Sum::of_hex),
    })
}

/// The files that make a model, weights last: a cache with weights has all the rest.
fn choose(id: &Id, files: &[Remote]) -> Result<Vec<Remote>> {
    let has = |name: &str| files.iter().any(|file| file.name == name);
    let missing = |missing| Error::Incomplete { name: id.to_string(), missing, files: names(files) };
    let is_tokenizer = |name: &str| name.starts_with("tokenizer") && name.ends_with(".json");
    let is_shard = |name: &str| name.starts_with("model-") && name.ends_with(".safetensors");
    // As transformers: one file beats shards, should a repository hold both.
    let single = has(WEIGHTS);
    let is_small = |name: &str| SMALL.contains(&name) || is_tokenizer(name) || (name == INDEX && !single);
    let is_weight = |name: &str| if single { name == WEIGHTS } else { is_shard(name) };
    let take = |wanted: &dyn Fn(&str) -> bool| files.iter().filter(|file| wanted(&file.name)).cloned().collect::<Vec<_>>();
    let (small, weights) = (take(&is_small), take(&is_weight));
    if !has("config.json") {
        return Err(missing("config.json"));
    }
    if !has("tokenizer.json") {
        return Err(missing("tokenizer.json"));
    }
    if weights.is_empty() || (!single && !has(INDEX)) {
        return Err(missing("model.safetensors, nor shards with an index"));
    }
    Ok(small.into_iter().chain(weights).collect())
}

/// Asks for the sizes and checksums that the list left out.
fn complete_facts(web: &Web, id: &Id, options: &Options, commit: &str, files: &mut [Remote]) -> Result<()> {
    for file in files {
        if file.bytes.is_none() || file.sum.is_none() {
            let (bytes, sum) = web.facts(&id.to_string(), &address(id, options, commit, &file.name))?;
            file.bytes = file.bytes.or(Some(bytes));
            file.sum = file.sum.take().or(sum);
        }
    }
    Ok(())
}

/// Brings one file into the cache and links it into the snapshot.
fn place(web: &Web, id: &Id, options: &Options, commit: &str, snapshot: &Path, file: &Remote, progress: &mut dyn Progress) -> Result<()> {
    std::fs::create_dir_all(snapshot).map_err(|source| Error::io("make the folder", snapshot, source))?;
    let (url, name) = (address(id, options, commit, &file.name), id.to_string());
    let wanted = Wanted { name: &name, url: &url, bytes: file.bytes.unwrap_or(0), sum: file.sum.as_ref() };
    let link = snapshot.join(&file.name);
    match &file.sum {
        Some(sum) => {
            let blobs = options.hub_cache.join(repository(id).folder_name()).join("blobs");
            let blob = blobs.join(sum.hex());
            web.file(&wanted, &blob, progress)?;
            join(&blob, &PathBuf::from("../../blobs").join(sum.hex()), &link)
        }
        None => {
            progress.message(&format!("{} has no checksum at {}; only its size is verified", file.name, options.endpoint));
            web.file(&wanted, &link, progress)
        }
    }
}

fn address(id: &Id, options: &Options, commit: &str, file: &str) -> String {
    format!("{}/{}/resolve/{commit}/{file}", options.endpoint, id.repo)
}

/// Makes `link` stand for `blob`, in place of whatever stood there.
fn join(blob: &Path, relative: &Path, link: &Path) -> Result<()> {
    let failed = |source| Error::io("link", link, source);
    let draft = link.with_file_name(format!(".tmp-link-{}", std::process::id()));
    match std::fs::remove_file(&draft) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(failed(source)),
        _ => {}
    }
    #[cfg(unix)]
    let made = std::os::unix::fs::symlink(relative, &draft);
    #[cfg(not(unix))]
    let made: std::io::Result<()> = Err(std::io::Error::other(relative.display().to_string()));
    // Some file systems have no links; a second name or a copy serves as well.
    made.or_else(|_| std::fs::hard_link(blob, &draft))
        .or_else(|_| std::fs::copy(blob, &draft).map(|_| ()))
        .and_then(|()| std::fs::rename(&draft, link))
        .map_err(failed)
}

/// Whether a folder holds everything that opening the model needs.
fn is_complete(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    has("config.json") && has("tokenizer.json") && (has(WEIGHTS) || shards(folder).is_some_and(|names| names.iter().all(|name| has(name))))
}

/// The shards that the index of a folder names.
fn shards(folder: &Path) -> Option<Vec<String>> {
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join(INDEX)).ok()?).ok()?;
    let names = index["weight_map"].as_object()?.values();
    names.map(|name| name.as_str().map(str::to_string)).collect::<Option<Vec<_>>>().filter(|names| !names.is_empty())
}

fn names(files: &[Remote]) -> String {
    const SHOWN: usize = 12;
    let mut list: Vec<&str> = files.iter().take(SHOWN).map(|file| file.name.as_str()).collect();
    if files.len() > SHOWN {
        list.push("…");
    }
    if list.is_empty() { "none".to_string() } else { list.join(", ") }
}
