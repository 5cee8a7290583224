//! Whether Kafka answers, and which topics it lacks.

use std::time::Duration;

use tokio::time::Instant;

use super::finding::Finding;
use super::in_time;
use crate::config::Config;
use crate::services::topics;

const CHECK: &str = "kafka";
/// Time that the brokers have to name their topics.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

pub async fn look(config: &Config, deadline: Instant) -> Finding {
    let brokers = &config.bus.brokers;
    if brokers.is_empty() {
        return Finding::not_asked(
            CHECK,
            "bus.brokers is not set, and no Kafka of our own runs here",
            "set bus.brokers, or start `wardstream up` or `wardstream services` in this folder",
        );
    }
    let asked = async { anyhow::Ok(bus::topics(&config.bus, ANSWER_WITHIN).await?) };
    let there = match in_time(deadline, asked).await {
        Ok(there) => there,
        Err(error) => {
            let advice =
                "start Kafka there, or set bus.brokers; where it is the one of `wardstream up` or `wardstream services`, start that again";
            return Finding::wrong(CHECK, format!("{brokers} does not answer: {error:#}"), advice);
        }
    };
    let missing: Vec<String> = topics::needed(config).into_iter().filter(|topic| !there.contains(topic)).collect();
    if missing.is_empty() {
        return Finding::ok(CHECK, format!("{brokers} answers and has the topics that are needed"));
    }
    Finding::wrong(CHECK, format!("{brokers} answers and lacks {}", missing.join(", ")), "`wardstream topics create` makes them")
}
