//! What a workload must not reach, attacked from inside of every kind of sandbox: each attack is refused with the error
//! that is expected there, by each layer alone too, and works where the protection is not.

mod bed;
mod layers;
mod production;
mod races;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod victims;

use bed::{Answers, Bed};
use layers::Layer;
use settings::Setting;
use table::{ATTACKS, BY_LANDLOCK_ALONE, Control, THROUGH};

#[test]
fn attacks_are_refused_in_sandboxes_of_root_and_work_elsewhere() {
    let Some(bed) = Bed::new() else { return };
    expect_through(&bed.outside(), &Control::Outside);
    expect_through(&bed.beside(), &Control::Beside);
    for setting in settings::OF_ROOT {
        expect(setting, &attack(&bed, setting));
    }
}

#[test]
fn attacks_are_refused_in_production_mode() {
    let Some(bed) = Bed::new() else { return };
    let options = production::options(&bed, &format!("{}p", bed.place.name()));
    for setting in settings::OF_PRODUCTION {
        let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
        let (profile, pin) = layers::permissive(&bed.place);
        if setting.is_open() {
            options.extend(["--seccomp-profile", &profile, "--seccomp-profile-sha256", &pin]);
        }
        expect(setting, &bed.attack_knowing(&options, &["setuid=/bin/setuid"]));
    }
}

#[test]
fn attacks_are_refused_in_sandboxes_of_a_user() {
    let Some(bed) = Bed::of_a_user() else { return };
    for setting in settings::OF_A_USER {
        expect(setting, &attack(&bed, setting));
    }
}

#[test]
fn attacks_are_refused_under_gvisor() {
    let Some(bed) = Bed::new() else { return };
    if !support::installed("runsc") {
        return;
    }
    expect(Setting::Gvisor, &attack(&bed, Setting::Gvisor));
}

#[test]
fn landlock_alone_refuses_what_it_knows() {
    let Some(bed) = Bed::new() else { return };
    let runtime = layers::without(&bed.place, &[Layer::Seccomp, Layer::ReadOnly, Layer::Network]);
    let answers = bed.attack(&["--runtime", &runtime, "--landlock-policy", "agent"]);
    for (name, errno) in BY_LANDLOCK_ALONE {
        assert_eq!(answers.0.get(*name), Some(errno), "{name}");
    }
    let runtime = layers::without(
        &bed.place,
        &[Layer::Seccomp, Layer::ReadOnly, Layer::Network, Layer::Landlock],
    );
    let answers = bed.attack(&["--runtime", &runtime]);
    for name in [
        "create in a read-only volume",
        "write in a read-only volume",
        "host: TCP",
        "host: abstract socket",
    ] {
        assert_eq!(answers.0.get(name), Some(&THROUGH), "{name}: without Landlock");
    }
}

fn attack(bed: &Bed, setting: Setting) -> Answers {
    let mut options = setting.options().to_vec();
    let (profile, _) = layers::permissive(&bed.place);
    if setting.is_open() {
        options.extend(["--seccomp-profile", &profile]);
    }
    let runtime = layers::without(&bed.place, setting.without());
    if !setting.without().is_empty() {
        options.extend(["--runtime", &runtime]);
    }
    if setting.is_in_chroot() {
        bed.attack_in_chroot(&options)
    } else {
        bed.attack(&options)
    }
}

fn expect(setting: Setting, answers: &Answers) {
    let mut wrong = Vec::new();
    for attack in ATTACKS {
        let expected = attack.expected(setting);
        for (name, control) in attack.names() {
            let answer = answers.0.get(&name).copied();
            // What this host's kernel does not have is not there inside either.
            let missing = matches!(control, Control::Nowhere(_)) && answer == Some(2);
            if answer != Some(expected) && !missing {
                wrong.push(format!("{name}: {answer:?}, expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{setting:?}:\n{}", wrong.join("\n"));
    expect_all_known(answers);
}

fn expect_through(answers: &Answers, control: &Control) {
    let named = ATTACKS.iter().flat_map(table::Attack::names);
    let named = named.filter(|(_, where_it_works)| where_it_works == control);
    let failed: Vec<String> = named
        .filter(|(name, _)| answers.0.get(name) != Some(&THROUGH))
        .map(|(name, _)| format!("{name}: {:?}", answers.0.get(&name)))
        .collect();
    assert!(
        failed.is_empty(),
        "{control:?}, these fail as well:\n{}",
        failed.join("\n")
    );
    expect_all_known(answers);
}

/// Every line that the program printed is in the table.
fn expect_all_known(answers: &Answers) {
    let known: Vec<String> = ATTACKS
        .iter()
        .flat_map(table::Attack::names)
        .map(|(name, _)| name)
        .collect();
    let unknown: Vec<&String> = answers.0.keys().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}
