//! `plan`: what a command or a failure would do. It changes nothing.

use heartbeat_client::Client;
use heartbeat_wire::{Action, PlanRequest};

use crate::act::{self, Leave};
use crate::args::{ActArgs, PlanTarget};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::reload;
use crate::select::names;
use crate::steps::effect_lines;

/// `plan WHAT REALM..`: that of a command is one plan for all of the realms, as the command itself would make it.
pub(crate) async fn run(
    client: &Client,
    target: PlanTarget,
    selectors: &[String],
    cascade: bool,
    console: &mut Console,
) -> Outcome {
    let action = match target {
        PlanTarget::Start => Action::Start,
        PlanTarget::Stop => Action::Stop,
        PlanTarget::Restart => Action::Restart,
        PlanTarget::Fail => return failures(client, selectors, console).await,
        PlanTarget::Reload if selectors.is_empty() => return reload::run(client, true, console).await,
        PlanTarget::Reload => return Err(Failure::new(Exit::Usage, "`plan reload` takes no realm")),
    };
    let args = ActArgs {
        realms: selectors.to_vec(),
        cascade,
        leave_dependents: false,
        lift_holds: false,
        dry_run: true,
        no_wait: false,
        reason: None,
    };
    act::run(client, action, &args, &Leave { yes: false, limit: None }, console).await
}

/// What the failure of each realm would mean to the others.
async fn failures(client: &Client, selectors: &[String], console: &mut Console) -> Outcome {
    for (at, realm) in names(client, selectors).await?.into_iter().enumerate() {
        let name = console.style.text(&realm);
        let request = PlanRequest { action: "fail".to_owned(), realm, cascade: false };
        let plan = client.plan(&request).await?;
        match console.form {
            Format::Json => console.json(&plan)?,
            Format::Ndjson => console.json_line(&plan)?,
            _ => {
                if at > 0 {
                    console.line("")?;
                }
                console.prose(&format!("if {name} fails:"), 2)?;
                let lines = effect_lines(&plan, console.style);
                lines.iter().try_for_each(|line| console.prose(line, 4))?;
                if let Some(message) = &plan.message {
                    console.prose(&console.style.text(message), 2)?;
                }
            }
        }
    }
    Ok(Exit::Holds)
}
