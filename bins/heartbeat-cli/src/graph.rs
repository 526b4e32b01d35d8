//! `graph`: the dependencies of realms.

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_client::{Client, GraphFormat};
use heartbeat_status::EdgeKind;
use heartbeat_wire::{GraphDocument, GraphEdge, GraphNode};

use crate::args::GraphForm;
use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::style::{Hue, Style, hue};

/// `graph`.
pub(crate) async fn run(client: &Client, form: GraphForm, console: &mut Console) -> Outcome {
    let json = matches!(console.form, Format::Json | Format::Ndjson);
    match form {
        GraphForm::Dot => console.print(&ended(client.graph_text(GraphFormat::Dot).await?))?,
        GraphForm::Mermaid => console.print(&ended(client.graph_text(GraphFormat::Mermaid).await?))?,
        GraphForm::Tree if console.form == Format::Name => {
            let document = client.graph().await?;
            document.start_order.iter().try_for_each(|name| console.line(&console.style.text(name)))?;
        }
        GraphForm::Tree if !json => {
            let document = client.graph().await?;
            let columns = if console.terminal { console.width() } else { usize::MAX };
            let text = tree(&document, columns, console.style);
            console.print(&text)?;
        }
        GraphForm::Tree | GraphForm::Json => {
            let document = client.graph().await?;
            console.json(&document)?;
        }
    }
    Ok(Exit::Holds)
}

/// The server's text, safe for a terminal, with a line end.
fn ended(text: String) -> String {
    let mut text = heartbeat_status::sanitise(&text);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Dependents above what they need; a realm that no other needs starts a tree, and each realm is unfolded once.
pub(crate) fn tree(document: &GraphDocument, columns: usize, style: Style) -> String {
    let mut nodes: Vec<&GraphNode> = document.nodes.iter().collect();
    nodes.sort_by_key(|node| node.order);
    let by_name: BTreeMap<&str, &GraphNode> = nodes.iter().map(|node| (node.name.as_str(), *node)).collect();
    let mut below: BTreeMap<&str, Vec<&GraphEdge>> = BTreeMap::new();
    for edge in &document.edges {
        below.entry(&edge.from).or_default().push(edge);
    }
    let needed: BTreeSet<&str> = document.edges.iter().map(|edge| edge.to.as_str()).collect();
    let mut unfolded = BTreeSet::new();
    let mut out = String::new();
    let tops = nodes.iter().rev().filter(|node| !needed.contains(node.name.as_str()));
    for top in tops {
        // An own stack: a chain of dependencies may be longer than the program's.
        let mut stack = vec![Branch { name: &top.name, edge: None, lead: String::new(), last: true }];
        while let Some(branch) = stack.pop() {
            let again = !unfolded.insert(branch.name);
            let children = below.get(branch.name).map_or(&[][..], Vec::as_slice);
            let line =
                branch.line(by_name.get(branch.name).copied(), again && !children.is_empty(), columns, style);
            out.push_str(line.trim_end());
            out.push('\n');
            if again {
                continue;
            }
            let lead = branch.lead_below(style);
            for (at, edge) in children.iter().enumerate().rev() {
                let last = at + 1 == children.len();
                stack.push(Branch { name: &edge.to, edge: Some(edge), lead: lead.clone(), last });
            }
        }
    }
    out
}

/// Columns that a name has on however narrow a screen.
const MIN_NAME_COLUMNS: usize = 8;

struct Branch<'a> {
    name: &'a str,
    edge: Option<&'a GraphEdge>,
    lead: String,
    last: bool,
}

impl Branch<'_> {
    fn lead_below(&self, style: Style) -> String {
        match (self.edge, self.last) {
            (None, _) => String::new(),
            (Some(_), true) => format!("{}   ", self.lead),
            (Some(_), false) => format!("{}{}  ", self.lead, if style.ascii { '|' } else { '│' }),
        }
    }

    fn line(&self, node: Option<&GraphNode>, again: bool, columns: usize, style: Style) -> String {
        let arm = match (self.edge, self.last, style.ascii) {
            (None, _, _) => "",
            (Some(_), true, false) => "└─ ",
            (Some(_), false, false) => "├─ ",
            (Some(_), true, true) => "`- ",
            (Some(_), false, true) => "|- ",
        };
        let status = node.and_then(|node| node.status.known()).unwrap_or(heartbeat_status::Status::Unknown);
        let word = node.map_or_else(|| "unknown".to_owned(), |node| style.text(&node.status.to_string()));
        let mut rest = String::new();
        if let Some(edge) = self.edge.filter(|edge| !edge.kind.is(EdgeKind::Needs)) {
            rest += &format!(" [{}]", style.text(&edge.kind.to_string()));
        }
        if again {
            rest += "  (see above)";
        } else if let Some(node) = node.filter(|_| status.severity() > 0 && !status_is_quiet(status)) {
            rest += &format!("  {}", style.text(&node.message));
        }
        let mark = style.mark(status);
        let head = format!("{}{arm}", self.lead);
        let beside = crate::style::width(&head) + crate::style::width(&word) + 3;
        let name = style.cut(&style.text(self.name), columns.saturating_sub(beside).max(MIN_NAME_COLUMNS));
        let used = beside + crate::style::width(&name);
        let rest = style.cut(&rest, columns.saturating_sub(used));
        let state = style.paint(hue(status), &format!("{mark} {word}"));
        format!("{head}{} {state}{rest}", style.paint(Hue::Strong, &name))
    }
}

/// Its word says it all.
const fn status_is_quiet(status: heartbeat_status::Status) -> bool {
    matches!(status, heartbeat_status::Status::Stopping | heartbeat_status::Status::Stopped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::{Gate, Status};

    fn edge(from: &str, to: &str, kind: EdgeKind) -> GraphEdge {
        GraphEdge {
            from: from.into(),
            to: to.into(),
            kind: kind.into(),
            until: Gate::Up.into(),
            while_down: None,
        }
    }

    fn document(edges: Vec<GraphEdge>, names: &[&str]) -> GraphDocument {
        let node = |(order, name): (usize, &&str)| GraphNode {
            name: (*name).into(),
            tier: 1,
            order: u32::try_from(order).unwrap(),
            status: if *name == "postgres" { Status::Down } else { Status::Up }.into(),
            message: "connection refused".into(),
        };
        GraphDocument {
            schema: "heartbeat.graph/1".into(),
            revision: 1,
            generated_at: heartbeat_status::WallTime::default(),
            nodes: names.iter().enumerate().map(node).collect(),
            edges,
            start_order: names.iter().map(|name| (*name).into()).collect(),
        }
    }

    #[test]
    fn dependents_stand_above_what_they_need() {
        let edges = vec![
            edge("api", "postgres", EdgeKind::Needs),
            edge("api", "mail", EdgeKind::Wants),
            edge("worker", "api", EdgeKind::Needs),
            edge("web", "api", EdgeKind::Needs),
        ];
        let names = ["mail", "postgres", "api", "worker", "web", "alone"];
        let text = tree(&document(edges, &names), 80, Style::default());
        assert_eq!(
            text,
            "alone ● up\n\
             web ● up\n\
             └─ api ● up\n   \
                ├─ postgres ✗ down  connection refused\n   \
                └─ mail ● up [wants]\n\
             worker ● up\n\
             └─ api ● up  (see above)\n"
        );
    }

    #[test]
    fn a_long_chain_neither_overflows_the_stack_nor_the_screen() {
        let names: Vec<String> = (0..2_000).map(|n| format!("r{n}")).collect();
        let edges = names.windows(2).map(|pair| edge(&pair[1], &pair[0], EdgeKind::Needs)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(tree(&document(edges, &names), 80, Style::default()).lines().count(), 2_000);
    }
}
