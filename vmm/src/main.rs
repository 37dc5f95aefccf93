//! The program `tmem`.
fn main() {}
