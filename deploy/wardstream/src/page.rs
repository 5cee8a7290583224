//! The page at `/`: whether the models hold, for the people who run them. HTML that needs neither scripts nor anything from elsewhere.
//!
//! It is made of what the views say, by one computation at a time, however many ask for it; each section stands or falls for itself.

mod alarms;
mod asking;
mod chart;
mod document;
mod facts;
mod feeds;
mod kept;
mod markup;
mod models;
mod tasks;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use anyhow::Context as _;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing::get};

use crate::services::{self, Services};
use kept::{Answer, Kept};

/// Nothing but the page's own style: no script, no picture, no frame, no form, from nowhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page of these services.
pub fn router(services: &Services) -> Router {
    let (warehouse, registry) = (services.warehouse.clone(), Arc::clone(&services.registry));
    let make = move || {
        let (warehouse, registry) = (warehouse.clone(), Arc::clone(&registry));
        async move {
            let champion = async { registry.champion().await.context("could not ask for the champion") };
            document::render(&asking::facts(&warehouse, champion, services::now).await)
        }
    };
    routed(Kept::new(make, services.tracker.clone(), services.stop.clone()))
}

fn routed(kept: Kept) -> Router {
    let kept = Arc::new(kept);
    Router::new().route("/", get(move || async move { response(kept.answer()) }))
}

fn response(answer: Answer) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    match answer {
        Answer::Fresh(page) => (headers, page).into_response(),
        Answer::Old(page) => {
            let mut response = (headers, page).into_response();
            // A newer one is being made.
            response.headers_mut().insert(header::REFRESH, HeaderValue::from_static("3"));
            response
        }
        Answer::Nothing => (headers, document::render_waiting()).into_response(),
    }
}
