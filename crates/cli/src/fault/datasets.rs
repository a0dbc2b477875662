//! Faults of datasets: what to do about a split, a frozen folder, a sample.

use super::files::named;
use super::{Fault, Kind};

impl From<data::freeze::Error> for Fault {
    fn from(e: data::freeze::Error) -> Fault {
        use data::freeze::Error as E;
        let yours = || Fault::new(Kind::Yours, &e);
        match e {
            E::Data(inner) => inner.into(),
            E::Record(inner) => inner.into(),
            E::NoField { .. } => yours().hint("name a column of the rows, or a field of answers that are JSON"),
            E::NoTime { .. } => {
                yours().hint("split by chance: leave out --by-time; or import the column of times: tunesmith data import --help")
            }
            E::OneUnit { .. } => yours().hint("group by a finer field: --group FIELD"),
            E::TooMany { .. } => yours().hint("hold out fewer: --eval-size 20%"),
            E::Taken { .. } => yours().hint("give the new version a folder of its own: --out FOLDER"),
            E::NotFrozen { .. } => yours().hint("make one: tunesmith data split FILE"),
        }
    }
}

impl From<data::draw::Error> for Fault {
    fn from(e: data::draw::Error) -> Fault {
        use data::draw::Error as E;
        let yours = || Fault::new(Kind::Yours, &e);
        match &e {
            E::Data(data::Error::Read { path, why }) => named(&e, why, path),
            E::Data(_) | E::Nothing { .. } => yours().hint("see what is wrong with the rows: tunesmith data check FILE"),
            E::Record(record::Error::Io { path, source, .. }) => named(&e, source, path),
            E::Record(_) => Fault::new(Kind::Ours, &e),
            E::Findings { .. } => yours().hint("make it: tunesmith data check FILE --json > check.json"),
            E::NotADraw { .. } => yours().hint("name the file that ends in .sample.json: --draw FILE"),
            E::Sheet { .. } => yours().hint("columns: ref, id, prompt, answer, verdict, kind, comment; saved as JSONL or as CSV in UTF-8"),
            E::Mismatch { .. } => {
                yours().hint("fill verdict, kind and comment alone, and leave every row where it is; draw anew after the data changed")
            }
            E::NoVerdict { .. } => yours().hint("write ok or defect into the column `verdict`"),
        }
    }
}
