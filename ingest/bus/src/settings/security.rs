//! Whether properties of TLS and SASL fit together. librdkafka says no or, worse, nothing: a password without a protocol that
//! sends it is ignored, and the broker's refusal names no cause.

use std::collections::BTreeMap;
use std::path::Path;

use super::property::refused;
use crate::BusError;

/// Each property that names a file which must be readable.
const FILES: [&str; 6] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
    "sasl.oauthbearer.assertion.private.key.file",
];

/// Refuses what cannot work, with what to do.
pub(super) fn check(properties: &BTreeMap<String, String>) -> Result<(), BusError> {
    let settings = Security(properties);
    settings.protocol()?;
    settings.tls()?;
    settings.sasl()
}

struct Security<'a>(&'a BTreeMap<String, String>);

impl Security<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !value.is_empty())
    }

    fn any(&self, prefix: &str) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|key| key.starts_with(prefix))
    }

    fn speaks(&self, what: &str) -> bool {
        self.get("security.protocol").is_some_and(|protocol| protocol.to_ascii_lowercase().contains(what))
    }

    fn protocol(&self) -> Result<(), BusError> {
        let Some(protocol) = self.get("security.protocol") else { return Ok(()) };
        if ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"].contains(&protocol.to_ascii_lowercase().as_str()) {
            return Ok(());
        }
        Err(refused("security.protocol", "it is none of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL"))
    }

    fn tls(&self) -> Result<(), BusError> {
        if let Some(key) = self.any("ssl.").filter(|_| !self.speaks("ssl")) {
            return Err(refused(
                key,
                "it is set, but security.protocol says to speak without TLS; set security.protocol to SSL or SASL_SSL",
            ));
        }
        let certificate = self.has("ssl.certificate.location") || self.has("ssl.certificate.pem");
        let key = self.has("ssl.key.location") || self.has("ssl.key.pem");
        match (certificate, key) {
            (true, false) => return Err(refused("ssl.key.location", "it is missing; a client certificate is of no use without its key")),
            (false, true) => {
                return Err(refused("ssl.certificate.location", "it is missing; a key is of no use without its client certificate"));
            }
            _ => {}
        }
        for key in FILES {
            let Some(file) = self.get(key).filter(|file| !(file.is_empty() || (key == "ssl.ca.location" && *file == "probe"))) else {
                continue;
            };
            if let Err(error) = std::fs::metadata(Path::new(file)) {
                return Err(refused(key, format!("{file} cannot be read: {}", error.kind())));
            }
        }
        Ok(())
    }

    fn sasl(&self) -> Result<(), BusError> {
        if !self.speaks("sasl") {
            return match self.any("sasl.") {
                Some(key) => Err(refused(
                    key,
                    "it is set, but security.protocol says to speak without SASL; set security.protocol to SASL_SSL (or SASL_PLAINTEXT)",
                )),
                None => Ok(()),
            };
        }
        let mechanism = self.get("sasl.mechanism").or_else(|| self.get("sasl.mechanisms")).unwrap_or_default();
        match mechanism {
            "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => self.password(mechanism),
            "OAUTHBEARER" => self.oauthbearer(),
            "" => Err(refused("sasl.mechanism", "it is missing; set it to PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")),
            "GSSAPI" => Err(refused("sasl.mechanism", "GSSAPI (Kerberos) is not built in; use SCRAM-SHA-512 or OAUTHBEARER")),
            _ => Err(refused("sasl.mechanism", "it is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER")),
        }
    }

    fn password(&self, mechanism: &str) -> Result<(), BusError> {
        match ["sasl.username", "sasl.password"].into_iter().find(|key| !self.has(key)) {
            Some(key) => Err(refused(key, format!("it is missing; {mechanism} needs a name and a password"))),
            None => Ok(()),
        }
    }

    fn oauthbearer(&self) -> Result<(), BusError> {
        if self.get("enable.sasl.oauthbearer.unsecure.jwt") == Some("true") {
            return Ok(());
        }
        if self.get("sasl.oauthbearer.method").map(str::to_ascii_lowercase).as_deref() != Some("oidc") {
            return Err(refused("sasl.oauthbearer.method", "set it to oidc: tokens are fetched from an OpenID Connect provider"));
        }
        // A cloud's metadata service needs no client of ours.
        if self.has("sasl.oauthbearer.metadata.authentication.type") {
            return Ok(());
        }
        let signs = self.get("sasl.oauthbearer.grant.type").is_some_and(|grant| grant.ends_with("jwt-bearer"));
        let needed: &[&str] = if signs {
            &["sasl.oauthbearer.token.endpoint.url"]
        } else {
            &["sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret"]
        };
        match needed.iter().find(|key| !self.has(key) && !self.has(&key.replace("client.", "client.credentials.client."))) {
            Some(key) => Err(refused(key, "it is missing; OAUTHBEARER by OIDC fetches its tokens with it")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about these properties; nothing where they fit together.
    fn said(pairs: &[(&str, &str)]) -> String {
        let properties = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        check(&properties).err().map(|error| error.to_string()).unwrap_or_default()
    }

    const SASL_SSL: (&str, &str) = ("security.protocol", "sasl_ssl");

    #[test]
    fn what_fits_together_is_let_through() {
        assert_eq!(said(&[]), "");
        assert_eq!(said(&[("security.protocol", "SSL"), ("ssl.ca.location", "/"), ("ssl.key.password", "x")]), "");
        assert_eq!(said(&[("security.protocol", "ssl"), ("ssl.ca.location", "probe")]), "");
        assert_eq!(said(&[SASL_SSL, ("sasl.mechanisms", "PLAIN"), ("sasl.username", "u"), ("sasl.password", "p")]), "");
        let oidc = [
            SASL_SSL,
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "OIDC"),
            ("sasl.oauthbearer.token.endpoint.url", "https://idp/token"),
            ("sasl.oauthbearer.client.id", "ward"),
            ("sasl.oauthbearer.client.secret", "s"),
        ];
        assert_eq!(said(&oidc), "");
    }

    /// Such a password would never be sent, and the broker's refusal would name no cause.
    #[test]
    fn a_password_without_a_protocol_that_sends_it_is_refused() {
        let text = said(&[("sasl.mechanism", "PLAIN"), ("sasl.password", "hunter2")]);
        assert!(text.contains("set security.protocol to SASL_SSL") && !text.contains("hunter2"), "{text}");
        assert!(said(&[("security.protocol", "ssl"), ("sasl.password", "x")]).contains("SASL_SSL"));
        assert!(said(&[("ssl.ca.location", "/")]).contains("set security.protocol to SSL"));
        assert!(said(&[("security.protocol", "tls")]).contains("none of PLAINTEXT"));
    }

    #[test]
    fn what_a_mechanism_needs_is_asked_for_by_name() {
        assert!(said(&[SASL_SSL]).contains("sasl.mechanism"));
        assert!(said(&[SASL_SSL, ("sasl.mechanism", "GSSAPI")]).contains("not built in"));
        assert!(said(&[SASL_SSL, ("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.username", "u")]).contains("sasl.password"));
        assert!(said(&[SASL_SSL, ("sasl.mechanism", "OAUTHBEARER")]).contains("set it to oidc"));
        let text = said(&[SASL_SSL, ("sasl.mechanism", "OAUTHBEARER"), ("sasl.oauthbearer.method", "oidc")]);
        assert!(text.contains("sasl.oauthbearer.token.endpoint.url"), "{text}");
    }

    #[test]
    fn a_certificate_needs_its_key_and_files_must_be_there() {
        assert!(said(&[("security.protocol", "ssl"), ("ssl.certificate.location", "/")]).contains("ssl.key.location"));
        assert!(said(&[("security.protocol", "ssl"), ("ssl.key.location", "/")]).contains("ssl.certificate.location"));
        assert!(said(&[("security.protocol", "ssl"), ("ssl.ca.location", "/no/such/file")]).contains("/no/such/file cannot be read"));
    }
}
