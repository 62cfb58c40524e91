//! The configuration file: one YAML mapping whose keys are the names of the flags.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::layer::{Given, Layers, Origin, SettingsError, find, unknown_key};

impl Layers {
    /// Offers what a configuration file says.
    pub fn offer_file(&mut self, path: &str, text: &str) -> Vec<SettingsError> {
        // `off` is a word of ours; to YAML 1.1 it would be a boolean.
        let options = serde_saphyr::options! { strict_booleans: true };
        let entries = serde_saphyr::from_str_with_options::<Option<Entries>>(text, options);
        let entries = match entries {
            Ok(entries) => entries.unwrap_or_default(),
            Err(error) => {
                let error = error.without_snippet().to_string();
                return vec![SettingsError::new(format!("{path}: {error}"))];
            }
        };
        let mut errors = Vec::new();
        for (key, texts) in entries.0 {
            let line = key.referenced.line();
            match find(&key.value) {
                Some(setting) => {
                    let origin = Origin::File { path: path.to_owned(), line };
                    self.offer(setting, Given { texts: texts.0, origin });
                }
                None => errors.push(unknown_key(path, line, &key.value)),
            }
        }
        errors
    }
}

/// The mapping, in order.
#[derive(Default)]
struct Entries(Vec<(Spanned<String>, Texts)>);

/// A scalar, or a list of scalars.
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Mapping;

        impl<'de> Visitor<'de> for Mapping {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of settings, such as `drain-timeout: 10s`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Mapping)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarOrList;

        impl<'de> Visitor<'de> for ScalarOrList {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or a list of values")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_string()]))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_string()]))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_string()]))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_string()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(Texts(mut one)) = list.next_element()? {
                    texts.append(&mut one);
                }
                Ok(Texts(texts))
            }
        }

        deserializer.deserialize_any(ScalarOrList)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Layers, Vec<SettingsError>) {
        let mut layers = Layers::default();
        let errors = layers.offer_file("portcullis.yaml", text);
        (layers, errors)
    }

    #[test]
    fn scalars_and_lists_are_read_as_text() {
        let (layers, errors) = read(
            "# comment\nhttp: [127.0.0.1:8080, '[::1]:8080']\ndrain-timeout: 5s\nworkers: 2\n\
             watch-ingress-without-class: true\nmanifests: /etc/ingress\nhttps: off\n",
        );
        assert_eq!(errors, []);
        let texts = |name: &str| layers.get(find(name).unwrap()).texts;
        assert_eq!(texts("http"), ["127.0.0.1:8080", "[::1]:8080"]);
        assert_eq!(texts("drain-timeout"), ["5s"]);
        assert_eq!(texts("workers"), ["2"]);
        assert_eq!(texts("watch-ingress-without-class"), ["true"]);
        assert_eq!(texts("manifests"), ["/etc/ingress"]);
        assert_eq!(texts("https"), ["off"]);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_setting() {
        let (_, errors) = read("http: 127.0.0.1:8080\ndrain_timout: 5s\nhead_timeout: 5s\n");
        assert_eq!(errors[0].message, "portcullis.yaml:2: unknown setting `drain_timout`");
        assert_eq!(errors[0].help.as_deref(), Some("did you mean `drain-timeout`?"));
        assert_eq!(errors[1].message, "portcullis.yaml:3: unknown setting `head_timeout`");
        assert_eq!(errors[1].help.as_deref(), Some("did you mean `request-head-timeout`?"));
    }

    #[test]
    fn an_empty_file_says_nothing() {
        for text in ["", "# nothing\n", "---\n"] {
            let (_, errors) = read(text);
            assert_eq!(errors, [], "{text:?}");
        }
    }

    #[test]
    fn broken_yaml_repeated_keys_and_nested_mappings_are_errors() {
        for text in
            ["http: [", "http: 127.0.0.1:1\nhttp: 127.0.0.1:2\n", "http:\n  a: b\n", "- a\n"]
        {
            let (_, errors) = read(text);
            assert_eq!(errors.len(), 1, "{text:?}");
            assert!(errors[0].message.starts_with("portcullis.yaml"), "{:?}", errors[0]);
        }
    }
}
