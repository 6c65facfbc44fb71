//! What is loaded, beside what nft makes of the text.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::super::design::Design;
use super::super::{Exclusions, InputHook, Mode, Prefix, RulesetConfig, Trigger, print};
use super::*;

/// The expression in libnftnl's words, as `nft --debug=netlink` prints it.
fn spelled(expression: &Expression) -> String {
    let built = expression.build();
    let mut text = [0_u8; 512];
    // SAFETY: the object is alive until it is freed here, once; the buffer has as many octets as is said.
    let text = unsafe {
        sys::nftnl_expr_snprintf(text.as_mut_ptr().cast(), text.len(), built.as_ptr(), 0, 0);
        sys::nftnl_expr_free(built.as_ptr());
        CStr::from_bytes_until_nul(&text).unwrap()
    };
    let name = expression.name.to_str().unwrap();
    format!("[ {name} {}]", text.to_str().unwrap())
}

/// What nft would ask the kernel for, without asking it: one list of expressions for each rule.
fn compiled_by_nft(text: &str) -> Option<Vec<Vec<String>>> {
    // A kernel without the queue expression refuses, which matters not: nft prints before it asks.
    let child = Command::new("unshare")
        .args(["-n", "nft", "--debug=netlink", "-c", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.ok()?;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut rules = vec![vec![]];
    for line in printed.lines().map(str::trim) {
        if line.starts_with('[') {
            rules.last_mut().unwrap().push(line.to_owned());
        } else {
            rules.push(vec![]);
        }
    }
    rules.retain(|rule| !rule.is_empty());
    if rules.is_empty() {
        eprintln!("nft: {}", String::from_utf8_lossy(&output.stderr));
    }
    (!rules.is_empty()).then_some(rules)
}

/// `rule` as nft makes it, but without what it loads twice, and with neighbours loaded at once.
fn thriftily(rule: &[String]) -> Vec<String> {
    let mut rule = rule.join("\n");
    let load = |len, offset, register| {
        format!("[ payload load {len}b @ network header + {offset} => reg {register} ]\n")
    };
    let outgoing = load(16, SOURCE, 1) + &load(16, DESTINATION, 2);
    rule = rule.replace(&outgoing, &load(32, SOURCE, 1));
    let arriving = load(16, DESTINATION, 1) + &load(16, SOURCE, 2);
    for loads in [load(32, SOURCE, 1), arriving] {
        if let Some(first) = rule.find(&loads) {
            let (head, tail) = rule.split_at(first + loads.len());
            rule = head.to_owned() + &tail.replace(&loads, "");
        }
    }
    rule.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_loaded_is_what_nft_makes_of_the_printed_text() {
    let counted = RulesetConfig::default().trigger;
    for mode in [Mode::Queue, Mode::QueueAll] {
        for input_hook in [InputHook::Input, InputHook::Prerouting] {
            for (queues, trigger) in [(1, counted), (4, Trigger::Everything), (1, Trigger::Never)] {
                let config = RulesetConfig {
                    mode,
                    input_hook,
                    observe: 100..100 + queues,
                    rewrite: 200..200 + queues,
                    keep: 300..300 + queues,
                    excluded: Exclusions {
                        peers: Prefix::new("2001:db8:f::".parse().unwrap(), 48)
                            .into_iter()
                            .collect(),
                        ports: vec![53, 123],
                        marks: vec![0x10, u32::MAX],
                        users: vec![0, 1001],
                    },
                    trigger,
                    bypass: queues == 1,
                    ..RulesetConfig::default()
                };
                let Some(nft) = compiled_by_nft(&print(&config)) else {
                    eprintln!("SKIPPED: needs nft, and the privilege to unshare -n");
                    return;
                };
                let ours: Vec<Vec<String>> = Design::new(&config)
                    .chains
                    .iter()
                    .flat_map(|chain| &chain.rules)
                    .map(|rule| rule.expressions(Statement::Native))
                    .map(|rule| rule.iter().map(spelled).collect())
                    .collect();
                let nft: Vec<_> = nft.iter().map(|rule| thriftily(rule)).collect();
                assert_eq!(ours, nft, "{config:?}");
            }
        }
    }
}

#[test]
fn the_compat_target_says_the_same_as_the_queue_expression() {
    let target = QueueTarget {
        numbers: 100..104,
        bypass: true,
    };
    assert_eq!(
        spelled(&queue(&target)),
        "[ queue num 100-103 bypass fanout ]"
    );
    let compat = nfqueue_target(&target);
    let info = compat.fields.iter().find_map(|(_, value)| match value {
        Value::Given(octets) => Some(octets),
        _ => None,
    });
    let expected: Vec<u8> = [100_u16, 4, 3, 0]
        .iter()
        .flat_map(|n| n.to_ne_bytes())
        .collect();
    assert_eq!(info, Some(&expected));
}
