//! Writes the modules in which the comparisons of `bindings/` meet the code: `shipped.rs` the libraries' own, of which
//! `comparisons.rs` is a table, and `mutants.rs` a copy of each file of decisions for each of its mutants in `mutants/code/`. A substitution that does
//! not apply exactly once stops the build, and so does a mutant that does not compile: neither is a kill.
//! A file names what it uses of its library by `crate::`, for which a copy says the library's name.

#![allow(clippy::panic, reason = "a panic is how a build script refuses")]

use serde::Deserialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A file of decisions.
struct Code {
    /// Its name in `bindings/` and `mutants/code/`.
    name: &'static str,
    /// The file.
    file: &'static str,
    /// The library that it belongs to, and its path there.
    library: &'static str,
    module: &'static str,
}

const CODE: [Code; 12] = [
    Code {
        name: "lifecycle",
        file: "runtime/src/lifecycle.rs",
        library: "nucleus_runtime",
        module: "lifecycle",
    },
    Code {
        name: "protocol",
        file: "runtime/src/protocol.rs",
        library: "nucleus_runtime",
        module: "protocol",
    },
    Code {
        name: "order",
        file: "runtime/src/plan/order.rs",
        library: "nucleus_runtime",
        module: "plan::order",
    },
    Code {
        name: "tree",
        file: "runtime/src/plan/tree.rs",
        library: "nucleus_runtime",
        module: "plan::tree",
    },
    Code {
        name: "lookup",
        file: "runtime/src/rootfs/lookup.rs",
        library: "nucleus_runtime",
        module: "rootfs::lookup",
    },
    Code {
        name: "mode",
        file: "shim/src/mode.rs",
        library: "nucleus_shim",
        module: "mode",
    },
    Code {
        name: "reach",
        file: "shim/src/reach.rs",
        library: "nucleus_shim",
        module: "reach",
    },
    Code {
        name: "cleanup",
        file: "shim/src/cleanup.rs",
        library: "nucleus_shim",
        module: "cleanup",
    },
    Code {
        name: "address",
        file: "network/src/resolver/address.rs",
        library: "nucleus_network",
        module: "resolver::address",
    },
    Code {
        name: "settle",
        file: "network/src/resolver/settle.rs",
        library: "nucleus_network",
        module: "resolver::settle",
    },
    Code {
        name: "cache",
        file: "network/src/resolver/cache.rs",
        library: "nucleus_network",
        module: "resolver::cache",
    },
    Code {
        name: "network",
        file: "network/src/order.rs",
        library: "nucleus_network",
        module: "order",
    },
];

/// One substitution.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    what: String,
    find: String,
    replace: String,
    killed_by: String,
}

fn main() {
    let home = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let (mut shipped, mut mutants) = (String::new(), String::new());
    let mut table = String::from("pub(crate) const BOUND: &[nucleus_formal::binding::Bound] = &[\n");
    let mut comparisons = String::from("const COMPARISONS: &[(&str, &[Property])] = &[\n");
    println!("cargo:rerun-if-changed=src/lib.rs");
    let formatted = fs::read_to_string(home.join("src/lib.rs")).expect("read");
    for code in &CODE {
        let Code {
            name,
            library,
            module,
            ..
        } = code;
        assert!(
            formatted.contains(&format!("    mod {name};\n")),
            "bindings/{name}.rs: cargo fmt does not find it: src/lib.rs does not name it among the bindings"
        );
        let _ = writeln!(comparisons, "({:?}, {name}::binding::PROPERTIES),", code.file);
        let code_is = format!("pub mod code {{ pub use {library}::{module}::*; }}");
        shipped.push_str(&meeting(
            name,
            SHIPPED,
            &code_is,
            &home.join(format!("bindings/{name}.rs")),
        ));
        let row = row(code, &home, &out, &mut mutants);
        table.push_str(&row);
    }
    table.push_str("];\n");
    comparisons.push_str("];\n");
    fs::write(out.join("shipped.rs"), shipped).expect("write");
    fs::write(out.join("comparisons.rs"), comparisons).expect("write");
    fs::write(out.join("mutants.rs"), mutants + &table).expect("write");
}

/// What is allowed in the shipped code's module, and in a mutant's, which may leave anything unused.
const SHIPPED: &str = "unreachable_pub, missing_docs";
const MUTANT: &str = "warnings, clippy::all";

/// A module in which a comparison meets code.
fn meeting(name: &str, lints: &str, code: &str, binding: &Path) -> String {
    println!("cargo:rerun-if-changed={}", binding.display());
    format!(
        "/// The code and its comparisons.\n#[allow({lints})]\npub mod {name} {{ {code}\n#[path = {binding:?}] pub mod binding; }}\n"
    )
}

/// Copies the file for each of its mutants; the row of the table of what is bound.
fn row(code: &Code, home: &Path, out: &Path, modules: &mut String) -> String {
    let Code {
        name, file, library, ..
    } = code;
    let path = home.join("..").join(file);
    println!("cargo:rerun-if-changed={}", path.display());
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    // A copy has another module around it; its own tests are not compiled.
    let decisions = text.split("#[cfg(test)]").next().unwrap_or_default();
    assert!(
        !decisions.contains("super::"),
        "{file}: a copy of it is compiled elsewhere: say crate:: for super::"
    );
    let mut rows = String::new();
    for (mutant, of) in mutants_of(&home.join("mutants/code").join(name)) {
        let place = format!("{file}, mutant {mutant}");
        let changed = substitute(&text, &of, &place);
        // What it uses of its crate is the library's.
        let changed = changed.replace("crate::", &format!("{library}::"));
        let copy = out.join(format!("{name}-{mutant}.rs"));
        fs::write(&copy, changed).expect("write");
        let module = format!("{name}_{}", mutant.replace('-', "_"));
        let code_is = format!("#[path = {copy:?}] pub mod code;");
        modules.push_str(&meeting(
            &module,
            MUTANT,
            &code_is,
            &home.join(format!("bindings/{name}.rs")),
        ));
        let Mutant { what, killed_by, .. } = of;
        let _ = writeln!(
            rows,
            "nucleus_formal::binding::CodeMutant {{ name: {mutant:?}, what: {what:?}, killed_by: {killed_by:?}, \
             properties: {module}::binding::PROPERTIES }},"
        );
    }
    format!(
        "nucleus_formal::binding::Bound {{ name: {name:?}, file: {file:?}, properties: {name}::binding::PROPERTIES, \
         mutants: &[{rows}] }},\n"
    )
}

fn substitute(text: &str, mutant: &Mutant, place: &str) -> String {
    let count = text.matches(&mutant.find).count();
    assert!(
        count == 1,
        "{place}: the text to replace occurs {count} times, not once"
    );
    assert!(
        mutant.find != mutant.replace,
        "{place}: the replacement changes nothing"
    );
    text.replacen(&mutant.find, &mutant.replace, 1)
}

fn mutants_of(directory: &Path) -> Vec<(String, Mutant)> {
    println!("cargo:rerun-if-changed={}", directory.display());
    let mut mutants = Vec::new();
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("read");
        let mutant = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        mutants.push((name, mutant));
    }
    mutants.sort_by(|one, other| one.0.cmp(&other.0));
    mutants
}
