//! The comparisons of `formal/bindings`: the shipped code against the specs. Their mutants are run by
//! `nucleus-formal check`.

use nucleus_formal::binding::Property;
use nucleus_formal::parallel;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));
include!(concat!(env!("OUT_DIR"), "/comparisons.rs"));

#[test]
fn the_code_decides_as_the_specs_say() {
    let all = COMPARISONS
        .iter()
        .flat_map(|(file, properties)| properties.iter().map(move |property| (file, property)));
    let all: Vec<_> = all.collect();
    assert!(all.len() > COMPARISONS.len(), "{}", all.len());
    let found = parallel::map(&all, |(file, (name, property))| {
        property().err().map(|told| format!("{file}, {name}: {told}"))
    });
    let wrong: Vec<String> = found.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
