//! SIGHUP: the settings are read anew, and the listeners become what they say.
//!
//! Everything else was settled at the start; where it changed, the log says that it takes a
//! restart.

use super::Gateway;
use crate::settings::{Settings, SettingsError};

/// Applies what was read; mistakes leave everything as it is.
pub(super) fn apply(
    gateway: &mut Gateway,
    settings: &mut Settings,
    read: Result<Settings, Vec<SettingsError>>,
) {
    let read = match read {
        Ok(read) => read,
        Err(errors) => {
            for error in errors {
                tracing::error!(help = error.help, "settings left as they are: {}", error.message);
            }
            return;
        }
    };
    if needs_restart(settings, &read) {
        tracing::warn!("settings other than listeners have changed; they take effect at a restart");
    }
    let next = with_listeners_of(settings, &read);
    if next == *settings {
        tracing::info!("settings read anew: the listeners are the same");
        return;
    }
    match gateway.replace_listeners(&next) {
        Ok(()) => {
            *settings = next;
            tracing::info!("settings read anew: the listeners change");
        }
        Err(error) => tracing::error!(%error, "listeners left as they are"),
    }
}

/// The settings of the process with the listeners of others.
fn with_listeners_of(settings: &Settings, others: &Settings) -> Settings {
    Settings {
        http: others.http.clone(),
        https: others.https.clone(),
        public_http_port: others.public_http_port,
        public_https_port: others.public_https_port,
        ..settings.clone()
    }
}

/// Whether anything but listeners differs.
fn needs_restart(settings: &Settings, read: &Settings) -> bool {
    with_listeners_of(settings, read) != *read
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::value::OrOff;

    #[test]
    fn listeners_alone_need_no_restart() {
        let settings = Settings::defaults();
        let listeners = Settings { http: vec![OrOff::Off], ..settings.clone() };
        assert!(!needs_restart(&settings, &listeners));
        let more = Settings { retry_reused: false, ..listeners };
        assert!(needs_restart(&settings, &more));
        assert!(with_listeners_of(&settings, &more).retry_reused);
    }
}
