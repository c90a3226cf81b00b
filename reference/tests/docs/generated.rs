//! The pages that are made of the code.

use std::fs;

use crate::markdown::root;

#[test]
fn the_generated_pages_are_what_the_code_says_today() {
    for (name, made) in podiam_reference::pages().unwrap() {
        let written = fs::read_to_string(root().join("docs").join(name)).unwrap_or_default();
        if written != made {
            let differs = made
                .lines()
                .zip(written.lines())
                .find(|(one, other)| one != other);
            panic!("docs/{name}: run `cargo xtask reference`; first difference: {differs:#?}");
        }
    }
}

#[test]
fn every_flag_of_every_command_is_on_the_page_once_with_its_variable() {
    let page = podiam_reference::configuration::page();
    let mut root = podiam::commands::command();
    root.build();
    let agent = root.find_subcommand("agent").unwrap();
    let section = page
        .split("\n## ")
        .find(|it| it.starts_with("podiam agent\n"))
        .unwrap();
    for arg in agent.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let Some(flag) = arg.get_long().filter(|flag| *flag != "help") else {
            continue;
        };
        let rows: Vec<&str> = section
            .lines()
            .filter(|line| {
                let cell = line.trim_start_matches("| `--");
                cell.split([' ', '`']).next() == Some(flag)
            })
            .collect();
        assert_eq!(rows.len(), 1, "--{flag}: {rows:?}");
        let variable = format!("PODIAM_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(
            rows[0].contains(&variable),
            flag != "version",
            "{}",
            rows[0]
        );
        assert_eq!(
            rows[0].contains("| own |"),
            {
                let heading = arg.get_help_heading().unwrap();
                heading == "podiam's own flags"
            },
            "{}",
            rows[0]
        );
    }
    // Those of a command further down, too.
    assert!(
        page.contains("## podiam intercept install\n") && page.contains("## podiam iam lint\n")
    );
}

#[test]
fn every_command_has_a_man_page_and_every_shell_its_completions() {
    let folder = std::env::temp_dir().join(format!("podiam-manual-{}", std::process::id()));
    podiam_reference::manual::man_pages(&folder.join("man")).unwrap();
    podiam_reference::manual::completions(&folder.join("completions")).unwrap();
    let names = |below: &str| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder.join(below))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let (pages, shells) = (names("man"), names("completions"));
    let agent = fs::read_to_string(folder.join("man/podiam-agent.1")).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    for page in [
        "podiam.1",
        "podiam-agent.1",
        "podiam-intercept-status.1",
        "podiam-iam-lint.1",
    ] {
        assert!(pages.iter().any(|name| name == page), "{page} of {pages:?}");
    }
    assert_eq!(
        shells,
        [
            "_podiam",
            "_podiam.ps1",
            "podiam.bash",
            "podiam.elv",
            "podiam.fish"
        ]
    );
    assert!(agent.contains("namespace\\-restrictions"), "{agent}");
    // What help, man pages and completions are made of holds together.
    podiam::commands::command().debug_assert();
}
