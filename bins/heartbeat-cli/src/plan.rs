//! `plan`: what a command or a failure would do. It changes nothing.

use heartbeat_client::Client;
use heartbeat_status::wire::PlanRequest;

use crate::args::PlanTarget;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::reload;
use crate::select::names;
use crate::steps::{effect_lines, is_refused, plan_lines, refused_lines};

/// `plan WHAT REALM..`: realm by realm, in the order in which the command would take them.
pub(crate) async fn run(
    client: &Client,
    target: PlanTarget,
    selectors: &[String],
    cascade: bool,
    console: &mut Console,
) -> Outcome {
    if target == PlanTarget::Reload {
        if !selectors.is_empty() {
            return Err(Failure::new(Exit::Usage, "`plan reload` takes no realm"));
        }
        return reload::run(client, true, console).await;
    }
    let mut realms = names(client, selectors, target != PlanTarget::Fail).await?;
    if target == PlanTarget::Stop {
        realms.reverse();
    }
    let mut exit = Exit::Holds;
    for (at, realm) in realms.iter().enumerate() {
        if at > 0 && !matches!(console.form, Format::Json | Format::Ndjson) {
            console.line("")?;
        }
        if one(client, target, realm, realms.len() > 1, cascade, console).await? == Exit::Refused {
            exit = Exit::Refused;
        }
    }
    Ok(exit)
}

async fn one(
    client: &Client,
    target: PlanTarget,
    realm: &str,
    is_one_of_several: bool,
    cascade: bool,
    console: &mut Console,
) -> Outcome {
    let request = PlanRequest { action: target.as_str().to_owned(), realm: realm.to_owned(), cascade };
    let plan = client.plan(&request).await?;
    let exit = if is_refused(&plan) { Exit::Refused } else { Exit::Holds };
    match console.form {
        Format::Json => console.json(&plan)?,
        Format::Ndjson => console.json_line(&plan)?,
        _ => {
            let style = console.style;
            let name = style.text(realm);
            if is_one_of_several && target != PlanTarget::Fail {
                console.line(&format!("{} {name}:", target.as_str()))?;
            }
            if exit == Exit::Refused {
                return refused_lines(&plan, style)
                    .iter()
                    .try_for_each(|line| console.prose(line, 2))
                    .map(|()| exit);
            }
            let lines = if target == PlanTarget::Fail {
                console.prose(&format!("if {name} fails:"), 2)?;
                effect_lines(&plan, style)
            } else {
                console.line("plan, nothing changed:")?;
                plan_lines(&plan, style)
            };
            lines.iter().try_for_each(|line| console.prose(line, 4))?;
            if let Some(message) = &plan.message {
                console.prose(&style.text(message), 2)?;
            }
        }
    }
    Ok(exit)
}
