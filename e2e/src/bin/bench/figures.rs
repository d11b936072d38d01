//! Medians, and how figures are printed.

use anyhow::{Result, ensure};
use serde_json::{Map, Value};

pub fn median(values: impl Iterator<Item = f64>) -> Result<f64> {
    let mut values: Vec<f64> = values.collect();
    ensure!(!values.is_empty(), "no round gave a figure");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    Ok(if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) })
}

pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// One line of JSON, or a table.
pub fn print(json: bool, rounds: u32, figures: &Map<String, Value>) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(figures)?);
        return Ok(());
    }
    println!("medians of {rounds} rounds");
    for (name, value) in figures {
        println!("{name:>36}  {value}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() -> Result<()> {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter())?, 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter())?, 2.5);
        assert!(median(std::iter::empty()).is_err());
        Ok(())
    }
}
