//! Living with Docker's and others' FORWARD rules. An accept in a table of our own does not override a drop in theirs,
//! so one marked jump leads from a chain that is there for the purpose (`DOCKER-USER`), or else from `FORWARD`, to a
//! chain of ours that accepts our links. What may pass between them is decided in our table, which always has its say.
//! It is made with the `iptables` program that Docker uses too: rules of another make would confuse it.

use super::names::Names;
use super::program::{Output, run};
use crate::FabricError;

const DOCKER: &str = "DOCKER-USER";
const FORWARD: &str = "FORWARD";
/// Testbeds of one machine stand beside each other at the top.
const ANY_CHAIN: &str = "TESTYARD-";
/// `-w`: wait for whoever else is changing rules, at most so many seconds.
const WAIT: [&str; 2] = ["-w", "5"];

/// Makes chain and jump so; says whether that was needed. `program` is `iptables` or `ip6tables`.
pub(crate) fn ensure(program: &str, names: &Names) -> Result<bool, FabricError> {
    let Some(docker) = list(program, DOCKER)? else { return Ok(false) };
    let forward = if docker.success { None } else { list(program, FORWARD)? };
    let (parent, rules) = match &forward {
        None => (DOCKER, docker.stdout.as_str()),
        Some(forward) if forward.success && !is_open(&forward.stdout) => (FORWARD, forward.stdout.as_str()),
        Some(_) => return Ok(false),
    };
    let rules_right =
        list(program, &names.chain)?.is_some_and(|o| o.success && chain_is_right(&o.stdout, names));
    if rules_right && jump_is_first(rules, names) {
        return Ok(false);
    }
    if !rules_right {
        // Already there is as good as made; the next command says if it is neither.
        let _ = call(program, &["-N", &names.chain])?;
        must(program, &["-F", &names.chain])?;
        let (links, mark) = (format!("{}+", names.prefix), names.mark());
        for direction in ["-i", "-o"] {
            must(
                program,
                &["-A", &names.chain, direction, &links, "-m", "comment", "--comment", &mark, "-j", "ACCEPT"],
            )?;
        }
    }
    for chain in [DOCKER, FORWARD] {
        remove_jumps(program, chain, names)?;
    }
    must(program, &["-I", parent, "1", "-m", "comment", "--comment", &names.mark(), "-j", &names.chain])?;
    Ok(true)
}

/// Removes chain and jumps.
pub(crate) fn remove(program: &str, names: &Names) -> Result<(), FabricError> {
    let Some(chain) = list(program, &names.chain)? else { return Ok(()) };
    if !chain.success {
        return Ok(());
    }
    for parent in [DOCKER, FORWARD] {
        remove_jumps(program, parent, names)?;
    }
    must(program, &["-F", &names.chain])?;
    must(program, &["-X", &names.chain])
}

/// Whether the host's iptables are of the old kind, whose changes the kernel tells nobody.
pub(crate) fn is_legacy() -> bool {
    matches!(run("iptables", &["--version"], ""), Ok(Some(output)) if output.stdout.contains("legacy"))
}

fn remove_jumps(program: &str, parent: &str, names: &Names) -> Result<(), FabricError> {
    let mark = names.mark();
    while call(program, &["-D", parent, "-m", "comment", "--comment", &mark, "-j", &names.chain])?
        .is_some_and(|o| o.success)
    {}
    Ok(())
}

/// A FORWARD chain that stops nothing.
fn is_open(rules: &str) -> bool {
    let mut lines = rules.lines();
    lines.next() == Some("-P FORWARD ACCEPT") && lines.all(|line| line.contains(&format!("-j {ANY_CHAIN}")))
}

fn chain_is_right(rules: &str, names: &Names) -> bool {
    let (chain, links, mark) = (&names.chain, &names.prefix, names.mark());
    let expected = [
        format!("-N {chain}"),
        format!("-A {chain} -i {links}+ -m comment --comment {mark} -j ACCEPT"),
        format!("-A {chain} -o {links}+ -m comment --comment {mark} -j ACCEPT"),
    ];
    rules.lines().map(|line| line.replace('"', "")).eq(expected)
}

/// Whether exactly one jump is ours and only other testbeds' stand before it.
fn jump_is_first(rules: &str, names: &Names) -> bool {
    let ends_in = |line: &str, chain: &str| line.ends_with(&format!(" -j {chain}"));
    let added: Vec<&str> = rules.lines().filter(|line| line.starts_with("-A ")).collect();
    let ours: Vec<usize> = added
        .iter()
        .enumerate()
        .filter(|(_, line)| ends_in(line, &names.chain))
        .map(|(index, _)| index)
        .collect();
    let [position] = ours[..] else { return false };
    added[..position].iter().all(|line| line.contains(&format!(" -j {ANY_CHAIN}")))
}

fn list(program: &str, chain: &str) -> Result<Option<Output>, FabricError> {
    call(program, &["-S", chain])
}

fn call(program: &str, arguments: &[&str]) -> Result<Option<Output>, FabricError> {
    run(program, &[&WAIT, arguments].concat(), "")
}

fn must(program: &str, arguments: &[&str]) -> Result<(), FabricError> {
    match call(program, arguments)? {
        Some(output) if output.success => Ok(()),
        Some(output) => Err(FabricError::Kernel {
            action: format!("{program} {}", arguments.join(" ")),
            detail: output.stderr,
        }),
        None => Err(FabricError::Lacking(format!(
            "the program {program} is missing: install the package iptables"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new(&"main".parse().unwrap())
    }

    #[test]
    fn the_jump_must_come_before_anything_that_is_not_a_testbeds() {
        let names = names();
        let mine = "-A DOCKER-USER -m comment --comment \"testyard:main\" -j TESTYARD-main";
        let other = "-A DOCKER-USER -m comment --comment \"testyard:b\" -j TESTYARD-b";
        let rules = |lines: &[&str]| {
            ["-N DOCKER-USER"].iter().chain(lines).map(|l| format!("{l}\n")).collect::<String>()
        };
        for good in [&[mine][..], &[mine, "-A DOCKER-USER -j RETURN"], &[other, mine]] {
            assert!(jump_is_first(&rules(good), &names), "{good:?}");
        }
        for bad in [
            &[][..],
            &["-A DOCKER-USER -j RETURN", mine],
            &[mine, mine],
            &["-A DOCKER-USER -j TESTYARD-main2"],
        ] {
            assert!(!jump_is_first(&rules(bad), &names), "{bad:?}");
        }
    }

    #[test]
    fn an_open_forward_chain_needs_nothing() {
        assert!(is_open("-P FORWARD ACCEPT\n"));
        assert!(is_open("-P FORWARD ACCEPT\n-A FORWARD -m comment --comment \"testyard:b\" -j TESTYARD-b\n"));
        assert!(!is_open("-P FORWARD DROP\n"));
        assert!(!is_open("-P FORWARD ACCEPT\n-A FORWARD -j ufw-before-forward\n"));
    }
}
