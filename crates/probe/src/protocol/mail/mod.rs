//! Mail and news: SMTP, IMAP, POP3 and NNTP.

mod imap;
mod nntp;
mod pop3;
mod smtp;

pub(crate) use self::{imap::imap, nntp::nntp, pop3::pop3, smtp::smtp};
