//! What no text may show: passwords, whole or cut, and what stands for them on the wire.
//!
//! Servers repeat what they were told, in answers that reasons and traces show a part of. So it is hidden where bytes
//! become text, before anything is cut off, and not afterwards, when half a password isn't found any more. That is deep
//! within the protocols, which know nothing about it: the task that asks remembers it.
use std::{borrow::Cow, fmt, sync::Arc};

use memchr::memmem;

/// Shorter ones stand in any text.
const LEAST: usize = 4;
/// Bytes of a longer one that give it away.
const HEAD: usize = 16;
/// Words of ours are only taken out for ones that are as long: to do it for less would tell more than it hides.
const LEAST_OF_OURS: usize = 8;
/// What stands in their place.
const MARK: &str = "…";

tokio::task_local! {
    static HIDDEN: Hidden;
}

/// What is hidden while a question is asked.
#[derive(Clone, Default)]
pub(crate) struct Hidden(Arc<[Vec<u8>]>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hidden({} texts)", self.0.len())
    }
}

impl Hidden {
    pub(crate) fn new(secrets: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut secrets: Vec<_> = secrets.into_iter().filter(|secret| secret.len() >= LEAST).collect();
        secrets.sort();
        secrets.dedup();
        Self(secrets.into())
    }

    /// Does something, during which no server's words show any of this.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        HIDDEN.scope(self.clone(), work).await
    }

    /// The text without these, whoever wrote it.
    pub(crate) fn out_of(&self, text: String) -> String {
        let places = self.places(text.as_bytes(), LEAST_OF_OURS);
        if places.is_empty() {
            return text;
        }
        String::from_utf8_lossy(&without(text.as_bytes(), places)).into_owned()
    }

    /// Where they are.
    fn places(&self, bytes: &[u8], least: usize) -> Vec<(usize, usize)> {
        let find = |secret: &'_ Vec<u8>| -> Vec<(usize, usize)> {
            let head = &secret[..secret.len().min(HEAD)];
            let end = |at: usize| at + common(&bytes[at..], secret);
            memmem::find_iter(bytes, head).map(|at| (at, end(at))).collect()
        };
        self.0.iter().filter(|secret| secret.len() >= least).flat_map(find).collect()
    }

    /// Where a piece begins with the end of one, or ends with the beginning of one.
    fn cut(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut places = Vec::new();
        for secret in self.0.iter() {
            let lengths = || (LEAST..secret.len().min(bytes.len() + 1)).rev();
            if let Some(length) = lengths().find(|length| bytes.starts_with(&secret[secret.len() - length..]))
            {
                places.push((0, length));
            }
            if let Some(length) = lengths().find(|length| bytes.ends_with(&secret[..*length])) {
                places.push((bytes.len() - length, bytes.len()));
            }
        }
        places
    }
}

/// How many bytes both begin with.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The bytes without these places, which may overlap.
fn without(bytes: &[u8], mut places: Vec<(usize, usize)>) -> Cow<'_, [u8]> {
    if places.is_empty() {
        return bytes.into();
    }
    places.sort_unstable();
    let (mut kept, mut done) = (Vec::with_capacity(bytes.len()), 0);
    for (from, to) in places {
        if from >= done {
            kept.extend_from_slice(&bytes[done..from]);
            kept.extend_from_slice(MARK.as_bytes());
        }
        done = done.max(to);
    }
    kept.extend_from_slice(&bytes[done..]);
    kept.into()
}

/// The bytes without what is hidden now.
pub(crate) fn hide(bytes: &[u8]) -> Cow<'_, [u8]> {
    HIDDEN.try_with(|hidden| without(bytes, hidden.places(bytes, LEAST))).unwrap_or_else(|_| bytes.into())
}

/// The same for a piece of a stream.
pub(crate) fn hide_in_piece(bytes: &[u8]) -> Cow<'_, [u8]> {
    let places = |hidden: &Hidden| [hidden.places(bytes, LEAST), hidden.cut(bytes)].concat();
    HIDDEN.try_with(|hidden| without(bytes, places(hidden))).unwrap_or_else(|_| bytes.into())
}

/// Does something while these are hidden.
#[cfg(test)]
pub(crate) fn hiding<T>(secrets: &[&str], work: impl FnOnce() -> T) -> T {
    let hidden = Hidden::new(secrets.iter().map(|secret| secret.as_bytes().to_vec()));
    HIDDEN.sync_scope(hidden, work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{shown, shown_piece};

    #[test]
    fn what_is_hidden_is_not_shown_however_much_is_cut_off() {
        let long = "correct horse battery staple";
        let said = format!("unknown command 'AUTH' with '{long}'");
        for limit in 0..said.len() {
            let text = hiding(&[long], || shown(said.as_bytes(), limit));
            assert!(!text.contains("corr"), "{text}");
        }
        // The server cut it itself.
        assert_eq!(hiding(&[long], || shown(b"with 'correct horse batt", 99)), "with '…");
        assert_eq!(hiding(&["pass", "password"], || shown(b"a password, a pass", 99)), "a …, a …");
        assert_eq!(hiding(&["a\"\nüb"], || shown("a\"\nüb".as_bytes(), 99)), "…");
        assert_eq!(hiding(&["abc"], || shown(b"abc", 99)), "abc", "too short to be looked for");
        assert_eq!(shown(b"nothing is hidden here", 99), "nothing is hidden here");
    }

    #[test]
    fn a_secret_in_two_pieces_is_in_neither() {
        let secret = "s3cret-password";
        for at in 0..=secret.len() {
            let pieces = [format!("you said {}", &secret[..at]), format!("{} twice", &secret[at..])];
            let texts = pieces.map(|piece| hiding(&[secret], || shown_piece(piece.as_bytes(), 99)));
            for text in &texts {
                let five =
                    secret.as_bytes().windows(5).any(|part| text.as_bytes().windows(5).any(|w| w == part));
                assert!(!five, "{at}: {texts:?}");
            }
        }
    }

    #[test]
    fn our_own_words_hide_long_ones_only() {
        let hidden = Hidden::new([b"connection".to_vec(), b"word".to_vec()]);
        assert_eq!(hidden.out_of("connection closed, in a word".to_owned()), "… closed, in a word");
        assert_eq!(hidden.out_of("nothing".to_owned()), "nothing");
        assert_eq!(format!("{hidden:?}"), "Hidden(2 texts)");
    }
}
