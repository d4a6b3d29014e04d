//! A plan as sentences, as a table, and for programs.

use super::Planned;
use crate::{
    cli::PlanOutput,
    commands::get::{age, columns},
    manifests::API_VERSION,
};
use control_plane::Forecast;
use jiff::{SignedDuration, Timestamp};
use model::Explanation;
use serde_json::{Value, json};

/// As much of an id as a table shows; commands take it for the id.
const ID_LENGTH: usize = 8;

pub(super) fn render(planned: &[Planned], output: PlanOutput, now: Timestamp) -> String {
    match output {
        PlanOutput::Text => text(planned, now),
        PlanOutput::Table => table(planned),
        PlanOutput::Json => serde_json::to_string_pretty(&document(planned)).unwrap_or_default(),
        PlanOutput::Yaml => serde_saphyr::to_string(&document(planned))
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
            let environment = planned.environment.map(|id| id.to_string()[..ID_LENGTH].to_owned());
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

fn text(planned: &[Planned], now: Timestamp) -> String {
    let mut lines = Vec::new();
    for one in planned {
        let mut told: Vec<String> = one
            .forecasts
            .iter()
            .flat_map(|forecast| forecast_lines(forecast, now))
            .collect();
        // Of many, those about which there is something to say.
        if told.is_empty() && planned.len() > 1 {
            continue;
        }
        if told.is_empty() {
            told.push("  nothing would be done".to_owned());
        }
        lines.push(match one.environment {
            Some(id) => format!("environment {id}"),
            None => "the whole installation".to_owned(),
        });
        lines.append(&mut told);
        lines.push(String::new());
    }
    let changing = planned.iter().filter(|planned| planned.changes()).count();
    let environments = match planned.iter().filter(|planned| planned.environment.is_some()).count() {
        1 => "1 environment".to_owned(),
        many => format!("{many} environments"),
    };
    let count = effects(planned).count();
    lines.push(match (changing, count) {
        (0, 0) => format!("Nothing would be done about {environments}."),
        (0, _) => format!("There would only be a look: nothing would be changed about {environments}."),
        (_, 1) => format!("1 effect would follow, among {environments} and what they share. Nothing was done."),
        (_, _) => format!("{count} effects would follow, among {environments} and what they share. Nothing was done."),
    });
    lines.join("\n")
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
    }
    lines
}

fn document(planned: &[Planned]) -> Value {
    let items: Vec<Value> = effects(planned)
        .map(|(planned, forecast, effect)| {
            let mut item = json!({"environment": planned.environment, "reconciler": forecast.reconciler});
            if let (Some(fields), Ok(Value::Object(told))) = (item.as_object_mut(), serde_json::to_value(effect)) {
                fields.extend(told);
            }
            item
        })
        .collect();
    let forecasts = || {
        planned
            .iter()
            .flat_map(|planned| planned.forecasts.iter().map(move |forecast| (planned, forecast)))
    };
    let about =
        |planned: &Planned, forecast: &Forecast| json!({"environment": planned.environment, "reconciler": forecast.reconciler});
    let failures: Vec<Value> = forecasts()
        .filter_map(|(planned, forecast)| {
            let mut item = about(planned, forecast);
            item["failure"] = forecast.failure.as_ref()?.as_str().into();
            Some(item)
        })
        .collect();
    let waits: Vec<Value> = forecasts()
        .filter_map(|(planned, forecast)| {
            let mut item = about(planned, forecast);
            item["looks_again_in_seconds"] = forecast.looks_again_in?.as_secs().into();
            Some(item)
        })
        .collect();
    json!({
        "apiVersion": API_VERSION,
        "kind": "Plan",
        "changes": planned.iter().any(Planned::changes),
        "items": items,
        "failures": failures,
        "waits": waits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Cause, EnvironmentId};

    fn planned() -> Vec<Planned> {
        let forecast = |reconciler, effects: Vec<Explanation>| Forecast {
            reconciler,
            changes: effects.iter().any(|effect| effect.action != "Look"),
            effects,
            writes_status: true,
            looks_again_in: Some(SignedDuration::from_secs(7)),
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
        let of = |number: u128, forecasts| Planned {
            environment: Some(EnvironmentId(uuid::Uuid::from_u128(number << 96))),
            forecasts,
        };
        let quiet = Forecast {
            looks_again_in: None,
            ..forecast("environment", Vec::new())
        };
        vec![
            Planned {
                environment: None,
                forecasts: vec![quiet.clone()],
            },
            of(0x1c3a_af19, vec![forecast("environment", vec![create]), failed]),
            of(0x3ba1_ab2d, vec![forecast("environment", vec![look])]),
            of(0x6226_f25f, vec![quiet]),
        ]
    }

    #[test]
    fn a_plan_in_every_form() {
        let (planned, now) = (planned(), Timestamp::UNIX_EPOCH);
        let mut shown: Vec<String> = [PlanOutput::Text, PlanOutput::Table, PlanOutput::Json, PlanOutput::Yaml]
            .map(|output| format!("== {output:?}\n{}", render(&planned, output, now)))
            .into();
        shown.push(format!("== nothing\n{}", render(&planned[3..], PlanOutput::Text, now)));
        shown.push(format!("== looks only\n{}", render(&planned[2..], PlanOutput::Text, now)));
        insta::assert_snapshot!(shown.join("\n\n"));
    }
}
