//! A plan as sentences, as a table, and for programs.

use super::{About, Planned, Plans};
use crate::{
    cli::PlanOutput,
    commands::get::{age, columns},
    manifests::API_VERSION,
};
use control_plane::Forecast;
use jiff::{SignedDuration, Timestamp};
use model::{EnvironmentId, Explanation};
use serde_json::{Value, json};

/// As much of an id as a table shows; commands take it for the id.
const ID_LENGTH: usize = 8;

pub(super) fn render(plans: &Plans, output: PlanOutput, now: Timestamp) -> String {
    match output {
        PlanOutput::Text => text(plans, now),
        PlanOutput::Table => table(&plans.planned),
        PlanOutput::Json => serde_json::to_string_pretty(&document(plans)).unwrap_or_default(),
        PlanOutput::Yaml => serde_saphyr::to_string(&document(plans))
            .unwrap_or_default()
            .trim_end()
            .to_owned(),
    }
}

/// Each effect with what it belongs to.
fn effects(planned: &[Planned]) -> impl Iterator<Item = (&Planned, &Forecast, &Explanation)> {
    planned.iter().flat_map(|planned| {
        let forecasts = planned.forecasts.iter();
        forecasts.flat_map(move |forecast| forecast.effects.iter().map(move |effect| (planned, forecast, effect)))
    })
}

fn table(planned: &[Planned]) -> String {
    let rows: Vec<Vec<String>> = effects(planned)
        .map(|(planned, forecast, effect)| {
            let environment = planned.about.environment().map(|id| id.to_string()[..ID_LENGTH].to_owned());
            vec![
                environment.unwrap_or_else(|| "-".to_owned()),
                forecast.reconciler.to_owned(),
                effect.action.to_owned(),
                effect.object.clone(),
                effect.message.clone(),
                effect.cause.to_string(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "nothing would be done".to_owned();
    }
    let titles: &[&str] = &["ENVIRONMENT", "RECONCILER", "ACTION", "OBJECT", "WHAT", "CAUSE"];
    columns(Some(titles), rows)
}

fn text(plans: &Plans, now: Timestamp) -> String {
    let mut blocks = Vec::new();
    if !plans.withheld.is_empty() {
        let reasons: Vec<String> = plans.withheld.iter().map(|reason| format!("  {reason}")).collect();
        blocks.push(block("withheld", &reasons));
    }
    for one in &plans.planned {
        let told = one.forecasts.iter().flat_map(|forecast| forecast_lines(forecast, now));
        let mut told: Vec<String> = told.collect();
        // Of many, those about which there is something to say.
        if told.is_empty() && plans.planned.len() > 1 {
            continue;
        }
        if told.is_empty() {
            told.push("  nothing would be done".to_owned());
        }
        blocks.push(block(&one.about.title(), &told));
    }
    blocks.push(summary(plans));
    blocks.join("\n\n")
}

fn block(title: &str, lines: &[String]) -> String {
    format!("{title}\n{}", lines.join("\n"))
}

/// How much there is to do, in one sentence.
fn summary(plans: &Plans) -> String {
    let count = |is: fn(&About) -> bool| plans.planned.iter().filter(|planned| is(&planned.about)).count();
    let environments = match count(|about| matches!(about, About::Environment(_))) {
        1 => "1 environment".to_owned(),
        many => format!("{many} environments"),
    };
    let among = match count(|about| matches!(about, About::Orphan(_))) {
        0 => environments,
        orphans => format!("{environments} on record, {orphans} not on record"),
    };
    match (plans.changes(), effects(&plans.planned).count()) {
        (false, 0) => format!("Nothing would be done about {among}."),
        (false, _) => format!("There would only be a look: nothing would be changed about {among}."),
        (true, 1) => format!("1 effect would follow, among {among}, and what they share. Nothing was done."),
        (true, many) => format!("{many} effects would follow, among {among}, and what they share. Nothing was done."),
    }
}

impl About {
    fn environment(self) -> Option<EnvironmentId> {
        match self {
            Self::Installation => None,
            Self::Environment(id) | Self::Orphan(id) => Some(id),
        }
    }

    fn title(self) -> String {
        match self {
            Self::Installation => "the whole installation".to_owned(),
            Self::Environment(id) => format!("environment {id}"),
            Self::Orphan(id) => format!("environment {id}, which is not on record"),
        }
    }
}

fn forecast_lines(forecast: &Forecast, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for effect in &forecast.effects {
        lines.push(format!("  {}: {} ({})", effect.action, effect.message, effect.object));
        lines.push(format!("    because: {}", effect.cause));
    }
    if let Some(failure) = &forecast.failure {
        lines.push(format!("  {}: not known: {failure}", forecast.reconciler));
    }
    let waits = forecast.looks_again_in.filter(SignedDuration::is_positive);
    if let Some(at) = waits.and_then(|pause| now.checked_add(pause).ok()) {
        lines.push(format!("  {}: looks again in {}", forecast.reconciler, age(now, at)));
        lines.extend(forecast.waits_for.iter().map(|what| format!("    waits for: {what}")));
    }
    lines
}

fn document(plans: &Plans) -> Value {
    let forecasts = || {
        let planned = plans.planned.iter();
        planned.flat_map(|planned| planned.forecasts.iter().map(move |forecast| (planned.about, forecast)))
    };
    let about = |about: About, forecast: &Forecast| {
        let mut item = json!({"environment": about.environment(), "reconciler": forecast.reconciler});
        if let About::Orphan(_) = about {
            item["orphan"] = true.into();
        }
        item
    };
    let items = effects(&plans.planned).map(|(planned, forecast, effect)| {
        let mut item = about(planned.about, forecast);
        if let (Some(fields), Ok(Value::Object(told))) = (item.as_object_mut(), serde_json::to_value(effect)) {
            fields.extend(told);
        }
        item
    });
    let failures = forecasts().filter_map(|(what, forecast)| {
        let mut item = about(what, forecast);
        item["failure"] = forecast.failure.as_ref()?.as_str().into();
        Some(item)
    });
    let waits = forecasts().filter_map(|(what, forecast)| {
        let mut item = about(what, forecast);
        item["looks_again_in_seconds"] = forecast.looks_again_in?.as_secs().into();
        if let Some(what) = &forecast.waits_for {
            item["waits_for"] = what.as_str().into();
        }
        Some(item)
    });
    json!({
        "apiVersion": API_VERSION,
        "kind": "Plan",
        "changes": plans.changes(),
        "items": items.collect::<Vec<_>>(),
        "failures": failures.collect::<Vec<_>>(),
        "waits": waits.collect::<Vec<_>>(),
        "withheld": plans.withheld,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Cause;

    fn plans() -> Plans {
        let forecast = |reconciler, effects: Vec<Explanation>| Forecast {
            reconciler,
            changes: effects.iter().any(|effect| effect.action != "Look"),
            effects,
            writes_status: true,
            looks_again_in: Some(SignedDuration::from_secs(7)),
            waits_for: None,
            failure: None,
        };
        let create = Explanation {
            action: "CreateDroplet",
            object: "droplet".to_owned(),
            message: "the announced droplet is created".to_owned(),
            cause: Cause::specification("desired_state", 1),
        };
        let look = Explanation {
            action: "Look",
            object: "droplets".to_owned(),
            message: "the environment's droplets are read".to_owned(),
            cause: Cause::observation("what is known of them is too old"),
        };
        let failed = Forecast {
            failure: Some("Unavailable: droplet_list: 503".to_owned()),
            looks_again_in: None,
            ..forecast("firewall", Vec::new())
        };
        let delete = Explanation {
            action: "DeleteDroplet",
            object: "droplet 17".to_owned(),
            message: "droplet 17 is destroyed".to_owned(),
            cause: Cause::observation("its environment is not on record"),
        };
        let waiting = Forecast {
            waits_for: Some("Withheld: 3 of 9 droplets are missing".to_owned()),
            ..forecast("environment", Vec::new())
        };
        let id = |number: u128| EnvironmentId(uuid::Uuid::from_u128(number << 96));
        let of = |number, forecasts| Planned {
            about: About::Environment(id(number)),
            forecasts,
        };
        let quiet = Forecast {
            looks_again_in: None,
            ..forecast("environment", Vec::new())
        };
        let planned = vec![
            Planned {
                about: About::Installation,
                forecasts: vec![quiet.clone()],
            },
            of(0x1c3a_af19, vec![forecast("environment", vec![create]), failed]),
            of(0x3ba1_ab2d, vec![forecast("environment", vec![look])]),
            of(0x5d18_01c4, vec![waiting]),
            of(0x6226_f25f, vec![quiet]),
            Planned {
                about: About::Orphan(id(0x7e40_21d9)),
                forecasts: vec![forecast("orphan", vec![delete])],
            },
        ];
        Plans {
            planned,
            withheld: vec!["3 of 9 droplets are missing from the list of 11:02:13".to_owned()],
        }
    }

    /// One of them alone, as if it had been asked for by its name.
    fn alone(mut plans: Plans, index: usize) -> Plans {
        Plans {
            planned: vec![plans.planned.swap_remove(index)],
            withheld: Vec::new(),
        }
    }

    #[test]
    fn a_plan_in_every_form() {
        let now = Timestamp::UNIX_EPOCH;
        let mut shown: Vec<String> = [PlanOutput::Text, PlanOutput::Table, PlanOutput::Json, PlanOutput::Yaml]
            .map(|output| format!("== {output:?}\n{}", render(&plans(), output, now)))
            .into();
        shown.push(format!("== nothing\n{}", render(&alone(plans(), 4), PlanOutput::Text, now)));
        shown.push(format!(
            "== looks only\n{}",
            render(&alone(plans(), 2), PlanOutput::Text, now)
        ));
        insta::assert_snapshot!(shown.join("\n\n"));
    }
}
