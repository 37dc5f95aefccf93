//! Names on the command line choose from a list that `--list` shows.

/// A name that is not in the list.
#[derive(Debug, thiserror::Error)]
#[error("no {kind} {name}; `cargo xtask {task} --list` lists them")]
pub(crate) struct Unknown {
    kind: &'static str,
    name: String,
    task: &'static str,
}

/// Those of `all` that `names` name, in the order of `all`; all of them if there are no names. `kind` and `task` are for the error.
pub(crate) fn choose<'a, T>(
    [task, kind]: [&'static str; 2],
    names: &[String],
    all: &'a [T],
    name: impl Fn(&T) -> &'static str,
) -> Result<Vec<&'a T>, Unknown> {
    if let Some(unknown) = names.iter().find(|wanted| !all.iter().any(|it| name(it) == wanted.as_str())) {
        return Err(Unknown { kind, name: unknown.clone(), task });
    }
    Ok(all.iter().filter(|it| names.is_empty() || names.iter().any(|wanted| wanted == name(it))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 3] = ["a", "b", "c"];

    fn chosen(names: &[&str]) -> Result<Vec<&'static str>, String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let chosen = choose(["test", "step"], &names, &ALL, |it| it).map_err(|error| error.to_string())?;
        Ok(chosen.into_iter().copied().collect())
    }

    #[test]
    fn names_choose_in_the_order_of_the_list_and_none_choose_all() {
        assert_eq!(chosen(&[]).unwrap(), ALL);
        assert_eq!(chosen(&["c", "a"]).unwrap(), ["a", "c"]);
    }

    #[test]
    fn an_unknown_name_is_named_with_the_command_that_lists_them() {
        assert_eq!(chosen(&["a", "x"]).unwrap_err(), "no step x; `cargo xtask test --list` lists them");
    }
}
