use super::{Settings, error::Error, table};
use secrecy::ExposeSecret;
use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn resolve(flags: &[(&str, &str)], environment: &[(&str, &str)], file: &str) -> Result<Settings, Error> {
    let flags: BTreeMap<String, String> = flags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let environment: HashMap<String, String> = environment
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect();
    let mut written = tempfile::Builder::new()
        .prefix("toolplane")
        .suffix(".toml")
        .tempfile()
        .unwrap();
    written.write_all(file.as_bytes()).unwrap();
    Settings::resolve(&flags, environment, (!file.is_empty()).then(|| written.path()))
}

fn refusal(flags: &[(&str, &str)], environment: &[(&str, &str)], file: &str) -> (String, String) {
    use miette::Diagnostic;
    let error = resolve(flags, environment, file).unwrap_err();
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    (error.to_string(), help)
}

#[test]
fn flags_over_environment_over_file_over_defaults() {
    let (flag, variable, file) = (
        ("heartbeat_seconds", "3"),
        ("TOOLPLANE_HEARTBEAT_SECONDS", "4"),
        "heartbeat_seconds = 5\n",
    );
    let none: &[(&str, &str)] = &[];
    for (flags, environment, file, expected) in [
        (none, none, "", 10),
        (none, none, file, 5),
        (none, &[variable][..], file, 4),
        (none, &[variable][..], "", 4),
        (&[flag][..], &[variable][..], file, 3),
        (&[flag][..], none, file, 3),
        (&[flag][..], none, "", 3),
        (none, &[("TOOLPLANE_HEARTBEAT_SECONDS", "")][..], file, 5),
    ] {
        let settings = resolve(flags, environment, file).unwrap();
        assert_eq!(settings.heartbeat.as_secs(), expected, "{flags:?} {environment:?} {file:?}");
    }
}

#[test]
fn the_file_can_be_named_by_a_variable_and_a_flag_wins() {
    let mut low = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    write!(low, "installation = \"low\"").unwrap();
    let mut high = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    write!(high, "installation = \"high\"").unwrap();
    let environment = HashMap::from([("TOOLPLANE_CONFIG".to_owned(), low.path().display().to_string())]);
    let by_variable = Settings::resolve(&BTreeMap::new(), environment.clone(), None).unwrap();
    assert_eq!(by_variable.installation.to_string(), "low");
    let by_flag = Settings::resolve(&BTreeMap::new(), environment, Some(high.path())).unwrap();
    assert_eq!(by_flag.installation.to_string(), "high");
}

#[test]
fn a_secret_comes_directly_or_from_a_file_and_the_higher_layer_hides_both_forms_of_the_lower() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "postgres://from-file/x").unwrap();
    let path = file.path().to_str().unwrap();
    let direct = ("TOOLPLANE_DATABASE_URL", "postgres://direct/x");
    let by_file = format!("database_url_file = {path:?}\n");
    let url = |settings: Settings| settings.database_url.unwrap().expose_secret().to_owned();

    assert_eq!(url(resolve(&[], &[direct], "").unwrap()), "postgres://direct/x");
    assert_eq!(url(resolve(&[], &[], &by_file).unwrap()), "postgres://from-file/x");
    assert_eq!(url(resolve(&[], &[direct], &by_file).unwrap()), "postgres://direct/x");
    assert_eq!(
        url(resolve(&[("database_url_file", path)], &[direct], "").unwrap()),
        "postgres://from-file/x"
    );

    let (error, help) = refusal(&[], &[direct, ("TOOLPLANE_DATABASE_URL_FILE", path)], "");
    assert_eq!(
        error,
        "database_url: set both directly and by a file, TOOLPLANE_DATABASE_URL and TOOLPLANE_DATABASE_URL_FILE"
    );
    assert_eq!(help, "keep one of them");
}

#[test]
fn errors_name_the_setting_where_it_was_set_and_what_would_be_right() {
    let cases: &[(Pairs<'_>, Pairs<'_>, &str)] = &[
        (&[("listen", "8443")], &[], ""),
        (&[], &[("TOOLPLANE_LEASE_SECONDS", "0")], ""),
        (&[], &[("TOOLPLANE_LEASE_SECONDS", "soon")], ""),
        (&[], &[("TOOLPLANE_DIGITALOCEAN_URL", "api.digitalocean.com")], ""),
        (&[], &[("TOOLPLANE_PUBLIC_URL", "http://toolplane.example")], ""),
        (&[], &[("TOOLPLANE_PLAIN_HTTP", "true")], ""),
        (&[], &[("TOOLPLANE_PLAIN_HTTP", "yes")], ""),
        (&[], &[("TOOLPLANE_INSTALLATION", "My Company")], ""),
        (&[], &[("TOOLPLANE_ADMIN_CIDRS", "203.0.113.0/24, 10.1.2.3/8")], ""),
        (&[], &[("TOOLPLANE_BACKEND_CIDRS", "everywhere")], ""),
        (&[], &[("TOOLPLANE_DATABASE_URL_FILE", "/nowhere/secret")], ""),
    ];
    let rendered: Vec<String> = cases
        .iter()
        .map(|(flags, environment, file)| {
            let (error, help) = refusal(flags, environment, file);
            format!("{error}\n    {help}")
        })
        .collect();
    insta::assert_snapshot!(rendered.join("\n"));
}

#[test]
fn a_wrong_secret_is_never_repeated() {
    for (variable, value) in [
        ("TOOLPLANE_MASTER_KEY", "deadbeef-hunter2"),
        ("TOOLPLANE_DATABASE_URL", "mysql://root:hunter2@db"),
        ("TOOLPLANE_DIGITALOCEAN_TOKEN", "hunter2 hunter2"),
    ] {
        let (error, help) = refusal(&[], &[(variable, value)], "");
        assert!(!error.contains("hunter2") && !help.contains("hunter2"), "{error} {help}");
        assert!(error.contains(variable), "{error}");
    }
    let settings = resolve(&[], &[("TOOLPLANE_DIGITALOCEAN_TOKEN", "hunter2")], "").unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn unknown_keys_of_the_file_are_refused() {
    let (error, help) = refusal(&[], &[], "lisen = \"127.0.0.1:1\"\n");
    assert!(error.starts_with("unknown setting `lisen` in "), "{error}");
    assert_eq!(help, "did you mean `listen`?");
    let (_, help) = refusal(&[], &[], "colour = \"blue\"\n");
    assert!(help.starts_with("known are database_url, "), "{help}");
}

#[test]
fn a_mistyped_variable_is_refused_with_the_nearest_right_one() {
    for (mistyped, right) in [
        ("TOOLPLANE_DATABASEURL", "TOOLPLANE_DATABASE_URL"),
        ("TOOLPLANE_DATABASE_URL_FIEL", "TOOLPLANE_DATABASE_URL_FILE"),
        ("TOOLPLANE_LISTEN_FILE", "TOOLPLANE_LISTEN"),
        ("TOOLPLANE_LAG_WINDOW", "TOOLPLANE_LAG_WINDOW_SECONDS"),
        ("TOOLPLANE_BREAKER_PERCENTAGE", "TOOLPLANE_BREAKER_PERCENT"),
        ("TOOLPLANE_LOGFORMAT", "TOOLPLANE_LOG_FORMAT"),
    ] {
        let (error, help) = refusal(&[], &[(mistyped, "10")], "");
        assert_eq!(error, format!("unknown environment variable {mistyped}"));
        assert_eq!(help, format!("did you mean {right}?"));
    }
    let (_, help) = refusal(&[], &[("TOOLPLANE_COLOUR", "blue")], "");
    assert!(help.starts_with("unset it; known are TOOLPLANE_DATABASE_URL, "), "{help}");
    // One that is empty counts as not set, whatever its name.
    resolve(&[], &[("TOOLPLANE_COLOUR", "")], "").unwrap();
}

#[test]
fn what_kubernetes_tells_of_a_service_of_our_name_is_no_mistake() {
    for name in [
        "TOOLPLANE_SERVICE_HOST",
        "TOOLPLANE_SERVICE_PORT",
        "TOOLPLANE_SERVICE_PORT_HTTPS",
        "TOOLPLANE_PORT",
        "TOOLPLANE_PORT_8443_TCP",
        "TOOLPLANE_PORT_8443_TCP_ADDR",
        "TOOLPLANE_API_PORT_443_TCP_PROTO",
        "TOOLPLANES_OF_OTHERS",
    ] {
        resolve(&[], &[(name, "tcp://10.0.0.1:8443")], "").unwrap();
    }
    assert!(resolve(&[], &[("TOOLPLANE_PORT_HTTPS_TCP", "1")], "").is_err());
}

#[test]
fn lists_and_numbers_are_written_in_toml_as_one_expects() {
    let settings = resolve(
        &[],
        &[],
        "backend_cidrs = [\"203.0.113.0/24\", \"2001:db8::/32\"]\nplain_http = true\npublic_url = \"https://t.example\"\n",
    )
    .unwrap();
    assert_eq!(settings.backend_cidrs.len(), 2);
    assert!(settings.plain_http);
}

#[test]
fn every_setting_has_a_right_default_and_something_that_asks_for_it() {
    let settings = resolve(&[], &[], "").unwrap();
    assert_eq!(settings.public_url.as_str(), "https://127.0.0.1:8443/");
    for setting in table::SETTINGS {
        assert!(!setting.help.is_empty() && setting.help.len() < 140, "{}", setting.name);
    }
    let missing = settings.require_master_key().unwrap_err().to_string();
    assert_eq!(missing, "master_key: not set");
}
