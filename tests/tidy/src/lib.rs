//! What the tidy tests read: the files of the repository and the manifests of its crates. It judges nothing; the tests do.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// One file of the repository.
pub struct SourceFile {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// Its text; empty if it is not UTF-8.
    pub text: String,
}

/// One crate of the workspace.
pub struct Manifest {
    /// Package name.
    pub name: String,
    /// What it depends on outside of its tests, sorted.
    pub dependencies: Vec<String>,
}

/// The repository's root.
pub fn root() -> PathBuf {
    // Cargo runs the tests of a crate in its folder. A path compiled in may be that of another clone with the same target folder.
    PathBuf::from("../..")
}

/// The names that stand at the top level, dotfiles and the build's output left out, sorted.
pub fn top_level() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "target" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Every file of the repository but dotfiles and the build's output, sorted by path.
pub fn files() -> io::Result<Vec<SourceFile>> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The crates of the workspace, sorted by name.
pub fn manifests() -> io::Result<Vec<Manifest>> {
    let mut found: Vec<Manifest> =
        files()?.iter().filter(|file| file.path.ends_with("/Cargo.toml")).filter_map(|file| manifest(&file.text)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Each crate's arrows to crates of ours, and each heavy dependency's homes, as the golden shows them.
pub fn graph(manifests: &[Manifest], heavy: &[&str]) -> String {
    let ours = |name: &&String| manifests.iter().any(|manifest| manifest.name == **name);
    let mut lines = Vec::new();
    for manifest in manifests {
        let arrows: Vec<&str> = manifest.dependencies.iter().filter(ours).map(String::as_str).collect();
        lines.push(format!("{} -> {}", manifest.name, arrows.join(", ")).trim_end().to_owned());
    }
    lines.push(String::new());
    for (dependency, homes) in homes(manifests, heavy) {
        lines.push(format!("{dependency} in {}", homes.join(", ")).trim_end().to_owned());
    }
    lines.join("\n") + "\n"
}

/// Which crates depend on each of these.
pub fn homes<'a>(manifests: &'a [Manifest], heavy: &[&'a str]) -> BTreeMap<&'a str, Vec<&'a str>> {
    let home = |dependency: &str| {
        let those = manifests.iter().filter(|manifest| manifest.dependencies.iter().any(|name| name == dependency));
        those.map(|manifest| manifest.name.as_str()).collect()
    };
    heavy.iter().map(|dependency| (*dependency, home(dependency))).collect()
}

fn manifest(text: &str) -> Option<Manifest> {
    let table: toml::Table = text.parse().ok()?;
    let name = table.get("package")?.get("name")?.as_str()?.to_owned();
    let mut dependencies: Vec<String> =
        table.get("dependencies").and_then(toml::Value::as_table).map(|all| all.keys().cloned().collect()).unwrap_or_default();
    dependencies.sort();
    Some(Manifest { name, dependencies })
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<SourceFile>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || (prefix.is_empty() && name == "target") {
            continue;
        }
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &path, found)?;
        } else {
            found.push(SourceFile { text: std::fs::read_to_string(entry.path()).unwrap_or_default(), path });
        }
    }
    Ok(())
}
