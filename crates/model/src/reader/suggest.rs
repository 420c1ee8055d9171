//! "Did you mean": the closest of the words that would have been right.

/// The closest legal word, when one is close enough to be what was meant.
fn closest<'a>(written: &str, legal: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    let scored = legal.into_iter().map(|word| (score(&written, &word.to_lowercase()), word));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    let one_slip =
        |word: &str| written.len() > 1 && strsim::damerau_levenshtein(&written, &word.to_lowercase()) <= 1;
    best.filter(|(score, word)| *score >= 0.72 || one_slip(word)).map(|(_, word)| word)
}

fn score(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b).max(strsim::normalized_damerau_levenshtein(a, b))
}

/// "did you mean `x`?", or a list of everything that is legal.
pub(crate) fn did_you_mean(written: &str, legal: &[&str]) -> String {
    match closest(written, legal.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("write {}", or_list(legal)),
    }
}

/// "a, b or c".
pub(crate) fn or_list(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        let legal = ["weight", "address", "port", "min_connections"];
        assert_eq!(closest("wieght", legal), Some("weight"));
        assert_eq!(closest("minconnections", legal), Some("min_connections"));
        assert_eq!(closest("Port", legal), Some("port"));
        assert_eq!(closest("wbe", ["mail", "web"]), Some("web"));
        assert_eq!(closest("zzz", legal), None);
    }

    #[test]
    fn far_off_words_are_answered_with_the_list() {
        assert_eq!(did_you_mean("x", &["dr", "nat", "tun"]), "write dr, nat or tun");
    }
}
