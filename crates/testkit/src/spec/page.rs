//! A page: Markdown whose code blocks are manifests, settings, requests and expectations.
//!
//! What stands before the first `##` is the world of the whole page; each `##` section is a scene
//! in that world with what it adds. Blocks of other languages are prose.

use super::request::{Request, parse_requests};

/// One page of `spec/`.
#[derive(Debug)]
pub struct Page {
    /// Its path without `.md`, such as `annotations/rewrite-target`.
    pub name: String,
    /// Its scenes that expect something.
    pub scenes: Vec<Scene>,
}

/// One section: a world, and what is expected of it.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The heading.
    pub title: String,
    /// The line of the heading.
    pub line: usize,
    /// Manifests, each one YAML text.
    pub manifests: Vec<String>,
    /// `[NAMESPACE/]NAME[:PORT] [APP-PROTOCOL]`: Services to make, each with an endpoint.
    pub services: Vec<String>,
    /// `NAMESPACE/NAME: HOST, HOST`: Secrets to make, with valid certificates.
    pub certificates: Vec<String>,
    /// Flags of `portcullis run`.
    pub settings: Vec<String>,
    /// Requests and what they are answered.
    pub requests: Vec<Request>,
    /// All errors and warnings that are reported, and any infos that are listed.
    pub diagnostics: Vec<DiagnosticLine>,
    /// Questions to `portcullis explain`, and parts of its answer.
    pub explains: Vec<Explain>,
}

/// `severity[code] Kind namespace/name field: part of the message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiagnosticLine {
    /// `severity[code] Kind namespace/name field`.
    pub head: String,
    /// What the message has to contain; may be empty.
    pub part: String,
    /// Where it stands in the page.
    pub line: usize,
}

/// A question to `portcullis explain`.
#[derive(Clone, Debug)]
pub struct Explain {
    /// The arguments: flags and URL.
    pub arguments: Vec<String>,
    /// Parts of the answer, in this order.
    pub parts: Vec<String>,
    /// Where it stands in the page.
    pub line: usize,
}

/// A block of code: its language, the line after its fence, its text.
struct Block {
    language: String,
    line: usize,
    text: String,
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// What cannot be read, with the name of the page and the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut lead = Scene::default();
        let mut scenes: Vec<Scene> = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let at = index + 1;
            if let Some(title) = line.strip_prefix("# ").filter(|_| scenes.is_empty()) {
                title.trim().clone_into(&mut lead.title);
                lead.line = at;
            } else if line.starts_with("##") {
                let title = line.trim_start_matches('#').trim().to_owned();
                scenes.push(Scene { title, line: at, ..Scene::default() });
            } else if let Some(language) = line.strip_prefix("```") {
                let mut block = Block {
                    language: language.trim().to_owned(),
                    line: at + 1,
                    text: String::new(),
                };
                let is_closed = lines.by_ref().any(|(_, line)| {
                    let is_end = line.starts_with("```");
                    if !is_end {
                        block.text.push_str(line);
                        block.text.push('\n');
                    }
                    is_end
                });
                if !is_closed {
                    return Err(format!("{name}.md:{at}: the block is not closed"));
                }
                let scene = scenes.last_mut().unwrap_or(&mut lead);
                scene.take(&block).map_err(|why| format!("{name}.md:{why}"))?;
            }
        }
        Ok(Self { name: name.to_owned(), scenes: in_the_world_of(lead, scenes) })
    }
}

/// Gives each scene the world of the page; leaves out scenes that expect nothing.
fn in_the_world_of(lead: Scene, scenes: Vec<Scene>) -> Vec<Scene> {
    let mut whole = Vec::new();
    for mut scene in scenes {
        let joined = |ours: &[String], theirs: &[String]| [ours, theirs].concat();
        scene.manifests = joined(&lead.manifests, &scene.manifests);
        scene.services = joined(&lead.services, &scene.services);
        scene.certificates = joined(&lead.certificates, &scene.certificates);
        scene.settings = joined(&lead.settings, &scene.settings);
        scene.diagnostics = [lead.diagnostics.clone(), scene.diagnostics].concat();
        if scene.expects_something() {
            whole.push(scene);
        }
    }
    if !lead.requests.is_empty() || (whole.is_empty() && lead.expects_something()) {
        whole.insert(0, lead);
    }
    whole
}

impl Scene {
    fn expects_something(&self) -> bool {
        !self.requests.is_empty() || !self.diagnostics.is_empty() || !self.explains.is_empty()
    }

    fn take(&mut self, block: &Block) -> Result<(), String> {
        match block.language.as_str() {
            "yaml" => self.manifests.push(block.text.clone()),
            "services" => self.services.extend(entries(&block.text, &[',', '\n'])),
            "certificates" => self.certificates.extend(entries(&block.text, &['\n'])),
            "settings" => {
                self.settings.extend(block.text.split_whitespace().map(ToOwned::to_owned));
            }
            "http" => self.requests.extend(parse_requests(&block.text, block.line)?),
            "diagnostic" => {
                for (offset, line) in block.text.lines().enumerate() {
                    if !line.trim().is_empty() {
                        self.diagnostics.push(diagnostic(line.trim(), block.line + offset)?);
                    }
                }
            }
            "explain" => self.explains.push(explain(block)?),
            "" => return Err(format!("{}: a block without a language", block.line - 1)),
            _ => {}
        }
        Ok(())
    }
}

fn entries(text: &str, separators: &[char]) -> Vec<String> {
    text.split(separators)
        .map(str::trim)
        .filter(|entry| !entry.is_empty() && !entry.starts_with('#'))
        .map(ToOwned::to_owned)
        .collect()
}

fn diagnostic(text: &str, line: usize) -> Result<DiagnosticLine, String> {
    let (head, part) = text.split_once(": ").unwrap_or((text, ""));
    let is_known = ["error[", "warning[", "info["].iter().any(|start| head.starts_with(start));
    if !is_known || !head.contains("] ") {
        return Err(format!("{line}: a diagnostic is `severity[code] Kind namespace/name field`"));
    }
    Ok(DiagnosticLine { head: head.to_owned(), part: part.to_owned(), line })
}

fn explain(block: &Block) -> Result<Explain, String> {
    let mut lines = block.text.lines().filter(|line| !line.trim().is_empty());
    let Some(question) = lines.next() else {
        return Err(format!("{}: an explain block asks in its first line", block.line));
    };
    Ok(Explain {
        arguments: question.split_whitespace().map(ToOwned::to_owned).collect(),
        parts: lines.map(|line| line.trim().to_owned()).collect(),
        line: block.line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Hosts\nProse.\n```services\na, b:8080\n```\n## One\n```yaml\nkind: X\n```\n\
        ```http\nGET http://a/ → 200 a\n```\n## Nothing expected\n## Two\n\
        ```diagnostic\nwarning[x] Ingress default/a spec.rules[0]: no such\n```\n";

    #[test]
    fn each_section_is_a_scene_in_the_world_of_the_page() {
        let page = Page::parse("hosts", PAGE).unwrap();
        let titles: Vec<&str> = page.scenes.iter().map(|scene| scene.title.as_str()).collect();
        assert_eq!(titles, ["One", "Two"]);
        assert_eq!(page.scenes[1].services, ["a", "b:8080"]);
        assert_eq!(page.scenes[0].manifests, ["kind: X\n"]);
        let diagnostic = &page.scenes[1].diagnostics[0];
        assert_eq!(diagnostic.head, "warning[x] Ingress default/a spec.rules[0]");
        assert_eq!((diagnostic.part.as_str(), diagnostic.line), ("no such", 16));
    }

    #[test]
    fn a_page_that_cannot_be_read_says_where() {
        let error = Page::parse("x", "# X\n## Y\n```http\nGET http://a/\n```\n").unwrap_err();
        assert!(error.starts_with("x.md:4: "), "{error}");
        assert!(Page::parse("x", "```yaml\n").unwrap_err().contains("not closed"));
    }
}
