//! The problems found so far, and the text they were found in.

use std::cell::RefCell;

use crate::problem::Problem;

/// Collects problems and turns byte offsets into lines.
pub(crate) struct Report {
    line_starts: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl Report {
    /// A report on this text.
    pub(crate) fn new(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { line_starts: std::iter::once(0).chain(breaks).collect(), problems: RefCell::default() }
    }

    /// The line a byte is on, counted from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Adds a problem, unless the very same is known already.
    pub(crate) fn push(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    /// Whether the configuration is refused so far.
    pub(crate) fn has_errors(&self) -> bool {
        self.problems.borrow().iter().any(Problem::is_error)
    }

    /// Everything found, in the order of the file; what has no line comes last.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines() {
        let report = Report::new("a\nbc\n\nd");
        assert_eq!([0, 1, 2, 4, 5, 6].map(|at| report.line(at)), [1, 1, 2, 2, 3, 4]);
    }
}
