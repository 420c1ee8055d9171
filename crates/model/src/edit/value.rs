//! Turns what somebody typed into a TOML value of the kind a key holds.

use toml_edit::{Array, Value};

use crate::problem::Problem;
use crate::reader::Kind;

/// Text.
pub(super) fn text(text: &str) -> Value {
    Value::from(text)
}

/// A value of this kind.
pub(super) fn of_kind(kind: Kind, written: &str, path: &str) -> Result<Value, Problem> {
    match kind {
        Kind::Text | Kind::WordOrTable => Ok(text(written)),
        Kind::Number => match written.trim().parse::<i64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Err(Problem::error(path, format!("`{written}` is not a whole number"))),
        },
        Kind::Flag => match written.trim() {
            "true" | "yes" | "on" => Ok(true.into()),
            "false" | "no" | "off" => Ok(false.into()),
            _ => Err(Problem::error(path, format!("`{written}` is neither true nor false"))),
        },
        Kind::List => {
            let items = written.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.collect::<Array>()))
        }
        Kind::Table | Kind::Tables => {
            Err(Problem::error(path, "it holds a table: set the keys in it one by one"))
        }
    }
}
